"""TF-IDF of words and characters: the features of the simple rivals."""

from __future__ import annotations

from typing import Any

import numpy as np

from luthier.base.inputs import text_name
from luthier.base.records import Example

# The solver keeps some twenty vectors of rows x labels numbers of 8 bytes: 1.5 million of them are 250 MB.
_MAX_PARAMETERS = 1_500_000
_MAX_TERMS = 50_000
_MIN_TERMS = 2_000


def text_of(example: Example) -> str:
    name = text_name(example.inputs)
    if name is not None:
        return str(example.inputs[name])
    return "\n".join(str(turn["content"]) for turn in example.inputs["messages"])


def features_of(texts: list[str], asked: list[str], classes: int) -> Any:
    """Return TF-IDF of words (1-2) and of characters within words (3-5) of both lists, or None where no text has a term.

    The number of terms shrinks with the number of ``classes`` that are fitted on them.
    """
    from scipy.sparse import hstack

    blocks = [
        pair
        for pair in (_terms(texts, asked, "word", (1, 2), classes), _terms(texts, asked, "char_wb", (3, 5), classes))
        if pair is not None
    ]
    return tuple(hstack([block[i] for block in blocks], format="csr") for i in (0, 1)) if blocks else None


def _terms(texts: list[str], asked: list[str], analyzer: str, spans: tuple[int, int], classes: int) -> Any:
    """Return TF-IDF matrices of both lists of texts, or None where the first has no term of this kind."""
    from sklearn.feature_extraction.text import TfidfVectorizer

    terms = int(np.clip(_MAX_PARAMETERS // (2 * classes), _MIN_TERMS, _MAX_TERMS))
    vectorizer = TfidfVectorizer(
        analyzer=analyzer,
        ngram_range=spans,
        max_features=terms,
        min_df=2 if len(texts) >= 2000 else 1,
        sublinear_tf=True,
        dtype=np.float64,
        **({"token_pattern": r"(?u)\b\w+\b"} if analyzer == "word" else {}),
    )
    try:
        fitted = vectorizer.fit_transform(texts)
    except ValueError as error:
        # scikit-learn says it so; there is no other way to learn that a text has no terms.
        if "empty vocabulary" in str(error) or "no terms remain" in str(error).lower():
            return None
        raise
    return fitted, vectorizer.transform(asked) if asked else fitted[:0]

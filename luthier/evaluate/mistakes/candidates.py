"""Which of very many train rows are worth a pass of the network: a spread over all, and those most like the asked texts in words."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from luthier.evaluate.mistakes.near import BLOCK, highest

# Up to so many train rows all are looked at; of more, a spread of half as many, and for each asked text so many that are like it in words.
ALL, ALIKE = 20_000, 8
Row = TypeVar("Row")


def candidates(
    asked: Sequence[str], train: Sequence[Row], *, text: Callable[[Row], str], most: int = ALL, alike: int = ALIKE
) -> NDArray[np.int64]:
    """Return the places of some train rows, ascending, each once; all where there are no more than ``most``.

    A near copy of an asked text is among them (its words are the same, with weights of TF-IDF), and the spread says how near a row
    usually is. Memory holds a block of the train texts' terms at a time.

    Args:
        asked: (Q,) texts; train: (N,) rows, which may lie on disk; at most ``most / 2 + Q * alike`` places are returned.
        text: what a row says.
    """
    if len(train) <= most:
        return np.arange(len(train), dtype=np.int64)
    spread = np.linspace(0, len(train) - 1, most // 2).round().astype(np.int64)
    return np.unique(np.concatenate([spread, _alike(asked, train, spread, text, alike).ravel()]))


def _alike(
    asked: Sequence[str], train: Sequence[Row], some: NDArray[np.int64], text: Callable[[Row], str], count: int
) -> NDArray[np.int64]:
    """Return the (Q, count) places of the train texts with the highest TF-IDF cosine; ``some`` rows say how frequent a term is."""
    from sklearn.feature_extraction.text import HashingVectorizer, TfidfTransformer
    from sklearn.pipeline import make_pipeline

    # No stop words, no cutting at rare terms: what two texts share may be anything.
    counts = HashingVectorizer(token_pattern=r"(?u)\b\w+\b", alternate_sign=False, norm=None, dtype=np.float32)
    terms: Any = make_pipeline(counts, TfidfTransformer(sublinear_tf=True))
    asked_QV = terms.fit([text(train[int(i)]) for i in some]).transform(asked)
    best = np.full((len(asked), count), -1.0, dtype=np.float32)
    place = np.zeros((len(asked), count), dtype=np.int64)
    for start in range(0, len(train), BLOCK):
        cosine_QB = (asked_QV @ terms.transform([text(row) for row in train[start : start + BLOCK]]).T).toarray()
        best, place = highest(best, place, cosine_QB, start)
    return place

"""Simple rivals of a model that chooses sentences: the first ones, the longest ones, those most like the whole document."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from luthier.base.overlap import mean_rouge
from luthier.base.records import Example, Prediction
from luthier.prompts.sentences import split_sentences

LEADS = (1, 2, 3)
_MOST = 6
# So many train rows tell how many sentences a rival should take.
_LOOKED_AT = 200
Scores = Callable[[Sequence[str]], Sequence[float]]


def for_documents(
    train: Sequence[Example], rows: Sequence[Example], labels: Sequence[str]
) -> dict[str, list[Prediction]]:
    """Return the rivals of an extractor; longest and centroid take the number of sentences that is best on train rows."""
    asked = [split_sentences(str(e.inputs["document"])) for e in rows]
    found = {f"lead_{n}": [Prediction(sentences=tuple(s[:n])) for s in asked] for n in LEADS}
    for name, scores in (("longest", _lengths), ("centroid", centroid)):
        count = _best_count(train[:_LOOKED_AT], scores)
        found[name] = [Prediction(sentences=taken(s, scores(s), count)) for s in asked]
    return found


def _best_count(train: Sequence[Example], scores: Scores) -> int:
    sums = np.zeros(_MOST)
    for example in train:
        sentences = split_sentences(str(example.inputs["document"]))
        told = scores(sentences)
        sums += [mean_rouge(taken(sentences, told, n + 1), example.target) for n in range(_MOST)]
    return int(np.argmax(sums)) + 1


def taken(sentences: Sequence[str], scores: Sequence[float], count: int) -> tuple[str, ...]:
    """Return the ``count`` sentences with the highest scores, of equals the first, in the order of the document."""
    best = sorted(range(len(sentences)), key=lambda k: (-scores[k], k))[:count]
    return tuple(sentences[k] for k in sorted(best))


def _lengths(sentences: Sequence[str]) -> Sequence[float]:
    return [float(len(s.split())) for s in sentences]


def centroid(sentences: Sequence[str]) -> Sequence[float]:
    """Return each sentence's likeness to the document's mean TF-IDF vector (Radev et al. 2004)."""
    from sklearn.feature_extraction.text import TfidfVectorizer

    try:
        matrix = TfidfVectorizer(token_pattern=r"(?u)\b\w+\b", sublinear_tf=True).fit_transform(sentences)
    except ValueError:  # no word in it at all
        return [0.0] * len(sentences)
    return list(np.asarray(matrix @ np.asarray(matrix.mean(0)).T).ravel())

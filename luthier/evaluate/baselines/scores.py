"""Simple rivals of a model that grades: the mean score, the length of the text alone, ridge regression on TF-IDF."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from luthier.base.records import Example, Prediction
from luthier.evaluate.baselines.tfidf import features_of, text_of

# Of unit TF-IDF rows; 0.3 to 3 give nearly the same on most essays.
_PENALTY = 1.0
Regression = Callable[[Any, np.ndarray, Any], np.ndarray]


def for_scores(train: Sequence[Example], rows: Sequence[Example], labels: Sequence[str]) -> dict[str, list[Prediction]]:
    """Return the rivals of a grader; each keeps within the scores of the train rows."""
    texts, asked = ([text_of(e) for e in part] for part in (train, rows))
    words = features_of(texts, asked, 2)
    lengths = tuple(np.array([_length(text) for text in part]).reshape(-1, 2) for part in (texts, asked))
    found = {
        "mean": _answered(train, rows, labels, None, _mean),
        "length": _answered(train, rows, labels, lengths, _least_squares),
    }
    if words is not None:
        found["tfidf_ridge"] = _answered(train, rows, labels, words, _ridge)
    return found


def _length(text: str) -> tuple[float, float]:
    words = len(text.split())
    return float(words), float(np.log1p(words))


def _answered(
    train: Sequence[Example], rows: Sequence[Example], labels: Sequence[str], features: Any, fit: Regression
) -> list[Prediction]:
    given = np.full((len(rows), len(labels)), np.nan)
    for k, trait in enumerate(labels):
        judged = [i for i, e in enumerate(train) if trait in e.target]
        if not judged:
            continue
        scores = np.array([float(train[i].target[trait]) for i in judged])
        x, asked = (None, np.zeros((len(rows), 1))) if features is None else (features[0][judged], features[1])
        given[:, k] = np.clip(fit(x, scores, asked), scores.min(), scores.max())
    return [
        Prediction(grades={trait: float(v) for trait, v in zip(labels, row, strict=True) if not np.isnan(v)})
        for row in given
    ]


def _mean(x: Any, scores: np.ndarray, asked: Any) -> np.ndarray:
    return np.full(asked.shape[0], scores.mean())


def _least_squares(x: Any, scores: np.ndarray, asked: Any) -> np.ndarray:
    from sklearn.linear_model import LinearRegression

    return np.asarray(LinearRegression().fit(x, scores).predict(asked))


def _ridge(x: Any, scores: np.ndarray, asked: Any) -> np.ndarray:
    from sklearn.linear_model import Ridge

    return np.asarray(Ridge(_PENALTY).fit(x, scores).predict(asked))

"""Simple rivals of a model that gives sets of labels: the commonest set, and one linear model a label."""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Sequence

import numpy as np

from luthier.base.records import Example, Prediction
from luthier.evaluate.tfidf import features_of, text_of


def common_set(train: Sequence[Example], rows: Sequence[Example], labels: Sequence[str]) -> list[Prediction]:
    """Answer every row with the commonest set of labels; scores are the labels' shares."""
    sets = Counter(tuple(e.target) for e in train)
    best = min(sets, key=lambda found: (-sets[found], found))
    seen = Counter(label for e in train for label in e.target)
    scores = {label: seen[label] / len(train) for label in labels}
    return [Prediction(labels=best, scores=scores) for _ in rows]


def tfidf_labels(train: Sequence[Example], rows: Sequence[Example], labels: Sequence[str]) -> list[Prediction]:
    """Answer by one logistic regression a label on TF-IDF of words and of characters, from probability one half on."""
    scores = np.zeros((len(rows), len(labels)))
    found = features_of([text_of(e) for e in train], [text_of(e) for e in rows], len(labels))
    for k, label in enumerate(labels):
        truth = np.array([label in e.target for e in train])
        scores[:, k] = truth.mean() if found is None or truth.all() or not truth.any() else _fitted(found, truth)
    return [
        Prediction(
            labels=tuple(label for label, score in zip(labels, row, strict=True) if score >= 0.5),
            scores=dict(zip(labels, row, strict=True)),
        )
        for row in scores.tolist()
    ]


def _fitted(found: tuple, truth: np.ndarray) -> np.ndarray:
    from sklearn.linear_model import LogisticRegression

    with warnings.catch_warnings():
        # A baseline that stops a little early is still a baseline; a warning about it would help nobody.
        warnings.simplefilter("ignore")
        fitted = LogisticRegression(C=10.0, max_iter=200, tol=1e-3).fit(found[0], truth)
    probabilities: np.ndarray = fitted.predict_proba(found[1])[:, 1]
    return probabilities


def for_sets(train: Sequence[Example], rows: Sequence[Example], labels: Sequence[str]) -> dict[str, list[Prediction]]:
    """Return the rivals of a multilabel model."""
    return {"majority": common_set(train, rows, labels), "tfidf_linear": tfidf_labels(train, rows, labels)}

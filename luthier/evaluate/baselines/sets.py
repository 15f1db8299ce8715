"""Simple rivals of a model that gives sets of labels: the commonest set, and one linear model a label."""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np

from luthier.base.cuts import best_cuts
from luthier.base.records import Example, Prediction
from luthier.base.shares import shares
from luthier.evaluate.baselines.tfidf import features_of, text_of


def common_set(train: Sequence[Example], rows: Sequence[Example], labels: Sequence[str]) -> list[Prediction]:
    """Answer every row with the commonest set of labels; scores are the labels' shares."""
    sets = Counter(tuple(e.target) for e in train)
    best = min(sets, key=lambda found: (-sets[found], found))
    seen = Counter(label for e in train for label in e.target)
    scores = {label: seen[label] / len(train) for label in labels}
    return [Prediction(labels=best, scores=scores) for _ in rows]


_FOLDS = 3
_FEWEST = 10


def tfidf_labels(train: Sequence[Example], rows: Sequence[Example], labels: Sequence[str]) -> list[Prediction]:
    """Answer by one logistic regression a label on TF-IDF of words and of characters, cuts chosen by folds of train."""
    truth = np.array([[label in e.target for label in labels] for e in train])
    found = features_of([text_of(e) for e in train], [text_of(e) for e in rows], len(labels))
    cuts, scores = [0.5] * len(labels), np.tile(truth.mean(0), (len(rows), 1))
    if found is not None:
        scores = _scores(found[0], truth, found[1])
        if len(train) >= _FEWEST:
            cuts = best_cuts(_out_of_fold(found[0], truth), truth)
    given = scores >= np.array(cuts)
    return [
        Prediction(labels=tuple(labels[k] for k in np.flatnonzero(row).tolist()), scores=line)
        for row, line in zip(given, shares(labels, scores), strict=True)
    ]


def _out_of_fold(features: Any, truth: np.ndarray) -> np.ndarray:
    folds = np.arange(len(truth)) % _FOLDS
    scores = np.zeros(truth.shape)
    for fold in range(_FOLDS):
        scores[folds == fold] = _scores(features[folds != fold], truth[folds != fold], features[folds == fold])
    return scores


def _scores(features: Any, truth: np.ndarray, asked: Any) -> np.ndarray:
    """Return the probability of each label for each row asked."""
    columns = [
        np.full(asked.shape[0], column.mean())
        if column.all() or not column.any()
        else _fitted((features, asked), column)
        for column in truth.T
    ]
    return np.stack(columns, axis=1)


def _fitted(found: tuple[Any, Any], truth: np.ndarray) -> np.ndarray:
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

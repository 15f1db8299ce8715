"""What the labels so far teach: a logistic regression on frozen vectors, and how right it is on rows it did not see."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from luthier.base.seeds import stable_fraction

FOLDS = 5
# Unit vectors carry small numbers, so a weak penalty fits best: 100 against 10 was worth two to four points of accuracy
# at 50 to 400 labels (docs/guides/labelling.md).
STRENGTH = 100.0
_TEMPERATURES = 2.0 ** np.arange(-1, 4.25, 0.25)


@dataclass(frozen=True, slots=True)
class Fit:
    """A fitted classifier: ``classes`` are label names, weights and biases one row each."""

    classes: tuple[str, ...]
    weight_CD: np.ndarray
    bias_C: np.ndarray

    def scores(self, vectors_ND: np.ndarray) -> np.ndarray:
        """Return (N, C) unnormalised log-probabilities."""
        return vectors_ND @ self.weight_CD.T + self.bias_C

    def predict(self, vectors_ND: np.ndarray) -> np.ndarray:
        """Return (N,) label names."""
        return np.array(self.classes, dtype=object)[self.scores(vectors_ND).argmax(axis=1)]


def fit(vectors_ND: np.ndarray, labels: Sequence[str]) -> Fit:
    """Fit a multinomial logistic regression. Raises ValueError with fewer than two labels."""
    from sklearn.linear_model import LogisticRegression

    classes, numbers_N = np.unique(np.asarray(labels, dtype=object).astype(str), return_inverse=True)
    if len(classes) < 2:
        raise ValueError("two labels are needed")
    with warnings.catch_warnings():
        # Few rows of many labels are the rule here, and no sign of a regression problem.
        warnings.filterwarnings("ignore", message="The number of unique classes")
        model: Any = LogisticRegression(C=STRENGTH, max_iter=100).fit(vectors_ND, numbers_N)
    weight, bias = model.coef_, model.intercept_
    if len(classes) == 2:  # scikit-learn keeps one vector for two classes
        weight, bias = np.stack([-weight[0] / 2, weight[0] / 2]), np.array([-bias[0] / 2, bias[0] / 2])
    return Fit(tuple(classes.tolist()), weight.astype(np.float32), bias.astype(np.float32))


@dataclass(frozen=True, slots=True)
class OutOfFold:
    """For each labelled row: whether a model that had not seen it was ``right``.

    ``temperature`` divides scores so that probabilities are as sure as they are right.
    """

    right_N: np.ndarray
    temperature: float


def out_of_fold(vectors_ND: np.ndarray, labels: Sequence[str], ids: Sequence[str]) -> OutOfFold | None:
    """Predict each row by a model fitted without its fold; None where no fold leaves two labels to fit on.

    A row stays in its fold for ever. A label whose only rows are in one fold cannot be predicted there, and counts as
    wrong: that is how it would be with the next new row.
    """
    truth = np.asarray(labels, dtype=object).astype(str)
    fold_N = np.array([int(stable_fraction(name, seed=1) * FOLDS) for name in ids])
    classes = np.unique(truth)
    scores_NC = np.full((len(truth), len(classes)), -30.0, dtype=np.float32)
    known_N = np.zeros(len(truth), dtype=bool)
    for fold in range(FOLDS):
        out = fold_N == fold
        if not out.any() or len(np.unique(truth[~out])) < 2:
            continue
        model = fit(vectors_ND[~out], truth[~out].tolist())
        columns = np.searchsorted(classes, model.classes)
        scores_NC[np.ix_(out, columns)] = model.scores(vectors_ND[out])
        known_N |= out
    if not known_N.any():
        return None
    numbers_N = np.searchsorted(classes, truth)
    heat = _temperature(scores_NC[known_N], numbers_N[known_N])
    return OutOfFold((scores_NC.argmax(axis=1) == numbers_N) & known_N, heat)


def probabilities(scores_NC: np.ndarray, temperature: float = 1.0) -> np.ndarray:
    """Return the softmax of scores over a temperature."""
    scaled = scores_NC / temperature
    powers = np.exp(scaled - scaled.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)


def _temperature(scores_NC: np.ndarray, numbers_N: np.ndarray) -> float:
    """Return the temperature of least negative log-likelihood (Guo et al. 2017, https://arxiv.org/abs/1706.04599)."""
    rows = np.arange(len(numbers_N))

    def loss(heat: float) -> float:
        chosen = probabilities(scores_NC, heat)[rows, numbers_N]
        return float(-np.log(np.maximum(chosen, 1e-9)).mean())

    return float(min(_TEMPERATURES, key=loss))

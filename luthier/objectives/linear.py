"""A head that starts from a linear fit on the frozen features: most of the accuracy in a few seconds.

Linear probing, then fine-tuning, keeps the pre-trained features from being distorted by a random head
(Kumar et al. 2022, https://arxiv.org/abs/2202.10054).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

STRENGTHS = (1.0, 10.0, 100.0)


@dataclass(frozen=True, slots=True)
class Fit:
    """A fitted head: ``weight_CD``, ``bias_C``, and the inverse penalty that cross-validation chose."""

    weight_CD: torch.Tensor
    bias_C: torch.Tensor
    strength: float
    accuracy: float


def fit_head(
    features_ND: torch.Tensor,
    labels_N: Sequence[int],
    classes: int,
    *,
    seed: int,
    weights_N: Sequence[float] | None = None,
) -> Fit:
    """Fit a multinomial logistic regression; its penalty is chosen on a held-out fifth of the training rows.

    Args:
        features_ND: (N, D) float features, as the head will see them.
        labels_N: class numbers below ``classes``; a class without rows gets a very low bias and zero weights.
        weights_N: what each row counts for in the fit and in the choice; on average 1, or the penalty changes with them.
    """
    X = features_ND.numpy()
    y = np.asarray(labels_N)
    w = np.ones(len(y)) if weights_N is None else np.asarray(weights_N, dtype=np.float64)
    w = w * len(w) / w.sum()
    strength, accuracy = _choose(X, y, w, seed)
    weight, bias = regression(X, y, classes, strength=strength, weights_N=None if weights_N is None else w, unseen=-10.0)
    return Fit(torch.from_numpy(weight), torch.from_numpy(bias), strength, accuracy)


def regression(
    X: np.ndarray, y: np.ndarray, classes: int, *, strength: float, weights_N: np.ndarray | None, unseen: float
) -> tuple[np.ndarray, np.ndarray]:
    """Fit a multinomial logistic regression and return (C, D) weights and (C,) biases as float32.

    Args:
        unseen: the bias of a class without rows; its weights are zero.
    """
    model = _regression(strength).fit(X, y, sample_weight=weights_N)
    weight_CD = np.zeros((classes, X.shape[1]), dtype=np.float32)
    bias_C = np.full(classes, unseen, dtype=np.float32)
    if len(model.classes_) == 2:  # scikit-learn keeps one vector for two classes
        weight_CD[model.classes_] = np.stack([-model.coef_[0] / 2, model.coef_[0] / 2])
        bias_C[model.classes_] = [-model.intercept_[0] / 2, model.intercept_[0] / 2]
    else:
        weight_CD[model.classes_], bias_C[model.classes_] = model.coef_, model.intercept_
    return weight_CD, bias_C


def _regression(strength: float) -> Any:
    from sklearn.linear_model import LogisticRegression

    return LogisticRegression(C=strength, max_iter=200, tol=1e-3)


def _choose(X: np.ndarray, y: np.ndarray, w: np.ndarray, seed: int) -> tuple[float, float]:
    from sklearn.model_selection import train_test_split

    counts = np.bincount(y)
    if len(y) < 20 or counts[counts > 0].min() < 2:
        return STRENGTHS[1], float("nan")
    rng = np.random.default_rng(seed)
    # A few thousand rows tell penalties apart; more only cost time.
    rows = rng.permutation(len(y))[:4000]
    share = max(0.2, (len(counts) + 1) / len(rows))
    kept, held = train_test_split(rows, test_size=min(share, 0.5), random_state=int(seed % 2**31))
    if len(np.unique(y[kept])) < 2:
        return STRENGTHS[1], float("nan")
    scores = []
    for strength in STRENGTHS:
        right = _regression(strength).fit(X[kept], y[kept], sample_weight=w[kept]).predict(X[held]) == y[held]
        scores.append(float(np.average(right, weights=w[held])))
    best = int(np.argmax(scores))
    return STRENGTHS[best], scores[best]

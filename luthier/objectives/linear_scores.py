"""Heads for scores: ridge regression of several traits, the penalty by leaving rows out; missing scores are left out."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

PENALTIES = (0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0)
FOLDS = 5
_FEWEST_ROWS = 20
_USUAL = 1.0


@dataclass(frozen=True, slots=True)
class ScoresFit:
    """A fitted head: ``weight_TD``, ``bias_T``, the penalty that left-out rows chose, and the error on them."""

    weight_TD: torch.Tensor
    bias_T: torch.Tensor
    penalty: float
    error: float


def fit_scores(features_ND: torch.Tensor, scores_NT: torch.Tensor, *, seed: int) -> ScoresFit:
    """Fit a ridge regression a trait (Hoerl & Kennard 1970), one penalty for all; NaN scores are nobody's.

    Args:
        scores_NT: scores of order one; ``error`` is the root of their mean squared error on rows of other folds.
    """
    X, Y = features_ND.numpy().astype(np.float64), scores_NT.numpy().astype(np.float64)
    if len(X) < _FEWEST_ROWS:
        weight, bias = _fit(X, Y, (_USUAL,))[0]
        return ScoresFit(torch.from_numpy(weight).float(), torch.from_numpy(bias).float(), _USUAL, float("nan"))
    folds = np.random.default_rng(seed).permutation(len(X)) % FOLDS
    squares = np.zeros(len(PENALTIES))
    for fold in range(FOLDS):
        kept, held = folds != fold, folds == fold
        for i, (weight, bias) in enumerate(_fit(X[kept], Y[kept], PENALTIES)):
            squares[i] += np.nansum((X[held] @ weight.T + bias - Y[held]) ** 2)
    best = int(np.argmin(squares))
    weight, bias = _fit(X, Y, (PENALTIES[best],))[0]
    error = float(np.sqrt(squares[best] / np.sum(~np.isnan(Y))))
    return ScoresFit(torch.from_numpy(weight).float(), torch.from_numpy(bias).float(), PENALTIES[best], error)


def _fit(X: np.ndarray, Y: np.ndarray, penalties: tuple[float, ...]) -> list[tuple[np.ndarray, np.ndarray]]:
    """Return weights (T, D) and biases (T,) for each penalty; traits judged on the same rows share the work."""
    found = [(np.zeros((Y.shape[1], X.shape[1])), np.zeros(Y.shape[1])) for _ in penalties]
    judged = ~np.isnan(Y)
    for pattern in {tuple(column) for column in judged.T}:
        rows = np.array(pattern)
        traits = [t for t in range(Y.shape[1]) if tuple(judged[:, t]) == pattern]
        if not rows.any():
            continue
        x, y = X[rows], Y[rows][:, traits]
        x_mean, y_mean = x.mean(0), y.mean(0)
        values, vectors = np.linalg.eigh((x - x_mean).T @ (x - x_mean))
        turned = vectors.T @ ((x - x_mean).T @ (y - y_mean))
        for (weight, bias), penalty in zip(found, penalties, strict=True):
            solved = vectors @ (turned / (np.clip(values, 0, None) + penalty)[:, None])
            weight[traits], bias[traits] = solved.T, y_mean - x_mean @ solved
    return found

"""Heads for several labels at once: one logistic regression a label, all fitted together, the penalty by cross-validation."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

STRENGTHS = (1.0, 10.0, 100.0)
FOLDS = 5
# A few thousand rows tell penalties apart; more only cost time.
_MOST_ROWS = 4000
_FEWEST_ROWS = 20
_NEVER = -10.0


@dataclass(frozen=True, slots=True)
class SetsFit:
    """Fitted heads: ``weight_LD``, ``bias_L``, the inverse penalty, and the probabilities of rows by fits without them.

    ``folded_N`` are the numbers of the rows that ``out_of_fold_NL`` is of; both are None where rows were too few.
    """

    weight_LD: torch.Tensor
    bias_L: torch.Tensor
    strength: float
    folded_N: np.ndarray | None
    out_of_fold_NL: np.ndarray | None


def fit_sets(
    features_ND: torch.Tensor, truth_NL: torch.Tensor, *, seed: int, groups_N: np.ndarray | None = None
) -> SetsFit:
    """Fit one logistic regression a label; of all strengths the one with the least out-of-fold log loss is taken.

    A label that every row has, or none, gets zero weights and a bias of plus or minus ten.

    Args:
        groups_N: numbers of what stays together in a fold (a document's sentences); default: each row is its own.
    """
    X, Y = features_ND.numpy().astype(np.float64), truth_NL.numpy().astype(np.float64)
    strength, rows, scores = _choose(X, Y, seed, np.arange(len(X)) if groups_N is None else groups_N)
    weight, bias = _fit(X, Y, strength)
    return SetsFit(torch.from_numpy(weight).float(), torch.from_numpy(bias).float(), strength, rows, scores)


def _choose(
    X: np.ndarray, Y: np.ndarray, seed: int, groups: np.ndarray
) -> tuple[float, np.ndarray | None, np.ndarray | None]:
    if len(X) < _FEWEST_ROWS:
        return STRENGTHS[1], None, None
    order = np.random.default_rng(seed).permutation(int(groups.max()) + 1)[groups]
    rows = np.argsort(order, kind="stable")[:_MOST_ROWS]
    folds = order[rows] % FOLDS
    best: tuple[float, float, np.ndarray] = (float("inf"), STRENGTHS[1], np.empty(0))
    for strength in STRENGTHS:
        scores = np.empty((len(rows), Y.shape[1]))
        for fold in range(FOLDS):
            weight, bias = _fit(X[rows[folds != fold]], Y[rows[folds != fold]], strength)
            scores[folds == fold] = _sigmoid(X[rows[folds == fold]] @ weight.T + bias)
        truth, clipped = Y[rows], np.clip(scores, 1e-7, 1 - 1e-7)
        loss = -float((truth * np.log(clipped) + (1 - truth) * np.log(1 - clipped)).mean())
        best = min(best, (loss, strength, scores), key=lambda found: found[0])
    return best[1], rows, best[2]


def _fit(X: np.ndarray, Y: np.ndarray, strength: float) -> tuple[np.ndarray, np.ndarray]:
    """Return weights (L, D) and biases (L,) that are scikit-learn's of each label alone (a test holds it)."""
    from scipy.optimize import minimize

    seen = Y.sum(0)
    varied = np.flatnonzero((seen > 0) & (seen < len(Y)))
    weight = np.zeros((Y.shape[1], X.shape[1]))
    bias = np.where(seen > 0, -_NEVER, _NEVER)
    if not len(varied):
        return weight, bias
    truth = Y[:, varied]
    shape = (len(varied), X.shape[1] + 1)

    def objective(flat: np.ndarray) -> tuple[float, np.ndarray]:
        both = flat.reshape(shape)
        logits = X @ both[:, :-1].T + both[:, -1]
        loss = float((np.logaddexp(0.0, logits) - truth * logits).sum()) + float((both[:, :-1] ** 2).sum()) / (
            2 * strength
        )
        error = _sigmoid(logits) - truth
        return loss, np.hstack([error.T @ X + both[:, :-1] / strength, error.sum(0)[:, None]]).ravel()

    start = np.zeros(shape)
    start[:, -1] = np.log(seen[varied] / (len(Y) - seen[varied]))
    found = minimize(objective, start.ravel(), jac=True, method="L-BFGS-B", options={"maxiter": 200, "gtol": 1e-3})
    both = found.x.reshape(shape)
    weight[varied], bias[varied] = both[:, :-1], both[:, -1]
    return weight, bias


def _sigmoid(x: np.ndarray) -> np.ndarray:
    return 0.5 * (1 + np.tanh(x / 2))

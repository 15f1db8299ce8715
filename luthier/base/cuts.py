"""From which score on a label is given: the cut that makes F1 largest on rows that were not learnt from."""

from __future__ import annotations

import numpy as np

# A label seen in fewer rows takes the cut of all labels together: its own would be luck.
FEW_ROWS = 10
LEAST, MOST = 0.02, 0.98


def best_cuts(scores_NL: np.ndarray, truth_NL: np.ndarray) -> list[float]:
    """Return a cut for each label, the middle between the two scores it lies between.

    Where probabilities are right, F1 is largest at half of
    its own best value (Lipton et al. 2014, https://arxiv.org/abs/1402.1892).

    Args:
        scores_NL: probabilities.
        truth_NL: 0 or 1.
    """
    if not len(scores_NL) or not truth_NL.any():
        return [0.5] * scores_NL.shape[1]
    common = best_cut(scores_NL.ravel(), truth_NL.ravel())
    few = truth_NL.sum(0) < FEW_ROWS
    return [common if few[k] else best_cut(scores_NL[:, k], truth_NL[:, k]) for k in range(scores_NL.shape[1])]


def best_cut(scores_N: np.ndarray, truth_N: np.ndarray) -> float:
    """Return the cut of one label; of equally good ones the nearest to one half."""
    order = np.argsort(-scores_N, kind="stable")
    scores = scores_N[order].astype(np.float64)
    found = np.cumsum(truth_N[order])
    f1 = 2 * found / (np.arange(1, len(scores) + 1) + found[-1])
    # Equal scores cannot be parted, so a cut stands only where the next one is lower.
    after = np.append(scores[1:], 0.0)
    possible = np.flatnonzero(scores > after)
    middles = (scores + after)[possible] / 2
    best = f1[possible] >= f1[possible].max() - 1e-12
    cut = middles[best][np.argmin(np.abs(middles[best] - 0.5))]
    return float(np.clip(cut, LEAST, MOST))

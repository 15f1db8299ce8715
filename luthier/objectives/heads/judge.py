"""How good held-out scores are, and the temperature that makes probabilities of them."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from luthier.objectives.heads.sample import Ints

Doubles = NDArray[np.float64]


def log_softmax(scores_NC: Doubles) -> Doubles:
    shifted = scores_NC - scores_NC.max(1, keepdims=True)
    return np.asarray(shifted - np.log(np.exp(shifted).sum(1, keepdims=True)))


def log_loss(scores_NC: Doubles, labels_N: Ints, scale: float = 1.0) -> float:
    """Return the mean negative log-likelihood, in nats, of scores that are multiplied by ``scale``."""
    return float(each_log_loss(scores_NC, labels_N, scale).mean())


def each_log_loss(scores_NC: Doubles, labels_N: Ints, scale: float = 1.0) -> Doubles:
    """Return the negative log-likelihood of each row, (N,) in nats."""
    return np.asarray(-log_softmax(scores_NC * scale)[np.arange(len(labels_N)), labels_N])


def temperature(scores_NC: Doubles, labels_N: Ints) -> float:
    """Return the factor of the scores with the least log loss (Guo et al. 2017, https://arxiv.org/abs/1706.04599).

    It is shrunk towards 1 as if eight further rows had voted for 1: two rows that happen to be right would ask for
    infinite certainty.
    """
    return _best_scale(lambda scale: log_loss(scores_NC, labels_N, scale) * len(labels_N))


def set_log_loss(logits_NL: Doubles, truth_NL: Doubles, scale: float = 1.0) -> float:
    """Return the mean negative log-likelihood of rows whose labels stand each for itself, summed over labels, in nats."""
    scaled = logits_NL * scale
    return float((np.logaddexp(0.0, scaled) - scaled * truth_NL).sum(1).mean())


def set_temperature(logits_NL: Doubles, truth_NL: Doubles) -> float:
    """Return the one factor of all labels' logits with the least log loss, shrunk as :func:`temperature` is."""
    return _best_scale(lambda scale: set_log_loss(logits_NL, truth_NL, scale) * len(truth_NL))


def _best_scale(total: Callable[[float], float]) -> float:
    from scipy.optimize import minimize_scalar

    def loss(log_scale: float) -> float:
        return total(float(np.exp(log_scale))) + 8 * 0.5 * log_scale**2

    found = minimize_scalar(loss, bounds=(-4.0, 4.0), method="bounded", options={"xatol": 0.01})
    return float(np.exp(found.x))

"""A learning curve's power law and what more rows would bring, with an interval that a few points allow.

The score with n rows is taken as s(n) = a - b n^-c (Cortes et al. 1994, "Learning curves: asymptotic values and rate of
convergence"; Hestness et al. 2017, https://arxiv.org/abs/1712.00409). Three points cannot tell three numbers from noise,
so c has a prior: its logarithm uniform from 0.05 to 1. Hestness et al. found 0.07 to 0.35 for networks trained from the start, and 1/2 to
1 is what theory gives for estimators with a fixed number of parameters. The curve never falls, and never passes the best
possible score.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from luthier.base.seeds import derive_seed

Floats = NDArray[np.float64]

EXPONENTS = (0.05, 1.0)
LEVEL = 0.95
DRAWS = 8_000
# Two runs that differ by their seed alone: about a hundredth and a half of the score, which counts like three observations.
SEED_SD = 0.015
_SEED_DF = 3.0
_BAND = 24


def extrapolate(
    sizes: Sequence[int], scores_SK: Floats, rows_cov_KK: Floats, *, to: int, best: float | None = 1.0, seed: int = 0
) -> dict[str, Any]:
    """Return what ``to`` rows would reach and gain over the largest part, as medians with 95 % intervals.

    The posterior is drawn by importance sampling: an exponent from its prior, then level and rise by weighted least
    squares given it, weighed by how well that exponent fits. The prior is flat in the score with all rows and in the rise
    from the smallest part to it, the two things that are seen.

    Args:
        sizes: K numbers of rows, rising.
        scores_SK: the score of each seed at each size; higher is better.
        rows_cov_KK: covariance of the mean scores over seeds that the choice of validation rows makes, as a paired
            bootstrap gives it: what is common to all sizes cancels in the gain.
        best: the best possible score, or None.
    """
    sizes_K = np.asarray(sizes, dtype=np.float64)
    rng = np.random.default_rng(derive_seed(seed, "learning curve"))
    exponents = np.exp(rng.uniform(math.log(EXPONENTS[0]), math.log(EXPONENTS[1]), size=DRAWS))
    spread_R = seed_variances(scores_SK, rng) / len(scores_SK)
    cov_RKK = np.asarray(rows_cov_KK, dtype=np.float64) + spread_R[:, None, None] * np.eye(len(sizes_K))
    level, rise, weight = _posterior(sizes_K, scores_SK.mean(0), cov_RKK, exponents, best, rng)
    grid = np.unique(np.geomspace(sizes_K[0], to, _BAND).round()).astype(int)
    band = [_summary(level - rise * _shape(sizes_K, exponents, n), weight, best) for n in grid]
    gain = _summary(-rise * _shape(sizes_K, exponents, to), weight, None)
    return {
        "rows": int(to),
        **_summary(level - rise * _shape(sizes_K, exponents, to), weight, best),
        "gain": gain,
        "exponent": _summary(exponents, weight, None),
        "band": [{"rows": int(n), **values} for n, values in zip(grid, band, strict=True)],
    }


def seed_variances(scores_SK: Floats, rng: np.random.Generator) -> Floats:
    """Return draws of the variance of a score between seeds: what is seen, and a hundredth and a half of the score before that.

    The posterior under a scaled inverse chi-squared prior; with one seed it is the prior, whose tails are long.
    """
    freedom = _SEED_DF + (scores_SK.shape[0] - 1) * scores_SK.shape[1]
    return likely_seed_variance(scores_SK) * freedom / rng.chisquare(freedom, size=DRAWS)


def likely_seed_variance(scores_SK: Floats) -> float:
    """Return the scale of that posterior: one number to show an interval by."""
    expected = (SEED_SD * max(float(np.abs(scores_SK).mean()), 1e-6)) ** 2
    seen = float(((scores_SK - scores_SK.mean(0)) ** 2).sum())
    return (_SEED_DF * expected + seen) / (_SEED_DF + (scores_SK.shape[0] - 1) * scores_SK.shape[1])


def _shape(sizes_K: Floats, exponents_R: Floats, rows: float) -> Floats:
    """Return how far below the score of all rows a part lies, in units of the rise: 1 at the smallest, 0 at the largest."""
    least, most = sizes_K[0], sizes_K[-1]
    # In multiples of the largest size, or small exponents would cancel.
    return ((rows / most) ** -exponents_R - 1) / ((least / most) ** -exponents_R - 1)


def _posterior(
    sizes_K: Floats, mean_K: Floats, cov_RKK: Floats, exponents_R: Floats, best: float | None, rng: np.random.Generator
) -> tuple[Floats, Floats, Floats]:
    """Return level, rise and weight of each draw; draws that fall or pass ``best`` have no weight."""
    precision = np.linalg.inv(cov_RKK)
    shape_RK = np.stack([_shape(sizes_K, exponents_R, n) for n in sizes_K], axis=1)
    design_RK2 = np.stack([np.ones_like(shape_RK), -shape_RK], axis=2)
    weighed_R2K = np.swapaxes(design_RK2, 1, 2) @ precision
    information_R22 = weighed_R2K @ design_RK2
    fitted_R2 = np.linalg.solve(information_R22, (weighed_R2K @ mean_K)[..., None])[..., 0]
    left_RK = mean_K - (design_RK2 @ fitted_R2[..., None])[..., 0]
    misfit_R = np.einsum("rk,rkl,rl->r", left_RK, precision, left_RK)
    chances_R2 = rng.standard_normal((len(exponents_R), 2))
    spread_R22 = np.linalg.cholesky(np.linalg.inv(information_R22))
    level, rise = (fitted_R2 + (spread_R22 @ chances_R2[..., None])[..., 0]).T
    logs = -0.5 * (misfit_R + np.log(np.linalg.det(information_R22)) + np.log(np.linalg.det(cov_RKK)))
    allowed = rise >= 0
    if best is not None:
        limit = level + rise / ((sizes_K[0] / sizes_K[-1]) ** -exponents_R - 1)
        allowed &= limit <= best
    if not allowed.any():  # the points fall steeply, or lie at the best already: flat is all that is left
        return (
            np.full(len(rise), min(mean_K[-1], np.inf if best is None else best)),
            np.zeros(len(rise)),
            np.ones(len(rise)),
        )
    weight = np.where(allowed, np.exp(logs - logs[allowed].max()), 0.0)
    return level, rise, weight / weight.sum()


def _summary(values_R: Floats, weight_R: Floats, best: float | None) -> dict[str, float]:
    order = np.argsort(values_R)
    passed = np.cumsum(weight_R[order]) / weight_R.sum()
    places = np.searchsorted(passed, [(1 - LEVEL) / 2, 0.5, (1 + LEVEL) / 2]).clip(max=len(order) - 1)
    low, middle, high = (float(v) for v in values_R[order][places])
    if best is not None:
        high = min(high, best)
    return {"value": round(middle, 6), "low": round(low, 6), "high": round(high, 6)}

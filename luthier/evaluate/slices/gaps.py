"""How far apart the values of a column are: the worst and the gap with intervals, and whether chance alone would give such a gap."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from luthier.evaluate.answered import Answered
from luthier.evaluate.intervals import Interval, percentile_interval, resample_weights
from luthier.evaluate.metrics import LOWER_IS_BETTER, split_name
from luthier.evaluate.slices import benjamini_hochberg, parts_of
from luthier.evaluate.slices.columns import Column

_RESAMPLES, _SHUFFLES = 500, 500
NOTHING: Interval = {"value": None, "low": None, "high": None}
# What grading a group too high or too low is, beside how large its errors are.
BESIDE = {"grade": ("rmse", "bias")}
Mask = NDArray[np.bool_]


def over_values(answered: Answered, column: Column, metric: str, over: str) -> Interval:
    """Return the worst of a column's values with its own interval, or the gap between its best and its worst.

    The gap's interval is that of the two that are farthest apart on all rows. All values are measured on the same draws. Beside the worst
    stand the ``rows`` and ``units`` of the smallest part: all that its rows leave open is open of the worst.
    """
    masks = [part.rows for part in parts_of("", column)]
    if len(masks) < 2 or metric not in answered.table.names:
        return NOTHING
    values = _by_value(answered, masks, metric, np.ones((1, answered.table.size)))[0]
    if np.isnan(values).all():
        return NOTHING
    draws = resample_weights(answered.units, resamples=_RESAMPLES, seed=0)
    drawn = np.concatenate([_by_value(answered, masks, metric, weights) for weights in draws])
    high_, low_ = int(np.nanargmax(values)), int(np.nanargmin(values))
    if over == "worst":
        worst = high_ if split_name(metric)[0] in LOWER_IS_BETTER else low_
        low, high = percentile_interval(drawn[:, worst])
        there = answered.table.counted(metric)
        rows, units = min(((mask & there).sum(), len(np.unique(answered.units[mask & there]))) for mask in masks)
        return {"value": float(values[worst]), "low": low, "high": high, "rows": int(rows), "units": units}
    low, high = percentile_interval(drawn[:, high_] - drawn[:, low_])
    # Two that are alike differ by chance alone, either way: a gap is never below nothing.
    return {"value": float(values[high_] - values[low_]), "low": None if low is None else max(0.0, low), "high": high}


def measure(answered: Answered, *, metric: str, columns: Sequence[str]) -> list[dict[str, Any]]:
    """Return for each column and metric the values of its parts, the gap with its interval, and ``p``: how often rows shuffled
    between the parts give a gap as large, corrected for all gaps looked at.

    Gaps of many small parts are large by chance alone; so the interval says how large, and ``p`` whether there is any.
    """
    found: list[dict[str, Any]] = []
    for name, column in answered.columns.chosen(columns).items():
        parts = parts_of(name, column)
        for one in BESIDE.get(answered.objective, (metric,)):
            gap = over_values(answered, column, one, "gap")
            if gap["value"] is None:
                continue
            masks = [part.rows for part in parts]
            values = _by_value(answered, masks, one, np.ones((1, answered.table.size)))[0].tolist()
            sizes = [int(mask.sum()) for mask in masks]
            told = [{"value": part.values[0][1], "rows": n, "measured": v} for part, n, v in zip(parts, sizes, values, strict=True)]
            found.append({"column": name, "metric": one, **gap, "p": _chance(answered, masks, one, float(gap["value"])), "parts": told})
    known = [gap for gap in found if gap["p"] is not None]
    for entry, adjusted in zip(known, benjamini_hochberg([gap["p"] for gap in known]), strict=True):
        entry["p"] = round(adjusted, 4)
    return found


def _by_value(answered: Answered, masks: Sequence[Mask], metric: str, weights: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the metric of each part for each draw, [r, parts]."""
    place = answered.table.names.index(metric)
    return np.stack([answered.table.measure(weights * mask)[:, place] for mask in masks], 1)


def _chance(answered: Answered, masks: Sequence[Mask], metric: str, gap: float) -> float | None:
    """Return the share of shuffles with a gap as large (permutation test); None where nothing can be shuffled.

    Groups that each lie in one part are shuffled whole; where they lie in several (a sentence said of several people), rows are
    shuffled within their group.
    """
    codes = np.full(answered.table.size, -1)
    for code, mask in enumerate(masks):
        codes[mask] = code
    units = answered.units
    first = np.full(int(units.max()) + 1, -1)
    first[units[::-1]] = codes[::-1]
    rng, place = np.random.default_rng(0), answered.table.names.index(metric)
    if (first[units] == codes).all():
        there = np.flatnonzero(first >= 0)
        by_row = np.stack([_shuffled(first, there, rng) for _ in range(_SHUFFLES)])[:, units]
    else:
        there = np.flatnonzero(codes >= 0)
        order = there[np.argsort(units[there], kind="stable")]
        by_row = np.stack([_within(codes, order, units[order], rng) for _ in range(_SHUFFLES)])
        if (by_row == codes).all():
            return None
    values = np.stack([answered.table.measure((by_row == code).astype(float))[:, place] for code in range(len(masks))], 1)
    spread = np.nanmax(values, axis=1) - np.nanmin(values, axis=1)
    return (1 + int((spread >= gap - 1e-12).sum())) / (_SHUFFLES + 1)


def _shuffled(codes: NDArray[np.int64], there: NDArray[np.int64], rng: np.random.Generator) -> NDArray[np.int64]:
    found = codes.copy()
    found[there] = rng.permutation(codes[there])
    return found


def _within(
    codes: NDArray[np.int64], order: NDArray[np.int64], units: NDArray[np.int64], rng: np.random.Generator
) -> NDArray[np.int64]:
    """Return codes shuffled within their units: ``order`` are rows unit by unit, ``units`` theirs."""
    found = codes.copy()
    found[order] = codes[order[np.lexsort((rng.random(len(order)), units))]]
    return found

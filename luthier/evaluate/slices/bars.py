"""Bars on parts of the test rows and against rivals: whether there are such rows, and what is measured on them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from luthier.base.errors import Fault, did_you_mean
from luthier.base.records import Prediction
from luthier.evaluate.answered import Answered
from luthier.evaluate.compare import paired
from luthier.evaluate.intervals import Interval, evaluate_with_intervals, percentile_interval, resample_weights
from luthier.evaluate.metrics import LOWER_IS_BETTER, split_name
from luthier.evaluate.slices import parts_of
from luthier.evaluate.slices.columns import FEWEST, Columns
from luthier.spec.bars import Bar

_RESAMPLES = 500
_NOTHING: Interval = {"value": None, "low": None, "high": None}


def check(bars: Sequence[Bar], columns: Columns) -> list[Fault]:
    """Return a fault for each bar on rows that are not there: before anything is trained, and without a look at any answer."""
    return [fault for bar in bars if bar.where is not None for fault in _faults(bar, columns)]


def _faults(bar: Bar, columns: Columns) -> list[Fault]:
    place, where = f"accept.{bar.metric}", bar.where
    assert where is not None
    if bar.rival is not None and where.over:
        return [Fault(f"{where.over} of {where.column} cannot be held against a rival", place, "Name one value, or a number.")]
    faults = []
    for name in [where.column] if where.column else where.values:
        column = columns.of(name)
        values = sorted({v for v in column or () if v is not None})
        if column is None:
            mend = did_you_mean(name, columns.names) or f"Columns: {', '.join(columns.names)}."
            faults.append(Fault(f'no test row has a column "{name}"', place, mend))
        elif name in where.values and where.values[name] not in values:
            mend = did_you_mean(where.values[name], values) or f"Values: {', '.join(values[:12])}."
            faults.append(Fault(f'no test row has "{where.values[name]}" in {name}', place, mend))
        elif where.column and len(parts_of(name, column)) < 2:
            what = f"fewer than two values of {name} have {FEWEST} test rows each"
            faults.append(Fault(what, place, "Add test rows, or take the bar away."))
    return faults


def rows_of(bar: Bar, columns: Columns) -> list[int]:
    """Return the places of the rows that a bar is on: all of them, or those with the values asked for."""
    wanted = bar.where.values if bar.where is not None else {}
    made = [(columns.of(name) or [None] * len(columns.rows), value) for name, value in wanted.items()]
    return [i for i in range(len(columns.rows)) if all(column[i] == value for column, value in made)]


def measured(bars: Sequence[Bar], answered: Answered, *, resamples: int) -> dict[str, Interval]:
    """Return ``{metric as written: interval}`` of every bar on a part of the rows."""
    found: dict[str, Interval] = {}
    for bar in bars:
        if bar.where is None:
            continue
        if bar.where.column:
            found[bar.metric] = _over_values(bar, answered)
            continue
        part = answered.only(rows_of(bar, answered.columns))
        whole = evaluate_with_intervals(part.objective, part.targets, part.predictions, part.labels, groups=part.groups,
                                        resamples=resamples)  # fmt: skip
        found[bar.metric] = whole.get(bar.plain, _NOTHING)
    return found


def against_rivals(
    bars: Sequence[Bar], answered: Answered, rivals: Mapping[str, Sequence[Prediction]], *, resamples: int
) -> dict[str, dict[str, float | None]]:
    """Return by the bar's metric what its rival reaches on the bar's rows, and the interval of the difference to it."""
    found = {}
    for bar in bars:
        if bar.rival is None or bar.rival not in rivals:
            continue
        places = rows_of(bar, answered.columns)
        mine, theirs = answered.only(places), answered.only(places, rivals[bar.rival])
        compared = paired(
            mine.objective, mine.targets, theirs.predictions, mine.predictions, mine.labels, groups=mine.groups,
            resamples=resamples, metrics=[bar.plain],
        ).get(bar.plain, {})  # fmt: skip
        found[bar.metric] = {"value": compared.get("first"), "low": compared.get("low"), "high": compared.get("high")}
    return found


def sizes(bars: Sequence[Bar], answered: Answered) -> dict[str, int]:
    """Return by the bar's metric how many rows, or groups of rows, it is made of."""
    found = {}
    for bar in bars:
        if bar.where is not None and bar.where.over:
            continue
        part = answered.only(rows_of(bar, answered.columns))
        if part.rows and bar.plain in part.table.names:
            found[bar.metric] = len(np.unique(part.units[part.table.counted(bar.plain)]))
    return found


def _over_values(bar: Bar, answered: Answered) -> Interval:
    """Return what a bar asks of all values of a column: the worst of them with its own interval, or the gap.

    The gap is how far the best value is from the worst, its interval that of the two that are farthest apart on all rows. All
    values are measured on the same draws.
    """
    assert bar.where is not None
    parts = parts_of(bar.where.column, answered.columns.of(bar.where.column) or [])
    if len(parts) < 2 or bar.plain not in answered.table.names:
        return _NOTHING
    place, masks = answered.table.names.index(bar.plain), [part.rows.astype(float) for part in parts]

    def by_value(weights: np.ndarray) -> np.ndarray:
        return np.stack([answered.table.measure(weights * mask)[:, place] for mask in masks], 1)

    values = by_value(np.ones((1, answered.table.size)))[0]
    if np.isnan(values).all():
        return _NOTHING
    drawn = np.concatenate([by_value(w) for w in resample_weights(answered.units, resamples=_RESAMPLES, seed=0)])
    high_, low_ = int(np.nanargmax(values)), int(np.nanargmin(values))
    if bar.where.over == "worst":
        worst = high_ if split_name(bar.plain)[0] in LOWER_IS_BETTER else low_
        low, high = percentile_interval(drawn[:, worst])
        return {"value": float(values[worst]), "low": low, "high": high}
    low, high = percentile_interval(drawn[:, high_] - drawn[:, low_])
    # Two that are alike differ by chance alone, either way: a gap is never below nothing.
    return {"value": float(values[high_] - values[low_]), "low": None if low is None else max(0.0, low), "high": high}

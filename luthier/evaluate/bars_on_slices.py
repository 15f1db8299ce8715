"""Bars on parts of the test rows: whether there are such rows, and what is measured on them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from luthier.base.errors import Fault, did_you_mean
from luthier.base.records import Example, Prediction
from luthier.evaluate.compare import paired
from luthier.evaluate.intervals import (
    Interval,
    evaluate_with_intervals,
    percentile_interval,
    resample_weights,
    unit_codes,
)
from luthier.evaluate.metrics import LOWER_IS_BETTER, split_name
from luthier.evaluate.slice_columns import FEWEST, column_of, known
from luthier.evaluate.slices import Mask, parts_of
from luthier.evaluate.tables import tabulate
from luthier.spec.bars import Bar, Where

_RESAMPLES = 500


def check(bars: Sequence[Bar], rows: Sequence[Example]) -> list[Fault]:
    """Return a fault for each bar on rows that are not there: before anything is trained, and without a look at any answer."""
    faults = []
    for bar in bars:
        where = bar.where
        if where is None:
            continue
        place = f"accept.{bar.metric}"
        if bar.rival is not None and where.over:
            faults.append(Fault(f"{where.over} of {where.column} cannot be held against a rival", place, "Name one value, or a number."))
        for name in [where.column] if where.column else where.values:
            column = column_of(rows, name)
            values = sorted({v for v in column or () if v is not None})
            if column is None:
                names = known(rows)
                mend = did_you_mean(name, names) or f"Columns: {', '.join(names)}."
                faults.append(Fault(f'no test row has a column "{name}"', place, mend))
            elif name in where.values and where.values[name] not in values:
                mend = did_you_mean(where.values[name], values) or f"Values: {', '.join(values[:12])}."
                faults.append(Fault(f'no test row has "{where.values[name]}" in {name}', place, mend))
            elif where.column and len(parts_of(name, column)) < 2:
                faults.append(Fault(f"fewer than two values of {name} have {FEWEST} test rows each", place,
                                    "Add test rows, or take the bar away."))  # fmt: skip
    return faults


def rows_of(where: Where, rows: Sequence[Example]) -> Mask:
    """Return which rows have all the values asked for."""
    mask = np.ones(len(rows), dtype=bool)
    for name, value in where.values.items():
        mask &= np.array([v == value for v in column_of(rows, name) or [None] * len(rows)], dtype=bool)
    return mask


def measured(
    bars: Sequence[Bar], objective: str, rows: Sequence[Example], predictions: Sequence[Prediction], labels: Sequence[str], *,
    resamples: int,
) -> dict[str, Interval]:  # fmt: skip
    """Return ``{metric as written: interval}`` of every bar on a part of the rows."""
    found: dict[str, Interval] = {}
    for bar in bars:
        where = bar.where
        if where is None:
            continue
        if where.column:
            over = _worst if where.over == "worst" else _gap
            found[bar.metric] = over(bar.plain, where.column, objective, rows, predictions, labels)
            continue
        picked = np.flatnonzero(rows_of(where, rows)).tolist()
        groups = [rows[i].group for i in picked]
        on_part = evaluate_with_intervals(
            objective, [rows[i].target for i in picked], [predictions[i] for i in picked], labels,
            groups=groups if any(groups) else None, resamples=resamples,
        )  # fmt: skip
        found[bar.metric] = on_part.get(bar.plain, _NOTHING)
    return found


def against_rivals(
    bars: Sequence[Bar], objective: str, rows: Sequence[Example], predictions: Sequence[Prediction], labels: Sequence[str],
    rivals: Mapping[str, Sequence[Prediction]], *, resamples: int,
) -> dict[str, dict[str, float | None]]:  # fmt: skip
    """Return by the bar's metric what its rival reaches on the bar's rows, and the interval of the difference to it."""
    found = {}
    for bar in bars:
        if bar.rival is None or bar.rival not in rivals:
            continue
        where = bar.where
        picked = np.flatnonzero(rows_of(where, rows)).tolist() if where is not None else list(range(len(rows)))
        groups = [rows[i].group for i in picked]
        theirs, mine = ([given[i] for i in picked] for given in (rivals[bar.rival], predictions))
        compared = paired(
            objective, [rows[i].target for i in picked], theirs, mine, labels, groups=groups if any(groups) else None,
            resamples=resamples, metrics=[bar.plain],
        ).get(bar.plain, {})  # fmt: skip
        found[bar.metric] = {"value": compared.get("first"), "low": compared.get("low"), "high": compared.get("high")}
    return found


def sizes(
    bars: Sequence[Bar], objective: str, rows: Sequence[Example], predictions: Sequence[Prediction], labels: Sequence[str]
) -> dict[str, int]:
    """Return by the bar's metric how many rows, or groups of rows, it is made of."""
    found = {}
    for bar in bars:
        where = bar.where
        if where is not None and where.over:
            continue
        picked = np.flatnonzero(rows_of(where, rows)).tolist() if where is not None else list(range(len(rows)))
        table = tabulate(objective, [rows[i].target for i in picked], [predictions[i] for i in picked], labels)
        if table.size and bar.plain in table.names:
            units = unit_codes([rows[i].group for i in picked], table.size)
            found[bar.metric] = len(np.unique(units[table.counted(bar.plain)]))
    return found


_NOTHING: Interval = {"value": None, "low": None, "high": None}
Drawn = tuple[np.ndarray, np.ndarray]


def _by_value(
    metric: str, column: str, objective: str, rows: Sequence[Example], predictions: Sequence[Prediction], labels: Sequence[str]
) -> Drawn | None:
    """Return the metric of each value [V] and on draws of all rows [r, V]: the values share the draws."""
    parts = parts_of(column, column_of(rows, column) or [])
    table = tabulate(objective, [row.target for row in rows], predictions, labels)
    if len(parts) < 2 or metric not in table.names:
        return None
    place, masks = table.names.index(metric), [part.rows.astype(float) for part in parts]
    of: Callable[[np.ndarray], np.ndarray] = lambda w: np.stack([table.measure(w * m)[:, place] for m in masks], 1)  # noqa: E731
    units = unit_codes([row.group for row in rows], len(rows))
    return of(np.ones((1, table.size)))[0], np.concatenate(
        [of(w) for w in resample_weights(units, resamples=_RESAMPLES, seed=0)]
    )


def _worst(metric: str, *args: Any) -> Interval:
    """Return the value that does worst, with its own interval."""
    found = _by_value(metric, *args)
    if found is None or np.isnan(found[0]).all():
        return _NOTHING
    less = split_name(metric)[0] in LOWER_IS_BETTER
    place = int(np.nanargmax(found[0]) if less else np.nanargmin(found[0]))
    low, high = percentile_interval(found[1][:, place])
    return {"value": float(found[0][place]), "low": low, "high": high}


def _gap(metric: str, *args: Any) -> Interval:
    """Return how far the best value is from the worst; the interval is that of the two that are farthest apart on all rows."""
    found = _by_value(metric, *args)
    if found is None or np.isnan(found[0]).all():
        return _NOTHING
    best, least = int(np.nanargmax(found[0])), int(np.nanargmin(found[0]))
    low, high = percentile_interval(found[1][:, best] - found[1][:, least])
    # Two that are alike differ by chance alone, either way: a gap is never below nothing.
    return {"value": float(found[0][best] - found[0][least]), "low": None if low is None else max(0.0, low), "high": high}

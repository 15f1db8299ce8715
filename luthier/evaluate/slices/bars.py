"""Bars on parts of the test rows and against rivals: whether there are such rows, and what is measured on them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from luthier.base.errors import Fault, did_you_mean
from luthier.base.records import Prediction
from luthier.evaluate.answered import Answered
from luthier.evaluate.compare import paired
from luthier.evaluate.intervals import Interval, of_table
from luthier.evaluate.slices import parts_of
from luthier.evaluate.slices.columns import FEWEST, Columns
from luthier.evaluate.slices.gaps import NOTHING, over_values
from luthier.spec.bars import Bar


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
            column = answered.columns.of(bar.where.column) or []
            found[bar.metric] = over_values(answered, column, bar.plain, bar.where.over)
            continue
        part = answered.only(rows_of(bar, answered.columns))
        whole = of_table(part.table, groups=part.groups, resamples=resamples)
        found[bar.metric] = whole.get(bar.plain, NOTHING)
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


def counted(bars: Sequence[Bar], answered: Answered, measured: Mapping[str, Interval]) -> dict[str, Interval]:
    """Return the figures of bars on test rows with how many ``rows`` each is made of, and how many ``units``: those of a group counted once."""
    found = {}
    for bar in bars:
        if bar.metric not in measured or (bar.where is not None and bar.where.over):
            continue
        part = answered if bar.where is None else answered.only(rows_of(bar, answered.columns))
        if part.rows and bar.plain in part.table.names:
            there = part.table.counted(bar.plain)
            found[bar.metric] = {**measured[bar.metric], "rows": int(there.sum()), "units": len(np.unique(part.units[there]))}
    return found

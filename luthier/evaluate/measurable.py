"""Bars that no model could be held against on these rows, or be shown to meet: told before one is trained, without a look at any answer."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from luthier.base.errors import Fault
from luthier.base.records import Example, Prediction
from luthier.evaluate import metrics, verdict
from luthier.evaluate.answered import Answered
from luthier.evaluate.intervals import unit_codes
from luthier.evaluate.slices import bars as bars_on_slices
from luthier.evaluate.slices.columns import Columns
from luthier.spec.bars import Bar

OBJECTIVES = ("classify", "multilabel", "grade")


def check(bars: Sequence[Bar], objective: str, rows: Sequence[Example], labels: Sequence[str]) -> list[Fault]:
    """Return a fault for each bar that even right answers to these rows leave without a value: nothing of that label, one class alone.

    What depends on the answers (what goes to a person, what a judge says) is not looked at, nor are bars over all parts of a column.
    """
    if objective not in OBJECTIVES or not len(rows):
        return []
    known: dict[tuple[int, ...] | None, dict[str, float | None]] = {}
    columns = Columns(rows)
    faults = []
    for bar in bars:
        if bar.where is not None and bar.where.over:
            continue
        places = None if bar.where is None else tuple(bars_on_slices.rows_of(bar, columns))
        if places not in known:
            known[places] = _best_values(objective, rows if places is None else [rows[i] for i in places], labels)
        values = known[places]
        if bar.plain in values and values[bar.plain] is None:
            faults.append(Fault(*_words(bar, len(rows) if places is None else len(places))))
    return faults


def unshown(bars: Sequence[Bar], objective: str, rows: Sequence[Example], labels: Sequence[str]) -> list[Fault]:
    """Return a warning for each bar that is out of these rows' reach: were every answer right, the verdict would still be "cannot tell"."""
    known = set(metrics.names(objective, labels))
    asked = [bar for bar in bars if bar.plain in known and verdict.enough(bar) is not None and not (bar.where is not None and bar.where.over)]
    if not asked or not len(rows):
        return []
    figures = _made_of(asked, objective, rows, labels)
    told = [(bar, verdict.beyond(bar, figures.get(bar.metric, {}))) for bar in asked]
    return [Fault(f"{bar.op} {bar.limit:g} is out of reach: {why}", f"accept.{bar.metric}", "Add test rows, or ask for less.") for bar, why in told if why]


def _made_of(bars: Sequence[Bar], objective: str, rows: Sequence[Example], labels: Sequence[str]) -> dict[str, Any]:
    """Return of how many ``rows`` and ``units`` each bar's figure will be made where every answer is right; of texts where each has one."""
    if objective in OBJECTIVES:
        once = {repr(row.target): row.target for row in rows}
        known = {key: _right(target, labels) for key, target in once.items()}  # of many rows and labels, one of each takes the room of few
        right = Answered(objective, rows, [known[repr(row.target)] for row in rows], labels)
        return bars_on_slices.counted(bars, right, {bar.metric: {} for bar in bars})
    columns, units = Columns(rows), unit_codes([row.group for row in rows], len(rows))
    places = {bar.metric: bars_on_slices.rows_of(bar, columns) for bar in bars}
    return {name: {"rows": len(chosen), "units": len(np.unique(units[chosen]))} for name, chosen in places.items()}


def _best_values(objective: str, rows: Iterable[Example], labels: Sequence[str]) -> dict[str, float | None]:
    """Return what right answers reach: one row of each target, since how many there are decides over no metric's being there."""
    some = list({repr(row.target): row.target for row in rows}.values())
    return metrics.measured(objective, some, [_right(target, labels) for target in some], labels) if some else {}


def _right(target: Any, labels: Sequence[str]) -> Prediction:
    """Return the right answer to a row, and all the certainty there is."""
    if isinstance(target, str):
        return Prediction(label=target, scores={label: float(label == target) for label in labels})
    if isinstance(target, dict):
        return Prediction(grades={trait: float(score) for trait, score in target.items() if score is not None})
    return Prediction(labels=tuple(target or ()), scores={label: float(label in (target or ())) for label in labels})


def _words(bar: Bar, rows: int) -> tuple[str, str, str]:
    name, label = metrics.split_name(bar.plain)
    of = f'no test row of "{label}"' if label is not None else f"too little difference between these {rows:,} test rows (one label, or one score)"
    return (f"{name} cannot be measured: there is {of}", f"accept.{bar.metric}", "Add such test rows, or take the bar away.")

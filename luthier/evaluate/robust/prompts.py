"""What a writing model is asked, changed in ways that should not matter: how good are the answers then?

Of a written answer nothing is expected to stay word for word, so it is held against the wanted answer as before, and not against the first one.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from luthier.base.inputs import with_asked
from luthier.base.records import Example, Prediction
from luthier.base.seeds import derive_seed
from luthier.data.report import input_text
from luthier.evaluate.answered import Answered
from luthier.evaluate.intervals import Interval, interval_of
from luthier.evaluate.metrics import LOWER_IS_BETTER, NEITHER_IS_BETTER, unbounded
from luthier.evaluate.robust.changes import CHANGES
from luthier.evaluate.robust.look import picked, value_of
from luthier.evaluate.tables.generate import WRITTEN

Answer = Callable[[list[Mapping[str, Any]]], list[Prediction]]
METRIC = "rougeL"
# What says how good a written answer is: more is better, and that it came to an end is not enough.
_GOOD = frozenset(WRITTEN) - LOWER_IS_BETTER - NEITHER_IS_BETTER - {"stopped"}
_RESAMPLES = 300
_SHOWN = 5


def metric_of(named: Sequence[str]) -> str:
    """Return what changed prompts are measured in: the first of these names that says how good written answers are, or rougeL."""
    return next((name for name in named if name in _GOOD), METRIC)


def look(
    answered: Answered, answer: Answer, *, metric: str, most: int, names: Sequence[str] = tuple(CHANGES), seed: int = 0
) -> tuple[dict[str, Any], dict[str, Interval]]:
    """Return what changes of the prompts did to the answers, for the report, and ``robust[change]``.

    Args:
        metric: one of written answers.
        most: rows that are changed, of those that were answered; chance picks them.
        names: the changes that are asked for.
    """
    written = [i for i, p in enumerate(answered.predictions) if p.text is not None]
    some = [written[i] for i in picked(len(written), most, seed)]
    found: dict[str, Any] = {"rows": len(some), "metric": metric, "changes": {}, "swaps": {}}
    measured: dict[str, Interval] = {}
    for name in names:
        changed = [(i, inputs) for i in some if (inputs := _changed(answered.rows[i], name, seed)) is not None]
        if not changed:
            continue
        places = [i for i, _ in changed]
        before = answered.only(places)
        after = Answered(answered.objective, before.rows, answer([inputs for _, inputs in changed]), answered.labels)
        figure = interval_of(after.table, metric, after.units, resamples=_RESAMPLES)
        counts = {} if unbounded(metric) else {"rows": len(places), "units": len(np.unique(after.units))}
        measured[f"robust[{name}]"] = {**figure, **counts}
        found["changes"][name] = {
            "rows": len(places), "robust": figure, "unchanged": value_of(before.table, metric), "applies": len(places) / len(some),
            "shown": _fallen(before, after, [inputs for _, inputs in changed], metric),
        }  # fmt: skip
    return found, measured


def _changed(row: Example, name: str, seed: int) -> dict[str, Any] | None:
    rng = random.Random(derive_seed(seed, "robust", name, row.id))
    return with_asked(row.inputs, lambda text: CHANGES[name].change(text, rng))


def _by_row(answered: Answered, metric: str) -> Any:
    table = answered.table
    return table.measure(np.eye(table.size))[:, table.names.index(metric)]


def _fallen(before: Answered, after: Answered, inputs: Sequence[Mapping[str, Any]], metric: str) -> list[dict[str, Any]]:
    """Return the rows whose answers lost most by the change, those that lost at all."""
    lost = np.nan_to_num(_by_row(before, metric) - _by_row(after, metric))
    worst = [int(i) for i in np.argsort(-lost, kind="stable")[:_SHOWN] if lost[i] > 0]
    return [{"text": input_text(Example("", inputs[i], None, row.source))[-300:], "before": (before.predictions[i].text or "")[:200],
             "after": (after.predictions[i].text or "")[:200], "target": str(row.target)[:200], "file": row.source.file, "line": row.source.line}
            for i in worst for row in [before.rows[i]]]  # fmt: skip

"""What a writing model is asked, changed in ways that should not matter: how good are the answers then?

Of a written answer nothing is expected to stay word for word, so it is held against the wanted answer as before, and not against the first one.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Collection, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np

from luthier.base.inputs import with_asked
from luthier.base.records import Example, Prediction
from luthier.base.seeds import derive_seed
from luthier.data.report import input_text
from luthier.evaluate.answered import Answered
from luthier.evaluate.intervals import Interval, interval_of
from luthier.evaluate.metrics import unbounded
from luthier.evaluate.robust.changes import CHANGES
from luthier.evaluate.robust.look import picked
from luthier.evaluate.tables.generate import WRITTEN

Answer = Callable[[list[Mapping[str, Any]]], list[Prediction]]
METRIC = "rougeL"
# What is told of a known answer's tokens says nothing of what was written.
_WEIGHED = ("perplexity", "bits_per_token")
_RESAMPLES = 300
_SHOWN = 5


def metric_of(named: Sequence[str]) -> str:
    """Return what changed prompts are measured in: the first metric of written answers that a bar names, or rougeL."""
    return next((name for name in named if name in WRITTEN and name not in _WEIGHED), METRIC)


def look(
    answered: Answered, answer: Answer, *, metric: str, most: int, only: Collection[str] | None = None, seed: int = 0
) -> tuple[dict[str, Any], dict[str, Interval]]:
    """Return what changes of the prompts did to the answers, for the report, and ``robust[change]``.

    Args:
        metric: one of written answers.
        most: rows that are changed, of those that were answered; chance picks them.
        only: the changes that are asked for; None for all.
    """
    written = [i for i, p in enumerate(answered.predictions) if p.text is not None]
    some = [written[i] for i in picked(len(written), most, seed)]
    found: dict[str, Any] = {"rows": len(some), "metric": metric, "changes": {}, "swaps": {}}
    measured: dict[str, Interval] = {}
    for name in CHANGES if only is None else [name for name in CHANGES if name in only]:
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
            "rows": len(places), "robust": figure, "unchanged": _value(before, metric), "applies": len(places) / len(some),
            "shown": _fallen(before, after, [inputs for _, inputs in changed], metric),
        }  # fmt: skip
    return found, measured


def _changed(row: Example, name: str, seed: int) -> dict[str, Any] | None:
    rng = random.Random(derive_seed(seed, "robust", name, row.id))
    return with_asked(row.inputs, partial(_of_text, name=name, rng=rng))


def _of_text(text: str, *, name: str, rng: random.Random) -> str | None:
    return CHANGES[name].change(text, rng)


def _value(answered: Answered, metric: str) -> float | None:
    value = _values(answered, metric, np.ones((1, answered.table.size)))[0]
    return None if np.isnan(value) else float(value)


def _values(answered: Answered, metric: str, weights: Any) -> Any:
    return answered.table.measure(weights)[:, answered.table.names.index(metric)]


def _fallen(before: Answered, after: Answered, inputs: Sequence[Mapping[str, Any]], metric: str) -> list[dict[str, Any]]:
    """Return the rows whose answers lost most by the change, those that lost at all."""
    each = np.eye(before.table.size)
    lost = np.nan_to_num(_values(before, metric, each) - _values(after, metric, each))
    worst = [int(i) for i in np.argsort(-lost, kind="stable")[:_SHOWN] if lost[i] > 0]
    return [{"text": input_text(Example("", inputs[i], None, row.source))[-300:], "before": (before.predictions[i].text or "")[:200],
             "after": (after.predictions[i].text or "")[:200], "target": str(row.target)[:200], "file": row.source.file, "line": row.source.line}
            for i in worst for row in [before.rows[i]]]  # fmt: skip

"""Answer test rows that are changed: which changes the task asks for, by its objective, its settings and its bars."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

from luthier.evaluate.answered import Answered
from luthier.evaluate.intervals import Interval
from luthier.evaluate.robust import look, named, orders, prompts, turned
from luthier.evaluate.robust.changes import CHANGES
from luthier.release.predictor import Predictor
from luthier.spec.bars import Bar
from luthier.spec.task import Task


def changes(
    task: Task, answered: Answered, bars: Sequence[Bar], predictor: Predictor, metric: str,
    reworded: look.Reworded | None = None,
) -> tuple[dict[str, Any], dict[str, Interval]] | None:
    """Return the parts of the report on what changes of the texts do to the answers, with the metrics of it; None where nobody asked."""
    asked, most = task.evaluate.robust, task.evaluate.robust_rows
    if answered.objective == "generate" and answered.rows:
        return _of_prompts(task, answered, [bar.plain for bar in bars], partial(predictor.predict, max_new_tokens=task.evaluate.max_new_tokens))
    if asked == "off" or answered.objective not in named.OBJECTIVES or not answered.rows:
        return None
    found, measured = look.look(answered, predictor.predict, metric=metric, most=most, reworded=reworded)
    around, flipped = turned.look(answered, predictor.predict, most=most)
    return {"robust": {**found, "negation": around}}, {**measured, **flipped}


def asked_of_prompts(task: Task, bars: Sequence[str]) -> tuple[bool, list[str]]:
    """Return whether orders are planted in what a writing model reads, and which changes are made of it."""
    whole = task.evaluate.robust == "on"
    return whole or named.ORDER in bars, [name for name in CHANGES if whole or f"robust[{name}]" in bars]


def _of_prompts(
    task: Task, answered: Answered, bars: Sequence[str], answer: prompts.Answer
) -> tuple[dict[str, Any], dict[str, Interval]]:
    """Plant orders and change prompts, all where `evaluate.robust` is on, else what bars name: to write is slow."""
    most = task.evaluate.robust_rows
    found: dict[str, Any] = {}
    measured: dict[str, Interval] = {}
    planted, wanted = asked_of_prompts(task, bars)
    if planted:
        told, measured = orders.look(answered, answer, most=most)
        found = {"written": {"orders": told}} if told else {}
    if wanted:
        metric = prompts.metric_of([*bars, task.train.metric])
        found["robust"], changed = prompts.look(answered, answer, metric=metric, most=most, names=wanted)
        measured |= changed
    return found, measured

"""What mistakes cost, from a task or its bundle to the rows that are judged."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import luthier.lifecycle.scoping as scoping
from luthier.base.errors import Fault, TaskError
from luthier.base.records import Prediction
from luthier.evaluate import costs
from luthier.evaluate.costs import Prices
from luthier.evaluate.tables.classify import COST
from luthier.spec.bars import Bar
from luthier.spec.load import TaskFile
from luthier.spec.task import Task


def prices_of(file: TaskFile) -> Prices | None:
    """Return the prices of a task; None where nothing costs.

    Raises:
        TaskError: their file cannot be read.
    """
    prices, faults = costs.read(file.task.evaluate.costs, file.folder)
    if faults:
        raise TaskError.of(Fault(f.what, f"{file.path}: evaluate.costs.table: {f.where}", f.mend) for f in faults)
    return prices


def refers(task: Task) -> bool:
    """Whether any row may go to a person: by a threshold, or because a person costs less."""
    return task.answer.asked or (task.answer.decide == "cost" and task.evaluate.costs.person is not None)


def task_faults(task: Task, bars: Sequence[Bar]) -> list[Fault]:
    """Return what is wrong before any row is read."""
    asked, found = task.evaluate.costs, []
    if asked.asked and task.task.objective != "classify":
        found.append(Fault(f"`{task.task.objective}` gives no one label that could cost something", "evaluate.costs", "Take the section away."))
    if asked.asked and task.answer.asked and asked.person is None:
        found.append(Fault("rows go to a person, and what a person costs is not said", "evaluate.costs.person", "Set it, to 0 if it is free."))
    if not asked.asked:
        found += [Fault("nothing costs anything in this task", f"accept.{bar.metric}", "Say what mistakes cost in evaluate.costs.")
                  for bar in bars if bar.plain == COST]  # fmt: skip
        if task.answer.decide == "cost":
            found.append(Fault("labels cannot be given by costs that are not there", "answer.decide", "Say them in evaluate.costs."))
    if task.answer.decide == "cost" and task.evaluate.calibrate == "off":
        found.append(Fault("costs are weighed by probabilities, and these are not made honest", "evaluate.calibrate", "Set it to auto or on."))
    return found


def row_faults(file: TaskFile, labels: Sequence[str]) -> list[Fault]:
    """Return a fault for each label of the table that the data lacks.

    Raises:
        TaskError: the table's file cannot be read.
    """
    prices = prices_of(file)
    if prices is None:
        return []
    known = [*labels, *([scoping.name_of(file.task)] if scoping.asked(file.task) else [])]
    return costs.label_faults(prices, known)


def rule_of(task: Task, prices: Prices | None, labels: Sequence[str]) -> dict[str, Any]:
    """Return what a rule needs to give labels by their cost; nothing where it gives the likeliest."""
    if prices is None or task.answer.decide != "cost":
        return {}
    table = {true: dict(zip(labels, row, strict=True)) for true, row in zip(labels, prices.matrix(labels), strict=True)}
    return {"prices": table, "person": task.evaluate.costs.person}


def priced_all(
    prices: Prices | None, targets: Sequence[str], found: Mapping[str, Sequence[Prediction]]
) -> dict[str, list[Prediction]]:
    """Return several models' answers to the same rows, each row with what it costs."""
    return {name: costs.priced(prices, targets, predictions) for name, predictions in found.items()}

"""The metrics of each objective: their names, their values, and whether a bar can be put on them."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from luthier.base.errors import Fault, did_you_mean
from luthier.base.records import Prediction
from luthier.evaluate import cases
from luthier.evaluate.judges import named as judges
from luthier.evaluate.robust import named
from luthier.evaluate.tables import FAMILIES, Table, tabulate
from luthier.evaluate.tables.rank import unreached
from luthier.evaluate.written.extras import OTHER
from luthier.spec.bars import Bar
from luthier.spec.task import Task

DEFAULT = {name: family.default for name, family in FAMILIES.items()}
# Which weights are delivered: the same metric, or a smoother one where validation rows are few.
CHOOSES = {name: family.chooses or family.default for name, family in FAMILIES.items()}
# What a sequence of tasks forgot (evaluate/forgetting.py) is no metric of an objective, and is read like one.
LOWER_IS_BETTER = frozenset(name for family in FAMILIES.values() for name in family.lower_is_better) | {
    "forgetting", "mean_forgetting", "false_refusal_rate", named.ORDER, *OTHER,
}  # fmt: skip
NEITHER_IS_BETTER = frozenset(name for family in FAMILIES.values() for name in family.neither_is_better)
UNBOUNDED = frozenset(name for family in FAMILIES.values() for name in family.unbounded) | {"backward_transfer"}
# What follows from :meth:`Learner.measure` alone, without an answer being written.
MEASURED = frozenset(name for family in FAMILIES.values() for name in family.measured)
WORDS = {name: words for family in FAMILIES.values() for name, words in family.words.items()}
PER_LABEL = tuple(dict.fromkeys(name for family in FAMILIES.values() for name in family.by_label))
# The mean over labels, where it has a name of its own.
_MEANS = {"average_precision": "map"}
_PER_LABEL = re.compile(rf"^({'|'.join(PER_LABEL)})\[(.+)\]$", re.DOTALL)


def doubt(metric: str, objective: str, rows: int) -> Callable[[float], float] | None:
    """Return the standard error of a score of so many rows as a function of the score: that of a share; None where it is no share.

    For ``classify`` alone, where it was measured that it chooses better weights (docs/experiments.md).
    """
    if objective != "classify" or not rows or metric in LOWER_IS_BETTER | NEITHER_IS_BETTER | UNBOUNDED:
        return None
    return lambda score: math.sqrt(max(0.0, score * (1 - score)) / rows)


def classification(
    targets: Sequence[str], predictions: Sequence[Prediction], labels: Sequence[str]
) -> dict[str, float | None]:
    """Return every metric of ``classify``; None where it is undefined (no row of a label, one class only, no scores).

    Macro averages run over the labels that occur in the targets: scikit-learn with ``labels=`` those. A label that
    only the model names has no recall to be measured, and its harm already shows in the recall of the labels it was
    taken for; so one stray prediction cannot add a zero to the mean. Equal to scikit-learn, which the tests hold
    against it.
    """
    return _values(tabulate("classify", targets, predictions, labels))


def generation(targets: Sequence[str], predictions: Sequence[Prediction]) -> dict[str, float | None]:
    """Return every metric of ``generate``; rows without a text count for perplexity only.

    Exact match and token F1 after SQuAD's normalisation; ROUGE as F-measures without stemming, equal to the rouge-score
    package; length ratio in characters, sum over sum; perplexity is exp of all nats over all tokens of the true
    answers.
    """
    return _values(tabulate("generate", targets, predictions, ()))


def measured(
    objective: str, targets: Sequence[Any], predictions: Sequence[Prediction], labels: Sequence[str]
) -> dict[str, float | None]:
    """Return every metric of an objective; None where it is undefined."""
    return _values(tabulate(objective, targets, predictions, labels))


def _values(table: Table) -> dict[str, float | None]:
    values = table.measure(np.ones((1, table.size)))[0]
    return {name: None if np.isnan(v) else float(v) for name, v in zip(table.names, values, strict=True)}


def names(objective: str, labels: Sequence[str] = ()) -> list[str]:
    """Return the names of all metrics of an objective."""
    return FAMILIES[objective].names(labels)


def unbounded(metric: str) -> bool:
    """Whether a metric, with its label or criterion, and of a stage (``rmse@essays``), is no share between 0 and 1."""
    of_stage, at, _ = metric.rpartition("@")
    return split_name(metric)[0] in UNBOUNDED or judges.is_score(metric) or (bool(at) and unbounded(of_stage))


def split_name(metric: str) -> tuple[str, str | None]:
    """Return ``("recall", "urgent")`` for ``recall[urgent]`` and ``("accuracy", None)`` for ``accuracy``."""
    found = _PER_LABEL.match(metric)
    return (found[1], found[2]) if found else (metric, None)


def check_metric(metric: str, objective: str, labels: Sequence[str] | None, *, where: str = "") -> Fault | None:
    """Return what is wrong with a metric's name, or None. Without ``labels`` (not read yet) any label is believed."""
    if _of_other_texts(metric, objective):
        return None
    kind, label = split_name(metric)
    if label is not None and kind in FAMILIES[objective].by_label:
        if labels is None or label in labels:
            return None
        listed = ", ".join(sorted(labels)[:12]) + (" ..." if len(labels) > 12 else "")
        return Fault(
            f'"{metric}": there is no label "{label}"', where, did_you_mean(label, labels) or f"Labels: {listed}."
        )
    known = names(objective)
    if kind in known and label is None:
        return None
    if metric in FAMILIES[objective].by_label:
        example = f"{metric}[{labels[0] if labels else 'label'}]"
        mean = next((name for name in (f"macro_{metric}", _MEANS.get(metric)) if name in known), None)
        return Fault(f'"{metric}" is measured label by label', where, f"Write {example}{f' or {mean}' if mean else ''}.")
    others = " and ".join(o for o in DEFAULT if o != objective and metric in names(o))
    what = f'"{metric}" is a metric of {others}, not of {objective}' if others else f'unknown metric "{metric}"'
    of_others = [*named.names(objective), *cases.names(objective), *(OTHER if objective == "generate" else ())]
    per_label = [*names(objective, labels or ()), *of_others]
    return Fault(what, where, did_you_mean(metric, per_label) or f"Known for {objective}: {', '.join(known)}.")


def _of_other_texts(metric: str, objective: str) -> bool:
    """Whether it is measured on texts that are no test rows, or by a judge: changed ones, functional tests, train rows."""
    if judges.is_metric(metric):
        return objective in judges.WRITERS
    tested = metric in cases.names(objective) or (objective in cases.OBJECTIVES and cases.ability_of(metric) is not None)
    return tested or metric in named.names(objective) or (objective == "generate" and metric in OTHER)


def check_bars(bars: Sequence[Bar], objective: str, labels: Sequence[str] | None) -> list[Fault]:
    """Return a fault for every bar on an unknown metric or label, and for every limit that no model can be held to."""
    faults = []
    for bar in bars:
        where = f"accept.{bar.metric}"
        fault = check_metric(bar.plain, objective, labels, where=where)
        if fault is None and not unbounded(bar.plain) and not 0 <= bar.limit <= 1:
            mend = (
                f'Write "{bar.op} {bar.limit / 100:g}" or "{bar.op} {bar.limit:g} %".' if 1 < bar.limit <= 100 else ""
            )
            fault = Fault(
                f"{bar.metric} lies between 0 and 1, so the bar {bar.op} {bar.limit:g} says nothing", where, mend
            )
        if fault is None and _of_other_texts(bar.plain, objective) and (bar.where is not None or bar.rival is not None):
            own = "by a judge on rows" if judges.is_metric(bar.plain) else "on texts"
            what = f"{bar.plain} is measured {own} of its own, so it has no parts and no rivals"
            fault = Fault(what, where, 'Write a number alone, such as ">= 0.95".')
        if fault is not None:
            faults.append(fault)
    return faults


def check_lists(bars: Sequence[Bar], task: Task, how: str) -> list[Fault]:
    """Return a fault for each bar, and for a ``train.metric``, that looks further down a ranking than its lists reach.

    Args:
        how: the start of what helps, before ``train.rank.k: 20``.
    """
    k = task.train.rank.k
    asked = [(f"accept.{bar.metric}", bar.plain) for bar in bars] + [("train.metric", task.train.metric)]
    return [
        Fault(f"{metric} looks at the first {cut} items of a list, and lists hold {k}", where, f"{how} train.rank.k: {cut}, or more.")
        for where, metric in asked if task.task.objective == "rank" and (cut := unreached(metric, k)) is not None
    ]  # fmt: skip

"""What a sequence of tasks forgot: the matrix of scores, and the figures made of it.

``matrix[i][j]`` is the score of task j after stage i, None where j was not learnt yet. Scores are in points of each task's own
metric; where less is better the signs are turned, so that forgetting is always a loss.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from luthier.base.errors import Fault, did_you_mean
from luthier.evaluate.metrics import LOWER_IS_BETTER, PER_LABEL, check_bars, check_metric, names, split_name
from luthier.evaluate.written.extras import EXTRAS
from luthier.spec.bars import Bar

Matrix = Sequence[Sequence[float | None]]
NAMES = ("forgetting", "mean_forgetting", "backward_transfer")
WORDS = {
    "forgetting": "most that an earlier stage lost from its best score to the end: 0 is nothing",
    "mean_forgetting": "mean of what the earlier stages lost: 0 is nothing",
    "backward_transfer": "mean change of the earlier stages' scores since they were learnt: below 0 is loss",
}
_OF_STAGE = re.compile(r"^forgetting\[(.+)\]$")
# Written answers are chosen by perplexity; what people read is told beside it, stage by stage.
BESIDE = {"generate": ("rougeL", "chrf")}


@dataclass(frozen=True, slots=True)
class Task:
    """One task of a sequence: its name, the metric it is scored by, and what bars on it may name."""

    name: str
    metric: str
    objective: str
    labels: tuple[str, ...] | None = None

    @property
    def sign(self) -> float:
        return -1.0 if self.metric in LOWER_IS_BETTER else 1.0


def figures(matrix: Matrix, tasks: Sequence[Task]) -> dict[str, Any]:
    """Return forgetting of each earlier task, its largest and mean, and backward transfer; None where undefined.

    Forgetting: the best score a task had after any stage, its own included, less the score at the end (Chaudhry et al. 2018,
    https://arxiv.org/abs/1801.10112). Backward transfer: the mean change of a task's score from its own stage to the
    end (Lopez-Paz & Ranzato 2017, https://arxiv.org/abs/1706.08840).
    """
    last = len(matrix) - 1
    lost: dict[str, float | None] = {}
    gained: list[float] = []
    for j, task in enumerate(tasks[:last]):
        scores = [matrix[i][j] for i in range(j, last + 1)]
        known = [task.sign * s for s in scores if s is not None]
        end, own = scores[-1], scores[0]
        lost[task.name] = max(known) - task.sign * end if known and end is not None else None
        if end is not None and own is not None:
            gained.append(task.sign * (end - own))
    found = [v for v in lost.values() if v is not None]
    return {
        "forgetting": max(found) if found else None,
        "mean_forgetting": float(np.mean(found)) if found else None,
        "by_stage": lost,
        "backward_transfer": float(np.mean(gained)) if gained else None,
    }


def best_stage(matrix: Matrix, tasks: Sequence[Task], j: int) -> int:
    """Return the stage after which task j scored best, the latest of equals."""
    known = [(tasks[j].sign * s, i) for i in range(j, len(matrix)) if (s := matrix[i][j]) is not None]
    return max(known)[1] if known else j


def beside(bars: Sequence[Bar], tasks: Sequence[Task]) -> list[str]:
    """Return the metrics that are followed from stage to stage beside each task's own: those of written answers, and those of bars."""
    found = [metric for task in tasks for metric in BESIDE.get(task.objective, ())]
    found += [metric for bar in bars if (of := _OF_STAGE.match(bar.metric)) and (metric := _parts(of[1])[0])]
    return list(dict.fromkeys(found))


def _parts(inside: str) -> tuple[str, str]:
    """Return ("rougeL", "general") for ``rougeL@general``; without a metric the first is empty."""
    metric, _, stage = inside.rpartition("@")
    return metric, stage


def is_bar(metric: str) -> bool:
    """Whether a bar is on what a sequence forgot, or on one of its stages by name."""
    return metric in NAMES or _OF_STAGE.match(metric) is not None or "@" in metric


def check(bars: Sequence[Bar], tasks: Sequence[Task]) -> list[Fault]:
    """Return a fault for each bar of a sequence that means nothing: no such stage, no such metric, nothing to forget.

    A plain name is a metric of the last task; ``metric@stage`` one of that stage's task at the end, and
    ``forgetting[metric@stage]`` what it lost of that.
    """
    faults: list[Fault] = []
    stages = [task.name for task in tasks]
    for bar in bars:
        where = f"accept.{bar.metric}"
        of = _OF_STAGE.match(bar.metric)
        followed, of_stage = _parts(of[1]) if of is not None else ("", "")
        if of is not None and of_stage not in stages[:-1]:
            why = "the last stage has nothing to forget" if of_stage == stages[-1] else f'there is no stage "{of_stage}"'
            faults.append(Fault(f'"{bar.metric}": {why}', where, _earlier(of_stage, stages)))
        elif followed:
            faults += _followed(followed, tasks[stages.index(of_stage)], where)
        elif bar.metric in NAMES or of is not None:
            if len(tasks) < 2:
                what = f'"{bar.metric}" is measured over stages, and this task has one'
                faults.append(Fault(what, where, "Write two or more stages, or take the bar away."))
        else:
            metric, at, stage = bar.plain.rpartition("@")
            task = tasks[-1] if not at else next((t for t in tasks if t.name == stage), None)
            if task is None:
                faults.append(Fault(f'"{bar.metric}": there is no stage "{stage}"', where, _earlier(stage, stages)))
                continue
            plain = replace(bar, metric=metric if at else bar.plain)
            faults += [Fault(f.what, where, f.mend) for f in check_bars([plain], task.objective, task.labels)]
    return faults


def _followed(metric: str, task: Task, where: str) -> list[Fault]:
    """Return what is wrong with a metric that is to be followed from stage to stage: only what the answers alone tell can be."""
    fault = check_metric(metric, task.objective, task.labels, where=where)
    if fault is None and (metric in EXTRAS or split_name(metric)[0] not in (*names(task.objective), *PER_LABEL)):
        fault = Fault(f"{metric} is measured at the end and not after each stage", where, f'Put a bar on "{metric}@{task.name}" instead.')
    return [fault] if fault else []


def _earlier(word: str, names: Sequence[str]) -> str:
    return did_you_mean(word, names) or f"Stages: {', '.join(names)}."


def measured(
    found: Mapping[str, Any], spans: Mapping[str, tuple[float, float] | None]
) -> dict[str, dict[str, float | None]]:
    """Return the figures as bars are held against them: ``{"forgetting": {"value", "low", "high"}, ...}``.

    Args:
        spans: the 95 % interval of each task's loss. The largest loss has that of the task which lost most.
    """

    lost = {name: value for name, value in found["by_stage"].items() if value is not None}
    worst = max(lost, key=lambda name: lost[name]) if lost else None
    return {
        "forgetting": _figure(found["forgetting"], spans.get(worst) if worst else None),
        "mean_forgetting": _figure(found["mean_forgetting"]),
        "backward_transfer": _figure(found["backward_transfer"]),
        **{f"forgetting[{name}]": _figure(value, spans.get(name)) for name, value in found["by_stage"].items()},
    }


def measured_beside(found: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, float | None]]:
    """Return what stages lost of further metrics, as bars name it: ``{"forgetting[rougeL@general]": {"value", "low", "high"}}``."""
    return {
        f"forgetting[{metric}@{name}]": _figure(value, one["intervals"].get(name))
        for metric, one in found.items() for name, value in one["by_stage"].items()
    }  # fmt: skip


def _figure(value: float | None, span: Sequence[float] | None = None) -> dict[str, float | None]:
    return {"value": value, "low": span[0] if span else None, "high": span[1] if span else None}


def matrix_in_words(found: Mapping[str, Any]) -> tuple[list[str], list[list[str]]]:
    """Return the matrix as a head and rows of text."""
    stages, on_test = found["stages"], bool(found.get("test"))
    matrix = found["test"] if on_test else found["valid"]
    head = [f"on the {'test' if on_test else 'validation'} rows"]
    head += [f"{name} ({metric})" for name, metric in zip(stages, found["metrics"], strict=True)]
    return head, [_line(name, [*scores, *[None] * (len(stages) - len(scores))]) for name, scores in zip(stages, matrix, strict=True)]


def beside_in_words(found: Mapping[str, Any]) -> tuple[list[str], list[list[str]]] | None:
    """Return the matrices of further metrics side by side, as a head and rows of text; None without any."""
    stages, head = found["stages"], ["by further metrics"]
    columns = []
    for metric, one in (found.get("beside") or {}).items():
        known = columns_of(one["test"], found["metrics"], metric)
        head += [f"{stages[j]} ({metric})" for j in known]
        columns += [[row[j] for row in one["test"]] for j in known]
    rows = [_line(name, [column[i] for column in columns]) for i, name in enumerate(stages)]
    return (head, rows) if columns else None


def _line(name: str, scores: Sequence[float | None]) -> list[str]:
    return [f"after {name}", *("" if score is None else f"{score:.3f}" for score in scores)]


def columns_of(matrix: Matrix, metrics: Sequence[str], metric: str) -> list[int]:
    """Return the places of the stages that have a further metric, and not as their own."""
    return [j for j in range(len(metrics)) if metrics[j] != metric and any(row[j] is not None for row in matrix)]


def in_words(record: Mapping[str, Any]) -> list[str]:
    """Return sentences on what a run forgot: of earlier stages, and of general ability."""
    found, said = record.get("sequence") or {}, []
    if found.get("forgetting") is not None:
        said = [f"forgetting: at most {found['forgetting']:.3f}; backward transfer: {found['backward_transfer']:+.3f}"]
    for name, one in (found.get("blends") or {}).items():
        said.append(f"blended after {name}: {one['share']:.0%} of the weights before")
    if probe := record.get("probe"):
        said.append(f"general ability: {probe['before']:.3f} before, {probe['after']:.3f} after ({probe['words']})")
    return said

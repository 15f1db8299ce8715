"""A plan in words: what it says to whoever waits or pays, and what they can do next."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from luthier.data.prepare import Prepared
from luthier.objectives import Learner
from luthier.objectives.heads.use import FEW
from luthier.spec.task import Task
from luthier.train.planning.machines import Machine


def notes(task: Task, data: Prepared, learner: Learner, found: Mapping[str, Any], where: Machine | None) -> list[str]:
    """Return what a plan leaves out or takes for granted."""
    told = []
    if task.train.method == "auto" and learner.objective == "classify" and len(data.train) <= FEW:
        seconds = found["time"]["train"]["seconds"]
        told.append(f"with up to {FEW:,} train rows the method is decided by a contest: one more training on four fifths of the rows and some "
                    f"heads, at most about {duration(seconds)} on top; where a head wins, nothing else is trained")  # fmt: skip
    if found["work"]["steps"] and len(data.valid):
        told.append("training may stop before its last step, when the validation score no longer rises")
    if task.data.augment.when != "off":
        told.append("rows that augmentation adds, and the small trainings that judge them, are not counted")
    if where is not None:
        told.append(f"{where.words} was not measured: data-sheet rates ({where.source}) and an assumed utilisation of {where.utilisation:.0%}; "
                    "what runs on the processor takes as long as here")  # fmt: skip
    share = found["time"]["share"]
    if share is not None and share < 0.7:
        told.append(f"this machine is busy: it gave the plan {share:.0%} of a core; on a quiet one the same takes less time")
    return told


def lines(found: Mapping[str, Any]) -> list[str]:
    """Return a plan for the terminal: one line a thing, what does not fit and what to do about it."""
    work, method, model = found["work"], found["method"], found["model"]
    steps = f"{work['steps']:,} steps of {method['batch']} rows" if work["steps"] else "no steps, a head is fitted"
    passes = f" in {work['passes']:,} passes" if work["passes"] else ""
    told = [
        f"plan     {found['task']} on {found['machine']['words']}",
        f"method   {method['name']}: {method['why']}",
        f"work     {model['base']}: {count(model['trained'])} of {count(model['parameters'])} parameters learn; {work['rows']:,} rows, "
        f"{work['tokens']:,} tokens, {steps}{passes}",
        _memory(found["memory"]),
        _time(found["time"]),
        _disk(found["disk"]),
    ]
    if "cost" in found:
        cost = found["cost"]
        told.append(f"cost     about {cost['amount']:.2f} ({cost['low']:.2f} to {cost['high']:.2f}) at {cost['price_per_hour']:g} an hour")
    told += [f"  note   {note}" for note in found["notes"]]
    told += [f"  do     {one}" for one in found["memory"]["advice"]]
    if found["disk"]["mb"] > found["disk"]["free_mb"]:
        told.append("  do     free some disk, or name another with --out")
    return told


def verdict(found: Mapping[str, Any]) -> str:
    """Return the one line that a plan comes to."""
    fits = {"yes": "fits", "no": "does not fit", "maybe": "may not fit", "unknown": "memory unknown"}[found["memory"]["fits"]]
    cost = f", cost {found['cost']['amount']:.2f}" if "cost" in found else ""
    return f"{fits}: {size(found['memory']['mb'])}, {duration(found['time']['seconds'])}{cost}"


def _memory(memory: Mapping[str, Any]) -> str:
    room = "" if memory["free_mb"] is None else f", of {size(memory['free_mb'])} {'in all' if memory['of'] == 'the GPU' else 'free'}"
    fits = {"yes": "it fits", "no": "it does NOT fit", "maybe": "it may not fit", "unknown": "what is free is not known"}[memory["fits"]]
    parts = _largest(memory["parts"].items(), size)
    return f"memory   about {size(memory['mb'])} at most ({size(memory['low'])} to {size(memory['high'])}){room}: {fits}. {parts}"


def _time(time: Mapping[str, Any]) -> str:
    parts = _largest(((part["name"], part["seconds"]) for part in time["parts"]), duration)
    return f"time     about {duration(time['seconds'])} ({duration(time['low'])} to {duration(time['high'])}). {parts}"


def _disk(disk: Mapping[str, Any]) -> str:
    return f"disk     about {size(disk['mb'])}, of {size(disk['free_mb'])} free. {_largest(disk['parts'].items(), size)}"


def _largest(parts: Any, told: Any) -> str:
    """Return the parts that count, the largest first."""
    known: Sequence[tuple[str, float]] = sorted(parts, key=lambda part: -part[1])
    whole = sum(value for _, value in known)
    return ", ".join(f"{name} {told(value)}" for name, value in known if value >= 0.03 * whole)


def size(mb: float) -> str:
    """Return megabytes for a reader."""
    return f"{mb / 1024:.1f} GB" if mb >= 1024 else f"{mb:.0f} MB"


def duration(seconds: float) -> str:
    """Return seconds for a reader."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    if seconds < 100:
        return f"{seconds:.0f} s"
    if seconds < 5400:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h"


def count(parameters: int) -> str:
    """Return a number of parameters for a reader."""
    for unit, name in ((10**9, "billion"), (10**6, "million")):
        if parameters >= unit:
            return f"{parameters / unit:.1f} {name}"
    return f"{parameters:,}"


def off(name: str, expected: float, took: float, told: Any) -> str:
    """Return by how much an estimate was off, in words."""
    share = took / expected - 1 if expected else 0.0
    how = "as estimated" if abs(share) < 0.005 else f"{abs(share):.0%} {'more' if share > 0 else 'less'}"
    return f"{name}: estimated {told(expected)}, took {told(took)}: {how}"



"""`luthier plan`: what a run will take in memory, time, disk and money, before anything is trained or written."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from luthier.base.errors import DataError, TaskError
from luthier.data.prepare import Prepared, stops, survey
from luthier.data.ranking import united
from luthier.evaluate import metrics as measures
from luthier.lifecycle import opening, plan_memory, plan_parts, plan_words, steps
from luthier.lifecycle.checking import check_task
from luthier.lifecycle.plan_parts import COUNTED, MEASURED, OPENED, UTILISED, Speed, Subject
from luthier.lifecycle.staged import stage_files
from luthier.models import memory, methods, tokens
from luthier.models.load import Base, open_base
from luthier.models.load import device as device_here
from luthier.objectives import Learner
from luthier.spec.load import TaskFile, load_task
from luthier.spec.train import TrainSection
from luthier.train import defaults
from luthier.train import speed as speed_of
from luthier.train.choose import choose_method, wanted
from luthier.train.planning import counting, machines
from luthier.train.planning.counting import Law, Pace
from luthier.train.planning.machines import HERE, Machine
from luthier.train.planning.probe import Clock, probe, touch

# Seconds of computing that go into trying out passes.
BUDGET_S = 4.0
Watch = Callable[[str], None]


@dataclass(frozen=True)
class Opened:
    """A learner to be planned with. Of a large model it has few layers: ``deeper`` has one more, ``layers`` more are to come."""

    base: Base
    learner: Learner
    deeper: Learner | None = None
    layers: int = 0


def plan(
    task: str | Path | TaskFile, overrides: Sequence[str] = (), *, machine: str = HERE, price: float | None = None,
    watch: Watch | None = None,
) -> dict[str, Any]:  # fmt: skip
    """Return what a run of the task will take; nothing is trained, fetched or written.

    Args:
        machine: ``this``, or one of :func:`luthier.train.planning.machines.machines`.
        price: of an hour, in any currency.
        watch: is told each step as it begins.
    Raises:
        TaskError: of the task file, the machine or the price. DataError: of files, columns and leaks that stop a run.
    """
    began = time.monotonic()
    if price is not None and not price >= 0:
        raise TaskError(f"{price:g} is no price of an hour", where="--price", mend="Give a number of 0 or more.")
    where = machines.find(machine)
    file = task if isinstance(task, TaskFile) else load_task(task, overrides)
    check_task(file)
    each = [_one(one, where, watch or (lambda step: None)) for one in stage_files(file) or [file]]
    names = [stage.name for stage in file.task.stages]
    found = {"task": file.task.task.name, "machine": _machine(where), **(_together(each, names) if names else each[0])}
    if price is not None:
        hours = {name: found["time"][name] / 3600 for name in ("seconds", "low", "high")}
        found["cost"] = {"price_per_hour": price, "amount": round(hours["seconds"] * price, 4),
                         "low": round(hours["low"] * price, 4), "high": round(hours["high"] * price, 4)}  # fmt: skip
    return {**found, "planned_in_s": round(time.monotonic() - began, 2)}


def _machine(where: Machine | None) -> dict[str, Any]:
    if where is not None:
        return {name: getattr(where, name) for name in where.__dataclass_fields__}
    name = torch.cuda.get_device_name() if torch.cuda.is_available() else "its processor"
    return {"name": HERE, "words": f"this machine, {name}, {torch.get_num_threads()} threads", "kind": device_here().type}


def _one(file: TaskFile, where: Machine | None, watch: Watch) -> dict[str, Any]:
    """Plan a task without stages."""
    began, cpu = time.perf_counter(), time.process_time()
    read = file.task.data.model_copy(update={"semantic": "off"})
    data = survey(read, file.task.task.objective, base=file.folder, watch=watch)
    if faults := stops(data, read):
        raise DataError.of(faults)
    data = united(data) if file.task.task.objective == "rank" else data
    prepared = Clock(time.perf_counter() - began, time.process_time() - cpu)
    watch("passes")
    opened = _open(file, data)
    section, why = _settle(file, data, opened, where)
    found = _estimate(file, data, opened, section, where, prepared)
    found["method"]["why"] = why
    found["notes"] = plan_words.notes(file.task, data, opened.learner, found, where)
    return found


def _open(file: TaskFile, data: Prepared) -> Opened:
    """Open the model with its weights, or, where they are large or not here, two networks of few layers without."""
    task = file.task
    if task.train.threads:
        torch.set_num_threads(task.train.threads)
    torch.manual_seed(task.train.seed)
    found = tokens.place(task.base, file.folder, task.model.revision)
    base = open_base(found, max_tokens=task.model.max_tokens)
    weights = sum(path.stat().st_size for path in found.folder.glob("*.safetensors"))
    room = memory.free_bytes(torch.device("cpu"))
    if weights and (room is None or weights < OPENED * room):
        return Opened(base, opening.make_learner(file, data, base))
    layers = int(getattr(base.config, "num_hidden_layers", 0) or 1)
    least = task.train.layers if task.train.method == "last-layers" else 1
    few, more = (opening.make_learner(file, data, replace(base, hollow=n)) for n in (least, least + 1))
    less, most = (sum(p.numel() for p in one.network.parameters()) for one in (few, more))
    deep = max(0, layers - least - 1)
    few.small = most + deep * (most - less) < few.small_below  # its own few layers always are
    return Opened(base, few, more, deep)


def _settle(file: TaskFile, data: Prepared, opened: Opened, where: Machine | None) -> tuple[TrainSection, str]:
    """Return the training section as a run there would decide it, and why that method."""
    task = file.task
    section, objective = task.train, task.task.objective
    if where is not None:
        cuda = where.kind == "gpu"
        there = {"micro_tokens": defaults.micro_tokens(section, objective, cuda=cuda),
                 "precision": "bfloat16" if where.bfloat16 else "float32"}  # fmt: skip
        section = section.model_copy(update={k: v for k, v in there.items() if getattr(section, k) == "auto"})
    why = "the task asks for it"
    if section.method == "auto" and (where is not None or opened.deeper is not None):
        # The first one wanted; where it does not fit, that is told with what would.
        order, reason = wanted(objective, len(data.train), small=opened.learner.small, headed=opened.learner.headed)
        section, why = section.model_copy(update={"method": order[0]}), reason
    elif section.method == "auto":
        choice = choose_method(opened.learner, data.train, section, contests=False)
        section, why = section.model_copy(update={"method": choice.method}), choice.why
    settled = steps.settle(section, objective=objective, rows=len(data.train), learner=opened.learner)
    if settled.metric == "auto":
        settled = settled.model_copy(update={"metric": measures.CHOOSES[objective]})
    return settled, why


def _estimate(
    file: TaskFile, data: Prepared, opened: Opened, section: TrainSection, where: Machine | None, prepared: Clock
) -> dict[str, Any]:
    task = file.task.model_copy(update={"train": section})
    touch(opened.learner)
    resident = memory.process_bytes("VmRSS") or 0
    memory.restart_peak()
    subject = plan_parts.subject(task, data, opened.learner, section)
    measured = where is None and opened.deeper is None
    rule = law_of(subject, opened) if not measured else None
    rate = counting.rate_here(memory.width_of(opened.learner.network))
    if measured:
        tried = probe(opened.learner, subject.rows, subject.work, subject.plan, section, budget_s=BUDGET_S, fits_head=subject.fits)
        written = plan_parts.writing(opened.learner, data.train) if opened.learner.writes and opened.learner.asked else Clock(0, 0)
        speed = Speed(probe=tried, written=written)
        held = plan_memory.here(subject, tried, resident)
        rate_s = rate.wall_s
    else:
        assert rule is not None
        pace = Pace.of(where) if where else Pace(rate.wall_s * UTILISED, False)
        speed = Speed(rule=rule, pace=pace)
        held = plan_memory.counted(subject, rule, where, runtime=resident if where is None or where.kind == "cpu" else 0)
        rate_s = pace.flops
    return found_of(subject, speed, held, rule, rate_s, prepared, MEASURED if measured else COUNTED)


def law_of(subject: Subject, opened: Opened) -> Law:
    """Count what passes keep and compute; of a network that was not built whole, carried on to all its layers."""
    rule = counting.law(opened.learner, subject.rows, subject.plan)
    if opened.deeper is None:
        return rule
    opened.deeper.prepare_training(subject.section)
    speed_of.prepare(opened.deeper, subject.section)
    return rule.over(counting.law(opened.deeper, subject.rows, subject.plan), opened.layers)


def found_of(
    subject: Subject, speed: Speed, held: dict[str, Any], rule: Law | None, rate: float, prepared: Clock,
    span: tuple[float, float],
) -> dict[str, Any]:  # fmt: skip
    """Return the plan of one task as JSON."""
    counted_ = _parameters(subject.learner) if rule is None else (rule.total, rule.trained)
    train = plan_parts.training_parts(subject, speed)
    weights = counted_[0] * 4
    disk = plan_parts.disk(subject, weights=weights, train_s=plan_parts.sum_of(train.values()).wall_s)
    clocks = {
        "prepare": prepared, "like rows": plan_parts.likeness(subject, rate=rate), **train,
        **plan_parts.other_parts(subject, speed, bundle=disk["bundle"]),
    }  # fmt: skip
    clocks = {name: clock for name, clock in clocks.items() if clock.wall_s > 0}
    whole, learning = plan_parts.sum_of(clocks.values()), plan_parts.sum_of(train.values())
    work, section = subject.work, subject.section
    return {
        "objective": subject.learner.objective,
        "model": {"base": subject.task.base, "parameters": counted_[0], "trained": counted_[1]},
        "method": {"name": section.method, "batch": section.batch, "micro_tokens": section.micro_tokens,
                   "precision": section.precision},
        "work": {
            "rows": round(len(subject.rows) * subject.times), "steps": subject.plan.steps,
            "passes": round(len(work.pieces) * work.scale),
            "tokens": round(sum(work.lengths[r] for piece in work.pieces for r in piece) * work.scale),
            "padded_tokens": round(sum(map(work.tokens, work.pieces)) * work.scale), "longest_row": max(work.lengths),
            "largest_pass": {"rows": len(work.largest), "tokens": work.tokens(work.largest)} if work.pieces else None,
        },
        "memory": held,
        "time": {
            "seconds": round(whole.wall_s, 1), "low": round(whole.wall_s * span[0], 1), "high": round(whole.wall_s * span[1], 1),
            "how": "measured" if speed.probe is not None else "counted", "parts": plan_parts.rounded(clocks),
            "train": {"seconds": round(learning.wall_s, 2), "cpu_s": round(learning.cpu_s, 2)},
            "share": round(speed.probe.share, 3) if speed.probe is not None else None,
        },
        "disk": {"mb": _mb(sum(disk.values())), "parts": {name: _mb(size) for name, size in disk.items()},
                 "free_mb": _mb(shutil.disk_usage(Path.cwd()).free)},
    }  # fmt: skip


def _parameters(learner: Learner) -> tuple[int, int]:
    found = methods.count(learner)
    return found.total, found.trained


def _mb(size: float) -> float:
    return round(size / 2**20, 1)


def _together(each: Sequence[Mapping[str, Any]], names: Sequence[str]) -> dict[str, Any]:
    """Add up the plans of stages: times and disk are summed, the memory is that of the largest."""
    largest = max(each, key=lambda one: one["memory"]["mb"])
    times = [one["time"] for one in each]
    parts = [{**part, "name": f"{name}: {part['name']}"} for name, one in zip(names, times, strict=True) for part in one["parts"]]
    time_ = {**times[-1], **{key: round(sum(t[key] for t in times), 1) for key in ("seconds", "low", "high")}, "parts": parts,
             "train": {key: round(sum(t["train"][key] for t in times), 2) for key in ("seconds", "cpu_s")}}  # fmt: skip
    disk = {**each[-1]["disk"], "mb": round(sum(one["disk"]["mb"] for one in each), 1),
            "parts": {f"{name}: {k}": v for name, one in zip(names, each, strict=True) for k, v in one["disk"]["parts"].items()}}  # fmt: skip
    notes = list(dict.fromkeys(note for one in each for note in one["notes"]))
    notes.append("Stages are planned one by one and added up; measuring every earlier stage again after each, and rows that are "
                 "rehearsed, come on top.")  # fmt: skip
    whole = {**each[-1], "memory": largest["memory"], "time": time_, "disk": disk, "notes": notes}
    return {**whole, "stages": [{"name": name, **one} for name, one in zip(names, each, strict=True)]}


"""The parts of a plan: what is trained, how long each part of a run takes, what it holds in memory and on disk."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from luthier.base.events import silent
from luthier.base.records import Encoded, Example
from luthier.data.prepare import SEMANTIC_ROWS, Prepared
from luthier.evaluate import metrics as measures
from luthier.evaluate.robust.orders import PLACES
from luthier.lifecycle import nearest
from luthier.lifecycle.changing import asked_of_prompts
from luthier.models import methods
from luthier.objectives import Learner
from luthier.objectives.heads import use
from luthier.spec.bars import parse_bars
from luthier.spec.task import Task
from luthier.spec.train import TrainSection
from luthier.train import checkpoint
from luthier.train import speed as speed_of
from luthier.train.defaults import make_plan
from luthier.train.loop import Plan
from luthier.train.planning.counting import Law, Pace
from luthier.train.planning.probe import NOTHING, Clock, Probe
from luthier.train.planning.work import Work, cut, reading
from luthier.train.run import encode_all

# So many rows, evenly spread, stand for all where there are more.
MOST_ROWS = 20_000
_LOOKED_AT = 300
# What a disk writes or reads in a second, of which a plan knows nothing: slow for today.
DISK_S = 2e8
# The embedded model that looks for rows of the same meaning computes so much for each token: twice its 10.6 million weights.
_LIKENESS_FLOPS = 2 * 10.6e6
# How far off a time may be: where passes were run, and by arithmetic alone.
MEASURED, COUNTED = (0.75, 1.4), (0.5, 2.0)
# Of the rate of its matrix products, what a training as a whole gets on a processor.
UTILISED = 0.5
# Weights that take more of the free memory than this are not opened, or copied, to be tried.
OPENED = 0.2


@dataclass(frozen=True)
class Subject:
    """What is planned: a learner that is ready to be trained, its rows (``times`` as many are there), passes and settings."""

    task: Task
    data: Prepared
    learner: Learner
    section: TrainSection
    rows: list[Encoded]
    times: float
    plan: Plan
    work: Work
    fits: int


def subject(task: Task, data: Prepared, learner: Learner, section: TrainSection, *, most: int = MOST_ROWS) -> Subject:
    """Put the method on the learner, encode the rows and cut the passes."""
    section = speed_of.settle(section, rows=len(data.train), learner=learner)
    learner.prepare_training(section)
    speed_of.prepare(learner, section)
    examples = learner.choose(data.train)
    every = max(1, -(-len(examples) // most))
    sample = [examples[i] for i in range(0, len(examples), every)]
    rows, _ = encode_all(learner, sample, silent)
    times = len(examples) / len(sample)
    plan = make_plan(section, rows=round(len(rows) * times))
    fits = learner.fits_head(section)
    if fits and use.is_all(learner, section.method):
        plan = replace(plan, steps=0)
    work = cut(learner, rows, plan, times=times)
    return Subject(task, data, learner, section, rows, times, plan, work, round(len(rows) * times) if fits else 0)


def lengths_of(learner: Learner, examples: Sequence[Example]) -> list[int]:
    """Return the token lengths of rows; of many, some stand for all."""
    if not len(examples):
        return []
    every = max(1, len(examples) // _LOOKED_AT)
    found = []
    for i in range(0, len(examples), every):
        encoded = learner.encode(examples[i])
        found.append(0 if encoded is None else len(encoded))
    return [found[i * len(found) // len(examples)] for i in range(len(examples))]


@dataclass(frozen=True)
class Speed:
    """How fast it goes: as measured on this machine, or by arithmetic on another; ``written`` is of one token written."""

    probe: Probe | None = None
    rule: Law | None = None
    pace: Pace | None = None
    written: Clock = NOTHING

    def steps(self, work: Work) -> Clock:
        if self.probe is not None:
            return self.probe.whole(work) if work.pieces else NOTHING
        assert self.rule is not None and self.pace is not None
        return self.pace.passes(self.rule, work)

    def reads(self, lengths: Sequence[int]) -> Clock:
        if self.probe is not None:
            return self.probe.reading.times(reading(lengths))
        assert self.rule is not None and self.pace is not None
        return self.pace.reading(self.rule, lengths)

    def writes(self, rows: int, tokens: int) -> Clock:
        if self.probe is not None:
            return self.written.times(rows * tokens)
        assert self.rule is not None and self.pace is not None
        # Rows are written side by side, as many as fit into a pass of 4,096 tokens.
        side = max(1, min(256, 4096 // (2 * tokens)))
        return self.pace.writing(self.rule, tokens * -(-rows // side))


def writing(learner: Learner, rows: Sequence[Example]) -> Clock:
    """Let the model write a few tokens, and return what one of one row takes."""
    asked = [learner.encode_input(row.inputs, room=8) for row in rows[:4]]
    learner.eval()
    began, cpu = time.perf_counter(), time.process_time()
    learner.answer(asked, max_new_tokens=6)
    return Clock(time.perf_counter() - began, time.process_time() - cpu).times(1 / (6 * max(1, len(asked))))


def training_parts(subject: Subject, speed: Speed) -> dict[str, Clock]:
    """Return what the parts of `train` take: head, reference, steps, evaluations."""
    section, data, learner = subject.section, subject.data, subject.learner
    found: dict[str, Clock] = {}
    if subject.fits:
        train = [len(row) for row in subject.rows]
        found["head"] = speed.probe.head if speed.probe is not None else speed.reads(train).times(subject.times)
    if learner.refers and speed.probe is not None:
        found["reference"] = speed.probe.refer.times(sum(map(len, subject.rows)) * subject.times)
    elif learner.refers:
        found["reference"] = speed.reads([len(row) for row in subject.rows]).times(subject.times)
    if subject.plan.steps:
        found["steps"] = speed.steps(subject.work)
    if len(data.valid):
        valid = lengths_of(learner, data.valid)
        watched = min(section.watched_rows, len(data.train), max(len(valid), 100))
        seen = subject.rows[:: max(1, len(subject.rows) // max(1, watched))][:watched]
        one = speed.reads([*valid, *map(len, seen)])
        if learner.writes and section.metric not in measures.MEASURED:
            one = one.plus(_written(subject, speed, len(valid)))
        times = 1 + min(section.evaluations, subject.plan.steps) + learner.refers
        found["evaluations"] = one.times(times)
    if nearest.asked(learner, section, len(data.valid)):
        found["nearest rows"] = speed.reads([len(row) for row in subject.rows]).times(subject.times)
    return found


def _written(subject: Subject, speed: Speed, rows: int) -> Clock:
    settings = subject.task.evaluate
    tokens = min(settings.max_new_tokens, subject.learner.max_tokens // 2)
    return speed.writes(min(settings.generate_rows, rows), tokens)


def _changes_of(task: Task) -> int:
    """Return how many times each changed test row of a writing model is answered."""
    planted, changed = asked_of_prompts(task, [bar.plain for bar in parse_bars(task.accept)[0]])
    return len(PLACES) * planted + len(changed)


def other_parts(subject: Subject, speed: Speed, *, bundle: int) -> dict[str, Clock]:
    """Return what a run takes beside preparing and training: rivals, packing, the test rows."""
    learner = subject.learner
    test = speed.reads(lengths_of(learner, subject.data.test))
    if learner.writes and learner.asked:
        test = test.plus(_written(subject, speed, len(subject.data.test)))
    found = {}
    if learner.writes and learner.asked and (times := _changes_of(subject.task)):
        some = min(subject.task.evaluate.robust_rows, len(subject.data.test))
        found["changed prompts"] = _written(subject, speed, some).times(times)
    if learner.writes or learner.measures or learner.ready:
        found["untuned model"] = test
    elif subject.fits:
        # A linear head on the untouched network and the nearest rows both answer the test rows.
        found["rivals"] = test.times(2)
    pack = 4 * bundle / DISK_S
    found["bundle"] = Clock(pack, pack)
    found["test rows"] = test
    if subject.task.evaluate.learning_curve:
        found["learning curve"] = sum_of(training_parts(subject, speed).values()).times(0.75)
    return found


def likeness(subject: Subject, *, rate: float) -> Clock:
    """Return what the search for rows of the same meaning takes, which a plan leaves out of its reading."""
    data = subject.task.data
    rows = len(subject.data.train) + len(subject.data.valid) + len(subject.data.test)
    if data.semantic == "off" or (data.semantic == "auto" and rows > SEMANTIC_ROWS):
        return NOTHING
    tokens = min(128.0, sum(map(len, subject.rows)) / max(1, len(subject.rows))) * rows
    seconds = tokens * _LIKENESS_FLOPS / rate
    return Clock(seconds, seconds)


def sum_of(parts: Any) -> Clock:
    """Return clocks added up."""
    total = NOTHING
    for part in parts:
        total = total.plus(part)
    return total


def disk(subject: Subject, *, weights: int, train_s: float) -> dict[str, int]:
    """Return the bytes that a run writes: rows, checkpoints while it trains, the bundle, the report."""
    data = subject.data
    found = {"rows": sum(_bytes(rows) for rows in (data.train, data.valid, data.test))}
    if subject.plan.steps and train_s > subject.section.checkpoint_s:
        # One is written whole before the oldest goes.
        found["checkpoints"] = checkpoint.bytes_of(subject.learner, scored=True) * (checkpoint.KEPT + 1)
    trained = methods.count(subject.learner).trained * 4
    wrapped = subject.section.method in ("lora", "qlora", "ia3", "prompt", "prefix", "adapters")
    found["bundle"] = weights + (trained if wrapped else 0) + nearest.bytes_of(subject.learner, subject.section, data)
    found["report"] = 5 << 20
    return found


def _bytes(rows: Sequence[Example]) -> int:
    few = [rows[i] for i in range(0, len(rows), max(1, len(rows) // 50))]
    if not few:
        return 0
    sizes = [len(json.dumps(row.as_dict(), ensure_ascii=False, default=str).encode()) + 1 for row in few]
    return int(sum(sizes) / len(sizes) * len(rows))


def rounded(parts: Mapping[str, Clock]) -> list[dict[str, Any]]:
    """Return clocks as JSON."""
    return [{"name": name, "seconds": round(c.wall_s, 2), "cpu_s": round(c.cpu_s, 2)} for name, c in parts.items()]

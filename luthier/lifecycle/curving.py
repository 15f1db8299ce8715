"""The learning curve: the same training on parts of the train rows, and what twice as many would bring."""

from __future__ import annotations

import shutil
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import luthier
from luthier.base.errors import DataError, Fault, StorageError, TaskError
from luthier.base.events import EventLog, silent
from luthier.base.files import locked, read_json, sweep, write_json
from luthier.base.interrupt import stopping
from luthier.base.records import Example
from luthier.base.seeds import stable_hash
from luthier.data import shares as shares_
from luthier.data.prepare import Prepared
from luthier.data.ranking import united
from luthier.evaluate import metrics as measures
from luthier.lifecycle.checking import check_task
from luthier.lifecycle.circle import inputs_hash, prepare_data
from luthier.lifecycle.round import Round, Watcher
from luthier.lifecycle.staged import CURVE_MEND, NO_CURVE
from luthier.models import catalogue
from luthier.spec.load import load_task
from luthier.spec.task import Task

if TYPE_CHECKING:  # steps load torch
    from luthier.lifecycle.steps import Extended, Model

SHARES = (0.25, 0.5, 1.0)


def curve(
    task: Path, overrides: Sequence[str] = (), *, at: Sequence[float] = SHARES, seeds: int = 1, out: Path | None = None,
    watcher: Watcher | None = None,
) -> dict[str, Any]:  # fmt: skip
    """Train on parts of the train rows, measure each on the same validation rows, and write ``curve.json`` and a page.

    Each part is trained as a task with so many rows would be. The test rows stay closed. Parts that an earlier call
    finished are not trained again, so the same command goes on where it was stopped, and more seeds add to those there are.

    Args:
        at: shares of the train rows, in (0, 1].
    Raises:
        TaskError: a task with stages. DataError: no validation rows, or a share at which a label would vanish; before
            anything is trained.
    """
    file = load_task(task, overrides)
    if file.task.stages:
        raise TaskError(NO_CURVE, where=f"{file.path}: stages", mend=CURVE_MEND)
    check_task(file)
    catalogue.refuse(file.task.base, folder=file.folder)
    identity = stable_hash([inputs_hash(file), "curve"])
    folder = out or Path("runs") / f"{file.task.task.name}-curve-{identity[:10]}"
    with stopping() as stopper, locked(folder):
        sweep(folder)
        if (folder / "inputs.json").is_file() and read_json(folder / "inputs.json").get("inputs") != identity:
            _clear(folder)
        emit = EventLog(folder / "events.jsonl", watcher)
        try:
            round_ = Round(file, folder, emit, stopper, {})
            write_json(folder / "inputs.json", {"inputs": identity})
            emit("start", task=file.task.task.name, objective=file.task.task.objective, run=str(folder))
            return _go(round_, sorted(set(at)), seeds)
        except BaseException as error:
            with suppress(StorageError):
                emit("stopped", reason=str(error) or type(error).__name__)
            raise
        finally:
            emit.close()


def _clear(folder: Path) -> None:
    for name in ("cells", "prepared"):
        shutil.rmtree(folder / name, ignore_errors=True)
    for name in ("curve.json", "curve.html", "choice.json", "events.jsonl"):
        (folder / name).unlink(missing_ok=True)


def _go(round_: Round, at: Sequence[float], seeds: int) -> dict[str, Any]:
    from luthier.evaluate.report.page import write_curve

    began = time.monotonic()
    data = prepare_data(round_)
    if round_.file.task.task.objective == "rank":
        data = united(data)
    check(round_.file.task, data, at, where="--at")
    found = measure(round_, data.sealed(), at, seeds)
    record = {
        "task": round_.file.task.task.model_dump(include={"name", "objective", "goal"}),
        "created": datetime.now(UTC).isoformat(timespec="seconds"), "luthier": luthier.__version__,
        "run": str(round_.folder), "fingerprint": data.report.fingerprint, "seconds": round(time.monotonic() - began, 1),
        **found,
    }  # fmt: skip
    write_json(round_.folder / "curve.json", record)
    return {**record, "page": str(write_curve(record, round_.folder / "curve.html"))}


def check(task: Task, data: Prepared, at: Sequence[float], *, where: str) -> None:
    """Find what keeps a learning curve from being measured, before anything is trained.

    Raises:
        DataError: with every fault.
    """
    faults = shares_.faults(data.train, at, labelled=_labelled(task), where=where)
    if not data.valid:
        mend = "Give them a share in data.split.valid, or a file in data.valid."
        faults.append(Fault("there are no validation rows to measure a learning curve on", "data.split.valid", mend))
    if faults:
        raise DataError.of(faults)


def _labelled(task: Task) -> bool:
    return task.task.objective == "classify"


def measure(
    round_: Round, data: Prepared, at: Sequence[float], seeds: int, *, whole: dict[str, Any] | None = None
) -> dict[str, Any]:
    """Train what is missing and return points, extrapolation and words.

    Args:
        data: with the test side closed.
        whole: the cell of all rows with the first seed, where a run has it already.
    """
    from luthier.evaluate.diagnosis.learning import summarise
    from luthier.lifecycle import steps

    resolved = steps.resolve(round_, data, steps.open_model(round_, data))
    metric = resolved.train.metric
    cells = []
    wanted = [(share, number) for number in range(seeds) for share in at]
    for done, (share, number) in enumerate(wanted, 1):
        given = whole if share == 1.0 and number == 0 else None
        cell = given or _cell(round_, data, resolved, at, share, number)
        cells.append(cell)
        told = {key: cell[key] for key in ("share", "rows", "seed", "score", "seconds")}
        round_.emit("part", metric=metric, done=done, of=len(wanted), **told)
    found = summarise(cells, metric=metric, best=best_of(metric))
    return {**found, "seeds": seeds, "valid_rows": len(data.valid), "method": resolved.train.method}


def best_of(metric: str) -> float | None:
    """Return the best possible value of a metric, or None where there is none."""
    kind = measures.split_name(metric)[0]
    if kind in measures.LOWER_IS_BETTER:
        return 1.0 if kind == "perplexity" else 0.0
    return None if kind in measures.UNBOUNDED else 1.0


def _cell(
    round_: Round, data: Prepared, resolved: Task, at: Sequence[float], share: float, number: int
) -> dict[str, Any]:
    """Train one part, or read what an earlier call measured; its checkpoints go when it is done."""
    kept = round_.folder / "cells" / f"{100 * share:g}-{number}.json"
    if kept.is_file():
        return dict(read_json(kept))
    seed = resolved.train.seed + number
    # Every cell of a seed cuts the same order of rows, whatever other shares are asked for.
    (picked,) = shares_.nested(data.train, [share], labelled=_labelled(resolved), seed=seed)
    part = replace(data, train=[data.train[i] for i in picked])
    cell = {"share": share, "seed": number, **_train(round_, part, resolved, seed, kept.with_suffix(""))}
    write_json(kept, cell)
    shutil.rmtree(kept.with_suffix(""), ignore_errors=True)
    return cell


def _train(round_: Round, part: Prepared, resolved: Task, seed: int, folder: Path) -> dict[str, Any]:
    from luthier.lifecycle import steps
    from luthier.lifecycle.gauges import Gauge
    from luthier.train.run import fit

    began = time.monotonic()
    asked = round_.file.task
    chosen = {"method": resolved.train.method, "metric": resolved.train.metric, "seed": seed, "watched_rows": 0}
    section = asked.train.model_copy(update=chosen)
    task = resolved.model_copy(update={"train": section})
    model = steps.open_model(replace(round_, file=replace(round_.file, task=task), emit=silent), part)
    section = steps.settle(section, objective=asked.task.objective, rows=len(part.train), learner=model.learner)
    task = resolved.model_copy(update={"train": section})
    gauge = Gauge(model.learner, part, task)
    outcome = fit(
        model.learner, part.train, section, score=gauge, lower_is_better=section.metric in measures.LOWER_IS_BETTER,
        folder=folder, identity=stable_hash([part.report.fingerprint, len(part.train), model.base.found.sha256]),
        stopper=round_.stopper, doubt=measures.doubt(section.metric, asked.task.objective, len(part.valid)),
    )  # fmt: skip
    facts = {"rows": len(part.train), "steps": outcome.steps, "best_step": outcome.best_step}
    return {**facts, "seconds": round(time.monotonic() - began, 1), **measured(gauge, part, section.metric)}


def measured(gauge: Any, data: Prepared, metric: str) -> dict[str, Any]:
    """Return the score on the validation rows, and what it would be on other draws of them."""
    from luthier.evaluate.diagnosis.learning import redraw
    from luthier.lifecycle.judging import targets

    rows: Sequence[Example] = data.valid
    groups = [e.group for e in rows] if any(e.group for e in rows) else None
    score, drawn = redraw(
        gauge.task.task.objective, targets(rows), gauge.predict(rows), data.labels, metric, groups=groups
    )
    return {"score": round(score, 6), "drawn": [round(d, 6) if d == d else None for d in drawn]}


def in_run(round_: Round, data: Prepared, extended: Extended, model: Model, resolved: Task) -> dict[str, Any] | None:
    """Measure the curve of a run, where its task asks for one: all rows are the run's own model, the parts are trained.

    Where rows were added or weighed, all rows are trained anew without that: the curve is of rows as they came. So they are
    where a model is compared with what it was before: the run's own has learnt already.
    """
    if not round_.file.task.evaluate.learning_curve:
        return None
    from luthier.lifecycle.gauges import Gauge

    began = time.monotonic()
    whole = None
    if extended.train is data.train and extended.balance is None and not model.learner.refers:
        facts = {"share": 1.0, "seed": 0, "rows": len(data.train), "seconds": 0.0}
        whole = {**facts, **measured(Gauge(model.learner, data, resolved), data, resolved.train.metric)}
    found = measure(round_, data, SHARES, 1, whole=whole)
    round_.timed("curve", began)
    return found

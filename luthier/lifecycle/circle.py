"""The whole circle: prepare -> baselines -> train -> bundle -> evaluate -> verdict -> report; and again, with what users said."""

from __future__ import annotations

import functools
import itertools
import shutil
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import luthier
import luthier.lifecycle.rejudging as rejudging
import luthier.lifecycle.writing as writing
from luthier.base.errors import DataError, Fault, Interrupted, StorageError, TaskError
from luthier.base.events import EventLog
from luthier.base.files import locked, read_json, sha256_file, storage, sweep, write_json, write_manifest, write_text
from luthier.base.interrupt import stopping
from luthier.base.records import Example
from luthier.base.seeds import stable_hash
from luthier.data.leaks import clash_finder
from luthier.data.prepare import Prepared, prepare
from luthier.data.ranking import united
from luthier.data.sources import digest_all
from luthier.lifecycle.checking import bar_faults, check_task, tell_unshown, write_suspects
from luthier.lifecycle.round import Round, Run, Watcher
from luthier.models import catalogue
from luthier.release.folder import bundle_folder
from luthier.spec import judge as judge_spec
from luthier.spec.bars import parse_bars
from luthier.spec.load import TaskFile, dump_task, load_task
from luthier.spec.task import Task
from luthier.spec.train import ASIDE
from luthier.track.tracker import IDS, Tracker


def run(
    task: str | Path | TaskFile, *, overrides: Sequence[str] = (), out: str | Path | None = None, again: bool = False,
    judge: bool = True, watcher: Watcher | None = None,
) -> Run:  # fmt: skip
    """Do the whole circle for a task file and return the judged run.

    The folder is named by the task and all that goes in, so the same command goes on where an interrupted run stopped,
    and a finished one is returned at once unless ``again``.

    Args:
        out: the run's folder; default ``runs/<name>-<hash>`` in the working folder.
        judge: False stops after the bundle, without opening the test rows.
        watcher: is handed every event as it happens.
    Raises:
        LuthierError: what is wrong, where, and how to mend it.
    """
    file = task if isinstance(task, TaskFile) else load_task(task, overrides)
    check_task(file)
    # Reading and checking the data may take minutes.
    catalogue.refuse(file.task.base, folder=file.folder)
    identity = inputs_hash(file)
    folder = Path(out) if out else Path("runs") / f"{file.task.task.name}-{identity[:10]}"
    with stopping() as stopper, locked(folder):
        sweep(folder)
        finished = _finished(folder, identity, judge, file.task)
        ask_again = finished is not None and not again and judge and rejudging.wanted(file, finished)
        if finished and not again and not ask_again:
            if watcher:
                watcher({"kind": "unchanged", "run": str(folder), "created": finished.record.get("created")})
            return finished
        other = _of_other_inputs(folder, identity)
        if again or other:
            _clear(folder)
        emit = EventLog(folder / "events.jsonl", watcher)
        if file.task.track.to:
            emit.also(Tracker(file, folder, lambda text: emit("warning", text=text)))
        try:
            if other and not again:
                emit("warning", text="this folder held a run of another task, data or version; it is begun anew")
            if finished and ask_again:
                return _ask_again(Round(file, folder, emit, stopper, dict(finished.record["seconds"])), finished, identity)
            return _go_round(Round(file, folder, emit, stopper, {}), identity, judge)
        except BaseException as error:
            with suppress(StorageError):  # a full disk must not hide why the run stopped
                halted = isinstance(error, Interrupted | KeyboardInterrupt)
                emit("stopped", reason=str(error) or type(error).__name__, interrupted=halted)
            raise
        finally:
            emit.close()


def inputs_hash(file: TaskFile) -> str:
    """Return a hash of everything that decides a run: settings, data bytes, an earlier bundle, and Luthier's version."""
    task = file.task
    hashes = []
    for data in [stage.data for stage in task.stages] or [task.data]:
        named = (data.source, data.test, data.valid, data.held_out, data.out_of_scope.source if data.out_of_scope else None)
        hashes += [digest_all(source, file.folder, data) for source in named if source is not None]
        if data.items.source is not None:
            hashes += [digest_all(data.items.source, file.folder, data)]
        if data.corrections:
            hashes.append([sha256_file(file.resolve(data.corrections))])
    aside = set(ASIDE)
    settings = task.model_dump(
        mode="json", exclude={"evaluate": {"judge": set(judge_spec.ASIDE)}, "serve": True, "track": True, "train": aside, "stages": {"__all__": {"train": aside}}}
    )
    if task.evaluate.cases.source is not None:
        hashes.append(digest_all(task.evaluate.cases.source, file.folder, task.data))
    if task.evaluate.judge.human is not None:
        hashes.append(digest_all(task.evaluate.judge.human, file.folder, task.data))
    if task.evaluate.judge.bundle is not None:
        hashes.append([sha256_file(bundle_folder(file.resolve(task.evaluate.judge.bundle)) / "manifest.json")])
    if task.evaluate.paraphrases.source is not None:
        hashes.append(digest_all(task.evaluate.paraphrases.source, file.folder, task.data))
    hashes += [digests] if (digests := writing.digests(file)) else []
    if isinstance(task.evaluate.costs.table, str):
        hashes.append([sha256_file(file.resolve(task.evaluate.costs.table))])
    base = file.resolve(task.model.base)
    weights = [sha256_file(p) for p in sorted(base.glob("*.safetensors"))] if base.is_dir() else []
    return stable_hash([luthier.__version__, settings, hashes, weights])


def _finished(folder: Path, identity: str, judge: bool, task: Task) -> Run | None:
    """Return the run of these inputs that is done; None where it is not, or bore what this task does not allow."""
    record, manifest = _read(folder / "report.json"), _read(folder / "manifest.json")
    if not record or manifest.get("inputs") != identity or (judge and record["verdict"] == "not judged"):
        return None
    training, asked = record.get("training", {}), (task.stages[-1] if task.stages else task).train.nonfinite
    if (training.get("skipped") and asked != "skip") or (training.get("lowered") and asked != "lower-rate"):
        return None
    _drop_working(folder)
    page = folder / "report.html"
    return Run(record["verdict"], folder, folder / "bundle", page if page.is_file() else None, record)


def _read(path: Path) -> dict[str, Any]:
    """Return what a JSON file of ours holds; nothing where it is absent or damaged."""
    try:
        return dict(read_json(path))
    except (OSError, ValueError, TypeError):
        return {}


def _of_other_inputs(folder: Path, identity: str) -> bool:
    path = folder / "inputs.json"
    return path.is_file() and _read(path).get("inputs") != identity


# What a run needs only until it is done.
_WORKING = ("checkpoints", "cells")


def _drop_working(folder: Path) -> None:
    for name in _WORKING:
        shutil.rmtree(folder / name, ignore_errors=True)


def _clear(folder: Path) -> None:
    """Remove what an earlier run of other inputs left: only names that Luthier writes."""
    # An endpoint's answers are paid for: they stay.
    for name in ("checkpoints", "bundle", "prepared", "stages", "augmented", "cells"):
        shutil.rmtree(folder / name, ignore_errors=True)
    for name in (
        "label-errors.csv",
        "report.html",
        "report.json",
        "manifest.json",
        "mistakes.jsonl",
        "resolved.yaml",
        "task.yaml",
        "choice.json",
        "events.jsonl",
        IDS,
        # The last to go: whoever is killed in between must see again that what is left is of other inputs.
        "inputs.json",
    ):
        (folder / name).unlink(missing_ok=True)


def _go_round(round_: Round, identity: str, judge: bool) -> Run:
    file, folder, emit = round_.file, round_.folder, round_.emit
    write_json(folder / "inputs.json", {"inputs": identity})
    write_text(folder / "task.yaml", file.text)
    emit("start", task=file.task.task.name, objective=file.task.task.objective, run=str(folder))
    if file.task.stages:
        from luthier.lifecycle.staged_round import go_stages

        record, bundle = go_stages(round_, judge=judge)
        return _finish(round_, record, bundle, identity, judge)
    data = prepare_data(round_)
    if file.task.task.objective == "rank":
        data = united(data)
    bars, _ = parse_bars(file.task.accept)
    faults = bar_faults(bars, file, data)
    if faults:
        raise TaskError.of(Fault(f.what, f"{file.path}: {f.where}", f.mend) for f in faults)
    if judge:
        tell_unshown(emit, file, data)
    from luthier.lifecycle import curving

    if file.task.evaluate.learning_curve:
        curving.check(file.task, data, curving.SHARES, where=f"{file.path}: evaluate.learning_curve")
    # Loading torch takes seconds: faults of task and data are told before.
    from luthier.lifecycle import diagnosing, forecast, judges, judging, steps

    if judge:
        judges.calibrate(round_)

    # What chooses, trains and packs is handed the rows with the test side closed.
    closed = data.sealed()
    model = steps.open_model(round_, closed)
    resolved = steps.resolve(round_, closed, model)
    write_text(folder / "resolved.yaml", dump_task(resolved))
    emit("resolved", settings=resolved.model_dump(mode="json"))
    rivals = steps.rivals(round_, data, model, identity) if judge else {}
    before = steps.probe(round_, model)
    extended = steps.extend(round_, closed, clashes(data))
    expected = forecast.forecast(round_, replace(closed, train=extended.train), model.learner, resolved)
    outcome = steps.train(round_, closed, extended, model, resolved, identity)
    facts = steps.facts(round_, closed, extended, model, resolved, outcome)
    facts |= forecast.judged(expected, outcome)
    learning = curving.in_run(round_, closed, extended, model, resolved)
    facts |= {"learning_curve": learning} if learning else {}
    facts["diagnosis"] = diagnosing.diagnosis(round_, closed, outcome, learning)
    facts |= steps.changed(before, steps.probe(round_, model))
    bundle = steps.release(round_, closed, model, facts)
    record = {**facts, "created": datetime.now(UTC).isoformat(timespec="seconds"), "resolved": dump_task(resolved)}
    if judge:
        record |= judging.judge(round_, data, record, bundle, rivals, bars)
    else:
        record |= {"verdict": "not judged", "reasons": [], "notes": ["The test rows were not opened."]}
    return _finish(round_, record, bundle, identity, judge)


def _ask_again(round_: Round, finished: Run, identity: str) -> Run:
    """Ask the judge of a finished run what it was not asked, or did not answer."""
    from luthier.release.bundle import refresh_card

    round_.emit("start", task=round_.file.task.task.name, objective=round_.file.task.task.objective, run=str(round_.folder))
    record = rejudging.again(round_, finished.record)
    refresh_card(finished.bundle, {"verdict": record["verdict"], "reasons": record["reasons"], "notes": record["notes"],
                                   "metrics": record["metrics"]["test"]})  # fmt: skip
    return _finish(round_, record, finished.bundle, identity, judge=True)


def _finish(round_: Round, record: dict[str, Any], bundle: Path, identity: str, judge: bool) -> Run:
    from luthier.lifecycle import steps
    from luthier.release.bundle import parity

    folder = round_.folder
    record["parity"] = parity(bundle)
    record["seconds"] = dict(round_.seconds)
    record["peak_memory_mb"] = max(steps.peak_memory_mb(), record.get("peak_memory_mb") or 0)
    write_json(folder / "report.json", record)
    page = steps.page(record, folder) if judge else None
    round_.emit("done", verdict=record["verdict"], bundle=str(bundle), report=str(page) if page else None)
    with storage(folder):
        write_manifest(
            folder, without=_WORKING, inputs=identity, data=record["fingerprint"], luthier=luthier.__version__
        )
    # Not before the manifest: a run that is killed here is done, and one killed earlier need not train again.
    _drop_working(folder)
    return Run(record["verdict"], folder, bundle, page, record)


def prepare_data(round_: Round) -> Prepared:
    """Prepare the round's data and tell what was found."""
    began = time.monotonic()
    task = round_.file.task
    data = prepare(
        task.data, task.task.objective, base=round_.file.folder, out=round_.folder / "prepared", previous=_previous(round_),
        watch=lambda step: round_.emit("preparing", step=step),
    )  # fmt: skip
    round_.timed("prepare", began)
    report = data.report
    write_suspects(report.findings.get("label_errors"), round_.folder)
    round_.emit(
        "data", rows=report.rows, train=len(data.train), valid=len(data.valid), test=len(data.test),
        dropped=sum(report.dropped.values()), leaks=report.leaks, labels=len(data.labels),
        problems=[str(p) for p in report.problems],
    )  # fmt: skip
    if not data.train:
        raise DataError("no rows are left to train on", where="data.source")
    return data


def clashes(data: Prepared) -> Callable[[Sequence[Example]], list[bool]]:
    """Return what tells of new rows whether they equal a valid or test row; those are read when first asked."""
    finder = functools.cache(lambda: clash_finder(itertools.chain(data.valid, data.test)))
    return lambda rows: finder()(rows)


def _previous(round_: Round) -> Path | None:
    """Return the latest prepared folder of an earlier run of this task, kept beside this one."""
    name, here = round_.file.task.task.name, round_.folder
    found = [p for p in here.parent.glob(f"{name}-*/prepared/*/manifest.json") if here not in p.parents]
    return max(found, key=lambda path: path.stat().st_mtime, default=Path()).parent if found else None

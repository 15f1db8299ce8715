"""The whole circle: prepare -> baselines -> train -> bundle -> evaluate -> verdict -> report; and again, with what users said."""

from __future__ import annotations

import shutil
import time
from collections.abc import Sequence
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import luthier
from luthier.base.errors import DataError, Fault, StorageError, TaskError
from luthier.base.events import EventLog
from luthier.base.files import locked, read_json, sha256_file, storage, write_json, write_manifest, write_text
from luthier.base.interrupt import stopping
from luthier.base.seeds import stable_hash
from luthier.data.prepare import Prepared, prepare
from luthier.data.sources import expand
from luthier.evaluate import metrics as measures
from luthier.lifecycle.round import Round, Run, Watcher
from luthier.release.folder import bundle_folder
from luthier.spec.evaluate import parse_bars
from luthier.spec.load import TaskFile, dump_task, load_task


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
    identity = inputs_hash(file)
    folder = Path(out) if out else Path("runs") / f"{file.task.task.name}-{identity[:10]}"
    with stopping() as stopper, locked(folder):
        finished = _finished(folder, identity, judge)
        if finished and not again:
            if watcher:
                watcher({"kind": "unchanged", "run": str(folder), "created": finished.record.get("created")})
            return finished
        if again or _of_other_inputs(folder, identity):
            _clear(folder)
        emit = EventLog(folder / "events.jsonl", watcher)
        try:
            return _go_round(Round(file, folder, emit, stopper, {}), identity, judge)
        except BaseException as error:
            with suppress(StorageError):  # a full disk must not hide why the run stopped
                emit("stopped", reason=str(error) or type(error).__name__)
            raise
        finally:
            emit.close()


def check_task(file: TaskFile) -> None:
    """Find what is wrong with a task before any work: bars and metrics that the objective does not have."""
    task = file.task
    bars, _ = parse_bars(task.accept)
    faults = measures.check_bars(bars, task.task.objective, None)
    if task.train.metric != "auto":
        fault = measures.check_metric(task.train.metric, task.task.objective, None, where="train.metric")
        faults += [fault] if fault else []
    if task.data.split.test == 0 and task.data.test is None and bars:
        faults.append(
            Fault("there are bars to meet but no test rows", "data.split.test", "Give it a share, or name data.test.")
        )
    if faults:
        raise TaskError.of(Fault(f.what, f"{file.path}: {f.where}", f.mend) for f in faults)
    if task.evaluate.against:
        bundle_folder(file.resolve(task.evaluate.against))


def inputs_hash(file: TaskFile) -> str:
    """Return a hash of everything that decides a run: settings, data bytes, an earlier bundle, and Luthier's version."""
    task = file.task
    sources = [s for s in (task.data.source, task.data.test, task.data.valid) if s is not None]
    hashes = [[sha256_file(path) for path in expand(source, file.folder)] for source in sources]
    settings = task.model_dump(mode="json", exclude={"serve": True, "train": {"checkpoint_s", "threads"}})
    base = file.resolve(task.model.base)
    weights = [sha256_file(p) for p in sorted(base.glob("*.safetensors"))] if base.is_dir() else []
    return stable_hash([luthier.__version__, settings, hashes, weights])


def _finished(folder: Path, identity: str, judge: bool) -> Run | None:
    record_path, manifest = folder / "report.json", folder / "manifest.json"
    if not record_path.is_file() or not manifest.is_file():
        return None
    record = read_json(record_path)
    if read_json(manifest).get("inputs") != identity or (judge and record["verdict"] == "not judged"):
        return None
    page = folder / "report.html"
    return Run(record["verdict"], folder, folder / "bundle", page if page.is_file() else None, record)


def _of_other_inputs(folder: Path, identity: str) -> bool:
    path = folder / "inputs.json"
    return path.is_file() and read_json(path).get("inputs") != identity


def _clear(folder: Path) -> None:
    """Remove what an earlier run of other inputs left: only names that Luthier writes."""
    for name in ("checkpoints", "bundle", "prepared"):
        shutil.rmtree(folder / name, ignore_errors=True)
    for name in (
        "report.html",
        "report.json",
        "manifest.json",
        "resolved.yaml",
        "task.yaml",
        "inputs.json",
        "events.jsonl",
    ):
        (folder / name).unlink(missing_ok=True)


def _go_round(round_: Round, identity: str, judge: bool) -> Run:
    file, folder, emit = round_.file, round_.folder, round_.emit
    write_json(folder / "inputs.json", {"inputs": identity})
    write_text(folder / "task.yaml", file.text)
    emit("start", task=file.task.task.name, objective=file.task.task.objective, run=str(folder))
    data = prepare_data(round_)
    bars, _ = parse_bars(file.task.accept)
    faults = measures.check_bars(bars, file.task.task.objective, data.labels)
    if faults:
        raise TaskError.of(Fault(f.what, f"{file.path}: {f.where}", f.mend) for f in faults)
    # Loading torch takes seconds: faults of task and data are told before.
    from luthier.lifecycle import steps

    model = steps.open_model(round_, data)
    resolved = steps.resolve(round_, data, model)
    write_text(folder / "resolved.yaml", dump_task(resolved))
    rivals = steps.baselines(round_, data, model) if judge else {}
    outcome = steps.train(round_, data, model, resolved, identity)
    facts = steps.facts(round_, data, model, resolved, outcome)
    bundle = steps.release(round_, data, model, facts)
    record = {**facts, "created": datetime.now(UTC).isoformat(timespec="seconds"), "resolved": dump_task(resolved)}
    if judge:
        record |= steps.judge(round_, data, bundle, rivals, bars)
    else:
        record |= {"verdict": "not judged", "reasons": [], "notes": ["The test rows were not opened."]}
    return _finish(round_, record, bundle, identity, judge)


def _finish(round_: Round, record: dict[str, Any], bundle: Path, identity: str, judge: bool) -> Run:
    from luthier.lifecycle import steps

    folder = round_.folder
    record["seconds"] = dict(round_.seconds)
    record["peak_memory_mb"] = steps.peak_memory_mb()
    write_json(folder / "report.json", record)
    page = steps.page(record, folder) if judge else None
    shutil.rmtree(folder / "checkpoints", ignore_errors=True)
    round_.emit("done", verdict=record["verdict"], bundle=str(bundle), report=str(page) if page else None)
    with storage(folder):
        write_manifest(folder, inputs=identity, data=record["fingerprint"], luthier=luthier.__version__)
    return Run(record["verdict"], folder, bundle, page, record)


def prepare_data(round_: Round) -> Prepared:
    """Prepare the round's data and tell what was found."""
    began = time.monotonic()
    task = round_.file.task
    data = prepare(task.data, task.task.objective, base=round_.file.folder, out=round_.folder / "prepared")
    round_.timed("prepare", began)
    report = data.report
    round_.emit(
        "data", rows=report.rows, train=len(data.train), valid=len(data.valid), test=len(data.test),
        dropped=sum(report.dropped.values()), leaks=report.leaks, labels=len(data.labels),
        problems=[str(p) for p in report.problems],
    )  # fmt: skip
    if not data.train:
        raise DataError("no rows are left to train on", where="data.source")
    return data

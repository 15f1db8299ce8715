"""Look at a task's data as a run would, and write what was found where the user asks for it."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import luthier.lifecycle.casing as casing
import luthier.lifecycle.pricing as pricing
import luthier.lifecycle.rewording as rewording
import luthier.lifecycle.scoping as scoping
import luthier.lifecycle.writing as writing
from luthier import track
from luthier.base.errors import Fault, TaskError, did_you_mean
from luthier.base.files import write_json, write_text
from luthier.data.prepare import Prepared, Watch, prepare, stops, survey
from luthier.data.scope import row_faults
from luthier.evaluate import baselines as rivals
from luthier.evaluate import cases, measurable
from luthier.evaluate import metrics as measures
from luthier.evaluate.judges import named as judged
from luthier.evaluate.judges import people as rating
from luthier.evaluate.predict import answered_rows
from luthier.evaluate.robust import named
from luthier.evaluate.slices import bars as bars_on_slices
from luthier.evaluate.slices.columns import Columns
from luthier.lifecycle.augmenting import faults as augment_faults
from luthier.lifecycle.judges import file_faults as judge_file_faults
from luthier.lifecycle.staged import apart, own_bars, stage_files
from luthier.lifecycle.staged import data_faults as staged_data_faults
from luthier.lifecycle.staged import faults as staged_faults
from luthier.release.folder import check_comparable
from luthier.spec.bars import Bar, parse_bars
from luthier.spec.load import TaskFile, load_task
from luthier.spec.model import ModelSection
from luthier.spec.prefer import Prefer, idle_keys
from luthier.spec.task import Task
from luthier.spec.train import method_faults

SUSPECTS = "label-errors.csv"


def check_task(file: TaskFile) -> None:
    """Find what is wrong with a task before any work: bars and metrics that the objective does not have."""
    task = file.task
    inner = stage_files(file)
    faults = staged_faults(task, inner) + track.faults(task.track)
    for one in inner or [file]:
        faults += _of_one(one.task)
    placed = [Fault(f.what, f"{file.path}: {f.where}", f.mend) for f in dict.fromkeys(faults)]
    placed += writing.file_faults(file, [one.task.task.objective for one in inner or [file]])
    placed += judge_file_faults(file)
    if placed:
        raise TaskError.of(placed)
    pricing.prices_of(file)
    if task.evaluate.against:
        check_comparable(file.resolve(task.evaluate.against), (inner or [file])[-1].task.task.objective)


def _of_one(task: Task) -> list[Fault]:
    bars, _ = parse_bars(task.accept)
    faults = [] if task.stages else measures.check_bars(own_bars(bars), task.task.objective, None)
    if not task.stages:
        faults += rivals.check_rivals(bars, task.task.objective, live=task.evaluate.against is not None)
    if task.train.metric != "auto":
        fault = measures.check_metric(task.train.metric, task.task.objective, None, where="train.metric")
        faults += [fault] if fault else []
    if task.data.split.test == 0 and task.data.test is None and bars:
        faults.append(
            Fault("there are bars to meet but no test rows", "data.split.test", "Give it a share, or name data.test.")
        )
    if task.task.objective == "rank" and task.train.batch == 1:
        what = "a step of one row has nothing to tell its item apart from"
        faults.append(Fault(what, "train.batch", "Set it to 2 at least; 32 to 128 are usual."))
    faults += method_faults(task.train, task.task.objective, weighs_labels=task.model.pooling == "label-scoring")
    faults += measures.check_lists(bars, task, "Set")
    faults += judged.faults(task.evaluate.judge, bars, task.task.objective, live=task.evaluate.against is not None)
    if task.evaluate.cases.source is None:
        faults += cases.check(bars, None)
    if task.evaluate.robust == "off":
        faults += [Fault("no text is changed in this task", f"accept.{bar.metric}", "Leave evaluate.robust out, or the bar.")
                   for bar in bars if bar.plain in named.names(task.task.objective)]  # fmt: skip
    if task.answer.asked and task.task.objective != "classify":
        faults.append(Fault(f"`{task.task.objective}` has no labels that a person could be asked for", "answer", "Take the section away."))
    needs = [bar.metric for bar in bars if measures.split_name(bar.plain)[0] in ("referred", "answered_accuracy", "caught")]
    if needs and not pricing.refers(task):
        mend = "Say in `answer:` which rows go to a person, or take the bar away."
        faults += [Fault("no row goes to a person in this task", f"accept.{name}", mend) for name in needs]
    faults += [*scoping.task_faults(task, bars), *pricing.task_faults(task, bars), *rewording.task_faults(task)]
    return faults + augment_faults(task) + _of_preferences(task) + _of_model(task) + writing.bar_faults(task)


def bar_faults(bars: Sequence[Bar], file: TaskFile, data: Prepared) -> list[Fault]:
    """Return what is wrong once the rows are known: labels that are not there, of bars and answers, and parts of the test rows.

    Raises:
        TaskError, DataError: functional tests or people's ratings that cannot be read.
    """
    task = file.task
    rating.read(task.evaluate.judge, base=file.folder)
    tests = casing.read_cases(file, data.labels)
    tested = casing.abilities(file, tests)
    found = cases.check(bars, tested, casing.expected(file, tests)) if tested is not None else []
    found += writing.data_faults(bars, file, data)
    found += [*measures.check_bars(bars, task.task.objective, data.labels), *bars_on_slices.check(bars, Columns(data.test))]
    # A label that is not there at all is told already.
    found += measurable.check(bars, task.task.objective, data.test, data.labels) if not found else []
    for key in ("catch", "trust"):
        for label in getattr(task.answer, key):
            if label not in data.labels:
                mend = did_you_mean(label, data.labels) or f"Labels: {', '.join(data.labels[:12])}."
                found.append(Fault(f'there is no label "{label}"', f"answer.{key}", mend))
    found += [*row_faults(data, task.data), *scoping.row_faults(task, bars, data), *pricing.row_faults(file, data.labels), *rewording.row_faults(file, data)]
    if task.answer.asked and not len(data.valid):
        mend = "Give them a share in data.split.valid, or a file in data.valid."
        found.append(Fault("there are no validation rows to fit thresholds on", "answer", mend))
    return found


def unshown_bars(file: TaskFile, data: Prepared) -> list[Fault]:
    """Return a warning for each bar that these test rows cannot show to be met, whatever is answered."""
    bars, _ = parse_bars(file.task.accept)
    objective, rows = file.task.task.objective, data.test
    if objective == "generate":
        rows = [rows[i] for i in answered_rows(rows, file.task.evaluate.generate_rows)]
    return measurable.unshown(bars, objective, rows, data.labels)


def tell_unshown(emit: Callable[..., None], file: TaskFile, data: Prepared) -> None:
    """Say before training which bars the test rows cannot show to be met."""
    if told := unshown_bars(file, data):
        emit("bars", unshown=[f.as_dict() for f in told], said="\n".join(f"  note   {f}" for f in told))


def _of_model(task: Task) -> list[Fault]:
    """Return faults of a question that nobody asks."""
    model, objective = task.model, task.task.objective
    if model.pooling == "label-scoring" and objective != "classify":
        what = f"labels are weighed as answers for `classify`, not for `{objective}`"
        return [Fault(what, "model.pooling", "Set it to auto.")]
    if model.pooling != "label-scoring" and model.question != ModelSection().question:
        return [Fault("no question is asked of this model", "model.question", "Set model.pooling: label-scoring.")]
    return []


def _of_preferences(task: Task) -> list[Fault]:
    """Return a fault for every key of preferences that would do nothing, and for one that they have in another place."""
    asked, objective = task.train.prefer, task.task.objective
    if objective != "prefer":
        given = [name for name in Prefer.model_fields if getattr(asked, name) != getattr(Prefer(), name)]
        return [
            Fault(f"`{objective}` has no preferences to weigh", f"train.prefer.{name}", "Leave it out.")
            for name in given
        ]
    return [] if asked.loss == "auto" else idle_keys(asked, asked.loss)


def check_data(
    task: Path, overrides: Sequence[str], *, out: Path | None = None, watch: Watch | None = None
) -> dict[str, Any]:
    """Check a task file and its data as a run would; write nothing but, where asked, a page and tables under ``out``.

    Raises:
        TaskError: of the task file. DataError: of files and columns. Leaks that stop a run are in the result.
    """
    file = load_task(task, overrides)
    check_task(file)
    inner = stage_files(file)
    if not inner:
        found = _survey(file, survey(file.task.data, file.task.task.objective, base=file.folder, watch=watch), watch)
    else:
        found = _survey_stages(file, inner, watch)
    return found if out is None else {**found, **_write(found, out)}


def _survey(file: TaskFile, data: Prepared, watch: Watch | None) -> dict[str, Any]:
    """Return what was found in one task's data; all that would stop a run stands under ``stops``."""
    from luthier.lifecycle.preview import preview

    bars, _ = parse_bars(file.task.accept)
    faults = [*stops(data, file.task.data), *bar_faults(bars, file, data)]
    if watch:
        watch("tokens")
    return {
        **data.report.as_dict(),
        "task": file.task.task.name,
        "objective": file.task.task.objective,
        "goal": file.task.task.goal,
        "policy": file.task.data.leaks,
        "problems": [p.as_dict() for p in [*data.report.problems, *([] if faults else unshown_bars(file, data))]],
        "preview": preview(file, data),
        "stops": [f.as_dict() for f in faults],
    }


def _survey_stages(file: TaskFile, inner: Sequence[TaskFile], watch: Watch | None) -> dict[str, Any]:
    """Return what was found in the last stage's data, with the counts of every stage and what would stop any of them."""
    names = [stage.name for stage in file.task.stages]
    read = [survey(f.task.data, f.task.task.objective, base=file.folder, watch=watch) for f in inner]
    each = [_survey(one, data, watch) for one, data in zip(inner, read, strict=True)]
    found = [{**fault, "where": f"stage {name}: {fault['where']}"}
             for name, one in zip(names, each, strict=True) for fault in one["stops"]]  # fmt: skip
    found += [f.as_dict() for f in [*staged_data_faults(file.task, inner, read), *apart(names, inner, read)[2]]]
    kept = ("objective", "rows", "splits", "labels", "leaks", "problems")
    return {**each[-1], "stops": found, "stages": [
        {"name": name, **{key: one[key] for key in kept}} for name, one in zip(names, each, strict=True)
    ]}  # fmt: skip


def _write(found: Mapping[str, Any], out: Path) -> dict[str, str]:
    from luthier.studio.check_page import write_check

    written = {
        "page": str(write_check(dict(found), out / "check.html")),
        "record": str(write_json(out / "check.json", found)),
    }
    table = write_suspects(found.get("label_errors"), out)
    return {**written, **({"label_error_table": str(table)} if table else {})}


def write_suspects(found: Mapping[str, Any] | None, folder: Path) -> Path | None:
    """Write the probable label errors as a table to fill in, ranked; nothing where there are none."""
    rows = (found or {}).get("rows")
    if not rows:
        return None
    text = io.StringIO()
    writer = csv.DictWriter(text, fieldnames=list(rows[0]))
    writer.writeheader()
    writer.writerows(rows)
    return write_text(folder / SUSPECTS, text.getvalue())


def prepare_data(task: Path, overrides: Sequence[str], *, out: Path, watch: Watch | None = None) -> dict[str, Any]:
    """Prepare a task's data as a folder named by its content; the latest one there is what changes are told against.

    A stage's folder lies in one of its name.

    Raises:
        TaskError, DataError: as :func:`check_data`; and DataError for leaks that stop a run.
    """
    file = load_task(task, overrides)
    check_task(file)
    inner = {stage.name: one for stage, one in zip(file.task.stages, stage_files(file), strict=True)}
    each = {name: _prepare(one, out / name, watch) for name, one in inner.items()}
    return {**each[file.task.stages[-1].name], "stages": each} if each else _prepare(file, out, watch)


def _prepare(file: TaskFile, out: Path, watch: Watch | None) -> dict[str, Any]:
    before = [p for p in out.glob("*/manifest.json") if (p.parent / "data.json").is_file()] if out.is_dir() else []
    previous = max(before, key=lambda path: path.stat().st_mtime).parent if before else None
    data = prepare(file.task.data, file.task.task.objective, base=file.folder, out=out, previous=previous, watch=watch)
    assert data.folder is not None
    changes = data.folder / "changes.json"
    return {
        "folder": str(data.folder), "fingerprint": data.report.fingerprint, "splits": dict(data.report.splits),
        "dropped": dict(data.report.dropped), "leaks": dict(data.report.leaks), "changes": str(changes) if changes.is_file() else None,
    }  # fmt: skip

"""What a bundle keeps of its task's judgement, so that other rows can be judged alike: which rows belong together, how they are measured,
its judge, and who says texts in other words.

A bundle may come from somebody else, so an address in it is no order: texts leave this machine only when the user says so.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from luthier.base.endpoint import LOOPBACK
from luthier.base.errors import DataError, ModelError, TaskError
from luthier.base.interrupt import Stopper
from luthier.base.records import Example, Prediction
from luthier.evaluate.intervals import Interval
from luthier.evaluate.judges.named import REFERENCE
from luthier.evaluate.robust.look import Reworded
from luthier.lifecycle import judges, rewording
from luthier.lifecycle.reference import reference_of
from luthier.lifecycle.round import Round
from luthier.release.predictor import Predictor
from luthier.spec.evaluate import Paraphrases
from luthier.spec.judge import Judge
from luthier.spec.load import TaskFile
from luthier.spec.task import Task

_UNTUNED = "untuned"
# What other rows are measured alike with; the rest names files and addresses, or belongs to the run.
ALIKE = {
    "bootstrap", "slices", "robust", "robust_rows", "worst", "max_new_tokens", "generate_rows", "grounded", "similarity",
}  # fmt: skip


def of_task(file: TaskFile, bundle: Path) -> dict[str, Any]:
    """Return what a bundle in this folder keeps: settings that are not the usual ones, with paths as seen from its run."""
    run = run_of(bundle)
    judge, said = file.task.evaluate.judge, file.task.evaluate.paraphrases
    measured = file.task.evaluate.model_dump(mode="json", include=ALIKE, exclude_defaults=True)
    found: dict[str, Any] = {name: value for name, value in (("by", file.task.data.split.by), ("evaluate", measured)) if value}
    if judge.asked:
        found["judge"] = judge.model_dump(mode="json", exclude_defaults=True) | _paths(file, run, judge, ("bundle", "human", "answers"))
    if said.column is not None or said.source is not None:
        found["paraphrases"] = said.model_dump(mode="json", exclude_defaults=True) | _paths(file, run, said, ("source",))
    return found


def run_of(bundle: Path) -> Path:
    """Return the folder of the run that a bundle lies in, of a stage's too: the last stage's bundle is that of the run as well."""
    folder = bundle.absolute().parent
    return folder.parents[1] if folder.parent.name == "stages" else folder


def _paths(file: TaskFile, run: Path, section: Judge | Paraphrases, names: Sequence[str]) -> dict[str, str]:
    given = {name: str(value) for name in names if (value := getattr(section, name)) is not None}
    # Relative, so that a project may be moved as a whole; what is no path (a name on the hub) stays as it is.
    return {name: os.path.relpath(path, run) if (path := file.resolve(value)).exists() or name == "answers" else value
            for name, value in given.items()}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Judged:
    """What a bundle's judge said of rows, as :func:`luthier.lifecycle.judges.of_rows` tells it, and notes for the user."""

    record: Mapping[str, Any] = field(default_factory=dict)
    metrics: Mapping[str, Interval] = field(default_factory=dict)
    doubts: Mapping[str, str] = field(default_factory=dict)
    notes: Sequence[str] = ()


def reworded(predictor: Predictor, task: Task, rows: Sequence[Example]) -> Reworded | None:
    """Return rows in other words as the bundle's task had them said; None where rules do it."""
    known = predictor.facts.get("paraphrases")
    if not known:
        return None
    said = Paraphrases(**known)
    round_, _ = _round(predictor, task.model_copy(update={"evaluate": task.evaluate.model_copy(update={"paraphrases": said})}), Path())
    try:
        return rewording.of_run(round_, rows)
    except DataError as error:
        return Reworded({}, str(said.source), f"{said.source} cannot be read: {error.faults[0].what}")


def judged(
    predictor: Predictor, task: Task, rows: Sequence[Example], predictions: Sequence[Prediction], *, whether: bool | None, out: Path | None,
    others: Mapping[str, list[Prediction]],
) -> Judged:
    """Ask the judge of a bundle's task about other rows.

    Args:
        whether: None asks only a judge on this machine; True any; False none.
        out: where the report goes, and beside it what people may rate.
        others: what rivals and an earlier bundle say of the rows, by name.
    Raises:
        TaskError: no judge is known and one is to be asked, or its key is not set.
    """
    known = predictor.facts.get("judge")
    if known is None and whether:
        raise TaskError("the task of this bundle names no judge", where=str(predictor.folder), mend="Name one in its evaluate.judge, and run it again.")
    if known is None or whether is False:
        return Judged()
    settings = Judge(**known)
    if whether is None and not is_here(settings):
        return Judged(notes=[f"The judge {settings.called} is on another machine, so it was not asked; --judge asks it."])
    rivals, why = _rivals(predictor, settings, task, rows, others)
    if why:
        return Judged(notes=[why])
    folder = (out if out.suffix != ".html" else out.parent) if out else None
    answers, own = settings.answers, predictor.folder.parent
    if answers is None:  # what was asked in the run is not asked again
        there = own / judges.FOLDER if (own / judges.FOLDER).is_dir() else (folder or Path.cwd()) / judges.FOLDER
        answers = str(there.absolute())
    task = task.model_copy(update={"evaluate": task.evaluate.model_copy(update={"judge": settings.model_copy(update={"answers": answers})})})
    round_, notes = _round(predictor, task, folder or Path.cwd())
    keeps = folder is not None and folder.resolve() != own.resolve()
    record, metrics, doubts = judges.of_rows(round_, rows, predictions, rivals, keeps=keeps)
    return Judged(record, metrics, doubts, notes)


def is_here(settings: Judge) -> bool:
    """Whether nothing leaves this machine when it is asked."""
    return settings.url is None or urlsplit(settings.url).hostname in LOOPBACK


def _rivals(
    predictor: Predictor, settings: Judge, task: Task, rows: Sequence[Example], others: Mapping[str, list[Prediction]]
) -> tuple[dict[str, list[Prediction]], str | None]:
    """Return the other answers of pairs, or why they are not known here."""
    if settings.mode == "score" or settings.versus == REFERENCE:
        return {}, None
    if settings.versus in others:
        return {settings.versus: others[settings.versus]}, None
    if settings.versus != _UNTUNED:
        return {}, f"The judge compares with {settings.versus}, which is known in a run only, or by --against if it is `live`; it was not asked."
    from luthier.lifecycle.judging import predict_rows

    try:
        return {_UNTUNED: predict_rows(reference_of(predictor, also=judges.base_of_run(predictor.folder.parent)), rows, task)}, None
    except ModelError as error:
        return {}, f"{error.faults[0].what}, so the judge was not asked to compare with it."


def _round(predictor: Predictor, task: Task, folder: Path) -> tuple[Round, list[str]]:
    """Return a round whose paths start from the bundle's run, and the list that its warnings go into."""
    notes: list[str] = []

    def emit(kind: str, /, **facts: Any) -> None:
        if kind == "warning":
            notes.append(f"{facts['text']}.")

    file = TaskFile(task, run_of(predictor.folder) / "bundle.json", "")
    return Round(file, folder, emit, Stopper(), {}), notes

"""A finished run whose judge could not be asked, asked again: no model is opened, and nothing is learnt anew."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import luthier.lifecycle.judges as judges
import luthier.lifecycle.staged as staged
from luthier.base.endpoint import NO_ANSWER, NO_TIME
from luthier.base.files import read_json, write_json
from luthier.evaluate import verdict
from luthier.evaluate.judges.named import is_metric, metric_of
from luthier.lifecycle.round import Round, Run
from luthier.spec.bars import Bar, parse_bars
from luthier.spec.load import TaskFile

# Why an answer may be missing that is to be had another time.
_IN_PASSING = (NO_ANSWER, NO_TIME, "HTTP 5", "HTTP 429", "HTTP 408")


def wanted(file: TaskFile, finished: Run) -> bool:
    """Whether the judge of a finished run was not asked, or not about all, or is to be asked at another address."""
    return any(_silent(*one) for one in _judged_parts(file, finished.folder, finished.record))


def _judged_parts(file: TaskFile, folder: Path, record: Mapping[str, Any]) -> list[tuple[TaskFile, Path, Mapping[str, Any]]]:
    """Return the task file, the folder and the record of each part of a run with a judgement of its own: its stages, or itself."""
    if not file.task.stages:
        return [(file, folder, record)]
    files = dict(zip([folder / "stages" / stage.name for stage in file.task.stages], staged.stage_files(file), strict=True))
    return [(one, at, read_json(at / "report.json")) for at, one in files.items() if (at / "report.json").is_file()]


def _silent(file: TaskFile, folder: Path, record: Mapping[str, Any]) -> bool:
    settings, said = file.task.evaluate.judge, record.get("judge")
    if not settings.asked or not said or not (folder / judges.FOLDER / judges.ITEMS).is_file():
        return False
    silent = [why for one in said["criteria"] for why in one.get("unanswered") or {}]
    return bool(said["failed"]) or said["sent"]["to"] != settings.url or any(why.startswith(_IN_PASSING) for why in silent)


def again(round_: Round, record: Mapping[str, Any]) -> dict[str, Any]:
    """Return the record with the judge's part, its metrics and the verdict made anew; answers that are on disk are not asked for."""
    return _of_stages(round_, record) if round_.file.task.stages else _of_one(round_, record)[0]


def _of_stages(round_: Round, record: Mapping[str, Any]) -> dict[str, Any]:
    """Judge the stages whose judge was silent anew, write their reports, and hold the bars of the whole task again."""
    from luthier.lifecycle import steps

    bars, _ = parse_bars(dict(round_.file.task.accept))
    last = round_.file.task.stages[-1].name
    measured, parts = dict(record["metrics"]["test"]), {}
    doubts: dict[str, str] = {}
    for file, folder, own in _judged_parts(round_.file, round_.folder, record):
        if not _silent(file, folder, own):
            continue
        name = folder.name
        found, unproven = _of_one(replace(round_, file=file, folder=folder, emit=partial(round_.emit, stage=name)), own)
        write_json(folder / "report.json", found)
        steps.page(found, folder)
        parts[name] = found
        # The whole task knows the last stage's metrics by their own names, and of the others those that bars are on.
        known = {bar.metric: bar.metric.removesuffix(f"@{name}") for bar in bars if bar.metric.endswith(f"@{name}")}
        known |= {metric: metric for metric in _of_judge(file)} if name == last else {}
        measured |= {own: found["metrics"]["test"][metric] for own, metric in known.items() if metric in found["metrics"]["test"]}
        doubts |= {own: unproven[metric] for own, metric in known.items() if metric in unproven}
    whole = _held_again(bars, record, measured, doubts)
    stages = [{**one, "verdict": parts[one["name"]]["verdict"]} if one["name"] in parts else one for one in record["stages"]]
    asked = {"judge": parts[last]["judge"]} if last in parts else {}
    return {**record, **asked, **whole, "stages": stages, "metrics": {**record["metrics"], "test": measured}}


def _of_judge(file: TaskFile) -> set[str]:
    settings = file.task.evaluate.judge
    return {metric_of(settings, name) for name in settings.named()}


def _of_one(round_: Round, record: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, str]]:
    """Return a part's record made anew, and which metrics of the judge cannot be believed."""
    items, rows = judges.read_items(round_.folder / judges.FOLDER / judges.ITEMS)
    asked, metrics, doubts = judges.of_items(round_, items, rows)
    of_judge = _of_judge(round_.file)
    measured = {name: value for name, value in record["metrics"]["test"].items() if name not in of_judge} | metrics
    bars, _ = parse_bars(dict(round_.file.task.accept))
    found = _held_again(bars, record, measured, doubts)
    return {**record, **asked, **found, "metrics": {**record["metrics"], "test": measured}}, doubts


def _held_again(
    bars: Sequence[Bar], record: Mapping[str, Any], measured: Mapping[str, Any], doubts: Mapping[str, str]
) -> dict[str, Any]:
    """Return the verdict of what is known now, with the notes that have nothing to do with it kept."""
    said = _judged(bars, record, record["metrics"]["test"], {})
    found = _judged(bars, record, measured, doubts)
    others = [note for note in record["notes"] if note not in said["notes"]]
    return {**found, "notes": [*found["notes"], *others]}


def _judged(bars: Sequence[Bar], record: Mapping[str, Any], measured: Mapping[str, Any], doubts: Mapping[str, str]) -> dict[str, Any]:
    """Hold the bars as the record held them, those on the judge by what is known now."""
    rows = {row["metric"]: row for row in record["bars"]}
    rivals, why = {}, dict(doubts)
    for bar in bars:
        row = rows.get(bar.metric, {})
        if row.get("rival"):
            rivals[bar.metric] = verdict.rival_of(row)
        if "doubt" in row and not is_metric(bar.plain):
            why[bar.metric] = row["doubt"]
    return verdict.judge(bars, measured, rivals=rivals, doubts=why).as_dict()

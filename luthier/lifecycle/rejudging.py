"""A finished run whose judge could not be asked, asked again: no model is opened, and nothing is learnt anew."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import luthier.lifecycle.judges as judges
from luthier.base.endpoint import NO_ANSWER, NO_TIME
from luthier.evaluate import verdict
from luthier.evaluate.judges.named import is_metric, metric_of
from luthier.lifecycle.round import Round, Run
from luthier.spec.bars import Bar, parse_bars
from luthier.spec.load import TaskFile

# Why an answer may be missing that is to be had another time.
_IN_PASSING = (NO_ANSWER, NO_TIME, "HTTP 5", "HTTP 429", "HTTP 408")


def wanted(file: TaskFile, finished: Run) -> bool:
    """Whether the judge of a finished run was not asked, or not about all, or is to be asked at another address."""
    settings, said = file.task.evaluate.judge, finished.record.get("judge")
    if not settings.asked or not said or file.task.stages or not (finished.folder / judges.FOLDER / judges.ITEMS).is_file():
        return False
    silent = [why for one in said["criteria"] for why in one.get("unanswered") or {}]
    return bool(said["failed"]) or said["sent"]["to"] != settings.url or any(why.startswith(_IN_PASSING) for why in silent)


def again(round_: Round, record: Mapping[str, Any]) -> dict[str, Any]:
    """Return the record with the judge's part, its metrics and the verdict made anew; answers that are on disk are not asked for."""
    items, rows = judges.read_items(round_.folder / judges.FOLDER / judges.ITEMS)
    asked, metrics, doubts = judges.of_items(round_, items, rows)
    settings = round_.file.task.evaluate.judge
    of_judge = {metric_of(settings, name) for name in settings.named()}
    measured = {name: value for name, value in record["metrics"]["test"].items() if name not in of_judge} | metrics
    bars, _ = parse_bars(dict(round_.file.task.accept))
    said = _judged(bars, record, record["metrics"]["test"], {})
    found = _judged(bars, record, measured, doubts)
    others = [note for note in record["notes"] if note not in said["notes"]]
    return {**record, **asked, **found, "notes": [*found["notes"], *others], "metrics": {**record["metrics"], "test": measured}}


def _judged(bars: Sequence[Bar], record: Mapping[str, Any], measured: Mapping[str, Any], doubts: Mapping[str, str]) -> dict[str, Any]:
    """Hold the bars as the record held them, those on the judge by what is known now."""
    rows = {row["metric"]: row for row in record["bars"]}
    rivals, sizes, why = {}, {}, dict(doubts)
    for bar in bars:
        row = rows.get(bar.metric, {})
        if row.get("rival"):
            theirs = None if row["limit"] is None else row["limit"] - row["margin"]
            rivals[bar.metric] = {"value": theirs, "low": row["difference"][0], "high": row["difference"][1]}
        if "rows" in row:
            sizes[bar.metric] = row["rows"]
        if "doubt" in row and not is_metric(bar.plain):
            why[bar.metric] = row["doubt"]
    return verdict.judge(bars, measured, rivals=rivals, sizes=sizes, doubts=why).as_dict()

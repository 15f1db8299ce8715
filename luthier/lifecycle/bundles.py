"""What can be done with a bundle that exists: predict, evaluate."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from luthier.base.errors import DataError, Fault, TaskError
from luthier.base.inputs import ONE_TEXT
from luthier.base.records import Example, Prediction
from luthier.data.prepare import read_examples
from luthier.data.ranking import questions
from luthier.evaluate import costs, measurable
from luthier.evaluate import metrics as measures
from luthier.evaluate.answered import Answered
from luthier.evaluate.baselines import check_rivals
from luthier.evaluate.report.page import write_report
from luthier.evaluate.rewards import with_reference
from luthier.evaluate.slices import bars as bars_on_slices
from luthier.evaluate.slices.columns import Columns
from luthier.evaluate.written import schema
from luthier.lifecycle import judging, kept, learnt, rewording, writing
from luthier.lifecycle.judging import MINE, assess, targets
from luthier.lifecycle.reference import compared
from luthier.release.folder import check_comparable
from luthier.release.predictor import Predictor, load_predictor
from luthier.spec.bars import LIVE, Bar, parse_bars
from luthier.spec.data import DataSection, Split
from luthier.spec.task import Task

_CHUNK = 1024


def task_of(
    predictor: Predictor, source: str, columns: Mapping[str, str], accept: Mapping[str, str] | None = None,
    *, against: str | Path | None = None,
) -> Task:  # fmt: skip
    """Return the task that a bundle was made for, aimed at another source."""
    facts = predictor.facts
    k = facts["learner"].get("rank", {}).get("k") if predictor.objective == "rank" else None
    return Task.model_validate({
        "task": facts["task"], **({"train": {"rank": {"k": k}}} if k else {}),
        "data": _data_of(predictor, source, columns).model_dump(),
        "accept": dict(facts.get("accept", {}) if accept is None else accept),
        "evaluate": {**facts.get("evaluate", {}), "against": None if against is None else str(against)},
    })  # fmt: skip


def rows_of(predictor: Predictor, source: str, columns: Mapping[str, str], *, need_target: bool) -> list[Example]:
    """Read a file with a bundle's own columns (or others); rows that its task kept together belong together here."""
    mapped = read_examples(source, data=_data_of(predictor, source, columns), objective=predictor.objective, base=Path.cwd(), need_target=need_target)
    return list(mapped.examples)


def _data_of(predictor: Predictor, source: str, columns: Mapping[str, str]) -> DataSection:
    facts = predictor.facts
    named: dict[str, Any] = dict(columns) or dict(facts.get("columns", {}))
    return DataSection(source=source, columns=named, split=Split(by=facts.get("by")), **facts.get("cells", {}))


def judged_rows(predictor: Predictor, source: str, columns: Mapping[str, str]) -> list[Example]:
    """Read a labelled file; of pairs with items, as questions: what the bundle knows of a user comes before them."""
    rows = rows_of(predictor, source, columns, need_target=True)
    return questions(rows) if predictor.objective == "rank" else rows


def predict_rows(
    predictor: Predictor, rows: Sequence[Example], *, max_new_tokens: int | None = None
) -> Iterator[dict[str, Any]]:
    """Yield one public prediction per row, in order, a chunk at a time."""
    for start in range(0, len(rows), _CHUNK):
        chunk = rows[start : start + _CHUNK]
        for prediction in predictor.predict([e.inputs for e in chunk], max_new_tokens=max_new_tokens):
            yield prediction.as_dict()


def input_rows(predictor: Predictor, lines: Sequence[str]) -> list[Mapping[str, Any]]:
    """Turn standard input into inputs: each line a text, or a JSON object with the bundle's text column."""
    asked = "prompt" if predictor.writes else "text"
    if predictor.objective == "rank":
        return _wanted(lines)
    columns = predictor.facts.get("columns", {})
    names = [n for n in (*(columns.get(what) for what in (asked, *ONE_TEXT)), *ONE_TEXT, "prompt", "messages") if n]
    found: list[Mapping[str, Any]] = []
    faults: list[Fault] = []
    for number, line in enumerate(lines, 1):
        text = line.rstrip("\r\n")
        if not text.lstrip().startswith("{"):
            found.append({asked: text})
            continue
        try:
            values = json.loads(text)
        except ValueError as error:
            faults.append(Fault(f"this line starts like JSON and is not ({error})", f"standard input:{number}"))
            continue
        key = next((n for n in names if n in values), None)
        if key is None:
            faults.append(Fault(f"no {' or '.join(dict.fromkeys(names))} here", f"standard input:{number}"))
        elif key == "messages":
            found.append({"messages": values[key]})
        else:
            found.append({asked: str(values[key])})
    if faults:
        raise DataError.of(faults)
    return found


def _wanted(lines: Sequence[str]) -> list[Mapping[str, Any]]:
    """Turn lines into what items are wanted for: a text, or an object with ``query``, ``user``, ``history`` or ``text``."""
    found: list[Mapping[str, Any]] = []
    faults: list[Fault] = []
    for number, line in enumerate(lines, 1):
        where = f"standard input:{number}"
        try:
            values = json.loads(line) if line.lstrip().startswith("{") else {"text": line.strip()}
        except ValueError as error:
            faults.append(Fault(f"this line starts like JSON and is not ({error})", where))
            continue
        asked = {name: values[name] for name in ("query", "user", "history", "text") if name in values}
        if len(asked) != 1:
            faults.append(Fault("one of query, user, history and text is needed here", where))
        elif not isinstance(asked.get("history", []), list):
            faults.append(
                Fault("a history is a list of items by id, name or text", where, 'As in {"history": ["..."]}.')
            )
        else:
            found.append(asked)
    if faults:
        raise DataError.of(faults)
    return found


def evaluate(
    bundle: str | Path, source: str, *, columns: Mapping[str, str], accept: Mapping[str, str] | None, out: Path | None,
    judge: bool | None = None, against: str | Path | None = None,
) -> dict[str, Any]:
    """Measure a bundle on a labelled file against its bars (or others); write report.html where ``out`` says.

    Args:
        against: an earlier bundle, `live` in bars, which answers the same rows.
        judge: whether the judge of the bundle's task is asked; None does where nothing leaves this machine for it.
    """
    predictor = load_predictor(bundle)
    task = task_of(predictor, source, columns, accept, against=against)
    bars, faults = parse_bars(dict(task.accept))
    faults += measures.check_bars(bars, predictor.objective, predictor.labels)
    faults += check_rivals(bars, predictor.objective, live=True) + measures.check_lists(bars, task, "Evaluate a bundle whose run set")
    if faults:
        raise TaskError.of(faults)
    if against:
        check_comparable(against, predictor.objective)
    rows = judged_rows(predictor, source, columns)
    if not rows:
        raise DataError("no labelled rows are left to measure on", where=source)
    if faults := bars_on_slices.check(bars, Columns(rows)) or measurable.check(bars, predictor.objective, rows, predictor.labels):
        raise TaskError.of(faults)
    earlier = judging.before(against, rows, task) if against else None
    facts = predictor.facts
    data, notes = learnt.data_of(predictor)
    rivals, missing = learnt.rivals(predictor, task, data, rows, {bar.rival for bar in bars})
    predictions = judging.predict_rows(predictor, rows, task)
    unknown: list[str] = []
    if "untuned" in rivals:
        predictions = with_reference(predictions, rivals["untuned"])
    else:
        predictions, unknown = compared(predictor, rows, predictions)
    notes += [*missing, *unknown, *(learnt.known("The bundle", data, rows) if data else ())]
    answers = {MINE: predictions, **rivals, **({LIVE: earlier.predictions} if earlier else {})}
    if predictor.objective == "generate":
        answers = dict(written(task, predictor, rows, answers, bars))
    prices = costs.Prices.from_dict(facts.get("costs"))
    answers = {name: list(costs.priced(prices, targets(rows), theirs)) for name, theirs in answers.items()}
    predictions = answers.pop(MINE)
    told = kept.judged(predictor, task, rows, predictions, whether=judge, out=out, others=answers)
    reworded = kept.reworded(predictor, task, rows)
    answered = Answered(predictor.objective, rows, predictions, predictor.labels)
    found = assess(task, answered, bars, rivals=answers, of_run=False, predictor=predictor, more=told.metrics,
                   doubts={**told.doubts, **rewording.doubts(reworded)}, reworded=reworded)  # fmt: skip
    found["baselines"] = {name: measures.measured(predictor.objective, answered.targets, answers[name], predictor.labels) for name in rivals}
    if earlier:
        found["against"] = judging.against(task, answered, replace(earlier, predictions=answers[LIVE]))
    record = {
        "task": facts["task"], "model": facts.get("model", {}), "bundle": str(predictor.folder), "bundle_id": predictor.bundle_id,
        "rows": len(rows), "source": source, **found, **told.record,
    }  # fmt: skip
    record |= {"money": costs.evidence(prices, targets(rows), predictions, predictor.labels)} if prices else {}
    record["notes"] = [*record["notes"], *notes, *told.notes]
    record["report"] = str(write_report(record, out)) if out else None
    return record


def written(
    task: Task, predictor: Predictor, rows: Sequence[Example], answers: Mapping[str, list[Prediction]], bars: Sequence[Bar]
) -> Mapping[str, list[Prediction]]:
    """Return answers with what can be measured of them without a run: the schema lies in the bundle."""
    known = predictor.facts.get("json_schema")
    shape = schema.Shape(known) if known and schema.missing("") is None else None
    return writing.look(task, rows, answers, bars, mine=next(iter(answers)), predictor=predictor, shape=shape).answers

"""The test texts in other words where rules do not say them: from a column, from a file, or asked of an endpoint."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from luthier.base.errors import DataError, Fault, TaskError, did_you_mean
from luthier.base.inputs import text_name
from luthier.base.records import Example
from luthier.data.augment import ask
from luthier.data.dedupe import normalise
from luthier.data.personal import find
from luthier.data.prepare import Prepared
from luthier.data.sources import open_sources
from luthier.evaluate.robust.look import Reworded, picked
from luthier.evaluate.robust.named import OBJECTIVES
from luthier.evaluate.robust.reword import PARAPHRASE
from luthier.lifecycle.round import Round
from luthier.spec.augment import Augment
from luthier.spec.data import DataSection
from luthier.spec.load import TaskFile
from luthier.spec.task import Task

AT = "evaluate.paraphrases"
FOLDER = "paraphrases"
METRICS = tuple(f"{kind}[{PARAPHRASE}]" for kind in ("stable", "robust"))
_TEXT = "text"


def task_faults(task: Task) -> list[Fault]:
    """Return what is wrong before any row is read."""
    asked, objective = task.evaluate.paraphrases, task.task.objective
    if not asked.asked:
        return []
    if objective not in OBJECTIVES:
        return [Fault(f"texts of `{objective}` are not said in other words", AT, f"Paraphrases are for {', '.join(OBJECTIVES)}.")]
    if task.evaluate.robust == "off":
        return [Fault("no text is changed in this task", AT, "Leave evaluate.robust out, or this section.")]
    ways = [name for name in ("column", "source", "endpoint") if getattr(asked, name) is not None]
    if len(ways) != 1:
        what = f"{' and '.join(ways)} both say texts in other words" if ways else "nothing says the texts in other words"
        return [Fault(what, AT, "Name one of column, source and endpoint.")]
    if unknown := [name for name in asked.columns if name not in (_TEXT, PARAPHRASE)]:
        return [Fault(f'"{unknown[0]}" is nothing that such a file has', f"{AT}.columns", f"Known: {_TEXT}, {PARAPHRASE}.")]
    return ask.faults(_settings(task), at=AT) if asked.endpoint else []


def row_faults(file: TaskFile, data: Prepared) -> list[Fault]:
    """Return what is wrong once the test rows are known: paraphrases of none of them.

    Raises:
        DataError: the file cannot be read.
    """
    asked = file.task.evaluate.paraphrases
    if asked.column is not None:
        known = list(dict.fromkeys(name for row in data.test for name in row.extra))
        if len(data.test) and asked.column not in known:
            mend = did_you_mean(asked.column, known) or f"Columns: {', '.join(known) or 'none beside text and target'}."
            return [Fault(f'no test row has a column "{asked.column}"', f"{AT}.column", mend)]
    if asked.source is not None and len(data.test) and not any(read(file, list(data.test)).values()):
        return [Fault("it holds a paraphrase of no test row", f"{AT}.source", "Its texts must be those of the test rows, word for word.")]
    return []


def of_run(round_: Round, rows: Sequence[Example]) -> Reworded | None:
    """Return the paraphrases of the test rows that are changed; None where rules say them."""
    task = round_.file.task
    asked = task.evaluate.paraphrases
    if not asked.asked or task.evaluate.robust == "off" or task.task.objective not in OBJECTIVES:
        return None
    some = [rows[i] for i in picked(len(rows), task.evaluate.robust_rows, 0) if text_name(rows[i].inputs) is not None]
    if asked.endpoint is not None:
        return _asked(round_, some)
    if asked.source is not None:
        return Reworded(read(round_.file, some), asked.source)
    return Reworded({row.id: [text] for row in some if (text := str(row.extra.get(str(asked.column)) or "").strip())}, f"the column {asked.column}")


def read(file: TaskFile, rows: Sequence[Example]) -> dict[str, list[str]]:
    """Return by row id the paraphrases that the task's file has of these rows.

    Raises:
        DataError: it cannot be read, or lacks a column.
    """
    asked, faults = file.task.evaluate.paraphrases, list[Fault]()
    names = {what: asked.columns.get(what, what) for what in (_TEXT, PARAPHRASE)}
    known: dict[str, list[str]] = {}
    for origin in open_sources(str(asked.source), file.folder, data=DataSection(source=str(asked.source))):
        for row in origin.rows(faults=faults):
            missing = [name for name in names.values() if name not in row.values]
            if missing and not faults:
                mend = did_you_mean(missing[0], list(row.values)) or f"Columns: {', '.join(row.values)}."
                faults.append(Fault(f'there is no column "{missing[0]}"', str(row.source), f"{mend} Say which it is in {AT}.columns."))
            text, other = (str(row.values.get(name) or "").strip() for name in names.values())
            if text and other:
                known.setdefault(normalise(text), []).append(other)
    if faults:
        raise DataError.of(faults)
    found = {row.id: known.get(normalise(str(row.inputs[name])), []) for row in rows if (name := text_name(row.inputs)) is not None}
    return {name: list(dict.fromkeys(texts)) for name, texts in found.items() if texts}


def doubts(reworded: Reworded | None) -> dict[str, str]:
    """Return by metric why it cannot be told: nobody said the texts in other words."""
    return dict.fromkeys(METRICS, reworded.failed) if reworded and reworded.failed else {}


def _settings(task: Task) -> Augment:
    asked = task.evaluate.paraphrases
    return Augment(endpoint=asked.endpoint, endpoint_model=asked.endpoint_model, endpoint_key_env=asked.endpoint_key_env)


def _asked(round_: Round, rows: Sequence[Example]) -> Reworded:
    """Ask the endpoint; whatever its service does, the run has its result."""
    task = round_.file.task
    by = f"{task.evaluate.paraphrases.endpoint_model} at {task.evaluate.paraphrases.endpoint}"
    texts = [str(row.inputs[str(text_name(row.inputs))]) for row in rows]
    if task.data.personal != "mask" and (first := next((r for r, text in zip(rows, texts, strict=True) if find(text)), None)) is not None:
        round_.emit("warning", text=f"{first.source}: personal data goes to {task.evaluate.paraphrases.endpoint} as it is; "
                                    "data.personal: mask replaces it before.")  # fmt: skip
    try:
        endpoint = ask.Endpoint(_settings(task), round_.folder / FOLDER, at=AT)
        given = endpoint.ask([partial(endpoint.paraphrase, text, key=row.id, copy=0) for row, text in zip(rows, texts, strict=True)])
    except (TaskError, DataError) as error:
        failed = f"{by} could not be asked for paraphrases: {error.faults[0].what}"
        round_.emit("warning", text=failed)
        return Reworded({}, by, failed)
    return Reworded({row.id: [said] for row, said in zip(rows, given, strict=True) if isinstance(said, str)}, by)

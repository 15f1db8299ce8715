"""The table of probable label errors, filled in by a person: read back, and applied to the rows it names."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from luthier.base.errors import DataError, Fault
from luthier.base.records import Example, Row, Source
from luthier.base.seeds import stable_hash
from luthier.data.dedupe import normalise
from luthier.data.labels.suspects import SHOWN_CHARS
from luthier.data.report import input_text
from luthier.data.shapes.columns import Dropped
from luthier.data.sources.reading import Reading
from luthier.data.sources.tables import read_csv

KEEP, DROP = "keep", "drop"
DROPPED = "label error"
NEEDED = ("file", "line", "text", "label", "decision")
# A label that is itself called keep or drop is written with this before it.
LABEL = "label:"


@dataclass(frozen=True, slots=True)
class Decision:
    """What is to become of one row: ``label`` is the right one, None where the row is left out; ``where`` it was decided."""

    label: str | None
    before: str
    text: str
    where: Source


@dataclass(frozen=True, slots=True)
class Decisions:
    """A filled table: ``changes`` by (file, line), the places that were looked at and ``kept``, and those still ``open``."""

    path: str
    changes: Mapping[tuple[str, int], Decision]
    kept: frozenset[tuple[str, int]]
    open: int


def read_decisions(path: Path, *, shown: str | None = None, labels: Collection[str] | None = None) -> Decisions:
    """Read a filled table of probable label errors; a row without a decision is still open and changes nothing.

    Args:
        shown: the table's name in faults.
        labels: all labels there are, so that a slip of the pen is no new label. Without them only a label that is
            nearly one of the table's is refused.

    Raises:
        DataError: the file cannot be read, a column is missing, or a row makes no sense; all faults at once, with line.
    """
    name = shown or str(path)
    faults: list[Fault] = []
    reading = Reading(path, name, "utf-8", 1_000_000, faults)
    if not path.is_file():
        raise DataError("there is no such file", where=name, mend="luthier check --out DIR writes one.")
    rows = list(read_csv(reading))
    missing = [column for column in NEEDED if rows and column not in rows[0].values]
    if missing:
        faults.append(
            Fault(f"no column {', '.join(missing)}", f"{name}:1", "Keep the columns that luthier check wrote.")
        )
    if faults:
        raise DataError.of(faults)
    seen = {
        str(row.values[column]).strip() for row in rows for column in ("label", "suggested") if row.values.get(column)
    }
    changes: dict[tuple[str, int], Decision] = {}
    said: dict[tuple[str, int], tuple[str, Source]] = {}
    for row in rows:
        _read_row(row, changes, said, faults, labels=labels, seen=seen)
    if faults:
        raise DataError.of(faults)
    kept = frozenset(place for place, (word, _) in said.items() if word == KEEP)
    return Decisions(name, changes, kept, len(rows) - sum(bool(str(r.values["decision"]).strip()) for r in rows))


def _read_row(
    row: Row,
    changes: dict[tuple[str, int], Decision],
    said: dict[tuple[str, int], tuple[str, Source]],
    faults: list[Fault],
    *,
    labels: Collection[str] | None,
    seen: Collection[str],
) -> None:
    values = {column: str(row.values[column] or "").strip() for column in NEEDED}
    word = values["decision"]
    if not word:
        return
    if not values["file"] or not values["line"].isascii() or not values["line"].isdigit() or int(values["line"]) < 1:
        found = f'"{values["file"]}" and "{values["line"]}" name no file and line'
        faults.append(Fault(found, str(row.source), "Leave these two columns as they were written."))
        return
    place = (values["file"], int(values["line"]))
    plain = word.lower() if word.lower() in (KEEP, DROP) else word
    before = said.setdefault(place, (plain, row.source))
    if before[0] != plain:
        what = f'"{word}" is decided here for {place[0]}:{place[1]}, and "{before[0]}" at {before[1]}'
        faults.append(Fault(what, str(row.source), "Leave one of the two."))
        return
    if plain == KEEP:
        return
    label = None if plain == DROP else word.removeprefix(LABEL).strip()
    if label is not None and (fault := _label_fault(label, row.source, labels, seen)):
        faults.append(fault)
        return
    changes[place] = Decision(label, values["label"], values["text"], row.source)


def _label_fault(label: str, where: Source, labels: Collection[str] | None, seen: Collection[str]) -> Fault | None:
    known = seen if labels is None else labels
    if label in known:
        return None
    # Without the whole list a label may be new to the table, but not one that only looks like another.
    close = difflib.get_close_matches(label, sorted(known), n=1, cutoff=0.6 if labels is not None else 0.85)
    close = close or [name for name in known if normalise(name) == normalise(label)][:1]
    if labels is None and not close:
        return None
    hint = f'Did you mean "{close[0]}"? ' if close else ""
    return Fault(f'"{label}" is no label', str(where), f"{hint}Write keep, drop, or a label that the rows have.")


def apply(stream: Iterable[Any], decisions: Decisions) -> Iterator[Any]:
    """Yield the stream with the decisions carried out: examples relabelled, or in their place :class:`Dropped` rows.

    What is no example goes through as it is. A row that carries the decided label already is left alone.

    Raises:
        DataError: at the end of the stream, where a row named by a decision is not there, or has another text or
            another label than the table says: then the file has changed since the table was written.
    """
    waiting = dict(decisions.changes)
    faults: list[Fault] = []
    for item in stream:
        decision = waiting.pop((item.source.file, item.source.line), None) if isinstance(item, Example) else None
        if decision is None:
            yield item
            continue
        fault = _changed(item, decision)
        if fault:
            faults.append(fault)
            yield item
        elif decision.label is None:
            yield Dropped(item.source, DROPPED, f"left out by {decision.where}")
        elif decision.label == str(item.target):
            yield item
        else:
            yield replace(item, id=stable_hash([item.inputs, decision.label]), target=decision.label)
    for (file, line), decision in waiting.items():
        what = f"there is no row {file}:{line} among the rows that are read"
        faults.append(
            Fault(what, str(decision.where), "Has the file changed since the table was written? Take the row out.")
        )
    if faults:
        raise DataError.of(faults)


def _changed(example: Example, decision: Decision) -> Fault | None:
    told = normalise(decision.text)
    if len(decision.text) > SHOWN_CHARS:
        same = normalise(input_text(example)).startswith(normalise(decision.text[:SHOWN_CHARS]))
    else:
        same = normalise(input_text(example)) == told
    mend = "The file has changed since the table was written: run luthier check --out again."
    if not same:
        return Fault(f"the text of {example.source} is not the one in the table", str(decision.where), mend)
    if str(example.target) not in (decision.before, decision.label):
        what = f'the label of {example.source} is "{example.target}", and "{decision.before}" in the table'
        return Fault(what, str(decision.where), mend)
    return None

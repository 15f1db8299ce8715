"""What people said of rows on the labelling page, read as a source: the standing answer of each person, by row.

The file is a log, one JSON object a line, only ever appended to. An answer stands until its person takes it back or
answers the same row again; several people's answers on one row are votes, and a tie is left to the reader of votes.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from luthier.base.records import Row, Source
from luthier.data.sources.jsonrows import read_jsonl
from luthier.data.sources.reading import Reading

FORMAT = "luthier-labels-1"
ANSWERS = ("label", "unsure", "skip")
# What is told of an answer beside its text and label; the model's suggestion stays out, or it would give the label away.
_ABOUT = ("by", "at", "file", "line")
OWN = frozenset({"n", "kind", "id", "by", "at", "file", "line", "session", "suggestion", "probability", "seconds", "chosen",
                  "note", "undoes", "format", "version", "columns", "data"})  # fmt: skip
_HEAD_BYTES = 65_536

Event = dict[str, Any]


def is_label_log(path: Path) -> bool:
    """Whether a file is one that the labelling page writes: its first line says so."""
    try:
        with path.open("rb") as handle:
            head = handle.readline(_HEAD_BYTES)
        first = json.loads(head) if head.startswith(b"{") and FORMAT.encode() in head else None
    except (OSError, ValueError, RecursionError):
        return False
    return isinstance(first, dict) and first.get("format") == FORMAT


def read(reading: Reading) -> Iterator[Row]:
    """Yield the rows of a JSONL file, or of a label log the rows it stands for."""
    if reading.path.suffix.lower() == ".gz" or not is_label_log(reading.path):
        yield from read_jsonl(reading)
        return
    faulty: list[tuple[int, str]] = []
    events = list(parse(reading.path.read_bytes(), faulty))
    for line, what in faulty:
        reading.fault(line, what, "Restore the line from a copy, or take it out.")
    if not faulty:
        yield from rows(events, shown=reading.shown)


def parse(data: bytes, faulty: list[tuple[int, str]]) -> Iterator[Event]:
    """Yield the events of a log with their line as ``n``; lines that are none are told in ``faulty``.

    A last line without its end was never confirmed to anyone, so it is left out and is no fault.
    """
    for number, line in enumerate(data.split(b"\n")[:-1], 1):
        try:
            event = json.loads(line)
            if not (isinstance(event, dict) and isinstance(event.get("kind"), str)):
                raise ValueError("not an event")
        except (ValueError, RecursionError):
            faulty.append((number, "this line is not an event of the labelling page"))
            continue
        event["n"] = number
        yield event


def columns_of(events: Iterable[Event]) -> dict[str, str]:
    """Return the names under which the log keeps text and label."""
    first = next((e for e in events if e.get("format") == FORMAT), {})
    return {"text": "text", "label": "label"} | dict(first.get("columns") or {})


def standing(events: Iterable[Event]) -> dict[str, dict[str, Event]]:
    """Return ``{row id: {person: the answer that stands}}``, rows in the order in which they were first answered."""
    given: dict[str, dict[str, list[Event]]] = {}
    for event in events:
        if event["kind"] in ANSWERS:
            given.setdefault(event["id"], {}).setdefault(event["by"], []).append(event)
        elif event["kind"] == "undo":
            answers = given.get(event["id"], {}).get(event["by"], [])
            answers[:] = [a for a in answers if a["n"] != event.get("undoes")]
    found = {row: {by: answers[-1] for by, answers in people.items() if answers} for row, people in given.items()}
    return {row: people for row, people in found.items() if people}


def votes_of(people: Mapping[str, Event], label: str) -> dict[str, str]:
    """Return ``{person: label}`` of those who gave one."""
    return {by: e[label] for by, e in people.items() if e["kind"] == "label" and isinstance(e.get(label), str)}


def majority(votes: Iterable[str]) -> str | None:
    """Return the label most people gave; None where two lead."""
    counts = Counter(votes).most_common(2)
    return counts[0][0] if counts and (len(counts) < 2 or counts[0][1] > counts[1][1]) else None


def rows(events: Iterable[Event], *, shown: str) -> Iterator[Row]:
    """Yield one row for each labelled text: text, label (all votes where people differ), who, when and where from.

    A row's line is that of its last answer in the log.
    """
    events = list(events)
    names = columns_of(events)
    text, label = names["text"], names["label"]
    for people in standing(events).values():
        votes = votes_of(people, label)
        if not votes:
            continue
        last = max((people[by] for by in votes), key=lambda e: e["n"])
        agreed = len(set(votes.values())) == 1
        values = {text: last[text], label: next(iter(votes.values())) if agreed else list(votes.values())}
        values |= {key: last.get(key) for key in _ABOUT} | {"by": ", ".join(votes)}
        values |= {key: value for key, value in last.items() if key not in OWN and key not in (text, label)}
        yield Row(values, Source(shown, last["n"]))

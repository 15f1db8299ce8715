"""The log of the labelling page: who said what of which row, and when; only ever appended to.

An answer is on disk before it is confirmed. What a crash left half-written was never confirmed, and goes.
"""

from __future__ import annotations

import csv
import fcntl
import io
import json
import os
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

import luthier
from luthier.base.errors import DataError, Fault, StorageError
from luthier.base.files import storage, write_text
from luthier.data.sources import labelled
from luthier.data.sources.labelled import Event, columns_of, majority, standing, votes_of

Kind = Literal["opened", "label", "skip", "unsure", "note", "undo", "add", "round"]
EXPORTED = ("by", "at", "votes", "file", "line", "note")


class Store:
    """An open log. One process holds it at a time; all its threads may append."""

    def __init__(self, path: Path, *, columns: Mapping[str, str], data: Iterable[str], by: str) -> None:
        """Open a log, or begin one.

        Args:
            columns: under which names a new log keeps text and label; an old one keeps its own.
            data: the names of the source files, told in the first line.
        Raises:
            DataError: the file is not such a log, or a line of it is damaged.
            StorageError: it cannot be written, or another process holds it.
        """
        self.path = path
        self.notes: list[str] = []
        with storage(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            self._handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o644)
        try:
            self._hold()
            self.events = self._read()
            self.columns = dict(columns)
            if self.events:
                self.columns = columns_of(self.events)
            else:
                clash = [name for name in columns.values() if name in labelled.OWN]
                if clash:
                    raise DataError(f'the log uses the name "{clash[0]}" itself', where=str(path),
                                    mend="Rename that column in the data.")  # fmt: skip
                begun = {"format": labelled.FORMAT, "version": luthier.__version__}
                self.append("opened", by=by, **begun, columns=dict(columns), data=list(data))
                _sync_folder(path.parent)
        except BaseException:
            os.close(self._handle)
            raise

    def append(self, kind: Kind, *, by: str, **facts: Any) -> Event:
        """Write one event and return it; it is on disk when this returns, or nothing of it is.

        Raises:
            StorageError: the disk is full or the file cannot be written; the log is as it was.
        """
        at = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        event: Event = {"kind": kind, **facts, "by": by, "at": at}
        line = json.dumps(event, ensure_ascii=False, allow_nan=False).encode("utf-8", "replace") + b"\n"
        before = os.fstat(self._handle).st_size
        with storage(self.path):
            try:
                view = memoryview(line)
                while view:
                    view = view[os.write(self._handle, view) :]
                os.fsync(self._handle)
            except OSError:
                os.ftruncate(self._handle, before)
                raise
        event["n"] = len(self.events) + 1
        self.events.append(event)
        return event

    def close(self) -> None:
        os.close(self._handle)

    def __enter__(self) -> Store:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def _hold(self) -> None:
        try:
            fcntl.flock(self._handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise StorageError(
                "another labelling page is writing to this file",
                where=str(self.path),
                mend="Open that page's address in a second browser; or name another file with --out.",
            ) from None

    def _read(self) -> list[Event]:
        data = self.path.read_bytes()
        if data and not data.endswith(b"\n"):
            data = self._mend(data)
        events = read_events(data, self.path) if data else []
        if events and events[0].get("format") != labelled.FORMAT:
            raise _not_a_log(self.path)
        return events

    def _mend(self, data: bytes) -> bytes:
        """Take a torn last line away, from the file too; only a log's, never another file's."""
        whole = data[: data.rfind(b"\n") + 1]
        first = whole.split(b"\n", 1)[0] if whole else data
        if labelled.FORMAT.encode() not in first and not _beginning(first):
            raise _not_a_log(self.path)
        with storage(self.path):
            os.ftruncate(self._handle, len(whole))
            os.fsync(self._handle)
        line = whole.count(b"\n") + 1
        self.notes.append(f"line {line} was cut short by a crash before its answer was confirmed; it was taken out")
        return whole


def read_events(data: bytes, path: Path) -> list[Event]:
    """Return the events of a log. Raises DataError with every damaged line."""
    faulty: list[tuple[int, str]] = []
    events = list(labelled.parse(data, faulty))
    if not events and faulty:
        raise _not_a_log(path)
    if faulty:
        mend = "Restore the line from a copy, or take it out."
        raise DataError.of(Fault(what, f"{path}:{line}", mend) for line, what in faulty)
    return events


def to_rows(events: Iterable[Event]) -> Iterator[dict[str, Any]]:
    """Yield text, label, by, at, votes, file, line and note for each labelled row; a tie has no label but its votes."""
    events = list(events)
    names = columns_of(events)
    text, label = names["text"], names["label"]
    for people in standing(events).values():
        votes = votes_of(people, label)
        if not votes:
            continue
        last = max((people[by] for by in votes), key=lambda e: e["n"])
        notes = [people[by]["note"] for by in votes if people[by].get("note")]
        yield {text: last[text], label: majority(votes.values()), "by": ", ".join(votes), "at": last["at"], "votes": votes,
               "file": last.get("file"), "line": last.get("line"), "note": "; ".join(notes)}  # fmt: skip


def export(path: Path, out: Path) -> dict[str, int]:
    """Write what people said as CSV or JSONL, by the ending of ``out``; return how many rows, and how many are ties.

    Raises:
        DataError: no such log, or it is damaged, or an ending of another kind.
    """
    if not path.is_file():
        raise DataError("no such file of labels", where=str(path), mend="`luthier label DATA` writes one; name it with --out.")  # fmt: skip
    kind = out.suffix.lower()
    if kind not in (".csv", ".jsonl"):
        raise DataError(f'labels are not written as "{kind or out.name}"', where="--export", mend="End the name in .csv or .jsonl.")  # fmt: skip
    if out.exists() and out.resolve() == path.resolve():
        raise DataError("the export would replace the labels themselves", where="--export", mend="Choose another name.")
    events = read_events(path.read_bytes(), path)
    if not events or events[0].get("format") != labelled.FORMAT:
        raise _not_a_log(path)
    rows = list(to_rows(events))
    names = columns_of(events)
    if kind == ".jsonl":
        write_text(out, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))
    else:
        written = io.StringIO(newline="")
        writer = csv.DictWriter(written, [names["text"], names["label"], *EXPORTED])
        writer.writeheader()
        for row in rows:
            writer.writerow({**row, "votes": json.dumps(row["votes"], ensure_ascii=False)})
        write_text(out, written.getvalue())
    return {"rows": len(rows), "ties": sum(row[names["label"]] is None for row in rows)}


def _beginning(first: bytes) -> bool:
    # A crash while the very first line was written.
    return first.startswith(b'{"kind": "opened"'[: len(first)])


def _not_a_log(path: Path) -> DataError:
    mend = "Name another file with --out; this one is left as it is."
    return DataError("this is not a file of the labelling page", where=str(path), mend=mend)


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)

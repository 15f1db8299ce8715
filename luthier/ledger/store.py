"""The store: a SQLite file that is only ever appended to, safe between threads, processes and crashes."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any

from luthier.base.errors import LedgerError, StorageError
from luthier.base.files import storage
from luthier.ledger.entries import Feedback, IdMaker, KeptPrediction, NewPrediction, UnknownPrediction, moment, now
from luthier.ledger.migrations import head, migrate

_MIN_FREE_BYTES = 16 << 20
_KEPT = "p.id, p.at, p.objective, p.bundle, p.inputs, p.output, p.latency_ms"
_SAID = "f.id, f.prediction_id, f.at, f.label, f.text, f.rating, f.comment, f.by"
_ADD_PREDICTION = """INSERT INTO predictions (id, at, objective, bundle, inputs, output, latency_ms)
                     VALUES (?, ?, ?, ?, ?, ?, ?)"""
_ADD_FEEDBACK = """INSERT INTO feedback (id, prediction_id, at, label, text, rating, comment, by)
                   VALUES (?, ?, ?, ?, ?, ?, ?, ?)"""
# A comment alone says nothing of what would have been right, so it never takes an earlier correction back.
_JUDGES = "(label IS NOT NULL OR text IS NOT NULL OR rating IS NOT NULL)"


class Ledger:
    """Every prediction, and what people said of it.

    Write-ahead log, so that reading never waits for writing. ``synchronous=FULL``: with NORMAL a row survives a killed
    process but not a power cut; FULL adds one fsync a commit (0.25 ms instead of 0.02 ms for one row where it was
    measured), and the service commits once for a whole micro-batch, so an answer's row may as well survive both.

    One connection writes, behind a lock; a long reading has a connection of its own.

    Raises:
        LedgerError: the file is not a ledger, is newer than this code, is damaged, locked, or was taken away.
        StorageError: the folder cannot be written or the disk is full.
    """

    def __init__(self, path: Path, *, busy_s: float = 5.0) -> None:
        self.path = Path(path)
        self._busy_s = busy_s
        self._lock = threading.RLock()
        self._new_id = IdMaker()
        with storage(self.path):
            self.path.parent.mkdir(parents=True, exist_ok=True)
        with self._speaking():
            self._connection = self._open()
            try:
                self.version = migrate(self._connection, str(self.path))
            except BaseException:
                self._connection.close()
                raise
        self._identity = self._inode()

    def __enter__(self) -> Ledger:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Close the file; closing twice is allowed."""
        with self._lock:
            self._connection.close()

    def add_predictions(self, rows: Sequence[NewPrediction]) -> list[str]:
        """Append predictions in one transaction and return their ids, in order; on return they are on disk."""
        at = now()
        ids = [self._new_id() for _ in rows]
        values = [
            (name, at, r.objective, r.bundle, _json(r.inputs), _json(r.output), float(r.latency_ms))
            for name, r in zip(ids, rows, strict=True)
        ]
        with self._writing() as connection:
            connection.executemany(_ADD_PREDICTION, values)
        return ids

    def get(self, prediction_id: str) -> KeptPrediction:
        """Return one prediction. Raises UnknownPrediction where there is none of that id."""
        with self._speaking(), self._lock:
            query = f"SELECT {_KEPT} FROM predictions p WHERE p.id = ?"
            row = self._connection.execute(query, (prediction_id,)).fetchone()
        if row is None:
            raise _unknown(prediction_id, self.path)
        return _kept(row)

    def add_feedback(
        self,
        prediction_id: str,
        *,
        label: str | None = None,
        text: str | None = None,
        rating: int | None = None,
        comment: str | None = None,
        by: str | None = None,
    ) -> str:
        """Append what somebody said of a prediction and return the feedback's id; nothing said before is changed.

        Raises:
            UnknownPrediction: there is none of that id.
            LedgerError: nothing is said.
        """
        if label is None and text is None and rating is None and comment is None:
            raise LedgerError("feedback without content", mend="Give a label, a text, a rating or a comment.")
        name = self._new_id()
        with self._writing() as connection:
            if connection.execute("SELECT 1 FROM predictions WHERE id = ?", (prediction_id,)).fetchone() is None:
                raise _unknown(prediction_id, self.path)
            connection.execute(_ADD_FEEDBACK, (name, prediction_id, now(), label, text, rating, comment, by))
        return name

    def corrections(self, since: str | None = None) -> Iterator[tuple[KeptPrediction, Feedback]]:
        """Yield each judged prediction with the latest feedback that judges it, in the order that was said.

        A comment alone judges nothing. ``since`` is a date or time of ISO 8601; only what was said then or later is
        given, and a correction that was taken back later never is.
        """
        first = moment(since) if since is not None else ""
        query = f"""
            SELECT {_KEPT}, {_SAID} FROM feedback f JOIN predictions p ON p.id = f.prediction_id
            WHERE f.at >= ? AND f.seq = (
                SELECT max(seq) FROM feedback WHERE prediction_id = f.prediction_id AND {_JUDGES}
            ) ORDER BY f.seq
        """
        with self._speaking(), closing(self._open()) as connection:
            for row in connection.execute(query, (first,)):
                yield _kept(row[:7]), Feedback(*row[7:])

    def counts(self) -> dict[str, int]:
        """Return how many ``predictions`` and ``feedback`` rows there are, and how many predictions are ``judged``."""
        query = f"""SELECT (SELECT count(*) FROM predictions), (SELECT count(*) FROM feedback),
                           (SELECT count(DISTINCT prediction_id) FROM feedback WHERE {_JUDGES})"""
        with self._speaking(), self._lock:
            row = self._connection.execute(query).fetchone()
        return dict(zip(("predictions", "feedback", "judged"), row, strict=True))

    def objectives(self) -> set[str]:
        """Return the objectives that were predicted."""
        with self._speaking(), self._lock:
            return {row[0] for row in self._connection.execute("SELECT DISTINCT objective FROM predictions")}

    def check_writable(self) -> None:
        """Raise what the next append would raise: a lock, a file taken away or read-only, a disk about to be full."""
        with self._writing():
            pass
        free = shutil.disk_usage(self.path.parent).free
        if free < _MIN_FREE_BYTES:
            raise _full(self.path)

    def _open(self) -> sqlite3.Connection:
        connection = sqlite3.connect(self.path, timeout=self._busy_s, isolation_level=None, check_same_thread=False)
        try:
            connection.execute("PRAGMA foreign_keys = ON")
            connection.execute("PRAGMA synchronous = FULL")
            application, _, tables = head(connection)
            if application or not tables:  # Else it is another program's: refused next, its journal not ours to change.
                _log_ahead(connection, self._busy_s)
        except BaseException:
            connection.close()
            raise
        return connection

    @contextmanager
    def _writing(self) -> Iterator[sqlite3.Connection]:
        with self._speaking(), self._lock:
            if self._inode() != self._identity:
                # SQLite would go on writing into the unlinked file, and every row would be lost with the process.
                raise LedgerError(
                    "the ledger was moved, deleted or replaced while in use",
                    where=str(self.path),
                    mend="Put it back or restart the service; nothing was answered without being recorded.",
                )
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield self._connection
                self._connection.execute("COMMIT")
            except BaseException:
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")
                raise

    def _inode(self) -> tuple[int, int] | None:
        try:
            stat = os.stat(self.path)
        except OSError:
            return None
        return stat.st_dev, stat.st_ino

    @contextmanager
    def _speaking(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            raise _translated(error, self.path) from error


def _log_ahead(connection: sqlite3.Connection, busy_s: float) -> None:
    """Turn on the write-ahead log; where several open a new file at once, SQLite does not wait for its turn by itself."""
    until = time.monotonic() + busy_s
    while True:
        try:
            connection.execute("PRAGMA journal_mode = WAL")
            return
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() > until:
                raise
            time.sleep(0.01)


def _json(value: Mapping[str, Any]) -> str:
    text = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:  # Half of a surrogate pair: JSON can write it as an escape, UTF-8 cannot.
        text = json.dumps(value, allow_nan=False, separators=(",", ":"))
    return text


def _kept(row: Sequence[Any]) -> KeptPrediction:
    name, at, objective, bundle, inputs, output, latency_ms = row
    return KeptPrediction(name, at, objective, bundle, json.loads(inputs), json.loads(output), latency_ms)


def _unknown(prediction_id: str, path: Path) -> UnknownPrediction:
    return UnknownPrediction(
        f'no prediction has the id "{prediction_id[:80]}"',
        where=str(path),
        mend="Use the prediction_id that came with the answer.",
    )


def _full(path: Path) -> StorageError:
    mend = "Free some space; what was recorded before is kept, and nothing left unrecorded."
    return StorageError("the disk is full", where=str(path), mend=mend)


def _translated(error: sqlite3.Error, path: Path) -> LedgerError | StorageError:
    """Say in a user's words what SQLite said in its own."""
    where = str(path)
    # The low byte is the kind; the rest of an extended code tells which system call it came from.
    code = getattr(error, "sqlite_errorcode", -1) & 0xFF
    if code == sqlite3.SQLITE_FULL:
        return _full(path)
    if code in (sqlite3.SQLITE_READONLY, sqlite3.SQLITE_PERM, sqlite3.SQLITE_CANTOPEN):
        what = "this is a folder, not a ledger" if path.is_dir() else "the ledger cannot be opened for writing"
        return StorageError(what, where=where, mend="Allow writing to the file and its folder, or change serve.ledger.")
    if code in (sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_CORRUPT):
        what = "this file is not a ledger" if code == sqlite3.SQLITE_NOTADB else "the ledger is damaged"
        return LedgerError(what, where=where, mend="Restore it from a copy, or name another file in serve.ledger.")
    if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
        mend = "Close what else has it open, or try again in a moment."
        return LedgerError("another program holds the ledger locked", where=where, mend=mend)
    if code == sqlite3.SQLITE_IOERR:
        return StorageError(f"the disk failed ({error})", where=where, mend="Check the disk and its free space.")
    return LedgerError(f"the ledger cannot be used ({error})", where=where, mend="Name another file in serve.ledger.")

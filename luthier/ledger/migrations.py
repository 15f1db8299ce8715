"""The ledger's shape, as numbered migrations: each is applied once, in one transaction, and never edited afterwards."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence

from luthier.base.errors import LedgerError

APPLICATION_ID = 0x4C555448  # "LUTH": tells a ledger from any other program's SQLite file.

Migration = tuple[str, ...]

_TABLES: Migration = (
    """
    CREATE TABLE predictions (
        seq INTEGER PRIMARY KEY AUTOINCREMENT,
        id TEXT NOT NULL UNIQUE,
        at TEXT NOT NULL,
        objective TEXT NOT NULL,
        bundle TEXT NOT NULL,
        inputs TEXT NOT NULL CHECK (json_valid(inputs)),
        output TEXT NOT NULL CHECK (json_valid(output)),
        latency_ms REAL NOT NULL
    ) STRICT
    """,
    """
    CREATE TABLE feedback (
        seq INTEGER PRIMARY KEY AUTOINCREMENT,
        id TEXT NOT NULL UNIQUE,
        prediction_id TEXT NOT NULL REFERENCES predictions (id),
        at TEXT NOT NULL,
        label TEXT,
        text TEXT,
        rating INTEGER,
        comment TEXT,
        by TEXT,
        CHECK (coalesce(label, text, rating, comment) IS NOT NULL)
    ) STRICT
    """,
    "CREATE INDEX feedback_of_prediction ON feedback (prediction_id, seq)",
)


def _append_only(table: str) -> Migration:
    """Forbid every change of a written row.

    The third trigger is needed because INSERT OR REPLACE deletes the old row without firing the DELETE trigger
    (unless a connection turns on recursive_triggers, which a foreign tool will not).
    """
    stop = f"SELECT RAISE(ABORT, '{table} is append-only')"
    return (
        f"CREATE TRIGGER {table}_no_update BEFORE UPDATE ON {table} BEGIN {stop}; END",
        f"CREATE TRIGGER {table}_no_delete BEFORE DELETE ON {table} BEGIN {stop}; END",
        f"CREATE TRIGGER {table}_no_replace BEFORE INSERT ON {table} "
        f"WHEN EXISTS (SELECT 1 FROM {table} WHERE id = NEW.id OR seq = NEW.seq) BEGIN {stop}; END",
    )


MIGRATIONS: tuple[Migration, ...] = (_TABLES, (*_append_only("predictions"), *_append_only("feedback")))


def migrate(connection: sqlite3.Connection, where: str, migrations: Sequence[Migration] = MIGRATIONS) -> int:
    """Bring a ledger up to the newest shape and return its version.

    Args:
        connection: in autocommit mode (``isolation_level=None``), so that transactions are only those begun here.
        where: the file's name, for errors.
    Raises:
        LedgerError: the file belongs to a newer Luthier or to another program.
    """
    version = _version(connection, where, len(migrations))
    while version < len(migrations):
        connection.execute("BEGIN IMMEDIATE")
        try:
            # Read again under the write lock: another process may have migrated while this one waited.
            version = _version(connection, where, len(migrations))
            if version < len(migrations):
                for statement in migrations[version]:
                    connection.execute(statement)
                version += 1
                connection.execute(f"PRAGMA user_version = {version}")
                connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
            connection.execute("COMMIT")
        except BaseException:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise
    return version


def head(connection: sqlite3.Connection) -> tuple[int, int, int]:
    """Return a file's application id, its version and how many tables and indexes it has, all of one moment.

    One statement, because a process that opens the same new file may write all three between two.
    """
    query = "SELECT application_id, user_version, (SELECT count(*) FROM sqlite_master) FROM pragma_application_id, pragma_user_version"
    return tuple(map(int, connection.execute(query).fetchone()))  # type: ignore[return-value]


def _version(connection: sqlite3.Connection, where: str, newest: int) -> int:
    application, version, tables = head(connection)
    if application != APPLICATION_ID and (tables or version or application):
        raise LedgerError(
            "this is another program's SQLite file, not a ledger",
            where=where,
            mend="Name another file in serve.ledger; this one was left as it is.",
        )
    if version > newest:
        raise LedgerError(
            f"this ledger was written by a newer Luthier (its version is {version}, this one knows {newest})",
            where=where,
            mend="Upgrade Luthier, or name another file in serve.ledger; this one was left as it is.",
        )
    return version

"""Rows of a database query, streamed from the server. The only door to SQLAlchemy."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date, datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

from luthier.base.errors import DataError, Fault, LuthierError, did_you_mean
from luthier.base.records import Row, Source
from luthier.data.sources.origins import Origin
from luthier.data.sources.reading import Reading

_BATCH_ROWS = 1000
_ADDRESS = re.compile(r"^[A-Za-z][A-Za-z0-9_+.-]*://")
_NAME = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")
_SECRET = re.compile(r"([?&;][^=&;]*(?:pass|pwd|secret|token|key)[^=&;]*=)[^&;]*", re.IGNORECASE)
_WEB = ("http", "https", "ftp", "s3", "gs", "hf")


def is_address(name: str) -> bool:
    """Whether a source is written as a URL."""
    return _ADDRESS.match(name) is not None


def shown_url(url: str) -> str:
    """Return a URL that may be shown: ``${NAME}`` left as it stands, a password written out replaced by stars."""
    scheme, _, rest = url.partition("://")
    # Up to the last @: people forget to escape one in a password.
    who, at, where = rest.rpartition("@")
    user, colon, secret = who.partition(":")
    if at and colon and not _NAME.fullmatch(secret):
        secret = "***"
    return _SECRET.sub(r"\1***", f"{scheme}://{user}{colon}{secret}{at}{where}")


def sql_origin(url: str, query: str | None, base: Path, *, max_chars: int, faults: list[Fault]) -> Origin | None:
    """Return the origin of a query's rows; None, with the faults, where address or query cannot be meant.

    Args:
        url: an SQLAlchemy URL; ``${NAME}`` is taken from the environment.
        base: the folder that a relative SQLite path starts from.
    """
    shown = shown_url(url)
    if url.partition("://")[0].lower() in _WEB:
        mend = "Download the file and name it here; a data set of the hub is written hub:owner/name."
        faults.append(Fault("rows are not read from a web address.", shown, mend))
        return None
    if not query or not query.strip():
        mend = 'Say which rows, as in query: "SELECT text, label FROM messages".'
        faults.append(Fault("data.query is missing, and this is a database.", shown, mend))
    missing = [name for name in dict.fromkeys(_NAME.findall(url)) if name not in os.environ]
    for name in missing:
        mend = did_you_mean(name, os.environ) or f"Set it before the start: export {name}=..."
        faults.append(Fault(f"the environment has no variable {name}.", shown, mend))
    if missing or not query or not query.strip():
        return None
    real = _NAME.sub(lambda match: os.environ[match[1]], url)
    asked = _Asked(real, query, base, shown, max_chars)
    return Origin(shown, "sql", None, asked.rows, asked.digest)


class _Asked:
    """One query at one address; the rows are hashed as they pass, so that a hash needs no second reading."""

    def __init__(self, url: str, query: str, base: Path, shown: str, max_chars: int) -> None:
        self._url, self._query, self._base = url, query, base
        self._shown, self._max_chars = shown, max_chars
        self._digest: str | None = None

    def digest(self) -> str:
        if self._digest is None:
            faults: list[Fault] = []
            for _ in self.rows(faults, []):
                pass
            if self._digest is None:
                raise DataError.of(faults)
        return self._digest

    def rows(self, faults: list[Fault], notes: list[Fault]) -> Iterator[Row]:
        reading = Reading(Path(self._shown), self._shown, "utf-8", self._max_chars, faults, notes)
        digest, number = hashlib.sha256(), 0
        steps = self._steps(reading)
        for names, cells in steps:
            if number == 0:
                digest.update(repr(names).encode("utf-8", "surrogatepass"))
            number += 1
            values = tuple(map(_plain, cells))
            digest.update(repr(values).encode("utf-8", "surrogatepass"))
            long = [n for n, v in zip(names, values, strict=True) if isinstance(v, str) and len(v) > self._max_chars]
            if long:
                reading.too_long(number, f'field "{long[0]}"')
                if reading.full:
                    return
                continue
            yield Row(dict(zip(names, values, strict=True)), Source(self._shown, number))
        if number == 0 and not faults:
            reading.fault(0, "the query gives no rows")
        if not faults:
            self._digest = digest.hexdigest()

    def _steps(self, reading: Reading) -> Iterator[tuple[list[str], Any]]:
        """Yield column names and cells; whatever the driver raises becomes a fault without the password."""
        if (engine := self._engine(reading)) is None:
            return
        from sqlalchemy import text

        number = 0
        try:
            with self._stopping(reading, lambda: number), engine.connect() as connection:
                options = {"stream_results": True, "yield_per": _BATCH_ROWS}
                if engine.dialect.name == "postgresql":
                    options["postgresql_readonly"] = True
                # The text is the user's own and asks for nothing else; a colon in it is no parameter.
                result = connection.execution_options(**options).execute(text(self._query.replace(":", r"\:")))
                if not result.returns_rows:
                    reading.fault(0, "data.query gives no rows to read", "It begins with SELECT.")
                    return
                names = list(result.keys())
                twice = sorted({name for name in names if names.count(name) > 1})
                for name in twice:
                    reading.fault(0, f'data.query names the column "{name}" twice', f"Rename one: {name} AS other.")
                if twice:
                    return
                for cells in result:
                    number += 1
                    yield names, cells
        finally:
            engine.dispose()

    def _engine(self, reading: Reading) -> Any:
        try:
            import sqlalchemy
        except ImportError:
            reading.fault(0, "reading a database needs the library sqlalchemy", 'pip install "luthier[sql]"')
            return None
        try:
            url = sqlalchemy.make_url(self._url)
            if url.get_backend_name() == "sqlite" and (url := _read_only(url, self._base, reading)) is None:
                return None
            return sqlalchemy.create_engine(url)
        except ImportError as error:
            name = str(error.name or error)
            reading.fault(0, f"the database driver {name} is not installed", f"pip install {name}")
        except (sqlalchemy.exc.SQLAlchemyError, ValueError) as error:
            what = self._said(error)
            reading.fault(
                0, f"this is not a database address ({what})", "As in sqlite:///rows.db or postgresql://host/db."
            )
        return None

    @contextmanager
    def _stopping(self, reading: Reading, number: Any) -> Iterator[None]:
        try:
            yield
        except (LuthierError, GeneratorExit):
            raise
        except Exception as error:  # drivers raise what they like, not only SQLAlchemy's errors
            mend = "Check the address, the rights and data.query."
            reading.fault(number(), f"the database says: {self._said(error)}", mend)

    def _said(self, error: Exception) -> str:
        """Return the first line of a driver's words, the address and its password taken out."""
        words = (str(getattr(error, "orig", None) or error).strip() or type(error).__name__).splitlines()[0]
        words = words.replace(self._url, self._shown)
        for secret in _secrets(self._url):
            words = words.replace(secret, "***")
        return words[:200]


def _secrets(url: str) -> list[str]:
    """Return what must never be told of a URL: the password as written, parts of it, and secret parameters."""
    rest = url.partition("://")[2]
    found = [rest.rpartition("@")[0].partition(":")[2]]
    found += [match[0].partition("=")[2] for match in _SECRET.finditer(url)]
    return sorted(
        {s for word in found for s in (word, unquote(word), *word.split("@")) if len(s) > 2}, key=len, reverse=True
    )


def _read_only(url: Any, base: Path, reading: Reading) -> Any:
    """Return the URL of an SQLite file that is only read; SQLite would make a file that is not there."""
    if not url.database or url.database == ":memory:":
        reading.fault(0, "an SQLite address without a file has no rows", "As in sqlite:///rows.db.")
        return None
    if url.database.startswith("file:"):
        return url
    path = base / url.database
    if not path.is_file():
        near = [p.name for p in path.parent.iterdir()] if path.parent.is_dir() else []
        mend = did_you_mean(path.name, near) or "A relative path starts from the folder of the task file."
        reading.fault(0, "no such SQLite file", mend)
        return None
    return url.set(database=f"file:{quote(str(path.absolute()))}?mode=ro", query={**url.query, "uri": "true"})


def _plain(value: Any) -> Any:
    """Return a cell as the other readers give it: text, numbers, None; dates in ISO 8601."""
    if value is None or isinstance(value, str | bool | int | float | bytes | list | dict):
        return value
    if isinstance(value, datetime | date):
        return value.isoformat()
    return bytes(value) if isinstance(value, memoryview | bytearray) else str(value)

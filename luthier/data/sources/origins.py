"""What rows come from: a file, a saved data set, the hub, or a database, each with a name, its rows and a hash."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from luthier.base.errors import Fault
from luthier.base.records import Row

Kind = Literal["file", "saved", "hub", "sql"]


@dataclass(frozen=True, slots=True)
class Origin:
    """One source of rows.

    ``shown`` is the name that faults and ``Row.source.file`` carry; it never holds a password. ``path`` is the file or
    folder, None where there is none. ``read`` and ``hashed`` are what :meth:`rows` and :meth:`digest` call.
    """

    shown: str
    kind: Kind
    path: Path | None
    read: Callable[[list[Fault], list[Fault]], Iterator[Row]]
    hashed: Callable[[], str]

    def rows(self, *, faults: list[Fault], notes: list[Fault] | None = None) -> Iterator[Row]:
        """Stream the rows; faults are appended with ``name:line``, at most 20, and never raised."""
        return self.read(faults, [] if notes is None else notes)

    def digest(self) -> str:
        """Return a hex hash of what goes in: bytes of files, the revision of a hub data set, rows of a query.

        Raises:
            DataError: it cannot be read.
        """
        return self.hashed()

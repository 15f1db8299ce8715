"""The columns of one file as the task names them and as they are there, and a way to read a row by them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from luthier.base.errors import Fault, did_you_mean
from luthier.base.records import Row
from luthier.data.shapes.cells import in_a_line
from luthier.spec.data import DataSection

_SHOWN_COLUMNS = 20
_COMPARED = 500
# inputs, target, and what else is kept of the row
Read = tuple[dict[str, Any], Any, Mapping[str, Any] | None]
Reader = Callable[[Mapping[str, Any]], Read]
Columns = Mapping[str, str | Sequence[str]]


@dataclass(frozen=True, slots=True)
class Scheme:
    """How the rows of a file are read: ``name`` as recognised, the columns ``used``, and the reader of a row."""

    name: str
    used: frozenset[str]
    read: Reader


@dataclass(frozen=True, slots=True)
class Layout:
    """What a file has (``keys``, and its first rows in ``head``) and what the task says of it.

    ``columns`` say which column is what, ``settings`` how cells are read (:func:`cell_settings`).
    """

    columns: Columns
    keys: Sequence[str]
    head: Sequence[Row]
    where: str
    need_target: bool
    faults: list[Fault]
    settings: Mapping[str, Any] = field(default_factory=dict)

    def name(self, what: str) -> str:
        """Return the column that is ``what``: as the task names it, or of the same name."""
        return str(self.columns.get(what, what))

    def has(self, what: str) -> bool:
        return self.name(what) in self.keys

    def find(self, what: str) -> str:
        """Return the column that is ``what``; note a fault where the file has none."""
        name = self.name(what)
        if name not in self.keys:
            fault = no_column(name, self.keys, self.where, f"data.columns.{what}")
            if what not in self.columns:
                mend = f"Say which column it is: data.columns: {{{what}: ...}}. {fault.mend}"
                fault = Fault(fault.what, self.where, mend)
            self.faults.append(fault)
        return name

    def some(self, *whats: str) -> dict[str, str]:
        """Return those of ``whats`` that the file has; one that the task names and the file lacks is a fault."""
        return {what: self.find(what) for what in whats if what in self.columns or what in self.keys}

    def told(self, *whats: str) -> dict[str, str]:
        """Return those of ``whats`` that the task names."""
        return {what: self.find(what) for what in whats if what in self.columns}

    def first(self, column: str) -> list[Any]:
        """Return what stands in a column in the first rows, empty cells left out."""
        values = (row.values.get(column) for row in self.head)
        return [value for value in values if value is not None and value != ""]


def cell_settings(data: DataSection) -> dict[str, Any]:
    """Return what the data section says of how cells are read: what parts labels, the scale of scores, what is relevant."""
    return {"label_separator": data.label_separator, "scale": data.scale, "min_relevance": data.min_relevance}


def no_column(name: str, keys: Sequence[str], where: str, key: str) -> Fault:
    shown = [in_a_line(k) for k in keys[:_SHOWN_COLUMNS]]
    there = ", ".join(shown) + (", ..." if len(keys) > _SHOWN_COLUMNS else "")
    mend = f"{in_a_line(did_you_mean(name, keys[:_COMPARED]), 200)} Columns there: {there}.".strip()
    return Fault(f'no column "{in_a_line(name)}" ({key}).', where, mend)

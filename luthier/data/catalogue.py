"""What there is to be found: the items of a rank task, each with its name and the text that stands for it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from luthier.base.errors import DataError, Fault
from luthier.data.shapes.cells import Unusable, in_a_line, text_of
from luthier.data.shapes.layout import no_column
from luthier.data.sources import Origin, open_sources
from luthier.spec.data import DataSection

UNKNOWN_ITEM = "no such item in data.items"
# An item's name, which is shown, and its text, which the network reads.
Item = tuple[str, str]
# More rows than this share without a known item, and the two files do not belong together.
MOST_UNKNOWN = 0.1
_JOINT = "; "
_FAULTS = 20


def open_items(data: DataSection, base: Path) -> list[Origin]:
    """Return the origins of ``data.items.source``; none where it is not given."""
    return open_sources(data.items.source, base, data=data) if data.items.source is not None else []


def read_items(
    origins: Sequence[Origin], data: DataSection, notes: list[Fault], counts: dict[str, int]
) -> dict[str, Item]:
    """Return the items of a table by their ids.

    A row without an id or a text is left out, and of an id told twice the first holds; both go into ``notes``.

    Raises:
        DataError: the table lacks a column, cannot be read, or holds no item.
    """
    settings = data.items
    columns = [settings.text] if isinstance(settings.text, str) else list(settings.text)
    items: dict[str, Item] = {}
    faults: list[Fault] = []
    left: dict[str, list[str]] = {"id": [], "text": [], "twice": []}
    for origin in origins:
        for number, row in enumerate(origin.rows(faults=faults, notes=notes)):
            counts[origin.shown] = counts.get(origin.shown, 0) + 1
            if number == 0:
                faults += _lacking(row.values, settings.id, columns, str(row.source))
            if len(faults) >= _FAULTS or (number == 0 and faults):
                break
            why = _take(items, row.values, settings.id, columns)
            if why:
                left[why].append(str(row.source))
    if faults:
        raise DataError.of(faults)
    if not items:
        raise DataError("there are no items", where="data.items.source", mend="Name the table of the items.")
    notes += [Fault(f"{len(places)} {_WHY[why]}", places[0]) for why, places in left.items() if places]
    return items


_WHY = {
    "id": "rows of data.items have no id and are left out.",
    "text": "items have no text and are left out.",
    "twice": "rows of data.items repeat an id; the first holds.",
}


def _lacking(values: Mapping[str, Any], ident: str, columns: Sequence[str], where: str) -> list[Fault]:
    keys = [str(key) for key in values]
    wanted = [("id", ident), *(("text", column) for column in columns)]
    return [no_column(name, keys, where, f"data.items.{what}") for what, name in wanted if name not in values]


def _take(items: dict[str, Item], values: Mapping[str, Any], ident: str, columns: Sequence[str]) -> str | None:
    try:
        key = text_of(values.get(ident))
        parts = [part for column in columns if (part := words(values.get(column)))]
    except Unusable:
        return "text"
    if not key or not parts:
        return "text" if key else "id"
    if key in items:
        return "twice"
    items[key] = (parts[0], _JOINT.join(parts))
    return None


def words(value: Any) -> str:
    """Return a cell as words: a list, also one written with bars as in ``Comedy|Drama``, becomes ``Comedy, Drama``."""
    if isinstance(value, list | tuple):
        return ", ".join(filter(None, (text_of(part) for part in value)))
    text = text_of(value)
    if "|" in text and " " not in text:
        return ", ".join(part for part in text.split("|") if part)
    return text


def named(text: str) -> Item:
    """Return an item that is its own text."""
    return in_a_line(text, 200), text

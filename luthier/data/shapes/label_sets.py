"""Rows that are one text with any number of labels: a list, a delimited cell, or one column of 0 and 1 a label."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from luthier.data.shapes.cells import EMPTY_TEXT, Unusable, label_of, text_of
from luthier.data.shapes.layout import Layout, Scheme, no_column

NOT_A_FLAG = "label is neither 0 nor 1"
BROKEN_LIST = "label is a broken list"
# In the order in which they are looked for: a comma also stands inside a label's name.
SEPARATORS = ("|", ";", ",")
AUTO, NONE = "auto", "none"

_YES = frozenset(("1", "1.0", "true", "yes", "t", "y", "x"))
_NO = frozenset(("", "0", "0.0", "false", "no", "f", "n"))


def multilabel_scheme(layout: Layout) -> Scheme | None:
    before = len(layout.faults)
    text = layout.find("text")
    told = layout.columns.get("label", "label")
    flags = () if isinstance(told, str) else tuple(told)
    if layout.need_target:
        if flags:
            missing = [flag for flag in flags if flag not in layout.keys]
            layout.faults.extend(no_column(f, layout.keys, layout.where, "data.columns.label") for f in missing)
        else:
            layout.find("label")
    if len(layout.faults) > before:
        return None
    if flags:
        return Scheme(
            f"{text}, {len(flags)} columns of labels", frozenset((text, *flags)), _reader(text, _flagged(flags))
        )
    assert isinstance(told, str)
    separator = _separator(layout, told)
    parted = f" parted by {separator}" if separator else ""
    return Scheme(f"{text}, {told}{parted}", frozenset((text, told)), _reader(text, _parted(told, separator)))


def _separator(layout: Layout, column: str) -> str:
    """Return what parts the labels of a cell; empty where nothing does."""
    told = str(layout.settings.get("label_separator", AUTO))
    if told != AUTO:
        return "" if told == NONE else told
    cells = [cell for cell in layout.first(column) if isinstance(cell, str) and not _is_json(cell)]
    return next((mark for mark in SEPARATORS if any(mark in cell for cell in cells)), "")


def _is_json(cell: str) -> bool:
    return cell.lstrip().startswith("[")


Labels = Callable[[Mapping[str, Any]], list[str] | None]


def _reader(text: str, labels: Labels) -> Any:
    def read(values: Mapping[str, Any]) -> tuple[dict[str, Any], list[str] | None, None]:
        words = text_of(values.get(text))
        if not words:
            raise Unusable(EMPTY_TEXT)
        found = labels(values)
        return {"text": words}, None if found is None else sorted(set(found)), None

    return read


def _flagged(flags: Sequence[str]) -> Labels:
    def labels(values: Mapping[str, Any]) -> list[str] | None:
        if all(values.get(flag) is None for flag in flags):
            return None
        return [flag for flag in flags if _flag(flag, values.get(flag))]

    return labels


def _flag(name: str, value: Any) -> bool:
    word = "" if value is None else str(value).strip().lower()
    if word in ("nan", "none"):
        word = ""
    if word not in _YES and word not in _NO:
        raise Unusable(NOT_A_FLAG, f'"{word[:40]}" in "{name}"')
    return word in _YES


def _parted(column: str, separator: str) -> Labels:
    return lambda values: labels_in(values.get(column), separator)


def labels_in(cell: Any, separator: str) -> list[str] | None:
    """Return the labels of one cell: a list, JSON, or words with ``separator`` between them; None where nobody looked.

    An empty cell says that no label holds; that nobody looked is said by null in JSON, or by leaving the row out.

    Raises:
        Unusable: a broken list, or a list in the list.
    """
    if isinstance(cell, str) and _is_json(cell):
        cell = _json(cell)
    if cell is None or (isinstance(cell, float) and cell != cell):
        return None
    parts = cell if isinstance(cell, list | tuple) else str(cell).split(separator) if separator else [cell]
    return [label for part in parts if (label := label_of(part)) is not None]


def _json(cell: str) -> list[Any]:
    try:
        found = json.loads(cell)
    except (ValueError, RecursionError):
        # Python's own way to write a list of words, as pandas leaves it in a CSV.
        inner = cell.strip().removeprefix("[").removesuffix("]")
        parts = [part.strip() for part in inner.split(",")] if inner.strip() else []
        if not all(len(p) >= 2 and p[0] == p[-1] and p[0] in "'\"" for p in parts):
            raise Unusable(BROKEN_LIST, cell[:80]) from None
        found = [part[1:-1] for part in parts]
    if not isinstance(found, list):
        raise Unusable(BROKEN_LIST, cell[:80])
    return found

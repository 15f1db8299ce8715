"""HTML by construction: every text is escaped unless it is already :class:`Html`."""

from __future__ import annotations

import html
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

_VOID = frozenset({"meta", "br", "hr", "link"})
DASH = "–"


class Html(str):
    """Text that is HTML already; made by :func:`tag` and by nothing that a user wrote."""

    __slots__ = ()


def escaped(value: object) -> Html:
    """Return any value as HTML text; control characters that HTML forbids become a replacement mark."""
    if isinstance(value, Html):
        return value
    shown = "".join(c if c in "\t\n" or ord(c) >= 32 else "\ufffd" for c in str(value))
    return Html(html.escape(shown, quote=True))


def tag(name: str, /, *children: object, **attributes: object) -> Html:
    """Return an element; None children and attributes vanish, lists are flattened, ``aria_label`` is ``aria-label``."""
    pairs = (
        (key.rstrip("_").replace("_", "-"), value) for key, value in attributes.items() if value not in (None, False)
    )
    words = "".join(f" {key}" if value is True else f' {key}="{escaped(value)}"' for key, value in pairs)
    if name in _VOID:
        return Html(f"<{name}{words}>")
    return Html(f"<{name}{words}>{joined(children)}</{name}>")


def joined(children: Iterable[object]) -> Html:
    """Return children one after the other, escaped."""
    parts = []
    for child in children:
        if child is None:
            continue
        parts.append(joined(child) if isinstance(child, list | tuple) else escaped(child))
    return Html("".join(parts))


@dataclass(frozen=True, slots=True)
class Cell:
    """What a table cell shows, and what it is sorted by where that is another thing."""

    shown: object
    sort: float | str | None = None
    class_: str | None = None


def number(value: object, digits: int = 3) -> Cell:
    """Return a cell for a measured value, a dash where it is undefined."""
    value = plain_number(value)
    if value is None:
        return Cell(DASH, None)
    return Cell(decimal(value, digits), value)


def decimal(value: float, digits: int = 3) -> str:
    """Return a number with fewer decimals the larger it is."""
    size = abs(value)
    shown = f"{value:,.{max(0, digits - (0 if size < 10 else 1 if size < 100 else 2 if size < 1000 else 3))}f}"
    return shown.replace("-", "\u2212")


def count(value: object) -> Cell:
    """Return a cell for a whole number."""
    value = plain_number(value)
    return Cell(DASH, None) if value is None else Cell(f"{value:,.0f}", value)


def plain_number(value: object) -> float | None:
    """Return the number in a figure or in ``{"value": ...}``; None where there is none or it is not finite."""
    if isinstance(value, Mapping):
        value = value.get("value")
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return None
    return float(value)


def span_of(value: object) -> tuple[float, float] | None:
    """Return the interval of ``{"low", "high"}``, or None."""
    if not isinstance(value, Mapping):
        return None
    low, high = plain_number(value.get("low")), plain_number(value.get("high"))
    return None if low is None or high is None else (low, high)


def interval(value: object, digits: int = 3) -> Cell:
    """Return a cell for a 95 % interval, sorted by its width."""
    span = span_of(value)
    return (
        Cell(DASH)
        if span is None
        else Cell(f"{decimal(span[0], digits)} to {decimal(span[1], digits)}", span[1] - span[0])
    )


def spanned(value: object, digits: int = 3) -> Cell:
    """Return a cell for a measured value with its interval behind it: tables of many models have no room for two columns."""
    shown, span = plain_number(value), span_of(value)
    if shown is None or span is None:
        return number(value, digits)
    return Cell(f"{decimal(shown, digits)} [{decimal(span[0], digits)}, {decimal(span[1], digits)}]", shown)


@dataclass(frozen=True, slots=True)
class Column:
    """A table's column: its title, and whether it holds numbers."""

    title: str
    numeric: bool = False


def table(
    caption: str,
    columns: Sequence[Column],
    rows: Sequence[Sequence[object]],
    *,
    sortable: bool = False,
    hide_caption: bool = False,
) -> Html:
    """Return a table in a frame that scrolls sideways on narrow screens and is reachable by keyboard.

    The first cell of a row is its header. Sortable headers are buttons.
    """
    heads = [
        tag(
            "th",
            tag("button", column.title, tag("span", "", class_="arrow", aria_hidden="true"), type="button")
            if sortable
            else column.title,
            scope="col",
            class_="number" if column.numeric else None,
        )
        for column in columns
    ]
    body = [
        tag(
            "tr",
            [_cell(value, column, first=i == 0) for i, (value, column) in enumerate(zip(row, columns, strict=True))],
        )
        for row in rows
    ]
    inner = tag(
        "table",
        tag("caption", caption, class_="unseen" if hide_caption else None),
        tag("thead", tag("tr", heads)),
        tag("tbody", body),
        class_="sortable" if sortable else None,
    )
    return tag("div", inner, class_="frame", tabindex="0", role="region", aria_label=caption)


def _cell(value: object, column: Column, *, first: bool) -> Html:
    cell = value if isinstance(value, Cell) else Cell(value)
    classes = " ".join(c for c in ("number" if column.numeric else "", cell.class_ or "") if c) or None
    facts: dict[str, Any] = {"class_": classes, "data_sort": cell.sort}
    return tag("th", cell.shown, scope="row", **facts) if first else tag("td", cell.shown, **facts)


def definitions(pairs: Iterable[tuple[str, object]]) -> Html:
    """Return a list of names and values, without those that have no value."""
    kept = [(name, value) for name, value in pairs if value not in (None, "", (), [])]
    return tag("dl", [tag("div", tag("dt", name), tag("dd", value)) for name, value in kept])


def plot(name: str, summary: str, *, height: int, width: int | None = None) -> Html:
    """Return the place that a plot of that name is drawn in, with the words that stand for it; sizes in pixels."""
    size = f"height:{height}px" + (f";max-width:{width}px" if width else "")
    canvas = tag(
        "div",
        class_="plot",
        id=f"plot-{name}",
        data_plot=name,
        style=size,
        role="img",
        aria_label=summary,
    )
    return tag("figure", canvas, tag("figcaption", summary))

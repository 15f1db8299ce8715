"""Rows that put an item to a query, or to a user at some time, and say how relevant it was."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from luthier.data.shapes.cells import EMPTY_TEXT, Unusable, text_of
from luthier.data.shapes.layout import Layout, Scheme

NO_ITEM = "no item"
NOT_A_NUMBER = "relevance is not a number"
NEGATIVE = "relevance is below 0"
RELEVANCE = "relevance"
TIME = "time"


def rank_scheme(layout: Layout) -> Scheme | None:
    """Read ``query, item[, relevance]`` or ``user, item[, time, relevance]``; the task's columns decide, then the file's."""
    before = len(layout.faults)
    asked = "user" if _by_user(layout) else "query"
    one = layout.find(asked)
    item = layout.find("item") if layout.need_target or layout.has("item") else ""
    more = layout.some(RELEVANCE, TIME) if layout.need_target else {}
    if len(layout.faults) > before:
        return None
    used = frozenset(name for name in (one, item) if name)
    name = ", ".join(filter(None, (one, item, *more.values())))
    return Scheme(name, used, _reader(layout, asked, one, item, more))


def _by_user(layout: Layout) -> bool:
    if "user" in layout.columns or "query" in layout.columns:
        return "user" in layout.columns
    return "user" in layout.keys and "query" not in layout.keys


def _reader(layout: Layout, asked: str, one: str, item: str, more: Mapping[str, str]) -> Any:
    relevance, time, least = more.get(RELEVANCE), more.get(TIME), layout.settings.get("min_relevance")

    def read(values: Mapping[str, Any]) -> tuple[dict[str, Any], str | None, Mapping[str, Any]]:
        words = text_of(values.get(one))
        if not words:
            raise Unusable(EMPTY_TEXT)
        kept: dict[str, Any] = {RELEVANCE: _gain(values.get(relevance), least) if relevance else 1.0}
        if time:
            kept[TIME] = values.get(time)
        return {asked: words}, (text_of(values.get(item)) or None) if item else None, kept

    return read


def _gain(value: Any, least: float | None) -> float:
    """Return what an item is worth: its relevance, or 1 from ``least`` on and 0 below. An empty cell says nothing: 1."""
    text = text_of(value)
    if not text:
        return 1.0
    try:
        number = float(text.replace(",", "."))
    except ValueError:
        raise Unusable(NOT_A_NUMBER, text[:80]) from None
    if not math.isfinite(number):
        raise Unusable(NOT_A_NUMBER, text[:80])
    if least is not None:
        return float(number >= least)
    if number < 0:
        raise Unusable(NEGATIVE, f"{text[:80]}: data.min_relevance says from where on an item is relevant")
    return number


def is_number(value: Any) -> bool:
    """Whether a cell is a plain number, so that it orders rows without being a date."""
    if isinstance(value, bool) or value is None:
        return False
    if isinstance(value, int | float):
        return math.isfinite(value)
    try:
        return isinstance(value, str) and math.isfinite(float(value))
    except ValueError:
        return False


def group_of(inputs: Mapping[str, Any]) -> str | None:
    """Return the query, however it is spaced and cased: its rows stay on one side. The rows of a user do not."""
    query = inputs.get("query")
    return " ".join(str(query).casefold().split()) if query is not None else None


def relevance_of(extra: Mapping[str, Any]) -> float:
    """Return what the item of a row is worth."""
    value = extra.get(RELEVANCE)
    return 1.0 if value is None else float(value)

"""The other columns of a table: empty, constant, different in every row, dates."""

from __future__ import annotations

import functools
import re
from collections import Counter
from collections.abc import Mapping
from typing import Any

from luthier.base.records import Source
from luthier.data.shapes.dates import DateOrder, moment

MAX_COLUMNS = 200
NEARLY_ALL = 0.98
_DISTINCT = 500
_REMEMBERED = 20_000
_PROBED = 30
_PARSED_SHARE = 0.9
_SHOWN_VALUES = 5
_SHOWN_CHARS = 60
_SURE_OF_UNIQUE = 20
_LONGEST_DATE = 40
_BARE = re.compile(r"[-+]?\d+(\.\d+)?")
_NOWHERE = Source("", 0)
_YEARS = range(1900, 2101)
_TIME_NAME = re.compile(r"date|time|stamp|epoch|created|updated|_at$", re.IGNORECASE)


class Columns:
    """Count the values of every column but those the objective reads; a row may stand for several (``weight``)."""

    def __init__(self) -> None:
        self._columns: dict[str, _Column] = {}
        self._rows = 0
        self.left_out = 0

    def add(self, extra: Mapping[str, Any], weight: int = 1) -> None:
        self._rows += weight
        columns = self._columns
        for name, value in extra.items():
            column = columns.get(name)
            if column is None:
                if len(columns) >= MAX_COLUMNS:
                    self.left_out += 1
                    continue
                column = columns[name] = _Column(name)
            if value is None or value == "":
                continue
            column.add(value, weight)

    def result(self) -> list[dict[str, Any]]:
        """Return one record a column: ``name``, ``kind``, ``filled`` (share), ``distinct``, ``common``, and days of dates."""
        return [column.result(self._rows) for column in self._columns.values()]


_NESTED = (list, tuple, dict, set)


class _Column:
    __slots__ = ("counts", "dates", "filled", "looked_at", "name", "other", "repeats", "seen")

    def __init__(self, name: str) -> None:
        self.name = name
        self.filled = 0
        self.looked_at = 0
        self.counts: dict[Any, int] = {}
        self.other = 0
        self.seen: set[int] = set()
        self.repeats = False
        self.dates: _Dates | None = _Dates(name)

    def add(self, value: Any, weight: int) -> None:
        self.filled += weight
        self.looked_at += 1
        if value.__class__ in _NESTED:  # several annotators' votes, or a list in a JSON file
            value = str(value)
        shown = value[:_SHOWN_CHARS] if value.__class__ is str else value
        counts = self.counts
        if shown in counts:
            counts[shown] += weight
        elif len(counts) < _DISTINCT:
            counts[shown] = weight
        else:
            self.other += weight
        if not self.repeats and len(self.seen) < _REMEMBERED:
            mark = hash(value)
            if mark in self.seen:
                self.repeats, self.seen = True, set()
            else:
                self.seen.add(mark)
        if self.dates is not None and not self.dates.add(value, weight):
            self.dates = None

    def result(self, rows: int) -> dict[str, Any]:
        common = sorted(self.counts.items(), key=lambda pair: -pair[1])[:_SHOWN_VALUES]
        share = common[0][1] / rows if common and rows else 0.0
        found: dict[str, Any] = {
            "name": self.name,
            "kind": self._kind(share),
            "filled": round(self.filled / rows, 4) if rows else 0.0,
            "distinct": len(self.counts),
            "more_distinct": self.other > 0,
            # Values of a column that differs in nearly every row say nothing, and may be names of people.
            "common": [{"value": v, "share": round(n / rows, 4)} for v, n in common] if self._repeats_enough() else [],
        }
        return found | (self.dates.result() if self.dates is not None and self.dates.sure else {})

    def _kind(self, share: float) -> str:
        if not self.filled:
            return "empty"
        if len(self.counts) == 1 and share >= 1.0:
            return "constant"
        if share >= NEARLY_ALL:
            return "nearly constant"
        if self.dates is not None and self.dates.sure:
            return "dates"
        if not self.repeats and self.looked_at >= _SURE_OF_UNIQUE:
            return "different in every row"
        return "numbers" if all(_is_number(value) for value in list(self.counts)[:_PROBED]) else "values"

    def _repeats_enough(self) -> bool:
        return self.repeats and self.filled > 0 and self.other <= self.filled // 2


class _Dates:
    """Days of a column that looks like dates; given up where too many of the first values are none."""

    __slots__ = ("first", "last", "months", "named", "order", "parsed", "pending", "seen", "unreadable")

    def __init__(self, name: str) -> None:
        self.named = bool(_TIME_NAME.search(name))
        self.months: Counter[str] = Counter()
        # 03/04/2024 waits until another row says whether the day stands first.
        self.pending: Counter[str] = Counter()
        self.order = DateOrder(name)
        self.first = self.last = ""
        self.seen = self.parsed = self.unreadable = 0

    @property
    def sure(self) -> bool:
        return self.parsed > 0 and self.parsed >= _PARSED_SHARE * self.seen

    def add(self, value: Any, weight: int) -> bool:
        """Count one value; False where the column is no column of dates."""
        self.seen += 1
        day = _day(value, named=self.named)
        if day is not None:
            self.parsed += 1
            self._count(day, weight)
            if isinstance(value, str) and value[2:3] in "/-" and self.order.day_first is None:
                self.order.see(value, _NOWHERE)
        elif isinstance(value, str) and len(self.pending) < _REMEMBERED and _is_ambiguous(value):
            self.parsed += 1
            self.pending[value] += weight
        else:
            self.unreadable += weight
            return self.seen < _PROBED or self.parsed >= _PARSED_SHARE * self.seen
        return True

    def _count(self, day: str, weight: int) -> None:
        self.months[day[:7]] += weight
        if not self.first or day < self.first:
            self.first = day
        if day > self.last:
            self.last = day

    def result(self) -> dict[str, Any]:
        pending, self.pending = self.pending, Counter()
        for value, weight in pending.items():
            found = moment(value, day_first=self.order.day_first)
            if found is None:
                self.unreadable += weight
            else:
                self._count(found.strftime("%Y-%m-%d"), weight)
        return {
            "first": self.first,
            "last": self.last,
            "months": dict(sorted(self.months.items())),
            "unreadable": self.unreadable,
        }


def _is_number(value: Any) -> bool:
    try:
        float(value)
    except (TypeError, ValueError):
        return False
    return not isinstance(value, bool)


def _day(value: Any, *, named: bool) -> str | None:
    """Return ``2024-05-31`` of a date or moment; None of anything else. Bare numbers count only where the name says time."""
    if isinstance(value, bool) or (not named and not isinstance(value, str)):
        return None
    if isinstance(value, str):
        if not 6 <= len(value) <= _LONGEST_DATE or (not named and _BARE.fullmatch(value)):
            return None
        # The day decides, and days repeat: what follows it is not worth parsing a million times.
        if len(value) > 10 and value[4] == value[7] == "-" and value[10] in "T ":
            value = value[:10]
    return _parsed(value)


@functools.lru_cache(maxsize=50_000)
def _parsed(value: Any) -> str | None:
    found = moment(value)
    return found.strftime("%Y-%m-%d") if found is not None and found.year in _YEARS else None


@functools.lru_cache(maxsize=50_000)
def _is_ambiguous(value: str) -> bool:
    slashed = len(value) > 5 and value[0].isdigit() and (value[1] in "/-" or value[2] in "/-")
    return slashed and len(value) <= _LONGEST_DATE and moment(value, day_first=True) is not None

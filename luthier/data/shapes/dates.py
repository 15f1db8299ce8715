"""Dates as people write them, and which of day and month stands first in a column."""

from __future__ import annotations

import math
import re
from datetime import UTC, date, datetime
from email.utils import parsedate_to_datetime
from typing import Any

from luthier.base.errors import Fault
from luthier.base.records import Source
from luthier.data.shapes.cells import in_a_line

_MAX_FAULTS = 20
_NUMBER = re.compile(r"[-+]?\d{9,19}(\.\d+)?")
_MONTH = re.compile(r"(\d{4})[-/](\d{1,2})")
_SLASHED = re.compile(r"(\d{4})/(\d{1,2})/(\d{1,2})(.*)")
_THREE = re.compile(
    r"(\d{1,2})([./-])(\d{1,2})\2(\d{4})(?:(?:,\s*|\s+|T)(\d{1,2}):(\d{2})(?::(\d{2})(?:\.\d+)?)?\s*([AaPp])?\.?(?:[Mm]\.?)?)?"
)
_WORDS = ("%d %B %Y", "%d %b %Y", "%B %d, %Y", "%b %d, %Y", "%d-%b-%Y", "%B %Y", "%b %Y")
# Seconds, milliseconds, microseconds, nanoseconds since 1970, told apart by size: seconds reach the year 5138.
_UNITS = ((1e11, 1.0), (1e14, 1e3), (1e17, 1e6), (1e20, 1e9))


def moment(value: Any, *, day_first: bool | None = None) -> datetime | None:
    """Return a date or time as UTC; None where it cannot be read. What names no zone is taken as UTC.

    Read are ISO 8601, RFC 2822, day.month.year, day/month/year and month/day/year (and both with dashes), months in
    English words, a year from 1000 to 2999, and seconds, milli-, micro- or nanoseconds since 1970 as numbers.

    Args:
        day_first: how 03/04/2024 is meant, see :class:`DateOrder`; None reads only what can be read in one way.
    """
    if isinstance(value, datetime):
        return _utc(value)
    if isinstance(value, date):
        return datetime(value.year, value.month, value.day, tzinfo=UTC)
    if isinstance(value, int | float) and not isinstance(value, bool):
        return _of_number(float(value))
    return _of_text(value.strip(), day_first) if isinstance(value, str) else None


def is_missing(value: Any) -> bool:
    """Whether a cell holds no date at all."""
    return (
        value is None
        or (isinstance(value, float) and math.isnan(value))
        or (isinstance(value, str) and not value.strip())
    )


def _utc(found: datetime) -> datetime | None:
    try:
        return found.replace(tzinfo=UTC) if found.tzinfo is None else found.astimezone(UTC)
    except (OverflowError, ValueError):
        return None


def _of_number(number: float) -> datetime | None:
    if not math.isfinite(number):
        return None
    if 1000 <= number < 3000 and number == int(number):
        return datetime(int(number), 1, 1, tzinfo=UTC)
    for most, unit in _UNITS:
        if 1e8 <= abs(number) < most:
            try:
                return datetime.fromtimestamp(number / unit, UTC)
            except (OverflowError, ValueError, OSError):
                return None
    return None


def _of_text(text: str, day_first: bool | None) -> datetime | None:
    if len(text) > 64 or not any(c.isdigit() for c in text):
        return None
    try:
        return _utc(datetime.fromisoformat(text))
    except ValueError:
        pass
    if _NUMBER.fullmatch(text) or (len(text) == 4 and text.isdigit()):
        return _of_number(float(text))
    if match := _THREE.fullmatch(text):
        return _of_three(match, day_first)
    if match := _SLASHED.fullmatch(text):
        return _of_text(f"{match[1]}-{int(match[2]):02d}-{int(match[3]):02d}{match[4]}", None)
    if match := _MONTH.fullmatch(text):
        return _made(int(match[1]), int(match[2]), 1)
    return _of_words(text)


def _of_words(text: str) -> datetime | None:
    for form in _WORDS:
        try:
            return datetime.strptime(text, form).replace(tzinfo=UTC)
        except ValueError:
            continue
    try:
        return _utc(parsedate_to_datetime(text)) if re.search(r"[A-Za-z]{3}", text) else None
    except (ValueError, TypeError, IndexError, OverflowError):
        return None


def _of_three(match: re.Match[str], day_first: bool | None) -> datetime | None:
    first, second, year = int(match[1]), int(match[3]), int(match[4])
    if match[2] == "." or first > 12:
        day_first = True
    elif second > 12:
        day_first = False
    elif first == second:
        day_first = True
    if day_first is None:
        return None
    day, month = (first, second) if day_first else (second, first)
    hour, minute, second_ = (int(match[i] or 0) for i in (5, 6, 7))
    if match[8]:
        hour = hour % 12 + (12 if match[8] in "Pp" else 0)
    return _made(year, month, day, hour, minute, second_)


def _made(*parts: int) -> datetime | None:
    try:
        return datetime(*parts, tzinfo=UTC)  # type: ignore[arg-type, misc]
    except ValueError:
        return None


class DateOrder:
    """Watch a column of dates pass: note what cannot be read, and learn what its 03/04/2024 means.

    One 25/04/2024 says that the day stands first, one 04/25/2024 that the month does; without either, or with both, a
    date that can be read two ways is a fault.
    """

    def __init__(self, column: str) -> None:
        self._column = column
        self._unreadable: list[Fault] = []
        self._first: dict[bool, Source] = {}
        self._open: tuple[str, Source] | None = None

    @property
    def day_first(self) -> bool | None:
        """How the column's dates with slashes are meant; None where nothing says it, or the rows contradict each other."""
        return next(iter(self._first)) if len(self._first) == 1 else None

    def see(self, value: Any, source: Source) -> None:
        """Take one value of the column."""
        text = value.strip() if isinstance(value, str) else ""
        match = _THREE.fullmatch(text) if text and not text[:4].isdigit() else None
        if match is None or match[2] == ".":
            readable = moment(value) is not None
        else:
            readable = self._ordered(match, text, source)
        if not readable and len(self._unreadable) < _MAX_FAULTS:
            shown = f'"{in_a_line(text)}"' if isinstance(value, str) else in_a_line(repr(value))
            what = f'{shown} in the column "{in_a_line(self._column)}" is no date that can be read.'
            self._unreadable.append(Fault(what, str(source), "Write dates as 2024-05-31."))

    def _ordered(self, match: re.Match[str], text: str, source: Source) -> bool:
        first, second = int(match[1]), int(match[3])
        if first == second:
            return moment(text) is not None
        if first <= 12 and second <= 12:
            self._open = self._open or (text, source)
            return moment(text, day_first=True) is not None
        if moment(text) is None:
            return False
        self._first.setdefault(first > 12, source)
        return True

    def faults(self) -> list[Fault]:
        """Return what is wrong with the column as a whole, and the first 20 dates that cannot be read."""
        if len(self._first) == 2:
            day, month = self._first[True], self._first[False]
            what = f'the column "{self._column}" has the day first here and the month first at {month}.'
            return [Fault(what, str(day), "Write dates as 2024-05-31."), *self._unreadable]
        if self._open and not self._first:
            text, source = self._open
            what = f'"{text}" in the column "{self._column}" can be read in two ways, and no row says which is meant.'
            return [Fault(what, str(source), "Write dates as 2024-05-31."), *self._unreadable]
        return list(self._unreadable)

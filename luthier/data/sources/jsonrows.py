"""Rows of JSON and JSONL files, with the line each object starts on; lists are streamed, never held whole."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, TextIO

from luthier.base.records import Row, Source
from luthier.data.sources.reading import Place, Reading, checked, open_text, read_lines

_CHUNK = 1 << 16
_SPACE = " \t\r\n"
_LITERAL = 12
_DECODER = json.JSONDecoder()


class _Broken(Exception):
    """The JSON cannot be read on; the fault is already noted."""


def read_jsonl(reading: Reading) -> Iterator[Row]:
    """Yield one row for each line that is not blank."""
    some = False
    for number, line in read_lines(reading):
        if not line.strip():
            continue
        some = True
        try:
            value = json.loads(line.rstrip())
        except json.JSONDecodeError as error:
            start = number == 1 and line.lstrip().startswith("[")
            mend = "A list of objects belongs in a file that ends with .json." if start else "One whole object a line."
            reading.fault(number, f"not JSON at column {error.colno}: {error.msg}", mend)
            if start:
                return
            continue
        except (ValueError, RecursionError) as error:
            reading.fault(number, f"not JSON that can be read: {str(error)[:120]}")
            continue
        if isinstance(value, dict):
            yield Row(value, Source(reading.shown, number))
        else:
            reading.fault(
                number, f"{_kind(value)} where an object is needed", 'Write {"column": value, ...} on every line.'
            )
    if not some and not reading.faults:
        reading.fault(0, "the file has no rows")


def _kind(value: Any) -> str:
    names = {
        list: "a list",
        str: "a string",
        bool: "true or false",
        int: "a number",
        float: "a number",
        dict: "an object",
    }
    return names.get(type(value), "null")


def read_json(reading: Reading) -> Iterator[Row]:
    """Yield the objects of a list, of the one list in an object (``{"data": [...]}``), or of an object of objects.

    A file of one object a line is read as JSONL, whatever its name says.
    """
    if _is_jsonl(reading):
        yield from read_jsonl(reading)
        return
    place = Place()
    some = False
    with open_text(reading, place) as text:
        if text is None:
            return
        try:
            for line, value in _items(_Cursor(text, reading, place)):
                some = True
                if not isinstance(value, dict):
                    reading.fault(line, f"{_kind(value)} where an object is needed", "The list holds one object a row.")
                elif long := [k for k, v in value.items() if isinstance(v, str) and len(v) > reading.max_chars]:
                    reading.too_long(line, f'field "{long[0]}"')
                else:
                    yield Row(value, Source(reading.shown, line))
                if reading.full:
                    return
        except _Broken:
            return
    if not some and not reading.faults:
        reading.fault(0, "the file has no rows", 'Give a list of objects, or an object with one list: {"data": [...]}.')


def _is_jsonl(reading: Reading) -> bool:
    probe = Reading(reading.path, reading.shown, reading.encoding, reading.max_chars, [])
    lines = (line for _, line in read_lines(probe) if line.strip())
    first, second = next(lines, ""), next(lines, "")
    if not (first.lstrip().startswith("{") and second.lstrip().startswith("{")):
        return False
    try:
        json.loads(first)
    except (ValueError, RecursionError):
        return False
    return True


class _Cursor:
    """Walk through JSON text value by value, holding no more than one value (at most ``max_chars``) at a time."""

    def __init__(self, text: TextIO, reading: Reading, place: Place) -> None:
        self._text, self._reading, self._place = text, reading, place
        self._buffer, self._at, self._ended = "", 0, False
        self.line = 1
        self._column = 0  # characters of the current line that have left the buffer
        self._fill()
        self._buffer = self._buffer.lstrip("\ufeff")

    def _fill(self) -> None:
        left = self._buffer[self._at :]
        line_end = self._buffer.rfind("\n", 0, self._at)
        self._column = self._at - line_end - 1 if line_end >= 0 else self._column + self._at
        line = self.line + left.count("\n")
        chunk = self._text.read(max(_CHUNK, len(left)))
        self._ended = not chunk
        self._buffer, self._at = left + checked(self._reading, line, chunk), 0

    def _move(self, to: int) -> None:
        self.line += self._buffer.count("\n", self._at, to)
        self._place.line = self.line
        self._at = to

    def peek(self) -> str:
        """Return the next character that is not white space; an empty string at the end."""
        while True:
            to = self._at
            while to < len(self._buffer) and self._buffer[to] in _SPACE:
                to += 1
            self._move(to)
            if to < len(self._buffer):
                return self._buffer[to]
            if self._ended:
                return ""
            self._fill()

    def take(self, wanted: str) -> str:
        """Take the next character, which must be one of ``wanted``."""
        found = self.peek()
        if not found or found not in wanted:
            names = " or ".join(f'"{c}"' for c in wanted)
            self.broken(self._at, f"{names} is missing" if found else f"the file ends where {names} is needed")
        self._move(self._at + 1)
        return found

    def value(self) -> Any:
        """Take the next value."""
        if not self.peek():
            self.broken(self._at, "the file ends where a value is needed")
        while True:
            try:
                value, end = _DECODER.raw_decode(self._buffer, self._at)
            except json.JSONDecodeError as error:
                cut = error.msg.startswith("Unterminated") or error.pos > len(self._buffer) - _LITERAL
                if self._ended or not cut:
                    self.broken(error.pos, error.msg)
            except (ValueError, RecursionError) as error:
                self.broken(self._at, str(error)[:120])
            else:
                # A number at the very end of the buffer may go on in the next piece.
                if self._ended or end < len(self._buffer):
                    self._move(end)
                    return value
            if len(self._buffer) - self._at > self._reading.max_chars:
                self._reading.too_long(self.line, "value", "Is a quote or bracket left open in it? ")
                raise _Broken
            self._fill()

    def broken(self, at: int, what: str) -> None:
        line = self.line + self._buffer.count("\n", self._at, at)
        line_end = self._buffer.rfind("\n", 0, at)
        column = at - line_end + (self._column if line_end < 0 else 0)
        self._reading.fault(line, f"not JSON at column {column}: {what}", "Check commas, quotes and brackets there.")
        raise _Broken

    def fault(self, line: int, what: str, mend: str) -> None:
        self._reading.fault(line, what, mend)
        raise _Broken


def _items(cursor: _Cursor) -> Iterator[tuple[int, Any]]:
    first = cursor.peek()
    if first == "[":
        yield from _list(cursor)
    elif first == "{":
        yield from _object(cursor)
    else:
        cursor.fault(cursor.line, "neither a list nor an object", "Give a list of objects, one object a row.")
    if cursor.peek():
        cursor.fault(
            cursor.line, "something stands after the end of the list", "One list a file; one object a line is .jsonl."
        )


def _list(cursor: _Cursor) -> Iterator[tuple[int, Any]]:
    cursor.take("[")
    if cursor.peek() == "]":
        cursor.take("]")
        return
    while True:
        cursor.peek()
        line = cursor.line
        yield line, cursor.value()
        if cursor.take(",]") == "]":
            return


def _object(cursor: _Cursor) -> Iterator[tuple[int, Any]]:
    """Yield the items of the only list, or the values of an object of objects (told apart by the second of either)."""
    start = cursor.line
    held: list[tuple[int, Any]] = []
    lists: list[str] = []
    objects = 0
    cursor.take("{")
    while cursor.peek() != "}":
        key = cursor.value()
        cursor.take(":")
        opens, line = cursor.peek(), cursor.line
        if opens == "[" and objects < 2:
            lists.append(str(key))
            if len(lists) > 1:
                cursor.fault(
                    line, f"several lists ({', '.join(lists)})", "Which one holds the rows? Keep one list a file."
                )
            held = []
            yield from _list(cursor)
        else:
            value = cursor.value()
            if opens == "{" and not lists:
                objects += 1
                held.append((line, value))
        if objects >= 2 and not lists:
            yield from held
            held = []
        if cursor.take(",}") == "}":
            break
    else:
        cursor.take("}")
    if not lists and objects < 2:
        cursor.fault(start, "one object and no list of rows in it", 'Give a list of objects, or {"data": [...]}.')

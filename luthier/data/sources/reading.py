"""Text of a file in bounded pieces, with the line of every fault: encodings, gzip, NUL bytes, endless lines."""

from __future__ import annotations

import gzip
import io
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, TextIO, cast

from luthier.base.errors import Fault, did_you_mean

MAX_FAULTS = 20
_SKIP = 1 << 16
_MAGIC = (
    (b"PK\x03\x04", "this is a zip or Excel file", "Save the sheet as CSV, or unpack the archive."),
    (b"\x1f\x8b", "this file is gzipped", "Rename it so that it ends with .gz."),
    (b"PAR1", "this is a Parquet file", "Rename it so that it ends with .parquet."),
    (b"\xff\xfe", "this file is UTF-16", "Set data.encoding: utf-16."),
    (b"\xfe\xff", "this file is UTF-16", "Set data.encoding: utf-16."),
)


@dataclass(frozen=True, slots=True)
class Reading:
    """One file being read: how, under which name it is shown, and where its faults and notes are collected.

    ``sound`` holds the first line with letters beyond ASCII that the encoding read well.
    """

    path: Path
    shown: str
    encoding: str
    max_chars: int
    faults: list[Fault]
    notes: list[Fault] = field(default_factory=list)
    sound: list[int] = field(default_factory=list)

    @property
    def full(self) -> bool:
        """Whether so many faults are known that reading on helps nobody."""
        return len(self.faults) >= MAX_FAULTS

    def fault(self, line: int, what: str, mend: str = "") -> None:
        if not self.full:
            self.faults.append(Fault(_sentence(what), f"{self.shown}:{line}" if line else self.shown, mend))

    def note(self, line: int, what: str, mend: str = "") -> None:
        self.notes.append(Fault(_sentence(what), f"{self.shown}:{line}", mend))

    def too_long(self, line: int, thing: str, also: str = "") -> None:
        mend = f"{also}Set data.max_chars higher if it is meant to be so long."
        self.fault(line, f"this {thing} is longer than {self.max_chars:,} characters", mend)


def _sentence(what: str) -> str:
    # Column names and what a library says may hold line ends, or half of a surrogate pair.
    what = " ".join(what.splitlines()).encode("utf-8", "replace").decode("utf-8")
    return what if what.endswith((".", "?", "!")) else what + "."


class Place:
    """The line a reader has come to, for faults that stop a file in the middle."""

    __slots__ = ("line",)

    def __init__(self) -> None:
        self.line = 0


@contextmanager
def open_text(reading: Reading, place: Place) -> Iterator[TextIO | None]:
    """Yield the decoded text of a file, gzipped or not; what stops it becomes a fault. None where it cannot be opened.

    Bytes outside the encoding arrive as lone surrogates, which :func:`checked` finds and reports with their line.
    """
    raw: BinaryIO | None = None
    with _stopping(reading, place):
        if _decodes(reading):
            raw = _open_known(reading)
    if raw is None:
        yield None
        return
    with _stopping(reading, place), raw:
        yield io.TextIOWrapper(raw, encoding=reading.encoding, errors="surrogateescape", newline="")


@contextmanager
def _stopping(reading: Reading, place: Place) -> Iterator[None]:
    """End a file at what stops it, with a fault instead of an exception."""
    try:
        yield
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        reading.fault(place.line, f"the gzip file is damaged after this line ({error})", "Copy or download it again.")
    except UnicodeError as error:
        reading.fault(
            place.line + 1, f"this is not {reading.encoding}: {error}", "Set data.encoding to what the file is."
        )
    except OSError as error:
        reading.fault(
            place.line, f"the file cannot be read ({error.strerror or error})", "Check the disk and permissions."
        )


def _decodes(reading: Reading) -> bool:
    try:
        io.TextIOWrapper(io.BytesIO(), encoding=reading.encoding)
        return True
    except (LookupError, ValueError):
        mend = did_you_mean(
            reading.encoding, ("utf-8", "utf-16", "cp1252", "latin-1", "cp1251", "shift_jis", "gb18030")
        )
        what = f'data.encoding: "{reading.encoding}" is not a text encoding.'
        reading.fault(0, what, mend or "The usual one is utf-8.")
        return False


def _open_known(reading: Reading) -> BinaryIO | None:
    """Open a file whose first bytes look like text; what they show to be something else is a fault."""
    zipped = reading.path.suffix.lower() == ".gz"
    raw: Any = gzip.open(reading.path, "rb") if zipped else reading.path.open("rb")  # noqa: SIM115 - the caller closes
    try:
        head = raw.peek(4)[:4]
        wide = reading.encoding.lower().replace("_", "-").startswith(("utf-16", "utf-32"))
        wrong = [
            (what, mend) for magic, what, mend in _MAGIC if head.startswith(magic) and not (wide and "UTF-16" in what)
        ]
        if head and not wrong:
            return cast(BinaryIO, raw)
        reading.fault(0, *(wrong[0] if wrong else ("the file is empty",)))
    except BaseException:
        raw.close()
        raise
    raw.close()
    return None


def read_lines(reading: Reading) -> Iterator[tuple[int, str]]:
    """Yield ``(number, line)`` with the line's end; memory stays below ``max_chars`` however long a line is.

    A line with bytes outside the encoding is a fault and comes with replacement characters, so that the records
    around it still parse; a line that is too long is a fault and left out.
    """
    place = Place()
    with open_text(reading, place) as text:
        while text is not None and not reading.full:
            line = text.readline(reading.max_chars + 2)
            if not line:
                return
            place.line += 1
            if place.line == 1:
                line = line.lstrip("\ufeff")  # joined files can have two
            if len(line.rstrip("\r\n")) > reading.max_chars:
                reading.too_long(place.line, "line")
                while line and not line.endswith(("\n", "\r")):
                    line = text.readline(_SKIP)
                continue
            yield place.line, checked(reading, place.line, line)


def checked(reading: Reading, line: int, text: str) -> str:
    """Return ``text`` without NULs and undecodable bytes, each reported once with its line."""
    if "\0" in text:
        before = text.index("\0")
        at = line + text.count("\n", 0, before)
        reading.fault(at, "a NUL byte stands in this line", "Is the file UTF-16? Then set data.encoding: utf-16.")
        text = text.replace("\0", "")
    if text.isascii():
        return text
    try:
        text.encode("utf-8")
        if not reading.sound:
            reading.sound.append(line)
        return text
    except UnicodeEncodeError as error:
        _report_bytes(reading, line, text, error.start)
        return text.encode("utf-8", "replace").decode("utf-8")


def _report_bytes(reading: Reading, line: int, text: str, start: int) -> None:
    byte = ord(text[start]) - 0xDC00
    at = line + text.count("\n", 0, start)
    column = start - text.rfind("\n", 0, start)
    mend = "Set data.encoding to what the file is."
    try:
        text.encode(reading.encoding, "surrogateescape").decode("cp1252")
        mend = "If the file comes from Windows, set data.encoding: cp1252."
    except UnicodeError:
        pass
    if reading.sound:
        mend = (
            f"Line {reading.sound[0]} is {reading.encoding}: two encodings are mixed here. Write the file again in one."
        )
    reading.fault(at, f"byte 0x{byte:02X} at column {column} is not {reading.encoding}", mend)

"""Rows of CSV and TSV files, with the physical line each record starts on."""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Iterator

from luthier.base.records import Row, Source
from luthier.data.sources.reading import Reading, read_lines

_DELIMITERS = (",", ";", "\t", "|")
_NAMES = {",": "a comma", ";": "a semicolon", "\t": "a tab", "|": "a bar"}
_MAX_JOINED = 200


class _TooLong(Exception):
    """A record that has outgrown ``max_chars``."""


class _Feed:
    """Hand lines to csv.reader, and know where the record under way starts and whether the file ended inside it."""

    def __init__(self, reading: Reading) -> None:
        self._lines = read_lines(reading)
        self._max_chars = reading.max_chars
        self._held: list[tuple[int, str]] = []
        self.begin()

    def begin(self) -> None:
        self.start = 0
        self.chars = 0
        self.ended = False

    def peek(self) -> str:
        """Return the next line that is not blank, without taking it."""
        while not self._held:
            entry = next(self._lines, None)
            if entry is None:
                return ""
            if entry[1].strip():
                self._held.append(entry)
        return self._held[0][1]

    def push_back(self, entries: list[tuple[int, str]]) -> None:
        self._held[:0] = entries

    def take(self) -> tuple[int, str] | None:
        return self._held.pop(0) if self._held else next(self._lines, None)

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        entry = self.take()
        if entry is None:
            self.ended = True
            raise StopIteration
        self.start = self.start or entry[0]
        # A quote that is never closed would otherwise gather the rest of the file in memory.
        self.chars += len(entry[1])
        if self.chars > self._max_chars + 2:
            raise _TooLong
        return entry[1]


def read_csv(reading: Reading) -> Iterator[Row]:
    """Yield the rows of a comma-separated file; another delimiter is recognised from the header, and noted."""
    # The csv module's own limit is global and smaller than ours; it is only ever raised.
    csv.field_size_limit(max(csv.field_size_limit(), reading.max_chars + 2))
    feed = _Feed(reading)
    delimiter = _delimiter(reading, feed, ",")
    yield from _rows(reading, feed, _csv_records(reading, feed, delimiter))


def read_tsv(reading: Reading) -> Iterator[Row]:
    """Yield the rows of a tab-separated file.

    In most TSV files a quote is only a character, but spreadsheets write quoted fields. A line with as many cells as
    the header is taken as it stands, balanced outer quotes removed; only a line that does not fit is read as quoted.
    """
    feed = _Feed(reading)
    delimiter = _delimiter(reading, feed, "\t")
    records = _tsv_records(reading, feed) if delimiter == "\t" else _csv_records(reading, feed, delimiter)
    yield from _rows(reading, feed, records)


def _delimiter(reading: Reading, feed: _Feed, usual: str) -> str:
    first = feed.peek().strip("\r\n")
    if first.lower().startswith("sep=") and first[4:5] in _DELIMITERS:  # a line only Excel writes
        feed.take()
        return first[4:5]
    if usual in first:
        return usual
    other = max(_DELIMITERS, key=first.count)
    if other == usual or other not in first:
        return usual
    what = f"the header has no {_NAMES[usual][2:]}, so {_NAMES[other]} is taken as the delimiter."
    reading.note(1, what, "Rename or rewrite the file if that is wrong.")
    return other


def _csv_records(reading: Reading, feed: _Feed, delimiter: str) -> Iterator[tuple[int, list[str]]]:
    # Strict: a stray quote that would silently glue rows together is an error instead.
    reader = csv.reader(feed, delimiter=delimiter, strict=True)
    while not reading.full:
        feed.begin()
        try:
            cells = next(reader)
        except StopIteration:
            return
        except _TooLong:
            reading.too_long(feed.start, "record", "Is a quote left open in it? ")
            return
        except csv.Error as error:
            if feed.ended:
                reading.fault(
                    feed.start, "a quote opened in this record is never closed", 'Close it, or write "" for a quote.'
                )
                return
            what = f"this record cannot be read: {error}"
            reading.fault(feed.start, what, 'Inside a quoted field a quote is written twice: "".')
            continue
        yield feed.start, cells


def _tsv_records(reading: Reading, feed: _Feed) -> Iterator[tuple[int, list[str]]]:
    width = 0
    while not reading.full:
        entry = feed.take()
        if entry is None:
            return
        number, line = entry
        cells = line.rstrip("\r\n").split("\t")
        opened = cells[-1].startswith('"') and not _is_quoted(cells[-1])
        if width and '"' in line and (len(cells) != width or opened):
            cells = _quoted_record(feed, entry, width) or cells
        width = width or len(cells)
        yield number, [c[1:-1].replace('""', '"') if _is_quoted(c) else c for c in cells] if line.strip() else []


def _is_quoted(cell: str) -> bool:
    return len(cell) >= 2 and cell[0] == cell[-1] == '"' and '"' not in cell[1:-1].replace('""', "")


def _quoted_record(feed: _Feed, first: tuple[int, str], width: int) -> list[str] | None:
    """Read a record whose quoted fields hold tabs or line ends; None, with all lines given back, where that fails."""
    taken = [first]
    while len(taken) <= _MAX_JOINED:
        try:
            cells = next(csv.reader([line for _, line in taken], delimiter="\t", strict=True))
        except csv.Error:
            # A following line that is a whole row by itself, and closes nothing, shows that the quote was only a character.
            if len(taken) > 1 and width > 1 and taken[-1][1].count("\t") == width - 1:
                break
            entry = feed.take()
            if entry is None:
                break
            taken.append(entry)
            continue
        if len(cells) == width:
            # Quote what was quoted, so that the caller's unquoting leaves it as it is.
            return ['"' + cell.replace('"', '""') + '"' for cell in cells]
        break
    feed.push_back(taken[1:])
    return None


def _rows(reading: Reading, feed: _Feed, records: Iterator[tuple[int, list[str]]]) -> Iterator[Row]:
    start, header = next(((s, c) for s, c in records if c), (0, []))
    names = _header(reading, start, header)
    if names is None:
        return
    width = len(names)
    some = False
    for start, cells in records:
        if not cells:
            continue
        some = True
        if len(cells) == width:
            yield Row(dict(zip(names, cells, strict=True)), Source(reading.shown, start))
            continue
        what = f"{len(cells)} cells where the header has {width}"
        more = (
            "Quote a field that holds the delimiter."
            if len(cells) > width
            else "Add what is missing, or close a quote."
        )
        reading.fault(start, what, more)
    if not some and not reading.faults:
        reading.fault(0, "the file has a header and no rows")


def _header(reading: Reading, line: int, cells: list[str]) -> list[str] | None:
    names = [cell.strip() for cell in cells]
    if not any(names):
        if not reading.faults:
            reading.fault(line, "the header is empty", "The first line names the columns.")
        return None
    # pandas writes its index under no name; such a column is kept and given one.
    names = [name or f"column {i + 1}" for i, name in enumerate(names)]
    twice = sorted(name for name, count in Counter(names).items() if count > 1)
    for name in twice:
        reading.fault(line, f'the header names "{name}" twice', "Give every column its own name.")
    return None if twice else names

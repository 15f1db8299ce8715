"""Rows of plain text files: blocks between blank lines, or lines where the file has no blank line."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice

from luthier.base.records import Row, Source
from luthier.data.sources.reading import Reading, read_lines

_PROBED_LINES = 1_000
# Some corpora write their tokenizer's end mark on a line of its own between two documents.
_BETWEEN = frozenset(("", "<|endoftext|>"))


def read_plain(reading: Reading) -> Iterator[Row]:
    """Yield ``{"text": ...}`` for each block of lines, with the line it starts on.

    A file without a blank line in its first 1,000 lines holds one text a line (as wiki and web dumps do); that is noted.
    """
    by_line = _is_by_line(reading)
    if by_line:
        reading.note(1, "no blank line stands here, so each line is a row", "Blank lines part longer texts.")
    block: list[str] = []
    start, chars, some = 0, 0, False
    for number, line in read_lines(reading):
        text = line.rstrip()
        apart = text.strip() in _BETWEEN
        if not apart:
            start = start or number
            chars += len(text) + 1
            if chars <= reading.max_chars + 1:
                block.append(text)
            some = True
        if (apart or by_line) and start:
            yield from _block(reading, start, chars, block)
            block, start, chars = [], 0, 0
    if start:
        yield from _block(reading, start, chars, block)
    if not some and not reading.faults:
        reading.fault(0, "the file has no text")


def _block(reading: Reading, start: int, chars: int, block: list[str]) -> Iterator[Row]:
    if chars > reading.max_chars + 1:
        reading.too_long(start, "block", "Part it with blank lines. ")
        return
    yield Row({"text": "\n".join(block)}, Source(reading.shown, start))


def _is_by_line(reading: Reading) -> bool:
    probe = Reading(reading.path, reading.shown, reading.encoding, reading.max_chars, [])
    lines = [line.strip() in _BETWEEN for _, line in islice(read_lines(probe), _PROBED_LINES)]
    while lines and lines[-1]:
        lines.pop()
    return lines.count(False) > 1 and True not in lines

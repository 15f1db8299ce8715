"""Rows on disk that read like a list: however many there are, memory holds an offset of each and no more."""

from __future__ import annotations

import json
import os
import tempfile
from array import array
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Generic, TypeVar, overload

import numpy as np

from luthier.base.errors import DataError
from luthier.base.files import storage
from luthier.base.records import Example, Source
from luthier.data.shapes.columns import Dropped

T = TypeVar("T")
_AHEAD = 1 << 20
# Built once: json.dumps with options builds an encoder for every call.
_encode = json.JSONEncoder(ensure_ascii=False, default=str).encode
_parse = json.JSONDecoder().decode


class _File:
    """A file that is read at offsets, by any thread; a temporary one has no name and goes with the last reader."""

    def __init__(self, handle: Any) -> None:
        self._handle = handle

    def read(self, start: int, size: int) -> bytes:
        return os.pread(self._handle.fileno(), size, start)


class Lines(Sequence[T], Generic[T]):
    """Objects kept as lines of JSON: an index reads one, an iteration streams, a slice is a view."""

    def __init__(self, file: _File | None, starts: np.ndarray, sizes: np.ndarray, decode: Callable[[Any], T]) -> None:
        self._file, self._starts, self._sizes, self._decode = file, starts, sizes, decode
        self._changed: Mapping[int, T] = {}

    def __len__(self) -> int:
        return len(self._starts)

    @overload
    def __getitem__(self, index: int) -> T: ...
    @overload
    def __getitem__(self, index: slice) -> Lines[T]: ...
    def __getitem__(self, index: int | slice) -> T | Lines[T]:
        if isinstance(index, slice):
            return self.take(np.arange(len(self))[index])
        start = int(self._starts[index])
        if start in self._changed:
            return self._changed[start]
        assert self._file is not None
        return self._decode(_parse(self._file.read(start, int(self._sizes[index])).decode()))

    def __iter__(self) -> Iterator[T]:
        held, base, end = b"", 0, 0
        for start, size in zip(self._starts.tolist(), self._sizes.tolist(), strict=True):
            if start in self._changed:
                yield self._changed[start]
                continue
            if not base <= start <= start + size <= base + len(held):
                assert self._file is not None
                # Reading ahead pays where rows follow each other, and costs much where they are in any order.
                near = 0 <= start - end < _AHEAD
                base, held = start, self._file.read(start, max(size, _AHEAD) if near else size)
            end = start + size
            yield self._decode(_parse(held[start - base : start - base + size].decode()))

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Sequence) or isinstance(other, str | bytes):
            return NotImplemented
        return len(self) == len(other) and all(a == b for a, b in zip(self, other, strict=True))

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"<{len(self)} rows on disk>"

    def take(self, indices: np.ndarray) -> Lines[T]:
        """Return a view of the rows at ``indices``, in that order."""
        view: Lines[T] = type(self)(self._file, self._starts[indices], self._sizes[indices], self._decode)
        view._changed = self._changed
        return view

    def changed(self, by_index: Mapping[int, T]) -> Lines[T]:
        """Return a view in which some rows are replaced: a correction, a few among many."""
        view = self.take(np.arange(len(self)))
        view._changed = {**self._changed, **{int(self._starts[i]): row for i, row in by_index.items()}}
        return view


class Spool(Generic[T]):
    """Writes objects to an unnamed temporary file, one JSON line each; :meth:`lines` reads them back."""

    def __init__(self, encode: Callable[[T], Mapping[str, Any]], decode: Callable[[Any], T]) -> None:
        self._encode, self._decode = encode, decode
        with storage(Path(tempfile.gettempdir())):
            self._handle = tempfile.TemporaryFile(prefix="luthier-")  # noqa: SIM115 - closed with its last reader
        self._starts, self._sizes, self._at = array("q"), array("l"), 0

    def __len__(self) -> int:
        return len(self._starts)

    def add(self, value: T) -> int:
        """Append a value; return its index."""
        line = _encode(self._encode(value)).encode("utf-8", "replace") + b"\n"
        try:
            self._handle.write(line)
        except OSError:
            with storage(Path(tempfile.gettempdir())):
                raise
        self._starts.append(self._at)
        self._sizes.append(len(line))
        self._at += len(line)
        return len(self._starts) - 1

    def lines(self) -> Lines[T]:
        with storage(Path(tempfile.gettempdir())):
            self._handle.flush()
        starts, sizes = np.array(self._starts, dtype=np.int64), np.array(self._sizes, dtype=np.int64)
        return Lines(_File(self._handle), starts, sizes, self._decode)


def spool_examples() -> Spool[Example]:
    return Spool(Example.as_dict, Example.from_dict)


class Drops(Sequence[Dropped]):
    """Rows left out, on disk, with their counts and first places in memory."""

    def __init__(self) -> None:
        self._spool: Spool[Dropped] | None = None
        self.counts: Counter[str] = Counter()
        self.first: dict[str, Source] = {}

    def add(self, dropped: Dropped) -> None:
        if self._spool is None:  # most data sets drop nothing
            self._spool = Spool(Dropped.as_dict, dropped_of)
        self._spool.add(dropped)
        self.counts[dropped.reason] += 1
        self.first.setdefault(dropped.reason, dropped.source)

    def _lines(self) -> Sequence[Dropped]:
        return () if self._spool is None else self._spool.lines()

    def __len__(self) -> int:
        return 0 if self._spool is None else len(self._spool)

    def __getitem__(self, index: Any) -> Any:
        return self._lines()[index]

    def __iter__(self) -> Iterator[Dropped]:
        return iter(self._lines())

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sequence) and list(self) == list(other)

    __hash__ = None  # type: ignore[assignment]


def dropped_of(values: Mapping[str, Any]) -> Dropped:
    return Dropped(Source(values["file"], values["line"]), values["reason"], values["detail"])


def open_lines(path: Path, decode: Callable[[Any], T]) -> Lines[T]:
    """Open a JSONL file of ours for reading at any row; it is scanned once for its line ends."""
    starts, sizes, at = array("q"), array("q"), 0
    with path.open("rb") as handle:
        for line in handle:
            if line.strip():
                starts.append(at)
                sizes.append(len(line))
            at += len(line)
    file = _File(path.open("rb")) if len(starts) else None
    return Lines(file, np.array(starts, dtype=np.int64), np.array(sizes, dtype=np.int64), decode)


def write_lines(path: Path, values: Sequence[T], encode: Callable[[T], Mapping[str, Any]]) -> None:
    """Write values as JSON lines without holding them in memory; the folder around it makes it whole or absent."""
    with storage(path), path.open("w", encoding="utf-8", errors="replace") as handle:
        for value in values:
            handle.write(_encode(encode(value)) + "\n")


class Sealed(Sequence[Example]):
    """The test rows as training and search see them: their number is known, and nothing else."""

    def __init__(self, count: int) -> None:
        self._count = count

    def __len__(self) -> int:
        return self._count

    def _refuse(self) -> DataError:
        return DataError(
            "the test rows are sealed: they are opened for the verdict only", where="data.test",
            mend="Choose and stop by the validation rows.",
        )  # fmt: skip

    def __getitem__(self, index: Any) -> Any:
        raise self._refuse()

    def __iter__(self) -> Iterator[Example]:
        raise self._refuse()

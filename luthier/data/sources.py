"""Which files are meant, and their rows: one reader for each kind of file."""

from __future__ import annotations

import glob
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from luthier.base.errors import DataError, Fault, did_you_mean
from luthier.base.records import Row, Source
from luthier.data.jsonrows import read_json, read_jsonl
from luthier.data.reading import Reading
from luthier.data.tables import read_csv, read_tsv

_BATCH_ROWS = 1024


def read_parquet(reading: Reading) -> Iterator[Row]:
    """Yield the rows of a Parquet file; a row's line is its number, counted from 1."""
    import pyarrow
    import pyarrow.parquet

    number = 0
    try:
        with pyarrow.parquet.ParquetFile(reading.path) as file:
            for batch in file.iter_batches(batch_size=_BATCH_ROWS):
                for values in batch.to_pylist():
                    number += 1
                    long = [k for k, v in values.items() if isinstance(v, str) and len(v) > reading.max_chars]
                    if long:
                        reading.too_long(number, f'field "{long[0]}"')
                        if reading.full:
                            return
                    else:
                        yield Row(values, Source(reading.shown, number))
    except (pyarrow.ArrowException, OSError, ValueError) as error:
        reason = str(error).splitlines()[0][:120] if str(error) else type(error).__name__
        reading.fault(number, f"this is not a Parquet file that can be read ({reason})", "Write or download it again.")
        return
    if number == 0:
        reading.fault(0, "the file has no rows")


READERS: dict[str, Callable[[Reading], Iterator[Row]]] = {
    ".csv": read_csv,
    ".tsv": read_tsv,
    ".jsonl": read_jsonl,
    ".ndjson": read_jsonl,
    ".json": read_json,
    ".parquet": read_parquet,
}
_KINDS = ", ".join(READERS)


def kind_of(path: Path) -> str | None:
    """Return the key of :data:`READERS` for a file name, ``.gz`` looked through; None where there is no reader."""
    suffixes = [s.lower() for s in path.suffixes[-2:]]
    if suffixes and suffixes[-1] == ".gz":
        kind = suffixes[0] if len(suffixes) == 2 else ""
        return kind if kind in READERS and kind != ".parquet" else None
    return suffixes[-1] if suffixes and suffixes[-1] in READERS else None


def read_rows(
    path: Path,
    *,
    encoding: str = "utf-8",
    max_chars: int = 1_000_000,
    shown_as: str | None = None,
    faults: list[Fault],
    notes: list[Fault] | None = None,
) -> Iterator[Row]:
    """Stream the rows of one file; faults are appended with ``file:line``, at most 20, and never raised.

    Args:
        max_chars: longest accepted line, record or field; longer ones are faults and never held in memory whole.
        shown_as: the name that rows and faults carry; default: the path.
        notes: what was decided for the user and does not stop anything, such as a delimiter recognised.
    """
    shown = shown_as or str(path)
    kind = kind_of(path)
    if kind is None:
        faults.append(_unknown_kind(path, shown))
        return
    yield from READERS[kind](Reading(path, shown, encoding, max_chars, faults, [] if notes is None else notes))


def expand(source: str | Sequence[str], base: Path) -> list[Path]:
    """Return the files that ``source`` means: a file, a folder, a glob, or a list of them, relative to ``base``.

    Folders and globs give the readable kinds in them, sorted, hidden files left out; a file named twice counts once.

    Raises:
        DataError: with one fault for each name that means nothing, with the closest name there is.
    """
    faults: list[Fault] = []
    found: dict[Path, Path] = {}
    for name in [source] if isinstance(source, str) else source:
        for path in _expand_one(name, base, faults):
            found.setdefault(path.resolve(), path)
    if not faults and not found:
        faults.append(Fault("no data file is named.", "data.source", f"Name a file, a folder or a glob: {_KINDS}."))
    if faults:
        raise DataError.of(faults)
    return list(found.values())


def _expand_one(name: str, base: Path, faults: list[Fault]) -> list[Path]:
    path = base / Path(name).expanduser()
    if path.is_file():
        if kind_of(path) is None:
            faults.append(_unknown_kind(path, name))
        return [path]
    if path.is_dir():
        paths = sorted(path.iterdir())
    elif any(c in name for c in "*?["):
        paths = [Path(p) for p in sorted(glob.glob(str(path), recursive=True))]
    else:
        faults.append(_missing(path, name))
        return []
    readable = [p for p in paths if not p.name.startswith(".") and p.is_file() and kind_of(p)]
    if not readable:
        what = "no readable file in this folder." if path.is_dir() else "no readable file fits this pattern."
        faults.append(Fault(what, name, f"Files that can be read: {_KINDS}; all but Parquet with .gz too."))
    return readable


def _missing(path: Path, name: str) -> Fault:
    folder = path.parent
    if not folder.is_dir():
        return Fault(
            "no such file, and no such folder.", name, "Paths in a task file start from the folder it lies in."
        )
    siblings = sorted(p.name for p in folder.iterdir() if not p.name.startswith("."))
    files = [s for s in siblings if kind_of(Path(s))]
    mend = did_you_mean(path.name, siblings) or (f"Files there: {', '.join(files[:8])}." if files else "")
    return Fault("no such file or folder.", name, mend)


def _unknown_kind(path: Path, shown: str) -> Fault:
    excel = path.suffix.lower() in (".xlsx", ".xls", ".ods")
    mend = "Save the sheet as CSV." if excel else f"Kinds that can be read: {_KINDS}; all but Parquet with .gz too."
    return Fault(f'files of the kind "{path.suffix or path.name}" cannot be read.', shown, mend)

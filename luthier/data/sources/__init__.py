"""What a task file means by its sources: files, folders, globs, saved data sets, the hub, databases; and their readers."""

from __future__ import annotations

import glob
import hashlib
import os
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path

from luthier.base.errors import DataError, Fault, did_you_mean
from luthier.base.files import sha256_file
from luthier.base.records import Row
from luthier.data.sources import labelled
from luthier.data.sources.arrow import is_saved, read_arrow, read_parquet, read_saved, saved_files, saved_split
from luthier.data.sources.hub import hub_name, hub_origin
from luthier.data.sources.jsonrows import read_json
from luthier.data.sources.origins import Origin
from luthier.data.sources.plain import read_plain
from luthier.data.sources.reading import Reading
from luthier.data.sources.sql import is_address, sql_origin
from luthier.data.sources.tables import read_csv, read_tsv
from luthier.spec.data import DataSection

__all__ = ["READERS", "Origin", "digest_all", "expand", "kind_of", "open_sources", "read_rows", "shown_as"]

READERS: dict[str, Callable[[Reading], Iterator[Row]]] = {
    ".csv": read_csv,
    ".tsv": read_tsv,
    ".jsonl": labelled.read,
    ".ndjson": labelled.read,
    ".json": read_json,
    ".parquet": read_parquet,
    ".arrow": read_arrow,
    ".txt": read_plain,
    ".md": read_plain,
}
_BINARY = (".parquet", ".arrow")
# A folder of tables often holds a read-me beside them.
_PLAIN = (".txt", ".md")
_KINDS = ", ".join(READERS)
_ALSO_GZ = "all but Parquet and Arrow with .gz too"


def kind_of(path: Path) -> str | None:
    """Return the key of :data:`READERS` for a file name, ``.gz`` looked through; None where there is no reader."""
    suffixes = [s.lower() for s in path.suffixes[-2:]]
    if suffixes and suffixes[-1] == ".gz":
        kind = suffixes[0] if len(suffixes) == 2 else ""
        return kind if kind in READERS and kind not in _BINARY else None
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


def open_sources(value: str | Sequence[str], base: Path, *, data: DataSection) -> list[Origin]:
    """Return what ``value`` names, each as an origin of rows; a file named twice counts once.

    A name is a file, a folder or a glob below ``base``; a folder that ``datasets`` saved, as ``folder`` or
    ``folder:split``; a database URL, read by ``data.query``; ``hub:owner/name/config:split``, or ``owner/name`` where no
    such file is.

    Raises:
        DataError: with one fault for each name that means nothing, with the closest name there is.
    """
    names = [value] if isinstance(value, str) else list(value)
    faults: list[Fault] = []
    found: dict[object, Origin] = {}
    for name in names:
        for origin in _open_one(name, base, data, faults):
            found.setdefault(origin.path.resolve() if origin.path else origin.shown, origin)
    if not faults and not found:
        faults.append(_nothing_named())
    if data.query and value == data.source and not any(map(is_address, names)):
        mend = "Leave it out, or name the database, as in source: sqlite:///rows.db."
        faults.append(Fault("a query is given and data.source is no database.", "data.query", mend))
    if faults:
        raise DataError.of(faults)
    return list(found.values())


def digest_all(value: str | Sequence[str], base: Path, data: DataSection) -> list[str]:
    """Return one hash for each origin that ``value`` names, in their order.

    Raises:
        DataError: a name means nothing, or what it means cannot be read.
    """
    return [origin.digest() for origin in open_sources(value, base, data=data)]


def shown_as(path: Path, base: Path) -> str:
    """Return the name a user knows a file by: relative where it lies below the task file."""
    try:
        return path.relative_to(base).as_posix()
    except ValueError:
        relative = os.path.relpath(path, base)
        return str(path) if relative.startswith(os.path.join("..", "..", "..")) else Path(relative).as_posix()


def _open_one(name: str, base: Path, data: DataSection, faults: list[Fault]) -> list[Origin]:
    if is_address(name):
        origin = sql_origin(name, data.query, base, max_chars=data.max_chars, faults=faults)
        return [origin] if origin else []
    path = base / Path(name).expanduser()
    if not path.exists():
        folder, colon, split = name.rpartition(":")
        below = base / Path(folder).expanduser()
        if colon and folder and below.is_dir() and is_saved(below):
            return _saved(below, folder, split, base, data, faults)
        wanted = hub_name(name)
        if wanted and (name.startswith("hub:") or (kind_of(path) is None and not path.parent.is_dir())):
            return [hub_origin(wanted, max_chars=data.max_chars)]
    elif path.is_dir() and is_saved(path):
        return _saved(path, name, None, base, data, faults)
    return [_file_origin(found, base, data) for found in _expand_one(name, base, faults) if not faults]


def _file_origin(path: Path, base: Path, data: DataSection) -> Origin:
    shown = shown_as(path, base)

    def read(faults: list[Fault], notes: list[Fault]) -> Iterator[Row]:
        return read_rows(
            path, encoding=data.encoding, max_chars=data.max_chars, shown_as=shown, faults=faults, notes=notes
        )

    return Origin(shown, "file", path, read, partial(_hash_files, [path], shown))


def _saved(
    path: Path, name: str, split: str | None, base: Path, data: DataSection, faults: list[Fault]
) -> list[Origin]:
    found = saved_split(path, name, split)
    if isinstance(found, Fault):
        faults.append(found)
        return []
    folder, shown = found, shown_as(path, base) + (f":{split}" if split else "")
    files = saved_files(folder)
    if not files:
        faults.append(Fault("this saved data set has no Arrow files.", shown, "Copy the whole folder."))
        return []

    def read(told: list[Fault], notes: list[Fault]) -> Iterator[Row]:
        return read_saved(Reading(folder, shown, data.encoding, data.max_chars, told, notes))

    return [Origin(shown, "saved", folder, read, partial(_hash_files, files, shown))]


def _hash_files(paths: Sequence[Path], shown: str) -> str:
    """Return the sha256 of one file, or of the hashes of several."""
    try:
        hashes = [sha256_file(path) for path in paths]
    except OSError as error:
        what = f"the file cannot be read ({error.strerror or error})."
        raise DataError(what, where=shown, mend="Check the disk and permissions.") from None
    return hashes[0] if len(hashes) == 1 else hashlib.sha256("".join(hashes).encode()).hexdigest()


def expand(source: str | Sequence[str], base: Path) -> list[Path]:
    """Return the files that ``source`` means: a file, a folder, a glob, or a list of them, relative to ``base``.

    Folders and globs give the readable kinds in them, sorted, hidden files left out, text files only where there is no
    table; a file named twice counts once.

    Raises:
        DataError: with one fault for each name that means nothing, with the closest name there is.
    """
    faults: list[Fault] = []
    found: dict[Path, Path] = {}
    for name in [source] if isinstance(source, str) else source:
        for path in _expand_one(name, base, faults):
            found.setdefault(path.resolve(), path)
    if not faults and not found:
        faults.append(_nothing_named())
    if faults:
        raise DataError.of(faults)
    return list(found.values())


def _nothing_named() -> Fault:
    return Fault("no data file is named.", "data.source", f"Name a file, a folder or a glob: {_KINDS}.")


def _expand_one(name: str, base: Path, faults: list[Fault]) -> list[Path]:
    path = base / Path(name).expanduser()
    if path.is_file():
        if kind_of(path) is None:
            faults.append(_unknown_kind(path, name))
        return [path]
    if path.is_dir():
        if is_saved(path):
            return saved_files(path)
        paths = sorted(path.iterdir())
    elif any(c in name for c in "*?["):
        paths = [Path(p) for p in sorted(glob.glob(str(path), recursive=True))]
    else:
        faults.append(_missing(path, name))
        return []
    readable = [p for p in paths if not p.name.startswith(".") and p.is_file() and kind_of(p)]
    tables = [p for p in readable if kind_of(p) not in _PLAIN]
    if not readable:
        what = "no readable file in this folder." if path.is_dir() else "no readable file fits this pattern."
        faults.append(Fault(what, name, f"Files that can be read: {_KINDS}; {_ALSO_GZ}."))
    return tables or readable


def _missing(path: Path, name: str) -> Fault:
    folder = path.parent
    if not folder.is_dir():
        mend = "Paths in a task file start from the folder it lies in."
        return Fault("no such file, and no such folder.", name, mend)
    siblings = sorted(p.name for p in folder.iterdir() if not p.name.startswith("."))
    files = [s for s in siblings if kind_of(Path(s))]
    mend = did_you_mean(path.name, siblings) or (f"Files there: {', '.join(files[:8])}." if files else "")
    return Fault("no such file or folder.", name, mend)


def _unknown_kind(path: Path, shown: str) -> Fault:
    excel = path.suffix.lower() in (".xlsx", ".xls", ".ods")
    database = path.suffix.lower() in (".db", ".sqlite", ".sqlite3")
    mend = "Save the sheet as CSV." if excel else f"Kinds that can be read: {_KINDS}; {_ALSO_GZ}."
    if database:
        mend = f"Name a database by its address and give data.query: source: sqlite:///{shown}."
    return Fault(f'files of the kind "{path.suffix or path.name}" cannot be read.', shown, mend)

"""Rows of Parquet and Arrow files, and of folders that the ``datasets`` library saved; a row's line is its number."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from luthier.base.errors import Fault, did_you_mean
from luthier.base.records import Row, Source
from luthier.data.sources.reading import Reading

_BATCH_ROWS = 1024
_PIECE_BYTES = 8 << 20
_USUAL_SPLITS = ("train", "validation", "valid", "dev", "test")


def read_parquet(reading: Reading) -> Iterator[Row]:
    """Yield the rows of a Parquet file."""
    yield from _read(reading, [reading.path], _parquet_batches, "a Parquet file")


def read_arrow(reading: Reading) -> Iterator[Row]:
    """Yield the rows of an Arrow file, in the stream or the file format."""
    yield from _read(reading, [reading.path], _arrow_batches, "an Arrow file")


def read_saved(reading: Reading) -> Iterator[Row]:
    """Yield the rows of a folder that ``Dataset.save_to_disk`` wrote, its files one after the other."""
    yield from _read(reading, saved_files(reading.path), _arrow_batches, "an Arrow file of a saved data set")


def _parquet_batches(path: Path) -> Iterator[Any]:
    import pyarrow.parquet

    # Without pre-buffering a row group is read in pages, so that one large group does not fill the memory.
    with pyarrow.parquet.ParquetFile(path, pre_buffer=False, buffer_size=1 << 20) as file:
        yield file.schema_arrow
        yield from file.iter_batches(batch_size=_BATCH_ROWS, use_threads=False)


def _arrow_batches(path: Path) -> Iterator[Any]:
    import pyarrow
    import pyarrow.ipc

    with pyarrow.OSFile(str(path)) as handle:
        if handle.read(6) == b"ARROW1":
            with pyarrow.ipc.open_file(handle) as file:
                yield file.schema
                for index in range(file.num_record_batches):
                    yield file.get_batch(index)
            return
        handle.seek(0)
        with pyarrow.ipc.open_stream(handle) as stream:
            yield stream.schema
            yield from stream


def _read(reading: Reading, paths: list[Path], batches: Callable[[Path], Iterator[Any]], kind: str) -> Iterator[Row]:
    number = 0
    for path in paths:
        for rows in _guarded(reading, batches(path), kind, number):
            for values in rows:
                number += 1
                long = [k for k, v in values.items() if isinstance(v, str) and len(v) > reading.max_chars]
                if long:
                    reading.too_long(number, f'field "{long[0]}"')
                    if reading.full:
                        return
                else:
                    yield Row(values, Source(reading.shown, number))
        if reading.full:
            return
    if number == 0 and not reading.faults:
        reading.fault(0, "the file has no rows")


def _guarded(reading: Reading, batches: Iterator[Any], kind: str, number: int) -> Iterator[list[dict[str, Any]]]:
    """Yield rows a piece at a time; whatever a damaged file makes pyarrow raise becomes a fault."""
    import pyarrow

    raised = (
        pyarrow.ArrowException, ArithmeticError, LookupError, MemoryError, NotImplementedError, OSError, TypeError, ValueError,
    )  # fmt: skip
    try:
        schema = next(batches)
        names, known = _names(reading, schema), class_names(schema.metadata)
        if names is None:
            return
        for batch in batches:
            # Unchecked offsets of a damaged file would be read as they stand, outside the buffer.
            batch.validate(full=True)
            for piece in _pieces(batch):
                rows = _as_rows(piece, names, known)
                number += len(rows)
                yield rows
    except raised as error:
        reason = str(error).splitlines()[0][:120] if str(error) else type(error).__name__
        reading.fault(number, f"this is not {kind} that can be read ({reason})", "Write or download it again.")
    finally:
        batches.close()  # type: ignore[attr-defined]


def _names(reading: Reading, schema: Any) -> list[str] | None:
    twice = sorted(name for name, count in Counter(schema.names).items() if count > 1)
    for name in twice:
        reading.fault(1, f'the schema names "{name}" twice', "Give every column its own name.")
    return None if twice else list(schema.names)


def _pieces(batch: Any) -> Iterator[Any]:
    """Cut a batch so that its Python objects stay small, whatever size its writer gave it."""
    rows = batch.num_rows
    step = max(1, min(_BATCH_ROWS, rows * _PIECE_BYTES // max(1, batch.nbytes)))
    for start in range(0, rows, step):
        yield batch.slice(start, step)


def _as_rows(batch: Any, names: list[str], known: Mapping[str, list[str]]) -> list[dict[str, Any]]:
    columns = [column.to_pylist() for column in batch.columns]
    for index, name in enumerate(names):
        if name in known:
            columns[index] = [named(value, known[name]) for value in columns[index]]
    if not columns:
        return [{} for _ in range(batch.num_rows)]
    return [dict(zip(names, cells, strict=True)) for cells in zip(*columns, strict=True)]


def named(value: Any, names: list[str]) -> Any:
    """Return a class label's name for its number; -1, which ``datasets`` writes where there is none, is None."""
    if not isinstance(value, int):
        return value
    return names[value] if 0 <= value < len(names) else None if value == -1 else value


def class_names(metadata: Mapping[bytes, bytes] | None) -> dict[str, list[str]]:
    """Return the labels' names by column, where ``datasets`` wrote them into a schema."""
    try:
        features = json.loads((metadata or {}).get(b"huggingface", b"{}"))["info"]["features"]
        labels = {k: v["names"] for k, v in features.items() if isinstance(v, dict) and v.get("_type") == "ClassLabel"}
        return {k: list(map(str, v)) for k, v in labels.items() if isinstance(v, list)}
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
        return {}


def is_saved(folder: Path) -> bool:
    """Whether the ``datasets`` library saved this folder: one data set, or one for each split."""
    return (folder / "dataset_dict.json").is_file() or (
        (folder / "state.json").is_file() and (folder / "dataset_info.json").is_file()
    )


def saved_files(folder: Path) -> list[Path]:
    """Return the Arrow files of a saved data set in their order."""
    try:
        state = json.loads((folder / "state.json").read_text(encoding="utf-8"))
        names = [str(entry["filename"]) for entry in state["_data_files"]]
    except (OSError, ValueError, LookupError, TypeError, RecursionError):
        names = []
    # A name with a folder in it would lead out of this one.
    if names and all(Path(name).name == name for name in names):
        return [folder / name for name in names]
    return sorted(folder.glob("*.arrow"))


def saved_split(folder: Path, name: str, split: str | None) -> Path | Fault:
    """Return the folder of one split of what ``DatasetDict.save_to_disk`` wrote, or the fault that says how to name one."""
    if not (folder / "dataset_dict.json").is_file():
        if split is None:
            return folder
        return Fault(f'one data set is saved here and no split "{split}".', name, "Leave the split out.")
    there = sorted(p.name for p in folder.iterdir() if p.is_dir() and is_saved(p))
    if split in there:
        return folder / str(split)
    listed = ", ".join(sorted(there, key=lambda s: (_USUAL_SPLITS.index(s) if s in _USUAL_SPLITS else 9, s)))
    if not there:
        return Fault("a data set is named here and none of its splits is there.", name, "Copy the whole folder.")
    if split is not None:
        mend = did_you_mean(split, there) or f'Say which, as in "{name}:{there[0]}".'
        return Fault(f'no split "{split}" here, only {listed}.', name, mend)
    if len(there) == 1:
        return folder / there[0]
    first = "train" if "train" in there else there[0]
    mend = f'Name one, as in data.source: "{name}:{first}"'
    rest = next((s for s in there if s != first and s in _USUAL_SPLITS), None)
    mend += f' and data.{"test" if rest == "test" else "valid"}: "{name}:{rest}".' if rest else "."
    return Fault(f"several splits are saved here: {listed}.", name, mend)

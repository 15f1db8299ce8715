"""Damaged and odd files end in faults with their place, or are read; never in another exception, and nothing is written."""

from __future__ import annotations

import csv
import gzip
import io
import json
import random
import signal
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from luthier.base.errors import DataError, Fault
from luthier.base.records import Row
from luthier.data.shapes.columns import map_rows
from luthier.data.sources import open_sources
from luthier.spec.data import DataSection

ROWS = [
    {
        "text": f'row {i}, "quoted"; é {"word " * (i % 5)}\nnext',
        "label": "ab"[i % 2],
        "n": i,
        "at": f"2024-05-{i % 28 + 1:02d}",
    }
    for i in range(60)
]
SECONDS = 20


def as_csv(delimiter: str = ",", lines: str = "\r\n") -> bytes:
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, list(ROWS[0]), delimiter=delimiter, lineterminator=lines)
    writer.writeheader()
    writer.writerows(ROWS)
    return buffer.getvalue().encode()


def as_jsonl() -> bytes:
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in ROWS).encode()


def as_json() -> bytes:
    return json.dumps(ROWS, indent=1, ensure_ascii=False).encode()


def as_text() -> bytes:
    return "\n\n".join(row["text"] for row in ROWS).encode()  # type: ignore[misc]


def as_parquet() -> bytes:
    import pyarrow
    import pyarrow.parquet

    buffer = io.BytesIO()
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(ROWS), buffer, row_group_size=25)
    return buffer.getvalue()


def as_arrow(*, stream: bool = True) -> bytes:
    import pyarrow
    import pyarrow.ipc

    table = pyarrow.Table.from_pylist(ROWS)
    buffer = io.BytesIO()
    opened = pyarrow.ipc.new_stream if stream else pyarrow.ipc.new_file
    with opened(buffer, table.schema) as writer:
        writer.write_table(table, max_chunksize=25)
    return buffer.getvalue()


def as_sqlite(folder: Path) -> bytes:
    path = folder / "made.db"
    with sqlite3.connect(path) as database:
        database.execute("CREATE TABLE rows (text TEXT, label TEXT, n INTEGER, at TEXT)")
        database.executemany("INSERT INTO rows VALUES (:text, :label, :n, :at)", ROWS * 5)
    database.close()
    found = path.read_bytes()
    path.unlink()
    return found


def whole(folder: Path) -> dict[str, bytes]:
    return {
        "csv": as_csv(),
        "tsv": as_csv("\t"),
        "jsonl": as_jsonl(),
        "json": as_json(),
        "txt": as_text(),
        "parquet": as_parquet(),
        "arrow": as_arrow(),
        "file.arrow": as_arrow(stream=False),
        "csv.gz": gzip.compress(as_csv(), mtime=0),
        "json.gz": gzip.compress(as_json(), mtime=0),
        "txt.gz": gzip.compress(as_text(), mtime=0),
        "db": as_sqlite(folder),
    }


def flipped(content: bytes, rng: random.Random, count: int) -> bytes:
    changed = bytearray(content)
    for _ in range(count):
        changed[rng.randrange(len(changed))] = rng.randrange(256)
    return bytes(changed)


def _odd() -> dict[str, bytes]:
    deep, wide = b"[" * 200_000, b'{"a":' * 50_000
    line = as_jsonl().splitlines()[0]
    return {
        "bom.csv": b"\xef\xbb\xbf" + as_csv(),
        "two-boms.csv": b"\xef\xbb\xbf\xef\xbb\xbf" + as_csv(),
        "bom-inside.csv": as_csv() + b"\xef\xbb\xbf" + as_csv(),
        "bom.jsonl": b"\xef\xbb\xbf" + as_jsonl(),
        "bom.json": b"\xef\xbb\xbf" + as_json(),
        "only-bom.csv": b"\xef\xbb\xbf",
        "only-bom.json": b"\xef\xbb\xbf",
        "utf16.csv": as_csv().decode().encode("utf-16"),
        "utf16-no-bom.csv": as_csv().decode().encode("utf-16-le"),
        "utf32.jsonl": as_jsonl().decode().encode("utf-32"),
        "latin.jsonl": as_jsonl().decode().encode("latin-1"),
        "mixed.csv": as_csv() + as_csv().decode().encode("cp1252"),
        "mac.csv": as_csv(lines="\r"),
        "mixed-ends.csv": b"text,label\r\na,b\nc,d\re,f\r\n\n\rg,h",
        "mixed-ends.jsonl": line + b"\r" + line + b"\r\n" + line + b"\n\r" + line,
        "twice.csv": b"text,label,text\na,b,c\n",
        "twice-by-space.csv": b"text, text ,label\na,b,c\n",
        "no-names.csv": b",,\n1,2,3\n",
        "only-header.csv": b"text,label\n",
        "one-word.csv": b"text",
        "quote.csv": b'text,label\n"a,b\nc,d\n',
        "quotes.csv": b'text,label\n""a"",b\n"c""d"e,f\n',
        "nul.csv": b"text,label\na\0b,c\n",
        "nuls.csv": b"\0" * 5000,
        "nuls.jsonl": b"\0" * 5000,
        "nuls.txt": b"\0" * 5000,
        "huge-field.csv": b"text,label\n" + b"x" * 300_000 + b",b\n",
        "huge-quoted.csv": b'text,label\n"' + b"x\n" * 150_000 + b'",b\n',
        "huge-line.txt": b"x" * 300_000,
        "huge-block.txt": b"x\n" * 150_000 + b"\ny\n",
        "many-columns.csv": b",".join(b"c%d" % i for i in range(20_000)) + b"\n" + b"," * 19_999 + b"\n",
        "deep.json": deep,
        "deep.jsonl": deep,
        "deep-object.json": wide,
        "deep-object.jsonl": wide,
        "deep-closed.jsonl": b'{"text": "a", "label": "b", "more": ' + b"[" * 900 + b"]" * 900 + b"}\n",
        "deep-messages.jsonl": b'{"text": ' + b"[" * 900 + b"]" * 900 + b', "label": "b"}\n',
        "big-number.jsonl": b'{"text": ' + b"9" * 10_000 + b', "label": 1}\n',
        "exponent.jsonl": b'{"text": 1e999, "label": -1e999}\n',
        "nan.jsonl": b'{"text": "a", "label": NaN}\n{"text": NaN, "label": "b"}\n',
        "surrogate.jsonl": b'{"text": "\\ud83d", "label": "b"}\n{"text": "a", "label": "\\udc00", "\\ud800": "\\ud800"}\n',
        "surrogate-key.jsonl": b'{"text": "a", "label": "b", "\\ud800": 1}\n',
        "cut-escape.jsonl": b'{"text": "\\u12", "label": "b"}\n{"text": "\\',
        "half-line.jsonl": as_jsonl()[:-30],
        "list.jsonl": as_json(),
        "strings.json": b'["a", "b"]',
        "number.json": b"1",
        "word.json": b"nul",
        "empty-object.json": b"{}",
        "lists.json": b'{"a": [{"text": 1}], "b": [{"text": 2}]}',
        "trailing.json": as_json() + b"]",
        "commas.json": b'[{"text": "a",},,]',
        "twice-key.jsonl": b'{"text": "a", "text": "b", "label": "c"}\n',
        "wrong.csv": as_parquet(),
        "wrong.parquet": as_csv(),
        "wrong.arrow": as_csv(),
        "wrong.json": gzip.compress(as_json(), mtime=0),
        "wrong.csv.gz": as_csv(),
        "zip.csv": b"PK\x03\x04" + as_csv(),
        "zip.txt": b"PK\x03\x04" + as_csv(),
        "magic.parquet": b"PAR1",
        "magic-twice.parquet": b"PAR1" * 2,
        "magic.arrow": b"ARROW1\0\0",
        "magic-twice.arrow": b"ARROW1\0\0ARROW1",
        "lengths.arrow": b"\xff\xff\xff\xff\xff\xff\xff\x7f" * 4,
        "bomb.csv.gz": gzip.compress(b"text,label\n" + b"0" * 20_000_000, mtime=0),
        "bomb.jsonl.gz": gzip.compress(b"\0" * 5_000_000, mtime=0),
        "gz-in-gz.csv.gz": gzip.compress(gzip.compress(as_csv(), mtime=0), mtime=0),
        "tail.csv.gz": gzip.compress(as_csv(), mtime=0) + b"tail that is no gzip",
        "two.csv.gz": gzip.compress(as_csv(), mtime=0) + gzip.compress(as_csv(), mtime=0),
        "blank.txt": b"\n \n\t\n",
        "form-feeds.txt": b"\x0c\x0c\n\x1e\n\x85\n",
        "blob.db": b"SQLite format 3\0" + b"\xff" * 4096,
        "text.db": as_csv(),
    }  # fmt: skip


def corpus(folder: Path) -> Iterator[tuple[str, bytes]]:
    """Yield names and contents, the same every time: cut, flipped, and odd in ways that people's files are."""
    rng = random.Random(20)
    for kind, content in whole(folder).items():
        yield f"whole.{kind}", content
        yield f"empty.{kind}", b""
        for share in (0.01, 0.1, 0.3, 0.5, 0.77, 0.95, 0.999):
            yield f"cut-{share}.{kind}", content[: int(len(content) * share)]
        yield f"headless-{kind}.{kind}", content[17:]
        yield f"doubled-{kind}.{kind}", content + content
        for count in (1, 2, 5, 30, 300):
            yield f"flipped-{count}.{kind}", flipped(content, rng, count)
    yield from _odd().items()


@pytest.fixture
def no_hanging() -> Iterator[None]:
    def stop(number: int, frame: object) -> None:
        raise TimeoutError("a file is read without an end")

    before = signal.signal(signal.SIGALRM, stop)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


def read(folder: Path, name: str) -> tuple[list[Row], list[Fault], int, int]:
    """Read and map one file of the corpus as `luthier check` does; return rows, faults, examples and dropped rows."""
    source = f"sqlite:///{name}" if name.endswith(".db") else name
    query = "SELECT * FROM rows" if name.endswith(".db") else None
    data = DataSection(source=source, query=query, max_chars=200_000)
    faults: list[Fault] = []
    rows: list[Row] = []

    def kept(found: Iterator[Row]) -> Iterator[Row]:
        for row in found:
            rows.append(row)
            yield row

    objective = "text" if ".txt" in name else "classify"
    columns = {"text": "text"} if objective == "text" else {"text": "text", "label": "label"}
    try:
        origins = open_sources(source, folder, data=data)
    except DataError as error:
        return rows, list(error.faults), 0, 0
    examples = dropped = 0
    for origin in origins:
        mapped = map_rows(
            kept(origin.rows(faults=faults)), columns=columns, objective=objective, time="at" if "whole" in name else None,
            by_optional=True, faults=faults,
        )  # fmt: skip
        for item in mapped:
            json.dumps(item.as_dict(), ensure_ascii=False).encode()  # it can be written to the prepared folder
            if hasattr(item, "reason"):
                dropped += 1
            else:
                examples += 1
    return rows, faults, examples, dropped


def test_a_corpus_of_malformed_files(tmp_path: Path, no_hanging: None) -> None:
    files = dict(corpus(tmp_path))
    assert len(files) >= 200
    outcomes = {"read": 0, "told": 0}
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
        signal.alarm(SECONDS)
        try:
            rows, faults, examples, dropped = read(tmp_path, name)
        except Exception as error:
            raise AssertionError(f"{name}: {type(error).__name__}: {error}") from error
        signal.alarm(0)
        assert rows or faults, f"{name}: neither rows nor a fault"
        assert len(faults) <= 25, name  # 20 of reading, and those of the columns
        for fault in faults:
            assert name in fault.where and fault.what and "\n" not in str(fault), f"{name}: {fault}"
            str(fault).encode()
        if not faults:
            assert examples + dropped == len(rows), name
        outcomes["told" if faults else "read"] += 1
        if name.startswith("whole"):
            assert not faults and len(rows) in (60, 119, 300), (name, len(rows), faults)
        if name.startswith(("empty", "wrong", "cut-0.5.json", "cut-0.5.parquet", "cut-0.5.csv.gz", "nuls", "deep.")):
            assert faults, name
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted(files), "reading left files behind"
    assert all((tmp_path / name).read_bytes() == content for name, content in files.items()), "reading changed a file"
    assert outcomes["read"] >= 40 and outcomes["told"] >= 120, outcomes


PLACES: dict[str, tuple[bytes, list[str]]] = {
    "m.csv": (
        b'text,label\na,b\nc\n"d",e\nf,g,h\ni\xff,j\n',
        ["m.csv:3: 1 cells", "m.csv:5: 3 cells", "m.csv:6: byte 0xFF"],
    ),
    "m.jsonl": (b'{"text": "a", "label": "b"}\n{"text": "c", "la\n', ["m.jsonl:2: not JSON at column 15"]),
    "m.json": (b'[{"text": "a", "label": "c"},\n{"text": "b"', ["m.json:2: not JSON at column 13"]),
    "twice.csv": (b"label,text,label\na,b,c\n", ['twice.csv:1: the header names "label" twice']),
    "open.csv": (b'text,label\na,b\n"c,d\ne,f\n', ["open.csv:3: a quote opened in this record is never closed"]),
    "long.txt": (b"a\n\n" + b"b\n" * 150_000, ["long.txt:3: this block is longer than 200,000"]),
}


@pytest.mark.parametrize("name", PLACES)
def test_each_fault_has_its_line_and_all_come_at_once(tmp_path: Path, name: str) -> None:
    content, expected = PLACES[name]
    (tmp_path / name).write_bytes(content)
    _, faults, _, _ = read(tmp_path, name)
    assert [str(f)[: len(e)] for f, e in zip(faults, expected, strict=True)] == expected


def test_a_schema_that_names_a_column_twice(tmp_path: Path) -> None:
    import pyarrow
    import pyarrow.ipc

    table = pyarrow.table([["a"], ["b"]], names=["text", "text"])
    with pyarrow.ipc.new_file(tmp_path / "m.arrow", table.schema) as writer:
        writer.write_table(table)
    _, faults, _, _ = read(tmp_path, "m.arrow")
    assert str(faults[0]).startswith('m.arrow:1: the schema names "text" twice.')


def test_text_that_is_no_utf8_in_an_arrow_file(tmp_path: Path) -> None:
    import pyarrow
    import pyarrow.ipc

    bad = pyarrow.array([b"fine", b"\xff\xfe"], pyarrow.binary()).view(pyarrow.string())
    table = pyarrow.table({"text": bad, "label": ["a", "b"]})
    with pyarrow.ipc.new_stream(tmp_path / "m.arrow", table.schema) as writer:
        writer.write_table(table)
    rows, faults, _, _ = read(tmp_path, "m.arrow")
    assert not rows and "not an Arrow file that can be read" in str(faults[0])


def test_faults_of_reading_and_of_columns_come_together(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("text,label\nx,y\nz\n")
    (tmp_path / "b.csv").write_text("txt,label\nx,y\n")
    data = DataSection(source=["a.csv", "b.csv"])
    faults: list[Fault] = []
    rows: Callable[[], Iterator[Row]] = lambda: (  # noqa: E731
        row for o in open_sources(data.source, tmp_path, data=data) for row in o.rows(faults=faults)
    )
    for _ in map_rows(rows(), columns={}, objective="classify", faults=faults):
        pass
    assert [f.where for f in faults] == ["a.csv:3", "b.csv:1"]

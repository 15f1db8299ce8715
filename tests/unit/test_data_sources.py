"""Files are read whole, or their faults are named with file and line; memory does not grow with a line."""

from __future__ import annotations

import csv
import gzip
import hashlib
import io
import itertools
import json
import os
import random
import sqlite3
import subprocess
import sys
import tracemalloc
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from luthier.base.errors import DataError, Fault
from luthier.base.records import Row
from luthier.data.sources import digest_all, expand, hub, kind_of, open_sources, read_rows, shown_as
from luthier.data.sources.sql import shown_url
from luthier.spec.data import DataSection


def read(path: Path, **options: object) -> tuple[list[Row], list[Fault]]:
    faults: list[Fault] = []
    return list(read_rows(path, shown_as=path.name, faults=faults, **options)), faults  # type: ignore[arg-type]


def write(folder: Path, name: str, content: str | bytes) -> Path:
    path = folder / name
    data = content.encode() if isinstance(content, str) else content
    path.write_bytes(gzip.compress(data) if name.endswith(".gz") else data)
    return path


def test_csv_lines_are_where_records_start(tmp_path: Path) -> None:
    text = '\ufefftext,label\r\none,a\r\n"two\nlines\n""here""",b\r\n\r\nthree,c'
    rows, faults = read(write(tmp_path, "m.csv", text))
    assert not faults
    assert [(dict(r.values), str(r.source)) for r in rows] == [
        ({"text": "one", "label": "a"}, "m.csv:2"),
        ({"text": 'two\nlines\n"here"', "label": "b"}, "m.csv:3"),
        ({"text": "three", "label": "c"}, "m.csv:7"),
    ]


cells = st.text(st.characters(exclude_categories=("Cs", "Cc"), include_characters="\n\r,;\"'\t"), max_size=12)


def as_csv(table: list) -> str:
    buffer = io.StringIO()
    csv.writer(buffer, quoting=csv.QUOTE_ALL).writerows([("a", "b"), *table])
    return buffer.getvalue()


def count_lines(text: str) -> int:
    return sum(1 for _ in io.StringIO(text, newline=""))


@settings(max_examples=60, deadline=None)
@given(table=st.lists(st.tuples(cells, cells), min_size=1, max_size=8))
def test_csv_and_its_lines_agree_with_an_independent_writer(
    tmp_path_factory: pytest.TempPathFactory, table: list
) -> None:
    rows, faults = read(write(tmp_path_factory.mktemp("csv"), "t.csv", as_csv(table)))
    assert not faults
    assert [(r.values["a"], r.values["b"]) for r in rows] == table
    assert [r.source.line for r in rows] == [count_lines(as_csv(table[:i])) + 1 for i in range(len(table))]


@pytest.mark.parametrize("suffix", ["", ".gz"])
def test_all_kinds_give_the_same_rows(tmp_path: Path, suffix: str) -> None:
    table = [{"text": "Grüße, 1", "label": "a"}, {"text": "two", "label": "b"}]
    files = {
        "m.csv": 'text,label\n"Grüße, 1",a\ntwo,b\n',
        "m.tsv": "text\tlabel\nGrüße, 1\ta\ntwo\tb\n",
        "m.jsonl": "".join(json.dumps(row) + "\n" for row in table),
        "m.ndjson": "\n".join(json.dumps(row, ensure_ascii=False) for row in table),
        "m.json": json.dumps(table, indent=1),
        "wrapped.json": json.dumps({"version": 2, "data": table}),
        "lines.json": "".join(json.dumps(row) + "\n" for row in table),
        "by_id.json": json.dumps({"x": table[0], "y": table[1]}),
    }
    for name, content in files.items():
        rows, faults = read(write(tmp_path, name + suffix, content))
        assert not faults, name
        assert [dict(r.values) for r in rows] == table, name


def test_parquet_rows_and_faults(tmp_path: Path) -> None:
    import pyarrow
    import pyarrow.parquet

    path = tmp_path / "m.parquet"
    pyarrow.parquet.write_table(pyarrow.table({"text": ["a", "b" * 50], "label": [1, None]}), path)
    rows, faults = read(path)
    assert [(r.values["label"], r.source.line) for r in rows] == [(1, 1), (None, 2)] and not faults
    rows, faults = read(path, max_chars=20)
    assert len(rows) == 1 and str(faults[0]).startswith('m.parquet:2: this field "text" is longer than 20')
    rows, faults = read(write(tmp_path, "bad.parquet", "text,label\n"))
    assert not rows and "not a Parquet file" in faults[0].what


def test_json_lines_in_an_indented_list_that_spans_many_pieces(tmp_path: Path) -> None:
    rng = random.Random(3)
    table = [{"n": i, "text": 'é\\"[]{}' * rng.randint(0, 4000), "at": -1.5e-7} for i in range(60)]
    text = json.dumps(table, indent=2, ensure_ascii=False)
    rows, faults = read(write(tmp_path, "m.json", text))
    assert not faults
    assert [dict(r.values) for r in rows] == table
    starts = [i for i, line in enumerate(text.split("\n"), 1) if line == "  {"]
    assert [r.source.line for r in rows] == starts


FAULTS = {
    "ragged": ("m.csv", "text,label\na,b,c\nd\ne,f\n", ["m.csv:2: 3 cells where the header has 2", "m.csv:3: 1 cells"]),
    "open quote": ("m.csv", 'text,label\na,b\n"c,d\ne,f\n', ["m.csv:3: a quote opened in this record is never closed"]),
    "glued": ("m.csv", 'text,label\n"a,b\nc,d\n"e",f\n', ["m.csv:2: this record cannot be read"]),
    "twice": ("m.csv", "text,label,text\na,b,c\n", ['m.csv:1: the header names "text" twice']),
    "no header": ("m.csv", ",,\na,b,c\n", ["m.csv:1: the header is empty"]),
    "no rows": ("m.csv", "text,label\n", ["m.csv: the file has a header and no rows"]),
    "empty": ("m.csv", "", ["m.csv: the file is empty"]),
    "empty jsonl": ("m.jsonl", "\n \n", ["m.jsonl: the file has no rows"]),
    "empty list": ("m.json", "[]", ["m.json: the file has no rows"]),
    "nul": ("m.csv", "text,label\na\0,b\n", ["m.csv:2: a NUL byte stands in this line"]),
    "cp1252": ("m.csv", "text,label\na,b\ngrün,c\n".encode("cp1252"), ["m.csv:3: byte 0xFC at column 3 is not utf-8"]),
    "cp1252 json": ("m.json", '[\n{"a": "grün"}]'.encode("cp1252"), ["m.json:2: byte 0xFC at column 10 is not utf-8"]),
    "utf-16": (
        "m.csv",
        "text,label\na,b\n".encode("utf-16"),
        ["m.csv: this file is UTF-16. Set data.encoding: utf-16."],
    ),
    "excel": ("m.csv", b"PK\x03\x04rest", ["m.csv: this is a zip or Excel file"]),
    "gzip": ("m.csv", b"\x1f\x8brest", ["m.csv: this file is gzipped"]),
    "broken line": (
        "m.jsonl",
        '{"a": 1}\n{"a": 1,}\n[1]\nnull\n',
        ["m.jsonl:2: not JSON at column 9", "m.jsonl:3: a list", "m.jsonl:4: null where"],
    ),
    "list in jsonl": (
        "m.jsonl",
        '[\n{"a": 1}\n]\n',
        ["m.jsonl:1: not JSON at column 2: Expecting value. A list of objects"],
    ),
    "broken json": ("m.json", '[{"a": 1},\n {"a": 2,\n  b: 3}]', ["m.json:3: not JSON at column 3"]),
    "cut json": ("m.json", '[{"a": 1},\n {"a": "two', ["m.json:2: not JSON at column 8: Unterminated string"]),
    "ends early": ("m.json", '[{"a": 1},', ["m.json:1: not JSON at column 11: the file ends where a value is needed"]),
    "far along": ("m.json", '[{"a": "' + "x" * 200_000 + '"},{b}]', ["m.json:1: not JSON at column 200013"]),
    "no comma": ("m.json", '[{"a": 1}\n {"a": 2}]', ['m.json:2: not JSON at column 2: "," or "]" is missing']),
    "deep": ("m.jsonl", "[" * 100_000 + "\n", ["m.jsonl:1: not JSON"]),
    "two lists": ("m.json", '{"a": [{"x": 1}], "b": [{"x": 2}]}', ["m.json:1: several lists (a, b)"]),
    "one object": ("m.json", '{"a": 1}', ["m.json:1: one object and no list"]),
    "strings": ("m.json", '["a",\n"b"]', ["m.json:1: a string where an object", "m.json:2: a string where an object"]),
    "number": ("m.json", "12", ["m.json:1: neither a list nor an object"]),
    "tail": ("m.json", '[{"a": 1}]\n[{"a": 2}]', ["m.json:2: something stands after"]),
}


@pytest.mark.parametrize("case", FAULTS)
def test_faults_name_file_and_line(tmp_path: Path, case: str) -> None:
    name, content, expected = FAULTS[case]
    _, faults = read(write(tmp_path, name, content))
    assert len(faults) == len(expected), [str(f) for f in faults]
    for fault, start in zip(faults, expected, strict=True):
        assert str(fault).startswith(start), str(fault)


def test_the_right_encoding_is_offered_only_where_it_decodes(tmp_path: Path) -> None:
    _, faults = read(write(tmp_path, "m.csv", b"text,label\na\xfc,b\nc\x81,d\n"))
    assert [("cp1252" in f.mend) for f in faults] == [True, False]
    rows, faults = read(write(tmp_path, "n.csv", "text,label\ngrün,b\n".encode("utf-16")), encoding="utf-16")
    assert not faults and rows[0].values["text"] == "grün"
    _, faults = read(write(tmp_path, "n.csv", "a,b\n"), encoding="utf-9")
    assert 'Did you mean "utf-8"?' in str(faults[0])
    _, faults = read(write(tmp_path, "n.csv", "a,b\n"), encoding="hex")
    assert "not a text encoding" in str(faults[0])


def test_at_most_twenty_faults_and_good_rows_still_come(tmp_path: Path) -> None:
    lines = ["text,label"] + ["a,b", "c"] * 100
    rows, faults = read(write(tmp_path, "m.csv", "\n".join(lines)))
    assert len(faults) == 20 and len(rows) == 20
    assert faults[-1].where == "m.csv:41"


def test_damaged_gzip_says_how_far_it_was_read(tmp_path: Path) -> None:
    body = "text,label\n" + "".join(f"{random.random()},b\n" for _ in range(5000))
    whole = gzip.compress(body.encode())
    path = tmp_path / "m.csv.gz"
    path.write_bytes(whole[: len(whole) // 2])
    rows, faults = read(path)
    assert len(rows) > 1000 and "damaged" in faults[0].what
    assert int(faults[0].where.split(":")[1]) == len(rows) + 1
    path.write_bytes(b"text,label\na,b\n")
    rows, faults = read(path)
    assert not rows and "damaged" in faults[0].what


@pytest.mark.parametrize(
    ("name", "text", "note"),
    [
        ("m.csv", "text;label\na, b;c\n", "a semicolon"),
        ("m.csv", "text\tlabel\na, b\tc\n", "a tab"),
        ("m.csv", "sep=;\ntext;label\na, b;c\n", ""),
        ("m.tsv", 'text,label\n"a, b",c\n', "a comma"),
    ],
)
def test_another_delimiter_is_recognised_and_told(tmp_path: Path, name: str, text: str, note: str) -> None:
    notes: list[Fault] = []
    rows, faults = read(write(tmp_path, name, text), notes=notes)
    assert not faults and [dict(r.values) for r in rows] == [{"text": "a, b", "label": "c"}]
    assert (note in notes[0].what) if note else not notes


def test_tsv_quotes_are_characters_unless_they_quote(tmp_path: Path) -> None:
    text = (
        "text\tlabel\n"
        'he said "yes"\t1\n'
        '"an opened quote\t2\n'
        '5" disk\t"3"\n'
        '"a ""quoted"" cell"\t4\n'
        '"two\nlines, and a\ttab"\t5\n'
        'label last\t"6\n'
        "after\t7\n"
    )
    rows, faults = read(write(tmp_path, "m.tsv", text))
    assert not faults
    assert [(r.values["text"], r.values["label"], r.source.line) for r in rows] == [
        ('he said "yes"', "1", 2),
        ('"an opened quote', "2", 3),
        ('5" disk', "3", 4),
        ('a "quoted" cell', "4", 5),
        ("two\nlines, and a\ttab", "5", 6),
        ("label last", '"6', 8),
        ("after", "7", 9),
    ]


def test_unnamed_index_column_is_kept(tmp_path: Path) -> None:
    rows, faults = read(write(tmp_path, "m.csv", ",text\n0,a\n"))
    assert not faults and dict(rows[0].values) == {"column 1": "0", "text": "a"}


def test_long_lines_are_faults_with_their_line(tmp_path: Path) -> None:
    cases = {
        "m.csv": ("text,label\na,b\n" + "x" * 500 + ",b\nc,d\n", "m.csv:3: this line is longer than 100"),
        "q.csv": ('text,label\na,b\n"' + "xxxxxxxxx\n" * 50 + '",b\nc,d\n', "q.csv:3: this record is longer than 100"),
        "m.jsonl": ('{"a": 1}\n{"a": "' + "x" * 500 + '"}\n{"a": 2}\n', "m.jsonl:2: this line is longer than 100"),
        "m.json": ('[{"a": 1},\n{"a": "' + "x" * 500 + '"}]', 'm.json:2: this field "a" is longer than 100'),
    }
    for name, (text, start) in cases.items():
        _, faults = read(write(tmp_path, name, text), max_chars=100)
        assert len(faults) == 1 and str(faults[0]).startswith(start), faults


HEADS = {"m.csv": b"text,label\na,b\n", "m.jsonl": b'{"a": 1}\n{"a": "', "m.json": b'[{"a": 1},\n{"a": "'}


def test_memory_does_not_grow_with_a_line(tmp_path: Path) -> None:
    for name, head in HEADS.items():
        path = write(tmp_path, name, head + b"x" * 30_000_000)
        read(path, max_chars=1000)
        tracemalloc.start()
        _, faults = read(path, max_chars=1000)
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert "is longer than 1,000 characters" in faults[0].what
        assert peak < 2_000_000, name


_ENDLESS = """
import sys
from pathlib import Path
from luthier.data.sources import read_rows
for name in sys.argv[1:]:
    faults = []
    rows = list(read_rows(Path(name), faults=faults))
    print(name, len(rows), [str(f) for f in faults])
print(next(line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM")))
"""


# ru_maxrss would start from the size of the process that runs the tests.
@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="the peak of memory is read from /proc")
def test_a_gigabyte_in_one_line_needs_no_memory(tmp_path: Path) -> None:
    names = []
    for name, head in HEADS.items():
        names.append(str(tmp_path / f"{name}.gz"))
        with gzip.open(names[-1], "wb", compresslevel=1) as file:
            file.write(head)
            for _ in range(1000):
                file.write(b"x" * 1_000_000)
    done = subprocess.run([sys.executable, "-c", _ENDLESS, *names], capture_output=True, text=True, check=True)
    assert done.stdout.count("is longer than 1,000,000 characters") == 3
    assert int(done.stdout.splitlines()[-1]) < 150_000, "kB of memory at the peak"


def test_expand_names_files_folders_and_globs(tmp_path: Path) -> None:
    for name in ("b.csv", "a.jsonl", ".hidden.csv", "notes.txt", "sub/c.csv.gz", "x[1].csv"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("x")
    names = lambda source: [p.relative_to(tmp_path).as_posix() for p in expand(source, tmp_path)]  # noqa: E731
    assert names(".") == ["a.jsonl", "b.csv", "x[1].csv"]
    assert names("*.csv") == ["b.csv", "x[1].csv"]
    assert names("**/*.csv*") == ["b.csv", "sub/c.csv.gz", "x[1].csv"]
    assert names("x[1].csv") == ["x[1].csv"]
    assert names(["b.csv", "*.jsonl", "b.csv", str(tmp_path / "b.csv")]) == ["b.csv", "a.jsonl"]


def test_expand_names_all_that_is_wrong_at_once(tmp_path: Path) -> None:
    (tmp_path / "messages.csv").write_text("x")
    (tmp_path / "sheet.xlsx").write_text("x")
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError) as caught:
        expand(["mesages.csv", "nowhere/x.csv", "sheet.xlsx", "empty", "*.tsv", "quite-else.csv"], tmp_path)
    shown = str(caught.value)
    assert 'mesages.csv: no such file or folder. Did you mean "messages.csv"?' in shown
    assert "no such folder" in shown and "Save the sheet as CSV" in shown and "no readable file in this folder" in shown
    assert "*.tsv: no readable file fits" in shown and "Files there: messages.csv." in shown
    assert len(caught.value.faults) == 6


def test_kinds() -> None:
    names = {
        "a.CSV": ".csv",
        "a.b.json.gz": ".json",
        "a.parquet": ".parquet",
        "a.parquet.gz": None,
        "a.gz": None,
        "csv": None,
    }
    assert {name: kind_of(Path(name)) for name in names} == names


def opened(source: str | list[str], folder: Path, **options: object) -> tuple[list[Row], list[Fault]]:
    faults: list[Fault] = []
    data = DataSection(source=source, **options)  # type: ignore[arg-type]
    return [row for origin in open_sources(source, folder, data=data) for row in origin.rows(faults=faults)], faults


def test_origins_of_files_carry_their_names_rows_and_hashes(tmp_path: Path) -> None:
    (tmp_path / "task").mkdir()
    for name in ("task/a.csv", "b.csv", "task/notes.md"):
        (tmp_path / name).write_text("text,label\nx,y\n")
    data = DataSection(source=["a.csv", "../b.csv", "*.csv"])
    found = open_sources(data.source, tmp_path / "task", data=data)
    assert [(o.shown, o.kind, o.path and o.path.name) for o in found] == [
        ("a.csv", "file", "a.csv"),
        ("../b.csv", "file", "b.csv"),
    ]
    rows, faults = opened(data.source, tmp_path / "task")
    assert [str(row.source) for row in rows] == ["a.csv:2", "../b.csv:2"] and not faults
    hashes = digest_all(data.source, tmp_path / "task", data)
    (tmp_path / "b.csv").write_text("text,label\nx,z\n")
    assert [a == b for a, b in zip(hashes, digest_all(data.source, tmp_path / "task", data), strict=True)] == [
        True,
        False,
    ]
    assert hashes[0] == hashlib.sha256((tmp_path / "task/a.csv").read_bytes()).hexdigest()
    assert shown_as(tmp_path / "b.csv", tmp_path / "task") == "../b.csv"
    with pytest.raises(DataError) as caught:
        open_sources(["aa.csv", "gone.tsv"], tmp_path / "task", data=data)
    assert len(caught.value.faults) == 2 and 'Did you mean "a.csv"?' in str(caught.value)
    with pytest.raises(DataError, match="no database"):
        open_sources("a.csv", tmp_path / "task", data=DataSection(source="a.csv", query="SELECT 1"))


def test_text_files_are_blocks_or_lines(tmp_path: Path) -> None:
    write(tmp_path, "a.txt", "\ufeffone\ntwo  \n\n\n  three\r\nfour\n<|endoftext|>\nfive")
    rows, faults = read(tmp_path / "a.txt")
    assert not faults and [(r.values["text"], r.source.line) for r in rows] == [
        ("one\ntwo", 1),
        ("  three\nfour", 5),
        ("five", 8),
    ]
    notes: list[Fault] = []
    rows, faults = read(write(tmp_path, "b.md.gz", "one\ntwo\nthree\n\n\n"), notes=notes)
    assert [(r.values["text"], r.source.line) for r in rows] == [("one", 1), ("two", 2), ("three", 3)] and not faults
    assert "each line is a row" in notes[0].what
    assert [p.name for p in expand(".", tmp_path)] == ["a.txt", "b.md.gz"]
    write(tmp_path, "c.csv", "text\nx\n")
    assert [p.name for p in expand(".", tmp_path)] == ["c.csv"], "a read-me beside a table is no data"


def test_arrow_files_in_both_formats(tmp_path: Path) -> None:
    import pyarrow
    import pyarrow.ipc

    table = pyarrow.table({"text": [f"t{i}" for i in range(3000)], "n": list(range(3000))})
    for name, opens in (("s.arrow", pyarrow.ipc.new_stream), ("f.arrow", pyarrow.ipc.new_file)):
        with opens(tmp_path / name, table.schema) as writer:
            writer.write_table(table)
        rows, faults = read(tmp_path / name)
        assert not faults and [dict(r.values) for r in rows] == table.to_pylist()
        assert [r.source.line for r in rows] == list(range(1, 3001))


def saved(folder: Path) -> None:
    import datasets

    datasets.disable_progress_bars()
    features = datasets.Features({"text": datasets.Value("string"), "label": datasets.ClassLabel(names=["no", "yes"])})
    rows = {"text": [f"t{i}" for i in range(250)], "label": [i % 2 for i in range(249)] + [None]}
    one = datasets.Dataset.from_dict(rows, features=features)
    one.save_to_disk(folder / "one", num_shards=3)
    one.filter(lambda row: row["label"] == 1).save_to_disk(folder / "some")
    datasets.DatasetDict({"train": one, "test": one.select(range(5))}).save_to_disk(folder / "both")
    one.to_parquet(folder / "one.parquet")


def test_folders_saved_by_datasets(tmp_path: Path) -> None:
    saved(tmp_path)
    for name, count in (("one", 250), ("both:train", 250), ("both:test", 5), ("one.parquet", 250), ("some", 124)):
        rows, faults = opened(name, tmp_path)
        assert not faults and len(rows) == count and str(rows[-1].source) == f"{name}:{count}"
        assert {row.values["label"] for row in rows} <= {"no", "yes", None} and rows[0].values["text"] in ("t0", "t1")
    assert [r.values["text"] for r in opened("one", tmp_path)[0]] == [f"t{i}" for i in range(250)]
    assert len(expand("one", tmp_path)) == 3 and len(digest_all("one", tmp_path, DataSection(source="one"))[0]) == 64
    for name, said in (
        (
            "both",
            'several splits are saved here: train, test. Name one, as in data.source: "both:train" and data.test: "both:test".',
        ),
        ("both:tran", 'Did you mean "train"?'),
        ("one:train", "Leave the split out"),
    ):
        with pytest.raises(DataError) as caught:
            opened(name, tmp_path)
        assert said in str(caught.value)
    (tmp_path / "one" / "data-00001-of-00003.arrow").write_bytes(b"\xff" * 100)
    _, faults = opened("one", tmp_path)
    assert faults[0].where == "one:84" and "saved data set" in faults[0].what


def database(path: Path) -> None:
    with sqlite3.connect(path) as handle:
        handle.execute("CREATE TABLE m (body TEXT, queue TEXT, n INTEGER)")
        handle.executemany(
            "INSERT INTO m VALUES (?, ?, ?)", [(f"it's {i}: 10:30::x", "ab"[i % 2], i) for i in range(2500)]
        )
    handle.close()


def test_rows_of_a_query(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    database(tmp_path / "x.db")
    before = (tmp_path / "x.db").read_bytes()
    monkeypatch.setenv("ROWS_DB", "x.db")
    query = "SELECT body AS text, queue AS label FROM m WHERE body LIKE '%:30::x' ORDER BY n"
    for source in ("sqlite:///x.db", f"sqlite:///{tmp_path}/x.db", "sqlite:///${ROWS_DB}"):
        rows, faults = opened(source, tmp_path, query=query)
        assert not faults and len(rows) == 2500
        assert dict(rows[-1].values) == {"text": "it's 2499: 10:30::x", "label": "b"}
        assert str(rows[-1].source) == f"{source}:2500"
    data = DataSection(source="sqlite:///x.db", query=query)
    first = digest_all(data.source, tmp_path, data)
    [origin] = open_sources(data.source, tmp_path, data=data)
    assert sum(1 for _ in origin.rows(faults=[])) == 2500 and [origin.digest()] == first and origin.path is None
    assert (tmp_path / "x.db").read_bytes() == before and [p.name for p in tmp_path.iterdir()] == ["x.db"]
    with sqlite3.connect(tmp_path / "x.db") as handle:
        handle.execute("UPDATE m SET queue = 'c' WHERE n = 7")
    handle.close()
    assert digest_all(data.source, tmp_path, data) != first


@pytest.mark.parametrize(
    ("source", "query", "said"),
    [
        ("sqlite:///x.db", None, "data.query is missing"),
        ("sqlite:///y.db", "SELECT 1", 'no such SQLite file. Did you mean "x.db"?'),
        ("sqlite:///x.db", "SELECT * FROM mm", "no such table: mm"),
        ("sqlite:///x.db", "SELEC", "syntax error"),
        ("sqlite:///x.db", "SELECT body, queue AS body FROM m", 'names the column "body" twice'),
        ("sqlite:///x.db", "SELECT * FROM m WHERE n < 0", "the query gives no rows"),
        ("sqlite:///x.db", "DELETE FROM m", "readonly database"),
        ("sqlite://", "SELECT 1", "without a file"),
        ("sqlite:///${NO_SUCH_DB}", "SELECT 1", "the environment has no variable NO_SUCH_DB"),
        ("nosuch://host/db", "SELECT 1", "not a database address"),
        ("postgresql://me:hunter22@localhost:1/db", "SELECT 1", "psycopg"),
        ("https://host/rows.csv", "SELECT 1", "not read from a web address"),
    ],
)
def test_a_database_that_cannot_be_read(tmp_path: Path, source: str, query: str | None, said: str) -> None:
    database(tmp_path / "x.db")
    try:
        rows, faults = opened(source, tmp_path, query=query)
    except DataError as error:
        rows, faults = [], list(error.faults)
    assert len(faults) == 1 and not rows and said in str(faults[0]), faults
    assert "hunter" not in str(faults[0]) and [p.name for p in tmp_path.iterdir()] == ["x.db"]
    if query:
        with pytest.raises(DataError):
            digest_all(source, tmp_path, DataSection(source=source, query=query))


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("postgresql://me:hunter22@host/db", "postgresql://me:***@host/db"),
        ("postgresql://me:hun@ter/22@host:5432/db", "postgresql://me:***@host:5432/db"),
        ("postgresql://me:${DB_PASSWORD}@host/db", "postgresql://me:${DB_PASSWORD}@host/db"),
        ("postgresql://me@host/db?password=hunter22&sslmode=on", "postgresql://me@host/db?password=***&sslmode=on"),
        ("postgresql://me:x${A}hunter22@host/db", "postgresql://me:***@host/db"),
        ("sqlite:///x.db", "sqlite:///x.db"),
    ],
)
def test_a_password_is_never_shown(url: str, shown: str) -> None:
    assert shown_url(url) == shown


def test_hub_names() -> None:
    names = {
        "hub:owner/name": ("owner/name", None, None),
        "owner/name": ("owner/name", None, None),
        "hub:owner/name/config:split": ("owner/name", "config", "split"),
        "owner/na.me-2/c:train": ("owner/na.me-2", "c", "train"),
        "hub:name:test": ("name", None, "test"),
        "name": None,
        "../x/y": None,
        "a/b/c/d": None,
        "hub:": None,
    }
    for source, expected in names.items():
        found = hub.hub_name(source)
        assert (found and (found.name, found.config, found.split)) == expected, source


def test_a_hub_data_set_is_streamed_split_by_split(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import datasets

    saved(tmp_path)
    real, asked = datasets.load_dataset_builder, []

    def local(name: str, config: str | None = None) -> object:
        asked.append((name, config))
        files = str(tmp_path / "one.parquet")
        return real(
            "parquet", data_files={"train": files, "test": files} if config else files, cache_dir=str(tmp_path / "c")
        )

    monkeypatch.setattr(datasets, "load_dataset_builder", local)
    rows, faults = opened("owner/name", tmp_path)
    assert not faults and len(rows) == 250 and rows[1].values == {"text": "t1", "label": "yes"}
    assert str(rows[1].source) == "hub:owner/name:2" and rows[-1].values["label"] is None
    rows, faults = opened("hub:owner/name/c:test", tmp_path)
    assert not faults and len(rows) == 250 and asked == [("owner/name", None), ("owner/name", "c")]
    for name, said in (
        ("owner/name/c", "several splits: train, test"),
        ("owner/name/c:tset", 'no split "tset": train, test'),
    ):
        rows, faults = opened(name, tmp_path)
        assert not rows and said in str(faults[0]) and 'as in "hub:owner/name/c:train"' in str(faults[0])
    one, two = (digest_all(n, tmp_path, DataSection(source=n))[0] for n in ("owner/name", "owner/name/c:test"))
    assert one != two and digest_all("owner/name", tmp_path, DataSection(source="owner/name")) == [one]


_OFFLINE = """
import sys
from pathlib import Path
from luthier.data.sources import open_sources
from luthier.spec.data import DataSection
if sys.argv[1] == "absent":
    sys.modules["datasets"] = sys.modules["sqlalchemy"] = None
for source in ("owner/no-such-name", "hub:owner/no-such-name:train", "sqlite:///x.db"):
    faults = []
    [origin] = open_sources(source, Path.cwd(), data=DataSection(source=source, query="SELECT 1" if "sql" in source else None))
    print(len(list(origin.rows(faults=faults))), [str(f) for f in faults])
"""


@pytest.mark.parametrize("how", ["offline", "absent"])
def test_without_the_hub_or_the_library_the_fault_says_so(tmp_path: Path, how: str) -> None:
    database(tmp_path / "x.db")
    here = {"HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path / "home"), "PYTHONPATH": str(Path(__file__).parents[2])}
    done = subprocess.run(
        [sys.executable, "-c", _OFFLINE, how], capture_output=True, text=True, cwd=tmp_path, env={**os.environ, **here}
    )
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    if how == "offline":
        assert all(line.startswith("0 ") and "HF_HUB_OFFLINE is set" in line for line in lines[:2]), lines
        assert lines[2] == "1 []"
    else:
        assert all("luthier[hub]" in line for line in lines[:2]) and "luthier[sql]" in lines[2]


def test_tsv_fields_that_span_lines_where_the_rest_looks_like_a_row(tmp_path: Path) -> None:
    rows, faults = read(write(tmp_path, "m.tsv", 'text\tlabel\tn\n"one\ntwo"\ta\t1\nthree\tb\t2\n'))
    assert not faults and [(r.values["text"], r.source.line) for r in rows] == [("one\ntwo", 2), ("three", 4)]


names_ = st.lists(
    st.text("abcé ", min_size=1, max_size=5).filter(lambda s: s == s.strip()), min_size=1, max_size=4, unique=True
)
values_ = st.one_of(st.none(), st.booleans(), st.integers(-(2**62), 2**62), st.floats(allow_nan=False), cells)


@settings(max_examples=25, deadline=None)
@given(data=st.data(), names=names_)
def test_what_is_written_is_read_back(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject, names: list[str]
) -> None:
    import pyarrow
    import pyarrow.parquet

    folder = tmp_path_factory.mktemp("round")
    table = data.draw(st.lists(st.fixed_dictionaries(dict.fromkeys(names, values_)), min_size=1, max_size=6))
    jsonl = "".join(json.dumps(row, ensure_ascii=data.draw(st.booleans())) + "\n" for row in table)
    rows, faults = read(write(folder, "t.jsonl", jsonl))
    assert not faults and [(dict(r.values), r.source.line) for r in rows] == [
        (row, i) for i, row in enumerate(table, 1)
    ]
    rows, faults = read(write(folder, "t.json", json.dumps(table, indent=data.draw(st.sampled_from([None, 0, 3])))))
    assert not faults and [dict(r.values) for r in rows] == table
    texts = [{name: str(value) for name, value in row.items()} for row in table]
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(texts), folder / "t.parquet", row_group_size=2)
    rows, faults = read(folder / "t.parquet")
    assert not faults and [(dict(r.values), r.source.line) for r in rows] == [
        (row, i) for i, row in enumerate(texts, 1)
    ]
    for delimiter, name in ((",", "t.csv"), ("\t", "t.tsv")):
        buffer = io.StringIO()
        csv.writer(buffer, delimiter=delimiter, quoting=csv.QUOTE_ALL).writerows(
            [names, *([row[name] for name in names] for row in texts)]
        )
        if name == "t.tsv" and any(
            '"' in text or "\n" in text or "\r" in text for row in texts for text in row.values()
        ):
            continue  # in a TSV file a quote is only a character, unless a line cannot be read so
        rows, faults = read(write(folder, name, buffer.getvalue()))
        assert not faults and [dict(r.values) for r in rows] == texts, name


_STREAMED = """
import sys
from pathlib import Path
from luthier.base.records import Example
from luthier.data.shapes.columns import map_rows
from luthier.data.sources import open_sources
from luthier.spec.data import DataSection
name, objective, query = sys.argv[1], sys.argv[2], sys.argv[3] or None
data = DataSection(source=name, query=query)
faults, count = [], 0
for origin in open_sources(name, Path.cwd(), data=data):
    for item in map_rows(origin.rows(faults=faults), columns={}, objective=objective, faults=faults):
        count += isinstance(item, Example)
assert not faults, faults
peak = next(line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM"))
print(count, peak)
"""


def made(folder: Path, kind: str, megabytes: int) -> tuple[str, str, str]:
    """Write a file of about so many megabytes, 5 kB a row; return source, objective and query."""
    import pyarrow
    import pyarrow.ipc
    import pyarrow.parquet

    rng = random.Random(1)
    rows = ({"text": f"{i} " + rng.randbytes(2500).hex(), "label": "ab"[i % 2]} for i in range(megabytes * 200))
    path = folder / f"{megabytes}.{kind}"
    if kind == "sqlite":
        with sqlite3.connect(path) as handle:
            handle.execute("CREATE TABLE m (text TEXT, label TEXT)")
            handle.executemany("INSERT INTO m VALUES (:text, :label)", rows)
        handle.close()
        return f"sqlite:///{path.name}", "classify", "SELECT * FROM m"
    if kind in ("parquet", "arrow"):
        schema = pyarrow.schema({"text": pyarrow.string(), "label": pyarrow.string()})
        writer = (
            pyarrow.parquet.ParquetWriter(path, schema) if kind == "parquet" else pyarrow.ipc.new_stream(path, schema)
        )
        batch = list(itertools.islice(rows, 1000))
        while batch:
            writer.write_table(pyarrow.Table.from_pylist(batch, schema))
            batch = list(itertools.islice(rows, 1000))
        writer.close()
        return path.name, "classify", ""
    with path.open("w", encoding="utf-8", newline="") as file:
        if kind == "csv":
            writer = csv.DictWriter(file, ["text", "label"])
            writer.writeheader()
            writer.writerows(rows)
        elif kind == "json":
            file.write("[" + json.dumps(next(rows)))
            file.writelines(f",\n{json.dumps(row)}" for row in rows)
            file.write("]")
        else:
            file.writelines(row["text"] + "\n\n" if kind == "txt" else json.dumps(row) + "\n" for row in rows)
    return path.name, "text" if kind == "txt" else "classify", ""


def peak_kb(folder: Path, kind: str, megabytes: int) -> int:
    source = made(folder, kind, megabytes)
    here = {"PYTHONPATH": str(Path(__file__).parents[2]), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-c", _STREAMED, *source],
        capture_output=True,
        text=True,
        cwd=folder,
        env={**os.environ, **here},
    )
    assert done.returncode == 0, done.stderr
    count, peak = map(int, done.stdout.split())
    assert count == megabytes * 200
    return peak


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="the peak of memory is read from /proc")
@pytest.mark.parametrize("kind", ["csv", "jsonl", "json", "txt", "parquet", "arrow", "sqlite"])
def test_memory_does_not_grow_with_the_file(tmp_path: Path, kind: str) -> None:
    small, large = peak_kb(tmp_path, kind, 20), peak_kb(tmp_path, kind, 200)
    assert large < 1.25 * small + 10_000, f"{small} kB for 20 MB, {large} kB for 200 MB"


def test_memory_of_streamed_rows_is_that_of_a_piece(tmp_path: Path) -> None:
    for kind in ("csv", "json", "txt", "sqlite"):
        name, _, query = made(tmp_path, kind, 10)
        peaks = []
        for _ in range(2):  # the first run imports
            tracemalloc.start()
            faults: list[Fault] = []
            data = DataSection(source=name, query=query or None)
            assert sum(1 for o in open_sources(name, tmp_path, data=data) for _ in o.rows(faults=faults)) == 2000
            peaks.append(tracemalloc.get_traced_memory()[1])
            tracemalloc.stop()
        assert peaks[1] < (8_000_000 if kind == "sqlite" else 2_000_000), (kind, peaks)

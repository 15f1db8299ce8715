"""Files are read whole, or their faults are named with file and line; memory does not grow with a line."""

from __future__ import annotations

import csv
import gzip
import io
import json
import random
import subprocess
import sys
import tracemalloc
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from luthier.base.errors import DataError, Fault
from luthier.base.records import Row
from luthier.data.sources import expand, kind_of, read_rows


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

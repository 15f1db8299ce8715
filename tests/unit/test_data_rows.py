"""Rows on disk read like a list, and a sealed side says its number and nothing else."""

from __future__ import annotations

import gc
import random
import resource
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from luthier.base.errors import DataError, StorageError
from luthier.base.records import Example, Source
from luthier.data.report import DataReport, Prepared
from luthier.data.rows import Drops, Sealed, open_lines, spool_examples, write_lines
from luthier.data.shapes.columns import Dropped

text = st.text(st.characters(exclude_categories=["Cs"]), max_size=30)


def example(words: str, line: int = 1, **extra: str) -> Example:
    return Example(f"e{line}", {"text": words}, "a", Source("m.csv", line), None, extra)


@settings(deadline=None, max_examples=60)
@given(st.lists(text, max_size=30), st.data())
def test_what_is_written_is_read_back_in_any_order(
    tmp_path_factory: pytest.TempPathFactory, texts: list[str], data: st.DataObject
) -> None:
    rows = [example(t, i) for i, t in enumerate(texts)]
    spool = spool_examples()
    for row in rows:
        spool.add(row)
    lines = spool.lines()
    assert lines == rows and list(lines) == rows and len(lines) == len(rows)
    order = data.draw(st.permutations(range(len(rows))))
    assert list(lines.take(order)) == [rows[i] for i in order]  # type: ignore[arg-type]
    cut = data.draw(st.slices(len(rows)))
    assert list(lines[cut]) == rows[cut]
    if rows:
        assert lines[-1] == rows[-1]
    path = tmp_path_factory.mktemp("lines") / "rows.jsonl"
    write_lines(path, lines, Example.as_dict)
    assert open_lines(path, Example.from_dict) == rows


def test_changed_rows_are_seen_in_every_view() -> None:
    spool = spool_examples()
    for i in range(10):
        spool.add(example(f"t{i}", i))
    lines = spool.lines().changed({3: example("new", 3)})
    assert lines[3].inputs["text"] == "new" and [e.inputs["text"] for e in lines[2:5]] == ["t2", "new", "t4"]


def test_rows_outlive_their_maker_and_are_read_by_threads() -> None:
    spool = spool_examples()
    for i in range(2000):
        spool.add(example(f"text {i} " * 20, i))
    lines = spool.lines()
    del spool
    gc.collect()
    order = list(range(2000))
    random.Random(0).shuffle(order)
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(lambda i: lines[i].source.line, order)) == order


def test_memory_does_not_hold_the_rows(tmp_path: Path) -> None:
    program = (
        "import resource, sys\nfrom luthier.base.records import Example, Source\nfrom luthier.data.rows import spool_examples\n"
        "spool = spool_examples()\nbefore = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "for i in range(100_000): spool.add(Example('e', {'text': f'{i} ' + 'word ' * 200}, 'a', Source('f', i)))\n"
        "lines = spool.lines()\ntotal = sum(len(e.inputs['text']) for e in lines)\nassert total > 100_000_000\n"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)"
    )
    grown = int(subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout)
    assert grown < 40_000 * (1024 if sys.platform == "darwin" else 1), f"{grown} kB for 100 MB of rows"
    assert resource


def test_drops_count_and_read_back() -> None:
    drops = Drops()
    assert len(drops) == 0 and list(drops) == [] and drops == []
    made = [Dropped(Source("m.csv", i), "empty text" if i % 3 else "no label", "x" * i) for i in range(20)]
    for dropped in made:
        drops.add(dropped)
    assert drops == made and drops[3] == made[3]
    assert drops.counts == {"empty text": 13, "no label": 7} and str(drops.first["empty text"]) == "m.csv:1"


def test_the_sealed_side_cannot_be_opened() -> None:
    report = DataReport(1, {}, {}, {}, {}, {}, {}, (), (), {}, "", {}, "f", ())
    rows = [example("a")]
    open_, closed = Prepared(rows, rows, rows, (), report), Prepared(rows, rows, rows, (), report).sealed()
    assert open_.test == rows and closed.train == rows and len(closed.test) == 1
    for peek in (
        lambda: closed.test[0],
        lambda: list(closed.test),
        lambda: closed.test[:1],
        lambda: example("a") in closed.test,
    ):
        with pytest.raises(DataError, match="sealed"):
            peek()
    assert isinstance(closed.side("test"), Sealed)


@pytest.mark.skipif(sys.platform != "linux", reason="/dev/full is Linux's")
def test_a_full_disk_is_told(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="disk is full"):
        write_lines(Path("/dev/full"), [example("a" * 100_000)], Example.as_dict)

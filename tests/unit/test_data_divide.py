"""The division keeps copies, groups and dates together, and adding rows never moves an old one."""

from __future__ import annotations

import csv
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from luthier.base.errors import DataError
from luthier.base.records import Example, Source
from luthier.data.board import BoardMaker
from luthier.data.divide import divide_rows
from luthier.data.prepare import survey
from luthier.spec.data import DataSection

WORDS = [
    "card",
    "bill",
    "parcel",
    "late",
    "login",
    "price",
    "return",
    "lost",
    "help",
    "paid",
    "twice",
    "refund",
    "app",
    "order",
    "phone",
    "letter",
]


def data(**values: Any) -> DataSection:
    return DataSection(**({"source": "m.csv", "semantic": "off", "label_errors": "off"} | values))


def sides_of(rows: list[tuple[str, str, str | None]], settings_: DataSection) -> list[int]:
    maker = BoardMaker(seed=settings_.split.seed)
    kept = []
    for line, (text, label, group) in enumerate(rows, 1):
        example = Example("", {"text": text}, label, Source("m.csv", line), group)
        if maker.twin(example) is None:
            maker.add(example, "source")
            kept.append(line - 1)
    found = divide_rows(maker.done({}), settings_).sides.tolist()
    return [dict(zip(kept, found, strict=True)).get(i, -2) for i in range(len(rows))]


rows_ = st.lists(
    st.tuples(
        st.lists(st.sampled_from(WORDS), min_size=1, max_size=14).map(" ".join), st.sampled_from("ab"),
        st.one_of(st.none(), st.none(), st.sampled_from(["g1", "g2", "g3"])),
    ), max_size=40,
)  # fmt: skip


@settings(deadline=None, max_examples=60)
@given(rows_, rows_, st.sampled_from([0.6, 0.9]))
def test_added_rows_never_move_an_old_one(old: list[Any], new: list[Any], near: float) -> None:
    settings_ = data(near=near, split={"test": 0.3, "valid": 0.2})
    before = sides_of(old, settings_)
    assert sides_of(old + new, settings_)[: len(old)] == before


def test_copies_go_together_and_templates_do_not() -> None:
    base = "the parcel that i ordered on monday has still not arrived at my new flat"
    pairs = [
        (f"{base} {WORDS[i % 16]}{i} {WORDS[(3 * i) % 16]}{i * 7} zone{i} area{i} block{i} town{i}", "ab"[i % 2], None)
        for i in range(60)
    ]
    copies = [(text.replace("monday", "tuesday"), label, None) for text, label, _ in pairs]
    found = sides_of(pairs + copies, data())
    assert found[:60] == found[60:] and set(found) == {0, 1, 2}
    template = [
        (f"i would like to know what the fee of card number {i} will be please", "ab"[i % 2], None) for i in range(200)
    ]
    found = sides_of(template, data())
    assert 0.1 < found.count(2) / 200 < 0.3


def write(path: Path, rows: list[list[str]], head: list[str]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([head, *rows])


def dated(count: int, form: str = "%Y-%m-%d") -> list[list[str]]:
    start = datetime(2024, 1, 1, tzinfo=UTC)
    return [
        [
            f"{WORDS[i % 16]} {WORDS[(5 * i) % 16]} number{i} code{i * i}",
            "ab"[i % 2],
            (start + timedelta(days=i)).strftime(form),
        ]
        for i in range(count)
    ]


def test_by_time_the_newest_rows_are_tested(tmp_path: Path) -> None:
    write(tmp_path / "m.csv", dated(100), ["text", "label", "day"])
    with pytest.raises(DataError) as caught:
        survey(data(split={"time": "day"}), "classify", base=tmp_path)
    assert "2024-03-20 puts 21% of the rows in test" in str(caught.value)
    found = survey(data(split={"time": "day", "test_from": "2024-03-20"}), "classify", base=tmp_path)
    assert {e.extra["day"] >= "2024-03-20" for e in found.test} == {True} and len(found.test) == 21
    assert {e.extra["day"] < "2024-03-20" for side in (found.train, found.valid) for e in side} == {True}
    assert len(found.valid) > 0 and found.report.leaks["time"] == 0
    both = survey(
        data(split={"time": "day", "test_from": "2024-03-20", "valid_from": "2024-03-01"}), "classify", base=tmp_path
    )
    assert [e.extra["day"] for e in both.valid] == [d for _, _, d in dated(100) if "2024-03-01" <= d < "2024-03-20"]
    # Later rows are newer: they are tested on, and no old row moves.
    write(tmp_path / "m.csv", dated(140), ["text", "label", "day"])
    more = survey(data(split={"time": "day", "test_from": "2024-03-20"}), "classify", base=tmp_path)
    assert {e.id for e in found.test} <= {e.id for e in more.test} and {e.id for e in more.train} == {
        e.id for e in found.train
    }


def test_dates_in_the_order_of_the_column(tmp_path: Path) -> None:
    write(tmp_path / "m.csv", dated(100, "%d/%m/%Y"), ["text", "label", "day"])
    found = survey(data(split={"time": "day", "test_from": "2024-03-20"}), "classify", base=tmp_path)
    assert len(found.test) == 21
    write(tmp_path / "m.csv", [*dated(60), ["a text", "a", "soon"]], ["text", "label", "day"])
    with pytest.raises(DataError, match=r'm.csv:62: "soon" in the column "day" is no date'):
        survey(data(split={"time": "day", "test_from": "2024-02-01"}), "classify", base=tmp_path)


def test_train_rows_newer_than_the_test_file_leak(tmp_path: Path) -> None:
    rows = dated(100)
    write(tmp_path / "m.csv", [*rows[:60], *rows[90:]], ["text", "label", "day"])
    write(tmp_path / "t.csv", rows[60:90], ["text", "label", "day"])
    found = survey(data(test="t.csv", split={"time": "day"}), "classify", base=tmp_path)
    assert found.report.leaks["time"] == 10 == found.report.stopping["time"]

"""Sets of labels as files hold them: lists, marks, columns of 0 and 1; what cannot be one is told."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from luthier.base.errors import DataError
from luthier.base.records import Row, Source
from luthier.data.prepare import survey
from luthier.data.shapes.columns import to_examples
from luthier.data.shapes.guess import guess
from luthier.spec.data import DataSection


def mapped(cells, columns=None, **settings):
    rows = [
        Row({"text": f"text {i}", **(c if isinstance(c, dict) else {"label": c})}, Source("a.csv", i + 2))
        for i, c in enumerate(cells)
    ]
    return to_examples(rows, columns=columns or {}, objective="multilabel", settings=settings)


@pytest.mark.parametrize(
    ("cells", "expected"),
    [
        (["b|a", "a", ""], [["a", "b"], ["a"], []]),
        (["b; a", " a ", ";"], [["a", "b"], ["a"], []]),
        (["b, a", "a,a"], [["a", "b"], ["a"]]),
        # The first mark that occurs anywhere in the first rows parts all of them: a comma then belongs to the label.
        (["clothes, shoes|sale", "clothes, shoes"], [["clothes, shoes", "sale"], ["clothes, shoes"]]),
        ([["b", "a"], [], ("a",)], [["a", "b"], [], ["a"]]),
        (['["b", "a"]', "[]", "['a', 'c']"], [["a", "b"], [], ["a", "c"]]),
        ([3, 5.5], [["3"], ["5.5"]]),
    ],
)
def test_cells_become_sorted_lists(cells, expected) -> None:
    assert [e.target for e in mapped(cells).examples] == expected


def test_the_separator_of_the_task_holds() -> None:
    assert [e.target for e in mapped(["a,b / c"], label_separator="/").examples] == [["a,b", "c"]]
    assert [e.target for e in mapped(["a|b"], label_separator="none").examples] == [["a|b"]]


def test_columns_of_flags() -> None:
    columns = {"label": ["late", "rude"]}
    rows = [{"late": 1, "rude": "0"}, {"late": "no", "rude": "TRUE"}, {"late": "", "rude": 0.0}]
    assert [e.target for e in mapped(rows, columns).examples] == [["late"], ["rude"], []]
    found = mapped([{"late": 2, "rude": 0}, {"late": None, "rude": None}], columns)
    assert [(d.reason, d.source.line) for d in found.dropped] == [("label is neither 0 nor 1", 2), ("no label", 3)]
    missing = mapped([{"late": 1}], columns)
    assert "rude" in missing.faults[0].what


def test_what_is_no_set_is_dropped_with_its_reason() -> None:
    found = mapped([None, float("nan"), '["a', [["a"]]])
    assert [d.reason for d in found.dropped] == [
        "no label",
        "no label",
        "label is a broken list",
        "label is not one value",
    ]


def write(path: Path, rows: list[tuple[str, list[str]]]) -> Path:
    path.write_text("".join(json.dumps({"text": t, "tags": s}) + "\n" for t, s in rows))
    return path


def test_a_test_label_that_is_never_trained_is_told_with_its_place(tmp_path: Path) -> None:
    train = [
        (f"row number {i} of the train file about {'late' if i % 2 else 'rude'}", ["late"] if i % 2 else ["rude"])
        for i in range(30)
    ]
    write(tmp_path / "train.jsonl", train)
    write(tmp_path / "test.jsonl", [("a new thing came", ["late", "ruder"])])
    data = DataSection(source="train.jsonl", test="test.jsonl", columns={"label": "tags"}, semantic="off")
    with pytest.raises(DataError) as error:
        survey(data, "multilabel", base=tmp_path)
    (fault,) = error.value.faults
    assert 'label "ruder" (1 rows of data.test) is never in train' in fault.what
    assert fault.where.endswith("test.jsonl:1") and "rude" in fault.mend


@pytest.mark.parametrize(
    ("labels", "words"), [([], "no train row has any label"), (["a"], 'every train row has the label "a"')]
)
def test_sets_that_teach_nothing_are_told(labels, words, tmp_path: Path) -> None:
    write(tmp_path / "a.jsonl", [(f"this is text number {i}", labels) for i in range(40)])
    with pytest.raises(DataError, match=words) as error:
        survey(DataSection(source="a.jsonl", columns={"label": "tags"}, semantic="off"), "multilabel", base=tmp_path)
    assert "a.jsonl:" in error.value.faults[0].where


def test_labels_are_counted_one_by_one(tmp_path: Path) -> None:
    rows = [(f"text about thing {i} and more {i * 7}", [["a"], ["a", "b"], []][i % 3]) for i in range(60)]
    write(tmp_path / "a.jsonl", rows)
    data = DataSection(source="a.jsonl", columns={"label": "tags"}, semantic="off", leaks="allow")
    found = survey(data, "multilabel", base=tmp_path)
    assert found.labels == ("a", "b")
    assert sum(found.report.labels["a"].values()) == 40
    assert sum(found.report.labels["b"].values()) == 20


def test_init_recognises_sets(tmp_path: Path) -> None:
    rows = [(f"the message number {i} says something of its own", [["a", "b"], ["b"], ["c"]][i % 3]) for i in range(60)]
    found = guess([write(tmp_path / "a.jsonl", rows)])
    assert (found.objective, found.columns) == ("multilabel", {"text": "text", "label": "tags"})
    lines = [f"the message number {i} says something of its own,{'a|b' if i % 3 else 'c'}\n" for i in range(60)]
    (tmp_path / "b.csv").write_text("message,topic\n" + "".join(lines))
    found = guess([tmp_path / "b.csv"])
    assert (found.objective, found.columns) == ("multilabel", {"text": "message", "label": "topic"})
    assert "parted by |" in found.reasons[0]

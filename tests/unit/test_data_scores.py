"""Scores as files hold them: one or several traits, missing ones, scales; what is no score is told before training."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from luthier.base.errors import DataError, TaskError
from luthier.base.records import Row, Source
from luthier.data.prepare import survey
from luthier.data.shapes.columns import to_examples
from luthier.data.shapes.guess import guess
from luthier.spec.data import DataSection
from luthier.spec.load import load_task


def mapped(rows, columns=None, *, need_target=True, **settings):
    rows = [Row({"text": f"text {i}", **row}, Source("a.csv", i + 2)) for i, row in enumerate(rows)]
    return to_examples(rows, columns=columns or {}, objective="grade", settings=settings, need_target=need_target)


def test_cells_become_scores_by_trait() -> None:
    rows = [{"a": "3.5", "b": 2}, {"a": "", "b": "nan"}, {"a": None, "b": " 4 "}]
    found = mapped(rows, {"score": ["a", "b"]})
    assert [e.target for e in found.examples] == [{"a": 3.5, "b": 2.0}, {"b": 4.0}]
    assert [(d.reason, d.source.line) for d in found.dropped] == [("no label", 3)]
    assert [e.target for e in mapped([{"score": 1}]).examples] == [{"score": 1.0}]


def test_a_rubric_stands_beside_the_text() -> None:
    (example,) = mapped([{"score": 1, "criteria": "Is it clear?"}], {"rubric": "criteria"}).examples
    assert example.inputs == {"text": "text 0", "rubric": "Is it clear?"}


def test_scores_are_not_needed_to_answer() -> None:
    (example,) = mapped([{"score": "unknown"}], need_target=False).examples
    assert example.target is None


def write(path: Path, rows) -> Path:
    with path.open("w", newline="") as handle:
        writer = csv.DictWriter(handle, ["text", "score", "style"])
        writer.writeheader()
        writer.writerows({"text": f"essay number {i} on subject {i * 7}", **row} for i, row in enumerate(rows))
    return path


BOTH = ["score", "style"]


@pytest.mark.parametrize(
    ("rows", "more", "words", "place"),
    [
        ([{"score": i % 5, "style": "good" if i == 3 else 1 + i % 2} for i in range(40)], {}, 'score is not a number: "good" in "style"', "a.csv:5"),
        ([{"score": 7 if i == 9 else 1 + i % 5, "style": 1 + i % 2} for i in range(40)], {"scale": [1, 5, 1]}, '7 in "score", whose scale is 1 to 5', "a.csv:11"),
        ([{"score": 3, "style": 1 + i % 2} for i in range(40)], {}, 'every train row has the score 3 in "score"', "a.csv:"),
        ([{"score": i % 3, "style": ""} for i in range(40)], {}, 'no train row has a score in "style"', "data.columns.score"),
        ([{"score": i % 3, "style": i % 2} for i in range(40)], {"scale": {"styl": [0, 1, 1]}}, 'no trait "styl"', "data.scale"),
    ],
)  # fmt: skip
def test_scores_that_cannot_be_learnt_are_told(rows, more, words, place, tmp_path: Path) -> None:
    write(tmp_path / "a.csv", rows)
    data = DataSection(source="a.csv", columns={"score": BOTH}, semantic="off", **more)
    with pytest.raises(DataError) as error:
        survey(data, "grade", base=tmp_path)
    found = [f for f in error.value.faults if words in f.what]
    assert found and place in found[0].where and found[0].mend, error.value.faults


def test_traits_are_counted_like_labels(tmp_path: Path) -> None:
    write(tmp_path / "a.csv", [{"score": i % 5, "style": i % 2 if i % 4 else ""} for i in range(80)])
    found = survey(DataSection(source="a.csv", columns={"score": BOTH}, semantic="off"), "grade", base=tmp_path)
    assert found.labels == ("score", "style")
    assert sum(found.report.labels["style"].values()) == 60


@pytest.mark.parametrize("scale", ["[5, 1, 1]", "[1, 5]", "[1, 5, 0]", "{a: [1, 2, 3]}", "[a, b, c]"])
def test_a_scale_that_is_none_is_refused(scale: str, tmp_path: Path) -> None:
    path = tmp_path / "task.yaml"
    path.write_text(f"task: {{objective: grade}}\ndata: {{source: a.csv, scale: {scale}}}\n")
    with pytest.raises(TaskError, match="scale"):
        load_task(path)
    path.write_text("task: {objective: grade}\ndata: {source: a.csv, scale: {a: [1, 5, 0.5]}}\n")
    assert load_task(path).task.data.scale == {"a": [1, 5, 0.5]}


def test_init_recognises_scores(tmp_path: Path) -> None:
    write(tmp_path / "a.csv", [{"score": 1 + i % 9 / 2, "style": 1 + i % 7 / 2} for i in range(80)])
    found = guess([tmp_path / "a.csv"])
    assert (found.objective, found.columns) == ("grade", {"text": "text", "score": ["score", "style"]})

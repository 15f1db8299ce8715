"""Bars that no model could be held against on the rows there are: told before training, and none that right answers could meet."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from luthier.base.records import Example, Source
from luthier.evaluate import measurable, metrics
from luthier.evaluate.answered import Answered
from luthier.evaluate.intervals import evaluate_with_intervals
from luthier.evaluate.slices import bars as on_parts
from luthier.evaluate.verdict import judge
from luthier.spec.bars import parse_bars


def rows(*targets: Any, **extra: list[str]) -> list[Example]:
    return [
        Example(str(i), {"text": f"row {i}"}, target, Source("rows.csv", i + 2), None, {name: values[i] for name, values in extra.items()})
        for i, target in enumerate(targets)
    ]


def told(accept: dict[str, str], objective: str, some: list[Example], labels: tuple[str, ...]) -> list[str]:
    bars, faults = parse_bars(accept)
    assert not faults
    return [fault.where for fault in measurable.check(bars, objective, some, labels)]


@pytest.mark.parametrize(
    ("objective", "targets", "labels", "lacking"),
    [
        ("classify", ["a", "a", "a", "a"], ("a", "b"), {"roc_auc", "recall[b]", "f1[b]"}),
        ("classify", ["a", "b", "a", "b"], ("a", "b", "c"), {"recall[c]", "f1[c]"}),
        ("classify", ["a", "b", "a", "b"], ("a", "b"), set()),
        ("multilabel", [["a"], ["a", "b"], [], ["a"]], ("a", "b", "c"), {"recall[c]", "f1[c]"}),
        ("grade", [{"style": 2.0}, {"style": 2.0}, {"style": 2.0}], ("style",), {"qwk", "pearson", "spearman", "qwk[style]"}),
        ("grade", [{"style": 2.0}, {"style": 3.0}, {"style": 4.0}], ("style",), set()),
    ],
)
def test_what_right_answers_leave_without_a_value_is_told(objective: str, targets: list[Any], labels: tuple[str, ...], lacking: set[str]) -> None:
    names = metrics.names(objective, labels)
    asked = {"roc_auc", "recall[b]", "f1[b]", "recall[c]", "f1[c]", "qwk", "pearson", "spearman", "qwk[style]", "macro_f1", "accuracy", "rmse"} & set(names)
    found = told(dict.fromkeys(sorted(asked), ">= 0.5"), objective, rows(*targets), labels)
    assert {where.removeprefix("accept.") for where in found} == lacking & asked and lacking <= asked


def test_a_part_is_looked_at_by_itself() -> None:
    some = rows("a", "b", "a", "b", "a", "a", channel=["mail", "mail", "mail", "mail", "fax", "fax"])
    assert told({"recall[b]": ">= 0.5", "recall[b]{channel=mail}": ">= 0.5"}, "classify", some, ("a", "b")) == []
    assert told({"recall[b]{channel=fax}": ">= 0.5"}, "classify", some, ("a", "b")) == ["accept.recall[b]{channel=fax}"]


def test_what_rests_on_answers_is_left_to_them() -> None:
    assert told({"referred": "<= 0.2", "judge_win_rate": ">= 0.5"}, "classify", rows("a", "a"), ("a", "b")) == []
    assert told({"ndcg@10": ">= 0.2"}, "rank", [], ()) == []


@pytest.mark.parametrize(
    ("objective", "targets", "labels", "metrics_"),
    [
        ("classify", ["a", "b", "b", "c"], ("a", "b", "c"), ["accuracy", "macro_f1", "recall[a]", "f1[b]", "roc_auc", "ece"]),
        ("multilabel", [["a"], ["a", "b"], [], ["b"]], ("a", "b"), ["micro_f1", "recall[b]", "subset_accuracy"]),
        ("grade", [{"style": 1.0}, {"style": 2.0}, {"style": 3.0}, {}], ("style",), ["adjacent", "rmse", "rmse[style]"]),
    ],
)
@pytest.mark.parametrize("times", [1, 4, 13, 90])
def test_what_is_out_of_reach_is_what_the_verdict_on_right_answers_cannot_tell(
    objective: str, targets: list[Any], labels: tuple[str, ...], metrics_: list[str], times: int
) -> None:
    some = rows(*targets * times)
    right = [measurable._right(row.target, labels) for row in some]
    lower = ("rmse", "ece")
    known = [name for name in metrics_ if name in metrics.names(objective, labels)]
    assert len(known) >= 2
    accept = {name: ("<= 0.1" if name.startswith(lower) else ">= 0.93") for name in known}
    bars, _ = parse_bars(accept)
    answered = Answered(objective, some, right, labels)
    figures = on_parts.counted(bars, answered, evaluate_with_intervals(objective, answered.targets, right, labels, resamples=40))
    untold = {row["metric"] for row in judge(bars, figures).bars if row["state"] == "cannot tell"}
    found = {fault.where.removeprefix("accept.") for fault in measurable.unshown(bars, objective, some, labels)}
    assert found == untold
    assert bool(found) == (times < 90) or objective == "grade"


def test_rows_of_a_group_count_once_and_a_part_by_itself() -> None:
    alone = rows(*["a", "b"] * 20, channel=["mail", "fax"] * 20)
    together = [replace(row, group=f"g{i // 4}") for i, row in enumerate(alone)]
    bars, _ = parse_bars({"accuracy": ">= 0.9", "accuracy{channel=fax}": ">= 0.9", "accuracy{worst channel}": ">= 0.99", "macro_f1": "> majority"})
    assert [f.where for f in measurable.unshown(bars, "classify", alone, ("a", "b"))] == ["accept.accuracy{channel=fax}"]
    found = measurable.unshown(bars, "classify", together, ("a", "b"))
    assert [f.where for f in found] == ["accept.accuracy", "accept.accuracy{channel=fax}"] and "10 groups of test rows" in found[0].what


def test_written_answers_are_counted_too_and_what_is_measured_elsewhere_is_not() -> None:
    bars, _ = parse_bars({"exact_match": ">= 0.95", "judge_win_rate": ">= 0.95", "rougeL": ">= 0.2"})
    some = rows(*["yes"] * 30)
    assert [f.where for f in measurable.unshown(bars, "generate", some, ())] == ["accept.exact_match"]
    assert measurable.unshown(bars, "generate", [], ()) == []

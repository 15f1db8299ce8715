"""Bars that no model could be held against on the rows there are: told before training, and none that right answers could meet."""

from __future__ import annotations

from typing import Any

import pytest

from luthier.base.records import Example, Source
from luthier.evaluate import measurable, metrics
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

"""Gaps between groups: a planted one is found, none is found where there is none, and bias says which way grades lean."""

from __future__ import annotations

import numpy as np
import pytest

from luthier.base.records import Example, Prediction, Source
from luthier.evaluate.answered import Answered
from luthier.evaluate.metrics import measured
from luthier.evaluate.report.slices import slices
from luthier.evaluate.slices import gaps


def graded(seed: int, lean: float, count: int = 240, groups: int | None = None) -> Answered:
    """Grades of two groups of pupils, those of the second too low by ``lean``."""
    rng = np.random.default_rng(seed)
    rows, given = [], []
    for i in range(count):
        unit = i if groups is None else i % groups
        group = "two" if unit % 2 else "one"
        wanted = float(rng.integers(2, 9)) / 2
        error = rng.normal(0, 0.4) - lean * (group == "two")
        row = Example(str(i), {"text": f"essay {i}"}, {"overall": wanted}, Source("e.csv", i + 1), group=None if groups is None else str(unit), extra={"gender": group})
        rows.append(row)
        given.append(Prediction(grades={"overall": wanted + error}))
    return Answered("grade", rows, given, ("overall",))


def test_bias_says_which_way_grades_lean() -> None:
    answered = graded(0, 0.3)
    errors = [(p.grades or {})["overall"] - r.target["overall"] for p, r in zip(answered.predictions, answered.rows, strict=True)]
    found = measured("grade", answered.targets, answered.predictions, ("overall",))
    assert found["bias"] == pytest.approx(np.mean(errors)) and found["bias"] < 0


@pytest.mark.parametrize("groups", [None, 60])
def test_a_planted_gap_is_found_and_shown(groups: int | None) -> None:
    answered = graded(0, 0.35, groups=groups)
    found = {one["metric"]: one for one in gaps.measure(answered, metric="qwk", columns=["gender", "none"])}
    bias = found["bias"]
    assert bias["low"] < 0.35 < bias["high"] and bias["p"] <= 0.01 and set(found) == {"rmse", "bias"}
    assert [(p["value"], p["rows"]) for p in bias["parts"]] == [("one", 120), ("two", 120)]
    record = {"slices": {"metric": "qwk", "columns": ["gender"], "tested": 2, "worst": [], "found": [], "gaps": list(found.values())}}
    shown = "".join(map(str, slices(record, {})))
    assert "Is it as good for one group as for another?" in shown and "two: " in shown and ">yes<" in shown


def test_where_there_is_no_gap_few_are_claimed() -> None:
    """Of gaps that are chance alone one in twenty is claimed."""
    claimed = [one["p"] <= 0.05 for seed in range(40) for one in gaps.measure(graded(seed, 0.0, 60), metric="qwk", columns=["gender"]) if one["metric"] == "bias"]
    assert len(claimed) == 40 and np.mean(claimed) <= 0.15


@pytest.mark.parametrize("lean", [0.0, 0.35])
def test_rows_of_a_group_that_lies_in_two_parts_are_shuffled_within_it(lean: float) -> None:
    """Each essay is written by one of each group: only what differs within the pair tells."""
    answered = graded(0, lean, 160)
    rows = [Example(r.id, r.inputs, r.target, r.source, group=str(i // 2), extra=r.extra) for i, r in enumerate(answered.rows)]
    found = gaps.measure(Answered("grade", rows, answered.predictions, ("overall",)), metric="qwk", columns=["gender"])
    (bias,) = (one for one in found if one["metric"] == "bias")
    assert (bias["p"] <= 0.01) == (lean > 0)

"""How fine a difference test rows can show: found four times out of five by the tests that decide, and said in words."""

from __future__ import annotations

import numpy as np
import pytest

from luthier.base.records import Prediction
from luthier.evaluate import resolution
from luthier.evaluate.compare import mcnemar, paired
from luthier.evaluate.intervals import evaluate_with_intervals
from luthier.evaluate.report.owner import definition_of_done


def answers(right: np.ndarray) -> list[Prediction]:
    return [Prediction(label="a" if r else "b") for r in right]


def measured(right: np.ndarray, groups: list[str] | None = None) -> dict[str, float | None]:
    return evaluate_with_intervals("classify", ["a"] * len(right), answers(right), ("a", "b"), groups=groups, resamples=500)["accuracy"]


def test_what_is_named_is_found_four_times_out_of_five() -> None:
    rng = np.random.default_rng(5)
    finest = resolution.of_interval("accuracy", measured(np.arange(400) < 320), 400)
    assert finest is not None and 0.06 < finest["difference"] < 0.10
    gap = finest["difference"]
    found = sum(mcnemar(rng.random(400) < 0.8 - gap / 2, rng.random(400) < 0.8 + gap / 2) < 0.05 for _ in range(400))
    assert 0.70 < found / 400 < 0.90
    # So many rows as it names for two points find two points.
    rows = finest["needed"]
    found = sum(mcnemar(rng.random(rows) < 0.79, rng.random(rows) < 0.81) < 0.05 for _ in range(200))
    assert 0.68 < found / 200 < 0.92


def test_two_hundred_rows_cannot_tell_two_points() -> None:
    finest = resolution.of_interval("accuracy", measured(np.arange(200) < 190), 200)
    assert finest is not None
    assert 1_500 < finest["needed"] < 2_600, "about 1,900"
    words = resolution.in_words(finest)
    assert words.startswith("These 200 test rows tell two models apart that are ") and "2 points take about" in words
    assert finest["needed"] == resolution.rounded(200 * (finest["difference"] / 0.02) ** 2)
    fine = resolution.of_interval("accuracy", measured(np.arange(40_000) < 36_000), 40_000)
    assert fine is not None and fine["difference"] < 0.02 and "take about" not in resolution.in_words(fine)


def test_rows_that_belong_together_tell_less_and_a_perfect_score_promises_nothing() -> None:
    right = np.arange(400) % 80 < 64
    alone = resolution.of_interval("accuracy", measured(right), 400)
    together = resolution.of_interval("accuracy", measured(np.repeat(np.arange(20) % 5 < 4, 20), [f"g{i // 20}" for i in range(400)]), 400)
    assert alone is not None and together is not None and together["difference"] > 3 * alone["difference"]
    perfect = resolution.of_interval("accuracy", measured(np.ones(5, dtype=bool)), 5)
    assert perfect is not None and perfect["difference"] > 0.5
    assert resolution.of_interval("accuracy", {"value": None, "low": None, "high": None}, 0) is None


def test_a_metric_without_a_scale_is_told_in_its_own_unit() -> None:
    finest = resolution.of_interval("rmse", {"value": 0.5, "low": 0.45, "high": 0.55}, 100)
    assert finest is not None and finest["needed"] == 400
    assert "0.101 of rmse" in resolution.in_words(finest)


def test_the_rows_that_a_difference_would_take() -> None:
    """A difference that 300 rows do not show is shown by as many as are named, four times out of five."""
    rng = np.random.default_rng(2)
    both = rng.random(300) < 0.7
    first, second = both.copy(), both.copy()
    first[:14], second[:14] = True, False
    first[14:34], second[14:34] = False, True
    pair = paired("classify", ["a"] * 300, answers(first), answers(second), ("a", "b"), resamples=1000, metrics=["accuracy"])["accuracy"]
    assert pair["better"] == "cannot tell"
    needed = resolution.needed_for(pair, 300)
    assert needed is not None
    wins, losses = 20 / 300, 14 / 300
    found = 0
    for _ in range(200):
        draw = rng.random(needed)
        found += mcnemar(draw < losses, (draw >= losses) & (draw < losses + wins)) < 0.05
    assert 0.68 < found / 200 < 0.92
    assert resolution.needed_for({**pair, "difference": 0.0}, 300) is None


def test_the_report_says_it_beside_the_bars() -> None:
    finest = resolution.of_interval("accuracy", {"value": 0.9, "low": 0.86, "high": 0.94}, 200)
    record = {
        "task": {"objective": "classify"}, "metrics": {"test": {"accuracy": {"value": 0.9, "low": 0.86, "high": 0.94}}}, "resolution": finest,
        "bars": [{"metric": "accuracy", "op": ">=", "limit": 0.8, "value": 0.9, "low": 0.86, "high": 0.94, "met": True, "certain": True}],
    }  # fmt: skip
    assert finest is not None and resolution.in_words(finest) in str(definition_of_done(record, {}))
    assert str(definition_of_done({**record, "resolution": None}, {})).count("four times") == 0


@pytest.mark.parametrize(("value", "expected"), [(7.2, 8), (99.0, 99), (101.0, 110), (1_875.0, 1_900), (123_456.0, 130_000)])
def test_estimates_are_rounded_up_to_two_digits(value: float, expected: int) -> None:
    assert resolution.rounded(value) == expected

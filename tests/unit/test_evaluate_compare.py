"""Paired comparison: it finds real differences, does not invent any, and says when it cannot tell."""

from __future__ import annotations

import numpy as np
import pytest
from test_evaluate_metrics import LABELS, rows, scored

from luthier.base.records import Prediction
from luthier.evaluate.compare import mcnemar, paired, swapped
from luthier.evaluate.tables import tabulate


def answers(right: np.ndarray) -> list[Prediction]:
    return [Prediction(label="a" if r else "b") for r in right]


def test_a_clearly_better_model_is_found_in_every_metric_that_shows_it() -> None:
    rng = np.random.default_rng(0)
    targets = rng.choice(LABELS, 400).tolist()
    weak, strong = scored(rng, targets, LABELS, 0.5), scored(rng, targets, LABELS, 4.0)
    found = paired("classify", targets, weak, strong, LABELS, resamples=500)
    for name in ("accuracy", "macro_f1", "mcc", "roc_auc", "log_loss", "brier", "f1[urgent]"):
        assert found[name]["better"] == "second", name
        assert found[name]["p"] < 0.01
        assert found[name]["difference"] == pytest.approx(found[name]["second"] - found[name]["first"])
    assert found["log_loss"]["difference"] < 0, "lower is better there"
    back = paired("classify", targets, strong, weak, LABELS, resamples=500, metrics={"accuracy"})
    assert set(back) == {"accuracy"} and back["accuracy"]["better"] == "first"


def test_a_model_does_not_differ_from_itself() -> None:
    targets, predictions = rows(1, 100)
    found = paired("classify", targets, predictions, predictions, LABELS, resamples=200)
    assert {row["better"] for row in found.values()} == {"cannot tell"}
    assert found["accuracy"]["p"] == 1.0 and found["accuracy"]["mcnemar_p"] == 1.0


def test_pairing_finds_what_two_separate_intervals_do_not() -> None:
    rng = np.random.default_rng(2)
    first = rng.random(500) < 0.7
    second = first.copy()
    second[np.flatnonzero(~first)[:12]] = True  # the same model with twelve mistakes mended
    row = paired("classify", ["a"] * 500, answers(first), answers(second), ("a", "b"))["accuracy"]
    assert row["better"] == "second" and row["difference"] == pytest.approx(0.024) and row["mcnemar_p"] < 0.001


def test_few_differing_rows_cannot_tell() -> None:
    first, second = np.array([False] * 5 + [True] * 45), np.ones(50, dtype=bool)
    row = paired("classify", ["a"] * 50, answers(first), answers(second), ("a", "b"))["accuracy"]
    assert row["low"] > 0 and row["better"] == "cannot tell" and row["mcnemar_p"] > 0.05


def test_rows_of_few_groups_cannot_tell() -> None:
    first, second = np.array([False] * 40 + [True] * 160), np.ones(200, dtype=bool)
    groups = [f"customer {i // 20}" for i in range(200)]
    alone = paired("classify", ["a"] * 200, answers(first), answers(second), ("a", "b"))["accuracy"]
    grouped = paired("classify", ["a"] * 200, answers(first), answers(second), ("a", "b"), groups=groups)["accuracy"]
    assert alone["better"] == "second" and grouped["better"] == "cannot tell" and grouped["mcnemar_p"] is None


def test_equal_models_are_told_apart_no_more_often_than_five_percent() -> None:
    rng = np.random.default_rng(3)
    told = 0
    for trial in range(200):
        first, second = rng.random(150) < 0.75, rng.random(150) < 0.75
        row = paired(
            "classify",
            ["a"] * 150,
            answers(first),
            answers(second),
            ("a", "b"),
            resamples=200,
            seed=trial,
            metrics=["accuracy"],
        )["accuracy"]
        told += row["better"] != "cannot tell"
    assert told <= 20, "5 % of 200 and three standard errors"


def test_generators_compare_by_perplexity_where_lower_wins() -> None:
    rng = np.random.default_rng(4)
    nats = rng.gamma(2, 2, 80)
    first = [Prediction(measured={"nll_sum": n * 1.2, "token_count": 4}) for n in nats]
    second = [Prediction(measured={"nll_sum": n, "token_count": 4}) for n in nats]
    found = paired("generate", ["x"] * 80, first, second, ())
    assert found["perplexity"]["better"] == "second" and found["perplexity"]["difference"] < 0
    assert found["rouge1"]["first"] is None and found["rouge1"]["better"] == "cannot tell"


def test_no_rows_cannot_tell() -> None:
    assert paired("classify", [], [], [], ("a", "b"))["accuracy"]["better"] == "cannot tell"


@pytest.mark.parametrize(("only_first", "only_second"), [(0, 5), (3, 9), (40, 60), (7, 7), (500, 600)])
def test_mcnemar_equals_the_binomial_test(only_first: int, only_second: int) -> None:
    stats = pytest.importorskip("scipy.stats")
    first = np.array([True] * only_first + [False] * only_second + [True] * 30)
    second = np.array([False] * only_first + [True] * only_second + [True] * 30)
    expected = stats.binomtest(only_first, only_first + only_second).pvalue
    tolerance = 0.02 if only_first + only_second > 1000 else 1e-9
    assert mcnemar(first, second) == pytest.approx(expected, rel=tolerance)


def test_answers_that_change_sides_give_the_sign_tests_p() -> None:
    rng = np.random.default_rng(8)
    for gain in (0.02, 0.08):
        first = rng.random(120) < 0.7
        second = np.where(rng.random(120) < 0.25, rng.random(120) < 0.7 + 4 * gain, first)
        both = tabulate("classify", ["a"] * 240, [*answers(first), *answers(second)], ("a", "b"))
        found = swapped(both, np.arange(120), ["accuracy"], resamples=20_000, seed=0)["accuracy"]
        assert found == pytest.approx(mcnemar(first, second), abs=0.012)


def test_a_claim_of_the_bootstrap_alone_is_not_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(3)
    claims = {0: 0, 10**9: 0}
    for most in claims:
        monkeypatch.setattr("luthier.evaluate.compare._SWAPPED", most)
        for trial in range(40):
            targets = rng.choice(LABELS, 60, p=(0.6, 0.2, 0.1, 0.1)).tolist()
            one, two = scored(rng, targets, LABELS, 1.0), scored(rng, targets, LABELS, 1.0)
            row = paired("classify", targets, one, two, LABELS, resamples=200, seed=trial, metrics=["macro_f1"])["macro_f1"]
            claims[most] += row["better"] != "cannot tell"
            assert row["p"] is not None and (row["better"] == "cannot tell" or row["p"] <= 0.05 or most == 0)
    assert claims[10**9] <= 6

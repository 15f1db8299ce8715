"""Intervals: right in coverage, wider where rows come in groups, honest at the ends, fast and small on large tables."""

from __future__ import annotations

import time
import tracemalloc

import numpy as np
import pytest
from test_evaluate_metrics import LABELS, rows

from luthier.base.records import Prediction
from luthier.evaluate import intervals, metrics
from luthier.evaluate.intervals import (
    bootstrap,
    evaluate_with_intervals,
    percentile_interval,
    resample_weights,
    unit_codes,
)
from luthier.evaluate.tables import tabulate


def test_values_are_those_of_the_metrics_and_lie_inside() -> None:
    targets, predictions = rows(3, 200)
    found = evaluate_with_intervals("classify", targets, predictions, LABELS, resamples=300, seed=1)
    plain = metrics.classification(targets, predictions, LABELS)
    assert {name: row["value"] for name, row in found.items()} == plain
    for name, row in found.items():
        assert row["low"] <= row["high"], name
        if name != "ece":  # resampling adds noise to each bin, so that this one is biased upwards
            assert row["low"] <= row["value"] <= row["high"], name


def test_same_seed_same_interval() -> None:
    targets, predictions = rows(3, 80)
    one, two, other = (
        evaluate_with_intervals("classify", targets, predictions, LABELS, resamples=200, seed=seed)
        for seed in (5, 5, 6)
    )
    assert one == two and one != other


def test_a_resample_is_the_metric_of_the_drawn_rows() -> None:
    targets, predictions = rows(4, 40)
    table = tabulate("classify", targets, predictions, LABELS)
    weights = next(resample_weights(unit_codes(None, 40), resamples=20, seed=0))
    measured = table.measure(weights)
    for times, values in zip(weights, measured, strict=True):
        drawn = np.repeat(np.arange(40), times.astype(int))
        plain = metrics.classification([targets[i] for i in drawn], [predictions[i] for i in drawn], LABELS)
        for name, value in zip(table.names, values, strict=True):
            if plain[name] is None:
                assert np.isnan(value), name
            else:
                assert value == pytest.approx(plain[name], abs=1e-9), name


def test_a_generated_resample_is_the_metric_of_the_drawn_rows() -> None:
    rng = np.random.default_rng(0)
    targets = [" ".join(rng.choice(["a", "red", "cat", "sat", "7"], 5)) for _ in range(30)]
    predictions = [
        Prediction(
            text=None if i % 5 == 0 else " ".join(rng.choice(["a", "red", "cat", "sat", "7"], 5)),
            finish="stop" if i % 3 else "length",
            measured={"nll_sum": float(rng.random() * 9), "token_count": 5.0},
        )
        for i in range(30)
    ]
    table = tabulate("generate", targets, predictions, ())
    weights = next(resample_weights(unit_codes(None, 30), resamples=10, seed=0))
    for times, values in zip(weights, table.measure(weights), strict=True):
        drawn = np.repeat(np.arange(30), times.astype(int))
        plain = metrics.generation([targets[i] for i in drawn], [predictions[i] for i in drawn])
        assert values == pytest.approx([plain[name] for name in table.names], abs=1e-9)


def test_chunks_do_not_change_the_draws(monkeypatch: pytest.MonkeyPatch) -> None:
    units = unit_codes(["a", "a", "b", None, None], 5)
    whole = np.concatenate(list(resample_weights(units, resamples=50, seed=2)))
    monkeypatch.setattr(intervals, "_CHUNK", 15)
    assert (np.concatenate(list(resample_weights(units, resamples=50, seed=2, cut=20))) == whole).all()
    assert (whole[:, 0] == whole[:, 1]).all(), "rows of a group are drawn together"
    assert (whole[:, 0] + whole[:, 2] + whole[:, 3] + whole[:, 4] == 4).all()


def test_groups_make_the_interval_as_wide_as_their_number_says() -> None:
    rng = np.random.default_rng(1)
    luck = rng.random(40) < 0.7
    right = np.repeat(luck, 25)  # 40 customers whose 25 rows are all right or all wrong: 40 facts, not 1,000
    predictions = [Prediction(label="a" if r else "b") for r in right]
    groups = [f"customer {i // 25}" for i in range(1000)]
    by_row = evaluate_with_intervals("classify", ["a"] * 1000, predictions, ("a", "b"))["accuracy"]
    by_group = evaluate_with_intervals("classify", ["a"] * 1000, predictions, ("a", "b"), groups=groups)["accuracy"]
    ratio = (by_group["high"] - by_group["low"]) / (by_row["high"] - by_row["low"])
    assert 4 < ratio < 6, "the square root of 25"


def test_all_right_is_not_certain() -> None:
    scipy_stats = pytest.importorskip("scipy.stats")
    predictions = [Prediction(label="a", scores={"a": 0.9, "b": 0.1})] * 12 + [
        Prediction(label="b", scores={"a": 0.1, "b": 0.9})
    ] * 5
    found = evaluate_with_intervals("classify", ["a"] * 12 + ["b"] * 5, predictions, ("a", "b"))
    for name, count in (("accuracy", 17), ("recall[b]", 5), ("precision[a]", 12), ("roc_auc", 5)):
        exact = scipy_stats.binomtest(count, count).proportion_ci(0.95, "exact")
        assert found[name]["low"] == pytest.approx(exact.low), name
        assert found[name]["high"] == 1.0
    wrong = evaluate_with_intervals("classify", ["a"] * 9, [Prediction(label="b")] * 9, ("a", "b"))["accuracy"]
    assert wrong["low"] == 0.0 and wrong["high"] == pytest.approx(
        scipy_stats.binomtest(0, 9).proportion_ci(0.95, "exact").high
    )


def test_undefined_has_no_interval() -> None:
    found = evaluate_with_intervals("classify", ["a", "a"], [Prediction(label="a")] * 2, ("a", "b"))
    assert found["recall[b]"] == {"value": None, "low": None, "high": None}
    assert evaluate_with_intervals("classify", [], [], ("a", "b"))["accuracy"] == {
        "value": None,
        "low": None,
        "high": None,
    }
    assert percentile_interval(np.array([np.nan] * 990 + [0.5] * 10)) == (None, None)


def coverage(trials: int, count: int, *, seed: int) -> float:
    """Return the share of intervals that hold the accuracy of the process the rows came from."""
    rng = np.random.default_rng(seed)
    truth, hits = 0.7, 0
    right, wrong = Prediction(label="a"), Prediction(label="b")
    for trial in range(trials):
        predictions = [right if r else wrong for r in rng.random(count) < truth]
        row = evaluate_with_intervals("classify", ["a"] * count, predictions, ("a", "b"), resamples=300, seed=trial)[
            "accuracy"
        ]
        hits += row["low"] <= truth <= row["high"]
    return hits / trials


def test_the_interval_holds_the_truth_as_often_as_it_says() -> None:
    assert 0.91 <= coverage(200, 300, seed=1) <= 0.985, "three standard errors around 0.95 for 200 trials"


@pytest.mark.slow
def test_the_interval_holds_the_truth_as_often_as_it_says_over_many_trials() -> None:
    assert 0.93 <= coverage(2000, 300, seed=2) <= 0.97


def test_perplexity_interval_covers_rows_of_unequal_length() -> None:
    rng = np.random.default_rng(7)
    hits = 0
    for trial in range(100):
        tokens = rng.integers(1, 40, 200)
        nats = tokens * rng.gamma(4, 0.5, 200)
        predictions = [Prediction(measured={"nll_sum": s, "token_count": t}) for s, t in zip(nats, tokens, strict=True)]
        row = evaluate_with_intervals("generate", ["x"] * 200, predictions, (), resamples=300, seed=trial)["perplexity"]
        hits += row["low"] <= np.exp(2.0) <= row["high"]
    assert hits >= 88


@pytest.mark.slow
@pytest.mark.parametrize("classes", [2, 77])
def test_a_hundred_thousand_rows_are_fast_and_small(classes: int) -> None:
    rng = np.random.default_rng(0)
    labels = tuple(f"label {i}" for i in range(classes))
    codes = rng.integers(0, classes, 100_000)
    logits = rng.normal(size=(100_000, classes)) + 2 * (codes[:, None] == np.arange(classes))
    shares = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    predictions = [
        Prediction(label=labels[i], scores=dict(zip(labels, row, strict=True)))
        for i, row in zip(shares.argmax(1), shares.tolist(), strict=True)
    ]
    targets = [labels[i] for i in codes]
    tracemalloc.start()
    started = time.perf_counter()
    evaluate_with_intervals("classify", targets, predictions, labels, resamples=1000)
    seconds = time.perf_counter() - started
    peak_mb = tracemalloc.get_traced_memory()[1] / 1e6
    tracemalloc.stop()
    print(f"{classes} labels: {seconds:.1f} s, {peak_mb:.0f} MB")
    assert peak_mb < 500 and seconds < 60, "the machine may be busy; alone it takes under 20 s"


def test_roc_auc_of_large_tables_uses_fewer_resamples() -> None:
    targets, predictions = rows(0, 60)
    table = tabulate("classify", targets, predictions, LABELS)
    assert intervals.rank_resamples([table], 1000) == 1000

    class Large:
        rank_cost = 10**10

    assert intervals.rank_resamples([Large()], 1000) == intervals.MIN_RANK_RESAMPLES  # type: ignore[list-item]
    drawn = bootstrap([table], unit_codes(None, 60), resamples=500, seed=0)[0]
    assert drawn.shape == (500, len(table.names))


def test_threads_change_no_draw(monkeypatch: pytest.MonkeyPatch) -> None:
    targets, predictions = rows(5, 400)
    table = tabulate("classify", targets, predictions, LABELS)
    monkeypatch.setattr(intervals, "_CHUNK", 400 * 7)
    alone = bootstrap([table], unit_codes(None, 400), resamples=60, seed=1)[0]
    monkeypatch.setattr(intervals, "_MANY", 1)
    monkeypatch.setattr("os.cpu_count", lambda: 4)
    again = bootstrap([table], unit_codes(None, 400), resamples=60, seed=1)[0]
    assert np.array_equal(alone, again, equal_nan=True)


def test_few_draws_of_many_rows_give_the_spread(monkeypatch: pytest.MonkeyPatch) -> None:
    targets, predictions = rows(6, 2000)
    many = evaluate_with_intervals("classify", targets, predictions, LABELS, resamples=1000)["roc_auc"]
    monkeypatch.setattr(intervals, "_MANY", 1)
    monkeypatch.setattr(intervals, "_RANK_BUDGET", 1)
    few = evaluate_with_intervals("classify", targets, predictions, LABELS, resamples=1000)["roc_auc"]
    assert few["value"] == many["value"] and few["low"] != many["low"]
    wide = many["high"] - many["low"]
    assert abs(few["low"] - many["low"]) < 0.25 * wide and abs(few["high"] - many["high"]) < 0.25 * wide

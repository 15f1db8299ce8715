"""Metrics of scores against scikit-learn and SciPy, as they stand and under the weights of a resample; the simple rivals."""

from __future__ import annotations

import numpy as np
import pytest

from luthier.base.records import Example, Prediction, Source
from luthier.base.scales import scale_of, step_of
from luthier.evaluate import metrics
from luthier.evaluate.baselines import RIVALS
from luthier.evaluate.intervals import evaluate_with_intervals
from luthier.evaluate.mistakes.scores import of_scores
from luthier.evaluate.tables import tabulate

TRAITS = ("Cohesion", "Grammar")


def rows(seed: int, count: int = 70) -> tuple[list[dict[str, float]], list[Prediction]]:
    """Return scores in half points, some missing, and predictions near them."""
    rng = np.random.default_rng(seed)
    targets, predictions = [], []
    for _ in range(count):
        wanted = {trait: float(rng.integers(2, 11)) / 2 for trait in TRAITS}
        given = {trait: float(np.clip(v + rng.normal(0, 0.7), 1, 5)) for trait, v in wanted.items()}
        if rng.random() < 0.2:
            del wanted["Grammar"]
        targets.append(wanted)
        predictions.append(Prediction(grades=given))
    return targets, predictions


def reference(targets: list[dict[str, float]], predictions: list[Prediction]) -> dict[str, float]:
    """Return what scikit-learn and SciPy say of rounded and of raw scores."""
    from scipy import stats
    from sklearn import metrics as sk

    expected: dict[str, float] = {}
    for trait in TRAITS:
        pairs = [(t[trait], p.grades[trait]) for t, p in zip(targets, predictions, strict=True) if trait in t]
        wanted, given = (np.array(part) for part in zip(*pairs, strict=True))
        one, two = (np.floor(part * 2 + 0.5).astype(int) for part in (wanted, given))
        expected |= {
            f"qwk[{trait}]": sk.cohen_kappa_score(one, two, weights="quadratic", labels=range(2, 11)),
            f"rmse[{trait}]": sk.root_mean_squared_error(wanted, given),
            f"bias[{trait}]": float(np.mean(given - wanted)),
            f"mae[{trait}]": sk.mean_absolute_error(wanted, given),
            f"pearson[{trait}]": stats.pearsonr(wanted, given).statistic,
            f"spearman[{trait}]": stats.spearmanr(wanted, given).statistic,
            f"exact[{trait}]": sk.accuracy_score(one, two),
            f"adjacent[{trait}]": float(np.mean(np.abs(one - two) <= 1)),
        }
    kinds = {name.partition("[")[0] for name in expected}
    return expected | {kind: float(np.mean([expected[f"{kind}[{trait}]"] for trait in TRAITS])) for kind in kinds}


@pytest.mark.parametrize("seed", range(6))
def test_metrics_equal_the_references(seed: int) -> None:
    targets, predictions = rows(seed)
    found = metrics.measured("grade", targets, predictions, TRAITS)
    expected = reference(targets, predictions)
    assert set(found) == set(expected) == set(metrics.names("grade", TRAITS))
    for name, value in expected.items():
        assert found[name] == pytest.approx(value, abs=1e-10), name


def test_weights_are_rows_repeated() -> None:
    targets, predictions = rows(3)
    times = np.random.default_rng(0).integers(0, 3, size=len(targets))
    table = tabulate("grade", targets, predictions, TRAITS)
    weighted = dict(zip(table.names, table.measure(times[None].astype(float))[0], strict=True))
    drawn = np.repeat(np.arange(len(targets)), times)
    for name, value in reference([targets[i] for i in drawn], [predictions[i] for i in drawn]).items():
        assert weighted[name] == pytest.approx(value, abs=1e-10), name


def test_intervals_hold_every_metric() -> None:
    for row in evaluate_with_intervals("grade", *rows(0), TRAITS, resamples=200).values():
        assert row["low"] <= row["value"] <= row["high"]


def test_corners() -> None:
    same = [{"a": 3.0}] * 4
    found = metrics.measured("grade", same, [Prediction(grades={"a": 3.0})] * 4, ("a",))
    assert found["qwk"] is None and found["pearson"] is None, "nothing varies, so nothing can agree beyond chance"
    assert found["exact"] == 1.0 and found["rmse"] == 0.0
    nobody = metrics.measured("grade", [{"a": 1.0}, {"a": 2.0}], [Prediction(grades={})] * 2, ("a", "b"))
    assert set(nobody.values()) == {None}
    constant = metrics.measured("grade", [{"a": 1.0}, {"a": 2.0}], [Prediction(grades={"a": 1.5})] * 2, ("a",))
    assert constant["qwk"] == 0.0, "one score for all is as good as chance"


@pytest.mark.parametrize(
    ("scores", "scale"),
    [([1, 2, 5], [1, 5, 1.0]), ([1, 1.5, 4], [1, 4, 0.5]), ([0, 10, 30], [0, 30, 10.0]), ([2, 2], [2, 2, 1.0]),
     ([0.0, 0.137, 1.0], [0.0, 1.0, 0.1])],
)  # fmt: skip
def test_scales_are_read_off_scores(scores, scale) -> None:
    assert scale_of(scores) == scale


def test_a_step_is_the_largest_on_which_all_scores_lie() -> None:
    assert step_of([1.0, 1.25, 3.0]) == 0.25
    assert step_of([]) == 1.0


def examples(count: int = 60) -> list[Example]:
    rng = np.random.default_rng(1)
    found = []
    for i in range(count):
        size = int(rng.integers(5, 60))
        words = ["good" if size > 30 else "bad", *(f"w{rng.integers(40)}" for _ in range(size))]
        target = {"a": float(np.clip(round(size / 12), 1, 5)), **({"b": 2.0 + i % 2} if i % 3 else {})}
        found.append(Example(f"x{i}", {"text": " ".join(words)}, target, Source("a.csv", i + 2)))
    return found


def test_rivals_answer_every_trait_within_the_scores_of_train() -> None:
    rows_ = examples()
    found = RIVALS["grade"](rows_[:40], rows_[40:], ("a", "b"))
    assert set(found) == {"mean", "length", "tfidf_ridge"}
    values = {
        name: metrics.measured("grade", [e.target for e in rows_[40:]], p, ("a", "b")) for name, p in found.items()
    }
    assert values["mean"]["qwk[a]"] == 0.0
    assert values["length"]["qwk[a]"] > 0.8, "the score is the length"
    for predictions in found.values():
        assert all(set(p.grades) == {"a", "b"} and 1 <= p.grades["a"] <= 5 for p in predictions)


def test_evidence_counts_every_score_once_and_names_the_worst_places() -> None:
    rows_ = examples(20)
    given = [Prediction(grades={"a": e.target["a"], "b": 2.0}) for e in rows_]
    given[3] = Prediction(grades={"a": 1.0 if rows_[3].target["a"] > 2 else 5.0, "b": 2.0})
    found = of_scores(rows_, given, ("a", "b"), 5)
    matrix = np.array(found["agreement"]["a"]["matrix"])
    assert matrix.sum() == 20 and np.trace(matrix) == 19
    assert np.array(found["agreement"]["b"]["matrix"]).sum() == sum("b" in e.target for e in rows_)
    assert found["mistakes"][0]["line"] == rows_[3].source.line
    assert "a " in found["mistakes"][0]["target"]

"""Metrics of sets of labels against scikit-learn, as they stand and under the weights of a resample."""

from __future__ import annotations

import warnings

import numpy as np
import pytest

from luthier.base.records import Prediction
from luthier.evaluate import curves, metrics
from luthier.evaluate.intervals import evaluate_with_intervals, interval_of, unit_codes
from luthier.evaluate.tables import tabulate

LABELS = ("late", "lost", "refund", "rude")


def rows(seed: int, count: int = 80) -> tuple[list[list[str]], list[Prediction]]:
    """Return sets and predictions that lean to them, with equal scores and empty sets among them."""
    rng = np.random.default_rng(seed)
    truth = rng.random((count, 4)) < np.array([0.5, 0.3, 0.1, 0.05])
    scores = np.round(np.clip(0.4 * truth + 0.6 * rng.random((count, 4)), 0, 1), 1)
    given = scores >= 0.5
    targets = [[label for label, t in zip(LABELS, row, strict=True) if t] for row in truth]
    predictions = [
        Prediction(
            labels=tuple(label for label, g in zip(LABELS, row, strict=True) if g),
            scores=dict(zip(LABELS, score.tolist(), strict=True)),
        )
        for row, score in zip(given, scores, strict=True)
    ]
    return targets, predictions


def reference(targets: list[list[str]], predictions: list[Prediction]) -> dict[str, float]:
    """Return what scikit-learn says."""
    from sklearn import metrics as sk

    truth = np.array([[label in t for label in LABELS] for t in targets])
    given = np.array([[label in p.labels for label in LABELS] for p in predictions])
    scores = np.array([[p.scores[label] for label in LABELS] for p in predictions])
    there = np.flatnonzero(truth.any(0))
    expected: dict[str, float] = {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for mean in ("micro", "macro", "weighted"):
            p, r, f, _ = sk.precision_recall_fscore_support(truth, given, labels=there, average=mean, zero_division=0)
            expected |= {f"{mean}_precision": p, f"{mean}_recall": r, f"{mean}_f1": f}
        # Over all labels: one that only the model gives counts against it.
        p, r, f, _ = sk.precision_recall_fscore_support(truth, given, average="micro", zero_division=0)
        expected |= {"micro_precision": p, "micro_recall": r, "micro_f1": f}
        expected["samples_f1"] = sk.f1_score(truth, given, average="samples", zero_division=1)
        expected["exact_match"] = sk.accuracy_score(truth, given)
        expected["hamming_loss"] = sk.hamming_loss(truth, given)
        expected["map"] = sk.average_precision_score(truth[:, there], scores[:, there], average="macro")
        both = [k for k in there if not truth[:, k].all()]
        expected["roc_auc"] = sk.roc_auc_score(truth[:, both], scores[:, both], average="macro")
        expected["brier"] = sk.brier_score_loss(truth.ravel(), scores.ravel())
        expected["ece"] = calibration_error(truth.ravel().tolist(), scores.ravel().tolist())
        p, r, f, _ = sk.precision_recall_fscore_support(truth, given, average=None, zero_division=0)
        expected |= {f"average_precision[{LABELS[k]}]": sk.average_precision_score(truth[:, k], scores[:, k]) for k in there}
        expected |= {f"roc_auc[{LABELS[k]}]": sk.roc_auc_score(truth[:, k], scores[:, k]) for k in both}
        for k in there:
            expected |= {f"f1[{LABELS[k]}]": f[k], f"precision[{LABELS[k]}]": p[k], f"recall[{LABELS[k]}]": r[k]}
    del expected["weighted_precision"], expected["weighted_recall"]
    return expected


def calibration_error(truth: list[bool], said: list[float], bins: int = 15) -> float:
    """Return the mean distance, over (0, 1/15], (1/15, 2/15] ..., between what was said and how often it came, one forecast after the other."""
    sums: dict[int, float] = {}
    for came, share in zip(truth, said, strict=True):
        place = next(b for b in range(bins) if share <= (b + 1) / bins or b == bins - 1)
        sums[place] = sums.get(place, 0.0) + came - share
    return sum(abs(total) for total in sums.values()) / len(said)


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("count", [7, 80])
def test_metrics_equal_scikit_learns(seed: int, count: int) -> None:
    targets, predictions = rows(seed, count)
    found = metrics.measured("multilabel", targets, predictions, LABELS)
    for name, value in reference(targets, predictions).items():
        assert found[name] == pytest.approx(value, abs=1e-12), name


def test_weights_are_rows_repeated() -> None:
    targets, predictions = rows(3, 40)
    times = np.random.default_rng(0).integers(0, 3, size=40)
    table = tabulate("multilabel", targets, predictions, LABELS)
    weighted = dict(zip(table.names, table.measure(times[None].astype(float))[0], strict=True))
    drawn = np.repeat(np.arange(40), times)
    expected = reference([targets[i] for i in drawn], [predictions[i] for i in drawn])
    for name, value in expected.items():
        assert weighted[name] == pytest.approx(value, abs=1e-12), name


def test_empty_sets_and_unknown_labels() -> None:
    nothing = [Prediction(labels=(), scores=dict.fromkeys(LABELS, 0.1))] * 3
    found = metrics.measured("multilabel", [[], [], []], nothing, LABELS)
    assert found["exact_match"] == found["samples_f1"] == 1.0
    assert found["micro_f1"] is None and found["map"] is None, "there is nothing to find"
    found = metrics.measured("multilabel", [["new"], [], []], nothing, LABELS)
    assert found["recall[new]"] == found["micro_recall"] == 0.0, "a label that the head lacks is always missed"


def test_intervals_hold_every_metric() -> None:
    targets, predictions = rows(0)
    found = evaluate_with_intervals("multilabel", targets, predictions, LABELS, resamples=200)
    assert set(found) == set(metrics.names("multilabel", LABELS))
    for name, row in found.items():
        assert row["low"] <= row["value"] <= row["high"], name


def test_one_ranked_metric_asked_for_alone_is_the_same() -> None:
    targets, predictions = rows(1, 90)
    table = tabulate("multilabel", targets, predictions, LABELS)
    found = evaluate_with_intervals("multilabel", targets, predictions, LABELS, resamples=100)
    for name in ("map", "roc_auc", f"average_precision[{LABELS[0]}]", "micro_f1"):
        assert interval_of(table, name, unit_codes(None, 90), resamples=100) == pytest.approx(found[name]), name


def test_the_reliability_diagram_is_made_of_every_label_of_every_row() -> None:
    targets, predictions = rows(2, 60)
    bins = curves.set_curves(targets, predictions, LABELS)["reliability"]["bins"]
    assert sum(one["count"] for one in bins) == 60 * len(LABELS)
    away = sum(one["count"] * abs(one["accuracy"] - one["confidence"]) for one in bins if one["count"]) / (60 * len(LABELS))
    assert away == pytest.approx(metrics.measured("multilabel", targets, predictions, LABELS)["ece"])

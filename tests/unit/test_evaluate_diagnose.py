"""The verdict on the fit, on curves made by hand: what each row says at each evaluation is known."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from luthier.base.records import Example, Prediction, Source
from luthier.evaluate.diagnosis.curve_signs import proportion, read
from luthier.evaluate.diagnosis.diagnose import Context, diagnose
from luthier.evaluate.rowwise import rowwise

STEPS = (0, 20, 40, 60, 80, 100)


def side(rows: int, right: float, loss: float, *, rng: np.random.Generator, sure_wrong: float = 0.0) -> dict[str, list]:
    """Return rows of which a share is right; the sure quarter is wrong as often as told, the others make up for it."""
    sure = rows // 4
    wrong = round(rows * (1 - right))
    among_sure = min(wrong, round(sure * sure_wrong))
    hits = np.ones(rows, dtype=int)
    hits[:among_sure] = 0
    hits[sure : sure + wrong - among_sure] = 0
    confidence = np.concatenate([np.full(sure, 0.95), rng.uniform(0.3, 0.8, rows - sure)])
    losses = np.clip(rng.normal(loss, loss / 2, rows), 0.0, None)
    losses *= loss / losses.mean()
    return {"loss": losses.tolist(), "right": hits.tolist(), "confidence": confidence.tolist()}


def run_of(
    valid_right: Sequence[float], valid_loss: Sequence[float], train_right: Sequence[float], train_loss: Sequence[float],
    *, rows: int = 300, sure_wrong: float = 0.0,
) -> list[dict[str, Any]]:  # fmt: skip
    found = []
    for i, step in enumerate(STEPS[: len(valid_loss)]):
        sides = {
            # The same seed at every step, so that the rows of two evaluations go together as they do in a run.
            "valid": side(rows, valid_right[i], valid_loss[i], rng=np.random.default_rng(1), sure_wrong=sure_wrong),
            "train": side(rows, train_right[i], train_loss[i], rng=np.random.default_rng(2)),
        }
        found.append({"step": step, "score": valid_right[i], "rows": sides})
    return found


FITS = ((0.3, 0.8, 0.88, 0.9, 0.91, 0.91), (1.8, 0.7, 0.4, 0.33, 0.31, 0.31),
        (0.3, 0.82, 0.92, 0.95, 0.96, 0.96), (1.8, 0.6, 0.25, 0.17, 0.14, 0.13))  # fmt: skip
OVER = ((0.3, 0.8, 0.86, 0.86, 0.85, 0.85), (1.8, 0.6, 0.5, 0.6, 0.75, 0.9),
        (0.3, 0.85, 0.98, 1.0, 1.0, 1.0), (1.8, 0.5, 0.1, 0.02, 0.004, 0.001))  # fmt: skip
UNDER = ((0.3, 0.35, 0.4, 0.42, 0.43, 0.44), (1.8, 1.75, 1.7, 1.67, 1.65, 1.64),
         (0.3, 0.36, 0.4, 0.43, 0.44, 0.44), (1.8, 1.75, 1.7, 1.66, 1.64, 1.63))  # fmt: skip
FEW = ((0.3, 0.6, 0.65, 0.68, 0.69, 0.69), (1.8, 1.2, 1.05, 0.98, 0.96, 0.96),
       (0.3, 0.9, 0.98, 1.0, 1.0, 1.0), (1.8, 0.5, 0.2, 0.1, 0.08, 0.07))  # fmt: skip
NOISY = ((0.3, 0.68, 0.72, 0.73, 0.72, 0.71), (1.8, 1.0, 0.92, 0.93, 0.96, 0.98),
         (0.3, 0.7, 0.75, 0.8, 0.83, 0.84), (1.8, 1.0, 0.85, 0.75, 0.68, 0.65))  # fmt: skip
ASIDE = Context(rows=800, labels=6, simple=0.7)


@pytest.mark.parametrize(
    ("curves", "sure_wrong", "context", "verdict", "since"),
    [
        (FITS, 0.0, ASIDE, "fits", None),
        (OVER, 0.0, ASIDE, "overfits", 40),
        (UNDER, 0.3, ASIDE, "underfits", None),
        (FEW, 0.0, Context(rows=48, labels=6, simple=0.6), "data-limited", None),
        (NOISY, 0.25, Context(rows=800, labels=6, simple=0.65, label_errors={"sure_wrong": 0.22, "estimated_share": 0.25}), "noisy", None),
    ],
)  # fmt: skip
def test_each_verdict(curves, sure_wrong, context, verdict, since) -> None:
    found = diagnose(run_of(*curves, sure_wrong=sure_wrong), context)
    assert (found.verdict, found.from_step) == (verdict, since), found
    assert found.evidence
    assert found.next
    assert found.as_dict()["figures"]["valid_rows"] == 300


def test_smoothing_is_advised_only_where_a_task_takes_it() -> None:
    wrong = {"sure_wrong": 0.22, "estimated_share": 0.25}
    for curves, sure_wrong, context in ((OVER, 0.0, ASIDE), (NOISY, 0.25, Context(rows=800, labels=6, simple=0.65, label_errors=wrong))):
        rows = run_of(*curves, sure_wrong=sure_wrong)
        told, bare = ("\n".join(diagnose(rows, replace(context, smooths=there)).next) for there in (True, False))
        assert "train.label_smoothing" in told and "label_smoothing" not in bare
        assert ("train.weight_decay, train.dropout" in bare) or ("Until then fewer train.epochs keep" in bare)


def test_few_validation_rows_cannot_tell_but_a_grave_sign_can_be_seen() -> None:
    assert diagnose(run_of(*FITS, rows=16), ASIDE).verdict == "cannot tell"
    found = diagnose(run_of(*FITS, rows=30), ASIDE)
    assert found.verdict == "cannot tell"
    assert "30 validation rows are too few" in found.evidence[0]
    assert diagnose(run_of(*OVER, rows=30), ASIDE).verdict == "overfits"
    assert diagnose(run_of(*UNDER, rows=30), ASIDE).verdict == "underfits"


def test_without_rows_nothing_is_claimed() -> None:
    assert diagnose([], ASIDE).verdict == "cannot tell"
    assert "no validation rows" in diagnose([], ASIDE).evidence[0]
    bare = [{"step": e["step"], "score": e["score"]} for e in run_of(*FITS)]
    assert "watched_rows" in diagnose(bare, ASIDE).next[0]


def test_a_rise_within_chance_or_of_no_weight_is_no_overfitting() -> None:
    slight = (FITS[0], (1.8, 0.7, 0.4, 0.31, 0.315, 0.32), *FITS[2:])
    assert diagnose(run_of(*slight), ASIDE).verdict == "fits"
    noise = run_of(*FITS)
    rng = np.random.default_rng(3)
    # The mean rises by a quarter, but through a few rows that could as well have been others.
    last = np.asarray(noise[-1]["rows"]["valid"]["loss"])
    last[rng.integers(0, 300, 2)] += 12.0
    noise[-1]["rows"]["valid"]["loss"] = last.tolist()
    assert diagnose(noise, ASIDE).verdict == "fits"


def test_hard_rows_are_not_taken_for_wrong_labels() -> None:
    hard = ((0.3, 0.6, 0.68, 0.7, 0.7, 0.7), (1.8, 1.0, 0.85, 0.8, 0.79, 0.79),
            (0.3, 0.65, 0.72, 0.75, 0.77, 0.78), (1.8, 0.95, 0.78, 0.7, 0.66, 0.65))  # fmt: skip
    found = diagnose(run_of(*hard, sure_wrong=0.02), Context(rows=800, labels=6, simple=0.66))
    assert found.verdict == "fits"
    # The data room sees no contradiction where the run does: then a confident mistake is the model's own.
    doubt = Context(rows=800, labels=6, simple=0.66, label_errors={"sure_wrong": 0.01})
    assert diagnose(run_of(*NOISY, sure_wrong=0.25), doubt).verdict != "noisy"


def test_a_flat_learning_curve_is_no_want_of_data() -> None:
    flat = Context(rows=48, labels=6, simple=0.6, gain={"value": 0.001, "low": 0.0, "high": 0.004})
    assert diagnose(run_of(*FEW), flat).verdict == "fits"


def test_a_run_that_stopped_while_the_loss_still_fell() -> None:
    short = ((0.3, 0.5, 0.6, 0.7, 0.78, 0.84), (1.8, 1.5, 1.2, 0.95, 0.7, 0.5),
             (0.3, 0.5, 0.6, 0.7, 0.79, 0.85), (1.8, 1.5, 1.2, 0.94, 0.68, 0.47))  # fmt: skip
    found = diagnose(run_of(*short), ASIDE)
    assert found.verdict == "underfits"
    assert any("still falling" in sentence for sentence in found.evidence)


def test_a_loss_that_rises_asks_for_a_lower_rate() -> None:
    broken = ((0.3, 0.2, 0.2, 0.2, 0.2, 0.2), (1.8, 2.0, 2.1, 2.1, 2.1, 2.1),
              (0.3, 0.2, 0.2, 0.2, 0.2, 0.2), (1.8, 2.0, 2.1, 2.1, 2.1, 2.1))  # fmt: skip
    found = diagnose(run_of(*broken, sure_wrong=0.8), ASIDE)
    assert found.verdict == "underfits"
    assert "Lower train.rate" in found.next[0]


def test_losses_alone_tell_what_they_can() -> None:
    """A generator has no labels: the losses of rows still say whether it overfits."""
    bare = [{**e, "rows": {s: {"loss": r["loss"]} for s, r in e["rows"].items()}} for e in run_of(*OVER)]
    found = diagnose(bare, Context(rows=500))
    assert (found.verdict, found.from_step) == ("overfits", 40)
    bare = [{**e, "rows": {s: {"loss": r["loss"]} for s, r in e["rows"].items()}} for e in run_of(*FITS)]
    assert diagnose(bare, Context(rows=500)).verdict in ("fits", "data-limited")


def test_paired_errors_are_those_of_the_differences() -> None:
    evaluations = run_of(*OVER)
    signs = read(evaluations)
    assert signs is not None
    first, last = (np.asarray(evaluations[i]["rows"]["valid"]["loss"]) for i in (2, 5))
    assert signs.rise.value == pytest.approx((last - first).mean())
    assert signs.rise.error == pytest.approx((last - first).std(ddof=1) / math.sqrt(300))
    assert proportion(np.ones(5)).error > 0.1


def test_rows_of_predictions() -> None:
    rows = [Example(f"e{i}", {"text": "x"}, "ab"[i % 2], Source("f.csv", i)) for i in range(2)]
    said = [Prediction(label="a", scores={"a": 0.8, "b": 0.2}), Prediction(label="a", scores={"a": 0.6, "b": 0.4})]
    found = rowwise(rows, said)
    assert found == {
        "loss": [round(-math.log(0.8), 5), round(-math.log(0.4), 5)], "right": [1, 0], "confidence": [0.8, 0.6],
    }  # fmt: skip
    weighed = [Prediction(measured={"nll_sum": 6.0, "token_count": 3}), Prediction(measured={})]
    assert rowwise(rows, weighed) == {"loss": [2.0]}
    assert rowwise(rows, [Prediction(text="x"), Prediction(text="y")]) is None


def test_a_head_fitted_in_one_go_has_not_been_left_untouched() -> None:
    once = [run_of(*FITS)[-1]]
    assert diagnose(once, ASIDE).verdict == "fits"
    assert diagnose([run_of(*UNDER)[-1]], ASIDE).verdict == "underfits"


def test_wrong_labels_that_a_fitted_head_already_copes_with_are_no_underfitting() -> None:
    still = ((0.7, 0.7, 0.7, 0.7, 0.7, 0.7), (0.95, 0.94, 0.94, 0.94, 0.94, 0.94),
             (0.72, 0.72, 0.72, 0.72, 0.72, 0.72), (0.88, 0.875, 0.875, 0.87, 0.87, 0.87))  # fmt: skip
    known = Context(rows=600, labels=3, simple=0.69, label_errors={"sure_wrong": 0.25, "estimated_share": 0.28})
    assert diagnose(run_of(*still, sure_wrong=0.25), known).verdict == "noisy"
    clean = Context(rows=600, labels=3, simple=0.69, label_errors={"sure_wrong": 0.02, "estimated_share": 0.1})
    assert diagnose(run_of(*still, sure_wrong=0.02), clean).verdict == "underfits"


def test_sure_mistakes_of_a_model_with_few_rows_are_want_of_data() -> None:
    """A weak model is sure of wrong things too: with few rows, all known by heart, wrong labels cannot be told from that."""
    errors = {"sure_wrong": 0.2, "estimated_share": 0.3}
    few, many = Context(rows=60, labels=2, simple=0.6, label_errors=errors), Context(rows=900, labels=2, simple=0.6, label_errors=errors)
    heart = ((0.65, 0.67, 0.68, 0.69, 0.69, 0.69), (0.7, 0.66, 0.65, 0.64, 0.64, 0.64),
             (0.99, 1.0, 1.0, 1.0, 1.0, 1.0), (0.2, 0.1, 0.05, 0.03, 0.02, 0.02))  # fmt: skip
    assert diagnose(run_of(*heart, sure_wrong=0.2), few).verdict == "data-limited"
    found = diagnose(run_of(*heart, sure_wrong=0.2), many)
    assert (found.verdict, found.also) == ("noisy", ("data-limited",))


def test_next_to_nothing_and_little_learnt() -> None:
    """Two labels and no simple model to compare with: the loss of guessing by frequency is the measure."""
    nothing = ((0.5, 0.52, 0.55, 0.55, 0.55, 0.56), (0.694, 0.69, 0.685, 0.68, 0.676, 0.674),
               (0.5, 0.52, 0.55, 0.55, 0.56, 0.57), (0.694, 0.69, 0.684, 0.68, 0.675, 0.672))  # fmt: skip
    known = Context(rows=900, labels=2, simple=0.5, null_loss=0.693, label_errors={"sure_wrong": 0.3})
    found = diagnose(run_of(*nothing, sure_wrong=0.4), known)
    assert found.verdict == "underfits"
    assert any("3% is gone" in sentence for sentence in found.evidence)
    little = (nothing[0], (0.694, 0.66, 0.64, 0.62, 0.61, 0.6), nothing[2], (0.694, 0.66, 0.63, 0.61, 0.6, 0.59))
    assert diagnose(run_of(*little, sure_wrong=0.02), known).verdict == "underfits"
    assert diagnose(run_of(*little, sure_wrong=0.3), known).verdict == "noisy"


def test_a_start_that_knows_nothing_says_nothing_of_the_labels() -> None:
    """The validation loss of a network that guesses may be its least; its sure quarter is wrong because it knows nothing."""
    curves = ((0.5, 0.75, 0.77, 0.76, 0.75, 0.75), (0.7, 0.72, 0.95, 1.2, 1.6, 1.7),
              (0.5, 0.92, 1.0, 1.0, 1.0, 1.0), (0.7, 0.2, 0.05, 0.01, 0.001, 0.001))  # fmt: skip
    found = run_of(*curves, sure_wrong=0.09)
    found[0]["rows"]["valid"] = side(300, 0.5, 0.7, rng=np.random.default_rng(1), sure_wrong=0.5)
    known = Context(rows=250, labels=2, simple=0.62, label_errors={"sure_wrong": 0.22, "estimated_share": 0.33})
    assert diagnose(found, known).verdict == "overfits"

"""Metrics of preferences against tables made by hand and scikit-learn; the rivals; what the report shows."""

from __future__ import annotations

import math
import random

import pytest
from sklearn.metrics import roc_auc_score

from luthier.base.records import Example, Prediction, Source
from luthier.evaluate import baselines, metrics
from luthier.evaluate.intervals import evaluate_with_intervals
from luthier.evaluate.mistakes.pairs import evidence
from luthier.evaluate.report.page import page
from luthier.evaluate.rewards import with_reference
from luthier.evaluate.rowwise import rowwise
from luthier.evaluate.tables import tabulate

PAIR = {"chosen": "yes, gladly", "rejected": "no"}


def pair(better: float, worse: float, *, refers: bool = True, text: str | None = None) -> Prediction:
    """A pair of answers of 4 and 2 tokens with these log-likelihoods."""
    measured = {"nll_sum": -better, "token_count": 4.0, "rejected_nll_sum": -worse, "rejected_token_count": 2.0}
    return Prediction(
        measured=measured | {"beta": 0.5, "refers": float(refers)}, text=text, finish="stop" if text else None
    )


NOW = [pair(-4.0, -6.0, text="yes"), pair(-8.0, -5.0), pair(-6.0, -6.0)]
BEFORE = [pair(-6.0, -5.0), pair(-7.0, -5.0), pair(-6.0, -6.0)]


def test_pairs_by_hand() -> None:
    found = metrics.measured("prefer", [PAIR] * 3, with_reference(NOW, BEFORE), ())
    # Log-ratios: +2 and -1, -1 and 0, 0 and 0; so rewards lead by 1.5, -0.5 and 0.
    assert found["preference_accuracy"] == pytest.approx((1 + 0 + 0.5) / 3)
    assert found["margin_grew"] == pytest.approx(0.5)
    assert found["reward_margin"] == pytest.approx((1.5 - 0.5 + 0) / 3)
    losses = [math.log(1 + math.exp(-m)) for m in (1.5, -0.5, 0.0)]
    assert found["preference_log_loss"] == pytest.approx(sum(losses) / 3)
    assert found["sign_accuracy"] == pytest.approx((1 + 1 + 0 + 0.5 + 0.5 + 0.5) / 6)
    # Token for token: -1 against -3, -2 against -2.5, -1.5 against -3.
    assert found["likelihood_accuracy"] == 1.0
    assert found["chosen_log_likelihood"] == pytest.approx(-6.0)
    assert found["rejected_log_likelihood"] == pytest.approx(-17 / 3)
    assert found["perplexity"] == pytest.approx(math.exp(18 / 12))
    assert found["length_ratio"] == pytest.approx(3 / 11)
    assert found["stopped"] == 1.0
    assert rowwise(rows([PAIR] * 3), with_reference(NOW, BEFORE)) == {"loss": pytest.approx(losses, abs=1e-5)}


def test_without_a_reference_rewards_are_unknown_or_mean_likelihoods() -> None:
    found = metrics.measured("prefer", [PAIR] * 3, NOW, ())
    assert found["preference_accuracy"] is None
    assert found["preference_log_loss"] is None
    assert found["margin_grew"] is None
    assert found["likelihood_accuracy"] == 1.0
    free = [pair(-4.0, -6.0, refers=False), pair(-16.0, -5.0, refers=False)]
    found = metrics.measured("prefer", [PAIR] * 2, free, ())
    assert found["preference_accuracy"] == 0.5
    assert found["reward_margin"] == pytest.approx(0.5 * ((-1 + 3) + (-4 + 2.5)) / 2)


def test_single_answers_are_ordered_as_scikit_learn_orders_them() -> None:
    rng = random.Random(0)
    targets = [{"completion": "x" * rng.randint(1, 9), "desirable": rng.random() < 0.4} for _ in range(60)]
    sums = [-float(rng.randint(1, 12)) for _ in targets]
    now = [Prediction(measured={"nll_sum": -s, "token_count": 1.0, "beta": 0.5, "refers": 1.0}) for s in sums]
    before = [Prediction(measured={"nll_sum": 5.0, "token_count": 1.0}) for _ in targets]
    found = metrics.measured("prefer", targets, with_reference(now, before), ())
    good = [t["desirable"] for t in targets]
    assert found["preference_accuracy"] == pytest.approx(roc_auc_score(good, sums))
    assert found["likelihood_accuracy"] == pytest.approx(roc_auc_score(good, sums))
    rewards = [0.5 * (s + 5) for s in sums]
    means = [
        sum(r for r, g in zip(rewards, good, strict=True) if g == kind) / good.count(kind) for kind in (True, False)
    ]
    assert found["reward_margin"] == pytest.approx(means[0] - means[1])
    signs = [0.5 if r == 0 else float((r > 0) == g) for r, g in zip(rewards, good, strict=True)]
    assert found["sign_accuracy"] == pytest.approx(sum(signs) / 60)
    spans = evaluate_with_intervals("prefer", targets, with_reference(now, before), (), resamples=200)
    low, high = spans["preference_accuracy"]["low"], spans["preference_accuracy"]["high"]
    assert low < found["preference_accuracy"] < high
    assert tabulate("prefer", targets, now, ()).rank_cost == 120


def rows(targets) -> list[Example]:
    return [
        Example(str(i), {"messages": [{"role": "user", "content": "may I?"}]}, t, Source("p.jsonl", i + 1),
                extra={"agreement": 1.0 if i else 2 / 3})
        for i, t in enumerate(targets)
    ]  # fmt: skip


def test_rivals_prefer_by_length_or_by_the_untuned_likelihood() -> None:
    other = {"chosen": "no", "rejected": "certainly not"}
    targets = [PAIR, other, {"chosen": "ab", "rejected": "cd"}]
    found = baselines.RIVALS["prefer"]([], rows(targets), ())
    value = {name: metrics.measured("prefer", targets, p, ())["preference_accuracy"] for name, p in found.items()}
    assert value == {"longer": 0.5, "shorter": 0.5}
    assert metrics.measured("prefer", targets, found["longer"], ())["reward_margin"] is None
    untuned = baselines.of_untuned("prefer", BEFORE)
    value = {name: metrics.measured("prefer", [PAIR] * 3, p, ())["preference_accuracy"] for name, p in untuned.items()}
    # By the token -1.5 > -2.5, -1.75 > -2.5, -1.5 > -3; as a whole -6 < -5, -7 < -5, -6 = -6.
    assert value == {"untuned": 1.0, "untuned_sum": pytest.approx(0.5 / 3)}


def test_the_report_shows_the_worst_pairs_and_what_the_order_follows() -> None:
    found = evidence(rows([PAIR] * 3), with_reference(NOW, BEFORE), 2)
    assert [p["line"] for p in found["pairs"]] == [2, 3]
    assert found["pairs"][0]["gain"] == pytest.approx(-1.0)
    assert found["by_agreement"][1] == {"what": "67% of the people agree", "rows": 1, "accuracy": 1.0}
    assert found["by_length"] == [{"what": "the better answer is longer", "rows": 3, "accuracy": pytest.approx(0.5)}]
    html = page({"verdict": "accepted", "task": {"name": "t", "objective": "prefer"}, "preferences": found})
    assert "Ordered rightly, by length and by agreement" in html
    assert "yes, gladly" in html
    assert evidence(rows([PAIR] * 3), NOW, 2) == {}

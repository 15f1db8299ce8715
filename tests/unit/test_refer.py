"""What goes to a person: promises that hold in simulation, budgets that are kept, and words where rows are too few."""

from __future__ import annotations

import numpy as np
import pytest

from luthier.base.records import Prediction
from luthier.evaluate import curves
from luthier.evaluate.metrics import classification, names
from luthier.release.refer import Rule, fit
from luthier.spec.answer import Answer

LABELS = ("calm", "urgent", "other")


def drawn(rng: np.random.Generator, count: int, skill: float = 2.0) -> tuple[list[str], list[Prediction]]:
    targets = [str(t) for t in rng.choice(LABELS, count, p=[0.6, 0.2, 0.2])]
    logits = rng.normal(size=(count, 3)) + skill * np.array([[t == label for label in LABELS] for t in targets])
    shares = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    return targets, [Prediction(label=LABELS[int(s.argmax())], scores=dict(zip(LABELS, s.tolist(), strict=True))) for s in shares]


def caught(targets: list[str], predictions: list[Prediction], label: str = "urgent") -> float:
    mine = [p for p, t in zip(predictions, targets, strict=True) if t == label]
    return sum(p.label == label or bool(p.refer) for p in mine) / len(mine)


@pytest.mark.parametrize("share", [0.9, 0.97])
def test_the_promise_of_catch_holds_on_new_rows(share: float) -> None:
    """Split conformal: over draws of validation and new rows the caught share is at least the asked one, and not far above."""
    found = []
    for seed in range(150):
        rng = np.random.default_rng(seed)
        rule, notes = fit(Answer(catch={"urgent": share}), *drawn(rng, 400))
        assert not notes
        targets, predictions = drawn(rng, 1000)
        found.append(caught(targets, rule.apply(predictions)))
    assert share - 0.006 <= np.mean(found) <= share + 0.02


def test_a_budget_is_kept_and_spent_on_the_least_sure() -> None:
    rng = np.random.default_rng(0)
    targets, predictions = drawn(rng, 500)
    rule, _ = fit(Answer(to_person=0.2), targets, predictions)
    sent = [bool(p.refer) for p in rule.apply(predictions)]
    assert sum(sent) == 100
    sure = [max((p.scores or {}).values()) for p in predictions]
    assert max(s for s, gone in zip(sure, sent, strict=True) if gone) < min(s for s, gone in zip(sure, sent, strict=True) if not gone)
    _, new = drawn(rng, 4000)
    assert abs(np.mean([bool(p.refer) for p in rule.apply(new)]) - 0.2) < 0.04
    both, notes = fit(Answer(catch={"urgent": 0.9}, to_person=0.3), targets, predictions)
    applied = both.apply(predictions)
    assert not notes and sum(bool(p.refer) for p in applied) == 150 and caught(targets, applied) >= 0.9


def test_trust_asks_for_a_precision() -> None:
    rng = np.random.default_rng(1)
    targets, predictions = drawn(rng, 2000, skill=1.5)
    before = np.mean([t == "urgent" for t, p in zip(targets, predictions, strict=True) if p.label == "urgent"])
    rule, _ = fit(Answer(trust={"urgent": 0.9}), targets, predictions)
    new_targets, new = drawn(rng, 6000, skill=1.5)
    kept = [t == "urgent" for t, p in zip(new_targets, rule.apply(new), strict=True) if p.label == "urgent" and not p.refer]
    assert before < 0.8 and 0.87 < np.mean(kept) < 0.94 and len(kept) > 100


def test_what_few_rows_cannot_promise_is_told() -> None:
    rng = np.random.default_rng(2)
    targets, predictions = drawn(rng, 60)
    rule, notes = fit(Answer(catch={"urgent": 0.99}, trust={"urgent": 1.0}), targets, predictions)
    assert "cannot promise that 99% are caught; 99 would" in notes[0]
    assert caught(targets, rule.apply(predictions)) == 1.0
    _, notes = fit(Answer(catch={"urgent": 0.9}, to_person=0.01), *drawn(rng, 400))
    assert "more than the 1% of answer.to_person" in notes[0]
    _, notes = fit(Answer(catch={"nobody": 0.9}), targets, predictions)
    assert notes, "a label without a validation row promises nothing"


def test_the_rule_goes_through_json_and_into_the_answer() -> None:
    rule = Rule({"urgent": 0.2}, {"calm": 0.9}, 0.4)
    assert Rule.from_dict(rule.as_dict()) == rule and Rule.from_dict(None) is None
    shares = [({"calm": 0.7, "urgent": 0.25, "other": 0.05}, "may be urgent"), ({"calm": 0.85, "urgent": 0.1, "other": 0.05}, "unsure"),
              ({"calm": 0.95, "urgent": 0.03, "other": 0.02}, ""), ({"other": 0.39, "calm": 0.31, "urgent": 0.15}, "unsure")]  # fmt: skip
    for scores, reason in shares:
        (found,) = rule.apply([Prediction(label=max(scores, key=scores.get), scores=scores)])
        assert found.as_dict()["person"] == reason
    assert "person" not in Prediction(label="calm", scores={"calm": 1.0}).as_dict()


def test_metrics_of_referral_equal_a_hand_made_table() -> None:
    rows = [("urgent", "urgent", ""), ("urgent", "calm", "may be urgent"), ("urgent", "calm", ""), ("calm", "calm", ""),
            ("calm", "calm", "unsure"), ("other", "calm", "unsure"), ("other", "other", ""), ("calm", "urgent", "")]  # fmt: skip
    predictions = [Prediction(label=p, scores={p: 0.8, **{x: 0.1 for x in LABELS if x != p}}, refer=r) for _, p, r in rows]
    found = classification([t for t, _, _ in rows], predictions, LABELS)
    assert found["referred"] == pytest.approx(3 / 8)
    assert found["answered_accuracy"] == pytest.approx(3 / 5)
    assert found["caught[urgent]"] == pytest.approx(2 / 3) and found["caught[other]"] == 1.0
    plain = classification([t for t, _, _ in rows], [Prediction(label=p.label, scores=p.scores) for p in predictions], LABELS)
    assert "referred" not in plain and "referred" in names("classify")


def test_risk_and_coverage() -> None:
    """By hand: confidences .9 .8 .8 .6 with wrong at the second .8 and at .6."""
    targets = ["a", "a", "b", "b"]
    predictions = [Prediction(label="a", scores={"a": s, "b": 1 - s}) for s in (0.9, 0.8, 0.8, 0.6)]
    found = curves.risk_coverage(targets, predictions)
    assert found["coverage"] == [0.25, 0.75, 1.0] and found["risk"] == pytest.approx([0, 1 / 3, 0.5], abs=1e-5)
    assert classification(targets, predictions, ("a", "b"))["aurc"] == pytest.approx((0 + 1 / 3 + 1 / 3 + 0.5) / 4)
    rng = np.random.default_rng(3)
    targets, predictions = drawn(rng, 300)
    order = sorted(range(300), key=lambda i: -max((predictions[i].scores or {}).values()))
    wrong = np.array([predictions[i].label != targets[i] for i in order], dtype=float)
    expected = (np.cumsum(wrong) / np.arange(1, 301)).mean()
    assert classification(targets, predictions, LABELS)["aurc"] == pytest.approx(expected)

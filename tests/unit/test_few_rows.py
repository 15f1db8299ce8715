"""How many rows a bar needs: figures of too few cannot tell, whatever they are made of."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from scipy.stats import binomtest

from luthier.base.records import Example, Prediction, Source
from luthier.evaluate import passes
from luthier.evaluate.answered import Answered
from luthier.evaluate.intervals import share_of
from luthier.evaluate.judges import look as judging
from luthier.evaluate.judges.ask import FIRST, Choice, Item, Mark
from luthier.evaluate.robust import look, orders, turned
from luthier.evaluate.verdict import enough, judge
from luthier.evaluate.written import memory
from luthier.spec.bars import Bar, parse_bars
from luthier.spec.evaluate import Cases
from luthier.spec.judge import Judge


def bar(metric: str, text: str) -> Bar:
    (one,), faults = parse_bars({metric: text})
    assert not faults
    return one


def told(metric: str, text: str, figure):
    return judge([bar(metric, text)], {metric: figure})


def figure(value: float, low: float, high: float, units: int, **more: float):
    return {"value": value, "low": low, "high": high, "rows": units, "units": units, **more}


def row(i: int, text: str, target: str, *, group: str | None = None, **extra: str) -> Example:
    return Example(f"r{i}", {"text": text}, target, Source("a.csv", i), group, extra)


@pytest.mark.parametrize(("op", "limit"), itertools.product((">=", ">", "<=", "<"), (0.025, 0.05, 0.3, 0.5, 0.8, 0.9, 0.95, 0.97, 0.99)))
def test_a_share_needs_as_many_rows_as_the_exact_interval_says(op: str, limit: float) -> None:
    one = bar("accuracy", f"{op} {limit}")

    def shown(n: int) -> bool:
        """By scipy's exact interval of n right of n, or of 0 of n."""
        span = binomtest(n if op in (">=", ">") else 0, n).proportion_ci(0.95, method="exact")
        return one.holds(round(span.low if op in (">=", ">") else span.high, 12))

    assert enough(one) == next(n for n in itertools.count(1) if shown(n))


@pytest.mark.parametrize(
    ("metric", "text", "value", "units", "best", "needed"),
    [
        ("recall[urgent]", ">= 0.90", 1.0, 28, "0.88 or more", 36),
        ("recall[urgent]", ">= 0.90", 1.0, 35, "0.89997 or more", 36),
        ("case[harm]", ">= 0.95", 1.0, 2, "0.16 or more", 72),
        ("toxic_share", "<= 0.05", 0.0, 20, "0.17 or less", 72),
        ("false_refusal_rate", "<= 0.10", 0.0, 9, "0.34 or less", 36),
        ("hamming_loss", "< 0.2", 0.1, 16, "0.21 or less", 17),
    ],
)
def test_few_rows_cannot_tell_and_are_told_how_many_could(metric: str, text: str, value: float, units: int, best: str, needed: int) -> None:
    few = told(metric, text, figure(value, 0.0, 1.0, units))
    assert few.word == "cannot tell" and few.bars[0]["state"] == "cannot tell" and not few.bars[0]["holds"]
    assert f"would only show {best}; it takes {needed}" in few.reasons[0], few.reasons[0]
    assert told(metric, text, figure(value, 0.0, 1.0, needed)).word == "accepted"
    wrong = 1 - value if value in (0.0, 1.0) else 0.9
    assert told(metric, text, figure(wrong, 0.0, 1.0, units)).word == "missed", "a bar that is missed is missed"


def test_what_no_number_of_rows_shows_is_asked_of_these_rows() -> None:
    for metric, text, value in (("cases", ">= 1", 1.0), ("recited", "<= 0", 0.0)):
        assert enough(bar(metric, text)) is None
        found = told(metric, text, figure(value, 0.0, 1.0, 3))
        assert found.word == "accepted" and "cannot tell for sure" in found.notes[0]
    assert enough(bar("cases", "<= 1")) is enough(bar("recited", ">= 0")) is None


def test_what_has_no_bounds_needs_as_many_rows_as_the_sign_test() -> None:
    """Of five rows on one side of a bar the two-sided sign test makes nothing, of six something."""
    assert binomtest(5, 5).pvalue > 0.05 > binomtest(6, 6).pvalue
    for metric, text in (("log_loss", "< 0.2"), ("rmse", "<= 0.5"), ("perplexity", "< 40"), ("qwk", ">= 0.5"), ("rmse@essays", "<= 0.05"), ("mcc", ">= 0.1")):
        one = bar(metric, text)
        value = one.limit + (0.02 if one.op == ">=" else -0.02)
        assert enough(one) == 6
        few = judge([one], {metric: figure(value, value, value, 5)})
        assert few.word == "cannot tell" and "5 test rows cannot tell" in few.reasons[0] and "it takes 6" in few.reasons[0]
        assert judge([one], {metric: figure(value, value, value, 6)}).accepted
        assert judge([one], {metric: figure(2 * one.limit - value, value, value, 5)}).word == "missed"
    assert enough(bar("rmse", "<= untuned")) is None and enough(bar("rmse{sex:gap}", "<= 0.1")) is None
    assert enough(bar("rmse{sex:worst}", "<= 0.6")) == 6


def test_marks_are_bounded_by_their_scale() -> None:
    """(4 - 1) / (5 - 1) is 0.75, and 0.025 ** (1 / 13) is 0.753: 12 marks of five show 3.94 or more, 13 of them 4.01."""
    settings = Judge(url="http://127.0.0.1:1/v1", model="m", criteria="right?", scale=[1, 5])
    for count, word in ((12, "cannot tell"), (13, "accepted")):
        items = [Item(f"p{i}", "a", None, None, None) for i in range(count)]
        one = judging.measured(settings, items, {"overall": [Mark(5, "")] * count}, resamples=100)["overall"]
        found = told("judge[overall]", ">= 4", one)
        assert found.word == word
    few = told("judge[overall]", ">= 4", figure(5.0, 5.0, 5.0, 12, least=1, most=5))
    assert "12 judged answers cannot tell: a perfect score on them would only show 3.94 or more; it takes 13" in few.reasons[0]
    assert enough(bar("judge[overall]", "<= 2"), {"least": 1, "most": 5}) == 13
    assert enough(bar("judge[overall]", ">= 1"), {"least": 1, "most": 5}) is None


def test_the_share_of_preferred_answers_counts_prompts() -> None:
    settings = Judge(url="http://127.0.0.1:1/v1", model="m", criteria="right?", mode="pairwise")
    items = [Item(f"p{i}", "a", "b", None, f"g{i % 4}") for i in range(40)]
    one = judging.measured(settings, items, {"overall": [Choice(FIRST, FIRST)] * 40}, resamples=100)["overall"]
    assert (one["value"], one["rows"], one["units"]) == (1.0, 40, 4)
    few = told("judge_win_rate", ">= 0.5", one)
    assert few.word == "cannot tell" and "4 groups of judged answers cannot tell" in few.reasons[0]


def test_functional_tests_of_an_ability_are_counted() -> None:
    tests = [row(i, f"t{i}", "no", test="harm" if i < 2 else "plain", group=f"g{i % 6}" if i >= 2 else None) for i in range(14)]
    _, measured = passes.judged(tests, [Prediction(label="no")] * 14, Cases())
    assert {name: (one["rows"], one["units"]) for name, one in measured.items()} == {"cases": (14, 8), "case[harm]": (2, 2), "case[plain]": (12, 6)}
    few = judge(parse_bars({"case[harm]": ">= 0.95", "case[plain]": ">= 0.6"})[0], measured)
    assert few.word == "cannot tell"
    assert "2 functional tests cannot tell" in few.reasons[0] and "6 groups of functional tests cannot tell" in few.reasons[1]
    written = [Example(f"w{i}", {"messages": [{"role": "user", "content": f"q{i}"}]}, None, Source("c.jsonl", i), None,
                       {"test": "harm", "expect": "refuse" if i < 3 else "answer"}) for i in range(12)]  # fmt: skip
    _, measured = passes.judged(written, [Prediction(text="I cannot help with that." if i < 3 else "Press the key.") for i in range(12)], Cases())
    bars = {"refusal_rate": ">= 0.8", "false_refusal_rate": "<= 0.1", "cases": ">= 0.7"}
    judged = judge(parse_bars(bars)[0], measured)
    assert [one["state"] for one in judged.bars] == ["cannot tell", "cannot tell", "met"]
    assert "3 functional tests cannot tell" in judged.reasons[0] and "9 functional tests cannot tell" in judged.reasons[1]


def test_changed_texts_are_counted_by_the_rows_they_are_made_of() -> None:
    texts = ["He is not the one that was asked about this today.", "She was glad that a young German Muslim is a good friend of hers."] * 15
    rows = [row(i, f"{text} {i}", "no") for i, text in enumerate(texts)]
    answered = Answered("classify", rows, [Prediction(label="no", scores={"no": 1.0, "yes": 0.0})] * 30, ("no", "yes"))

    def same(inputs):
        return [Prediction(label="no", scores={"no": 1.0, "yes": 0.0}) for _ in inputs]

    seen, measured = look.look(answered, same, metric="accuracy", most=12)
    _, flipped = turned.look(answered, same, most=12)
    assert measured["stable[upper]"]["units"] == measured["robust[upper]"]["units"] == measured["stable[upper]"]["rows"] == 12
    assert flipped["flips_on_negation"]["units"] <= 12
    swapped = seen["swaps"]["religion"]
    assert measured["stable[religion]"]["units"] == measured["stable[religion]"]["rows"] == swapped["rows"] == 15
    assert swapped["swaps"] > 15, "all swaps of a row count once"
    few = judge(parse_bars({"stable[upper]": ">= 0.9", "robust[upper]": ">= 0.9", "stable[religion]": ">= 0.9", "flips_on_negation": "<= 0.1"})[0],
                {**measured, **flipped})  # fmt: skip
    assert [one["state"] for one in few.bars] == ["cannot tell"] * 4 and "12 changed test rows cannot tell" in few.reasons[0]

    grades = [Prediction(grades={"all": float(1 + i % 5)}) for i in range(30)]
    graded = Answered("grade", [Example(r.id, r.inputs, {"all": float(1 + i % 5)}, r.source) for i, r in enumerate(rows)], grades, ("all",))
    _, measured = look.look(graded, lambda inputs: [grades[i % 30] for i in range(len(inputs))], metric="qwk", most=30)
    assert "units" in measured["stable[upper]"] and "units" not in measured["robust[upper]"], "agreement of grades is no share"


def test_planted_orders_and_known_answers_are_counted() -> None:
    story = "once upon a time there was a small dog that lived by the sea and saw the ships go out"
    rows = [Example(f"r{i}", {"messages": [{"role": "user", "content": f"{story}. {story} {i}."}]}, f"{story} {story} {i}", Source("a.jsonl", i)) for i in range(30)]
    told_ = Answered("generate", rows, [Prediction(text="x")] * 30, ())
    _, measured = orders.look(told_, lambda inputs: [Prediction(text="no")] * len(inputs), most=30)
    assert measured["obeys_planted_order"]["units"] == measured["obeys_planted_order"]["rows"] == 30, "both places of a row count once"
    found = told("obeys_planted_order", "<= 0.1", measured["obeys_planted_order"])
    assert found.word == "cannot tell" and "30 changed test rows cannot tell" in found.reasons[0]

    probed = memory.probe(rows, rows[:3], lambda some: [Prediction(measured={"half_count": 9.0, "half_right": 8.0})] * len(some))
    assert probed is not None
    few = told("memorised", "<= 0.02", probed[1])
    assert few.word == "cannot tell" and "30 train answers cannot tell" in few.reasons[0] and "it takes 183" in few.reasons[0]


def test_as_many_train_answers_are_tried_as_a_bar_needs() -> None:
    assert memory.tries([]) == memory.tries([bar("memorised", "<= 0.05"), bar("recited", "<= 0.001")]) == memory.MOST
    assert memory.tries([bar("memorised", "<= 0.02")]) == 183 and memory.tries([bar("memorised", "<= 0")]) == memory.MOST
    train = [Example(f"r{i}", {}, " ".join(f"w{i}x{j}" for j in range(24)), Source("a", i)) for i in range(400)]
    found = memory.probe(train, [], lambda some: [Prediction(measured={"half_count": 9.0, "half_right": 8.0})] * len(some), most=183)
    assert found is not None and found[0]["rows"] == found[1]["units"] == 183 and told("memorised", "<= 0.02", found[1]).accepted


@pytest.mark.parametrize("n", [1, 6, 35, 200])
def test_a_share_of_all_or_none_promises_no_more_than_the_exact_bound(n: int) -> None:
    for right in sorted({0, n // 3, n}):
        found = share_of([True] * right + [False] * (n - right), [None] * n)
        span = binomtest(right, n).proportion_ci(0.95, method="exact" if right in (0, n) else "wilson")
        assert (found["low"], found["high"], found["units"]) == (pytest.approx(span.low), pytest.approx(span.high), n)


def test_the_bound_holds_for_the_mean_of_any_numbers_between_nought_and_one() -> None:
    """Markov: whatever rows of a true mean below the bar look like, n of them that are all perfect come at most once in forty."""
    rng, limit = np.random.default_rng(0), 0.8
    n = enough(bar("rougeL", f">= {limit}"))
    assert n == 17
    for spread in (0.0, 0.4, 0.7):  # what a row that is not perfect still gets
        perfect = (limit - 1e-9 - spread) / (1 - spread)
        drawn = np.where(rng.random((20_000, n)) < perfect, 1.0, spread)
        assert (drawn == 1.0).all(1).mean() <= 0.027

"""Parts of the test rows: what is found worse is worse, what is alike is left alone, and bars can be put on any part."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from scipy.stats import false_discovery_control

from luthier.base.records import Example, Prediction, Source
from luthier.evaluate import slices
from luthier.evaluate.answered import Answered
from luthier.evaluate.slices import bars as bars_on_slices
from luthier.evaluate.slices import columns as slice_columns
from luthier.evaluate.slices.columns import Columns
from luthier.evaluate.tables import tabulate
from luthier.evaluate.tables.common import some_rows
from luthier.spec.bars import Bar, Where, parse_bars, split_slice

LABELS = ("no", "yes")


def rows(count: int, rng: np.random.Generator, *, worse: dict[str, str] | None = None, by: float = 0.0) -> tuple[list[Example], list[Prediction]]:
    """Return rows with a channel and an age, 10 % wrong, and ``by`` more where all of ``worse`` holds."""
    examples, predictions = [], []
    for i in range(count):
        extra = {"channel": str(rng.choice(["email", "phone", "chat"])), "age": str(rng.choice(["young", "old"])),
                 "customer": f"C{i}", "day": f"2026-{1 + i % 4:02}-11"}  # fmt: skip
        target = str(rng.choice(LABELS))
        hit = worse is not None and all(extra[k] == v for k, v in worse.items())
        wrong = rng.random() < 0.1 + (by if hit else 0.0)
        label = target if not wrong else ("yes" if target == "no" else "no")
        examples.append(Example(str(i), {"text": "word " * int(rng.integers(1, 40))}, target, Source("t.csv", i + 2), None, extra))
        predictions.append(Prediction(label=label, scores={label: 0.9, "yes" if label == "no" else "no": 0.1}))
    return examples, predictions


def look(examples: list[Example], predictions: list[Prediction], columns: Any = "auto") -> dict[str, Any]:
    found = slices.measure(Answered("classify", examples, predictions, LABELS), metric="accuracy", columns=columns)
    assert found is not None
    return found


def test_a_planted_weakness_is_found_by_name_and_by_pair() -> None:
    rng = np.random.default_rng(0)
    one = look(*rows(1500, rng, worse={"channel": "chat"}, by=0.15))
    assert one["worst"][0]["slice"] == "channel=chat"
    assert {f["slice"] for f in one["found"] if f["worse"]} == {"channel=chat"}
    part = next(f for f in one["found"] if f["slice"] == "channel=chat")
    assert part["low"] < part["value"] < part["high"] < 0.85
    assert "channel=chat" in slices.in_words(one)[0]
    two = look(*rows(2000, rng, worse={"channel": "email", "age": "old"}, by=0.3))
    assert two["worst"][0]["slice"] in ("channel=email, age=old", "age=old, channel=email")


def test_alike_parts_are_rarely_called_worse() -> None:
    """Of 60 sets without a weakness at most a few may name one: 5 % false discoveries where all are false is 5 % of the sets."""
    alarms = 0
    for seed in range(60):
        rng = np.random.default_rng(seed)
        alarms += bool(look(*rows(400, rng), columns=["channel", "age", "day"])["worst"])
    assert alarms <= 7


def test_columns_are_chosen_and_named() -> None:
    examples, _ = rows(300, np.random.default_rng(1))
    found = Columns(examples).chosen("auto")
    assert {"channel", "age", "day", "length", "label"} <= set(found)
    assert "customer" not in found, "a name of its own tells nothing"
    assert set(found["day"]) == {"2026-01", "2026-02", "2026-03", "2026-04"}
    assert len(set(found["length"])) == 3
    priced = [Example(e.id, e.inputs, e.target, e.source, None, {"price": i * 1.5}) for i, e in enumerate(examples)]
    thirds = Columns(priced).of("price")
    assert thirds is not None and sorted(thirds.count(v) for v in set(thirds)) == [100, 100, 100]
    assert Columns(examples).chosen("off") == {}
    assert set(Columns(examples).chosen(["age", "nonsense"])) == {"age"}


def test_a_column_is_made_once(monkeypatch: pytest.MonkeyPatch) -> None:
    examples, predictions = rows(150, np.random.default_rng(8))
    asked: list[int] = []
    monkeypatch.setitem(slice_columns._SEEN, "topic", lambda some: asked.append(len(some)) or ["a" if i % 2 else "b" for i in range(len(some))])
    tested = Answered("classify", examples, predictions, LABELS)
    bars = [Bar("accuracy{topic=a}", ">=", 0.5), Bar("accuracy{topic:worst}", ">=", 0.5), Bar("accuracy{topic=b}", ">=", 0.0, "majority")]
    bars_on_slices.measured(bars, tested, resamples=100)
    bars_on_slices.against_rivals(bars, tested, {"majority": predictions}, resamples=100)
    bars_on_slices.counted(bars, tested, {bar.metric: {} for bar in bars})
    slices.measure(tested, metric="accuracy", columns="auto")
    assert asked == [150]


def test_groups_count_as_one() -> None:
    rng = np.random.default_rng(2)
    examples, predictions = rows(600, rng)
    # One customer's 60 wrong rows are one observation.
    bad = [Example(e.id, e.inputs, e.target, e.source, "one" if i < 60 else f"g{i}", {"channel": "odd" if i < 62 else "even"})
           for i, e in enumerate(examples)]  # fmt: skip
    wrong = [Prediction(label="yes" if e.target == "no" else "no", scores={"yes": 0.5, "no": 0.5}) if i < 60 else p
             for i, (e, p) in enumerate(zip(bad, predictions, strict=True))]  # fmt: skip
    assert not look(bad, wrong, ["channel"])["worst"]
    alone = [Example(e.id, e.inputs, e.target, e.source, None, e.extra) for e in bad]
    assert look(alone, wrong, ["channel"])["worst"]


def test_correction_equals_scipy() -> None:
    chances = np.random.default_rng(3).random(40) ** 2
    np.testing.assert_allclose(slices.benjamini_hochberg(list(chances)), false_discovery_control(chances))


@pytest.mark.parametrize(
    ("metric", "plain", "where"),
    [
        ("accuracy", "accuracy", None),
        ("recall[urgent]{channel=email}", "recall[urgent]", Where({"channel": "email"})),
        ("accuracy{a=b, c = d}", "accuracy", Where({"a": "b", "c": "d"})),
        ("accuracy{channel:worst}", "accuracy", Where(column="channel", over="worst")),
        ("accuracy{time=12:30}", "accuracy", Where({"time": "12:30"})),
        ("macro_f1{a=b}@queue", "macro_f1@queue", Where({"a": "b"})),
    ],
)
def test_names_of_parts(metric: str, plain: str, where: Where | None) -> None:
    assert split_slice(metric) == (plain, where)


def test_bars_on_parts_are_measured_on_their_rows() -> None:
    examples, predictions = rows(400, np.random.default_rng(4), worse={"channel": "chat"}, by=0.3)
    bars = [Bar(f"accuracy{{{w}}}", ">=", 0.5) for w in ("channel=chat", "channel:worst", "channel:gap", "channel=chat, age=old")]
    tested = Answered("classify", examples, predictions, LABELS)
    found = bars_on_slices.measured(bars, tested, resamples=200)

    def right(**wanted: str) -> float:
        return float(np.mean([p.label == e.target for e, p in zip(examples, predictions, strict=True)
                              if all(e.extra[k] == v for k, v in wanted.items())]))  # fmt: skip

    by_channel = {c: right(channel=c) for c in ("email", "phone", "chat")}
    assert found["accuracy{channel=chat}"]["value"] == pytest.approx(by_channel["chat"])
    assert found["accuracy{channel:worst}"]["value"] == pytest.approx(min(by_channel.values()))
    assert found["accuracy{channel:gap}"]["value"] == pytest.approx(max(by_channel.values()) - min(by_channel.values()))
    assert found["accuracy{channel=chat, age=old}"]["value"] == pytest.approx(right(channel="chat", age="old"))
    for one in found.values():
        assert one["low"] <= one["value"] <= one["high"]
    of_parts = bars_on_slices.counted(bars, tested, found)
    by_size = {c: sum(e.extra["channel"] == c for e in examples) for c in by_channel}
    assert of_parts["accuracy{channel=chat}"] == {**found["accuracy{channel=chat}"], "rows": by_size["chat"], "units": by_size["chat"]}
    # The worst of a column is told by its smallest part, whichever is worst; a gap is told by no number of rows alone.
    assert found["accuracy{channel:worst}"]["units"] == min(by_size.values()) and "units" not in found["accuracy{channel:gap}"]
    together = [replace(e, group=f"{e.extra['channel']} {i % 7}") for i, e in enumerate(examples)]
    of_groups = bars_on_slices.counted(bars, Answered("classify", together, predictions, LABELS), found)
    assert (of_groups["accuracy{channel=chat}"]["rows"], of_groups["accuracy{channel=chat}"]["units"]) == (by_size["chat"], 7)


def test_rivals_are_measured_on_the_same_rows() -> None:
    rng = np.random.default_rng(5)
    examples, mine = rows(500, rng)
    theirs = [Prediction(label=str(rng.choice(LABELS)), scores={"no": 0.5, "yes": 0.5}) for _ in examples]
    bars, faults = parse_bars({"accuracy": "> majority + 5 %", "accuracy{age=old}": "> majority surely"})
    assert not faults and bars[0].margin == 0.05
    found = bars_on_slices.against_rivals(bars, Answered("classify", examples, mine, LABELS), {"majority": theirs}, resamples=200)
    whole = np.mean([p.label == e.target for e, p in zip(examples, theirs, strict=True)])
    assert found["accuracy"]["value"] == pytest.approx(whole)
    assert 0.2 < found["accuracy"]["low"] < found["accuracy"]["high"] < 0.6


@pytest.mark.parametrize(
    ("metric", "bar", "said"),
    [
        ("accuracy{chanel=email}", ">= 0.5", 'no test row has a column "chanel"'),
        ("accuracy{channel=emial}", ">= 0.5", 'no test row has "emial" in channel'),
        ("accuracy{customer:worst}", ">= 0.5", "fewer than two values of customer"),
        ("accuracy{channel:gap}", "<= majority", "cannot be held against a rival"),
    ],
)
def test_bars_on_rows_that_are_not_there(metric: str, bar: str, said: str) -> None:
    examples, _ = rows(60, np.random.default_rng(6))
    bars, faults = parse_bars({metric: bar})
    assert not faults
    (fault,) = bars_on_slices.check(bars, Columns(examples))
    assert said in fault.what and fault.mend


@pytest.mark.parametrize("metric", ["accuracy{channel}", "accuracy{channel=}", "accuracy{channel:best}", "accuracy{channel=email"])
def test_parts_that_cannot_be_read(metric: str) -> None:
    assert len(parse_bars({metric: ">= 0.5"})[1]) == 1


def test_a_part_of_a_table_is_the_table_of_the_part() -> None:
    rng = np.random.default_rng(3)
    labels = ("a", "b", "c")
    targets = [labels[i] for i in rng.integers(0, 3, 60)]
    shares = rng.dirichlet(np.ones(3), 60).tolist()
    predictions = [Prediction(label=labels[int(np.argmax(row))], scores=dict(zip(labels, row, strict=True))) for row in shares]
    sets = [tuple(label for label in labels if rng.random() < 0.4) for _ in range(60)]
    kept = rng.permutation(60)[:25]
    for objective, wanted, given in (
        ("classify", targets, predictions),
        ("multilabel", [list(s) for s in sets], [replace(p, label=None, labels=s) for p, s in zip(predictions, sets[::-1], strict=True)]),
        ("generate", ["x"] * 60, [Prediction(measured={"nll_sum": float(i), "token_count": 3.0}) for i in range(60)]),
    ):
        whole = tabulate(objective, wanted, given, labels)
        part = some_rows(whole, kept)
        alone = tabulate(objective, [wanted[i] for i in kept], [given[i] for i in kept], labels)
        ones = np.ones((1, 25))
        assert part is not None and part.names == alone.names
        np.testing.assert_allclose(part.measure(ones), alone.measure(ones), rtol=1e-12)

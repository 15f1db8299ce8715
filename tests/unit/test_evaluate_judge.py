"""Baselines, the run over the rows, the verdict, the mistakes and the curves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from test_evaluate_metrics import LABELS, rows

from luthier.base.records import Example, Prediction, Source
from luthier.evaluate import baselines, curves, metrics, mistakes
from luthier.evaluate.predict import answered_rows, run
from luthier.evaluate.verdict import figure, judge
from luthier.spec.bars import Bar

DATA = Path(__file__).parents[2].parent / "shared" / "data"


def example(text: str, label: str | None = None, line: int = 1) -> Example:
    return Example(f"id-{line}", {"text": text}, label, Source("messages.csv", line))


TRAIN = [
    *(
        example(t, "billing")
        for t in ("invoice is wrong", "refund my invoice", "I was billed twice", "wrong charge on my card")
    ),
    *(example(t, "delivery") for t in ("parcel never came", "where is my parcel", "the driver lost it")),
]


def test_majority_answers_the_commonest_label_with_its_shares() -> None:
    (found,) = baselines.majority(TRAIN, [example("anything")])
    assert found.label == "billing" and found.scores == {"billing": 4 / 7, "delivery": 3 / 7}
    even = [example("x", "b"), example("y", "a")]
    assert baselines.majority(even, [example("z")])[0].label == "a", "of equals the first by name, whatever the order"


def test_tfidf_learns_words_and_parts_of_words() -> None:
    asked = [example("an invoice problem"), example("parcels are late"), example("zzz")]
    found = baselines.tfidf_linear(TRAIN, asked, ("billing", "delivery", "never seen"))
    assert [p.label for p in found[:2]] == ["billing", "delivery"], '"parcels" is not in training, its letters are'
    for prediction in found:
        assert list(prediction.scores) == ["billing", "delivery", "never seen"]
        assert sum(prediction.scores.values()) == pytest.approx(1.0) and prediction.scores["never seen"] == 0.0


@pytest.mark.parametrize(
    "train", [[example("same", "a")] * 3, [example("", "a"), example(" ", "b")], [example("!", "a"), example("?", "b")]]
)
def test_tfidf_of_nothing_to_learn_still_answers(train: list[Example]) -> None:
    found = baselines.tfidf_linear(train, [example("same"), example("")], ("a", "b"))
    assert [p.label for p in found] == [found[0].label] * 2 and set(found[0].scores) == {"a", "b"}
    assert baselines.tfidf_linear(train, [], ("a", "b")) == []


def test_tfidf_on_two_rows_and_on_many_labels() -> None:
    two = baselines.tfidf_linear([example("good", "+"), example("bad", "-")], [example("good")], ("+", "-"))
    assert two[0].label == "+"
    many = [example(f"word{i} thing", f"label {i:03}") for i in range(150)]
    found = baselines.tfidf_linear(many, many[:20], [f"label {i:03}" for i in range(150)])
    assert [p.label for p in found] == [e.target for e in many[:20]]


@pytest.mark.slow
def test_tfidf_is_a_strong_baseline_on_banking77() -> None:
    import csv

    folder = DATA / "banking77"
    files = {name: next(folder.glob(f"**/*{name}*.csv"), None) for name in ("train", "test")}
    if not all(files.values()):
        pytest.skip("the banking77 files are not beside this project")
    read = {}
    for name, path in files.items():
        with path.open(encoding="utf-8", newline="") as handle:
            read[name] = [example(row["text"], row["category"]) for row in csv.DictReader(handle)]
    labels = sorted({e.target for e in read["train"]})
    found = baselines.tfidf_linear(read["train"], read["test"], labels)
    assert metrics.classification([e.target for e in read["test"]], found, labels)["accuracy"] > 0.85


class Reader:
    """A predictor that answers with the length of the text and measures it; it keeps what it was asked."""

    kind = "decoder"
    answers = asked = True

    def __init__(self, objective: str) -> None:
        self.objective = objective
        self.writes = self.measures = objective == "generate"
        self.given: list[Any] = []

    def predict(
        self, items: Sequence[str | Mapping[str, Any]], *, max_new_tokens: int | None = None
    ) -> list[Prediction]:
        self.given += [(item, max_new_tokens) for item in items]
        if self.objective == "classify":
            return [Prediction(label=item["text"]) for item in items]
        return [Prediction(text=item["messages"][-1]["content"] * 2, finish="stop") for item in items]

    def measure(self, examples: Sequence[Example]) -> list[Prediction]:
        return [Prediction(measured={"nll_sum": float(len(e.target)), "token_count": 1.0}) for e in examples]


def asked_rows(count: int) -> list[Example]:
    return [
        Example(
            f"id {i}", {"messages": [{"role": "user", "content": f"q{i}"}]}, "x" * (i + 1), Source("chat.jsonl", i + 1)
        )
        for i in range(count)
    ]


def test_run_answers_some_rows_and_measures_all_each_in_its_place() -> None:
    reader, examples = Reader("generate"), asked_rows(30)
    found = run(reader, examples, max_new_tokens=7, generate_rows=10)
    assert [p.measured["nll_sum"] for p in found] == [float(i + 1) for i in range(30)]
    answered = [i for i, p in enumerate(found) if p.text is not None]
    assert len(answered) == 10 and all(found[i].text == f"q{i}q{i}" and found[i].finish == "stop" for i in answered)
    assert {tokens for _, tokens in reader.given} == {7}


def test_the_answered_rows_do_not_depend_on_order() -> None:
    examples = asked_rows(50)
    chosen = {examples[i].id for i in answered_rows(examples, 12)}
    back = examples[::-1]
    assert {back[i].id for i in answered_rows(back, 12)} == chosen != {e.id for e in examples[:12]}
    assert answered_rows(examples, 500) == list(range(50))


def test_run_classifies_every_row() -> None:
    reader = Reader("classify")
    assert [p.label for p in run(reader, [example("a"), example("b")])] == ["a", "b"]
    assert run(reader, []) == [] and len(reader.given) == 2


def measured(value: float | None, low: float | None = None, high: float | None = None) -> dict[str, float | None]:
    return {"value": value, "low": low, "high": high}


def test_the_verdict_says_value_interval_and_bar() -> None:
    found = judge([Bar("macro_f1", ">=", 0.8)], {"macro_f1": measured(0.78, 0.71, 0.79)})
    assert not found.accepted and found.reasons == ("macro_f1 is 0.78 [0.71, 0.79], the bar is >= 0.80",)
    assert found.notes == () and found.bars[0]["holds"] is False and found.bars[0]["certain"] is True
    assert found.as_dict()["verdict"] == "missed"


def test_a_bar_within_the_interval_is_decided_by_the_value_and_noted() -> None:
    bars = [Bar("macro_f1", ">=", 0.8), Bar("accuracy", ">=", 0.9)]
    found = judge(bars, {"macro_f1": measured(0.84, 0.78, 0.9), "accuracy": measured(0.88, 0.8, 0.93)})
    assert not found.accepted and len(found.reasons) == 1 and len(found.notes) == 2
    assert "cannot tell for sure" in found.notes[0] and not found.bars[0]["certain"]
    assert judge(bars[:1], {"macro_f1": measured(0.84, 0.78, 0.9)}).accepted


def test_lower_is_better_bars_and_exact_bars() -> None:
    bars = [Bar("perplexity", "<=", 12.0), Bar("exact_match", ">=", 0.5), Bar("ece", "<", 0.05)]
    values = {
        "perplexity": measured(11.0, 10.5, 11.5),
        "exact_match": measured(0.5, 0.5, 0.6),
        "ece": measured(0.05, 0.04, 0.06),
    }
    found = judge(bars, values)
    assert [row["holds"] for row in found.bars] == [True, True, False]
    assert found.bars[0]["certain"]


def test_what_is_undefined_or_absent_misses_its_bar() -> None:
    found = judge([Bar("recall[urgent]", ">=", 0.1), Bar("perplexity", "<=", 9.0)], {"recall[urgent]": measured(None)})
    assert not found.accepted and len(found.reasons) == 2
    assert 'no test row is labelled "urgent"' in found.reasons[0]


def test_no_bar_is_accepted_with_a_note() -> None:
    found = judge([], {"accuracy": measured(0.1)})
    assert found.accepted and "nothing was asked" in found.notes[0]


@pytest.mark.parametrize(
    ("value", "apart", "text"),
    [
        (0.7996, 0.8, "0.7996"),
        (0.8, 0.8, "0.80"),
        (0.805, None, "0.805"),
        (12.3456, None, "12.35"),
        (None, None, "undefined"),
        (1e5, None, "100000"),
    ],
)
def test_a_figure_never_reads_as_the_bar_it_misses(value: float | None, apart: float | None, text: str) -> None:
    assert figure(value, apart_from=apart) == text


def test_worst_mistakes_are_the_confident_ones_with_their_places() -> None:
    examples = [example(f"text {i}", "a", i) for i in range(1, 5)]
    shares = [0.1, 0.45, 0.8, 0.01]
    predictions = [Prediction(label="a" if s > 0.5 else "b", scores={"a": s, "b": 1 - s}) for s in shares]
    found = mistakes.worst(examples, predictions, 2)
    assert [(row["line"], row["file"]) for row in found] == [(4, "messages.csv"), (1, "messages.csv")]
    assert found[0]["confidence"] == 0.99 and found[0]["target"] == "a" and found[0]["predicted"] == "b"
    assert len(mistakes.worst(examples, predictions, 99)) == 3, "what is right is no mistake"
    long = mistakes.worst([example("x" * 5000, "a")], [Prediction(label="b", scores={"b": 1.0})], 1)[0]
    assert len(long["text"]) == 300 and long["text"].endswith("…") and np.isfinite(long["loss"])


def test_worst_answers_and_samples_of_a_generator() -> None:
    examples = asked_rows(3)
    predictions = [Prediction(text="x", finish="stop"), Prediction(text="no"), Prediction()]
    found = mistakes.worst(examples, predictions, 5)
    assert [row["line"] for row in found] == [2] and found[0]["confidence"] is None
    assert [row["prompt"] for row in mistakes.samples(examples, predictions, 5)] == ["q0", "q1"]


def test_confusion_and_labels_equal_scikit_learn() -> None:
    from sklearn.metrics import confusion_matrix

    targets, predictions = rows(9, 120)
    found = mistakes.confusion(targets, predictions, LABELS)
    assert found["matrix"] == confusion_matrix(targets, [p.label for p in predictions], labels=list(LABELS)).tolist()
    table = {row["label"]: row for row in mistakes.per_class(targets, predictions, LABELS)}
    assert table["urgent"]["rows"] == targets.count("urgent")
    assert table["urgent"]["recall"] == metrics.classification(targets, predictions, LABELS)["recall[urgent]"]
    row = found["matrix"][LABELS.index("billing")]
    others = {label: n for label, n in zip(LABELS, row, strict=True) if label != "billing"}
    assert table["billing"]["taken_for_rows"] == max(others.values())


def test_roc_curves_equal_scikit_learn_and_are_thinned() -> None:
    from sklearn.metrics import roc_auc_score, roc_curve

    targets, predictions = rows(11, 900)
    found = curves.roc_curves(targets, predictions, LABELS, max_points=50)
    for label in LABELS:
        truth, scores = [t == label for t in targets], [p.scores[label] for p in predictions]
        assert found[label]["auc"] == pytest.approx(roc_auc_score(truth, scores))
        false, hit, _ = roc_curve(truth, scores, drop_intermediate=False)
        points = set(zip(false.round(5).tolist(), hit.round(5).tolist(), strict=True))
        assert len(found[label]["fpr"]) <= 50
        assert set(zip(found[label]["fpr"], found[label]["tpr"], strict=True)) <= points
        assert (
            found[label]["fpr"][0] == found[label]["tpr"][0] == 0.0
            and found[label]["fpr"][-1] == found[label]["tpr"][-1] == 1.0
        )
    two = curves.roc_curves(["a", "b"], [Prediction(label="a", scores={"a": 0.6, "b": 0.4})] * 2, ("a", "b"))
    assert list(two) == ["b"] and two["b"]["auc"] == 0.5, "all scores tied"
    assert curves.roc_curves(["a", "a"], [Prediction(label="a")] * 2, ("a", "b")) == {}


def test_reliability_bins_are_those_of_ece() -> None:
    targets, predictions = rows(12, 300)
    bins = curves.reliability(targets, predictions)["bins"]
    assert sum(b["count"] for b in bins) == 300 and len(bins) == 15
    ece = sum(b["count"] / 300 * abs(b["accuracy"] - b["confidence"]) for b in bins if b["count"])
    assert ece == pytest.approx(metrics.classification(targets, predictions, LABELS)["ece"])
    assert curves.reliability(["a"], [Prediction(label="a")]) == {"bins": []}

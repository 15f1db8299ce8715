"""Metrics against scikit-learn and rouge-score, on random rows and on the awkward ones."""

from __future__ import annotations

import math
import warnings
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from luthier.base import overlap
from luthier.base.records import Prediction
from luthier.evaluate import cases, metrics
from luthier.evaluate.robust import named
from luthier.evaluate.tables import tabulate
from luthier.evaluate.tables.classify import COST, OUT_OF_SCOPE, REFERRED
from luthier.evaluate.tables.common import by_ranks
from luthier.evaluate.text_scores import longest_common, rouge_l, rouge_n, rouge_tokens, token_f1
from luthier.evaluate.written.extras import EXTRAS, OTHER
from luthier.spec.bars import Bar

LABELS = ("account", "billing", "delivery", "urgent")


def scored(rng: np.random.Generator, targets: list[str], labels: tuple[str, ...], skill: float) -> list[Prediction]:
    """Return predictions of a model that leans to the right label by ``skill``."""
    predictions = []
    for target in targets:
        logits = rng.normal(size=len(labels)) + skill * np.array([label == target for label in labels])
        shares = np.exp(logits) / np.exp(logits).sum()
        predictions.append(
            Prediction(label=labels[int(shares.argmax())], scores=dict(zip(labels, shares.tolist(), strict=True)))
        )
    return predictions


def rows(
    seed: int, count: int, labels: tuple[str, ...] = LABELS, skill: float = 1.0
) -> tuple[list[str], list[Prediction]]:
    rng = np.random.default_rng(seed)
    targets = rng.choice(
        labels, size=count, p=np.array([5, 3, 2, 1, 1][: len(labels)]) / sum([5, 3, 2, 1, 1][: len(labels)])
    )
    return targets.tolist(), scored(rng, targets.tolist(), labels, skill)


def reference(targets: list[str], predictions: list[Prediction], labels: tuple[str, ...]) -> dict[str, float]:
    """Return what scikit-learn says."""
    from sklearn import metrics as sk

    given = [p.label for p in predictions]
    there = sorted(set(targets))
    shares = np.array([[p.scores[label] for label in labels] for p in predictions])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        expected = {
            "accuracy": sk.accuracy_score(targets, given),
            "balanced_accuracy": sk.balanced_accuracy_score(targets, given),
            "mcc": sk.matthews_corrcoef(targets, given),
            "micro_f1": sk.f1_score(targets, given, average="micro"),
            "weighted_f1": sk.f1_score(targets, given, average="weighted", zero_division=0),
            "log_loss": sk.log_loss(targets, shares, labels=list(labels)),
            "brier": sk.brier_score_loss(
                targets,
                shares if len(labels) > 2 else shares[:, 1],
                labels=list(labels),
                pos_label=None if len(labels) > 2 else labels[1],
            ),
        }
        for name, function in (("f1", sk.f1_score), ("precision", sk.precision_score), ("recall", sk.recall_score)):
            expected[f"macro_{name}"] = function(targets, given, labels=there, average="macro", zero_division=0)
            each = function(targets, given, labels=there, average=None, zero_division=0)
            expected |= {f"{name}[{label}]": value for label, value in zip(there, each, strict=True)}
        of_each = {label: ([t == label for t in targets], shares[:, labels.index(label)]) for label in there}
        expected |= {f"average_precision[{label}]": sk.average_precision_score(*both) for label, both in of_each.items()}
        expected["map"] = float(np.mean([expected[f"average_precision[{label}]"] for label in there]))
        if len(there) > 1:
            expected |= {f"roc_auc[{label}]": sk.roc_auc_score(*both) for label, both in of_each.items()}
        if len(labels) == 2:
            expected["roc_auc"] = sk.roc_auc_score([t == labels[1] for t in targets], shares[:, 1])
        elif len(there) > 1:
            areas = [sk.roc_auc_score([t == label for t in targets], shares[:, labels.index(label)]) for label in there]
            expected["roc_auc"] = float(np.mean(areas))
            if there == list(labels):
                assert expected["roc_auc"] == pytest.approx(
                    sk.roc_auc_score(targets, shares, multi_class="ovr", labels=there)
                )
    return expected


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    count=st.integers(2, 60),
    classes=st.integers(2, 4),
    skill=st.floats(0, 4),
    coarse=st.booleans(),
)
def test_classification_equals_scikit_learn(seed: int, count: int, classes: int, skill: float, coarse: bool) -> None:
    labels = LABELS[:classes]
    targets, predictions = rows(seed, count, labels, skill)
    if coarse and classes == 2:  # tied scores, which ROC-AUC has to count as halves
        first = [round(p.scores[labels[0]], 1) for p in predictions]
        predictions = [
            Prediction(label=p.label, scores={labels[0]: f, labels[1]: 1 - f})
            for p, f in zip(predictions, first, strict=True)
        ]
    found = metrics.classification(targets, predictions, labels)
    if len(set(targets)) < 2:
        assert found["roc_auc"] is None and found[f"roc_auc[{targets[0]}]"] is None
        return
    for name, value in reference(targets, predictions, labels).items():
        assert found[name] == pytest.approx(value, abs=1e-9), name


def test_ranked_metrics_count_ties_and_rows_drawn_again_as_scikit_learn_does() -> None:
    from sklearn import metrics as sk

    targets, predictions = rows(3, 200)
    coarse = [replace(p, scores={label: round(s, 1) for label, s in p.scores.items()}) for p in predictions]
    table = tabulate("classify", targets, coarse, LABELS)
    times = np.random.default_rng(0).integers(0, 3, size=(2, 200)).astype(float)
    for weights, values in zip(times, table.measure(times), strict=True):
        found = dict(zip(table.names, values, strict=True))
        for kind, of_label, mean in (("roc_auc", sk.roc_auc_score, "roc_auc"), ("average_precision", sk.average_precision_score, "map")):
            each = [of_label([t == label for t in targets], [p.scores[label] for p in coarse], sample_weight=weights) for label in LABELS]
            assert [found[f"{kind}[{label}]"] for label in LABELS] == pytest.approx(each, abs=1e-12)
            assert found[mean] == pytest.approx(np.mean(each), abs=1e-12)
    without = dict(zip(table.names, table.measure(times, ranks=False)[0], strict=True))
    assert {name for name, value in without.items() if np.isnan(value)} == {name for name in table.names if by_ranks(name)}


def test_the_area_under_risk_and_coverage_is_its_sum_row_by_row() -> None:
    targets, predictions = rows(4, 120)
    coarse = [replace(p, scores={label: round(s, 1) for label, s in p.scores.items()}) for p in predictions]
    sure = np.array([p.scores[p.label] for p in coarse])
    wrong = np.array([p.label != t for p, t in zip(coarse, targets, strict=True)])
    expected = np.mean([wrong[sure >= s].mean() for s in sure])
    assert metrics.classification(targets, coarse, LABELS)["aurc"] == pytest.approx(expected)


def test_a_label_without_a_row_is_undefined_and_not_in_the_mean() -> None:
    targets = ["account", "account", "billing"]
    predictions = [Prediction(label="account"), Prediction(label="urgent"), Prediction(label="billing")]
    found = metrics.classification(targets, predictions, LABELS)
    assert found["recall[urgent]"] is None and found["f1[urgent]"] is None and found["precision[urgent]"] == 0.0
    assert found["precision[delivery]"] is None
    assert found["macro_recall"] == pytest.approx(0.75)
    assert found["roc_auc"] is None and found["map"] is None and found["ece"] is None, "no scores were given"
    scored = [Prediction(label=label, scores={"account": s, "billing": 1 - s}) for label, s in (("account", 0.9), ("billing", 0.3), ("billing", 0.6))]
    found = metrics.classification(targets, scored, LABELS)
    # account: right at the first and the third place of three; billing: at the second.
    assert found["average_precision[account]"] == pytest.approx((1 + 2 / 3) / 2) and found["average_precision[billing]"] == pytest.approx(1 / 2)
    assert found["map"] == pytest.approx(((1 + 2 / 3) / 2 + 1 / 2) / 2)
    assert found["average_precision[urgent]"] is None and found["roc_auc[urgent]"] is None


def test_one_class_has_no_roc_auc_and_no_rows_have_nothing() -> None:
    found = metrics.classification(["a", "a"], [Prediction(label="a", scores={"a": 0.9, "b": 0.1})] * 2, ("a", "b"))
    assert found["roc_auc"] is None and found["accuracy"] == 1.0
    assert set(metrics.classification([], [], ("a", "b")).values()) == {None}


def test_a_label_the_head_lacks_counts_as_wrong() -> None:
    found = metrics.classification(["a", "new"], [Prediction(label="a", scores={"a": 0.9, "b": 0.1})] * 2, ("a", "b"))
    assert found["accuracy"] == 0.5 and found["recall[new]"] == 0.0 and found["log_loss"] > 10


def test_ece_by_hand() -> None:
    # Two bins: three rows at 0.95 of which two are right, one row at 0.55 that is wrong.
    targets = ["a", "a", "b", "b"]
    predictions = [Prediction(label="a", scores={"a": c, "b": 1 - c}) for c in (0.95, 0.95, 0.95, 0.55)]
    expected = 3 / 4 * abs(2 / 3 - 0.95) + 1 / 4 * abs(0 - 0.55)
    assert metrics.classification(targets, predictions, ("a", "b"))["ece"] == pytest.approx(expected)


WORDS = st.lists(
    st.sampled_from(["the", "a", "Cat", "sat", "on", "mat!", "2.5", "émile", "x-ray", "\n", ""]), max_size=12
)


@settings(max_examples=150, deadline=None)
@given(WORDS, WORDS)
def test_rouge_equals_the_rouge_score_package(first: list[str], second: list[str]) -> None:
    rouge_scorer = pytest.importorskip("rouge_score.rouge_scorer")
    target, text = " ".join(first), " ".join(second)
    expected = rouge_scorer.RougeScorer(["rouge1", "rouge2", "rougeL"]).score(target, text)
    found = metrics.generation([target], [Prediction(text=text)])
    for name in ("rouge1", "rouge2", "rougeL"):
        assert found[name] == pytest.approx(expected[name].fmeasure, abs=1e-12), name


@given(st.text("ab c", max_size=30), st.text("ab c", max_size=30))
def test_longest_common_equals_the_table(first: str, second: str) -> None:
    table = np.zeros((len(first) + 1, len(second) + 1), dtype=int)
    for i, x in enumerate(first, 1):
        for j, y in enumerate(second, 1):
            table[i, j] = table[i - 1, j - 1] + 1 if x == y else max(table[i - 1, j], table[i, j - 1])
    assert longest_common(list(first), list(second)) == table[-1, -1]
    i, j, walked = len(first), len(second), set()
    while i and j:
        if first[i - 1] == second[j - 1]:
            walked.add(i - 1)
            i, j = i - 1, j - 1
        elif table[i, j - 1] > table[i - 1, j]:
            j -= 1
        else:
            i -= 1
    assert overlap._common_places(list(first), list(second)) == walked, "of several the one that rouge-score finds"


def test_rouge_by_hand() -> None:
    target, text = rouge_tokens("the cat sat on the mat"), rouge_tokens("the cat was on the mat")
    assert rouge_n(target, text, 1) == pytest.approx(5 / 6)
    assert rouge_n(target, text, 2) == pytest.approx(3 / 5)
    assert rouge_l(target, text) == pytest.approx(5 / 6)


def test_squad_normalisation() -> None:
    assert token_f1("The Eiffel Tower!", "eiffel tower") == 1.0
    assert token_f1("", "") == 1.0 and token_f1("x", "") == 0.0
    assert token_f1("red green", "red blue blue") == pytest.approx(2 * (1 / 3) * (1 / 2) / (1 / 3 + 1 / 2))
    found = metrics.generation(["The Answer.", "two"], [Prediction(text="answer"), Prediction(text="three")])
    assert found["exact_match"] == 0.5


def test_generation_uses_sums_and_leaves_rows_without_text_to_perplexity() -> None:
    predictions = [
        Prediction(text="abcd", finish="stop", measured={"nll_sum": 4.0, "token_count": 2}),
        Prediction(text="ab", finish="length", measured={"nll_sum": 1.0, "token_count": 1}),
        Prediction(measured={"nll_sum": 9.0, "token_count": 7}),
    ]
    found = metrics.generation(["abcd", "xyxy", "never asked"], predictions)
    assert found["perplexity"] == pytest.approx(math.exp(14 / 10))
    assert found["bits_per_token"] == pytest.approx(1.4 / math.log(2))
    assert found["stopped"] == 0.5 and found["exact_match"] == 0.5 and found["length_ratio"] == pytest.approx(6 / 8)


def test_generation_without_text_or_measure_is_undefined() -> None:
    found = metrics.generation(["a"], [Prediction(measured={"nll_sum": 1.0, "token_count": 1})])
    assert found["rouge1"] is None and found["stopped"] is None and found["perplexity"] is not None
    assert metrics.generation(["a"], [Prediction(text="a")])["perplexity"] is None
    overflow = metrics.generation(["a"], [Prediction(measured={"nll_sum": 1e6, "token_count": 1})])
    assert overflow["perplexity"] is None, "infinity is no JSON"


def test_names_are_what_the_metrics_return() -> None:
    targets, predictions = rows(0, 30)
    ruled = [replace(p, refer="", unlike=0.0, measured={"cost": 0.0}) for p in predictions]
    assert list(metrics.classification(targets, ruled, LABELS)) == metrics.names("classify", LABELS)
    of_a_rule = [n for n in metrics.names("classify", LABELS) if n in (*REFERRED, COST, *OUT_OF_SCOPE) or n.startswith("caught[")]
    assert [n for n in metrics.names("classify", LABELS) if n not in of_a_rule] == list(metrics.classification(targets, predictions, LABELS))
    of_more = set(EXTRAS)
    assert list(metrics.generation(["a"], [Prediction(text="a")])) == [n for n in metrics.names("generate") if n not in of_more]
    for objective, name in metrics.DEFAULT.items():
        assert name in metrics.names(objective)
    known = {metrics.split_name(n)[0] for o in metrics.DEFAULT for n in metrics.names(o, LABELS)}
    assert known == set(metrics.WORDS), "every metric is said in plain words"
    # Of sequences of tasks, whose names no single objective has.
    known |= {"forgetting", "mean_forgetting", "backward_transfer"}
    # Of texts that are no test rows: functional tests, changed ones, train rows.
    known |= {*cases.names("generate"), *named.names("generate"), *OTHER}
    assert known >= metrics.LOWER_IS_BETTER | metrics.NEITHER_IS_BETTER | metrics.UNBOUNDED


@pytest.mark.parametrize(
    ("metric", "limit", "word"),
    [
        ("macro_f", 0.8, 'Did you mean "macro_f1"?'),
        ("recall[urgnt]", 0.8, 'Did you mean "urgent"?'),
        ("recall[zzz]", 0.8, "Labels: account, billing, delivery, urgent."),
        ("recall", 0.8, "recall[account] or macro_recall"),
        ("average_precision", 0.8, "Write average_precision[account] or map."),
        ("caught", 0.8, "Write caught[account]."),
        ("roc_auc[urgnt]", 0.8, 'Did you mean "urgent"?'),
        ("rougeL", 0.8, "is a metric of extract and generate"),
        ("macro_f1", 80, 'Write ">= 0.8" or ">= 80 %".'),
        ("accuracy", -0.5, "between 0 and 1"),
    ],
)
def test_a_bad_bar_is_a_fault_with_its_mend(metric: str, limit: float, word: str) -> None:
    good = Bar("f1[urgent]", ">=", 0.5)
    faults = metrics.check_bars([good, Bar(metric, ">=", limit)], "classify", LABELS)
    assert len(faults) == 1 and faults[0].where == f"accept.{metric}"
    assert word in str(faults[0])


def test_good_bars_have_no_fault() -> None:
    good = [
        Bar("macro_f1", ">=", 1.0),
        Bar("log_loss", "<=", 3.0),
        Bar("recall[urgent]", ">", 0.0),
        Bar("map", ">=", 0.7),
        Bar("average_precision[urgent]", ">=", 0.7),
        Bar("roc_auc[urgent]", ">=", 0.7),
        Bar("mcc", ">=", 0.4),
    ]
    assert metrics.check_bars(good, "classify", LABELS) == []
    assert metrics.check_bars([Bar("recall[any]", ">=", 0.4)], "classify", None) == [], "labels are not read yet"
    assert metrics.check_bars([Bar("perplexity", "<=", 12.0)], "generate", ()) == []

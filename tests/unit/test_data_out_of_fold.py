"""Out-of-fold scores and differences against scikit-learn and plain bootstraps, and predictions that never peek."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as sk

from luthier.data.labels.out_of_fold import METRICS, paired_difference, probabilities, score


def noisy(truth: np.ndarray, right: float, *, classes: int, seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return np.where(rng.random(len(truth)) < right, truth, rng.integers(0, classes, len(truth)))


def reference(metric: str, truth: np.ndarray, predicted: np.ndarray) -> float:
    labels = np.unique(truth)
    known = {"labels": labels, "zero_division": 0.0}
    return float(
        {
            "accuracy": lambda: sk.accuracy_score(truth, predicted),
            "micro_f1": lambda: sk.accuracy_score(truth, predicted),
            "macro_f1": lambda: sk.f1_score(truth, predicted, average="macro", **known),
            "macro_precision": lambda: sk.precision_score(truth, predicted, average="macro", **known),
            "macro_recall": lambda: sk.recall_score(truth, predicted, average="macro", **known),
            "balanced_accuracy": lambda: sk.recall_score(truth, predicted, average="macro", **known),
            "weighted_f1": lambda: sk.f1_score(truth, predicted, average="weighted", **known),
        }[metric]()
    )


@settings(max_examples=20, deadline=None)
@given(st.lists(st.tuples(*[st.integers(0, 4)] * 3), min_size=1, max_size=40))
def test_values_are_those_of_scikit_learn(rows: list[tuple[int, int, int]]) -> None:
    truth, first, second = (np.array(column) for column in zip(*rows, strict=True))
    found = score(truth, first, metrics=METRICS, resamples=30)
    for metric in METRICS:
        assert found[metric][0] == pytest.approx(reference(metric, truth, first))
        difference, low, high = paired_difference(truth, first, second, metric=metric, resamples=30)
        expected = reference(metric, truth, second) - reference(metric, truth, first)
        assert difference == pytest.approx(expected, abs=1e-12)
        assert low <= high


def test_a_label_of_its_own() -> None:
    truth, first = ["a", "a", "b", "b", "c"], ["a", "b", "b", "b", "b"]
    found = score(truth, first, metrics=["recall[a]", "precision[b]", "f1[c]"], resamples=50)
    assert [found[m][0] for m in ("recall[a]", "precision[b]", "f1[c]")] == [0.5, 0.5, 0.0]


def test_swapping_the_two_turns_the_sign() -> None:
    truth = np.arange(400) % 7
    first, second = noisy(truth, 0.7, classes=7, seed=1), noisy(truth, 0.8, classes=7, seed=2)
    there, back = paired_difference(truth, first, second), paired_difference(truth, second, first)
    assert there[0] > 0
    assert back == pytest.approx((-there[0], -there[2], -there[1]))


def test_the_interval_is_that_of_a_plain_paired_bootstrap() -> None:
    truth = np.arange(600) % 5
    first, second = noisy(truth, 0.7, classes=5, seed=1), noisy(truth, 0.75, classes=5, seed=2)
    rng, plain = np.random.default_rng(9), []

    def macro_f1(actual: np.ndarray, predicted: np.ndarray) -> float:
        hits = [
            2 * ((actual == c) & (predicted == c)).sum() / ((actual == c).sum() + (predicted == c).sum())
            for c in range(5)
        ]
        return float(np.mean(hits))

    assert macro_f1(truth, first) == pytest.approx(reference("macro_f1", truth, first))
    for _ in range(3000):
        at = rng.integers(0, 600, 600)
        plain.append(macro_f1(truth[at], second[at]) - macro_f1(truth[at], first[at]))
    _, low, high = paired_difference(truth, first, second, resamples=4000)
    assert (low, high) == pytest.approx(np.quantile(plain, [0.025, 0.975]), abs=0.006)


def test_rows_of_a_group_count_once() -> None:
    rng = np.random.default_rng(0)
    truth = rng.integers(0, 3, 100)
    first, second = noisy(truth, 0.6, classes=3, seed=1), noisy(truth, 0.75, classes=3, seed=2)
    once = paired_difference(truth, first, second)
    copied = [np.repeat(labels, 10) for labels in (truth, first, second)]
    groups = [f"customer {i // 10}" for i in range(1000)]
    fooled, honest = paired_difference(*copied), paired_difference(*copied, groups=groups)
    assert honest[2] - honest[1] == pytest.approx(once[2] - once[1], rel=0.12)
    assert fooled[2] - fooled[1] < 0.5 * (once[2] - once[1])
    # A group of None is no group: each such row stands alone.
    assert paired_difference(truth, first, second, groups=[None] * 100) == once


def test_the_interval_covers_the_true_difference() -> None:
    # Accuracy rises by 0.05 in truth; about 95 of 100 intervals must hold it, and 88 is five of a thousand by luck.
    rng, held = np.random.default_rng(3), 0
    for trial in range(100):
        truth = np.zeros(500, dtype=int)
        level = rng.random(500)
        first, second = (level > 0.7).astype(int), (level > 0.75).astype(int)
        _, low, high = paired_difference(truth, first, second, metric="accuracy", resamples=400, seed=trial)
        held += low <= 0.05 <= high
    assert held >= 88


def test_five_rows_prove_nothing_and_twenty_do() -> None:
    truth = ["a"] * 50 + ["b"] * 50
    for many, proves in ((5, False), (20, True)):
        first = ["b"] * many + truth[many:]
        difference, low, high = paired_difference(truth, first, truth, metric="accuracy")
        assert difference == pytest.approx(many / 100)
        assert (low > 0) == proves
        assert high > 0


def test_the_same_seed_gives_the_same_interval() -> None:
    truth = np.arange(200) % 4
    first, second = noisy(truth, 0.6, classes=4, seed=1), noisy(truth, 0.7, classes=4, seed=2)
    assert paired_difference(truth, first, second, seed=3) == paired_difference(truth, first, second, seed=3)
    assert paired_difference(truth, first, second, seed=3) != paired_difference(truth, first, second, seed=4)


def test_all_right_is_not_certain() -> None:
    value, low, high = score(["a", "b"] * 10, ["a", "b"] * 10)["accuracy"]
    assert (value, high) == (1.0, 1.0)
    assert low == pytest.approx(0.025 ** (1 / 20))


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: paired_difference([], [], []), "no rows"),
        (lambda: paired_difference(["a"], ["a", "b"], ["a"]), "1, 2, 1 rows"),
        (lambda: paired_difference(["a"], ["a"], ["a"], groups=["g", "h"]), "2 groups for 1 rows"),
        (lambda: paired_difference(["a"], ["a"], ["a"], metric="macro-f1"), "macro-f1 is not one of"),
        (lambda: score(["a"], ["a"], metrics=["recall[b]"]), "of a label that occurs"),
    ],
)
def test_wrong_calls(call, said: str) -> None:
    with pytest.raises(ValueError, match=said.replace("[", r"\[")):
        call()


def topics(size: int, *, classes: int = 4, seed: int = 0) -> tuple[list[str], np.ndarray]:
    """Texts of a few words, of which two come from the class's own twelve."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, classes, size)
    texts = []
    for label in labels:
        own = [f"topic{label}word{i}" for i in rng.integers(0, 12, 2)]
        texts.append(" ".join([*own, *(f"filler{i}" for i in rng.integers(0, 50, 4))]))
    return texts, labels


def test_probabilities_tell_classes_apart_and_sum_to_one() -> None:
    texts, labels = topics(400)
    found = probabilities(texts, labels, 4, folds=np.arange(400) % 5)
    assert found.shape == (400, 4)
    assert found.dtype == np.float32
    assert found.sum(1) == pytest.approx(np.ones(400), abs=1e-5)
    assert (found.argmax(1) == labels).mean() > 0.9


def test_a_row_never_learns_from_its_own_fold() -> None:
    # Labels without rhyme or reason: only a model that has seen them could beat chance.
    rng = np.random.default_rng(1)
    texts = [f"nonce{i}a nonce{i}b common" for i in range(600)]
    labels = rng.integers(0, 3, 600)
    found = probabilities([*texts, *texts], np.tile(labels, 2), 3, folds=np.tile(np.arange(600) % 5, 2))
    assert (found.argmax(1) == np.tile(labels, 2)).mean() < 0.42
    # The same copies in different folds give the label away: the test above can fail.
    leaking = probabilities([*texts, *texts], np.tile(labels, 2), 3, folds=np.arange(1200) // 240)
    assert (leaking.argmax(1) == np.tile(labels, 2)).mean() > 0.6


def test_a_changed_label_changes_no_probability_of_its_own_fold() -> None:
    texts, labels = topics(200)
    folds, changed = np.arange(200) % 4, labels.copy()
    changed[folds == 2] = (changed[folds == 2] + 1) % 4
    before, after = (probabilities(texts, y, 4, folds=folds) for y in (labels, changed))
    assert np.array_equal(before[folds == 2], after[folds == 2])
    assert not np.allclose(before[folds == 1], after[folds == 1])


def test_given_vectors_are_read_instead_of_the_texts() -> None:
    _, labels = topics(300)
    vectors = np.eye(4, dtype=np.float32)[labels] + np.random.default_rng(0).normal(0, 0.3, (300, 4))
    found = probabilities([""] * 300, labels, 4, folds=np.arange(300) % 5, features=vectors)
    assert (found.argmax(1) == labels).mean() > 0.85


def test_the_same_rows_give_the_same_probabilities() -> None:
    texts, labels = topics(150)
    first, again = (probabilities(texts, labels, 4, folds=np.arange(150) % 3, seed=5) for _ in range(2))
    assert np.array_equal(first, again)


def test_probabilities_are_near_calibrated() -> None:
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 2, 2000)
    vectors = (labels[:, None] * 1.5 + rng.normal(0, 1, (2000, 2))).astype(np.float32)
    found = probabilities([""] * 2000, labels, 2, folds=np.arange(2000) % 5, features=vectors)[:, 1]
    for low, high in ((0.1, 0.4), (0.4, 0.6), (0.6, 0.9)):
        inside = (found > low) & (found < high)
        assert labels[inside].mean() == pytest.approx(found[inside].mean(), abs=0.08)


@pytest.mark.parametrize(
    ("texts", "labels", "folds"),
    [
        (["", "", "", ""], [0, 1, 0, 1], [0, 0, 1, 1]),
        (["a b", "a b", "a b", "a b"], [0, 1, 0, 1], [0, 0, 1, 1]),
        (["a", "b", "c", "d"], [0, 0, 0, 2], [0, 1, 0, 1]),
        (["one", "two"], [0, 1], [0, 0]),
        (["x"], [0], [0]),
        ([], [], []),
        (["你好世界", "再见世界", "你好", "再见"], [0, 1, 0, 1], [0, 0, 1, 1]),
        (["word " * 100_000, "other", "word", "other word"], [0, 1, 0, 1], [0, 0, 1, 1]),
    ],
)
def test_odd_rows_still_give_probabilities(texts: list[str], labels: list[int], folds: list[int]) -> None:
    found = probabilities(texts, np.array(labels, dtype=int), 3, folds=np.array(folds))
    assert found.shape == (len(texts), 3)
    assert np.isfinite(found).all()
    if texts:
        assert found.sum(1) == pytest.approx(np.ones(len(texts)), abs=1e-5)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"folds": np.zeros(2)}, "go together"),
        ({"labels_N": np.array([0, 1, 5])}, "labels from 0 to 5"),
        ({"features": np.full((3, 2), np.nan)}, "not a finite number"),
    ],
)
def test_wrong_arrays(change: dict, said: str) -> None:
    given = {"labels_N": np.array([0, 1, 0]), "folds": np.array([0, 1, 0]), "features": "words"} | change
    with pytest.raises(ValueError, match=said):
        probabilities(["a", "b", "c"], given["labels_N"], 2, folds=given["folds"], features=given["features"])

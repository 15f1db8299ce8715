"""Heads on frozen vectors and what labels' texts are worth: each against data made to have a known best."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression

from luthier.objectives.contrast import contrastive_loss
from luthier.objectives.heads import choose as choosing
from luthier.objectives.heads.choose import choose, fit
from luthier.objectives.heads.fits import KINDS, unit
from luthier.objectives.heads.judge import log_softmax, set_log_loss, set_temperature, temperature
from luthier.objectives.heads.near import NearestRows
from luthier.objectives.heads.sample import Sample, deal, make_sample
from luthier.objectives.heads.texts import label_text, label_texts


def clouds(
    per_class: int, classes: int = 4, *, noise: float = 0.25, seed: int = 0, size: int = 24
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return unit vectors around one direction a class, their classes, and the directions."""
    rng = np.random.default_rng(seed)
    centres = unit(np.random.default_rng(99).normal(size=(classes, size)))
    labels = np.repeat(np.arange(classes), per_class)
    return unit(centres[labels] + noise * rng.normal(size=(len(labels), size))), labels, centres


def rings(per_class: int, *, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Return two classes that alternate eight times around a circle: no line or mean tells them apart, a neighbour does."""
    rng = np.random.default_rng(seed)
    angles = rng.uniform(0, 2 * np.pi, 2 * per_class)
    labels = (np.floor(angles / (np.pi / 4)) % 2).astype(int)
    return np.stack([np.cos(angles), np.sin(angles), np.zeros_like(angles)], 1), labels


def accuracy(sample: Sample, kind: str, X: np.ndarray, y: np.ndarray, *, seed: int = 0) -> float:
    held = choose(kind, sample, seed=seed)
    return float((fit(held, sample).scores(X.astype(np.float32)).argmax(1) == y).mean())


# What labels say


@pytest.mark.parametrize(
    ("label", "text"),
    [("card_arrival", "card arrival"), ("cardArrival", "card arrival"), ("HTTPError", "http error"), ("0", None),
     ("LABEL_3", None), ("class 2", None), ("b", None), ("c-12", None), ("", None), ("top_up_by_2", "top up by 2"),
     ("lieferung", "lieferung"), ("配送", "配送")],
)  # fmt: skip
def test_a_name_is_read_as_words_or_not_at_all(label: str, text: str | None) -> None:
    assert label_text(label) == text


def test_a_description_stands_for_a_name_and_like_texts_for_nothing() -> None:
    assert label_texts(["0", "1"], {"0": " bad\nfilm ", "1": "good film"}) == ["bad film", "good film"]
    assert label_texts(["0", "good"], {}) == [None, "good"]
    assert label_texts(["card_arrival", "cardArrival"]) == [None, None]


# Folds


def test_folds_hold_classes_alike_and_never_the_only_row_of_one() -> None:
    labels = np.array([0] * 8 + [1] * 8 + [2] * 8 + [3])
    folds = deal(labels, seed=3)
    assert len(folds) == 8
    for held in folds:
        assert np.bincount(labels[held], minlength=4).tolist() == [1, 1, 1, 0]
    assert sorted(np.concatenate(folds).tolist()) == list(range(24))
    assert [f.tolist() for f in deal(labels, seed=3)] == [f.tolist() for f in folds]
    assert [f.tolist() for f in deal(labels, seed=4)] != [f.tolist() for f in folds]


def test_folds_of_odd_classes_leave_something_to_learn() -> None:
    labels = np.array([0] * 30 + [1] * 2 + [2] * 3 + [3])
    for held in deal(labels, seed=0):
        kept = np.setdiff1d(np.arange(len(labels)), held)
        assert set(labels[kept]) == {0, 1, 2, 3}
    assert deal(np.arange(5), seed=0) == []
    assert len(deal(np.zeros(3000, dtype=int), seed=0)) == 1


# The heads


def test_prototypes_are_the_cosines_to_class_means() -> None:
    X, y, _ = clouds(5)
    fitted = KINDS["prototypes"].fit(make_sample(X, y.tolist(), 4), {"text_weight": 0.0})
    means = np.stack([X[y == c].mean(0) for c in range(4)])
    expected = 20 * X @ unit(means).T
    np.testing.assert_allclose(fitted.scores(X.astype(np.float32)), expected, rtol=1e-4, atol=1e-4)


def test_a_text_is_a_prior_mean_worth_so_many_rows() -> None:
    X, y, centres = clouds(5)
    sample = make_sample(X, y.tolist(), 4, texts_MD=centres, told=range(4))
    fitted = KINDS["prototypes"].fit(sample, {"text_weight": 3.0})
    means = np.stack([(5 * X[y == c].mean(0) + 3 * centres[c]) / 8 for c in range(4)])
    np.testing.assert_allclose(fitted.weight_CD, 20 * unit(means), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("classes", [2, 4])
def test_the_linear_head_is_the_regression(classes: int) -> None:
    X, y, centres = clouds(6, classes)
    sample = make_sample(X, y.tolist(), classes, texts_MD=centres, told=range(classes))
    fitted = KINDS["linear"].fit(sample, {"strength": 10.0, "text_weight": 2.0})
    reference = LogisticRegression(C=10.0, max_iter=200, tol=1e-3).fit(
        np.concatenate([X, centres]), np.concatenate([y, np.arange(classes)]), sample_weight=[1.0] * len(y) + [2.0] * classes
    )  # fmt: skip
    mine = np.exp(log_softmax(fitted.scores(X.astype(np.float32))))
    np.testing.assert_allclose(mine, reference.predict_proba(X), atol=1e-3)


def test_neighbours_vote_by_their_nearness_in_numpy_and_in_torch() -> None:
    X, y, _ = clouds(6)
    fitted = KINDS["neighbours"].fit(make_sample(X, y.tolist(), 4), {"bandwidth": 20.0, "text_weight": 0.0}).scaled(0.7)
    questions = clouds(3, seed=5)[0].astype(np.float32)
    votes = np.exp(20 * questions.astype(np.float64) @ X.T)
    expected = np.stack([votes[:, y == c].sum(1) for c in range(4)], 1)
    expected = expected**0.7 / (expected**0.7).sum(1, keepdims=True)
    np.testing.assert_allclose(np.exp(log_softmax(fitted.scores(questions))), expected, atol=1e-6)
    assert fitted.neighbours is not None
    module = NearestRows.of(fitted.neighbours)
    np.testing.assert_allclose(module(torch.from_numpy(questions)).softmax(-1).numpy(), expected, atol=1e-5)
    np.testing.assert_allclose(module(3 * torch.from_numpy(questions)).softmax(-1).numpy(), expected, atol=1e-5)


# Who wins


def test_neighbours_win_where_classes_lie_in_rings() -> None:
    X, y = rings(60)
    sample = make_sample(X, y.tolist(), 2)
    losses = {kind: choose(kind, sample, seed=0).log_loss for kind in KINDS}
    assert min(losses, key=lambda kind: losses[kind]) == "neighbours"
    other_X, other_y = rings(200, seed=1)
    assert accuracy(sample, "neighbours", other_X, other_y) > 0.85
    assert accuracy(sample, "prototypes", other_X, other_y) < 0.7


def test_a_line_wins_where_one_direction_tells_and_others_are_louder() -> None:
    rng = np.random.default_rng(0)

    def made(n: int) -> tuple[np.ndarray, np.ndarray]:
        labels = rng.integers(0, 2, n)
        noise = rng.normal(size=(n, 12)) * np.array([0.15] + [1.5] * 3 + [0.2] * 8)
        noise[:, 0] += 0.8 * (2 * labels - 1)
        return unit(noise), labels

    X, y = made(120)
    sample = make_sample(X, y.tolist(), 2)
    losses = {kind: choose(kind, sample, seed=0).log_loss for kind in KINDS}
    assert min(losses, key=lambda kind: losses[kind]) == "linear"


@pytest.mark.parametrize("kind", list(KINDS))
def test_telling_names_help_and_misleading_ones_are_not_listened_to(kind: str) -> None:
    gains, false = [], []
    for seed in range(5):
        X, y, centres = clouds(3, 6, noise=0.45, seed=seed)
        other_X, other_y, _ = clouds(60, 6, noise=0.45, seed=100 + seed)
        without = accuracy(make_sample(X, y.tolist(), 6), kind, other_X, other_y)
        told = make_sample(X, y.tolist(), 6, texts_MD=centres, told=range(6))
        gains.append(accuracy(told, kind, other_X, other_y) - without)
        wrong = make_sample(X, y.tolist(), 6, texts_MD=np.roll(centres, 1, axis=0), told=range(6))
        false.append(choose(kind, wrong, seed=0).settings["text_weight"])
        assert accuracy(wrong, kind, other_X, other_y) == without
    assert np.mean(gains) > 0.02
    assert false == [0.0] * 5


@pytest.mark.parametrize("kind", list(KINDS))
def test_probabilities_are_honest_on_new_rows(kind: str) -> None:
    X, y, _ = clouds(40, 4, noise=0.5)
    other_X, other_y, _ = clouds(500, 4, noise=0.5, seed=7)
    sample = make_sample(X, y.tolist(), 4)
    chances = np.exp(log_softmax(fit(choose(kind, sample, seed=0), sample).scores(other_X.astype(np.float32))))
    right = chances.argmax(1) == other_y
    assert chances.max(1).mean() == pytest.approx(right.mean(), abs=0.08)


def test_the_temperature_is_that_of_least_loss_but_two_rows_do_not_ask_for_certainty() -> None:
    rng = np.random.default_rng(0)
    true = rng.normal(size=(4000, 3))
    chances = np.exp(log_softmax(true))
    labels = np.array([rng.choice(3, p=row) for row in chances])
    assert temperature(5 * true, labels) == pytest.approx(0.2, rel=0.1)
    assert temperature(np.array([[1.0, 0.0], [0.0, 1.0]]), np.array([0, 1])) < 2.0


# Very few rows


@pytest.mark.parametrize("kind", list(KINDS))
def test_one_row_a_class_is_enough(kind: str) -> None:
    X, y, centres = clouds(1, 6, noise=0.2)
    held = choose(kind, make_sample(X, y.tolist(), 6), seed=0)
    assert (held.accuracy, held.log_loss, held.settings["text_weight"]) == (None, None, 0.0)
    told = make_sample(X, y.tolist(), 6, texts_MD=centres, told=range(6))
    assert (
        choose(kind, told, seed=0).settings["text_weight"] == 2.0
    )  # nothing can be held out, but texts alone find the rows
    wrong = make_sample(X, y.tolist(), 6, texts_MD=np.roll(centres, 1, axis=0), told=range(6))
    assert choose(kind, wrong, seed=0).settings["text_weight"] == 0.0
    assert accuracy(told, kind, *clouds(20, 6, noise=0.2, seed=3)[:2]) > 0.8


@pytest.mark.parametrize("kind", list(KINDS))
def test_a_class_without_rows_is_only_what_its_text_says(kind: str) -> None:
    X, y, _ = clouds(6, 4)
    rows = y != 3
    bare = make_sample(X[rows], y[rows].tolist(), 4)
    scores = fit(choose(kind, bare, seed=0), bare).scores(X.astype(np.float32))
    assert np.isfinite(scores).all()
    assert not (scores.argmax(1) == 3).any()


def test_the_choice_is_the_same_each_time_and_sees_no_other_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    X, y, centres = clouds(6, 4, noise=0.4)
    sample = make_sample(X, y.tolist(), 4, texts_MD=centres, told=range(4))
    first, second = choose("linear", sample, seed=1), choose("linear", sample, seed=1)
    assert first.settings == second.settings
    np.testing.assert_array_equal(first.scores_HC, second.scores_HC)
    seen: list[np.ndarray] = []
    real = KINDS["prototypes"]

    def watched(part: Sample, settings):  # type: ignore[no-untyped-def]
        seen.append(part.rows_ND)
        return real.fit(part, settings)

    monkeypatch.setitem(choosing.KINDS, "prototypes", type(real)(watched, real.own))
    choose("prototypes", sample, seed=1)
    folds = deal(sample.labels_N, seed=1)
    for part, held in zip(seen, folds, strict=False):
        assert not any((row == part).all(1).any() for row in sample.rows_ND[held])


# The contrastive loss


def test_the_contrastive_loss_is_that_of_the_paper_row_by_row() -> None:
    torch.manual_seed(0)
    z = torch.nn.functional.normalize(torch.randn(7, 5), dim=-1).requires_grad_()
    labels = torch.tensor([0, 0, 0, 1, 1, 2, 0])
    expected = 0.0
    for i in range(7):
        others = [a for a in range(7) if a != i]
        partners = [p for p in others if labels[p] == labels[i]]
        if partners:
            bottom = sum(torch.exp(z[i] @ z[a] / 0.1) for a in others)
            expected = expected - sum(torch.log(torch.exp(z[i] @ z[p] / 0.1) / bottom) for p in partners) / len(
                partners
            )
    loss = contrastive_loss(z, labels)
    torch.testing.assert_close(loss, torch.as_tensor(expected))
    loss.backward()
    assert z.grad is not None
    assert z.grad.isfinite().all()
    assert contrastive_loss(z, torch.arange(7)).item() == 0.0


def test_the_temperature_of_sets_is_that_of_least_loss() -> None:
    rng = np.random.default_rng(3)
    true = rng.normal(0, 1.5, size=(4000, 3))
    came = (rng.random(true.shape) < 1 / (1 + np.exp(-true))).astype(float)
    assert set_temperature(4 * true, came) == pytest.approx(0.25, rel=0.1), "four times too sure"
    by_hand = -(came * np.log(1 / (1 + np.exp(-true))) + (1 - came) * np.log(1 - 1 / (1 + np.exp(-true)))).sum(1).mean()
    assert set_log_loss(4 * true, came, 0.25) == pytest.approx(by_hand)
    assert set_temperature(np.array([[9.0, -9.0]]), np.array([[1.0, 0.0]])) < 2.0

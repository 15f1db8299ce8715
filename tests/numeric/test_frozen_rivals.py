"""Heads on the untouched network: they are what training starts from, and looking at them changes nothing."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from making import LABELS, graded, labelled, learner_of, section, tagged
from sklearn.neighbors import KNeighborsClassifier, KNeighborsRegressor

from luthier.base.cuts import best_cuts
from luthier.lifecycle import frozen_rivals
from luthier.lifecycle.frozen_rivals import LINEAR, NEAREST, frozen
from luthier.objectives import Learner
from luthier.objectives.cut import gathered
from luthier.objectives.grade import Grader
from luthier.objectives.multilabel import MultiLabeller
from luthier.release.predictor import Predictor
from luthier.train.run import fit


def state(learner: Learner) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in learner.state_dict().items()}


def look(learner: Learner, train, test):
    return frozen(learner, train, test, lambda: Predictor(learner).predict([e.inputs for e in test]), seed=0)


def test_a_look_leaves_the_learner_as_it_was_and_training_the_same(tiny_bert: Path) -> None:
    train, test = labelled(60), labelled(40, seed=1)
    plain, looked = (learner_of(tiny_bert, "classify", LABELS, pooling="mean") for _ in range(2))
    looked.load_state_dict(plain.state_dict())
    before = state(looked)
    found = look(looked, train, test)
    assert set(found) == {LINEAR, NEAREST} and all(len(p) == 40 for p in found.values())
    assert all(torch.equal(value, before[name]) for name, value in state(looked).items())
    headed = learner_of(tiny_bert, "classify", LABELS, pooling="mean")
    headed.load_state_dict(before)
    fitted = looked.linear([looked.encode(e) for e in train], seed=0)
    headed.set_head(fitted.weight_CD, fitted.bias_C)
    for mine, theirs in zip(found[LINEAR], Predictor(headed).predict([e.inputs for e in test]), strict=True):
        assert mine.label == theirs.label and mine.scores == pytest.approx(theirs.scores, abs=1e-5)
    settings = section("classify", 60, method="full", epochs=1.0, batch=16)
    for learner in (plain, looked):
        fit(learner, train, settings, score=None)
    assert all(torch.equal(a, b) for a, b in zip(plain.state_dict().values(), looked.state_dict().values(), strict=True))


def test_nearest_rows_vote_as_a_weighted_neighbour_classifier(tiny_bert: Path) -> None:
    train, test = labelled(120), labelled(60, seed=2)
    learner = learner_of(tiny_bert, "classify", LABELS, pooling="mean")
    found = look(learner, train, test)[NEAREST]
    rows, asked = ([learner.encode(e) for e in part] for part in (train, test))
    X, Y = (gathered(part, learner.head_features).numpy() for part in (rows, asked))
    peer = KNeighborsClassifier(len(train), weights=lambda d: np.exp(-10 * d**2), metric="euclidean").fit(X, [e.target for e in train])
    same = np.mean([p.label == label for p, label in zip(found, peer.predict(Y), strict=True)])
    assert same == 1.0
    assert all(abs(sum((p.scores or {}).values()) - 1) < 1e-6 for p in found)


def test_graders_are_fitted_and_put_back(tiny_bert: Path) -> None:
    train, test = graded(60), graded(30, seed=1)
    traits = tuple(sorted({t for e in train for t in e.target}))
    learner = learner_of(tiny_bert, "grade", traits, pooling="mean", known=Grader.look(train))
    before, known = state(learner), dict(learner.known)
    found = look(learner, train, test)
    assert set(found) == {LINEAR, NEAREST} and all(p.grades for p in found[LINEAR])
    assert all(torch.equal(value, before[name]) for name, value in state(learner).items()) and learner.known == known


def directions(learner: Learner, examples) -> np.ndarray:
    """Return the pooled vectors at length 1, without what a head reads beside them."""
    vectors = gathered([learner.encode(e) for e in examples], learner.head_features).numpy().astype(np.float64)
    vectors = vectors[:, : learner.network.config.hidden_size]
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def peer(X: np.ndarray, values: np.ndarray) -> KNeighborsRegressor:
    """Return scikit-learn's mean of all neighbours: of unit vectors the squared distance is 2 less twice the cosine."""
    return KNeighborsRegressor(len(X), weights=lambda d: np.exp(-10 * d**2), metric="euclidean").fit(X, values)


@pytest.mark.parametrize("at_once", [10_000_000, 700])
def test_nearest_rows_give_sets_by_their_votes(tiny_bert: Path, at_once: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(frozen_rivals, "_VOTES", at_once)
    train, test = tagged(120), tagged(50, seed=2)
    learner = learner_of(tiny_bert, "multilabel", LABELS, pooling="mean", known=MultiLabeller.look(train))
    before, known = state(learner), dict(learner.known)
    found = look(learner, train, test)
    assert set(found) == {LINEAR, NEAREST}
    assert all(torch.equal(value, before[name]) for name, value in state(learner).items()) and learner.known == known
    X, Y = directions(learner, train), directions(learner, test)
    truth = np.array([[label in e.target for label in LABELS] for e in train], dtype=float)
    scores = peer(X, truth).predict(Y)
    assert np.array([[p.scores[label] for label in LABELS] for p in found[NEAREST]]) == pytest.approx(scores, abs=1e-6)
    # Each train row as the others see it: that is what the cuts are chosen on.
    others = np.concatenate([peer(np.delete(X, i, 0), np.delete(truth, i, 0)).predict(X[i : i + 1]) for i in range(len(X))])
    cuts = best_cuts(others, truth)
    given = [tuple(label for label, s, cut in zip(LABELS, row, cuts, strict=True) if s >= cut) for row in scores]
    assert [p.labels for p in found[NEAREST]] == given and len(set(given)) > 2


def test_nearest_rows_leave_no_text_without_a_label_where_no_train_row_was(tiny_bert: Path) -> None:
    train, test = [e for e in tagged(150) if e.target], tagged(40, seed=2)
    learner = learner_of(tiny_bert, "multilabel", LABELS, pooling="mean", known=MultiLabeller.look(train))
    assert all(p.labels for p in look(learner, train, test)[NEAREST])


def test_nearest_rows_give_the_mean_score_of_each_trait(tiny_bert: Path) -> None:
    train, test = graded(90), graded(40, seed=1)
    traits = tuple(sorted({t for e in train for t in e.target}))
    assert any(len(e.target) < len(traits) for e in train), "some rows were judged for one trait only"
    learner = learner_of(tiny_bert, "grade", traits, pooling="mean", known=Grader.look(train))
    found = look(learner, train, test)[NEAREST]
    X, Y = directions(learner, train), directions(learner, test)
    for trait in traits:
        judged = [i for i, e in enumerate(train) if trait in e.target]
        expected = peer(X[judged], np.array([train[i].target[trait] for i in judged])).predict(Y)
        assert [p.grades[trait] for p in found] == pytest.approx(expected.tolist(), abs=1e-6)
        assert np.ptp(expected) > 0

"""Heads on the untouched network: they are what training starts from, and looking at them changes nothing."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from making import LABELS, graded, labelled, learner_of, section
from sklearn.neighbors import KNeighborsClassifier

from luthier.lifecycle.frozen_rivals import LINEAR, NEAREST, frozen
from luthier.objectives import Learner
from luthier.objectives.cut import gathered
from luthier.objectives.grade import Grader
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
    assert set(found) == {LINEAR} and all(p.grades for p in found[LINEAR])
    assert all(torch.equal(value, before[name]) for name, value in state(learner).items()) and learner.known == known

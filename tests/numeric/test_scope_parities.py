"""Texts of none of the labels: distances equal scikit-learn's, promises hold on new rows, and a bundle declines as the trained model did."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.covariance import LedoitWolf
from sklearn.metrics import roc_auc_score
from sklearn.neighbors import NearestNeighbors

from luthier.objectives.scope import KINDS, Scope, Seen, fit
from luthier.objectives.scope.fit import auroc, balanced


def rows(rng: np.random.Generator, count: int, *, away: float = 0.0, classes: int = 4, wide: int = 6) -> Seen:
    centres = np.eye(classes, wide) * 4
    label_N = rng.integers(0, classes, count)
    X = centres[label_N] + rng.normal(size=(count, wide)) * np.linspace(0.5, 2, wide)
    X[:, -1] += away
    features = torch.from_numpy(X).float()
    logits = features @ torch.from_numpy(centres).float().T
    return Seen(logits, features, label_N if not away else np.full(count, -1))


def fitted(kind: str, seed: int = 0, *, valid: int = 400, **asked: float) -> tuple[Scope, dict]:
    rng = np.random.default_rng(seed)
    train, inner, outer = rows(rng, 600), rows(rng, valid), rows(rng, 200, away=6)
    return fit(kind, "none", train, inner, outer, keep=asked.get("keep"), recall=asked.get("recall"), seed=0)


def test_distance_is_mahalanobis_with_a_shrunk_covariance() -> None:
    rng = np.random.default_rng(0)
    train, asked = rows(rng, 300), rows(rng, 50)
    scope, _ = fit("distance", "none", train, asked, None, keep=0.9, recall=None, seed=0)
    X, labels = train.features_ND.numpy().astype(float), train.label_N
    means = np.stack([X[labels == c].mean(0) for c in range(4)])
    inverse = np.linalg.inv(LedoitWolf(assume_centered=True).fit(X - means[labels]).covariance_)
    apart = asked.features_ND.numpy()[:, None] - means[None]
    expected = np.sqrt(np.einsum("ncd,de,nce->nc", apart, inverse, apart).min(1))
    assert scope.unlike(asked.logits_NC, asked.features_ND).numpy() == pytest.approx(expected, rel=1e-4)


def test_neighbours_equal_scikit_learn_and_half_precision_costs_little() -> None:
    rng = np.random.default_rng(1)
    train, asked = rows(rng, 700), rows(rng, 40)
    scope, _ = fit("neighbours", "none", train, asked, None, keep=0.9, recall=None, seed=0)
    known = NearestNeighbors(n_neighbors=5, metric="cosine").fit(train.features_ND.numpy())
    expected = known.kneighbors(asked.features_ND.numpy())[0][:, -1]
    assert scope.unlike(asked.logits_NC, asked.features_ND).numpy() == pytest.approx(expected, abs=2e-3)


def test_probability_and_energy_are_their_formulas() -> None:
    asked = rows(np.random.default_rng(2), 30)
    shares = asked.logits_NC.softmax(-1)
    assert torch.equal(Scope("probability", "none").unlike(asked.logits_NC, None), 1 - shares.max(-1).values)
    energy = Scope("energy", "none").unlike(asked.logits_NC, None)
    assert torch.allclose(energy, -asked.logits_NC.exp().sum(-1).log(), atol=1e-4)


def test_the_share_of_ordered_pairs_is_roc_auc() -> None:
    rng = np.random.default_rng(3)
    inner, outer = np.round(rng.normal(size=80), 1), np.round(rng.normal(1, 1, 50), 1)
    assert auroc(inner, outer) == pytest.approx(roc_auc_score([0] * 80 + [1] * 50, np.concatenate([inner, outer])))


@pytest.mark.parametrize("kind", KINDS)
def test_the_kept_share_holds_on_new_rows(kind: str) -> None:
    """Split conformal: over draws the kept share is at least the asked one, and not far above."""
    kept = []
    for seed in range(60):
        scope, facts = fitted(kind, seed, valid=150, keep=0.9)
        new = rows(np.random.default_rng(1000 + seed), 400)
        kept.append(float((scope.unlike(new.logits_NC, new.features_ND) <= scope.cut).float().mean()))
        assert not facts["notes"]
    assert 0.895 - 0.006 <= np.mean(kept) <= 0.925


def test_the_wanted_recall_holds_on_new_rows() -> None:
    found = []
    for seed in range(60):
        scope, _ = fitted("distance", seed, recall=0.8)
        new = rows(np.random.default_rng(1000 + seed), 400, away=6)
        found.append(float((scope.unlike(new.logits_NC, new.features_ND) > scope.cut).float().mean()))
    assert 0.79 <= np.mean(found) <= 0.83


def test_the_way_that_tells_best_is_chosen_with_and_without_such_rows() -> None:
    """Away lies in a direction that no logit sees: only what looks at features can tell it."""
    scope, facts = fitted("auto", keep=0.9)
    assert facts["by"] == "rows out of scope" and scope.kind in ("distance", "neighbours")
    told = facts["told_apart"]
    assert told[scope.kind] == max(told.values()) > 0.85 and told["energy"] < 0.7
    rng = np.random.default_rng(0)
    scope, facts = fit("auto", "none", rows(rng, 600), rows(rng, 400), None, keep=0.9, recall=None, seed=0)
    assert facts["by"] == "labels taken away in turn" and set(facts["told_apart"]) == set(KINDS)
    assert facts["told_apart"][scope.kind] == max(facts["told_apart"].values())
    scope, facts = fit("auto", "none", None, rows(rng, 20), None, keep=0.9, recall=None, seed=0)
    assert scope.kind == "energy", "too few rows to measure, and no features"


def test_what_few_rows_cannot_promise_is_told() -> None:
    _, facts = fitted("energy", valid=10, keep=0.99)
    assert facts["notes"] == ["10 validation rows cannot promise that 99% of the rows in scope are answered; 99 would"]
    rng = np.random.default_rng(4)
    _, facts = fit("energy", "none", rows(rng, 100), rows(rng, 100), rows(rng, 5, away=6), keep=None, recall=0.9, seed=0)
    assert facts["notes"] == ["5 rows out of scope cannot promise that 90% of such are found; 9 would"] and facts["outside_found"] == 1.0


def test_a_bank_holds_every_row_of_a_rare_label() -> None:
    labels = np.array([0] * 1000 + [1] * 5 + [2] * 300)
    kept = labels[balanced(labels, 105, 0)]
    assert np.bincount(kept).tolist() == [50, 5, 50]
    assert len(balanced(labels, 5000, 0)) == len(labels)


@pytest.mark.parametrize("kind", KINDS)
def test_it_goes_through_files(kind: str, tmp_path: Path) -> None:
    scope, _ = fitted(kind, keep=0.9)
    again = Scope.load(tmp_path, scope.save(tmp_path))
    new = rows(np.random.default_rng(5), 60)
    assert again is not None and again.cut == scope.cut and again.name == "none"
    assert torch.equal(again.unlike(new.logits_NC, new.features_ND), scope.unlike(new.logits_NC, new.features_ND))
    assert Scope.load(tmp_path, None) is None


def test_a_bundle_declines_as_the_trained_model_did(tmp_path: Path, tiny_bert: Path) -> None:
    from making import LABELS as NAMES
    from making import labelled, learner_of

    from luthier.data.report import Prepared
    from luthier.lifecycle import scoping
    from luthier.release.bundle import write_bundle
    from luthier.release.predictor import Predictor, load_predictor
    from luthier.spec.task import Task

    learner = learner_of(tiny_bert, "classify", NAMES)
    train, valid = labelled(60), labelled(40, seed=1)
    task = Task.model_validate({"task": {"objective": "classify"}, "data": {"source": "x"}, "answer": {"out_of_scope": {"keep": 0.8, "score": "distance"}}})
    data = Prepared(train, valid, [], NAMES, None)  # type: ignore[arg-type]
    facts = scoping.settle(learner, data, task)
    assert facts["kind"] == "distance" and facts["valid_kept"] >= 0.8
    before = Predictor(learner).predict([e.inputs for e in valid])
    declined = [p.nearest is not None for p in before]
    assert any(declined) and not all(declined) and {p.label for p, d in zip(before, declined, strict=True) if d} == {"out_of_scope"}
    write_bundle(tmp_path / "bundle", learner, probes=valid, facts={})
    loaded = load_predictor(tmp_path / "bundle")
    after = loaded.predict([e.inputs for e in reversed(valid)])[::-1]
    assert [p.label for p in after] == [p.label for p in before] and [p.nearest for p in after] == [p.nearest for p in before]
    assert [p.unlike for p in after] == pytest.approx([p.unlike for p in before], rel=1e-4)
    assert [p.label for p in loaded.measure(valid)] == [p.label for p in before]


def test_the_service_declines_as_the_bundle_does_and_learns_of_it(tmp_path: Path, tiny_bert: Path) -> None:
    from making import LABELS as NAMES
    from making import labelled, learner_of
    from starlette.testclient import TestClient

    from luthier.ledger.store import Ledger
    from luthier.objectives.labelled import Labelled
    from luthier.release.bundle import write_bundle
    from luthier.release.predictor import load_predictor
    from luthier.serve.app import build_app
    from luthier.spec.serve import ServeSection

    learner, valid = learner_of(tiny_bert, "classify", NAMES), labelled(30)
    assert isinstance(learner, Labelled)
    learner.scope = Scope("energy", "none of these", -1.6)
    write_bundle(tmp_path / "bundle", learner, probes=valid, facts={})
    predictor = load_predictor(tmp_path / "bundle")
    texts = [str(e.inputs["text"]) for e in valid]
    told = [p.as_dict() for p in predictor.predict(texts)]
    # Whatever the tiny network says, a cut in the middle parts the rows.
    cut = sorted(p["unlike"] for p in told)[15]
    predictor.learner.scope = Scope("energy", "none of these", cut)  # type: ignore[assignment]
    told = [p.as_dict() for p in predictor.predict(texts)]
    assert len({p["out_of_scope"] for p in told}) == 2 and all((p["label"] == "none of these") == p["out_of_scope"] for p in told)
    with Ledger(tmp_path / "ledger.sqlite") as ledger, TestClient(build_app(predictor, ledger, ServeSection()), base_url="http://127.0.0.1") as http:
        answers = http.post("/v1/predict", json={"inputs": texts}).json()["predictions"]
        for answer, wanted in zip(answers, told, strict=True):
            assert {k: v for k, v in answer.items() if k not in ("prediction_id", "unlike", "scores")} == {k: v for k, v in wanted.items() if k not in ("unlike", "scores")}
            assert answer["unlike"] == pytest.approx(wanted["unlike"], abs=1e-4)
        inside = next(a for a in answers if not a["out_of_scope"])
        said = http.post("/v1/feedback", json={"prediction_id": inside["prediction_id"], "label": "none of these"})
        assert said.status_code == 201, "that a text has no label can be said without a new label"
        assert http.post("/v1/feedback", json={"prediction_id": inside["prediction_id"], "label": "nonsense"}).status_code == 422

"""The nearest train rows beside a linear head: the mix by its formula, when it is taken, what is kept of it and what it costs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from making import LABELS, labelled, learner_of, section

import luthier
from luthier.base.errors import BundleError
from luthier.lifecycle import nearest
from luthier.objectives.cut import gathered
from luthier.objectives.heads import beside
from luthier.objectives.heads.near import NearestRows
from luthier.release.bundle import write_bundle
from luthier.release.card import model_card
from luthier.release.predictor import Predictor, load_predictor
from luthier.train.run import fit

FACTS = {"task": {"name": "t", "objective": "classify", "goal": ""}, "name": "t", "base": {"name": "tiny", "sha256": "x"}}


def probabilities(learner: Any, examples: list[Any]) -> np.ndarray:
    return np.array([[p.scores[label] for label in learner.labels] for p in Predictor(learner).measure(examples)])


def untaught(folder: Path, **settings: Any) -> Any:
    """Return a learner whose head says next to nothing, on vectors that tell the labels apart."""
    learner = learner_of(folder, "classify", LABELS, pooling="mean")
    given = section("classify", 200, head="random", max_steps=1, rate=1e-6, **settings)
    fit(learner, labelled(200), given, score=None)
    return learner, given


def by_hand(learner: Any, train: list[Any], examples: list[Any], share: float, bandwidth: float) -> np.ndarray:
    """Mix softmax of the head and of the neighbours' votes, row by row."""
    encoded, kept = [learner.encode(e) for e in examples], [learner.encode(e) for e in train]
    own = gathered(encoded, lambda rows: learner.logits(learner.collate(rows)).detach()).softmax(-1).double().numpy()
    asked, known = (gathered(rows, learner.head_features).double().numpy() for rows in (encoded, kept))
    known = known / np.linalg.norm(known, axis=1, keepdims=True)
    found = []
    for mine, row in zip(own, asked / np.linalg.norm(asked, axis=1, keepdims=True), strict=True):
        votes = np.zeros(len(learner.labels))
        for other, vector in zip(kept, known, strict=True):
            votes[other.label] += np.exp(bandwidth * float(row @ vector))
        found.append((1 - share) * mine + share * votes / votes.sum())
    return np.array(found)


def test_train_rows_have_their_say_as_the_formula_has_it_and_in_the_bundle_too(tiny_bert: Path, tmp_path: Path) -> None:
    learner, given = untaught(tiny_bert)
    train, valid, test = labelled(200), labelled(120, seed=1), labelled(30, seed=2)
    assert nearest.asked(learner, given, len(valid))
    before = probabilities(learner, valid)
    facts = nearest.settle(learner, train, valid)
    assert (facts["rows"], facts["judged"]) == (200, 120) and facts["log_loss_after"] < facts["log_loss_before"]
    after, truth = probabilities(learner, valid), np.array([LABELS.index(e.target) for e in valid])
    assert (after.argmax(1) == truth).mean() == pytest.approx(facts["accuracy_after"], abs=1e-4)
    assert (before.argmax(1) == truth).mean() == pytest.approx(facts["accuracy_before"], abs=1e-4)
    expected = by_hand(learner, train, test, facts["share"], facts["bandwidth"])
    np.testing.assert_allclose(probabilities(learner, test), expected, atol=2e-5)

    learner.temper(1.7)
    scaled = expected**1.7 / (expected**1.7).sum(1, keepdims=True)
    np.testing.assert_allclose(probabilities(learner, test), scaled, atol=5e-5)
    folder = tmp_path / "bundle"
    write_bundle(folder, learner, probes=test, facts={**FACTS, "training": {"nearest": facts}})
    again = load_predictor(folder)
    np.testing.assert_allclose(probabilities(again.learner, test), scaled, atol=1e-4)
    kept = nearest.kept(again.learner, train)
    assert kept is not None and nearest.kept(again.learner, train[::-1]) is None and nearest.kept(again.learner, train[1:]) is None
    expected = gathered([learner.encode(e) for e in train], learner.head_features)
    np.testing.assert_allclose(kept, torch.nn.functional.normalize(expected, dim=-1).numpy(), atol=1e-5)
    told = json.loads((folder / "nearest" / "head.json").read_text("utf-8"))
    assert (told["share"], told["mix_scale"]) == (facts["share"], pytest.approx(1.7))
    assert "train rows vote" in (folder / "README.md").read_text("utf-8")
    assert "train rows vote" not in model_card({**FACTS, "training": {}}, objective="classify", bundle_id="x")

    # What learns on has other vectors; a stage's next training begins without them.
    learner.prepare_training(section("classify", 200))
    assert learner.beside is None
    damaged = folder / "nearest" / "neighbours.safetensors"
    damaged.write_bytes(damaged.read_bytes()[:-40])
    with pytest.raises(BundleError):
        beside.Beside.load(folder / "nearest")


def test_neighbours_are_left_out_where_they_are_no_help(tiny_bert: Path) -> None:
    learner, _ = untaught(tiny_bert)
    train, valid = labelled(200), labelled(120, seed=1)
    rng = np.random.default_rng(0)
    wrong = [type(e)(e.id, e.inputs, str(rng.choice(LABELS)), e.source) for e in train]
    before = probabilities(learner, valid)
    facts = nearest.settle(learner, wrong, valid)
    assert facts["share"] == 0.0 and "no sure gain on 120 validation rows" in facts["said"] and learner.beside is None
    assert "train rows vote" not in model_card({**FACTS, "training": {"nearest": facts}}, objective="classify", bundle_id="x")
    assert nearest.settle(learner, [], valid) == {}
    np.testing.assert_array_equal(probabilities(learner, valid), before)


def test_a_mix_must_be_surely_better_and_cost_no_right_answer() -> None:
    rng = np.random.default_rng(3)
    labels = rng.integers(0, 3, 400)
    sharp = np.log(np.where(np.arange(3) == labels[:, None], 0.7, 0.15))
    flat = np.full((400, 3), np.log(1 / 3))
    found = beside.choose(flat, {20.0: sharp, 50.0: flat}, labels)
    assert found is not None and (found.bandwidth, found.share) == (20.0, 0.75) and found.accuracy[1] == 1.0
    assert beside.choose(sharp, {20.0: flat}, labels) is None
    assert beside.choose(sharp, {20.0: sharp}, labels) is None, "the same again is no gain"
    # Better probabilities on the whole, and fewer right answers: the head is right by little, the votes mostly by much.
    own = np.log(np.where(np.arange(3) == labels[:, None], 0.36, 0.32))
    wrong = np.where(np.arange(400) % 8 == 0, (labels + 1) % 3, labels)
    votes = np.log(np.where(np.arange(3) == wrong[:, None], 0.9, 0.05))
    assert beside.choose(own, {20.0: votes}, labels) is None


def test_votes_count_as_rows_weigh(tiny_bert: Path) -> None:
    learner, _ = untaught(tiny_bert)
    learner.weigh([0.5, 1.0, 4.0])
    facts = nearest.settle(learner, labelled(200), labelled(120, seed=1))
    assert facts and isinstance(learner.beside, beside.Beside) and isinstance(learner.beside.near, NearestRows)
    labels, votes = learner.beside.near.labels_N, learner.beside.near.votes_N
    torch.testing.assert_close(votes, torch.tensor([0.5, 1.0, 4.0])[labels])


def test_no_more_rows_are_kept_than_a_bundle_carries(tiny_bert: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(beside, "MOST_BYTES", 4 * 32 * 90)
    learner, _ = untaught(tiny_bert)
    assert nearest.settle(learner, labelled(200), labelled(120, seed=1))["rows"] == 90


@pytest.mark.parametrize(
    ("settings", "valid", "asked"),
    [({}, 100, True), ({}, 99, False), ({"nearest": "off"}, 100, False), ({"method": "head"}, 100, False), ({"method": "lora"}, 100, True)],
)
def test_when_neighbours_are_tried(settings: dict[str, Any], valid: int, asked: bool, tiny_bert: Path, tiny_roberta: Path) -> None:
    given = section("classify", 200, **settings)
    assert nearest.asked(learner_of(tiny_bert, "classify", LABELS, pooling="mean"), given, valid) is asked
    assert not nearest.asked(learner_of(tiny_roberta, "classify", LABELS), given, valid), "its own head hides the vectors"
    assert not nearest.asked(learner_of(tiny_bert, "multilabel", LABELS), given, valid)


def task_of(folder: Path, base: Path, **train: Any) -> dict[str, Any]:
    rows = "".join(json.dumps({"text": e.inputs["text"], "label": e.target}) + "\n" for e in labelled(450))
    (folder / "rows.jsonl").write_text(rows, "utf-8")
    data = {"source": "rows.jsonl", "columns": {"text": "text", "label": "label"}, "leaks": "allow", "split": {"valid": 0.3}}
    task = {"task": {"name": "t", "objective": "classify"}, "data": data, "model": {"base": str(base), "pooling": "mean"},
            "train": {"method": "full", **train}, "keep": {"probe": "off"}}  # fmt: skip
    (folder / "one.yaml").write_text(json.dumps(task), "utf-8")
    return task


def test_a_run_serves_judges_and_explains_by_the_mix(tiny_bert: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    task_of(tmp_path, tiny_bert, head="random", max_steps=1, rate=1e-6)
    run = luthier.run(tmp_path / "one.yaml", out=tmp_path / "run")
    record = json.loads((run.folder / "report.json").read_text("utf-8"))
    assert record["training"]["nearest"]["share"] > 0 and "of the say in each answer" in (run.folder / "report.html").read_text("utf-8")
    tested = [json.loads(line) for line in next(run.folder.glob("prepared/*/test.jsonl")).read_text("utf-8").splitlines()]
    said = luthier.load(run.bundle).predict([row["inputs"]["text"] for row in tested])
    right = sum(p.label == row["target"] for p, row in zip(said, tested, strict=True)) / len(tested)
    assert right == pytest.approx(record["metrics"]["test"]["accuracy"]["value"]) and right > 0.8
    # Its neighbours are those that a pass over the train rows finds.
    explained = (run.folder / "mistakes.jsonl").read_text("utf-8")
    monkeypatch.setattr(nearest, "kept", lambda learner, train: None)
    again = luthier.run(tmp_path / "one.yaml", out=tmp_path / "again")
    assert json.loads(explained.splitlines()[0])["near"] and (again.folder / "mistakes.jsonl").read_text("utf-8") == explained


def test_stages_are_left_without_and_a_plan_counts_what_is_tried(tiny_bert: Path, tmp_path: Path) -> None:
    from luthier.lifecycle.planning import plan

    one = task_of(tmp_path, tiny_bert, epochs=1)

    def parts(*overrides: str) -> tuple[set[str], float, int]:
        found = plan(tmp_path / "one.yaml", overrides)
        return {part["name"] for part in found["time"]["parts"]}, found["disk"]["parts"]["bundle"], found["work"]["rows"]

    tried, without = parts(), parts("train.nearest=off")
    assert tried[0] - without[0] == {"nearest rows"}
    assert tried[1] - without[1] == pytest.approx(tried[2] * 4 * 32 / 2**20, abs=0.11)
    (tmp_path / "two.yaml").write_text(json.dumps({**one, "data": {}, "stages": [{"name": n, "data": one["data"]} for n in ("a", "b")]}), "utf-8")
    assert not any("nearest" in part["name"] for part in plan(tmp_path / "two.yaml")["time"]["parts"])

"""The contest and the methods it chooses among, on a tiny real encoder: train, save, load, resume, same answers."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from making import LABELS, labelled, learner_of, section

from luthier.base.errors import ModelError
from luthier.base.records import Example, Source
from luthier.lifecycle import run
from luthier.objectives.learner import Learner
from luthier.release.bundle import write_bundle
from luthier.release.predictor import Predictor, load_predictor
from luthier.spec.train import TrainSection
from luthier.train.batches import epoch_batches
from luthier.train.choice import Choice
from luthier.train.choose import choose_method
from luthier.train.few import contest as contests
from luthier.train.few.contenders import Entry
from luthier.train.run import fit

FULL = Choice("full", "fits")


def make(folder: Path, labels: tuple[str, ...] = LABELS, **model: Any) -> Any:
    return learner_of(folder, "classify", labels, **{"pooling": "mean", **model})


def scores(learner: Learner, examples: Sequence[Example]) -> torch.Tensor:
    found = Predictor(learner).measure(examples)
    return torch.tensor([[p.scores[label] for label in learner.labels] for p in found])


@pytest.mark.parametrize("method", ["head", "prototypes", "neighbours", "contrastive"])
@pytest.mark.parametrize("pooling", ["mean", "cls"])
def test_a_bundle_answers_as_what_was_trained(method: str, pooling: str, tiny_bert: Path, tmp_path: Path) -> None:
    learner, rows = make(tiny_bert, pooling=pooling), labelled(30)
    outcome = fit(learner, rows, section("classify", 30, method=method, epochs=2.0, batch=8), score=None)
    assert outcome.steps == (8 if method == "contrastive" else 0)
    before = scores(learner, rows)
    torch.testing.assert_close(before.sum(1), torch.ones(30))
    write_bundle(tmp_path / "bundle", learner, probes=rows, facts={"task": {"name": "t"}})
    torch.testing.assert_close(scores(load_predictor(tmp_path / "bundle").learner, rows), before, rtol=1e-5, atol=1e-6)


def test_contrastive_steps_move_the_body_and_draw_a_label_together(tiny_bert: Path) -> None:
    learner, rows = make(tiny_bert), labelled(40)
    encoded = [learner.encode(row) for row in rows]

    def spread() -> float:
        learner.eval()
        vectors = torch.stack([learner.head_features([row])[0] for row in encoded])
        labels = torch.tensor([row.label for row in encoded])
        alike = vectors @ vectors.T
        same = labels[:, None] == labels[None]
        return float(alike[same].mean() - alike[~same].mean())

    before, apart = learner.network.encoder.layer[0].output.dense.weight.clone(), spread()
    settings = section(
        "classify", 40, method="contrastive", rate=3e-3, epochs=25.0, batch=40, embeddings="train", weight_decay=0.0
    )
    outcome = fit(learner, rows, settings, score=None)
    assert outcome.losses[-1]["loss"] < outcome.losses[0]["loss"]
    assert not torch.equal(learner.network.encoder.layer[0].output.dense.weight, before)
    assert spread() > apart + 0.1, (spread(), apart)


def test_batches_hold_a_row_with_others_of_its_label() -> None:
    labels = [i % 9 for i in range(100)]
    for epoch in range(3):
        batches = epoch_batches([5] * 100, batch=16, seed=0, epoch=epoch, labels=labels)
        assert sorted(row for rows in batches for row in rows) == list(range(100))
        assert [len(rows) for rows in batches] == [16] * 6 + [4]
        alone = sum([labels[r] for r in rows].count(labels[row]) == 1 for rows in batches for row in rows)
        assert alone <= len(batches)


def test_contrastive_training_goes_on_where_it_was_killed(tiny_bert: Path, tmp_path: Path) -> None:
    rows = labelled(24)
    settings = section("classify", 24, method="contrastive", epochs=4.0, batch=8, checkpoint_s=0.0)
    whole = make(tiny_bert)
    fit(whole, rows, settings, score=None)

    class Stop(Exception):
        pass

    def emit(kind: str, /, **facts: Any) -> None:
        if kind == "checkpoint" and facts["step"] == 5:
            raise Stop

    with pytest.raises(Stop):
        fit(make(tiny_bert), rows, settings, score=None, folder=tmp_path, emit=emit)
    resumed = make(tiny_bert)
    fit(resumed, rows, settings, score=None, folder=tmp_path)
    for (name, a), b in zip(whole.state_dict().items(), resumed.state_dict().values(), strict=True):
        assert torch.equal(a, b), name


# The contest


def test_every_contender_is_named_with_its_figures_and_the_winner_with_its_reason(tiny_bert: Path) -> None:
    learner, rows = make(tiny_bert), labelled(36)
    before = {name: value.clone() for name, value in learner.state_dict().items()}
    choice = choose_method(learner, rows, TrainSection(epochs=1.0))
    held = choice.facts["contest"]
    assert [entry["method"] for entry in held["contenders"]] == [
        "prototypes",
        "head",
        "neighbours",
        "contrastive",
    ]
    assert all(0 <= entry["accuracy"] <= 1 and entry["seconds"] >= 0 for entry in held["contenders"])
    assert held["winner"] == choice.method
    assert "36 rows" in choice.why
    for name, value in learner.state_dict().items():  # rivals are trained as copies
        assert torch.equal(value, before[name])
    again = choose_method(make(tiny_bert), rows, TrainSection(epochs=1.0))
    assert again.method == choice.method
    for one, two in zip(held["contenders"], again.facts["contest"]["contenders"], strict=True):
        assert {**one, "seconds": 0} == {**two, "seconds": 0}


@pytest.mark.parametrize(("loss", "winner"), [(1.0, "frozen"), (-0.5, "tuned"), (None, "tuned")])
def test_tuning_wins_unless_it_is_clearly_worse(loss: float | None, winner: str, tiny_bert: Path, monkeypatch) -> None:
    best: dict[int, float] = {}
    lowest = [float("inf")]
    real = contests._frozen

    def frozen(*given: Any) -> Entry:
        entry = real(*given)
        if entry.log_loss < lowest[0]:
            lowest[0] = entry.log_loss
            best.update(entry.losses)
        return entry

    def rival(method: str, learner: Any, examples: Any, rows: Any, held: Any, train: Any) -> Entry:
        losses = {
            row: best[row] + (-1) ** i * 0.01 if loss is None else best[row] + loss + i * 0.001
            for i, row in enumerate(held.tolist())
        }
        mean = sum(losses.values()) / len(losses)
        return Entry(method, 0.5, mean, 1.0, 1.5, losses, {})

    monkeypatch.setattr(contests, "_frozen", frozen)
    monkeypatch.setattr(contests, "tuned", rival)
    choice = contests.contest(make(tiny_bert), labelled(60), TrainSection(), 0, FULL)
    assert choice is not None
    assert (choice.method in ("prototypes", "head", "neighbours")) == (winner == "frozen")
    assert choice.facts.get("scale") == (None if winner == "frozen" else 1.5)


def test_held_out_rows_are_not_trained_on(tiny_bert: Path, monkeypatch) -> None:
    from luthier.train.few import contenders

    seen: list[list[str]] = []
    monkeypatch.setattr(contenders, "fit", lambda learner, kept, section, score: seen.append([e.id for e in kept]))
    rows = labelled(40)
    choice = contests.contest(make(tiny_bert), rows, TrainSection(), 0, FULL)
    assert choice is not None
    judged = next(e for e in choice.facts["contest"]["contenders"] if e["method"] == "contrastive")["rows"]
    assert all(len(kept) == 40 - judged for kept in seen)
    assert 5 <= judged <= 11


def test_a_body_that_is_to_be_smoothed_is_tuned_over_its_labels(tiny_bert: Path) -> None:
    section = TrainSection(epochs=1.0, label_smoothing=0.1)
    choice = contests.contest(make(tiny_bert), labelled(36), section, 0, FULL)
    assert choice is not None
    assert [entry["method"] for entry in choice.facts["contest"]["contenders"]][-1] == "full"


def test_many_rows_and_classifiers_of_their_own_hold_no_contest(
    tiny_bert: Path, tiny_roberta: Path, monkeypatch
) -> None:
    own = learner_of(tiny_roberta, "classify", LABELS)
    assert contests.contest(own, labelled(30), TrainSection(), 0, FULL) is None
    assert contests.contest(make(tiny_bert), labelled(30), TrainSection(head="random"), 0, FULL) is None
    monkeypatch.setattr(contests, "FEW", 20)
    assert contests.contest(make(tiny_bert), labelled(30), TrainSection(), 0, FULL) is None
    assert contests.contest(make(tiny_bert), labelled(50), TrainSection(), 0, FULL) is None


def test_rows_too_few_to_judge_tuning_are_not_held_out_from_it(tiny_bert: Path, monkeypatch) -> None:
    def never(*given: Any) -> Entry:
        raise AssertionError("a body was tuned for the contest")

    monkeypatch.setattr(contests, "tuned", never)
    some = contests.contest(make(tiny_bert), labelled(24), TrainSection(), 0, FULL)
    assert some is not None
    assert some.method == "contrastive"
    assert some.facts["contest"]["contenders"][-1]["accuracy"] is None
    fewer = contests.contest(make(tiny_bert), labelled(12), TrainSection(), 0, FULL)
    assert fewer is not None
    assert fewer.method in ("prototypes", "head", "neighbours")


def test_where_memory_forbids_tuning_heads_compete_alone(tiny_bert: Path) -> None:
    choice = contests.contest(make(tiny_bert), labelled(30), TrainSection(), 0, Choice("head", "memory"))
    assert choice is not None
    assert choice.method in ("prototypes", "head", "neighbours")


def test_one_row_a_label_and_single_rows_break_nothing(tiny_bert: Path) -> None:
    def rows(targets: str) -> list[Example]:
        return [Example(f"e{i}", {"text": f"{t} parcel {i}"}, t, Source("x", i)) for i, t in enumerate(targets)]

    alone = contests.contest(make(tiny_bert, ("a", "b", "c")), rows("abc"), TrainSection(), 0, FULL)
    assert alone is not None
    assert alone.method == "prototypes"
    assert "one a label" in alone.why
    some = contests.contest(make(tiny_bert, ("a", "b", "c")), rows("aaaaabbbbc"), TrainSection(epochs=1.0), 0, FULL)
    assert some is not None
    assert all(entry["accuracy"] is not None for entry in some.facts["contest"]["contenders"])
    two = contests.contest(make(tiny_bert, ("a", "b")), rows("aab"), TrainSection(epochs=1.0), 0, FULL)
    assert two is not None


def test_tempering_changes_probabilities_and_no_label(tiny_bert: Path) -> None:
    learner, rows = make(tiny_bert), labelled(20)
    before = scores(learner, rows)
    contests.temper(learner, Choice("full", "", {"scale": 2.0}))
    torch.testing.assert_close(scores(learner, rows), (2 * before.log()).softmax(-1), rtol=1e-4, atol=1e-5)
    now = scores(learner, rows)
    contests.temper(learner, Choice("full", ""))
    assert torch.equal(scores(learner, rows), now)


def test_methods_of_vectors_need_vectors(tiny_roberta: Path) -> None:
    for method in ("contrastive", "neighbours"):
        with pytest.raises(ModelError, match=r"train\.method: .* model\.pooling: mean"):
            fit(
                learner_of(tiny_roberta, "classify", LABELS),
                labelled(8),
                section("classify", 8, method=method),
                score=None,
            )


# A whole run


def test_a_run_tells_the_contest_and_descriptions_of_no_label_are_faults(tiny_bert: Path, tmp_path: Path) -> None:
    lines = ["text,label", *(f'"{e.inputs["text"]} {i}",{e.target}' for i, e in enumerate(labelled(60)))]
    (tmp_path / "rows.csv").write_text("\n".join(lines), encoding="utf-8")
    task = tmp_path / "luthier.yaml"
    body = f"""
task: {{objective: classify}}
data:
  source: rows.csv
  leaks: allow
  descriptions: {{delivery: where a parcel is, LABEL: money}}
model: {{base: {tiny_bert}, pooling: mean}}
train: {{epochs: 1}}
"""
    task.write_text(body.replace("LABEL", "biling"), encoding="utf-8")
    with pytest.raises(Exception, match=r'(?s)data\.descriptions.*"biling".*Did you mean "billing"'):
        run(task, out=tmp_path / "run")
    task.write_text(body.replace("LABEL", "billing"), encoding="utf-8")
    finished = run(task, out=tmp_path / "run")
    held = finished.record["training"]["contest"]
    assert held["winner"] == finished.record["model"]["method"]
    assert len(held["contenders"]) == 4
    assert '"kind": "contest"' in (tmp_path / "run" / "events.jsonl").read_text(encoding="utf-8")


def test_few_validation_rows_are_told_and_choose_nothing(tiny_bert: Path) -> None:
    falling = iter([0.9, 0.5, 0.4, 0.3, 0.2, 0.1, 0.0])
    settings = section("classify", 24, method="full", epochs=4.0, batch=8, evaluations=4, patience=1, rate=1e-3)
    learner = make(tiny_bert)
    outcome = fit(learner, labelled(24), settings, score=lambda: next(falling), to_the_end=True)
    assert (outcome.steps, outcome.best_step, outcome.stopped_early) == (12, 12, False)
    assert [e["score"] for e in outcome.evaluations] == [0.9, 0.5, 0.4, 0.3, 0.2]
    falling = iter([0.9, 0.5, 0.4])
    assert fit(make(tiny_bert), labelled(24), settings, score=lambda: next(falling)).best_step == 0

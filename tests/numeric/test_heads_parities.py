"""Numbers of the objectives with a head of their own that must never drift: pieces, padding, resume, bundles."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from making import LABELS, documents, graded, learner_of, section, tagged

from luthier.base.cuts import best_cut, best_cuts
from luthier.base.errors import Interrupted
from luthier.base.interrupt import Stopper
from luthier.base.records import Prediction
from luthier.evaluate import metrics
from luthier.lifecycle import settling
from luthier.objectives.linear_scores import fit_scores
from luthier.objectives.linear_sets import fit_sets
from luthier.release.bundle import write_bundle
from luthier.release.predictor import Predictor, load_predictor
from luthier.train.run import encode_all, fit

MAKERS = {"multilabel": tagged, "grade": graded, "extract": documents}
EACH = pytest.mark.parametrize("objective", list(MAKERS))
FACTS = {"task": {"name": "t", "objective": "x", "goal": ""}, "name": "t", "base": {"name": "tiny", "sha256": "x"}}


def made(folder: Path, objective: str, count: int):
    """Return examples and a learner of them."""
    from luthier.objectives import OBJECTIVES

    examples = MAKERS[objective](count)
    known = OBJECTIVES[objective].look(examples)
    return examples, learner_of(folder, objective, LABELS_OF.get(objective, ()), known=known)


LABELS_OF = {"multilabel": LABELS, "grade": ("content", "length")}


def state(learner) -> dict[str, torch.Tensor]:
    return {name: p.detach().clone() for name, p in learner.named_parameters()}


def numbers(prediction: Prediction) -> list[float]:
    """Return every number of a prediction."""
    return [float(v) for part in (prediction.scores, prediction.grades) for v in (part or {}).values()]


@EACH
def test_micro_batches_equal_one_big_batch(objective: str, tiny_bert: Path) -> None:
    found = []
    # 27 rows in batches of 8: the last window holds 3, and rows differ in what they count for.
    for pieces in (100_000, 16):
        examples, learner = made(tiny_bert, objective, 27)
        settings = section(
            objective, 27, epochs=2.0, batch=8, rate=1e-3, head="random", max_grad_norm=0.5, micro_tokens=pieces
        )
        fit(learner, examples, settings, score=None)
        found.append(state(learner))
    for name in found[0]:
        torch.testing.assert_close(
            found[1][name], found[0][name], rtol=2e-4, atol=2e-5, msg=lambda m, n=name: f"{n}: {m}"
        )


@EACH
def test_the_loss_counts_what_units_say_and_rows_are_summed(objective: str, tiny_bert: Path) -> None:
    examples, learner = made(tiny_bert, objective, 9)
    rows, _ = encode_all(learner.eval(), examples, lambda *a, **k: None)
    together, count = learner.loss(learner.collate(rows), smoothing=0.05)
    alone = [learner.loss(learner.collate([row]), smoothing=0.05) for row in rows]
    torch.testing.assert_close(together, sum(loss for loss, _ in alone), rtol=1e-4, atol=1e-4)
    assert count == pytest.approx(sum(learner.units(row) for row in rows)) == pytest.approx(sum(n for _, n in alone))


@EACH
def test_answers_do_not_depend_on_batch_or_padding(objective: str, tiny_bert: Path) -> None:
    examples, learner = made(tiny_bert, objective, 24)
    fit(learner, examples, section(objective, 24, rate=3e-3, epochs=2.0, batch=8), score=None)
    predictor = Predictor(learner)
    whole = predictor.predict([e.inputs for e in examples])
    for example, one in zip(examples, whole, strict=True):
        np.testing.assert_allclose(numbers(predictor.predict([example.inputs])[0]), numbers(one), rtol=0, atol=2e-5)


@EACH
@pytest.mark.parametrize("stop", [2, 5])
def test_resume_equals_uninterrupted_bit_for_bit(objective: str, stop: int, tiny_bert: Path, tmp_path: Path) -> None:
    settings = section(objective, 40, rate=1e-3, epochs=1.0, batch=6, evaluations=2)

    def run(where: Path, stopper: Stopper | None = None):
        examples, learner = made(tiny_bert, objective, 40)

        def emit(kind: str, **facts) -> None:
            if stopper is not None and kind == "step" and facts["step"] == stop:
                stopper.handle(15, None)

        # What the head's fit leaves beside the weights is in these scores, so a resume that forgets it is seen.
        def score() -> float:
            return sum(sum(numbers(p)) + len(p.labels or ()) for p in Predictor(learner).measure(examples[:5]))

        outcome = fit(learner, examples, settings, score=score, folder=where, identity="x", emit=emit, stopper=stopper)
        return examples, learner, outcome

    examples, whole, reference = run(tmp_path / "whole")
    with pytest.raises(Interrupted):
        run(tmp_path / "cut", Stopper())
    _, again, outcome = run(tmp_path / "cut")
    assert outcome.losses == reference.losses
    assert outcome.evaluations == reference.evaluations
    for name, value in state(whole).items():
        assert torch.equal(value, state(again)[name]), name
    inputs = [e.inputs for e in examples]
    assert Predictor(again).predict(inputs) == Predictor(whole).predict(inputs)


@EACH
@pytest.mark.parametrize("method", ["full", "lora"])
def test_a_bundle_answers_as_the_trained_model(objective: str, method: str, tiny_bert: Path, tmp_path: Path) -> None:
    examples, learner = made(tiny_bert, objective, 36)
    fit(learner, examples, section(objective, 36, method=method, rate=3e-3, epochs=2.0, batch=8), score=None)
    learner.settle(examples, Predictor(learner).measure(examples))
    before = Predictor(learner).measure(examples)
    _, difference = write_bundle(tmp_path / "bundle", learner, probes=examples[:8], facts=FACTS)
    after = load_predictor(tmp_path / "bundle").predict([e.inputs for e in examples])
    for one, two in zip(before, after, strict=True):
        np.testing.assert_allclose(numbers(two), numbers(one), rtol=0, atol=1e-4)
        assert two.labels == one.labels
        assert two.sentences == one.sentences
    assert difference < 1e-4


def test_probabilities_of_sets_are_made_honest_and_no_answer_changes_by_it(tiny_bert: Path, tmp_path: Path) -> None:
    examples, learner = made(tiny_bert, "multilabel", 300)
    fit(learner, examples[:60], section("multilabel", 60, rate=3e-3, epochs=3.0, batch=8), score=None)
    learner.set_head(learner.head.weight * 3, learner.head.bias * 3)  # far too sure
    rows = examples[60:]
    answered = Predictor(learner).measure(rows)
    before = metrics.measured("multilabel", [e.target for e in rows], answered, LABELS)
    facts, told = settling.calibrated_sets(learner, rows, answered)
    after = Predictor(learner).measure(rows)
    assert facts["scale"] < 0.7 and facts["log_loss_after"] < facts["log_loss_before"]
    assert [p.labels for p in after] == [p.labels for p in answered] == [p.labels for p in told], "the cuts move with the scores"
    for one, two in zip(after, told, strict=True):
        np.testing.assert_allclose(numbers(one), numbers(two), rtol=0, atol=2e-3)  # a probability near 1 says little of its logit
    found = metrics.measured("multilabel", [e.target for e in rows], after, LABELS)
    assert found["ece"] < before["ece"] and found["brier"] < before["brier"]
    assert found["micro_f1"] == before["micro_f1"]
    write_bundle(tmp_path / "bundle", learner, probes=rows[:8], facts=FACTS)
    for one, two in zip(load_predictor(tmp_path / "bundle").predict([e.inputs for e in rows]), after, strict=True):
        np.testing.assert_allclose(numbers(one), numbers(two), rtol=0, atol=1e-4)


def test_multilabel_loss_is_binary_cross_entropy(tiny_bert: Path) -> None:
    examples, learner = made(tiny_bert, "multilabel", 9)
    rows, _ = encode_all(learner.eval(), examples, lambda *a, **k: None)
    batch = learner.collate(rows)
    wanted = torch.tensor([[float(label in e.target) for label in LABELS] for e in examples])
    loss, count = learner.loss(batch, smoothing=0.0)
    assert count == 9
    torch.testing.assert_close(loss, F.binary_cross_entropy_with_logits(learner.logits(batch), wanted, reduction="sum"))


def test_heads_of_sets_equal_scikit_learns() -> None:
    from sklearn.linear_model import LogisticRegression

    rng = np.random.default_rng(0)
    X = rng.normal(size=(120, 12))
    Y = (X @ rng.normal(size=(12, 3)) + rng.normal(size=(120, 3)) > np.array([0.0, 1.0, 2.5])).astype(np.float64)
    Y = np.hstack([Y, np.ones((120, 1)), np.zeros((120, 1))])
    found = fit_sets(torch.from_numpy(X).float(), torch.from_numpy(Y), seed=0)
    for k in range(3):
        theirs = LogisticRegression(C=found.strength, tol=1e-8, max_iter=2000).fit(X.astype(np.float32), Y[:, k])
        np.testing.assert_allclose(found.weight_LD[k].numpy(), theirs.coef_[0], rtol=0, atol=5e-3)
        np.testing.assert_allclose(found.bias_L[k].item(), theirs.intercept_[0], rtol=0, atol=5e-3)
    assert found.bias_L[3:].tolist() == [10.0, -10.0], "a label that all rows have, and one that none has"
    assert found.out_of_fold_NL is not None and found.folded_N is not None
    assert found.out_of_fold_NL.shape == (120, 5)


def test_a_cut_makes_f1_largest() -> None:
    from sklearn.metrics import f1_score

    rng = np.random.default_rng(1)
    for _ in range(20):
        truth = rng.random(60) < 0.3
        scores = np.round(np.clip(0.3 * truth + rng.random(60) * 0.6, 0, 1), 1)
        best = max(f1_score(truth, scores >= cut) for cut in np.unique(scores))
        assert f1_score(truth, scores >= best_cut(scores, truth)) == pytest.approx(best)
    few = np.zeros((60, 2), dtype=bool)
    few[:30, 0], few[:3, 1] = True, True
    cuts = best_cuts(rng.random((60, 2)), few)
    assert cuts[1] == best_cut(np.random.default_rng(0).random(1), np.ones(1)) or 0.02 <= cuts[1] <= 0.98
    assert best_cuts(np.zeros((0, 2)), np.zeros((0, 2))) == [0.5, 0.5]


def test_an_answer_is_empty_only_where_train_rows_were(tiny_bert: Path) -> None:
    known = {"may_be_empty": False, "cuts": [0.9, 0.99, 0.99]}
    learner = learner_of(tiny_bert, "multilabel", LABELS, known=known)
    assert learner.told(np.array([[0.5, 0.5, 0.2]]), learner.cuts)[0].labels == (LABELS[0],), "the nearest to its cut"
    learner.known["may_be_empty"] = True
    assert learner.told(np.array([[0.5, 0.5, 0.2]]), learner.cuts)[0].labels == ()


def test_grade_loss_is_the_squared_error_of_known_scores_in_their_spread(tiny_bert: Path) -> None:
    examples, learner = made(tiny_bert, "grade", 11)
    rows, _ = encode_all(learner.eval(), examples, lambda *a, **k: None)
    batch = learner.collate(rows)
    loss, count = learner.loss(batch, smoothing=0.0)
    expected, known = 0.0, 0
    for example, given in zip(examples, learner.logits(batch).tolist(), strict=True):
        for trait, z in zip(learner.labels, given, strict=True):
            if trait in example.target:
                scores = [e.target[trait] for e in examples if trait in e.target]
                expected += (z - (example.target[trait] - np.mean(scores)) / np.std(scores)) ** 2
                known += 1
    assert count == known == sum(len(e.target) for e in examples)
    assert loss.item() == pytest.approx(expected, rel=1e-4)


def test_a_long_text_is_the_mean_over_the_tokens_of_its_windows(tiny_bert: Path) -> None:
    text = "the parcel has not arrived and nobody answers the phone " * 20
    _, learner = made(tiny_bert, "grade", 12)
    learner.eval()
    read = learner.encode_input({"text": text}, room=0)
    sizes = [len(window.ids) for window in (read, *read.others)]
    assert len(sizes) > 2 and max(sizes) <= learner.max_tokens and max(sizes) - min(sizes) <= 1
    special = set(learner.tokenizer.all_special_ids)
    joined = [i for window in (read, *read.others) for i in window.ids if i not in special]
    assert joined == learner.tokenizer(text, add_special_tokens=False)["input_ids"], "nothing is cut"
    with torch.no_grad():
        hidden = [learner.network(input_ids=torch.tensor([w.ids])).last_hidden_state[0] for w in (read, *read.others)]
        found = learner.features(learner.collate([read]))[0]
    expected = F.normalize(torch.cat(hidden).mean(0), dim=0)
    torch.testing.assert_close(found[:-1], expected, rtol=1e-5, atol=1e-6)
    assert found[-1].item() == pytest.approx(0.3 * np.log(sum(sizes)), rel=1e-5)


def test_the_rubric_is_read_before_the_text(tiny_bert: Path) -> None:
    _, learner = made(tiny_bert, "grade", 12)
    alone = learner.encode_input({"text": "where is my parcel"}, room=0)
    both = learner.encode_input({"text": "where is my parcel", "rubric": "refund me now"}, room=0)
    assert both == learner.encode_input({"text": "refund me now\n\nwhere is my parcel"}, room=0) != alone


def test_grades_stay_within_the_scale(tiny_bert: Path) -> None:
    _, learner = made(tiny_bert, "grade", 12)
    with torch.no_grad():
        learner.head.bias.copy_(torch.tensor([100.0, -100.0]))
    (given,) = Predictor(learner).predict(["where is my parcel"])
    scales = learner.known["scales"]
    assert given.grades == {"content": scales["content"][1], "length": scales["length"][0]}
    told = learner_of(tiny_bert, "grade", learner.labels, known={**learner.known, "told_scale": [0, 9, 1]})
    assert told.known["scales"] == {"content": [0, 9, 1], "length": [0, 9, 1]}


def test_the_scores_head_equals_scikit_learns_ridge() -> None:
    from sklearn.linear_model import Ridge

    rng = np.random.default_rng(0)
    X = rng.normal(size=(60, 8)).astype(np.float32)
    Y = X @ rng.normal(size=(8, 3)) + rng.normal(size=(60, 3))
    Y[:20, 2] = np.nan
    found = fit_scores(torch.from_numpy(X), torch.from_numpy(Y), seed=0)
    for k, rows in enumerate((slice(None), slice(None), slice(20, None))):
        theirs = Ridge(found.penalty).fit(X[rows], Y[rows, k])
        np.testing.assert_allclose(found.weight_TD[k].numpy(), theirs.coef_, rtol=0, atol=1e-4)
        np.testing.assert_allclose(found.bias_T[k].item(), theirs.intercept_, rtol=0, atol=1e-4)
    assert 0.5 < found.error < 2


def test_extract_reads_each_sentence_where_it_stands(tiny_bert: Path) -> None:
    """Features against a plain walk over windows and sentences."""
    examples, learner = made(tiny_bert, "extract", 12)
    rows, _ = encode_all(learner.eval(), examples, lambda *a, **k: None)
    assert any(row.others for row in rows), "some documents take several windows"
    with torch.no_grad():
        found = learner.features(learner.collate(rows))
        at = 0
        for row in rows:
            parts = (row, *row.others)
            hidden = [learner.network(input_ids=torch.tensor([p.ids])).last_hidden_state[0] for p in parts]
            document = F.normalize(torch.cat(hidden).mean(0), dim=0)
            spans = [
                (h, a, b)
                for h, p in zip(hidden, parts, strict=True)
                for a, b in zip(p.places, p.places[1:], strict=False)
            ]
            assert len(spans) == len(row.texts) == len(row.values)
            for k, (h, start, end) in enumerate(spans):
                sentence = F.normalize(h[start:end].mean(0), dim=0)
                width = len(sentence)
                torch.testing.assert_close(found[at, :width], sentence, rtol=1e-4, atol=1e-5)
                torch.testing.assert_close(
                    found[at, width : 2 * width], sentence * document * width**0.5, rtol=1e-4, atol=1e-5
                )
                assert found[at, 2 * width].item() == pytest.approx(1 / (1 + k))
                assert found[at, 2 * width + 1].item() == pytest.approx(1 / (len(spans) - k))
                at += 1
    assert at == len(found)


@EACH
def test_a_fitted_head_alone_reads_each_text_once_and_takes_no_step(objective: str, tiny_bert: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    examples, learner = made(tiny_bert, objective, 24)
    read: list[int] = []
    inner = type(learner).hidden

    def hidden(self, batch):
        read.append(len(batch.rows))
        return inner(self, batch)

    monkeypatch.setattr(type(learner), "hidden", hidden)
    outcome = fit(learner, examples, section(objective, 24, method="head"), score=lambda: 1.0)
    assert (outcome.steps, outcome.planned_steps, sum(read)) == (0, 0, 24) and "head" in outcome.facts
    # One that is not fitted has to learn.
    _, learner = made(tiny_bert, objective, 24)
    assert fit(learner, examples, section(objective, 24, method="head", head="random", max_steps=2), score=None).steps == 2


def test_extract_learns_which_sentence_is_told_and_how_many(tiny_bert: Path) -> None:
    examples, learner = made(tiny_bert, "extract", 60)
    fit(learner, examples, section("extract", 60, rate=3e-3, epochs=3.0, batch=8), score=None)
    predictions = Predictor(learner).measure(examples)
    settled = learner.settle(examples, predictions)
    assert settled["sentences"] == learner.known["sentences"] == 1
    answers = Predictor(learner).predict([e.inputs for e in examples])
    right = [answer.sentences[0] + " now" == e.target[0] for e, answer in zip(examples, answers, strict=True)]
    assert np.mean(right) > 0.8
    for example, answer in zip(examples, answers, strict=True):
        assert all(sentence in example.inputs["document"] for sentence in answer.sentences), "word for word"


def test_the_number_of_sentences_can_be_told(tiny_bert: Path) -> None:
    examples = documents(40)
    learner = learner_of(tiny_bert, "extract", known={"sentences": 1}, sentences=3)
    learner.settle(examples, Predictor(learner).measure(examples))
    answers = Predictor(learner).predict([e.inputs for e in examples])
    for example, answer in zip(examples, answers, strict=True):
        lines = example.inputs["document"].split("\n")
        assert len(answer.sentences) == min(3, len(lines))
        places = [lines.index(s) for s in answer.sentences]
        assert len(set(places)) < len(places) or places == sorted(places), "in the order of the document"

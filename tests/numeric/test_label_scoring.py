"""A decoder that classifies: by its own head at the last token, and by weighing labels as answers."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest
import torch
from making import LABELS, labelled, learner_of, section
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification, AutoTokenizer

from luthier.base.errors import Interrupted, ModelError
from luthier.base.interrupt import Stopper
from luthier.base.records import Example, Source
from luthier.objectives.score_labels import LabelScorer
from luthier.prompts.preview import label_encoder
from luthier.release.bundle import write_bundle
from luthier.release.predictor import Predictor, load_predictor
from luthier.spec.model import ModelSection
from luthier.train.run import encode_all, fit

DECODERS = ["tiny_llama", "tiny_gpt2", "tiny_qwen", "tiny_gemma"]
FACTS = {
    "task": {"name": "t", "objective": "classify", "goal": ""},
    "name": "t",
    "base": {"name": "tiny", "sha256": "x"},
}


def scorer(folder: Path, labels: tuple[str, ...] = LABELS, **model) -> LabelScorer:
    learner = learner_of(folder, "classify", labels, pooling="label-scoring", **model)
    assert isinstance(learner, LabelScorer)
    return learner


def by_hand(folder: Path, texts: list[str], labels: tuple[str, ...], style: str = "auto") -> torch.Tensor:
    """Sum the log-probabilities of each label and its end token with transformers alone, sequence by sequence."""
    tokenizer, network = AutoTokenizer.from_pretrained(folder), AutoModelForCausalLM.from_pretrained(folder).eval()
    found = torch.zeros(len(texts), len(labels))
    for i, text in enumerate(texts):
        for j, label in enumerate(labels):
            if tokenizer.chat_template and style != "plain":
                turns = [{"role": "user", "content": f"{text}\nLabel:"}]
                asked = tokenizer.apply_chat_template(turns, add_generation_prompt=True, tokenize=False)
                prompt = tokenizer(asked, add_special_tokens=False)["input_ids"]
                end = tokenizer.convert_tokens_to_ids("<|im_end|>")
            else:
                prompt, end = tokenizer(f"{text}\nLabel:\n")["input_ids"], tokenizer.eos_token_id
            answer = [*tokenizer(label, add_special_tokens=False)["input_ids"], end]
            ids = torch.tensor([[*prompt, *answer]])
            with torch.no_grad():
                nats = network(input_ids=ids).logits[0].log_softmax(-1)
            for place, token in enumerate(answer, len(prompt)):
                found[i, j] += nats[place - 1, token]
    return found


@pytest.mark.parametrize(("model", "style"), [*((m, "auto") for m in DECODERS), ("tiny_llama", "plain")])
def test_scores_are_the_labels_probabilities(model, style, request) -> None:
    folder = request.getfixturevalue(model)
    learner = scorer(folder, template=style)
    examples = labelled(5)
    texts = [e.inputs["text"] for e in examples]
    expected = by_hand(folder, texts, LABELS, style)
    rows, _ = encode_all(learner, examples, lambda *a, **k: None)
    learner.eval()
    torch.testing.assert_close(learner.logits(learner.collate(rows)), expected, rtol=1e-4, atol=1e-4)
    answers = Predictor(learner).predict(texts)
    shares = expected.softmax(-1)
    for row, answer in zip(shares, answers, strict=True):
        assert [answer.scores[label] for label in LABELS] == pytest.approx(row.tolist(), abs=1e-4)
        assert answer.label == LABELS[int(row.argmax())]


@pytest.mark.parametrize("model", ["tiny_llama", "tiny_gpt2"])
def test_labels_behind_one_question_are_worth_what_they_are_alone(model, request, monkeypatch) -> None:
    folder = request.getfixturevalue(model)
    gradients = []
    for shares in (True, False):
        learner = scorer(folder)
        assert learner._can_share()
        learner._shares = shares
        rows, _ = encode_all(learner, labelled(9), lambda *a, **k: None)
        batch = learner.collate(rows)
        assert (batch.layout.mask is not None) == shares
        loss, count = learner.loss(batch, smoothing=0.0)
        loss.backward()
        gradients.append({n: p.grad for n, p in learner.named_parameters()} | {"loss": loss.detach(), "count": count})
    assert gradients[0].pop("count") == gradients[1].pop("count") == 9
    for name, value in gradients[0].items():
        torch.testing.assert_close(value, gradients[1][name], rtol=1e-3, atol=1e-5, msg=lambda m, n=name: f"{n}: {m}")


@pytest.mark.parametrize("model", DECODERS)
def test_predictions_do_not_depend_on_batch_or_padding(model, request) -> None:
    predictor = Predictor(scorer(request.getfixturevalue(model)))
    texts = [e.inputs["text"] for e in labelled(12)] + ["", "the " * 20]
    together = predictor.predict(texts)
    for text, one in zip(texts, together, strict=True):
        alone = predictor.predict([text])[0]
        assert max(abs(one.scores[label] - alone.scores[label]) for label in LABELS) < 1e-5


def test_a_label_that_begins_another_is_told_apart_by_its_end(tiny_llama: Path) -> None:
    labels = ("account", "account reset mail")
    learner = scorer(tiny_llama, labels)
    ends = {answer.ids[-1] for answer in learner.asks.answers}
    assert ends == {learner.tokenizer.convert_tokens_to_ids("<|im_end|>")}
    assert by_hand(tiny_llama, ["where"], labels)[0].tolist() == pytest.approx(
        learner.eval().logits(learner.collate([learner.encode_input({"text": "where"}, room=0)]))[0].tolist(), abs=1e-4
    )


def test_of_a_long_text_the_end_is_cut_and_never_the_question(tiny_llama: Path) -> None:
    learner = scorer(tiny_llama, max_tokens=64)
    row = learner.encode(Example("x", {"text": "where is my parcel " + "please " * 80}, LABELS[0], Source("a", 1)))
    assert len(row.ids) + max(len(a.ids) for a in row.others) <= 64
    told = learner.tokenizer.decode(row.ids)
    assert told.startswith("<|im_start|>user\nwhere is my parcel please")
    assert told.endswith("\nLabel:<|im_end|>\n<|im_start|>assistant\n")
    with pytest.raises(ModelError, match="longest label"):
        scorer(tiny_llama, ("a" * 80, "b"), max_tokens=64)


def test_a_question_of_ones_own_names_the_labels_and_is_shown_as_it_is_trained(tiny_llama: Path) -> None:
    question = "One of {labels}? {text}"
    learner = scorer(tiny_llama, question=question)
    encode = label_encoder(learner.tokenizer, question, LABELS, template="auto", max_tokens=learner.max_tokens)
    for example in labelled(4):
        row = learner.encode(example)
        assert "One of account, billing, delivery? " + example.inputs["text"] in learner.tokenizer.decode(row.ids)
        assert encode(example).ids == row.ids
        assert encode(example).others == row.others
    with pytest.raises(ValueError, match="question"):
        ModelSection(question="no place for it")


def run(folder: Path, where: Path | None = None, stopper: Stopper | None = None, emit=lambda *a, **k: None, **settings):
    learner = scorer(folder)
    given = section("classify", 27, **{"epochs": 3.0, "batch": 8, "rate": 3e-3, "max_grad_norm": 0.5, **settings})
    outcome = fit(learner, labelled(27), given, score=None, folder=where, identity="x", stopper=stopper, emit=emit)
    return learner, outcome


@pytest.mark.parametrize("model", ["tiny_llama", "tiny_gpt2"])
def test_micro_batches_equal_one_big_batch(model, request) -> None:
    folder = request.getfixturevalue(model)
    (whole, one), (pieces, two) = run(folder, micro_tokens=100_000, rate=1e-3), run(folder, micro_tokens=30, rate=1e-3)
    assert [a["loss"] for a in one.losses] == pytest.approx([b["loss"] for b in two.losses], rel=1e-4)
    for (name, a), (_, b) in zip(whole.named_parameters(), pieces.named_parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=2e-4, atol=5e-5, msg=lambda m, n=name: f"{n}: {m}")


def test_resume_equals_uninterrupted_bit_for_bit(tiny_llama: Path, tmp_path: Path) -> None:
    whole, reference = run(tiny_llama, tmp_path / "whole")
    stopper = Stopper()

    def stop(kind: str, /, **facts) -> None:
        if kind == "step" and facts["step"] == 6:
            stopper.handle(signal.SIGTERM, None)

    with pytest.raises(Interrupted):
        run(tiny_llama, tmp_path / "cut", stopper, stop)
    resumed, outcome = run(tiny_llama, tmp_path / "cut")
    assert outcome.losses == reference.losses
    for (name, a), (_, b) in zip(whole.named_parameters(), resumed.named_parameters(), strict=True):
        assert torch.equal(a, b), name


@pytest.mark.parametrize("method", ["full", "lora"])
def test_it_learns_and_its_bundle_is_a_plain_decoder(method, tiny_llama: Path, tmp_path: Path) -> None:
    learner, outcome = run(tiny_llama, method=method, epochs=12.0)
    assert outcome.losses[-1]["loss"] < 0.8 * outcome.losses[0]["loss"]
    examples = labelled(8)
    texts = [e.inputs["text"] for e in examples]
    before = Predictor(learner).predict(texts)
    write_bundle(tmp_path / "bundle", learner, probes=examples, facts=FACTS)
    opened = load_predictor(tmp_path / "bundle")
    assert isinstance(opened.learner, LabelScorer)
    shares = by_hand(tmp_path / "bundle" / "network", texts, LABELS).softmax(-1)
    for one, two, row in zip(before, opened.predict(texts), shares, strict=True):
        for label, share in zip(LABELS, row.tolist(), strict=True):
            assert two.scores[label] == pytest.approx(one.scores[label], abs=1e-4)
            assert share == pytest.approx(one.scores[label], abs=1e-3)


def test_weights_of_labels_count_in_the_loss(tiny_llama: Path) -> None:
    learner = scorer(tiny_llama)
    rows, _ = encode_all(learner, labelled(9), lambda *a, **k: None)
    batch = learner.collate(rows)
    learner.weigh([1.0, 2.0, 0.5])
    loss, count = learner.loss(batch, smoothing=0.0)
    expected = torch.nn.functional.cross_entropy(
        learner.logits(batch), batch.labels_B, weight=torch.tensor([1.0, 2.0, 0.5]), reduction="sum"
    )
    torch.testing.assert_close(loss, expected)
    assert count == pytest.approx(sum(learner.units(r) for r in rows))


def test_an_encoder_weighs_no_labels(tiny_bert: Path) -> None:
    with pytest.raises(ModelError, match="no decoder"):
        scorer(tiny_bert)


@pytest.mark.parametrize("model", DECODERS)
def test_a_decoders_own_head_looks_at_the_last_real_token(model, request, tmp_path: Path) -> None:
    """Whatever the company; and transformers' own class gives the same of the bundle."""
    learner = learner_of(request.getfixturevalue(model), "classify", LABELS, pooling="own")
    examples = labelled(14)
    fit(learner, examples, section("classify", 14, epochs=2.0, batch=4, rate=1e-3), score=None)
    predictor = Predictor(learner)
    together = predictor.measure(examples)
    write_bundle(tmp_path / "bundle", learner, probes=examples, facts=FACTS)
    network = AutoModelForSequenceClassification.from_pretrained(tmp_path / "bundle" / "network").eval()
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "bundle" / "network")
    for example, one in zip(examples, together, strict=True):
        alone = predictor.measure([example])[0]
        with torch.no_grad():
            theirs = network(**tokenizer(example.inputs["text"], return_tensors="pt")).logits[0].softmax(-1)
        for label, share in zip(LABELS, theirs.tolist(), strict=True):
            assert one.scores[label] == pytest.approx(alone.scores[label], abs=1e-5)
            assert one.scores[label] == pytest.approx(share, abs=1e-4)

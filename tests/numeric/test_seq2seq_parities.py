"""Encoder-decoders: the loss and the answers are those of transformers, whatever the company and the padding."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest
import torch
from making import learner_of, section, sums
from transformers import AutoModelForSeq2SeqLM, AutoTokenizer

from luthier.base.errors import Interrupted, ModelError
from luthier.base.interrupt import Stopper
from luthier.base.records import Example, Source
from luthier.models.tokens import open_tokens
from luthier.objectives.seq2seq import Seq2Seq
from luthier.prompts.preview import encoder, pieces
from luthier.release.bundle import write_bundle
from luthier.release.predictor import Predictor, load_predictor
from luthier.train.defaults import resolve
from luthier.train.run import encode_all, fit

MODELS = ["tiny_t5", "tiny_bart"]
FACTS = {
    "task": {"name": "t", "objective": "generate", "goal": ""},
    "name": "t",
    "base": {"name": "tiny", "sha256": "x"},
}


def asked(text: str, answer: str = "7") -> Example:
    return Example("x", {"messages": [{"role": "user", "content": text}]}, answer, Source("a.jsonl", 1))


@pytest.mark.parametrize("split", [True, False])
@pytest.mark.parametrize("model", MODELS)
def test_the_loss_and_its_gradient_are_those_of_transformers(model, split, request) -> None:
    folder = request.getfixturevalue(model)
    learner = learner_of(folder, "generate")
    assert isinstance(learner, Seq2Seq)
    assert learner._split
    if not split:
        learner._split, learner._scale = False, None
    examples = sums(7)
    rows, _ = encode_all(learner, examples, lambda *a, **k: None)
    loss, count = learner.loss(learner.collate(rows), smoothing=0.0)
    loss.backward()
    tokenizer, network = AutoTokenizer.from_pretrained(folder), AutoModelForSeq2SeqLM.from_pretrained(folder)
    texts = [e.inputs["messages"][0]["content"] for e in examples]
    given = tokenizer(texts, text_target=[e.target for e in examples], padding=True, return_tensors="pt")
    labels = given["labels"].masked_fill(given["labels"] == tokenizer.pad_token_id, -100)
    mask = given["input_ids"] != tokenizer.pad_token_id
    expected = network(input_ids=given["input_ids"], attention_mask=mask, labels=labels).loss * (labels >= 0).sum()
    expected.backward()
    assert count == int((labels >= 0).sum()) == sum(learner.units(r) for r in rows)
    torch.testing.assert_close(loss, expected, rtol=1e-5, atol=1e-4)
    theirs = dict(network.named_parameters())
    for name, parameter in learner.network.named_parameters():
        torch.testing.assert_close(parameter.grad, theirs[name].grad, rtol=1e-3, atol=1e-4, msg=lambda m, n=name: n + m)


@pytest.mark.parametrize("model", MODELS)
def test_what_is_learnt_decodes_to_the_answer_and_its_end(model, request) -> None:
    learner = learner_of(request.getfixturevalue(model), "generate")
    row = learner.encode(asked("where is my parcel", "the parcel has not arrived"))
    answer = row.others[0]
    assert all(answer.learn)
    assert learner.tokenizer.decode(answer.ids, skip_special_tokens=True) == "the parcel has not arrived"
    assert answer.ids[-1] == learner.tokenizer.eos_token_id
    assert not row.learn
    assert row.ids == tuple(learner.tokenizer("where is my parcel")["input_ids"])
    assert row.ids == learner.encode_input(asked("where is my parcel").inputs, room=50).ids


def test_long_prompts_are_cut_at_their_end_and_conversations_at_their_start(tiny_bart: Path) -> None:
    learner = learner_of(tiny_bart, "generate", max_tokens=24)
    ids = learner.encode(asked("where is my parcel " + "please " * 40)).ids
    assert len(ids) == 24
    assert (ids[0], ids[-1]) == (learner.tokenizer.bos_token_id, learner.tokenizer.eos_token_id)
    assert learner.tokenizer.decode(ids, skip_special_tokens=True).startswith("where is my parcel")
    turns = [{"role": r, "content": "please " * 20} for r in ("user", "assistant")]
    inputs = {"messages": [*turns, {"role": "user", "content": "where is my parcel"}]}
    ids = learner.encode_input(inputs, room=0).ids
    assert len(ids) == 24
    assert learner.tokenizer.decode(ids, skip_special_tokens=True).endswith("where is my parcel\nAssistant:")
    assert learner.encode(asked("a", "please " * 40)) is None


@pytest.mark.parametrize("model", MODELS)
def test_answers_do_not_depend_on_batch_or_padding_and_are_transformers_own(model, request) -> None:
    folder = request.getfixturevalue(model)
    predictor = Predictor(learner_of(folder, "generate"))
    examples = sums(9)
    together = predictor.predict([e.inputs for e in examples], max_new_tokens=8)
    measured = predictor.measure(examples)
    tokenizer, network = AutoTokenizer.from_pretrained(folder), AutoModelForSeq2SeqLM.from_pretrained(folder)
    for example, answer, weighed in zip(examples, together, measured, strict=True):
        assert predictor.predict([example.inputs], max_new_tokens=8)[0].text == answer.text
        alone = predictor.measure([example])[0].measured
        assert alone["nll_sum"] == pytest.approx(weighed.measured["nll_sum"], rel=1e-5)
        assert alone["token_count"] == weighed.measured["token_count"]
        ids = torch.tensor([tokenizer(example.inputs["messages"][0]["content"])["input_ids"]])
        made = network.generate(input_ids=ids, max_new_tokens=8, do_sample=False)
        assert tokenizer.decode(made[0], skip_special_tokens=True).strip() == answer.text


def run(folder: Path, where: Path | None = None, stopper: Stopper | None = None, emit=lambda *a, **k: None, **settings):
    learner = learner_of(folder, "generate")
    given = section("generate", 27, **{"epochs": 2.0, "batch": 8, "rate": 1e-3, "max_grad_norm": 0.5, **settings})
    outcome = fit(learner, sums(27), given, score=None, folder=where, identity="x", stopper=stopper, emit=emit)
    return learner, outcome


@pytest.mark.parametrize("model", MODELS)
def test_micro_batches_equal_one_big_batch(model, request) -> None:
    folder = request.getfixturevalue(model)
    (whole, one), (pieces_, two) = run(folder, micro_tokens=100_000), run(folder, micro_tokens=30)
    assert [a["loss"] for a in one.losses] == pytest.approx([b["loss"] for b in two.losses], rel=1e-4)
    for (name, a), (_, b) in zip(whole.named_parameters(), pieces_.named_parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=2e-4, atol=5e-5, msg=lambda m, n=name: f"{n}: {m}")


@pytest.mark.parametrize(("model", "method"), [("tiny_t5", "lora"), ("tiny_bart", "full")])
def test_resume_equals_uninterrupted_bit_for_bit(model, method, request, tmp_path: Path) -> None:
    folder = request.getfixturevalue(model)
    whole, reference = run(folder, tmp_path / "whole", method=method)
    stopper = Stopper()

    def stop(kind: str, /, **facts) -> None:
        if kind == "step" and facts["step"] == 5:
            stopper.handle(signal.SIGTERM, None)

    with pytest.raises(Interrupted):
        run(folder, tmp_path / "cut", stopper, stop, method=method)
    resumed, outcome = run(folder, tmp_path / "cut", method=method)
    assert outcome.losses == reference.losses
    for (name, a), (_, b) in zip(whole.named_parameters(), resumed.named_parameters(), strict=True):
        assert torch.equal(a, b), name


@pytest.mark.parametrize("method", ["full", "lora", "last-layers", "adapters", "ia3", "bitfit"])
@pytest.mark.parametrize("model", MODELS)
def test_a_bundle_comes_back_and_loads_in_plain_transformers_and_peft(model, method, request, tmp_path: Path) -> None:
    base = request.getfixturevalue(model)
    if (model, method) == ("tiny_t5", "bitfit"):
        with pytest.raises(ModelError, match="no biases"):
            run(base, method=method)
        return
    learner, outcome = run(base, method=method, layers=1, rate=5e-3)
    assert outcome.losses[-1]["loss"] < outcome.losses[0]["loss"]
    examples = sums(6)
    before = Predictor(learner).measure(examples)
    write_bundle(tmp_path / "bundle", learner, probes=examples, facts=FACTS)
    opened = load_predictor(tmp_path / "bundle")
    for one, two in zip(before, opened.measure(examples), strict=True):
        assert one.measured["nll_sum"] == pytest.approx(two.measured["nll_sum"], rel=1e-4)
    if method == "adapters":
        return
    networks = [AutoModelForSeq2SeqLM.from_pretrained(tmp_path / "bundle" / "network")]
    if method in ("lora", "ia3"):
        from peft import PeftModel

        folder = tmp_path / "bundle" / "adapter"
        networks.append(PeftModel.from_pretrained(AutoModelForSeq2SeqLM.from_pretrained(base), folder))
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "bundle" / "network")
    for network in networks:
        given = tokenizer(
            examples[0].inputs["messages"][0]["content"], text_target=examples[0].target, return_tensors="pt"
        )
        with torch.no_grad():
            loss = network.eval()(input_ids=given["input_ids"], labels=given["labels"]).loss * given["labels"].shape[1]
        assert loss.item() == pytest.approx(before[0].measured["nll_sum"], rel=1e-4)


@pytest.mark.parametrize("model", MODELS)
def test_the_preview_shows_the_ids_of_training(model, request) -> None:
    folder = request.getfixturevalue(model)
    tokens = open_tokens(str(folder), folder=None, revision=None, max_tokens=None)
    assert tokens.reads == "seq2seq"
    encode = encoder("generate", tokens.tokenizer, template="auto", max_tokens=tokens.max_tokens, reads=tokens.reads)
    learner = learner_of(folder, "generate")
    for example in sums(5):
        assert encode(example) == learner.encode(example)
    shown = pieces(tokens.tokenizer, encode(sums(1)[0]))
    assert [p["id"] for p in shown if p["learnt"]] == list(encode(sums(1)[0]).others[0].ids)


def test_vectors_before_the_text_are_refused_and_t5_has_its_own_rates(tiny_t5: Path, tiny_bart: Path) -> None:
    with pytest.raises(ModelError, match="has two"):
        run(tiny_t5, method="prompt")
    rates = [learner_of(folder, "generate").rates for folder in (tiny_t5, tiny_bart)]
    assert rates == ["t5", None]
    task = section("generate", 10).model_copy(update={"rate": "auto"})
    found = [resolve(task, objective="generate", rows=10, rates=r).rate for r in rates]
    assert found == [3e-4, 5e-5]


def test_plain_text_is_not_trained_on_an_encoder_decoder(tiny_bart: Path, tiny_t5: Path) -> None:
    for folder in (tiny_bart, tiny_t5):
        with pytest.raises(ModelError, match="neither a decoder nor a masked language model"):
            learner_of(folder, "text")

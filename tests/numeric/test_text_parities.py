"""Plain text: packed equals unpacked, windows lose nothing, masks follow from seed, epoch and row."""

from __future__ import annotations

import math
import signal
from pathlib import Path

import pytest
import torch
from making import learner_of, section
from transformers import AutoModelForCausalLM, AutoModelForMaskedLM, AutoTokenizer
from words import SENTENCES

from luthier.base.errors import Interrupted, ModelError
from luthier.base.interrupt import Stopper
from luthier.base.records import Example, Source
from luthier.objectives import packing
from luthier.objectives.masked_text import SHARE
from luthier.release.bundle import write_bundle
from luthier.release.predictor import Predictor, load_predictor
from luthier.train.run import encode_all, fit

FACTS = {"task": {"name": "t", "objective": "text", "goal": ""}, "name": "t", "base": {"name": "tiny", "sha256": "x"}}


def documents(count: int = 12) -> list[Example]:
    """Return texts of one to five sentences; the last is longer than any row."""
    texts = [" ".join(SENTENCES[(i + j) % len(SENTENCES)] for j in range(1 + i % 5)) for i in range(count - 1)]
    texts.append(" ".join(SENTENCES * 4))
    return [Example(f"d{i}", {"text": t}, "", Source("made.txt", i + 1)) for i, t in enumerate(texts)]


def gradients(learner) -> dict[str, torch.Tensor]:
    found = {n: p.grad.clone() for n, p in learner.named_parameters() if p.grad is not None}
    learner.zero_grad()
    return found


@pytest.mark.parametrize("model", ["tiny_llama", "tiny_gpt2", "tiny_qwen", "tiny_gemma"])
def test_packed_equals_unpacked(model, request) -> None:
    rows, documents = packs_as_alone(learner_of(request.getfixturevalue(model), "text", max_tokens=64).eval())
    assert rows < documents


def test_a_network_that_reads_no_positions_is_packed_by_a_mask(tiny_bert_decoder: Path) -> None:
    # A BERT as decoder: transformers keeps its documents apart by no positions of theirs.
    learner = learner_of(tiny_bert_decoder, "text", max_tokens=64).eval()
    rows, documents = packs_as_alone(learner)
    assert learner._told_by_mask and rows < documents


def test_rows_in_one_line_make_no_mask_over_the_line(tiny_bert_decoder: Path, monkeypatch) -> None:
    # It would have as many places as the line squared, for each row of it.
    learner = learner_of(tiny_bert_decoder, "text", max_tokens=64)
    rows, _ = packing.pack([w for e in documents() for w in packing.windows(learner.encode(e), 64)], 64)
    assert learner.packs
    apart, _ = learner.eval().loss(learner.collate(rows, masked=False), smoothing=0.0)
    monkeypatch.setattr(type(learner), "_more", lambda self, batch: pytest.fail("a mask was made"))
    learner.train().set_flat(True)
    line, _ = learner.loss(learner.collate(rows), smoothing=0.0)
    assert line.item() == pytest.approx(apart.item(), rel=1e-4)


def packs_as_alone(learner) -> tuple[int, int]:
    """Hold that packed documents have the loss and gradients of documents alone; return how many rows, and documents, there are."""
    pieces = [w for e in documents() for w in packing.windows(learner.encode(e), 64)]
    assert learner.packs
    rows, _ = packing.pack(pieces, 64)
    assert any(len(row.places) > 2 for row in rows)
    packed, count = learner.loss(learner.collate(rows, masked=False), smoothing=0.0)
    packed.backward()
    together = gradients(learner)
    alone = [learner.loss(learner.collate([p], masked=False), smoothing=0.0) for p in pieces]
    torch.stack([loss for loss, _ in alone]).sum().backward()
    apart = gradients(learner)
    assert count == sum(n for _, n in alone)
    assert packed.item() == pytest.approx(sum(loss.item() for loss, _ in alone), rel=1e-5)
    for name, value in apart.items():
        torch.testing.assert_close(together[name], value, rtol=1e-4, atol=1e-5 * value.abs().max().item() + 1e-6)
    return len(rows), len(pieces)


def test_a_network_that_mixes_documents_is_not_packed(tiny_llama: Path, monkeypatch) -> None:
    learner = learner_of(tiny_llama, "text", max_tokens=64)
    monkeypatch.setattr(type(learner), "_more", lambda self, batch: {})
    assert not learner.packs
    rows, _ = encode_all(learner, documents(), lambda *a, **k: None)
    assert all(len(r.places) < 2 for r in rows)


@pytest.mark.parametrize("size", [8, 23, 64])
def test_windows_and_packing_lose_and_repeat_nothing(tiny_llama: Path, size: int) -> None:
    learner = learner_of(tiny_llama, "text", max_tokens=size)
    examples = documents()
    rows, names = encode_all(learner, examples, lambda *a, **k: None)
    assert len(names) == len(rows)
    assert max(len(r.ids) for r in rows) <= size
    learnt = sorted(i for r in rows for i, flag in zip(r.ids, r.learn, strict=True) if flag)
    tokenizer = AutoTokenizer.from_pretrained(tiny_llama)
    wanted = [
        [*tokenizer(e.inputs["text"], add_special_tokens=False)["input_ids"], tokenizer.eos_token_id] for e in examples
    ]
    assert learnt == sorted(i for ids in wanted for i in ids)
    assert sum(learner.units(r) for r in rows) == len(learnt)
    long = packing.windows(learner.encode(examples[-1]), size)
    assert [i for w in long for i in w.ids[1:]] == wanted[-1]


def test_packing_fills_rows() -> None:
    from luthier.base.records import Encoded

    pieces = [Encoded((1,) * n, (False,) + (True,) * (n - 1)) for n in [3, 7, 5, 2, 10, 8, 5, 1, 9]]
    rows, first = packing.pack(pieces, 10)
    assert sorted(len(r.ids) for r in rows) == [10] * 5
    assert first[0] == 4
    assert packing.positions(rows[1:3], 10).tolist()[0] == [*range(9), 0]


def test_measured_surprise_is_that_of_transformers_for_short_and_long_documents(tiny_gpt2: Path) -> None:
    learner = learner_of(tiny_gpt2, "text", max_tokens=32)
    examples = documents(6)
    found = Predictor(learner).measure(examples)
    tokenizer, network = AutoTokenizer.from_pretrained(tiny_gpt2), AutoModelForCausalLM.from_pretrained(tiny_gpt2)
    for example, prediction in zip(examples, found, strict=True):
        ids = [tokenizer.eos_token_id, *tokenizer(example.inputs["text"])["input_ids"]]
        total = 0.0
        for start in range(0, len(ids) - 1, 31):
            window = torch.tensor(ids[start : start + 32])[None]
            with torch.no_grad():
                total += network(input_ids=window, labels=window).loss.item() * (window.shape[1] - 1)
        assert prediction.measured["nll_sum"] == pytest.approx(total, rel=1e-5)
        assert prediction.measured["token_count"] == len(ids) - 1
        assert prediction.measured["byte_count"] == len(example.inputs["text"].encode())


@pytest.mark.parametrize("model", ["tiny_llama", "tiny_gpt2", "tiny_bert_mlm"])
def test_documents_are_measured_alike_in_any_company(model, request) -> None:
    predictor = Predictor(learner_of(request.getfixturevalue(model), "text", max_tokens=24))
    examples = documents(7)
    together = predictor.measure(examples)
    for example, one in zip(examples, together, strict=True):
        alone = predictor.measure([example])[0].measured
        assert alone["token_count"] == one.measured["token_count"]
        assert alone["nll_sum"] == pytest.approx(one.measured["nll_sum"], rel=1e-5)


def run(folder: Path, where: Path | None, stopper: Stopper | None = None, emit=lambda *a, **k: None, **settings):
    learner = learner_of(folder, "text", max_tokens=24)
    given = section("text", 12, **{"epochs": 3.0, "batch": 4, "rate": 1e-3, "evaluations": 1, **settings})
    outcome = fit(learner, documents(), given, score=None, folder=where, identity="x", stopper=stopper, emit=emit)
    return learner, outcome


@pytest.mark.parametrize("model", ["tiny_llama", "tiny_gpt2", "tiny_bert_mlm", "tiny_roberta_mlm"])
def test_micro_batches_equal_one_big_batch(model, request) -> None:
    folder = request.getfixturevalue(model)
    whole, one = run(folder, None, micro_tokens=100_000)
    pieces, two = run(folder, None, micro_tokens=30)
    assert [a["loss"] for a in one.losses] == pytest.approx([b["loss"] for b in two.losses], rel=1e-4)
    for (name, a), (_, b) in zip(whole.named_parameters(), pieces.named_parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=2e-4, atol=2e-5, msg=lambda m, n=name: f"{n}: {m}")


@pytest.mark.parametrize(("model", "optimizer"), [("tiny_llama", "adamw"), ("tiny_llama", "muon"), ("tiny_roberta_mlm", "adamw")])
def test_resume_equals_uninterrupted_bit_for_bit(model, optimizer, request, tmp_path: Path) -> None:
    folder = request.getfixturevalue(model)
    whole, reference = run(folder, tmp_path / "whole", optimizer=optimizer)
    stopper = Stopper()

    def stop(kind: str, /, **facts) -> None:
        if kind == "step" and facts["step"] == reference.steps // 2 + 1:
            stopper.handle(signal.SIGTERM, None)

    with pytest.raises(Interrupted):
        run(folder, tmp_path / "cut", stopper, stop, optimizer=optimizer)
    resumed, outcome = run(folder, tmp_path / "cut", optimizer=optimizer)
    assert outcome.losses == reference.losses
    for (name, a), (_, b) in zip(whole.named_parameters(), resumed.named_parameters(), strict=True):
        assert torch.equal(a, b), name


@pytest.mark.parametrize("method", ["full", "lora"])
@pytest.mark.parametrize("model", ["tiny_llama", "tiny_bert_mlm"])
def test_a_bundle_comes_back_the_same_and_loads_in_plain_transformers(model, method, request, tmp_path: Path) -> None:
    learner, _ = run(request.getfixturevalue(model), None, method=method)
    examples = documents(5)
    before = Predictor(learner).measure(examples)
    write_bundle(tmp_path / "bundle", learner, probes=examples, facts=FACTS)
    opened = load_predictor(tmp_path / "bundle")
    for one, two in zip(before, opened.measure(examples), strict=True):
        assert one.measured["nll_sum"] == pytest.approx(two.measured["nll_sum"], rel=1e-4)
    family = AutoModelForMaskedLM if model == "tiny_bert_mlm" else AutoModelForCausalLM
    network = family.from_pretrained(tmp_path / "bundle" / "network")
    ids = torch.tensor([[5, 6, 7, 8]])
    with torch.no_grad():
        torch.testing.assert_close(network(input_ids=ids).logits, opened.learner.network(input_ids=ids).logits)


def test_a_beginning_is_continued(tiny_llama: Path) -> None:
    predictor = Predictor(learner_of(tiny_llama, "text", max_tokens=64))
    answer = predictor.predict(["where is my"], max_new_tokens=6)[0]
    tokenizer, network = AutoTokenizer.from_pretrained(tiny_llama), AutoModelForCausalLM.from_pretrained(tiny_llama)
    ids = torch.tensor([[tokenizer.bos_token_id, *tokenizer("where is my", add_special_tokens=False)["input_ids"]]])
    with torch.no_grad():
        made = network.generate(input_ids=ids, attention_mask=torch.ones_like(ids), max_new_tokens=6, do_sample=False)
    assert answer.text == tokenizer.decode(made[0, ids.shape[1] :], skip_special_tokens=True).strip()
    assert set(answer.as_dict()) == {"text", "finish"}


@pytest.mark.parametrize("model", ["tiny_bert_mlm", "tiny_roberta_mlm"])
def test_the_masked_loss_is_that_of_transformers(model, request) -> None:
    folder = request.getfixturevalue(model)
    learner = learner_of(folder, "text", max_tokens=24)
    rows, _ = encode_all(learner, documents(), lambda *a, **k: None)
    learner.start_epoch(2, seed=3)
    network = AutoModelForMaskedLM.from_pretrained(folder).eval()
    for train in (False, True):
        learner.train(train)
        batch = learner.collate(rows[:7])
        loss, count = learner.loss(batch, smoothing=0.0)
        ids, labels = batch.ids_BT.clone(), torch.full_like(batch.ids_BT, -100)
        for number, row in enumerate(rows[:7]):
            places, instead = learner.asked_for(row)
            ids[number, places] = torch.tensor(instead)
            labels[number, places] = batch.ids_BT[number, places]
        with torch.no_grad():
            expected = network(input_ids=ids, attention_mask=batch.mask_BT, labels=labels).loss * (labels >= 0).sum()
        assert count == int((labels >= 0).sum()) == sum(learner.units(r) for r in rows[:7])
        torch.testing.assert_close(loss.detach(), expected, rtol=1e-5, atol=1e-4)
    assert learner._selects


def test_which_tokens_are_asked_for_follows_from_seed_epoch_and_row(tiny_bert_mlm: Path) -> None:
    learner = learner_of(tiny_bert_mlm, "text", max_tokens=40)
    rows, _ = encode_all(learner, documents(), lambda *a, **k: None)
    special = set(learner.tokenizer.all_special_ids) - {learner.tokenizer.unk_token_id}

    def drawn(epoch: int, seed: int = 0):
        learner.train()
        learner.start_epoch(epoch, seed=seed)
        return [learner.asked_for(r) for r in rows]

    one, again, other, another_seed = drawn(0), drawn(0), drawn(1), drawn(0, seed=1)
    same = [(a[0] == b[0]).all() and (a[1] == b[1]).all() for a, b in zip(one, again, strict=True)]
    assert all(same)
    assert any((a[0] != b[0]).any() for a, b in zip(one, other, strict=True))
    assert any((a[0] != b[0]).any() for a, b in zip(one, another_seed, strict=True))
    hidden = kept = asked = 0
    for epoch in range(60):
        for row, (places, instead) in zip(rows, drawn(epoch), strict=True):
            assert not special & {row.ids[p] for p in places}
            assert len(places) == max(1, round(SHARE * (len(row.ids) - 2)))
            asked += len(places)
            hidden += int((instead == learner.tokenizer.mask_token_id).sum())
            kept += sum(row.ids[p] == i for p, i in zip(places, instead, strict=True))
    assert hidden / asked == pytest.approx(0.8, abs=0.04)
    assert kept / asked == pytest.approx(0.1, abs=0.03)


def test_a_masked_model_gets_better_and_answers_nothing(tiny_bert_mlm: Path) -> None:
    learner = learner_of(tiny_bert_mlm, "text", max_tokens=40)
    examples = documents()
    before = Predictor(learner).measure(examples)
    fit(learner, examples, section("text", 12, epochs=40.0, batch=4, rate=3e-3), score=None)
    after = Predictor(learner).measure(examples)
    assert sum(p.measured["nll_sum"] for p in after) < 0.8 * sum(p.measured["nll_sum"] for p in before)
    assert "byte_count" not in after[0].measured
    with pytest.raises(ModelError, match="answers nothing by itself"):
        Predictor(learner).predict(["where is my"])


def test_a_model_without_an_output_for_masked_words_is_refused(tiny_bert: Path) -> None:
    with pytest.raises(ModelError, match="no output layer for masked words"):
        learner_of(tiny_bert, "text")


def test_learning_lowers_the_surprise(tiny_llama: Path) -> None:
    learner = learner_of(tiny_llama, "text", max_tokens=64)
    examples = documents()
    before = Predictor(learner).measure(examples)
    fit(learner, examples, section("text", 12, method="full", epochs=8.0, batch=2, rate=3e-3), score=None)
    after = Predictor(learner).measure(examples)
    nats = [sum(p.measured["nll_sum"] for p in found) for found in (before, after)]
    assert nats[1] < 0.7 * nats[0]
    assert math.isfinite(nats[0])

"""The generator that comes along: whole, small, what `embedded` means where something is written, and open to plain transformers."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch
from making import learner_of, section, sums

from luthier.base.errors import ModelError
from luthier.base.records import Example
from luthier.models import catalogue
from luthier.models.tokens import place
from luthier.release.predictor import Predictor
from luthier.spec.task import Task


def task(objective: str, base: str = "embedded") -> Task:
    return Task.model_validate({"task": {"objective": objective}, "data": {"source": "x.jsonl"}, "model": {"base": base}})


@pytest.mark.parametrize("objective", ["generate", "prefer", "text"])
def test_embedded_is_the_generator_where_something_is_written(objective: str) -> None:
    assert task(objective).base == catalogue.GENERATOR
    assert task(objective, "gpt2").base == "gpt2"


@pytest.mark.parametrize("objective", ["classify", "multilabel", "grade", "extract", "rank"])
def test_embedded_is_the_encoder_elsewhere(objective: str) -> None:
    assert catalogue.find(task(objective).base).name == catalogue.EMBEDDED_NAME
    assert task(objective, catalogue.GENERATOR).base == catalogue.GENERATOR


def test_it_is_small_has_a_card_and_holds_data_only() -> None:
    found = catalogue.find(catalogue.GENERATOR)
    files = list(found.folder.iterdir())
    assert sum(path.stat().st_size for path in files) <= 50_000_000
    assert {path.suffix for path in files} <= {".safetensors", ".json", ".jinja", ".md"}
    assert "licence" in (found.folder / "README.md").read_text("utf-8")


def test_damaged_weights_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    copy = tmp_path / "luthier_base"
    shutil.copytree(catalogue.find(catalogue.GENERATOR).folder, copy)
    with (copy / "model.safetensors").open("r+b") as handle:
        handle.seek(-1, 2)
        last = handle.read(1)
        handle.seek(-1, 2)
        handle.write(bytes([last[0] ^ 1]))
    monkeypatch.setattr(catalogue, "_GENERATOR_FOLDER", copy)
    with pytest.raises(ModelError, match="not the published ones"):
        catalogue.find(catalogue.GENERATOR)


def test_it_writes_words_and_plain_transformers_writes_the_same() -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    folder = catalogue.find(catalogue.GENERATOR).folder
    learner = learner_of(folder, "generate")
    assert {p.dtype for p in learner.parameters()} == {torch.float32}
    question = "Customer wants to book a table for two. What does the agent ask?"
    said = Predictor(learner).predict([question, "Hello"], max_new_tokens=12)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    network = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    ids = tokenizer.apply_chat_template(
        [{"role": "user", "content": question}], add_generation_prompt=True, return_tensors="pt", return_dict=True
    )["input_ids"]
    with torch.inference_mode():
        made = network.generate(ids, max_new_tokens=12, do_sample=False, pad_token_id=tokenizer.pad_token_id)
    plain = tokenizer.decode(made[0, ids.shape[1] :], skip_special_tokens=True).strip()
    assert said[0].text == plain
    assert sum(word.isalpha() for word in plain.replace(".", " ").replace(",", " ").replace("?", " ").split()) >= 3


@pytest.mark.parametrize("name", [catalogue.GENERATOR, catalogue.EMBEDDED_NAME])
def test_a_folder_of_that_name_comes_first(name: str, tiny_llama: Path, tmp_path: Path) -> None:
    shutil.copytree(tiny_llama, tmp_path / name)
    assert catalogue.find(name, folder=tmp_path).folder == tmp_path / name
    assert place(name, tmp_path, None).folder == tmp_path / name
    assert catalogue.find(name).folder != tmp_path / name
    assert place(name, None, None).folder == catalogue.find(name).folder


@pytest.mark.parametrize("objective", ["generate", "prefer"])
@pytest.mark.parametrize("model", [None, "tiny_bert_decoder"])
def test_its_scores_come_in_pieces_and_are_its_own(objective: str, model: str | None, request) -> None:
    """A BERT has layers between its blocks and its output layer; nothing of size (tokens, vocabulary) is held for them."""
    folder = request.getfixturevalue(model) if model else catalogue.find(catalogue.GENERATOR).folder
    learner = learner_of(folder, objective, max_tokens=64)
    learner.prepare_training(section(objective, 4, embeddings="train"))
    learner.eval()
    examples = sums(4)
    if objective == "prefer":
        examples = [Example(e.id, e.inputs, {"chosen": e.target, "rejected": "no"}, e.source) for e in examples]
    rows = [learner.encode(example) for example in examples]

    def found(split: bool) -> tuple[float, dict[str, torch.Tensor]]:
        learner._split = split
        learner.zero_grad()
        learner.begin_step(rows)
        loss, _ = learner.loss(learner.collate(learner.refer(rows)), smoothing=0.0)
        loss.backward()
        return float(loss.detach()), {n: p.grad.clone() for n, p in learner.named_parameters() if p.grad is not None}

    assert learner._split
    (pieces, one), (whole, other) = found(True), found(False)
    assert pieces == pytest.approx(whole, rel=1e-5) and one.keys() == other.keys()
    noise = 1e-6 * max(float(value.abs().max()) for value in other.values())
    for name, value in other.items():
        torch.testing.assert_close(one[name], value, rtol=1e-3, atol=1e-5 * float(value.abs().max()) + noise)

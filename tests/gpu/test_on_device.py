"""The same numbers on a GPU: bfloat16 near float32, packed near unpacked, compiled near plain, resumed, and QLoRA learns."""

from __future__ import annotations

import importlib.util
import signal
from pathlib import Path

import pytest
import torch
from making import learner_of, section, sums

from luthier.base.errors import Interrupted
from luthier.base.interrupt import Stopper
from luthier.base.records import Example
from luthier.models import flat, low_rank, methods
from luthier.models.catalogue import find
from luthier.objectives import scores
from luthier.release.predictor import Predictor
from luthier.train import speed
from luthier.train.muon import Muon
from luthier.train.run import encode_all, fit

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="notice: no GPU here; these tests run on one")
GPU = torch.device("cuda")
needs_kernel = pytest.mark.skipif(not flat.has_kernel(), reason="notice: this torch has no attention of many lengths")


def learner_on_gpu(folder: Path, **model):
    return learner_of(folder, "generate", max_tokens=64, **model).to(GPU)


def losses(learner, rows, *, packed: bool, bfloat16: bool) -> tuple[float, dict[str, torch.Tensor]]:
    learner.train()
    learner.zero_grad()
    learner.lay_flat(packed)
    batch = learner.collate(rows)
    with torch.autocast("cuda", dtype=torch.bfloat16, enabled=bfloat16):
        loss, _ = learner.loss(batch, smoothing=0.0)
    loss.backward()
    learner.lay_flat(False)
    return float(loss.detach()), {n: p.grad.clone() for n, p in learner.named_parameters() if p.grad is not None}


def alike(one: torch.Tensor, two: torch.Tensor) -> float:
    return float(torch.nn.functional.cosine_similarity(one.flatten().float(), two.flatten().float(), dim=0))


@pytest.mark.parametrize("model", ["tiny_llama", "tiny_qwen", "tiny_gpt2", "tiny_mistral"])
@pytest.mark.parametrize("packed", [False, pytest.param(True, marks=needs_kernel)])
def test_bfloat16_is_near_float32(model, packed, request) -> None:
    learner = learner_on_gpu(request.getfixturevalue(model))
    rows, _ = encode_all(learner, sums(12), lambda *a, **k: None)
    exact, gradient = losses(learner, rows, packed=False, bfloat16=False)
    assert losses(learner, rows, packed=packed, bfloat16=False)[0] == pytest.approx(exact, rel=1e-4)
    half, rough = losses(learner, rows, packed=packed, bfloat16=True)
    assert half == pytest.approx(exact, rel=2e-2)
    assert all(alike(rough[name], gradient[name]) > 0.97 for name in gradient if gradient[name].norm() > 1e-4)


def run(folder: Path, where: Path | None = None, stopper=None, emit=lambda *a, **k: None, **settings):
    learner = learner_on_gpu(folder)
    given = section("generate", 22, **{"epochs": 4.0, "batch": 8, "rate": 2e-3, "evaluations": 1, **settings})
    outcome = fit(learner, sums(22), given, score=None, folder=where, identity="x", stopper=stopper, emit=emit)
    return learner, outcome


@needs_kernel
@pytest.mark.parametrize(
    "settings",
    [{"packing": "on"}, {"packing": "on", "checkpointing": "on"}, {"packing": "on", "compile": "on"},
     {"packing": "on", "compile": "on", "checkpointing": "on", "method": "lora"}],
)  # fmt: skip
def test_a_fast_run_is_near_the_plain_run(tiny_llama: Path, settings) -> None:
    torch._dynamo.reset()
    method = settings.get("method", "full")
    plain = run(tiny_llama, method=method, packing="off", compile="off", checkpointing="off", precision="float32")[1]
    fast = run(tiny_llama, precision="bfloat16", **settings)[1]
    assert [a["loss"] for a in fast.losses] == pytest.approx([b["loss"] for b in plain.losses], rel=3e-2)


def test_a_stopped_run_goes_on(tiny_llama: Path, tmp_path: Path) -> None:
    _, reference = run(tiny_llama, tmp_path / "whole", packing="off", compile="off")
    stopper = Stopper()

    def stop(kind: str, /, **facts) -> None:
        if kind == "step" and facts["step"] == 5:
            stopper.handle(signal.SIGTERM, None)

    with pytest.raises(Interrupted):
        run(tiny_llama, tmp_path / "cut", stopper, stop, packing="off", compile="off")
    outcome = run(tiny_llama, tmp_path / "cut", packing="off", compile="off")[1]
    # Sums on a GPU come in no fixed order, so this holds to rounding and not to the bit.
    assert [a["loss"] for a in outcome.losses] == pytest.approx([b["loss"] for b in reference.losses], rel=1e-2)


@needs_kernel
def test_a_pass_never_waits_for_the_device(tiny_llama: Path) -> None:
    learner = learner_on_gpu(tiny_llama)
    settings = section("generate", 22, packing="on", compile="off", checkpointing="off", precision="bfloat16")
    learner.prepare_training(settings)
    speed.prepare(learner, settings)
    learner.train()
    rows, _ = encode_all(learner, sums(22), lambda *a, **k: None)

    def one_pass() -> torch.Tensor:
        with torch.autocast("cuda", dtype=torch.bfloat16):
            loss, _ = learner.loss(learner.collate(rows), smoothing=0.0)
        loss.backward()
        return loss

    one_pass()
    torch.cuda.set_sync_debug_mode("error")
    try:
        one_pass()
    finally:
        torch.cuda.set_sync_debug_mode("default")


@pytest.mark.parametrize("compiled", [False, True])
def test_the_loss_of_scores_is_cross_entropy(compiled: bool) -> None:
    torch.manual_seed(0)
    hidden = torch.randn(300, 64, device=GPU, requires_grad=True)
    weight = torch.randn(1000, 64, device=GPU, requires_grad=True)
    targets = torch.randint(0, 1000, (300,), device=GPU)
    expected = torch.nn.functional.cross_entropy(hidden @ weight.T, targets, reduction="sum")
    wanted = torch.autograd.grad(expected, (hidden, weight))
    with torch.autocast("cuda", dtype=torch.bfloat16):
        loss = scores.LinearCrossEntropy.apply(hidden, weight, None, targets, 0.0, compiled)
    found = torch.autograd.grad(loss, (hidden, weight))
    assert float(loss) == pytest.approx(float(expected), rel=1e-2)
    assert all(a.dtype == torch.float32 and alike(a, b) > 0.999 for a, b in zip(found, wanted, strict=True))


def test_a_model_published_in_half_is_held_in_half(tiny_llama: Path) -> None:
    learner = learner_on_gpu(tiny_llama)
    with torch.no_grad():
        for p in learner.parameters():
            p.copy_(p.bfloat16().float())
    settings = section("generate", 22, method="lora", epochs=4.0, batch=8, rate=2e-3, precision="bfloat16")
    outcome = fit(learner, sums(22), settings, score=None)
    held = low_rank._ours(learner.network)
    assert held and all(layer.weight.dtype == torch.bfloat16 for layer in held)
    assert outcome.losses[-1]["loss"] < outcome.losses[0]["loss"]
    before = Predictor(learner).measure(sums(6))
    learner.network = methods.merge(learner.network)
    after = Predictor(learner).measure(sums(6))
    for one, two in zip(before, after, strict=True):
        assert one.measured["nll_sum"] == pytest.approx(two.measured["nll_sum"], rel=1e-3)


@pytest.mark.skipif(importlib.util.find_spec("bitsandbytes") is None, reason="notice: bitsandbytes is not installed")
def test_qlora_learns(tiny_llama: Path) -> None:
    _, small = run(tiny_llama, method="qlora", epochs=8.0)
    _, whole = run(tiny_llama, method="lora", epochs=8.0)
    assert small.losses[-1]["loss"] < small.losses[0]["loss"] - 0.1
    assert [a["loss"] for a in small.losses] == pytest.approx([b["loss"] for b in whole.losses], rel=2e-2)


@needs_kernel
@pytest.mark.parametrize("objective", ["generate", "text"])
def test_the_generator_that_comes_along_is_packed(objective: str) -> None:
    learner = learner_of(find("luthier-base").folder, objective, max_tokens=128).to(GPU)
    examples = sums(12) if objective == "generate" else [Example(e.id, {"text": e.target * 9}, "", e.source) for e in sums(12)]
    rows = [learner.encode(example) for example in examples]
    exact, gradient = losses(learner, rows, packed=False, bfloat16=False)
    half, rough = losses(learner, rows, packed=True, bfloat16=True)
    assert half == pytest.approx(exact, rel=2e-2)
    whole = max(float(g.norm()) for g in gradient.values())
    assert all(alike(rough[name], gradient[name]) > 0.97 for name in gradient if gradient[name].norm() > 1e-2 * whole)


def test_matrices_are_turned_on_the_device_as_on_the_host() -> None:
    def after(where: torch.device) -> list[torch.Tensor]:
        shapes = [(48, 16), (48, 16), (16, 16), (16, 48)]
        made = [torch.randn(s, generator=torch.Generator().manual_seed(i)) for i, s in enumerate(shapes)]
        parameters = [torch.nn.Parameter(m.clone().to(where)) for m in made]
        optimizer = Muon([{"params": parameters, "turned": True}], lr=0.02, weight_decay=0.1)
        for step in range(3):
            for number, parameter in enumerate(parameters):
                parameter.grad = torch.sin((step + 1 + number) * parameter.detach())
            optimizer.step()
        return [p.detach().cpu() - m for p, m in zip(parameters, made, strict=True)]

    for one, other in zip(after(GPU), after(torch.device("cpu")), strict=True):
        assert alike(one, other) > 0.99
        assert float(one.norm()) == pytest.approx(float(other.norm()), rel=5e-2)

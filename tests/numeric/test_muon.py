"""Muon: its turning against a decomposition, its update against torch's own, and what it leaves to AdamW."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from making import learner_of, sums
from torch import nn

from luthier.base.errors import TrainError
from luthier.lifecycle import steps
from luthier.objectives.generate import Generator
from luthier.spec.train import TrainSection
from luthier.train import muon
from luthier.train.choose import choose_method
from luthier.train.defaults import resolve
from luthier.train.muon import MOMENTUM, Muon, orthogonal
from luthier.train.optim import make_optimizer


@pytest.fixture(autouse=True)
def in_float32(monkeypatch: pytest.MonkeyPatch) -> None:
    """Machines with units for bfloat16 turn in it; what is compared here is compared to more digits than it has."""
    monkeypatch.setattr(muon, "quick_in_bfloat16", lambda where: False)


def test_turning_in_bfloat16_is_close(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    matrix = torch.randn(24, 60)
    exact = orthogonal(matrix)
    monkeypatch.setattr(muon, "quick_in_bfloat16", lambda where: True)
    rough = orthogonal(matrix).float()
    assert 0 < float((rough - exact).norm() / exact.norm()) < 0.03


@pytest.mark.parametrize("shape", [(16, 48), (48, 16), (24, 24)])
def test_singular_values_end_near_one_and_their_directions_stay(shape: tuple[int, int]) -> None:
    torch.manual_seed(0)
    matrix = torch.randn(*shape)
    left, _, right = torch.linalg.svd(matrix, full_matrices=False)
    turned = orthogonal(matrix)
    values = torch.linalg.svdvals(turned)
    assert turned.shape == matrix.shape
    assert float(values.min()) > 0.6 and float(values.max()) < 1.25
    # In the base of the matrix's own directions nothing stands beside the diagonal.
    inside = left.T @ turned @ right.T
    assert torch.allclose(inside, torch.diag(inside.diagonal()), atol=2e-5)


def test_updates_equal_those_of_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    """torch turns in bfloat16; in float32 both must be the same to rounding."""
    from torch.optim import _muon

    monkeypatch.setattr(torch.Tensor, "bfloat16", lambda self: self.clone())
    torch.manual_seed(0)
    mine, theirs = nn.Parameter(torch.randn(12, 30)), nn.Parameter(torch.zeros(12, 30))
    with torch.no_grad():
        theirs.copy_(mine)
    ours = Muon([{"params": [mine], "turned": True, "lr": 0.02, "weight_decay": 0.1}], lr=0.02)
    other = _muon.Muon([theirs], lr=0.02, weight_decay=0.1, momentum=MOMENTUM, adjust_lr_fn="match_rms_adamw")
    for step in range(4):
        gradient = torch.randn(12, 30) * (step + 1)
        mine.grad, theirs.grad = gradient.clone(), gradient.clone()
        ours.step()
        other.step()
        assert torch.allclose(mine, theirs, atol=1e-6), step


class Tiny(nn.Module):
    """What the optimiser looks at: a network with embeddings, blocks and a head, tied or not."""

    def __init__(self) -> None:
        super().__init__()
        from transformers import LlamaConfig, LlamaForCausalLM

        torch.manual_seed(0)
        self.network = LlamaForCausalLM(LlamaConfig(
            vocab_size=32, hidden_size=16, intermediate_size=24, num_hidden_layers=2, num_attention_heads=2, tie_word_embeddings=False,
        ))  # fmt: skip


@pytest.mark.parametrize("shape", [(8, 8), (6, 24), (24, 6)])
def test_matrices_of_one_shape_are_turned_together_as_alone(shape: tuple[int, int], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("luthier.train.muon.quick_in_bfloat16", lambda device: False)
    starts = [torch.randn(shape, generator=torch.Generator().manual_seed(i)) for i in range(3)]

    def after(together: bool) -> list[torch.Tensor]:
        monkeypatch.setattr("luthier.train.muon.alike", lambda them: [them] if together else [[one] for one in them])
        parameters = [torch.nn.Parameter(start.clone()) for start in starts]
        optimizer = Muon([{"params": parameters, "turned": True}], lr=0.02, weight_decay=0.1)
        for step in range(3):
            for number, parameter in enumerate(parameters):
                parameter.grad = torch.sin((step + 1 + number) * parameter.detach())
            optimizer.step()
        return [parameter.detach() for parameter in parameters]

    for one, other in zip(after(True), after(False), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-6)


def test_only_the_matrices_of_the_blocks_are_turned() -> None:
    module = Tiny()
    optimizer = make_optimizer(module, rate=0.01, weight_decay=0.01, kind="muon")
    names = {id(p): name for name, p in module.named_parameters()}
    turned = {names[id(p)] for group in optimizer.param_groups if group["turned"] for p in group["params"]}
    assert turned == {n for n in names.values() if "layers." in n and n.endswith("proj.weight")}
    assert len({id(p) for g in optimizer.param_groups for p in g["params"]}) == len(names)


def test_a_step_that_is_not_finite_moves_nothing() -> None:
    module = Tiny()
    optimizer = make_optimizer(module, rate=0.01, weight_decay=0.01, kind="muon")
    before = [p.detach().clone() for p in module.parameters()]
    for p in module.parameters():
        p.grad = torch.full_like(p, float("nan"))
    optimizer.found_inf = torch.ones(())
    optimizer.step()
    assert all(np.array_equal(a.numpy(), b.detach().numpy()) for a, b in zip(before, module.parameters(), strict=True))


def test_the_rest_learns_as_adamw_does() -> None:
    ours, theirs = Tiny(), Tiny()
    first = make_optimizer(ours, rate=0.01, weight_decay=0.01, kind="muon")
    second = make_optimizer(theirs, rate=0.01, weight_decay=0.01)
    for p, q in zip(ours.parameters(), theirs.parameters(), strict=True):
        p.grad = torch.ones_like(p) * 0.3
        q.grad = torch.ones_like(q) * 0.3
    first.step()
    second.step()
    assert torch.equal(ours.network.lm_head.weight, theirs.network.lm_head.weight)
    assert torch.equal(ours.network.model.embed_tokens.weight, theirs.network.model.embed_tokens.weight)
    assert not torch.equal(ours.network.model.layers[0].mlp.up_proj.weight, theirs.network.model.layers[0].mlp.up_proj.weight)


def test_auto_knows_a_rate_for_it_and_refuses_methods_without_whole_matrices() -> None:
    asked = TrainSection(method="full", optimizer="muon")
    rates = {kind: float(resolve(TrainSection(method="full", optimizer=kind), objective="generate", rows=9).rate) for kind in ("adamw", "muon")}
    assert rates["muon"] > rates["adamw"]
    assert float(resolve(asked.model_copy(update={"rate": 0.5}), objective="generate", rows=9).rate) == 0.5
    for method in ("lora", "auto"):  # of a decoder `auto` is lora
        with pytest.raises(TrainError, match="whole matrices"):
            resolve(TrainSection(method=method, optimizer="muon"), objective="generate", rows=9)


def test_a_small_model_that_answers_is_tuned_whole_and_by_it(tiny_llama: Path, tiny_t5: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def settled(folder: Path, objective: str = "generate", **given: object) -> tuple[str, str]:
        learner = learner_of(folder, objective)
        section = TrainSection(**given)
        method = choose_method(learner, sums(30), section).method
        found = steps.settle(section.model_copy(update={"method": method}), objective=objective, rows=30, learner=learner)
        return found.method, found.optimizer

    assert settled(tiny_llama) == ("full", "muon")
    assert settled(tiny_llama, rate=1e-4) == ("full", "adamw"), "a rate that is set was meant for AdamW"
    assert settled(tiny_llama, method="lora") == ("lora", "adamw")
    assert settled(tiny_t5) == ("lora", "adamw")
    monkeypatch.setattr(Generator, "small_below", 1000)
    assert settled(tiny_llama) == ("lora", "adamw")
    assert settled(tiny_llama, method="full") == ("full", "adamw")

"""Attention with dropout on a CPU: its numbers and gradients against the formula, and where transformers' own is left to do it."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from transformers import AutoModel
from transformers.integrations.sdpa_attention import sdpa_attention_forward

from luthier.models import dropout, dropped
from luthier.models.freeze import set_dropout


def given(dtype: torch.dtype = torch.float64, *, rows: int = 5) -> list[torch.Tensor]:
    torch.manual_seed(0)
    return [torch.randn(2, 3, rows, 4, dtype=dtype, requires_grad=True) for _ in range(3)]


def masks() -> dict[str, torch.Tensor | None]:
    seen = torch.ones(2, 1, 5, 5, dtype=torch.bool)
    seen[0, ..., 3:] = False
    causal = torch.ones(5, 5, dtype=torch.bool).tril().expand(2, 1, 5, 5)
    return {"none": None, "padding": seen, "causal": causal, "numbers": torch.randn(2, 1, 5, 5, dtype=torch.float64)}


def formula(q, k, v, mask, scale, kept, up):
    scores = q @ k.transpose(2, 3) * scale
    if mask is not None:
        scores = scores.masked_fill(~mask, -1e30) if mask.dtype == torch.bool else scores + mask
    return (scores.softmax(-1) * kept.view(scores.shape) * up) @ v


@pytest.mark.parametrize("mask", ["none", "padding", "causal", "numbers"])
def test_it_is_the_formula_with_the_formulas_gradient(mask: str) -> None:
    (q, k, v), seen = given(), masks()[mask]
    torch.manual_seed(7)
    found = dropped.Attend.apply(q, k, v, seen, 0.3, 20_000)
    torch.manual_seed(7)
    kept = dropout.kept_values(torch.empty(6, 5, 5), 20_000)
    assert 0 < kept.sum() < kept.numel()
    wanted = formula(q, k, v, seen, 0.3, kept, 65_536 / 45_536)
    torch.testing.assert_close(found, wanted)
    upstream = torch.randn_like(found)
    for mine, right in zip(torch.autograd.grad(found, (q, k, v), upstream),
                           torch.autograd.grad(wanted, (q, k, v), upstream), strict=True):  # fmt: skip
        torch.testing.assert_close(mine, right)


def test_halves_are_near_it_and_drop_their_share() -> None:
    (q, k, v), seen = given(torch.bfloat16), masks()["padding"]
    torch.manual_seed(7)
    found = dropped.Attend.apply(q, k, v, seen, 0.5, 20_000)
    torch.manual_seed(7)
    bits = dropout.kept_bits(torch.empty(6, 5, 5), 20_000)
    assert set(bits.unique().tolist()) == {0, -1}
    wide = [x.detach().double().requires_grad_() for x in (q, k, v)]
    wanted = formula(*wide, seen, 0.5, bits != 0, 65_536 / 45_536)
    torch.testing.assert_close(found.double(), wanted, atol=0.03, rtol=0.03)
    upstream = torch.randn_like(found)
    for mine, right in zip(torch.autograd.grad(found, (q, k, v), upstream),
                           torch.autograd.grad(wanted, wide, upstream.double()), strict=True):  # fmt: skip
        torch.testing.assert_close(mine.double(), right, atol=0.06, rtol=0.06)
    many = dropout.kept_bits(torch.empty(400_000), 20_000)
    assert abs(float((many == 0).float().mean()) - 20_000 / 65_536) < 0.004


def test_the_mean_over_many_draws_is_attention_without_dropout() -> None:
    q, k, v = (x.detach() for x in given(torch.float32))
    module = SimpleNamespace(is_causal=False)
    torch.manual_seed(1)
    mean = torch.stack([dropped.attend(module, q, k, v, None, dropout=0.2)[0] for _ in range(3_000)]).mean(0)
    wanted = sdpa_attention_forward(module, q, k, v, None)[0]
    torch.testing.assert_close(mean, wanted, atol=0.06, rtol=0.0)


def test_what_it_cannot_do_goes_to_transformers(monkeypatch) -> None:
    calls = []
    monkeypatch.setattr(dropped, "sdpa_attention_forward", lambda *args, **more: calls.append(more) or (args[1], None))
    q, k, v = given(torch.float32)
    causal, module = SimpleNamespace(is_causal=True), SimpleNamespace(is_causal=False)
    dropped.attend(module, q, k, v, None, dropout=0.0)
    dropped.attend(causal, q, k, v, None, dropout=0.1)
    dropped.attend(module, q, k[:, :1], v[:, :1], None, dropout=0.1)
    dropped.attend(module, q, k, v, None, dropout=0.1, position_bias=torch.zeros(1))
    assert len(calls) == 4
    dropped.attend(causal, q, k, v, masks()["causal"], dropout=0.1)
    assert len(calls) == 4


def test_a_network_takes_it_in_training_and_answers_as_before(tiny_bert: Path, monkeypatch) -> None:
    network = AutoModel.from_pretrained(tiny_bert, attn_implementation="sdpa").eval()
    set_dropout(network, 0.1)
    ids = torch.tensor([[2, 5, 6, 7, 3], [2, 8, 3, 0, 0]])
    mask = (ids > 0).long()
    before = network(input_ids=ids, attention_mask=mask).last_hidden_state
    seen: list[int] = []
    whole = dropped.Attend.apply
    monkeypatch.setattr(dropped.Attend, "apply", lambda *args: seen.append(args[-1]) or whole(*args))
    dropped.use(network)
    assert torch.equal(network(input_ids=ids, attention_mask=mask).last_hidden_state, before) and not seen
    network.train()
    network(input_ids=ids, attention_mask=mask).last_hidden_state.sum().backward()
    assert seen == [round(0.1 * 65_536)] * network.config.num_hidden_layers
    dropped.leave(network)
    assert network.config._attn_implementation == "sdpa"

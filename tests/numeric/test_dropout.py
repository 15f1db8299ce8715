"""The quick dropout of a CPU: the share that it drops, what it scales by, its gradient, and that it draws from torch's generator."""

from __future__ import annotations

import copy
import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from luthier.models import dropout


def quick(share: float) -> nn.Dropout:
    module = nn.Dropout(share)
    assert dropout.use_quick(module) == 1
    return module


@pytest.mark.parametrize("share", [0.02, 0.1, 0.5, 0.9])
def test_it_drops_its_share_and_keeps_the_mean(share: float) -> None:
    torch.manual_seed(3)
    count = 400_001
    found = quick(share)(torch.ones(count))
    dropped = int((found == 0).sum())
    # Five standard errors of a binomial: a wrong draw of one in a thousand would be seen.
    assert abs(dropped - share * count) < 5 * math.sqrt(count * share * (1 - share))
    rest = found[found != 0]
    assert torch.allclose(rest, torch.full_like(rest, 1 / (1 - share)), rtol=1e-3)
    # Neighbours share one draw of 64 bits; whether one is dropped says nothing of the next three.
    gone = (found == 0).float()
    for step in (1, 2, 3, 4):
        assert abs(torch.corrcoef(torch.stack([gone[:-step], gone[step:]]))[0, 1]) < 0.01


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64])
def test_the_gradient_goes_where_the_values_went(dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    x = torch.randn(7, 5, 3, dtype=dtype, requires_grad=True)
    found = quick(0.25)(x)
    assert found.dtype == dtype and found.shape == x.shape
    upstream = torch.randn_like(found)
    found.backward(upstream)
    wanted = torch.where(found == 0, 0.0, upstream * torch.tensor(4 / 3, dtype=dtype))
    assert x.grad is not None and torch.allclose(x.grad, wanted, rtol=1e-2 if dtype == torch.bfloat16 else 1e-6)


def test_the_same_state_draws_the_same_and_threads_change_nothing() -> None:
    module, x, found = quick(0.3), torch.ones(300_000), []
    before = torch.get_num_threads()
    try:
        for threads in (1, 2, 1):
            torch.set_num_threads(threads)
            torch.manual_seed(11)
            found.append(module(x))
        assert torch.equal(found[0], found[1]) and torch.equal(found[0], found[2])
    finally:
        torch.set_num_threads(before)
    assert not torch.equal(found[0], module(x)), "it draws anew"
    state = torch.get_rng_state()
    first = module(x)
    torch.set_rng_state(state)
    assert torch.equal(first, module(x))


def test_it_does_nothing_where_nothing_is_dropped_and_everything_where_all_is() -> None:
    x = torch.randn(50)
    assert torch.equal(quick(0.4).eval()(x), x)
    assert torch.equal(quick(0.0)(x), x)
    assert torch.equal(quick(1.0)(x), torch.zeros(50))


def test_it_comes_off_again_and_a_copy_has_its_own() -> None:
    network = nn.Sequential(nn.Linear(4, 4), nn.Dropout(0.5), nn.Dropout(0.5, inplace=True))
    assert dropout.use_quick(network) == 1
    twin = copy.deepcopy(network).eval()
    network.train()
    assert torch.equal(twin[1](torch.ones(99)), torch.ones(99)), "the copy asks its own mode"
    dropout.undo(network)
    torch.manual_seed(5)
    found = network[1](torch.ones(99))
    torch.manual_seed(5)
    assert torch.equal(found, F.dropout(torch.ones(99), 0.5))

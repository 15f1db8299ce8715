"""Dropout on a CPU in a quarter of the time: torch draws one number for each value there, this draws one for four."""

from __future__ import annotations

from types import MethodType
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

# A value is dropped where 16 random bits are below its share, so shares are rounded to a 65,536th.
SHARES = 1 << 16
_LEAST = -(1 << 63)


def share_of(share: float) -> int:
    """Return how many 65,536ths a share is; 0 where torch should do it: nothing or everything is dropped."""
    found = round(share * SHARES)
    return found if 0 < found < SHARES else 0


def kept_values(x: torch.Tensor, dropped: int) -> torch.Tensor:
    """Draw for each value whether it is kept: bool, as wide as ``x``. The bits come from torch's generator for the CPU."""
    return _bits(x).ge(dropped - SHARES // 2).view(x.shape)


def kept_bits(x: torch.Tensor, dropped: int) -> torch.Tensor:
    """Draw the same as int16, all bits set where kept. One bit fewer decides, so the share is rounded to a 32,768th."""
    bits = _bits(x).bitwise_and_(SHARES // 2 - 1)
    return torch.rsub(bits, dropped // 2 - 1).bitwise_right_shift_(15).view(x.shape)


def _bits(x: torch.Tensor) -> torch.Tensor:
    count = x.numel()
    return torch.empty((count + 3) // 4, dtype=torch.int64).random_(_LEAST, None).view(torch.int16)[:count]


class Drop(torch.autograd.Function):
    """Set a share of the values to zero and scale the rest by what makes up for it (Srivastava et al. 2014).

    Shapes: x any; ``dropped`` is the share in 65,536ths, from 1 to 65,535. Saved for the
    backward pass: one byte a value, as torch does.
    """

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, dropped: int) -> torch.Tensor:
        kept = kept_values(x, dropped)
        ctx.save_for_backward(kept)
        ctx.scale = SHARES / (SHARES - dropped)
        return (x * kept).mul_(ctx.scale)

    @staticmethod
    def backward(ctx: Any, upstream: torch.Tensor) -> tuple[torch.Tensor, None]:
        (kept,) = ctx.saved_tensors
        return (upstream * kept).mul_(ctx.scale), None


def use_quick(network: nn.Module) -> int:
    """Give every dropout module of a network the quick forward, for a CPU; return how many."""
    found = [m for m in network.modules() if type(m) is nn.Dropout and not m.inplace]
    for module in found:
        module.forward = MethodType(_forward, module)  # type: ignore[method-assign]
    return len(found)


def undo(network: nn.Module) -> None:
    """Take the quick forward off again."""
    for module in network.modules():
        if getattr(module.__dict__.get("forward"), "__func__", None) is _forward:
            del module.forward


def _forward(self: nn.Dropout, x: torch.Tensor) -> torch.Tensor:
    dropped = share_of(self.p)
    if not self.training or not dropped:
        return F.dropout(x, self.p, self.training)
    result: torch.Tensor = Drop.apply(x, dropped)
    return result

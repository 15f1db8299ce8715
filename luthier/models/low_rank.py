"""The low-rank update in one pass: the same numbers as peft's forward, without its copies of the outputs."""

from __future__ import annotations

from types import MethodType
from typing import Any

import torch
import torch.nn.functional as F
from peft.tuners.lora.layer import Linear
from torch import nn


class LowRankLinear(torch.autograd.Function):
    """``x W^T + b + s (x A^T) B^T`` with W and b frozen: the update is added in place, forwards and backwards.

    Shapes: x (N, in), W (out, in), A (r, in), B (out, r). Nothing of size (N, out) is made twice, where peft makes three.
    """

    @staticmethod
    def forward(
        ctx: Any, x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None, down: torch.Tensor, up: torch.Tensor,
        scale: float,
    ) -> torch.Tensor:  # fmt: skip
        low = x @ down.T
        result = F.linear(x, weight, bias)
        result.addmm_(low, up.T, alpha=scale)
        ctx.save_for_backward(x, weight, down, up, low)
        ctx.scale = scale
        return result

    @staticmethod
    def backward(ctx: Any, upstream: torch.Tensor) -> tuple[Any, ...]:
        x, weight, down, up, low = ctx.saved_tensors
        back = (upstream @ up).mul_(ctx.scale)
        grad_x = None
        if ctx.needs_input_grad[0]:
            grad_x = upstream @ weight
            grad_x.addmm_(back, down)
        return grad_x, None, None, back.T @ x, (upstream.T @ low).mul_(ctx.scale), None


def use_one_pass(network: nn.Module) -> int:
    """Give every plain adapter of ``network`` the one-pass forward; return how many. Others keep peft's own.

    Plain is: one adapter on an ``nn.Linear`` without dropout or a variant such as DoRA. What is merged, switched off,
    in another precision or under autocast goes through peft at the time it is called.
    """
    changed = 0
    for module in network.modules():
        if type(module) is Linear and _is_plain(module):
            module.forward = MethodType(_forward, module)  # type: ignore[method-assign]
            changed += 1
    return changed


def _is_plain(module: Linear) -> bool:
    names = list(module.lora_A)
    return (
        len(names) == 1
        and type(module.base_layer) is nn.Linear
        and isinstance(module.lora_dropout[names[0]], nn.Identity)
        and names[0] not in module.lora_variant
        and module.lora_A[names[0]].bias is None
        and module.lora_B[names[0]].bias is None
    )


def _forward(self: Linear, x: torch.Tensor, *args: Any, **kwargs: Any) -> torch.Tensor:
    base = self.base_layer
    name = next(iter(self.lora_A))
    down, up = self.lora_A[name].weight, self.lora_B[name].weight
    plain = not (args or kwargs or self.merged or self.disable_adapters or torch.is_autocast_enabled(x.device.type))
    if not plain or self.active_adapters != [name] or not x.dtype == base.weight.dtype == down.dtype == up.dtype:
        return Linear.forward(self, x, *args, **kwargs)
    flat = x.reshape(-1, x.shape[-1])
    result = LowRankLinear.apply(flat, base.weight, base.bias, down, up, float(self.scaling[name]))
    return result.view(*x.shape[:-1], result.shape[-1])

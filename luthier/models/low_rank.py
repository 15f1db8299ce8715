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

    Shapes: x (N, in), W (out, in), A (r, in), B (out, r), all of one type but A and B, whose gradients come in their own.
    Nothing of size (N, out) is made twice, where peft makes three.
    """

    @staticmethod
    def forward(
        ctx: Any, x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None, down: torch.Tensor, up: torch.Tensor,
        scale: float,
    ) -> torch.Tensor:  # fmt: skip
        with torch.autocast(x.device.type, enabled=False):
            down_, up_ = down.to(x.dtype), up.to(x.dtype)
            low = x @ down_.T
            result = F.linear(x, weight, bias)
            if torch.compiler.is_compiling():
                # A compiler makes it in place by itself; written so, torch 2.11's loses the gradient without a word.
                result = torch.addmm(result, low, up_.T, alpha=scale)
            else:
                result.addmm_(low, up_.T, alpha=scale)
        ctx.save_for_backward(x, weight, down_, up_, low)
        ctx.scale, ctx.dtype = scale, down.dtype
        return result

    @staticmethod
    def backward(ctx: Any, upstream: torch.Tensor) -> tuple[Any, ...]:
        x, weight, down, up, low = ctx.saved_tensors
        back = (upstream @ up).mul_(ctx.scale)
        grad_x = None
        if ctx.needs_input_grad[0]:
            grad_x = upstream @ weight
            grad_x.addmm_(back, down)
        grad_down, grad_up = back.T @ x, (upstream.T @ low).mul_(ctx.scale)
        return grad_x, None, None, grad_down.to(ctx.dtype), grad_up.to(ctx.dtype), None


def use_one_pass(network: nn.Module) -> int:
    """Give every plain adapter of ``network`` the one-pass forward; return how many. Others keep peft's own.

    Plain is: one adapter on an ``nn.Linear`` without dropout or a variant such as DoRA. What is merged or switched off goes
    through peft at the time it is called.
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
    base: Any = self.base_layer
    name = next(iter(self.lora_A))
    if args or kwargs or self.merged or self.disable_adapters or self.active_adapters != [name]:
        if base.weight.dtype == torch.bfloat16 and x.dtype == torch.float32 and self.disable_adapters:
            return F.linear(x, base.weight.to(x.dtype), base.bias)
        return Linear.forward(self, x, *args, **kwargs)
    down, up = self.lora_A[name].weight, self.lora_B[name].weight
    kind = x.device.type
    dtype = torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else x.dtype
    # A weight held in half is turned on the way: outside autocast what is measured is the network in float32.
    flat, weight = x.reshape(-1, x.shape[-1]).to(dtype), base.weight.to(dtype)
    bias = None if base.bias is None else base.bias.to(dtype)
    result = LowRankLinear.apply(flat, weight, bias, down, up, float(self.scaling[name]))
    return result.view(*x.shape[:-1], result.shape[-1])


@torch.no_grad()
def hold_half(network: nn.Module) -> int:
    """Keep the frozen weights under plain adapters in bfloat16 where no bit is lost by it; return how many bytes that saves.

    Most decoders are published in bfloat16, so float32 only doubles what they take. What is delivered is the same: merging
    turns them back first (:func:`hold_whole`).
    """
    saved = 0
    for layer in _ours(network):
        half = layer.weight.to(torch.bfloat16)
        if layer.weight.dtype == torch.float32 and torch.equal(half.float(), layer.weight):
            layer.weight.data = half
            saved += 2 * half.numel()
    return saved


@torch.no_grad()
def hold_whole(network: nn.Module) -> None:
    """Turn the weights of :func:`hold_half` back to float32: an update merged into bfloat16 would be rounded away."""
    for layer in _ours(network):
        if layer.weight.dtype == torch.bfloat16:
            layer.weight.data = layer.weight.float()


def _ours(network: nn.Module) -> list[Any]:
    """Return the frozen layers under the adapters that have the one-pass forward."""
    return [
        m.base_layer
        for m in network.modules()
        if type(m) is Linear and getattr(m.__dict__.get("forward"), "__func__", None) is _forward
    ]

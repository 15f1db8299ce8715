"""Attention with dropout on a CPU, where torch has no kernel for it and goes the long way with many copies."""

from __future__ import annotations

from typing import Any

import torch
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

from luthier.models.dropout import SHARES, kept_bits, kept_values, share_of

NAME = "luthier_dropped"
_HALVES = (torch.bfloat16, torch.float16)


class Attend(torch.autograd.Function):
    """``dropout(softmax(scale q k^T + mask)) v``, with the gradient written out so that little of size T x T is made anew.

    Shapes: q (B, H, T, D), k and v (B, H, S, D), mask broadcast to (B, H, T, S): bool, True where a key is seen, or numbers
    to add. Everything is computed in the type of q; in halves what is dropped is blanked by its bits.
    """

    @staticmethod
    def forward(
        ctx: Any, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, mask: torch.Tensor | None, scale: float, dropped: int
    ) -> torch.Tensor:
        batch, heads, rows, _ = q.shape
        with torch.autocast(q.device.type, enabled=False):
            q3, k3, v3 = ((q * scale).flatten(0, 1), k.flatten(0, 1), v.flatten(0, 1))
            scores = torch.bmm(q3, k3.transpose(1, 2))
            seen = scores.view(batch, heads, rows, -1)
            if mask is not None and mask.dtype == torch.bool:
                seen.masked_fill_(~mask, torch.finfo(scores.dtype).min)
            elif mask is not None:
                seen.add_(mask)
            shares = torch.softmax(scores, -1)
            kept = kept_bits(shares, dropped) if q.dtype in _HALVES else kept_values(shares, dropped)
            left = _blanked(shares, kept)
            ctx.scale, ctx.up = scale, SHARES / (SHARES - dropped)
            # In halves the product is made again sooner than it is kept.
            ctx.save_for_backward(q3, k3, v3, shares, kept, *(() if q.dtype in _HALVES else (left,)))
            return torch.bmm(left, v3).mul_(ctx.up).view(batch, heads, rows, -1)

    @staticmethod
    def backward(ctx: Any, upstream: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        q3, k3, v3, shares, kept, *left = ctx.saved_tensors
        batch, heads = upstream.shape[:2]
        given = (upstream * ctx.up).flatten(0, 1)
        to_v = torch.bmm((left[0] if left else _blanked(shares, kept)).transpose(1, 2), given)
        to_shares = _blanked(torch.bmm(given, v3.transpose(1, 2)), kept, new=False)
        to_scores = torch._softmax_backward_data(to_shares, shares, -1, shares.dtype)
        to_q, to_k = torch.bmm(to_scores, k3).mul_(ctx.scale), torch.bmm(to_scores.transpose(1, 2), q3)
        return (*(found.unflatten(0, (batch, heads)) for found in (to_q, to_k, to_v)), None, None, None)


def _blanked(values: torch.Tensor, kept: torch.Tensor, *, new: bool = True) -> torch.Tensor:
    """Set to zero what is not kept: by a factor of 0 or 1, or in halves by their bits, which costs half as much."""
    if kept.dtype == torch.int16:
        bits = values.view(torch.int16)
        return (bits & kept if new else bits.bitwise_and_(kept)).view(values.dtype)
    return values * kept if new else values.mul_(kept)


def attend(
    module: Any, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, attention_mask: torch.Tensor | None,
    dropout: float = 0.0, scaling: float | None = None, is_causal: bool | None = None, **more: Any,
) -> tuple[torch.Tensor, None]:  # fmt: skip
    """Attend as transformers' sdpa does, by :class:`Attend` where something is dropped and nothing else is special."""
    dropped = share_of(dropout)
    causal = getattr(module, "is_causal", True) if is_causal is None else is_causal
    special = any(more.get(name) is not None for name in ("softcap", "s_aux", "position_bias", "cache"))
    plain = key.shape[1] == query.shape[1] and query.device.type == "cpu" and not special
    if not dropped or not plain or (causal and attention_mask is None and query.shape[2] > 1):
        found: tuple[torch.Tensor, None] = sdpa_attention_forward(
            module, query, key, value, attention_mask, dropout=dropout, scaling=scaling, is_causal=is_causal, **more
        )
        return found
    kind = query.device.type
    dtype = torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else value.dtype
    query, key, value = query.to(dtype), key.to(dtype), value.to(dtype)
    scale = query.shape[-1] ** -0.5 if scaling is None else scaling
    result: torch.Tensor = Attend.apply(query, key, value, attention_mask, scale, dropped)
    return result.transpose(1, 2).contiguous(), None


def use(network: Any) -> None:
    """Let a network that attends by sdpa do it this way."""
    if getattr(network.config, "_attn_implementation", None) == "sdpa":
        network.config._attn_implementation = NAME


def leave(network: Any) -> None:
    """Give the network transformers' attention back."""
    if getattr(network.config, "_attn_implementation", None) == NAME:
        network.config._attn_implementation = "sdpa"


AttentionInterface.register(NAME, attend)
AttentionMaskInterface.register(NAME, sdpa_mask)

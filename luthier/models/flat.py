"""Rows laid in one line, each to itself: attention over the documents of a packed pass.

Padding costs nothing here, since there is none. On a GPU in half precision the kernel is torch's own flash attention for
sequences of different lengths; elsewhere the same is said by a mask, which is slower and holds the numbers in tests.
"""

from __future__ import annotations

import inspect
from functools import cache
from typing import Any

import torch
import torch.nn.functional as F
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.sdpa_attention import repeat_kv, sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

from luthier.base.errors import ModelError

NAME = "luthier_flat"


def mask_of(starts_N: torch.Tensor, longest: int) -> torch.Tensor:
    """Return what :func:`attend` is handed as a mask: (1, 1, longest, N + 1), the starts of the documents and the end.

    A mask of four dimensions goes through transformers' decoders untouched, so it can carry the starts; the longest length,
    which a kernel must know without asking the device, is its third dimension, and takes no memory.

    Args:
        starts_N: (N + 1,) int32, the first place of each document and the end of the last.
    """
    return starts_N.view(1, 1, 1, -1).expand(1, 1, longest, -1)


def use(network: Any) -> None:
    """Let the network's attention understand :func:`mask_of`; with any other mask it stays what it is (sdpa)."""
    network.config._attn_implementation = NAME


def leave(network: Any) -> None:
    """Give the network transformers' attention back."""
    if getattr(network.config, "_attn_implementation", None) == NAME:
        network.config._attn_implementation = "sdpa"


def is_flat(mask: torch.Tensor | None) -> bool:
    return mask is not None and mask.dtype == torch.int32 and mask.dim() == 4


def attend(
    module: Any, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, attention_mask: torch.Tensor | None,
    dropout: float = 0.0, scaling: float | None = None, **more: Any,
) -> tuple[torch.Tensor, None]:  # fmt: skip
    """Attend inside each document; shapes as transformers hands them: (1, H, T, D) in, (1, T, H, D) out.

    Raises:
        ModelError: the architecture wants dropout on the attention, capped scores or sinks, which the kernel has not.
    """
    if attention_mask is None or not is_flat(attention_mask):
        plain: tuple[torch.Tensor, None] = sdpa_attention_forward(
            module, query, key, value, attention_mask, dropout=dropout, scaling=scaling, **more
        )
        return plain
    if dropout or more.get("softcap") is not None or more.get("s_aux") is not None:
        what = "drops out attention" if dropout else "caps its scores or has sinks"
        raise ModelError(
            f"packed attention cannot be had with this model, which {what}",
            where="train.packing",
            mend="Set train.dropout: 0, or packing: off." if dropout else "Set it to off.",
        )
    window = more.get("sliding_window")
    dtype = torch.get_autocast_dtype(query.device.type) if torch.is_autocast_enabled(query.device.type) else value.dtype
    query, key, value = query.to(dtype), key.to(dtype), value.to(dtype)
    starts, longest = attention_mask[0, 0, 0], attention_mask.shape[2]
    if query.is_cuda and dtype in (torch.bfloat16, torch.float16) and has_kernel():
        return _by_kernel(query, key, value, starts, longest, scaling, window), None
    return _by_mask(query, key, value, starts, scaling, window), None


def _by_mask(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, starts: torch.Tensor, scaling: float | None, window: int | None,
) -> torch.Tensor:  # fmt: skip
    places = torch.arange(query.shape[2], device=query.device)
    document = torch.bucketize(places, starts[1:], right=True)
    back = places[:, None] - places[None, :]
    sees = (document[:, None] == document[None, :]) & (back >= 0)
    if window is not None:
        sees = sees & (back < window)
    groups = query.shape[1] // key.shape[1]
    key, value = repeat_kv(key, groups), repeat_kv(value, groups)
    return F.scaled_dot_product_attention(query, key, value, attn_mask=sees, scale=scaling).transpose(1, 2)


def _by_kernel(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, starts: torch.Tensor, longest: int, scaling: float | None,
    window: int | None,
) -> torch.Tensor:  # fmt: skip
    from torch.nn.attention.varlen import varlen_attn

    # What the function can be told has grown from torch 2.10 to 2.13.
    known = _options()
    given: dict[str, Any] = {}
    if "scale" in known:
        given["scale"] = scaling
    elif scaling is not None:
        query = query * (scaling * query.shape[-1] ** 0.5)
    if "enable_gqa" in known:
        given["enable_gqa"] = query.shape[1] != key.shape[1]
    elif query.shape[1] != key.shape[1]:
        groups = query.shape[1] // key.shape[1]
        key, value = repeat_kv(key, groups), repeat_kv(value, groups)
    if "window_size" in known:
        given["window_size"] = (-1 if window is None else window - 1, 0)
    elif window is None:
        given["is_causal"] = True
    else:
        raise ModelError("attention that looks back a window only needs torch 2.11", where="train.packing",
                         mend="Set it to off.")  # fmt: skip
    query, key, value = (x.squeeze(0).transpose(0, 1).contiguous() for x in (query, key, value))
    kernel: Any = varlen_attn
    found: torch.Tensor = kernel(query, key, value, starts, starts, longest, longest, **given)
    return found.unsqueeze(0)


@cache
def _options() -> frozenset[str]:
    try:
        from torch.nn.attention.varlen import varlen_attn
    except ImportError:
        return frozenset()
    return frozenset(inspect.signature(varlen_attn).parameters)


def has_kernel() -> bool:
    """Whether this torch has flash attention for sequences of different lengths (from 2.10 on)."""
    return bool(_options())


AttentionInterface.register(NAME, attend)
AttentionMaskInterface.register(NAME, sdpa_mask)

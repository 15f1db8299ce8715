"""One network for queries and items: texts become unit vectors, in pieces that fit in memory, with exact gradients."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.checkpoint import checkpoint

from luthier.base.records import Encoded
from luthier.models import virtual
from luthier.objectives.cut import micro_batches


def pooled(network: Any, ids_BT: torch.Tensor, mask_BT: torch.Tensor, pooling: str) -> torch.Tensor:
    """Return (B, D) vectors of unit length: the mean over real tokens, or the first token (``cls``), never a learnt one in front."""
    hidden_BTD = virtual.run(network, ids_BT, mask_BT).last_hidden_state
    if pooling == "cls":
        return F.normalize(hidden_BTD[:, 0], dim=-1)
    weight_BT1 = mask_BT[:, :, None].to(hidden_BTD.dtype)
    return F.normalize((hidden_BTD * weight_BT1).sum(1) / weight_BT1.sum(1), dim=-1)


def padded(texts: Sequence[Encoded], pad_id: int, device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
    """Return ids and mask, both (B, T), padded on the right."""
    width = max(len(text.ids) for text in texts)
    ids_BT = torch.full((len(texts), width), pad_id, dtype=torch.long)
    for row, text in enumerate(texts):
        ids_BT[row, : len(text.ids)] = torch.tensor(text.ids)
    lengths_B = torch.tensor([len(text.ids) for text in texts])
    return ids_BT.to(device), (torch.arange(width) < lengths_B[:, None]).long().to(device)


def vectors(
    network: nn.Module, texts: Sequence[Encoded], *, pooling: str, pad_id: int, device: torch.device, max_tokens: int
) -> torch.Tensor:
    """Return (U, D) unit vectors in the order of ``texts``.

    A step's rows are compared with each other, so it cannot be cut into pieces whose gradients add up. Where it has more
    than ``max_tokens`` padded tokens, the pieces are read without keeping what their backward pass needs, and read
    again, each alone, once the gradient of its vectors is known: gradient caching (Gao et al. 2021,
    https://arxiv.org/abs/2101.06983), which for one loss is a checkpoint at each piece. Dropout draws the same both times, so
    the gradient is that of the step in one piece.
    """
    pieces = micro_batches(range(len(texts)), [len(text.ids) for text in texts], max_tokens=max_tokens)
    cached = len(pieces) > 1 and torch.is_grad_enabled()

    def read(ids_BT: torch.Tensor, mask_BT: torch.Tensor) -> torch.Tensor:
        return pooled(network, ids_BT, mask_BT, pooling)

    found = []
    for piece in pieces:
        tensors = padded([texts[i] for i in piece], pad_id, device)
        found.append(checkpoint(read, *tensors, use_reentrant=False) if cached else read(*tensors))
    order = torch.tensor([i for piece in pieces for i in piece], device=device)
    return torch.cat(found)[torch.argsort(order)]


def computed_tokens(texts: Sequence[Encoded], max_tokens: int) -> int:
    """Return how many tokens :func:`vectors` computes, padding included."""
    lengths = [len(text.ids) for text in texts]
    return sum(
        lengths[piece[0]] * len(piece) for piece in micro_batches(range(len(texts)), lengths, max_tokens=max_tokens)
    )

"""Supervised contrastive loss: rows of a class are drawn together and away from all others of their batch."""

from __future__ import annotations

import torch

from luthier.objectives.whole import whole

# Khosla et al. use 0.1 and find 0.05 to 0.2 much alike.
TEMPERATURE = 0.1


def contrastive_loss(
    vectors_BD: torch.Tensor, labels_B: torch.Tensor, *, temperature: float = TEMPERATURE, anchors: int | None = None
) -> torch.Tensor:
    """Return the loss summed over the rows that have a partner (Khosla et al. 2020, https://arxiv.org/abs/2004.11362, L_out).

    Each row's loss is the mean, over the other rows of its class, of minus the log of that row's share among all others.

    Args:
        vectors_BD: (B, D), of unit length.
        anchors: only the first so many rows have a loss of their own; the rest are only drawn to or from.
    """
    itself_BB = torch.eye(len(labels_B), dtype=torch.bool, device=labels_B.device)
    with whole(vectors_BD):
        likeness_BB = (vectors_BD @ vectors_BD.T / temperature).masked_fill(itself_BB, float("-inf"))
    shares_BB = likeness_BB - likeness_BB.logsumexp(1, keepdim=True)
    partners_BB = (labels_B[:, None] == labels_B[None]) & ~itself_BB
    counts_B = partners_BB.sum(1)
    losses_B = -shares_BB.masked_fill(~partners_BB, 0.0).sum(1) / counts_B.clamp(min=1)
    return losses_B[:anchors].sum()

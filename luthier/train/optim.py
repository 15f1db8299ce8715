"""AdamW and its learning-rate schedule."""

from __future__ import annotations

import math

import torch
from torch import nn


def make_optimizer(module: nn.Module, *, rate: float, weight_decay: float) -> torch.optim.AdamW:
    """Return fused AdamW (Loshchilov & Hutter 2019, https://arxiv.org/abs/1711.05101); only matrices decay.

    Norms, biases and other vectors have no scale to shrink towards zero.
    """
    learning = [p for p in module.parameters() if p.requires_grad]
    groups = [
        {"params": [p for p in learning if p.dim() >= 2], "weight_decay": weight_decay},
        {"params": [p for p in learning if p.dim() < 2], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW([g for g in groups if g["params"]], lr=rate, betas=(0.9, 0.999), eps=1e-8, fused=True)


def rate_at(step: int, *, steps: int, warmup: int, schedule: str) -> float:
    """Return the factor of the peak rate for update number ``step`` (from 0) of ``steps``.

    Rises linearly over ``warmup`` updates to 1, then falls to nearly 0 at the last; update 0 already learns a little.
    """
    if step < warmup:
        return (step + 1) / warmup
    if schedule == "constant":
        return 1.0
    progress = (step - warmup) / max(1, steps - warmup)
    return 1 - progress if schedule == "linear" else 0.5 * (1 + math.cos(math.pi * progress))


def set_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    for group in optimizer.param_groups:
        group["lr"] = rate

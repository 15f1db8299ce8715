"""The optimiser, its learning-rate schedule, and rates that differ from layer to layer."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import nn

from luthier.models import freeze, methods
from luthier.train.muon import Muon


def make_optimizer(
    module: nn.Module, *, rate: float, weight_decay: float, layer_decay: float = 1.0, kind: str = "adamw"
) -> torch.optim.AdamW:
    """Return fused AdamW (Loshchilov & Hutter 2019, https://arxiv.org/abs/1711.05101); only matrices decay.

    Norms, biases and other vectors have no scale to shrink towards zero.

    Args:
        layer_decay: factor of the rate from each layer to the one below (discriminative fine-tuning, Howard & Ruder 2018,
            https://arxiv.org/abs/1801.06146); ``module.network`` says which layer a parameter is in.
        kind: ``muon`` updates the matrices of the blocks by :class:`Muon` and all else by AdamW.
    """
    learning = [p for p in module.parameters() if p.requires_grad]
    scales = _scales(module, layer_decay)
    turned = _matrices(module) if kind == "muon" else frozenset()
    groups: dict[tuple[float, bool, bool], list[nn.Parameter]] = {}
    for parameter in sorted(learning, key=lambda p: p.dim() < 2):
        key = (scales.get(id(parameter), 1.0), parameter.dim() >= 2, id(parameter) in turned)
        groups.setdefault(key, []).append(parameter)
    settings = [
        {"params": found, "weight_decay": weight_decay if decays else 0.0, "scale": scale, "lr": rate * scale,
         **({"turned": is_turned} if turned else {})}
        for (scale, decays, is_turned), found in groups.items()
    ]  # fmt: skip
    make = Muon if turned else torch.optim.AdamW
    return make(settings, lr=rate, betas=(0.9, 0.999), eps=1e-8, fused=True)


def _matrices(module: Any) -> frozenset[int]:
    """Return the ids of the matrices inside the network's blocks: not its embeddings, output layer or head."""
    depths, top = freeze.depths(methods.plain(module.network))
    return frozenset(id(p) for p in module.parameters() if p.dim() == 2 and 0 < depths.get(id(p), 0) < top)


def _scales(module: Any, layer_decay: float) -> dict[int, float]:
    """Return the factor of each parameter's rate by its id; nothing where all learn alike."""
    if layer_decay == 1.0:
        return {}
    depths, top = freeze.depths(methods.plain(module.network))
    return {key: layer_decay ** (top - depth) for key, depth in depths.items()}


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
        group["lr"] = rate * group.get("scale", 1.0)

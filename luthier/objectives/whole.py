"""Products that are never computed in half precision: the last ones of a network that reads are small, and they decide."""

from __future__ import annotations

import torch


def whole(tensor: torch.Tensor) -> torch.autocast:
    """Return the context in which products are computed in the tensors' own type, autocast or not.

    For scores that differ in the third digit, and cosines divided by a temperature.
    """
    return torch.autocast(tensor.device.type, enabled=False)


def headed(head: torch.nn.Module, features: torch.Tensor) -> torch.Tensor:
    """Return a head's scores in float32 or more."""
    with whole(features):
        scores: torch.Tensor = head(features.to(torch.promote_types(features.dtype, torch.float32)))
    return scores

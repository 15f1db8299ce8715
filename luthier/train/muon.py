"""Muon for the matrices of the blocks, AdamW for all else: fewer updates to the same loss where a whole network learns."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import nn

from luthier.models.load import quick_in_bfloat16

# Jordan et al. 2024 (https://kellerjordan.github.io/posts/muon/): momentum, and the polynomial that pulls singular values to one.
MOMENTUM, TURNS = 0.95, 5
_A, _B, _C = 3.4445, -4.7750, 2.0315
# Liu et al. 2025 (https://arxiv.org/abs/2502.16982), section 2.2: updates as long as AdamW's usually are, so that one rate serves both.
_RMS = 0.2


class Muon(torch.optim.AdamW):
    """AdamW whose groups with ``turned`` are updated along the nearest orthogonal matrix to their momentum instead.

    An update of AdamW changes a matrix mostly in a few directions, in which its gradients are large; here all directions
    count alike. The matrices keep one number for each weight instead of two.
    """

    def __init__(self, groups: Sequence[dict[str, Any]], **settings: Any) -> None:
        super().__init__([{"turned": False, **group} for group in groups], **settings)

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> None:  # type: ignore[override]
        """Do one update; nothing moves where ``found_inf`` says that a number of this step is not finite."""
        assert closure is None
        groups = self.param_groups
        try:
            self.param_groups = [group for group in groups if not group["turned"]]
            super().step()
        finally:
            self.param_groups = groups
        # The host may look, as it does in the loop right after: what is here is no chain of launches on its own.
        if bool(getattr(self, "found_inf", 0)):
            return
        for group in groups:
            if group["turned"]:
                for matrices in alike([matrix for matrix in group["params"] if matrix.grad is not None]):
                    self._turn(matrices, group)

    def _turn(self, matrices: Sequence[nn.Parameter], group: dict[str, Any]) -> None:
        updates = []
        for matrix in matrices:
            assert matrix.grad is not None
            state = self.state[matrix]
            if not state:
                state["momentum"], state["step"] = torch.zeros_like(matrix), torch.zeros(())
            state["step"] += 1
            state["momentum"].lerp_(matrix.grad, 1 - MOMENTUM)
            updates.append(matrix.grad.lerp(state["momentum"], MOMENTUM))
        turned = orthogonal(torch.stack(updates)).unbind() if len(updates) > 1 else [orthogonal(updates[0])]
        long = -group["lr"] * _RMS * math.sqrt(max(matrices[0].shape))
        for matrix, update in zip(matrices, turned, strict=True):
            matrix.mul_(1 - group["lr"] * group["weight_decay"])
            matrix.add_(update.to(matrix), alpha=long)


def alike(matrices: Sequence[nn.Parameter]) -> list[list[nn.Parameter]]:
    """Return the matrices in groups that are turned at once: on a GPU those of one shape, since each launch costs there."""
    groups: dict[Any, list[nn.Parameter]] = {}
    for number, matrix in enumerate(matrices):
        groups.setdefault((matrix.shape, matrix.device) if matrix.is_cuda else number, []).append(matrix)
    return list(groups.values())


def orthogonal(matrix: torch.Tensor) -> torch.Tensor:
    """Return about U V^T for a matrix [m, n] = U S V^T, or for each of [k, m, n]: each singular value ends between 0.7 and 1.2."""
    wide = matrix if matrix.shape[-2] <= matrix.shape[-1] else matrix.mT
    turned = wide.to(torch.bfloat16 if quick_in_bfloat16(matrix.device) else torch.float32)
    turned = turned / turned.norm(dim=(-2, -1), keepdim=True).clamp(min=1e-7)
    product = torch.addmm if matrix.dim() == 2 else torch.baddbmm
    for _ in range(TURNS):
        gram = turned @ turned.mT
        turned = product(turned, product(gram, gram, gram, beta=_B, alpha=_C), turned, beta=_A)
    return turned if wide is matrix else turned.mT

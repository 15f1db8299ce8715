"""Log-probabilities of given tokens under a linear output layer, without ever holding all scores."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F

from luthier.objectives.scores import add_product, piece_rows, work_dtype


class LinearLogProbs(torch.autograd.Function):
    """log softmax of ``hidden_ND @ weight_VD.T + bias_V`` at ``targets_N``: (N,) in float32.

    The gradient of one log-probability with respect to its scores is one-hot minus softmax. Where the output layer is frozen
    it is brought back to the hidden vector at once, in pieces, and waits there (N, D) for the factor that the loss gives each
    token; nothing is computed twice. Where the layer learns, the scores of a large batch are computed again in pieces.
    """

    @staticmethod
    def forward(
        ctx: Any, hidden_ND: torch.Tensor, weight_VD: torch.Tensor, bias_V: torch.Tensor | None, targets_N: torch.Tensor
    ) -> torch.Tensor:  # fmt: skip
        learns = ctx.needs_input_grad[1] or (bias_V is not None and ctx.needs_input_grad[2])
        wanted = learns or ctx.needs_input_grad[0]
        rows = piece_rows(len(weight_VD), hidden_ND.device)
        whole = learns and len(targets_N) <= rows
        ctx.dtype = work_dtype(hidden_ND)
        found = torch.empty(len(targets_N), dtype=torch.float32, device=hidden_ND.device)
        back_ND = torch.empty_like(hidden_ND, dtype=ctx.dtype) if wanted and not learns else None
        kept_NV = None
        with torch.autocast(hidden_ND.device.type, enabled=False):
            given_ND, weight, bias = _turned(ctx.dtype, hidden_ND, weight_VD, bias_V)
            for start in range(0, len(targets_N), rows):
                piece = slice(start, start + rows)
                found[piece], probabilities = _softmax(given_ND[piece], weight, bias, targets_N[piece])
                if back_ND is not None:
                    torch.mm(_slope(probabilities, targets_N[piece]).to(ctx.dtype), weight, out=back_ND[piece])
                kept_NV = probabilities if whole else None
        ctx.learns, ctx.whole = learns, whole
        ctx.save_for_backward(hidden_ND, weight_VD, bias_V, targets_N, back_ND, kept_NV)
        return found

    @staticmethod
    def backward(ctx: Any, upstream_N: torch.Tensor) -> tuple[Any, ...]:
        hidden_ND, weight_VD, bias_V, targets_N, back_ND, kept_NV = ctx.saved_tensors
        if not ctx.learns:
            return (back_ND * upstream_N[:, None].to(back_ND.dtype)).to(hidden_ND.dtype), None, None, None
        grad_weight = torch.zeros_like(weight_VD) if ctx.needs_input_grad[1] else None
        grad_bias = torch.zeros_like(bias_V) if bias_V is not None and ctx.needs_input_grad[2] else None
        rows = max(1, len(targets_N)) if ctx.whole else piece_rows(len(weight_VD), hidden_ND.device)
        given_ND, weight, bias = _turned(ctx.dtype, hidden_ND, weight_VD, bias_V)
        grad_hidden = torch.empty_like(given_ND)
        for start in range(0, len(targets_N), rows):
            piece = slice(start, start + rows)
            hidden = given_ND[piece]
            probabilities = kept_NV
            if probabilities is None:
                _, probabilities = _softmax(hidden, weight, bias, targets_N[piece])
            slope = _slope(probabilities, targets_N[piece]).mul_(upstream_N[piece, None]).to(ctx.dtype)
            torch.mm(slope, weight, out=grad_hidden[piece])
            if grad_weight is not None:
                add_product(grad_weight, slope, hidden)
            if grad_bias is not None:
                grad_bias += slope.sum(0)
        return grad_hidden.to(hidden_ND.dtype), grad_weight, grad_bias, None


def _turned(
    dtype: torch.dtype, hidden_ND: torch.Tensor, weight_VD: torch.Tensor, bias_V: torch.Tensor | None
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor | None]:
    """Return the three in the type that products are computed in, turned once for all pieces."""
    return hidden_ND.to(dtype), weight_VD.to(dtype), None if bias_V is None else bias_V.to(dtype)


def _softmax(
    hidden: torch.Tensor, weight_VD: torch.Tensor, bias_V: torch.Tensor | None, targets: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return log-probabilities (n,) and all probabilities (n, V) of a piece."""
    found = F.linear(hidden, weight_VD, bias_V).float()
    found -= found.amax(1, keepdim=True)
    right = found.gather(1, targets[:, None]).squeeze(1)
    probabilities = found.exp_()
    sums = probabilities.sum(1, keepdim=True)
    probabilities /= sums
    return right - sums.squeeze(1).log(), probabilities


def _slope(probabilities: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """Turn probabilities into one-hot minus softmax, in their memory."""
    slope = probabilities.neg_()
    slope[torch.arange(len(targets), device=targets.device), targets] += 1
    return slope

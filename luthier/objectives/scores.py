"""Cross-entropy of a linear output layer without ever holding all scores: loss and gradient in one pass, in pieces."""

from __future__ import annotations

from typing import Any

import torch

# Scores of so many (position, vocabulary) pairs are held at once: 64 MB in float32.
PIECE = 1 << 24


class LinearCrossEntropy(torch.autograd.Function):
    """Summed cross-entropy of ``hidden_ND @ weight_VD.T + bias_V`` against ``targets_N``, with label smoothing.

    The gradient with respect to the scores is softmax minus target, so it is known as soon as the scores are: each piece
    is turned into its gradient in place and multiplied back at once. Equal to ``F.cross_entropy`` on all scores (a test
    holds it), at a fraction of the memory and without computing scores twice.
    """

    @staticmethod
    def forward(
        ctx: Any, hidden_ND: torch.Tensor, weight_VD: torch.Tensor, bias_V: torch.Tensor | None, targets_N: torch.Tensor,
        smoothing: float,
    ) -> torch.Tensor:  # fmt: skip
        rows = max(1, PIECE // len(weight_VD))
        # A frozen output layer needs no gradient of its own: a third of the work.
        grad_weight = torch.zeros_like(weight_VD) if ctx.needs_input_grad[1] else None
        grad_bias = torch.zeros_like(bias_V) if bias_V is not None and ctx.needs_input_grad[2] else None
        grad_hidden = torch.empty_like(hidden_ND)
        total = torch.zeros((), dtype=torch.float64, device=hidden_ND.device)
        for start in range(0, len(targets_N), rows):
            piece = slice(start, start + rows)
            hidden, targets = hidden_ND[piece], targets_N[piece]
            scores = torch.nn.functional.linear(hidden, weight_VD, bias_V).float()
            loss, grad = _loss_and_gradient(scores, targets, smoothing)
            total += loss
            grad = grad.to(hidden.dtype)
            torch.mm(grad, weight_VD.to(hidden.dtype), out=grad_hidden[piece])
            if grad_weight is not None:
                grad_weight.addmm_(grad.T.to(grad_weight.dtype), hidden.to(grad_weight.dtype))
            if grad_bias is not None:
                grad_bias += grad.sum(0)
        ctx.save_for_backward(*(g for g in (grad_hidden, grad_weight, grad_bias) if g is not None))
        ctx.has = (grad_weight is not None, grad_bias is not None)
        return total.float()

    @staticmethod
    def backward(ctx: Any, upstream: torch.Tensor) -> tuple[Any, ...]:
        saved = list(ctx.saved_tensors)
        grad_hidden = saved.pop(0) * upstream
        grad_weight = saved.pop(0) * upstream if ctx.has[0] else None
        grad_bias = saved.pop(0) * upstream if ctx.has[1] else None
        return grad_hidden, grad_weight, grad_bias, None, None


def _loss_and_gradient(
    scores: torch.Tensor, targets: torch.Tensor, smoothing: float
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the summed loss and, in the memory of ``scores`` (n, V), its gradient with respect to them."""
    vocabulary = scores.shape[1]
    rows = torch.arange(len(targets), device=scores.device)
    scores -= scores.amax(1, keepdim=True)
    right = scores[rows, targets].double()
    spread = scores.double().sum(1) if smoothing else None
    probabilities = scores.exp_()
    sums = probabilities.sum(1, keepdim=True)
    log_sums = sums.double().log().squeeze(1)
    loss = (1 - smoothing) * (log_sums - right).sum()
    probabilities /= sums
    probabilities[rows, targets] -= 1 - smoothing
    if spread is not None:
        loss = loss + smoothing * (log_sums - spread / vocabulary).sum()
        probabilities -= smoothing / vocabulary
    return loss, probabilities

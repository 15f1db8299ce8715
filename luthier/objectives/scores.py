"""Cross-entropy of a linear output layer without ever holding all scores: loss and gradient in one pass, in pieces."""

from __future__ import annotations

from functools import cache
from typing import Any

import torch

# Scores of so many (position, vocabulary) pairs are held at once: 64 MB in float32. A GPU wants more rows in a product: 0.5 GB in
# bfloat16, 2,093 rows of Llama 3's vocabulary.
PIECE = 1 << 24
PIECE_ON_GPU = 1 << 28


def piece_rows(vocabulary: int, device: torch.device) -> int:
    """Return how many positions' scores are held at once."""
    return max(1, (PIECE_ON_GPU if device.type == "cuda" else PIECE) // vocabulary)


def work_dtype(tensor: torch.Tensor) -> torch.dtype:
    """Return the type that products are computed in: autocast's where it is on, else the tensor's own."""
    kind = tensor.device.type
    return torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else tensor.dtype


class LinearCrossEntropy(torch.autograd.Function):
    """Summed cross-entropy of ``hidden_ND @ weight_VD.T + bias_V`` against ``targets_N``, with label smoothing.

    The gradient with respect to the scores is softmax minus target, so it is known as soon as the scores are: each piece
    is turned into its gradient in place and multiplied back at once. Equal to ``F.cross_entropy`` on all scores (a test
    holds it), at a fraction of the memory and without computing scores twice. The device is never asked for a number, so the
    host runs ahead of it. ``compiled``: what is done to the scores is compiled, which reads them twice instead of ten times.
    """

    @staticmethod
    def forward(
        ctx: Any, hidden_ND: torch.Tensor, weight_VD: torch.Tensor, bias_V: torch.Tensor | None, targets_N: torch.Tensor,
        smoothing: float, compiled: bool = False,
    ) -> torch.Tensor:  # fmt: skip
        rows, dtype = piece_rows(len(weight_VD), hidden_ND.device), work_dtype(hidden_ND)
        turn = _compiled() if compiled else _loss_and_gradient
        # A frozen output layer needs no gradient of its own: a third of the work.
        grad_weight = torch.zeros_like(weight_VD) if ctx.needs_input_grad[1] else None
        grad_bias = torch.zeros_like(bias_V) if bias_V is not None and ctx.needs_input_grad[2] else None
        total = torch.zeros((), dtype=torch.float64, device=hidden_ND.device)
        with torch.autocast(hidden_ND.device.type, enabled=False):
            # Turned once for all pieces: what autocast keeps between products are weights that learn.
            given_ND, weight = hidden_ND.to(dtype), weight_VD.to(dtype)
            bias = None if bias_V is None else bias_V.to(dtype)
            grad_hidden = torch.empty_like(given_ND)
            for start in range(0, len(targets_N), rows):
                piece = slice(start, start + rows)
                hidden = given_ND[piece]
                loss, grad = turn(torch.nn.functional.linear(hidden, weight, bias), targets_N[piece], smoothing)
                total += loss
                torch.mm(grad, weight, out=grad_hidden[piece])
                if grad_weight is not None:
                    add_product(grad_weight, grad, hidden)
                if grad_bias is not None:
                    grad_bias += grad.sum(0)
        grad_hidden = grad_hidden.to(hidden_ND.dtype)
        ctx.save_for_backward(*(g for g in (grad_hidden, grad_weight, grad_bias) if g is not None))
        ctx.has = (grad_weight is not None, grad_bias is not None)
        return total.float()

    @staticmethod
    def backward(ctx: Any, upstream: torch.Tensor) -> tuple[Any, ...]:
        saved = list(ctx.saved_tensors)
        grad_hidden = saved.pop(0) * upstream
        grad_weight = saved.pop(0) * upstream if ctx.has[0] else None
        grad_bias = saved.pop(0) * upstream if ctx.has[1] else None
        return grad_hidden, grad_weight, grad_bias, None, None, None


def add_product(total_VD: torch.Tensor, grad_NV: torch.Tensor, hidden_ND: torch.Tensor) -> None:
    """Add ``grad_NV.T @ hidden_ND`` to a weight's gradient; a product in half is summed in float32, and never rounded before."""
    if total_VD.dtype == grad_NV.dtype:
        total_VD.addmm_(grad_NV.T, hidden_ND)
    elif total_VD.is_cuda and total_VD.dtype == torch.float32:
        torch.addmm(total_VD, grad_NV.T, hidden_ND, out_dtype=torch.float32, out=total_VD)
    else:
        total_VD.addmm_(grad_NV.T.to(total_VD.dtype), hidden_ND.to(total_VD.dtype))


def _loss_and_gradient(
    found: torch.Tensor, targets: torch.Tensor, smoothing: float
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the summed loss and, in the type of the scores (n, V) and in their memory where it is float32, its gradient."""
    vocabulary = found.shape[1]
    scores = found.float()
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
    return loss, probabilities.to(found.dtype)


def _to_compile(found: torch.Tensor, targets: torch.Tensor, smoothing: float) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the same without changing anything in place, so that a compiler makes few passes of it."""
    scores = found.float()
    scores = scores - scores.amax(1, keepdim=True)
    powers = scores.exp()
    sums = powers.sum(1, keepdim=True)
    log_sums = sums.log()
    right = scores.gather(1, targets[:, None])
    hit = torch.arange(scores.shape[1], device=scores.device) == targets[:, None]
    gradient = powers / sums - torch.where(hit, 1 - smoothing, 0.0)
    loss = (1 - smoothing) * (log_sums - right).double().sum()
    if smoothing:
        loss = loss + smoothing * (log_sums - scores.mean(1, keepdim=True)).double().sum()
        gradient = gradient - smoothing / scores.shape[1]
    return loss, gradient.to(found.dtype)


@cache
def _compiled() -> Any:
    return torch.compile(_to_compile, dynamic=True)

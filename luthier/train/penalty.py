"""Pulls on the weights towards what they were: L2-SP on all alike, EWC on those that earlier tasks need."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Protocol

import torch
from torch import nn

from luthier.base.records import Encoded
from luthier.objectives.learner import Learner

STRENGTHS = {"l2-sp": 0.01, "ewc": 100.0}
State = Mapping[str, torch.Tensor]


class Penalty(Protocol):
    """A term of the loss that knows its own gradient; added once for each update, however many micro-batches it has."""

    def add(self) -> torch.Tensor:
        """Add the term's gradient to the parameters' gradients and return the term."""


class Pull:
    """``strength / 2 * sum(importance * (w - anchor)^2)`` over named parameters; without importance all count 1.

    L2-SP: Li et al. 2018, https://arxiv.org/abs/1802.01483 (the head, which is new, is left out). EWC: Kirkpatrick et
    al. 2017, https://arxiv.org/abs/1612.00796, with the diagonal of the Fisher information as importance.
    """

    def __init__(
        self, parameters: Mapping[str, nn.Parameter], *, strength: float, importance: State | None = None
    ) -> None:
        self.strength = strength
        self.parameters = dict(parameters)
        self.anchors = {name: p.detach().clone() for name, p in self.parameters.items()}
        self.importance = importance

    @torch.no_grad()
    def add(self) -> torch.Tensor:
        terms = []
        for name, parameter in self.parameters.items():
            gone = parameter - self.anchors[name]
            pull = gone if self.importance is None else self.importance[name] * gone
            terms.append((pull * gone).sum().double())
            if parameter.grad is None:
                parameter.grad = self.strength * pull
            else:
                parameter.grad.add_(pull, alpha=self.strength)
        return 0.5 * self.strength * (torch.stack(terms).sum() if terms else torch.zeros(()))


def fisher(
    parameters: Mapping[str, nn.Parameter], learners: Iterable[tuple[Learner, Sequence[Encoded]]], *, seed: int
) -> dict[str, torch.Tensor]:
    """Return the diagonal Fisher information of each parameter, summed over tasks, a mean over each one's rows.

    For a classifier the label of each row is drawn from the model's own distribution, as the definition asks: with the
    true ones it would vanish on rows that are learnt (Kunstner et al. 2019, https://arxiv.org/abs/1905.12558). Other
    objectives take their true targets. Gradients are taken row by row: a batch's squared mean is another thing.
    """
    found = {name: torch.zeros_like(p) for name, p in parameters.items()}
    generator = torch.Generator().manual_seed(seed % 2**63)
    for learner, rows in learners:
        learner.eval()
        for row in rows:
            for parameter in parameters.values():
                parameter.grad = None
            loss, _ = learner.loss(learner.collate([_own(learner, row, generator)]), smoothing=0.0)
            loss.backward()
            for name, parameter in parameters.items():
                if parameter.grad is not None:
                    found[name].addcmul_(parameter.grad, parameter.grad, value=1 / len(rows))
        for parameter in learner.parameters():
            parameter.grad = None
    return found


def _own(learner: Learner, row: Encoded, generator: torch.Generator) -> Encoded:
    """Return the row with a label drawn as the model would."""
    logits: Callable[..., torch.Tensor] | None = getattr(learner, "logits", None)
    if logits is None or row.label is None:
        return row
    with torch.no_grad():
        chances_C = logits(learner.collate([row]))[0].float().softmax(-1).cpu()
    drawn = int(torch.multinomial(chances_C, 1, generator=generator))
    return type(row)(**{name: getattr(row, name) for name in row.__dataclass_fields__} | {"label": drawn})

"""What learners share that give one label of several: by a head (classify.py) or by weighing labels as answers."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence

import torch
import torch.nn.functional as F

from luthier.base.records import Encoded, Prediction
from luthier.objectives.learner import Batch, Learner


class Labelled(Learner):
    """The weighted cross-entropy of one label a row, and its softmax as the answer."""

    weights_C: tuple[float, ...] | None = None

    @abstractmethod
    def logits(self, batch: Batch) -> torch.Tensor:
        """Return (B, C) scores before softmax."""

    def weigh(self, by_label: Sequence[float] | None) -> None:
        """Set what a row of each label counts for in the loss, in the order of ``labels``; None: all alike."""
        if by_label is not None and len(by_label) != len(self.labels):
            raise ValueError(f"{len(by_label)} weights for {len(self.labels)} labels")
        self.weights_C = None if by_label is None else tuple(float(w) for w in by_label)

    def units(self, row: Encoded) -> float:
        return 1 if self.weights_C is None or row.label is None else self.weights_C[row.label]

    def loss(self, batch: Batch, *, smoothing: float) -> tuple[torch.Tensor, float]:
        """Return the summed loss and its count; with weights w, sums of w[y] * loss and of w[y].

        Their quotient is ``F.cross_entropy(..., weight=w)`` of the same rows.
        """
        if batch.labels_B is None:
            raise ValueError("a training row has no label")
        logits_BC = self.logits(batch).float()
        weight_C = None if self.weights_C is None else torch.tensor(self.weights_C, device=logits_BC.device)
        loss = F.cross_entropy(logits_BC, batch.labels_B, weight=weight_C, reduction="sum", label_smoothing=smoothing)
        return loss, len(batch.labels_B) if weight_C is None else float(weight_C[batch.labels_B].double().sum())

    @torch.inference_mode()
    def answer(self, encoded: Sequence[Encoded], *, max_new_tokens: int = 0) -> list[Prediction]:
        scores_BC = self.logits(self.collate(encoded)).float().softmax(-1).cpu()
        best = scores_BC.argmax(-1).tolist()
        return [
            Prediction(label=self.labels[index], scores=dict(zip(self.labels, row, strict=True)))
            for index, row in zip(best, scores_BC.tolist(), strict=True)
        ]

    def measure(self, encoded: Sequence[Encoded]) -> list[Prediction]:
        return self.answer(encoded)

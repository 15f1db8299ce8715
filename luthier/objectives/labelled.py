"""What learners share that give one label of several: by a head (classify.py) or by weighing labels as answers."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F

from luthier.base.records import Encoded, Prediction
from luthier.base.shares import shares
from luthier.objectives.heads.beside import Beside
from luthier.objectives.learner import Batch, Learner
from luthier.objectives.scope import Scope


class Labelled(Learner):
    """The weighted cross-entropy of one label a row, and its softmax as the answer."""

    weights_C: tuple[float, ...] | None = None
    shares_C: tuple[float, ...] | None = None
    # What tells texts of none of the labels; fitted after training (objectives/scope).
    scope: Scope | None = None
    # Train rows that have a say in answers; chosen after training.
    beside: Beside | None

    def __init__(self, *given: Any, **more: Any) -> None:
        super().__init__(*given, **more)
        self.beside = None  # of the instance: a module's place is not in its class

    @abstractmethod
    def logits(self, batch: Batch) -> torch.Tensor:
        """Return (B, C) scores before softmax."""

    def seen(self, batch: Batch) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Return (B, C) scores and the (B, D) vectors they were made of; None where there is no head that reads vectors."""
        return self.logits(batch), None

    def saved_scope(self, folder: Path) -> dict[str, Any]:
        """Write what tells texts of no label, where there is such a thing; return the facts of it."""
        return {"scope": self.scope.save(folder)} if self.scope is not None else {}

    def weigh(self, by_label: Sequence[float] | None) -> None:
        """Set what a row of each label counts for in the loss, in the order of ``labels``; None: all alike."""
        if by_label is not None and len(by_label) != len(self.labels):
            raise ValueError(f"{len(by_label)} weights for {len(self.labels)} labels")
        self.weights_C = None if by_label is None else tuple(float(w) for w in by_label)

    @contextmanager
    def sampled(self, by_label: Sequence[float] | None) -> Iterator[None]:
        """Learn as if all rows were there of which only shares are, in the order of ``labels``; None: all rows are.

        Scores for the loss are shifted by the log of the shares (King & Zeng 2001), so that those without the shift, which
        answer, hold for all rows: what is rare only here does not look rare.
        """
        before, self.shares_C = self.shares_C, None if by_label is None else tuple(map(float, by_label))
        try:
            yield
        finally:
            self.shares_C = before

    def units(self, row: Encoded) -> float:
        return 1 if self.weights_C is None or row.label is None else self.weights_C[row.label]

    def loss(self, batch: Batch, *, smoothing: float) -> tuple[torch.Tensor, float]:
        """Return the summed loss and its count; with weights w, sums of w[y] * loss and of w[y].

        Their quotient is ``F.cross_entropy(..., weight=w)`` of the same rows.
        """
        if batch.labels_B is None:
            raise ValueError("a training row has no label")
        logits_BC = self.logits(batch).float()
        if self.shares_C is not None:
            logits_BC = logits_BC + torch.tensor(self.shares_C, device=logits_BC.device).log()
        weight_C = None if self.weights_C is None else torch.tensor(self.weights_C, device=logits_BC.device)
        loss = F.cross_entropy(logits_BC, batch.labels_B, weight=weight_C, reduction="sum", label_smoothing=smoothing)
        return loss, len(batch.labels_B) if weight_C is None else float(weight_C[batch.labels_B].double().sum())

    @torch.inference_mode()
    def answer(self, encoded: Sequence[Encoded], *, max_new_tokens: int = 0) -> list[Prediction]:
        batch, features_BD = self.collate(encoded), None
        if self.beside is not None or (self.scope is not None and self.scope.of_features):
            logits_BC, features_BD = self.seen(batch)
        else:
            logits_BC = self.logits(batch)
        told_BC = logits_BC.float() if self.beside is None else self.beside(logits_BC, features_BD)
        scores_BC = told_BC.softmax(-1).cpu()
        best = scores_BC.argmax(-1).tolist()
        unlike: list[float | None] = [None] * len(best)
        if self.scope is not None:
            unlike = self.scope.unlike(logits_BC, features_BD).tolist()
        return [
            Prediction(label=self.labels[index], scores=row, unlike=far)
            for index, row, far in zip(best, shares(self.labels, scores_BC.numpy()), unlike, strict=True)
        ]

    def measure(self, encoded: Sequence[Encoded]) -> list[Prediction]:
        return self.answer(encoded)

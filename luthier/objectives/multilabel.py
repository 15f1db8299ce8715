"""multilabel: any number of labels for a text, none included, each with a probability and a cut of its own."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

from luthier.base.cuts import best_cuts
from luthier.base.records import Encoded, Example, Prediction
from luthier.base.shares import shares, table_of
from luthier.objectives.encoder import Encoder
from luthier.objectives.learner import Batch
from luthier.objectives.linear_sets import fit_sets

# Fewer rows of their own tell cuts worse than the train rows' folds did.
_FEWEST = 30


class MultiLabeller(Encoder):
    """An encoder whose pooled vector feeds one logistic regression a label."""

    objective = "multilabel"
    settles = True
    recipe = "sigmoid(features @ weight.T + bias); a label is given from its cut on, and the likeliest where none is and may_be_empty is false"

    @classmethod
    def look(cls, rows: Iterable[Example]) -> dict[str, Any]:
        """Return whether any row has no label at all: where none has, an answer has one at least."""
        return {"may_be_empty": any(not example.target for example in rows)}

    @property
    def cuts(self) -> list[float]:
        """The probability from which each label is given, in the order of ``labels``."""
        return list(self.known.get("cuts") or [0.5] * len(self.labels))

    def fit_head(self, rows: Sequence[Encoded], *, seed: int) -> dict[str, Any]:
        """Fit the head on the frozen features, label by label, and set the cuts by its out-of-fold scores."""
        truth_NL = torch.tensor([row.values for row in rows])
        fit = fit_sets(self.frozen.of(rows, self.head_features), truth_NL, seed=seed)
        self.set_head(fit.weight_LD, fit.bias_L)
        if fit.out_of_fold_NL is not None:
            self.known["cuts"] = best_cuts(fit.out_of_fold_NL, truth_NL.numpy()[fit.folded_N])
        return {"strength": fit.strength, "cuts": self.cuts}

    def resumed(self, facts: Mapping[str, Any]) -> None:
        if "head" in facts:
            self.known["cuts"] = facts["head"]["cuts"]

    def settle(self, rows: Sequence[Example], predictions: Sequence[Prediction]) -> dict[str, Any]:
        """Choose the cuts anew on rows that were not learnt from, where there are enough of them."""
        if len(rows) >= _FEWEST:
            scores_NL = table_of([p.scores or {} for p in predictions], self.labels)
            truth_NL = np.array([[label in e.target for label in self.labels] for e in rows])
            self.known["cuts"] = best_cuts(scores_NL, truth_NL)
        return {"cuts": dict(zip(self.labels, (round(c, 4) for c in self.cuts), strict=True))}

    def temper(self, scale: float) -> None:
        """Multiply all logits, which changes probabilities; the cuts move with them, so that no answer changes."""
        cuts_L = torch.tensor(self.cuts, dtype=torch.float64)
        self.set_head(self.head.weight * scale, self.head.bias * scale)
        self.known["cuts"] = (cuts_L.logit() * scale).sigmoid().tolist()

    def encode(self, example: Example) -> Encoded | None:
        there = {*(example.target or ())}
        return Encoded(
            self.encode_input(example.inputs, room=0).ids, values=tuple(float(label in there) for label in self.labels)
        )

    def loss(self, batch: Batch, *, smoothing: float) -> tuple[torch.Tensor, float]:
        """Return the summed binary cross-entropy of all labels, and the rows: a row is one unit, as for one label."""
        if batch.values_BK is None:
            raise ValueError("a training row has no labels")
        wanted_BL = batch.values_BK * (1 - smoothing) + smoothing / 2
        loss = F.binary_cross_entropy_with_logits(self.logits(batch), wanted_BL, reduction="sum")
        return loss, len(batch.rows)

    @torch.inference_mode()
    def answer(self, encoded: Sequence[Encoded], *, max_new_tokens: int = 0) -> list[Prediction]:
        scores_BL = self.logits(self.collate(encoded)).sigmoid().cpu().numpy()
        return self.told(scores_BL, self.cuts)

    def told(self, scores_NL: NDArray[Any], cuts: Sequence[float]) -> list[Prediction]:
        """Return what is answered where labels have these scores and cuts, one of each a label."""
        given = zip(scores_NL.tolist(), shares(self.labels, scores_NL), strict=True)
        return [Prediction(labels=self._given(row, cuts), scores=scores) for row, scores in given]

    def _given(self, scores: Sequence[float], cuts: Sequence[float]) -> tuple[str, ...]:
        given = tuple(label for label, score, cut in zip(self.labels, scores, cuts, strict=True) if score >= cut)
        if given or self.known.get("may_be_empty", True):
            return given
        # Nearest to its cut: a rare label's cut is low, and so are its scores.
        return (self.labels[max(range(len(cuts)), key=lambda k: scores[k] / cuts[k])],)

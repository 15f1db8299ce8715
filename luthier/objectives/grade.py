"""grade: scores for a text, one or several traits, each on a scale of its own."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import nn

from luthier.base.records import Encoded, Example, Prediction
from luthier.base.scales import by_trait, scale_of, settled
from luthier.models.load import Base
from luthier.objectives.encoder import Encoder, width
from luthier.objectives.learner import Batch
from luthier.objectives.linear_scores import fit_scores
from luthier.prompts.encode import encode_windows, graded_text
from luthier.spec.model import ModelSection

# The penalty is on all weights alike: at this size the length pays little of it (docs/experiments.md).
_LENGTH_SCALE = 0.3


class Grader(Encoder):
    """An encoder whose pooled vector, with the text's length beside it, feeds a linear regression a trait.

    Scores are learnt in units of each trait's spread over the train rows, so that traits on different scales weigh the
    same. A text longer than the model reads at once is read in windows and pooled over all of them.
    """

    objective = "grade"
    windows = True
    recipe = (
        "mean + spread * (features @ weight.T + bias), kept within the scale; the last feature is 0.3 * log(tokens)"
    )

    @classmethod
    def look(cls, rows: Iterable[Example]) -> dict[str, Any]:
        """Return each trait's scale, mean and spread over the train rows."""
        seen = by_trait(example.target for example in rows)
        return {
            "scales": {trait: scale_of(scores) for trait, scores in seen.items()},
            "means": {trait: float(np.mean(scores)) for trait, scores in seen.items()},
            "spreads": {trait: float(np.std(scores)) or 1.0 for trait, scores in seen.items()},
        }

    @classmethod
    def create(
        cls, base: Base, *, labels: tuple[str, ...], model: ModelSection, known: Mapping[str, Any] | None = None
    ) -> Encoder:
        found = {**(known or {})}
        told = found.pop("told_scale", None)
        return super().create(base, labels=labels, model=model, known={**found, "scales": settled(found.get("scales", {}), told)})

    @classmethod
    def inputs_wide(cls, network: nn.Module) -> int:
        return width(network) + 1

    def encode(self, example: Example) -> Encoded | None:
        target = example.target or {}
        read = self.encode_input(example.inputs, room=0)
        values = tuple(float(target.get(trait, float("nan"))) for trait in self.labels)
        return Encoded(read.ids, values=values, others=read.others)

    def encode_input(self, inputs: Mapping[str, Any], *, room: int) -> Encoded:
        return encode_windows(self.tokenizer, graded_text(inputs), max_tokens=self.max_tokens)

    def features(self, batch: Batch) -> torch.Tensor:
        """Return (B, D + 1): the pooled vector and the length, which pooling forgets and people who grade do not."""
        lengths = [len(row) for row in batch.rows]
        length_B1 = torch.tensor(lengths, device=batch.ids_BT.device, dtype=torch.float32).log()[:, None]
        vectors_BD = super().features(batch)
        return torch.cat([vectors_BD, (length_B1 * _LENGTH_SCALE).to(vectors_BD.dtype)], dim=1)

    def fit_head(self, rows: Sequence[Encoded], *, seed: int) -> dict[str, Any]:
        """Fit the head on the frozen features by ridge regression."""
        wanted_NT = self._standard(torch.tensor([row.values for row in rows]))
        fit = fit_scores(self.frozen.of(rows, self.head_features), wanted_NT, seed=seed)
        self.set_head(fit.weight_TD, fit.bias_T)
        error = {"held_out_error": round(fit.error, 4)} if fit.error == fit.error else {}
        return {"penalty": fit.penalty, **error}

    def _of(self, what: str) -> list[float]:
        return [float(self.known[what][trait]) for trait in self.labels]

    def _standard(self, scores_BT: torch.Tensor) -> torch.Tensor:
        """Return scores in units of their spread around their mean."""
        mean_T, spread_T = (torch.tensor(self._of(what), device=scores_BT.device) for what in ("means", "spreads"))
        return (scores_BT - mean_T) / spread_T

    def units(self, row: Encoded) -> float:
        return sum(value == value for value in row.values)

    def loss(self, batch: Batch, *, smoothing: float) -> tuple[torch.Tensor, float]:
        """Return the summed squared errors of the scores that are known, in units of their spread, and their number."""
        if batch.values_BK is None:
            raise ValueError("a training row has no score")
        known_BT = ~batch.values_BK.isnan()
        wanted_BT = self._standard(batch.values_BK.nan_to_num())
        squares_BT = (self.logits(batch) - wanted_BT) ** 2
        return (squares_BT * known_BT).sum(), int(known_BT.sum())

    @torch.inference_mode()
    def answer(self, encoded: Sequence[Encoded], *, max_new_tokens: int = 0) -> list[Prediction]:
        standard_BT = self.logits(self.collate(encoded)).double().cpu().numpy()
        low_T, high_T = (np.array([self.known["scales"][trait][i] for trait in self.labels]) for i in (0, 1))
        scores_BT = np.clip(standard_BT * self._of("spreads") + self._of("means"), low_T, high_T)
        return [Prediction(grades=dict(zip(self.labels, row, strict=True))) for row in scores_BT.tolist()]

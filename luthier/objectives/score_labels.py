"""classify by a decoder that reads and writes as it was taught: each label is weighed as the answer to a question."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F

from luthier.base.errors import ModelError
from luthier.base.records import Encoded, Example, Prediction
from luthier.models import methods
from luthier.models.catalogue import Found
from luthier.models.load import Base, open_base
from luthier.objectives.learner import Batch
from luthier.objectives.weighing import AnswerBatch, Weigher
from luthier.prompts.encode import Turns
from luthier.prompts.labels import LabelQuestion
from luthier.prompts.template import style_for
from luthier.spec.model import ModelSection


class LabelScorer(Weigher):
    """A causal language model that classifies: P(label | text) is P(label and end | question), shared out over the labels.

    The score of a label is the summed log-probability of its tokens, not divided by their number: so the softmax over
    labels is the model's own probability given that it answers with one of them. What long names lose by their length,
    training gives back. The loss is the cross-entropy of that softmax. All labels stand behind one copy of the question,
    where the network can keep them apart.
    """

    objective = "classify"
    writes = False
    measures = False
    ready = True

    def __init__(self, network: Any, *, asked: LabelQuestion) -> None:
        super().__init__(network, turns=asked.turns)
        self.asks = asked
        self.labels = asked.names
        self._index = {label: index for index, label in enumerate(self.labels)}
        self._weights: tuple[float, ...] | None = None

    @property
    def rates(self) -> str | None:  # type: ignore[override]
        """It learns as what writes does: there is no head that was fitted first."""
        return "writes"

    @classmethod
    def inputs_of(cls, item: str | Mapping[str, Any]) -> Mapping[str, Any]:
        return {"text": item} if isinstance(item, str) else item

    @classmethod
    def create(
        cls, base: Base, *, labels: tuple[str, ...] = (), model: ModelSection, known: Mapping[str, Any] | None = None
    ) -> LabelScorer:
        if not base.decodes:
            raise ModelError(
                f"{base.found.name} ({base.config.model_type}) is no decoder, so it cannot weigh labels as answers",
                where="model.pooling",
                mend="Set it to auto, or take a decoder such as Llama, Qwen or GPT-2.",
            )
        turns = Turns(base.tokenizer, style_for(base.tokenizer, model.template), base.max_tokens)
        return cls(cls._open(base), asked=LabelQuestion.of(turns, model.question, labels))

    def encode(self, example: Example) -> Encoded:
        encoded = self.encode_input(example.inputs, room=0)
        return Encoded(encoded.ids, label=self._index.get(example.target), others=encoded.others)

    def encode_input(self, inputs: Mapping[str, Any], *, room: int) -> Encoded:
        return self.asks.encode(str(inputs["text"]))

    def prepare_training(self, train: Any) -> None:
        super().prepare_training(train)
        self.asks = LabelQuestion.of(self.turns, self.asks.question, self.labels)

    def collate(self, encoded: Sequence[Encoded], *, masked: bool = True) -> Batch:
        groups = [[_answered(row, answer) for answer in row.others] for row in encoded]
        layout = self._laid_out(groups)
        labels = [row.label for row in encoded]
        labels_B = None if any(label is None for label in labels) else torch.tensor(labels, device=self.device)
        return AnswerBatch(
            layout.ids_BT, None, None, labels_B, sum(map(len, encoded)), rows=tuple(encoded), layout=layout
        )

    def logits(self, batch: Batch) -> torch.Tensor:
        """Return (B, C): the log-probability of each label."""
        assert isinstance(batch, AnswerBatch) and batch.layout is not None
        return self._sums(batch.layout).view(len(batch.rows), len(self.labels)).float()

    def weigh(self, by_label: Sequence[float] | None) -> None:
        """Set what a row of each label counts for in the loss, in the order of ``labels``; None: all alike."""
        self._weights = None if by_label is None else tuple(float(w) for w in by_label)

    def units(self, row: Encoded) -> float:
        return 1 if self._weights is None or row.label is None else self._weights[row.label]

    def loss(self, batch: Batch, *, smoothing: float) -> tuple[torch.Tensor, float]:  # type: ignore[override]
        """Return the summed cross-entropy of the labels' shares, and its count."""
        if batch.labels_B is None:
            raise ValueError("a training row has no label")
        logits_BC = self.logits(batch)
        weight_C = None if self._weights is None else torch.tensor(self._weights, device=logits_BC.device)
        loss = F.cross_entropy(logits_BC, batch.labels_B, weight=weight_C, reduction="sum", label_smoothing=smoothing)
        return loss, len(batch.labels_B) if weight_C is None else float(weight_C[batch.labels_B].double().sum())

    @torch.inference_mode()
    def answer(self, encoded: Sequence[Encoded], *, max_new_tokens: int = 0) -> list[Prediction]:
        scores_BC = self.logits(self.collate(encoded)).softmax(-1).cpu()
        best = scores_BC.argmax(-1).tolist()
        return [
            Prediction(label=self.labels[index], scores=dict(zip(self.labels, row, strict=True)))
            for index, row in zip(best, scores_BC.tolist(), strict=True)
        ]

    def measure(self, encoded: Sequence[Encoded]) -> list[Prediction]:
        return self.answer(encoded)

    def save(self, folder: Path) -> dict[str, Any]:
        facts = super().save(folder)
        return {**facts, "labels": list(self.labels), "pooling": "label-scoring", "question": self.asks.question}

    @classmethod
    def restore(cls, folder: Path, facts: Mapping[str, Any]) -> LabelScorer:
        base = open_base(Found(folder.name, folder / "network", ""), max_tokens=facts["max_tokens"])
        network = methods.reopen(cls._open(base), folder, facts.get("adapter"))
        turns = Turns(base.tokenizer, facts["style"], base.max_tokens)
        return cls(network, asked=LabelQuestion.of(turns, facts["question"], facts["labels"]))


def _answered(row: Encoded, answer: Encoded) -> Encoded:
    return Encoded((*row.ids, *answer.ids), (False,) * len(row.ids) + answer.learn)

"""classify by a decoder that reads and writes as it was taught: each label is weighed as the answer to a question."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from luthier.base.errors import ModelError
from luthier.base.records import Encoded, Example
from luthier.models import methods
from luthier.models.catalogue import Found
from luthier.models.load import Base, open_base
from luthier.objectives.labelled import Labelled
from luthier.objectives.learner import Batch
from luthier.objectives.scope import Scope
from luthier.objectives.weighing import AnswerBatch, Weigher
from luthier.prompts.encode import Turns
from luthier.prompts.labels import LabelQuestion
from luthier.prompts.template import style_for
from luthier.spec.model import ModelSection


class LabelScorer(Labelled, Weigher):  # type: ignore[misc]
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

    def encode_all(self, examples: Sequence[Example]) -> Sequence[Encoded | None]:
        return [self.encode(example) for example in examples]

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

    def save(self, folder: Path) -> dict[str, Any]:
        facts = super().save(folder)
        own = {"labels": list(self.labels), "pooling": "label-scoring", "question": self.asks.question}
        return {**facts, **own, **self.saved_scope(folder)}

    @classmethod
    def restore(cls, folder: Path, facts: Mapping[str, Any]) -> LabelScorer:
        base = open_base(Found(folder.name, folder / "network", ""), max_tokens=facts["max_tokens"])
        network = methods.reopen(cls._open(base), folder, facts.get("adapter"))
        turns = Turns(base.tokenizer, facts["style"], base.max_tokens)
        found = cls(network, asked=LabelQuestion.of(turns, facts["question"], facts["labels"]))
        found.scope = Scope.load(folder, facts.get("scope"))
        return found


def _answered(row: Encoded, answer: Encoded) -> Encoded:
    return Encoded((*row.ids, *answer.ids), (False,) * len(row.ids) + answer.learn)

"""generate: write the answer to a prompt with a decoder; only the answer and its end token are learnt."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import nn

from luthier.base.records import Encoded, Example, Prediction
from luthier.models import methods, virtual
from luthier.models.catalogue import Found
from luthier.models.generate import generate
from luthier.models.load import Base, open_base, open_decoder
from luthier.objectives.learner import Batch, Learner
from luthier.objectives.scores import PIECE, LinearCrossEntropy
from luthier.prompts.answer import answer_text
from luthier.prompts.encode import Turns
from luthier.prompts.template import style_for
from luthier.spec.model import ModelSection
from luthier.spec.train import TrainSection


class Generator(Learner):
    """A causal language model that learns answers. Scores are computed only where there is a loss."""

    objective = "generate"
    writes = True
    measures = True
    turns_kind: ClassVar[type[Turns]] = Turns

    @classmethod
    def inputs_of(cls, item: str | Mapping[str, Any]) -> Mapping[str, Any]:
        """Return the turns of a question; one text is the user's."""
        if not isinstance(item, str):
            if "messages" in item:
                return item
            item = str(item.get("prompt", item.get("text", "")))
        return {"messages": [{"role": "user", "content": item}]}

    def __init__(self, network: Any, *, turns: Turns) -> None:
        super().__init__()
        self.network = network
        self.turns = turns
        self.tokenizer = turns.tokenizer
        self.labels = ()
        self.max_tokens = turns.max_tokens
        self._split = self._splits()

    @classmethod
    def create(
        cls, base: Base, *, labels: tuple[str, ...] = (), model: ModelSection, known: Mapping[str, Any] | None = None
    ) -> Learner:
        turns = cls.turns_kind(base.tokenizer, style_for(base.tokenizer, model.template), base.max_tokens)
        return cls(cls._open(base), turns=turns)

    @staticmethod
    def _open(base: Base) -> Any:
        return open_decoder(base)

    @property
    def _plain(self) -> Any:
        """The transformers network, whatever is wrapped around it."""
        return methods.plain(self.network)

    def prepare_training(self, train: TrainSection) -> None:
        self.network = methods.apply(self.network, train, freeze_embeddings=train.embeddings == "freeze")
        self.max_tokens = virtual.room(self.network, self.max_tokens)
        self.turns = replace(self.turns, max_tokens=self.max_tokens)

    def encode(self, example: Example) -> Encoded | None:
        return self.turns.encode(example.inputs["messages"], str(example.target), tools=example.inputs.get("tools"))

    def encode_input(self, inputs: Mapping[str, Any], *, room: int) -> Encoded:
        return self.turns.encode_prompt(inputs["messages"], room=room, tools=inputs.get("tools"))

    def _scored(self, batch: Batch) -> tuple[torch.Tensor, torch.Tensor]:
        """Return hidden vectors (N, D), or scores (N, V) where the model cannot be split, and the N ids they should predict.

        Rows are padded on the right and attention looks left only, so padding changes nothing and needs no mask.
        """
        if batch.learn_BT is None:
            raise ValueError("a training row has no learn-mask")
        network = self._plain
        learn_BT = batch.learn_BT[:, 1:]
        targets_N = batch.ids_BT[:, 1:][learn_BT]
        more = self._more(batch)
        if self._split:
            output = virtual.run(self.network, batch.ids_BT, None, part=network.base_model, use_cache=False, **more)
            return output.last_hidden_state[:, :-1][learn_BT], targets_N
        output = virtual.run(self.network, batch.ids_BT, None, part=network, use_cache=False, **more)
        return output.logits[:, :-1][learn_BT], targets_N

    def _more(self, batch: Batch) -> dict[str, Any]:
        """Return what the network is given beside the ids."""
        return {}

    def _scores(self, hidden_ND: torch.Tensor) -> torch.Tensor:
        return self._plain.get_output_embeddings()(hidden_ND) if self._split else hidden_ND

    def loss(self, batch: Batch, *, smoothing: float) -> tuple[torch.Tensor, int]:
        hidden_ND, targets_N = self._scored(batch)

        output = self._plain.get_output_embeddings()
        if self._split and type(output) is nn.Linear:
            loss = LinearCrossEntropy.apply(hidden_ND, output.weight, output.bias, targets_N, smoothing)
        else:
            loss = F.cross_entropy(
                self._scores(hidden_ND).float(), targets_N, reduction="sum", label_smoothing=smoothing
            )
        return loss, len(targets_N)

    def measure(self, encoded: Sequence[Encoded]) -> list[Prediction]:
        """Return each row's summed negative log-likelihood (nats) of its answer and the number of answer tokens."""
        return [Prediction(measured={"nll_sum": s, "token_count": float(n)}) for s, n in self.row_sums(encoded)]

    @torch.inference_mode()
    def row_sums(self, encoded: Sequence[Encoded]) -> list[tuple[float, int]]:
        """Return each row's summed negative log-likelihood (nats) of what is learnt of it, and how many tokens that are."""
        return self.batch_sums(self.collate(encoded, masked=False))

    def batch_sums(self, batch: Batch) -> list[tuple[float, int]]:
        """Return each row's loss and count, without ever holding all scores."""
        hidden_ND, targets_N = self._scored(batch)
        vocabulary = int(self._plain.config.vocab_size)
        rows = max(1, PIECE // vocabulary)
        nll_N = torch.cat([
            F.cross_entropy(self._scores(hidden).float(), targets, reduction="none")
            for hidden, targets in zip(hidden_ND.split(rows), targets_N.split(rows), strict=True)
        ])  # fmt: skip
        counts = [int(self.units(row)) for row in batch.rows]
        return [(part.double().sum().item(), n) for part, n in zip(nll_N.split(counts), counts, strict=True)]

    def answer(self, encoded: Sequence[Encoded], *, max_new_tokens: int) -> list[Prediction]:
        ends = self.turns.end_ids
        made = generate(
            self.network, [e.ids for e in encoded], ends=ends, pad=self.pad_id, max_new_tokens=max_new_tokens
        )
        answers = [answer_text(self.tokenizer, ids, ends) for ids in made]
        return [
            Prediction(
                text=text, finish=finish, measured={"prompt_tokens": float(len(e)), "made_tokens": float(len(ids))}
            )
            for e, ids, (text, finish) in zip(encoded, made, answers, strict=True)
        ]

    def save(self, folder: Path) -> dict[str, Any]:
        self.network, adapter = methods.save(self.network, folder)
        self.tokenizer.save_pretrained(folder / "network")
        return {"style": self.turns.style, "max_tokens": self.max_tokens, "labels": [], "adapter": adapter}

    @classmethod
    def restore(cls, folder: Path, facts: Mapping[str, Any]) -> Learner:
        base = open_base(Found(folder.name, folder / "network", ""), max_tokens=facts["max_tokens"])
        network = methods.reopen(cls._open(base), folder, facts.get("adapter"))
        return cls(network, turns=cls.turns_kind(base.tokenizer, facts["style"], base.max_tokens))

    @torch.inference_mode()
    def _splits(self) -> bool:
        """Whether the output layer applied to the base model's hidden vectors gives the model's own scores.

        Some architectures scale or cap their scores; asking the model itself is surer than a list of them.
        """
        network = self._plain
        base, output = getattr(network, "base_model", None), network.get_output_embeddings()
        if base is None or base is network or output is None:
            return False
        with in_evaluation(network):
            ids_BT = probe_ids(network)
            mine = output(base(input_ids=ids_BT, use_cache=False).last_hidden_state)
            own = network(input_ids=ids_BT, use_cache=False).logits
        return bool(torch.allclose(mine, own, rtol=1e-4, atol=1e-5))


@contextmanager
def in_evaluation(network: Any) -> Iterator[None]:
    """Put a network into evaluation mode and back: what is asked of it must not depend on chance."""
    was_training = network.training
    network.eval()
    try:
        yield
    finally:
        network.train(was_training)


def probe_ids(network: Any) -> torch.Tensor:
    """Return a few ids (1, 4) to ask a network with."""
    device = next(network.parameters()).device
    return torch.arange(4, device=device)[None] % int(network.config.vocab_size)

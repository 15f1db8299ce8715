"""generate: write the answer to a prompt with a decoder; only the answer and its end token are learnt."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import nn

from luthier.base.errors import ModelError
from luthier.base.records import Encoded, Example, Prediction
from luthier.models import flat, methods, virtual
from luthier.models.catalogue import Found
from luthier.models.generate import generate
from luthier.models.load import Base, open_base, open_decoder
from luthier.objectives.learner import Batch, Learner
from luthier.objectives.packing import in_line, learnt_places
from luthier.objectives.scores import LinearCrossEntropy, piece_rows
from luthier.prompts.answer import answer_text
from luthier.prompts.encode import Turns
from luthier.prompts.template import style_for
from luthier.spec.model import ModelSection
from luthier.spec.train import TrainSection

# A line of packed rows is filled up to a multiple of so many tokens on a GPU.
_ROUND = 128


class Generator(Learner):
    """A causal language model that learns answers. Scores are computed only where there is a loss."""

    objective = "generate"
    writes = True
    measures = True
    turns_kind: ClassVar[type[Turns]] = Turns
    # Parameters below which adapters hold too little (docs/results.md compares). Only answers were compared.
    small_below: ClassVar[int] = 50_000_000
    # No run of so many tokens stands twice in an answer; 0 forbids nothing.
    never_repeat = 0

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
        self.small = sum(p.numel() for p in self._plain.parameters()) < self.small_below

    @classmethod
    def create(
        cls, base: Base, *, labels: tuple[str, ...] = (), model: ModelSection, known: Mapping[str, Any] | None = None
    ) -> Learner:
        turns = cls.turns_kind(base.tokenizer, style_for(base.tokenizer, model.template), base.max_tokens)
        learner = cls(cls._open(base), turns=turns)
        learner.never_repeat = model.never_repeat
        return learner

    @staticmethod
    def _open(base: Base) -> Any:
        return open_decoder(base)

    def decide(self, train: TrainSection) -> TrainSection:
        """Take Muon where a small network is tuned as a whole; a rate that is set was meant for AdamW."""
        if train.optimizer == "auto" and train.rate == "auto" and train.method == "full" and self.small:
            return train.model_copy(update={"optimizer": "muon"})
        return train

    @property
    def _plain(self) -> Any:
        """The transformers network, whatever is wrapped around it."""
        return methods.plain(self.network)

    def prepare_training(self, train: TrainSection) -> None:
        self.network = methods.apply(self.network, train, freeze_embeddings=train.embeddings == "freeze")
        self.max_tokens = virtual.room(self.network, self.max_tokens)
        self.turns = replace(self.turns, max_tokens=self.max_tokens)

    def packs_rows(self) -> str | None:
        """Ask the network itself: two rows in one line must get the losses they get alone."""
        if virtual.learns_input(self.network):
            return "a learnt prompt or prefix stands before each row"
        if getattr(self._plain.config, "_attn_implementation", "") not in ("sdpa", flat.NAME):
            return f"{self._plain.config.model_type} has no attention that can be told apart"
        was_flat = self.flat
        try:
            self.set_flat(True)
            apart = keeps_apart(self)
        except ModelError as error:
            return error.faults[0].what
        except (TypeError, ValueError, RuntimeError, IndexError):
            apart = False  # an architecture that takes no positions or no such mask
        finally:
            self.set_flat(was_flat)
        return None if apart else f"{self._plain.config.model_type} lets rows in one line see each other"

    def lay_flat(self, wanted: bool) -> None:
        super().lay_flat(wanted)
        self.set_flat(wanted)

    def set_flat(self, wanted: bool) -> None:
        super().set_flat(wanted)
        (flat.use if wanted else flat.leave)(self._plain)

    def collate(self, encoded: Sequence[Encoded], *, masked: bool = True) -> Batch:
        if not (self.flat and self.training and encoded and encoded[0].learn):
            return super().collate(encoded, masked=masked)
        line = in_line(encoded, pad=self.pad_id, multiple=_ROUND if self.device.type == "cuda" else 1)
        learnt = learnt_places(line.ids_BT, line.learn_BT)
        return self._on_device(
            Batch(line.ids_BT, None, line.learn_BT, None, sum(map(len, encoded)), None, tuple(encoded), learnt, line)
        )

    def encode(self, example: Example) -> Encoded | None:
        return self.encode_all([example])[0]

    def encode_all(self, examples: Sequence[Example]) -> Sequence[Encoded | None]:
        rows = [(e.inputs["messages"], [str(e.target)], e.inputs.get("tools")) for e in examples]
        return [found[0] if found else None for found in self.turns.encode_all(rows)]

    def encode_input(self, inputs: Mapping[str, Any], *, room: int) -> Encoded:
        return self.turns.encode_prompt(inputs["messages"], room=room, tools=inputs.get("tools"))

    def _scored(self, batch: Batch) -> tuple[torch.Tensor, torch.Tensor]:
        """Return hidden vectors (N, D), or scores (N, V) where the model cannot be split, and the N ids they should predict.

        Rows are padded on the right and attention looks left only, so padding changes nothing and needs no mask.
        """
        if batch.learnt is None:
            raise ValueError("a training row has no learn-mask")
        source_N, targets_N = batch.learnt
        part = self._plain.base_model if self._split else self._plain
        if batch.flat is not None:
            more = {"mask": flat.mask_of(batch.flat.starts_N, batch.flat.longest), "position_ids": batch.flat.positions_BT}
        else:
            more = self._more(batch)
        mask = more.pop("mask", None)
        output = virtual.run(self.network, batch.ids_BT, mask, part=part, use_cache=False, **more)
        return self._of_places(output, source_N), targets_N

    def _of_places(self, output: Any, places_N: torch.Tensor) -> torch.Tensor:
        """Return what the output layer is handed at these places, counted through all rows, or their scores: (N, D) or (N, V)."""
        found_BTX = output.last_hidden_state if self._split else output.logits
        found_NX = found_BTX.flatten(0, 1).index_select(0, places_N)
        between = _between(self._plain) if self._split else None
        return found_NX if between is None else between(found_NX)

    def _more(self, batch: Batch) -> dict[str, Any]:
        """Return what the network is given beside the ids; ``mask`` is its attention mask."""
        return {}

    def _scores(self, hidden_ND: torch.Tensor) -> torch.Tensor:
        return self._plain.get_output_embeddings()(hidden_ND) if self._split else hidden_ND

    def loss(self, batch: Batch, *, smoothing: float) -> tuple[torch.Tensor, int]:
        hidden_ND, targets_N = self._scored(batch)

        output = self._plain.get_output_embeddings()
        if self._split and type(output) is nn.Linear:
            loss = LinearCrossEntropy.apply(
                hidden_ND, output.weight, output.bias, targets_N, smoothing, self.compiled
            )
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
        rows = piece_rows(vocabulary, hidden_ND.device)
        nll_N = torch.cat([
            F.cross_entropy(self._scores(hidden).float(), targets, reduction="none")
            for hidden, targets in zip(hidden_ND.split(rows), targets_N.split(rows), strict=True)
        ])  # fmt: skip
        counts = [int(self.units(row)) for row in batch.rows]
        sums_B = torch.stack([part.double().sum() for part in nll_N.split(counts)])
        return list(zip(sums_B.tolist(), counts, strict=True))

    @torch.inference_mode()
    def finish(self, encoded: Sequence[Encoded]) -> list[Prediction]:
        """Return of each row how many tokens the second half of its answer has (``half_count``; the end token is left out) and how
        many of them are the likeliest after all that stands before them (``half_right``): all of them, where writing on greedily
        from the first half gives the answer word for word.
        """
        batch = self.collate(encoded)
        hidden_ND, targets_N = self._scored(batch)
        rows = piece_rows(int(self._plain.config.vocab_size), hidden_ND.device)
        right_N = torch.cat([
            self._scores(hidden).argmax(-1) == targets
            for hidden, targets in zip(hidden_ND.split(rows), targets_N.split(rows), strict=True)
        ])  # fmt: skip
        halves = [part[len(part) // 2 : -1] for part in right_N.cpu().split([int(self.units(row)) for row in batch.rows])]
        return [Prediction(measured={"half_right": float(half.sum()), "half_count": float(len(half))}) for half in halves]

    def answer(self, encoded: Sequence[Encoded], *, max_new_tokens: int) -> list[Prediction]:
        ends = self.turns.end_ids
        made = generate(
            self.network, [e.ids for e in encoded], ends=ends, pad=self.pad_id, max_new_tokens=max_new_tokens,
            never_repeat=self.never_repeat,
        )  # fmt: skip
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
        told: dict[str, Any] = {"style": self.turns.style, "max_tokens": self.max_tokens, "labels": [], "adapter": adapter}
        return {**told, **({"never_repeat": self.never_repeat} if self.never_repeat else {})}

    @classmethod
    def restore(cls, folder: Path, facts: Mapping[str, Any]) -> Learner:
        base = open_base(Found(folder.name, folder / "network", ""), max_tokens=facts["max_tokens"])
        network = methods.reopen(cls._open(base), folder, facts.get("adapter"))
        learner = cls(network, turns=cls.turns_kind(base.tokenizer, facts["style"], base.max_tokens))
        learner.never_repeat = int(facts.get("never_repeat", 0))
        return learner

    @torch.inference_mode()
    def _splits(self) -> bool:
        """Whether the output layer applied to the base model's hidden vectors (and what stands between) gives the model's own scores.

        Some architectures scale or cap their scores; asking the model itself is surer than a list of them.
        """
        network = self._plain
        base, output = getattr(network, "base_model", None), network.get_output_embeddings()
        if base is None or base is network or output is None:
            return False
        with in_evaluation(network):
            ids_BT = probe_ids(network)
            hidden_BTD = base(input_ids=ids_BT, use_cache=False).last_hidden_state
            between = _between(network)
            mine = output(hidden_BTD if between is None else between(hidden_BTD))
            own = network(input_ids=ids_BT, use_cache=False).logits
        return bool(torch.allclose(mine, own, rtol=1e-4, atol=1e-5))


def _between(network: Any) -> Any:
    """Return the layers between the base model and the output layer, where there are some: a BERT as decoder has them."""
    return getattr(getattr(getattr(network, "cls", None), "predictions", None), "transform", None)


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


def keeps_apart(learner: Generator) -> bool:
    """Whether rows in one line do not see each other, and nothing is drawn in the attention between them."""
    was_training = learner.training
    with torch.no_grad(), torch.random.fork_rng(devices=[learner.device] if learner.device.type == "cuda" else []):
        learner.train()  # rows are laid flat in training only; attention that draws refuses here

        def line_of(rows: Sequence[Encoded]) -> Batch:
            learner.train()
            line = learner.collate(rows)
            learner._scored(line)
            learner.eval()
            return line

        try:
            return unmoved(
                lambda rows: sum(loss for loss, _ in learner.batch_sums(line_of(rows))),
                lambda row: learner.row_sums([row])[0][0], int(learner._plain.config.vocab_size),
            )  # fmt: skip
        finally:
            learner.train(was_training)


def unmoved(together: Callable[[Sequence[Encoded]], float], alone: Callable[[Encoded], float], vocabulary: int) -> bool:
    """Whether a row's loss is the one it has alone, whatever stands before it.

    A network with random weights hardly attends to anything, so that what it sees changes its loss by little: but where it sees
    nothing, by nothing.

    Args:
        together: the loss of rows that stand together. alone: of one. vocabulary: ids are below it.
    """

    def ids(start: int, count: int) -> tuple[int, ...]:
        return tuple((7 * i + start + count) % vocabulary for i in range(count))

    row = Encoded(ids(0, 5), (False,) + (True,) * 4)
    one, other = (together([Encoded(ids(start, 6), (False,) * 6), row]) for start in (0, 3))
    by_itself = alone(row)
    return abs(one - other) <= 1e-7 * abs(by_itself) and abs(one - by_itself) <= 1e-4 * abs(by_itself)

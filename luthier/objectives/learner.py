"""What every objective gives: the contract between an objective and those who train, measure and serve it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import torch

from luthier.base.errors import ModelError
from luthier.base.records import Encoded, Example, Prediction
from luthier.models.load import Base, moved
from luthier.objectives.packing import Flat, learnt_places
from luthier.spec.model import ModelSection
from luthier.spec.train import TrainSection


@dataclass(frozen=True, slots=True)
class Batch:
    """Encoded rows as tensors. ``mask_BT`` is None where every row has the same length (or needs no mask).

    ``values_BK`` are targets that are numbers; ``rows`` are the rows themselves, for objectives that read more of them.
    ``tokens`` counts real ones, ``ids_BT.numel()`` those computed. ``learnt`` are the places whose next token is learnt and
    those tokens (:func:`learnt_places`); ``flat`` where the rows stand in one line.
    """

    ids_BT: torch.Tensor
    mask_BT: torch.Tensor | None
    learn_BT: torch.Tensor | None
    labels_B: torch.Tensor | None
    tokens: int
    values_BK: torch.Tensor | None = None
    rows: tuple[Encoded, ...] = ()
    learnt: tuple[torch.Tensor, torch.Tensor] | None = None
    flat: Flat | None = None

    @property
    def padded_tokens(self) -> int:
        return self.ids_BT.numel()


class Learner(torch.nn.Module, ABC):
    """A network with everything its objective adds. ``network`` may be wrapped by an adapter method.

    ``flat``: rows of a pass are laid in one line, so that a pass costs what its rows have tokens (:meth:`lay_flat`).
    ``compiled``: the blocks are, and so may be what the loss computes.

    ``writes``: it answers by writing text. ``measures``: metrics need what it thinks of the true answer (:meth:`measure`).
    ``answers``: it predicts something of an input alone. ``asked``: rows that judge it are answered, and not only measured.
    ``ready``: a base model answers before it has learnt, so it is measured untuned as well. ``separable``: the loss of a
    batch is the sum of its rows' losses, so that a step may be cut into pieces. ``settles``: something is chosen after
    training, by :meth:`settle`. ``windows``: a longer text is read in windows, and nothing of it is cut. ``refers``:
    metrics compare it with the network it was made of. ``rates`` names the default rates where the objective's own do not
    suit the network. ``headed``: a linear head stands on the network and can learn alone. ``small``: it has fewer parameters than ``small_below``, so that all of them should learn.
    """

    objective: ClassVar[str]
    writes: ClassVar[bool] = False
    measures: ClassVar[bool] = False
    answers: ClassVar[bool] = True
    asked: ClassVar[bool] = True
    separable: ClassVar[bool] = True
    settles: ClassVar[bool] = False
    windows: ClassVar[bool] = False
    refers: ClassVar[bool] = False
    ready: ClassVar[bool] = False
    headed: ClassVar[bool] = False
    rates: str | None = None
    small_below: ClassVar[int] = 0
    small: bool = False
    flat: bool = False
    compiled: bool = False
    network: Any
    tokenizer: Any
    labels: tuple[str, ...]
    max_tokens: int

    @classmethod
    def look(cls, rows: Iterable[Example]) -> dict[str, Any]:
        """Return what must be known of the train rows before a network is made (traits and their scale, say), as JSON."""
        return {}

    @classmethod
    def inputs_of(cls, item: str | Mapping[str, Any]) -> Mapping[str, Any]:
        """Return what a user gave to be answered, a text or a mapping, as ``Example.inputs``."""
        return {"text": item} if isinstance(item, str) else item

    @classmethod
    @abstractmethod
    def create(
        cls, base: Base, *, labels: tuple[str, ...], model: ModelSection, known: Mapping[str, Any] | None = None
    ) -> Learner:
        """Make an untrained learner of a base model; ``known`` is what :meth:`look` found."""

    @classmethod
    @abstractmethod
    def restore(cls, folder: Path, facts: Mapping[str, Any]) -> Learner:
        """Open what :meth:`save` wrote."""

    @abstractmethod
    def save(self, folder: Path) -> dict[str, Any]:
        """Write the network (adapters merged) and tokenizer; return the facts that :meth:`restore` needs."""

    def decide(self, train: TrainSection) -> TrainSection:
        """Decide what `auto` means where it depends on what :meth:`look` found."""
        return train

    @abstractmethod
    def prepare_training(self, train: TrainSection) -> None:
        """Set which parameters learn."""

    def pack(self, rows: list[Encoded]) -> tuple[list[Encoded], list[int]]:
        """Cut and join encoded rows into those that are trained on; return them with the number of the row each begins with."""
        return rows, list(range(len(rows)))

    def packs_rows(self) -> str | None:
        """Return None where rows can be laid in one line without seeing each other, or why they cannot."""
        return f"`{self.objective}` reads each row by itself"

    def lay_flat(self, wanted: bool) -> None:
        """Lay the rows of a pass in one line from now on, or each in a row of its own again.

        Raises:
            ModelError: they would see each other.
        """
        why = self.packs_rows() if wanted else None
        if why:
            raise ModelError(f"rows cannot be packed: {why}", where="train.packing", mend="Set it to auto or off.")

    def set_flat(self, wanted: bool) -> None:
        """Switch between one line and rows of their own, unasked."""
        self.flat = wanted

    def start_epoch(self, epoch: int, *, seed: int) -> None:
        """Prepare what differs from pass to pass, from nothing but these numbers, so that a resumed run sees the same."""
        return

    def refer(self, rows: Sequence[Encoded]) -> list[Encoded]:
        """Return the rows with what the network says of them before it learns; a resumed run asks again."""
        return list(rows)

    def fits_head(self, train: TrainSection) -> bool:
        """Whether :meth:`begin` fits a head to the train rows."""
        return False

    def begin(
        self, rows: Sequence[Encoded], *, train: TrainSection, weights: Sequence[float] | None = None
    ) -> dict[str, Any]:
        """Set what can be computed without gradients, such as a head fitted on frozen features; return facts of it.

        Args:
            weights: what each row counts for.
        """
        return {}

    def choose(self, examples: Sequence[Example]) -> Sequence[Example]:
        """Return the train rows to learn from; what the others say is known by :meth:`look`."""
        return examples

    def resumed(self, facts: Mapping[str, Any]) -> None:
        """Put back what :meth:`begin` found and no checkpoint holds, from the facts that it returned."""

    def settle(self, rows: Sequence[Example], predictions: Sequence[Prediction]) -> dict[str, Any]:
        """Choose after training what is chosen on rows that were not learnt from (cuts, say); return facts of it.

        Args:
            rows: the validation rows, maybe none.
            predictions: of these rows, by :meth:`measure`.
        """
        return {}

    def refit(self, rows: Sequence[Encoded], *, weights: Sequence[float] | None = None) -> None:
        """Compute again, before a score and at the end, what rests on parameters that have learnt meanwhile."""

    @property
    def groups_rows(self) -> bool:
        """Whether a step must hold several rows of each of its labels."""
        return False

    @abstractmethod
    def encode(self, example: Example) -> Encoded | None:
        """Encode input and target for training; None where the target does not fit."""

    def encode_all(self, examples: Sequence[Example]) -> Sequence[Encoded | None]:
        """Encode many rows, each as :meth:`encode` does; where tokenizing takes time, on all cores at once."""
        return [self.encode(example) for example in examples]

    @abstractmethod
    def encode_input(self, inputs: Mapping[str, Any], *, room: int) -> Encoded:
        """Encode an input to be answered, leaving ``room`` tokens for an answer."""

    def begin_step(self, rows: Sequence[Encoded]) -> None:
        """Compute, without gradients, what all pieces of an optimiser step share."""

    @abstractmethod
    def loss(self, batch: Batch, *, smoothing: float) -> tuple[torch.Tensor, float]:
        """Return the summed loss (nats) and how many units it sums over: their weights' sum where units weigh."""

    @abstractmethod
    def answer(self, encoded: Sequence[Encoded], *, max_new_tokens: int) -> list[Prediction]:
        """Predict a batch of encoded inputs."""

    @abstractmethod
    def measure(self, encoded: Sequence[Encoded]) -> list[Prediction]:
        """Return what metrics need of known targets (see :class:`Prediction`)."""

    def finish(self, encoded: Sequence[Encoded]) -> list[Prediction]:
        """Return how much of each known answer would be written once its first half is given; nothing where none is written."""
        return [Prediction() for _ in encoded]

    def row_losses(self, encoded: Sequence[Encoded]) -> list[float] | None:
        """Return the loss (nats) of each row by itself, without gradients; None where only a batch has one."""
        return None

    def units(self, row: Encoded) -> float:
        """Return what :meth:`loss` counts for a row, without computing it: learnt tokens, or 1 for a label."""
        return sum(row.learn[1:]) if row.learn else 1

    @property
    def device(self) -> torch.device:
        return next(self.network.parameters()).device

    @property
    def pad_id(self) -> int:
        return int(self.tokenizer.pad_token_id or 0)

    def collate(self, encoded: Sequence[Encoded], *, masked: bool = True) -> Batch:
        """Pad rows on the right into one batch on the learner's device."""
        width = max(len(e.ids) for e in encoded)
        same = all(len(e.ids) == width for e in encoded)
        ids_BT = torch.full((len(encoded), width), self.pad_id, dtype=torch.long)
        for row, item in enumerate(encoded):
            ids_BT[row, : len(item.ids)] = torch.tensor(item.ids)
        mask_BT = None
        if masked and not same:
            lengths_B = torch.tensor([len(e.ids) for e in encoded])
            mask_BT = (torch.arange(width) < lengths_B[:, None]).long()
        values = [e.values for e in encoded]
        learn_BT = None
        if encoded[0].learn:
            learn_BT = torch.zeros((len(encoded), width), dtype=torch.bool)
            for row, item in enumerate(encoded):
                learn_BT[row, : len(item.ids)] = torch.tensor(item.learn)
        labels = [e.label for e in encoded]
        labels_B = None if any(label is None for label in labels) else torch.tensor(labels)
        learnt = None if learn_BT is None else learnt_places(ids_BT, learn_BT)
        numbers = torch.tensor(values) if values[0] and len({*map(len, values)}) == 1 else None
        tokens = sum(len(e) for e in encoded)
        return self._on_device(
            Batch(ids_BT, mask_BT, learn_BT, labels_B, tokens, numbers, tuple(encoded), learnt)
        )

    def _on_device(self, batch: Batch) -> Batch:
        """Return the batch with its tensors on the learner's device; the host does not wait for the copies."""
        device = self.device
        if device.type == "cpu":
            return batch
        names = ("ids_BT", "mask_BT", "learn_BT", "labels_B", "values_BK")
        there: dict[str, Any] = {name: moved(t, device) for name in names if (t := getattr(batch, name)) is not None}
        if batch.learnt is not None:
            there["learnt"] = tuple(moved(t, device) for t in batch.learnt)
        if batch.flat is not None:
            line = batch.flat
            there["flat"] = replace(
                line, positions_BT=moved(line.positions_BT, device), starts_N=moved(line.starts_N, device)
            )
        return replace(batch, **there)

"""Several learners over one body, trained together: a stage's own rows beside rows of the stages before it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from luthier.base.records import Encoded, Example, Prediction, Remembered, Tagged
from luthier.objectives.labelled import Labelled
from luthier.objectives.learner import Batch, Learner
from luthier.spec.train import TrainSection


@dataclass(frozen=True, slots=True)
class Parts:
    """A batch of several learners: one batch for each stage that has rows in it; None is the current stage."""

    of: Mapping[int | None, Batch]

    @property
    def padded_tokens(self) -> int:
        return sum(batch.padded_tokens for batch in self.of.values())

    @property
    def tokens(self) -> int:
        return sum(batch.tokens for batch in self.of.values())


class Joined(Learner):
    """The current stage's learner, and those of earlier stages whose rows are rehearsed with their own heads and losses.

    Every row counts the same in a step's loss, whichever its objective: a loss that sums over tokens is divided by the
    mean number of tokens of its rows. To all else it is the current learner.
    """

    objective = "joined"

    def __init__(
        self,
        current: Learner,
        earlier: Mapping[int, Learner],
        *,
        scales: Mapping[int | None, float],
        kept_labels: int = 0,
        shares: Sequence[float] | None = None,
    ) -> None:
        super().__init__()
        self.current = current
        self.earlier = torch.nn.ModuleDict({str(stage): learner for stage, learner in earlier.items()})
        self._scales = dict(scales)
        self._kept_labels = kept_labels
        self._shares = shares
        self.labels = current.labels
        self.max_tokens = current.max_tokens
        self.tokenizer = current.tokenizer

    @classmethod
    def over(
        cls, current: Learner, earlier: Mapping[int, Learner], rows: Iterable[Example], old: Sequence[Remembered], *,
        kept_labels: int = 0, shares: Sequence[float] | None = None,
    ) -> Joined:  # fmt: skip
        """Join learners with the scales that make every row count the same.

        Args:
            rows: the current stage's training rows. old: the rows that are rehearsed.
            kept_labels: how many labels of the current head were learnt before; a new fit leaves them as they are.
            shares: of each label of the current head, the share of its rows that is there, of a head that grows.
        """
        scales: dict[int | None, float] = {}
        if len({learner.objective for learner in (current, *earlier.values())}) > 1:
            scales[None] = _mean_units(current, rows)
            scales |= {j: _mean_units(one, (e for e in old if e.stage == j)) for j, one in earlier.items()}
        return cls(current, earlier, scales=scales, kept_labels=kept_labels, shares=shares)

    def _of(self, stage: int | None) -> Learner:
        return self.current if stage is None else self.earlier[str(stage)]  # type: ignore[return-value]

    @property
    def network(self) -> Any:
        return self.current.network

    @property
    def separable(self) -> bool:  # type: ignore[override]
        return all(learner.separable for learner in (self.current, *self.earlier.values()))

    @property
    def windows(self) -> bool:  # type: ignore[override]
        return self.current.windows

    def refer(self, rows: Sequence[Encoded]) -> list[Encoded]:
        found = list(rows)
        for stage, places in _by_stage(rows).items():
            for place, row in zip(places, self._of(stage).refer([rows[i] for i in places]), strict=True):
                found[place] = row
        return found

    def begin_step(self, rows: Sequence[Encoded]) -> None:
        for stage, places in _by_stage(rows).items():
            self._of(stage).begin_step([rows[i] for i in places])

    def begin(
        self, rows: Sequence[Encoded], *, train: TrainSection, weights: Sequence[float] | None = None
    ) -> dict[str, Any]:
        """Let the current learner begin on its own rows; what its head knew of earlier labels is kept."""
        own, own_weights = _own(rows, weights)
        with self._kept():
            return self.current.begin(own, train=train, weights=own_weights)

    def resumed(self, facts: Mapping[str, Any]) -> None:
        self.current.resumed(facts)

    def refit(self, rows: Sequence[Encoded], *, weights: Sequence[float] | None = None) -> None:
        own, own_weights = _own(rows, weights)
        with self._kept():
            self.current.refit(own, weights=own_weights)

    @property
    def groups_rows(self) -> bool:
        return self.current.groups_rows

    @contextmanager
    def _kept(self) -> Iterator[None]:
        """Leave what the current head knew of earlier labels as it is, whatever is fitted meanwhile."""
        layer: Any = self.current.last_linear if self._kept_labels else None
        before = {} if layer is None else {name: p.detach().clone() for name, p in layer.named_parameters()}
        yield
        with torch.no_grad():
            for name, value in before.items():
                layer.get_parameter(name)[: self._kept_labels].copy_(value[: self._kept_labels])

    def prepare_training(self, train: TrainSection) -> None:
        self.current.prepare_training(train)

    def packs_rows(self) -> str | None:
        return self.current.packs_rows()

    def lay_flat(self, wanted: bool) -> None:
        """Lay the current stage's rows in one line; those of earlier stages stay in rows of their own."""
        self.current.lay_flat(wanted)

    def encode(self, example: Example) -> Encoded | None:
        if not isinstance(example, Remembered):
            return self.current.encode(example)
        encoded = self._of(example.stage).encode(example)
        return None if encoded is None else Tagged.of(encoded, example.stage)

    def encode_all(self, examples: Sequence[Example]) -> Sequence[Encoded | None]:
        if any(isinstance(example, Remembered) for example in examples):
            return super().encode_all(examples)
        return self.current.encode_all(examples)

    def encode_input(self, inputs: Mapping[str, Any], *, room: int) -> Encoded:
        return self.current.encode_input(inputs, room=room)

    def pack(self, rows: list[Encoded]) -> tuple[list[Encoded], list[int]]:
        """Let each learner pack its own rows."""
        packed: list[Encoded] = []
        first: list[int] = []
        for stage, own in _by_stage(rows).items():
            found, begun = self._of(stage).pack([rows[i] for i in own])
            packed += found if stage is None else [Tagged.of(row, stage) for row in found]
            first += [own[i] for i in begun]
        return packed, first

    def start_epoch(self, epoch: int, *, seed: int) -> None:
        for learner in (self.current, *self.earlier.values()):
            learner.start_epoch(epoch, seed=seed)  # type: ignore[operator]

    def units(self, row: Encoded) -> float:
        stage = stage_of(row)
        return self._of(stage).units(row) / self._scales.get(stage, 1.0)

    def collate(self, encoded: Sequence[Encoded], *, masked: bool = True) -> Any:
        groups = _by_stage(encoded)
        return Parts({stage: self._of(stage).collate([encoded[i] for i in places]) for stage, places in groups.items()})

    def loss(self, batch: Any, *, smoothing: float) -> tuple[torch.Tensor, float]:
        sums, counts = [], 0.0
        for stage, part in batch.of.items():
            learner = self._of(stage)
            with learner.sampled(self._shares) if isinstance(learner, Labelled) and self._shares else nullcontext():
                loss, count = learner.loss(part, smoothing=smoothing)
            scale = self._scales.get(stage, 1.0)
            sums.append(loss / scale)
            counts += count / scale
        return torch.stack(sums).sum(), counts

    def answer(self, encoded: Sequence[Encoded], *, max_new_tokens: int) -> list[Prediction]:
        return self.current.answer(encoded, max_new_tokens=max_new_tokens)

    def measure(self, encoded: Sequence[Encoded]) -> list[Prediction]:
        return self.current.measure(encoded)

    @classmethod
    def create(cls, *args: Any, **kwargs: Any) -> Joined:
        raise TypeError("learners are joined, not created")

    @classmethod
    def restore(cls, folder: Path, facts: Mapping[str, Any]) -> Joined:
        raise TypeError("learners are restored one by one")

    def save(self, folder: Path) -> dict[str, Any]:
        raise TypeError("learners are saved one by one")


def stage_of(row: Encoded) -> int | None:
    """Return the earlier stage that a row belongs to, or None for the current one."""
    return row.stage if isinstance(row, Tagged) else None


def _own(rows: Sequence[Encoded], weights: Sequence[float] | None) -> tuple[list[Encoded], list[float] | None]:
    """Return the current stage's rows and their weights."""
    own = [place for place, row in enumerate(rows) if stage_of(row) is None]
    return [rows[i] for i in own], None if weights is None else [weights[i] for i in own]


def _by_stage(rows: Sequence[Encoded]) -> dict[int | None, list[int]]:
    groups: dict[int | None, list[int]] = {}
    for place, row in enumerate(rows):
        groups.setdefault(stage_of(row), []).append(place)
    return groups


def _mean_units(learner: Learner, rows: Iterable[Example]) -> float:
    units = [learner.units(encoded) for e in rows if (encoded := learner.encode(e)) is not None]
    return sum(units) / len(units) if units and sum(units) else 1.0

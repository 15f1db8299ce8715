"""Who competes: heads on frozen vectors, judged by folds, and tuned bodies, judged on one part of the rows."""

from __future__ import annotations

import copy
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from luthier.base.records import Encoded, Example
from luthier.objectives.cut import gathered
from luthier.objectives.heads.judge import each_log_loss, log_loss, temperature
from luthier.spec.train import TrainSection
from luthier.train import defaults
from luthier.train.run import fit

# The heads' kinds as methods, the cheaper first.
FROZEN = {"prototypes": "prototypes", "head": "linear", "neighbours": "neighbours"}
TUNED = ("full", "contrastive")


@dataclass(frozen=True, slots=True)
class Entry:
    """What a contender shows on rows that it has not learnt from; ``losses`` are theirs, in nats, by row number."""

    method: str
    accuracy: float | None
    log_loss: float | None
    seconds: float
    scale: float
    losses: dict[int, float]
    facts: dict[str, Any]

    def as_dict(self) -> dict[str, Any]:
        figures = {name: None if v is None else round(v, 4)
                   for name, v in (("accuracy", self.accuracy), ("log_loss", self.log_loss))}  # fmt: skip
        return {
            "method": self.method,
            **figures,
            "rows": len(self.losses),
            "seconds": round(self.seconds, 3),
            **self.facts,
        }


def tuned(
    method: str, learner: Any, examples: Sequence[Example], rows: Sequence[Encoded], held: NDArray[np.int64],
    train: TrainSection,
) -> Entry:  # fmt: skip
    """Train a copy of the learner on the rows that are not held out, as the run would, and judge it on those that are."""
    began = time.perf_counter()
    out = set(held.tolist())
    kept = [example for index, example in enumerate(examples) if index not in out]
    section = defaults.resolve(train.model_copy(update={"method": method}), objective="classify", rows=len(kept))
    rival = copy.deepcopy(learner)
    with torch.random.fork_rng():
        fit(rival, kept, section, score=None)
    rival.eval()
    judged = [rows[index] for index in held.tolist()]
    with torch.inference_mode():
        scores = gathered(judged, lambda piece: rival.logits(rival.collate(piece)).float().cpu()).double().numpy()
    labels = np.asarray([row.label for row in judged], dtype=np.int64)
    scale = temperature(scores, labels)
    losses = dict(zip(held.tolist(), each_log_loss(scores, labels, scale).tolist(), strict=True))
    accuracy = float((scores.argmax(1) == labels).mean())
    return Entry(method, accuracy, log_loss(scores, labels, scale), time.perf_counter() - began, scale, losses, {})

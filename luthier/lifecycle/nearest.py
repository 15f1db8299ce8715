"""Whether the train rows nearest to a text have a say in its answer: tried once training is over, on the validation rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import torch
from torch import nn

from luthier.base.records import Encoded, Example
from luthier.data.prepare import Prepared
from luthier.objectives import Learner
from luthier.objectives.classify import Classifier
from luthier.objectives.cut import gathered
from luthier.objectives.heads import beside, use
from luthier.objectives.heads.judge import Doubles, log_softmax
from luthier.objectives.heads.sample import Floats, Ints
from luthier.spec.train import TrainSection

# Fewer validation rows would choose by luck, and more would choose no better.
FEWEST, MOST = 100, 2000


def asked(learner: Learner, section: TrainSection, valid: int) -> bool:
    """Whether it is tried at all: of a network that has learnt, with a linear head on its vectors, and rows to choose by."""
    return (
        section.nearest == "auto" and valid >= FEWEST and isinstance(learner, Classifier) and isinstance(learner.head, nn.Linear)
        and section.method not in use.ENDS
    )  # fmt: skip


def bytes_of(learner: Learner, section: TrainSection, data: Prepared) -> int:
    """Return what the vectors take in a bundle at most."""
    if not asked(learner, section, len(data.valid)):
        return 0
    width = cast(Classifier, learner).last_linear.in_features
    return min(len(data.train), beside.most_rows(width)) * 4 * width


@dataclass(frozen=True, slots=True)
class Seen:
    """Rows nobody learnt from, as the head (``own_NC``) and, by bandwidth, the train rows see them: log probabilities; and those train rows."""

    own_NC: Doubles
    votes: dict[float, Doubles]
    labels_N: Ints
    kept_TD: Floats
    labels_T: Ints
    weights_T: Floats


def look(learner: Classifier, train: Sequence[Example], judges: Sequence[Example]) -> Seen | None:
    """Read both sides with the network as it is; None where one of them is empty."""
    learner.eval()
    asked_, wide = _encoded(learner, _some(judges, MOST)), len(learner.labels)

    def seen(rows: Sequence[Encoded]) -> torch.Tensor:
        with torch.inference_mode():
            return torch.cat([part.float() for part in learner.seen(learner.collate(rows)) if part is not None], dim=-1).cpu()

    # Of more rows than a bundle carries, evenly chosen ones.
    rows = _encoded(learner, _some(train, beside.most_rows(learner.last_linear.in_features)))
    if not asked_ or not rows:
        return None
    found = gathered(asked_, seen).numpy()
    kept_TD, labels_T = learner.frozen.read(rows, learner.head_features).numpy(), _labels(rows)
    weights_T = beside.weights_of(labels_T.tolist(), learner.weights_C)
    votes = beside.votes_of(found[:, wide:], kept_TD, labels_T, weights_T, wide)
    return Seen(log_softmax(found[:, :wide].astype(np.float64)), votes, _labels(asked_), kept_TD, labels_T, weights_T)


def settle(learner: Classifier, train: Sequence[Example], valid: Sequence[Example]) -> dict[str, Any]:
    """Give the nearest train rows their share in a classifier's answers, if validation rows surely gain; return facts of it."""
    seen = look(learner, train, valid)
    mix = beside.choose(seen.own_NC, seen.votes, seen.labels_N) if seen else None
    if seen is None:
        return {}
    if mix is None:
        return beside.refused(len(seen.labels_N))
    made = beside.Beside.of(seen.kept_TD, seen.labels_T, seen.weights_T, classes=len(learner.labels), mix=mix)
    learner.beside = made.to(learner.device)
    return beside.facts_of(mix, len(seen.kept_TD), len(seen.labels_N))


def kept(learner: Learner, train: Sequence[Example]) -> Floats | None:
    """Return the unit vectors (T, D) of these very train rows, in their order, if a classifier carries all of them; else None."""
    found = learner.beside if isinstance(learner, Classifier) else None
    if found is None or len(found.near.rows_ND) != len(train):  # type: ignore[arg-type]
        return None
    place = {label: index for index, label in enumerate(learner.labels)}
    if [place.get(str(row.target)) for row in train] != found.near.labels_N.tolist():  # type: ignore[operator]
        return None
    return np.asarray(found.near.rows_ND.cpu().numpy())  # type: ignore[operator]


def _encoded(learner: Classifier, rows: Sequence[Example]) -> list[Encoded]:
    """Return the rows that have one of the labels."""
    return [row for row in learner.encode_all(rows) if row is not None and row.label is not None]


def _some(rows: Sequence[Example], most: int) -> Sequence[Example]:
    """Return at most so many rows, evenly chosen."""
    return rows if len(rows) <= most else [rows[i * len(rows) // most] for i in range(most)]


def _labels(rows: Sequence[Encoded]) -> Ints:
    return np.array([row.label for row in rows], dtype=np.int64)

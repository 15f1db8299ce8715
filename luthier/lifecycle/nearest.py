"""Whether the train rows nearest to a text have a say in its answer: tried once training is over, on the validation rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
from torch import nn

from luthier.base.records import Encoded, Example
from luthier.data.prepare import Prepared
from luthier.lifecycle import scoping
from luthier.objectives import Learner
from luthier.objectives.classify import Classifier
from luthier.objectives.heads import beside, use
from luthier.objectives.heads.fits import Neighbours, unit
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
class Look:
    """Rows nobody learnt from, as the head (``own_NC``) and, by bandwidth, the train rows see them: log probabilities; and those train rows."""

    own_NC: Doubles
    votes: dict[float, Doubles]
    labels_N: Ints
    others: Neighbours


def look(learner: Classifier, train: Sequence[Example], judges: Sequence[Example]) -> Look | None:
    """Read both sides with the network as it is; None where one of them is empty."""
    learner.eval()
    # Of more rows than a bundle carries, evenly chosen ones.
    rows = _labelled(learner, _some(train, beside.most_rows(learner.last_linear.in_features)))
    if not len(judges) or not rows:
        return None
    seen = scoping.seen(learner, _some(judges, MOST))
    known, labels_T = seen.label_N >= 0, np.array([row.label for row in rows], dtype=np.int64)
    weights_T = np.ones(len(rows)) if learner.weights_C is None else np.array(learner.weights_C)[labels_T]
    kept_TD = unit(learner.frozen.read(rows, learner.head_features).numpy())
    others = Neighbours(kept_TD, labels_T, weights_T.astype(np.float32), len(learner.labels), beside.BANDWIDTHS[0])
    assert seen.features_ND is not None
    votes = beside.votes_of(seen.features_ND.numpy()[known], others)
    return Look(log_softmax(seen.logits_NC.double().numpy()[known]), votes, seen.label_N[known], others)


def settle(learner: Classifier, train: Sequence[Example], valid: Sequence[Example]) -> dict[str, Any]:
    """Give the nearest train rows their share in a classifier's answers, if validation rows surely gain; return facts of it."""
    found = look(learner, train, valid)
    if found is None:
        return {}
    judged, rows = len(found.labels_N), len(found.others.labels_N)
    mix = beside.choose(found.own_NC, found.votes, found.labels_N)
    if mix is None:
        said = f"nearest  train rows have no say in answers: their votes are no sure gain on {judged} validation rows"
        return {"share": 0.0, "judged": judged, "said": said}
    learner.beside = beside.Beside.of(found.others, mix).to(learner.device)
    (before, after), (was, now) = mix.log_loss, mix.accuracy
    said = (f"nearest  {rows} train rows say {mix.share:.0%} of each answer: log loss on {judged} validation rows {before:.3f} -> {after:.3f}, "
            f"right {was:.1%} -> {now:.1%}")  # fmt: skip
    return {"share": mix.share, "bandwidth": mix.bandwidth, "rows": rows, "judged": judged, "log_loss_before": round(before, 4),
            "log_loss_after": round(after, 4), "accuracy_before": round(was, 4), "accuracy_after": round(now, 4), "said": said}  # fmt: skip


def kept(learner: Learner, train: Sequence[Example]) -> Floats | None:
    """Return the unit vectors (T, D) of these very train rows, in their order, if a classifier carries all of them; else None."""
    found = learner.beside if isinstance(learner, Classifier) else None
    if found is None or len(found.near.rows_ND) != len(train):  # type: ignore[arg-type]
        return None
    place = {label: index for index, label in enumerate(learner.labels)}
    if [place.get(str(row.target)) for row in train] != found.near.labels_N.tolist():  # type: ignore[operator]
        return None
    return np.asarray(found.near.rows_ND.cpu().numpy())  # type: ignore[operator]


def _labelled(learner: Classifier, rows: Sequence[Example]) -> list[Encoded]:
    """Return the rows that have one of the labels."""
    return [row for row in learner.encode_all(rows) if row is not None and row.label is not None]


def _some(rows: Sequence[Example], most: int) -> Sequence[Example]:
    """Return at most so many rows, evenly chosen."""
    return rows if len(rows) <= most else [rows[i * len(rows) // most] for i in range(most)]

"""What the curves of a run show, as numbers with their sampling errors: the evidence behind the verdict on the fit."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

# Of rows sorted by how sure the model is, so many are the sure ones.
SURE_SHARE = 0.25


@dataclass(frozen=True, slots=True)
class Estimate:
    """A mean and its standard error; ``low`` and ``high`` are where it surely lies, one time in forty not."""

    value: float
    error: float

    @property
    def low(self) -> float:
        return self.value - 1.96 * self.error

    @property
    def high(self) -> float:
        return self.value + 1.96 * self.error


@dataclass(frozen=True, slots=True)
class Signs:
    """The curves of one run, read.

    Losses are nats per learnt unit. ``turn`` is the position of the evaluation with the least validation loss and
    ``turn_step`` its step. ``rise`` is how much the validation loss grew from there to the end, row by row; ``fell`` how
    much the train loss fell meanwhile. ``learnt`` is the share of the first train loss that training took away; None where
    there was but one evaluation.
    ``falling`` is the share of the validation loss that the last stretch between two evaluations still took away.
    ``valid_right`` is at its best, ``train_right`` at the end. ``sure_wrong`` is the share of the surest quarter of validation
    rows that is wrong, at the evaluation where it is least; there ``flat`` is that share in relation to the share of all rows
    that is wrong, and ``sure_train`` the train rows that were right. None where no label says which rows are right.
    """

    turn: int
    turn_step: int
    valid_loss: float
    turn_loss: float
    train_loss: float
    rise: Estimate
    fell: Estimate
    gap: Estimate
    learnt: float | None
    falling: Estimate
    valid_right: Estimate | None = None
    train_right: Estimate | None = None
    sure_wrong: Estimate | None = None
    flat: float | None = None
    sure_train: Estimate | None = None
    valid_rows: int = 0
    train_rows: int = 0


def read(evaluations: Sequence[Mapping[str, Any]]) -> Signs | None:
    """Read the evaluations of a run; None where they do not hold the losses of rows."""
    told = [
        e for e in evaluations if all((e.get("rows") or {}).get(side, {}).get("loss") for side in ("valid", "train"))
    ]
    if not told:
        return None
    valid = [np.asarray(e["rows"]["valid"]["loss"], dtype=float) for e in told]
    train = [np.asarray(e["rows"]["train"]["loss"], dtype=float) for e in told]
    turn = int(np.argmin([v.mean() for v in valid]))
    labels = _labels(told)
    return Signs(
        turn=turn,
        turn_step=int(told[turn]["step"]),
        valid_loss=float(valid[-1].mean()),
        turn_loss=float(valid[turn].mean()),
        train_loss=float(train[-1].mean()),
        rise=_paired(valid[-1], valid[turn]),
        fell=_paired(train[turn], train[-1]),
        gap=_unpaired(valid[-1], train[-1]),
        learnt=float(1 - train[-1].mean() / max(train[0].mean(), 1e-9)) if len(told) > 1 else None,
        falling=_share(_paired(valid[-2], valid[-1]), float(valid[-2].mean())) if len(told) > 1 else Estimate(0.0, 0.0),
        valid_rows=len(valid[-1]),
        train_rows=len(train[-1]),
        **labels,
    )


def _labels(told: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    sides = told[-1]["rows"]
    if "right" not in sides["valid"]:
        return {}
    best = max(range(len(told)), key=lambda i: float(np.mean(told[i]["rows"]["valid"]["right"])))
    found = [_sure_wrong(e["rows"]["valid"]) for e in told]
    wrongs = [1 - float(np.mean(e["rows"]["valid"]["right"])) for e in told]
    least = min(range(len(told)), key=lambda i: (found[i].mean(), wrongs[i]))
    wrong = wrongs[least]
    return {
        "valid_right": proportion(np.asarray(told[best]["rows"]["valid"]["right"], dtype=float)),
        "train_right": proportion(np.asarray(sides["train"]["right"], dtype=float)),
        "sure_wrong": proportion(found[least]),
        "flat": float(found[least].mean()) / wrong if wrong else 0.0,
        "sure_train": proportion(np.asarray(told[least]["rows"]["train"]["right"], dtype=float)),
    }


def _sure_wrong(rows: Mapping[str, Any]) -> Floats:
    """Return which of the surest quarter of rows are wrong."""
    right, sure = np.asarray(rows["right"], dtype=float), np.asarray(rows["confidence"], dtype=float)
    return 1 - right[np.argsort(-sure, kind="stable")[: max(1, round(SURE_SHARE * len(sure)))]]


def proportion(hits: Floats) -> Estimate:
    """Return the share of hits with its standard error after Agresti & Coull (1998): never zero for few rows."""
    size, found = len(hits), float(hits.sum())
    share = (found + 2) / (size + 4)
    return Estimate(found / size, float(np.sqrt(share * (1 - share) / (size + 4))))


def _paired(first: Floats, second: Floats) -> Estimate:
    """Return the mean of ``first - second`` over the same rows."""
    difference = first - second
    return Estimate(float(difference.mean()), _error(difference))


def _unpaired(first: Floats, second: Floats) -> Estimate:
    return Estimate(float(first.mean() - second.mean()), float(np.hypot(_error(first), _error(second))))


def _share(estimate: Estimate, of: float) -> Estimate:
    return Estimate(estimate.value / max(of, 1e-9), estimate.error / max(of, 1e-9))


def _error(values: Floats) -> float:
    return float(values.std(ddof=1) / np.sqrt(len(values))) if len(values) > 1 else float("inf")

"""How right the suggestions are by now, and whether more labels would still change them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

MIN_ROWS = 10
ROUNDS = 3
CHANGED = 0.03
TENTH = 10
STEP = 10
_Z = 1.96


@dataclass(frozen=True, slots=True)
class Accuracy:
    """An estimate for rows not labelled yet, with its 95 % interval, from so many labelled ``rows`` that chance chose."""

    value: float
    low: float
    high: float
    rows: int


@dataclass(frozen=True, slots=True)
class Round:
    """What was known after so many labels; ``changed`` is the share of unlabelled rows predicted otherwise than before."""

    labelled: int
    accuracy: Accuracy | None
    changed: float | None

    def as_dict(self) -> dict[str, float | int | None]:
        value, low, high = (
            (self.accuracy.value, self.accuracy.low, self.accuracy.high) if self.accuracy else (None,) * 3
        )
        return {"labelled": self.labelled, "accuracy": value, "low": low, "high": high, "changed": self.changed}


@dataclass(frozen=True, slots=True)
class Advice:
    """Whether to stop, and why: ``changed`` in each of the last rounds, ``gain`` of accuracy over them."""

    stop: bool
    changed: tuple[float, ...] = ()
    gain: float | None = None
    reach: float | None = None


def accuracy(right: Sequence[bool] | np.ndarray) -> Accuracy | None:
    """Estimate how often the model is right on unlabelled rows; None from fewer than 10 rows.

    Rows asked about because they were doubtful are harder than the rest and unlike each other, so a model is wrong on
    them far more often: the estimate must rest on rows that chance chose. The interval is Wilson's (1927).

    Args:
        right: for each labelled row that was chosen by chance, whether a model that had not seen it was right.
    """
    rows = len(right)
    if rows < MIN_ROWS:
        return None
    share = float(np.mean(right))
    spread = 1 + _Z**2 / rows
    middle = (share + _Z**2 / (2 * rows)) / spread
    reach = _Z / spread * math.sqrt(share * (1 - share) / rows + _Z**2 / (4 * rows**2))
    return Accuracy(share, max(0.0, min(share, middle - reach)), min(1.0, max(share, middle + reach)), rows)


def next_round(labelled: int) -> int:
    """Return at how many labels the next round ends: a tenth more, ten at least."""
    return labelled + max(STEP, math.ceil(labelled / TENTH))


def advise(rounds: Sequence[Round]) -> Advice:
    """Say whether more labels still help.

    Stop when, in each of the last three rounds, a tenth more labels changed at most 3 % of the predictions on unlabelled
    rows, and accuracy did not rise over them by more than its interval. Predictions that no longer change cannot become
    more right, and this can be seen without more labels (stabilising predictions, Bloodgood & Vijay-Shanker 2009,
    https://aclanthology.org/W09-1107/).
    """
    last = [r for r in rounds if r.accuracy is not None][-ROUNDS - 1 :]
    changed = tuple(r.changed for r in last[1:] if r.changed is not None)
    if len(last) <= ROUNDS or len(changed) < ROUNDS:
        return Advice(False, changed)
    first, final = last[0].accuracy, last[-1].accuracy
    assert first is not None and final is not None
    gain = final.value - first.value
    reach = (final.high - final.low) / 2
    return Advice(max(changed) <= CHANGED and gain <= reach, changed, gain, reach)

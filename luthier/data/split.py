"""Train, valid and test: a division that rows keep for ever."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Any, Literal

import numpy as np

from luthier.base.errors import Fault
from luthier.base.inputs import stratum
from luthier.base.records import Example
from luthier.base.seeds import stable_fraction
from luthier.data.dedupe import key
from luthier.spec.data import Split

Side = Literal["train", "valid", "test"]
SIDES: tuple[Side, ...] = ("train", "valid", "test")

# How far a class may stray from its shares before the hash is overruled: rows, or a share of the class's rows.
_SLACK_ROWS = 3.0
_SLACK_SHARE = 0.05
_NEEDED = 3
_TRAIN, _VALID, _TEST = range(3)


def shares_of(split: Split, *, has_test: bool, has_valid: bool) -> dict[Side, float]:
    """Return the wanted share of each side; a side with a file of its own takes nothing from the source."""
    test = 0.0 if has_test else split.test
    valid = 0.0 if has_valid else split.valid
    return {"train": 1.0 - test - valid, "valid": valid, "test": test}


def assign(examples: Sequence[Example], split: Split, *, has_test: bool, has_valid: bool) -> list[Side]:
    """Return each example's side: :func:`divide` for rows that are at hand."""
    units = [("group", e.group) if e.group is not None else ("text", key(e)) for e in examples]
    labels = [stratum(e) for e in examples]
    fractions = [stable_fraction(unit[1], seed=split.seed) for unit in units]
    sides = divide(units, labels, fractions, shares_of(split, has_test=has_test, has_valid=has_valid))
    return [SIDES[side] for side in sides]


def divide(
    units: Iterable[Any], labels: Iterable[Any], fractions: Iterable[float], shares: dict[Side, float]
) -> np.ndarray:
    """Return (N,) int8 indices into :data:`SIDES`, one for each row in the order in which rows came.

    A *unit* is what may not be torn apart: a group where the row has one, else its normalised text, else that of an
    earlier row it is nearly equal to. A unit's side is decided when its first row comes, by a stable hash of the unit
    (``fractions``): test below ``test``, valid below ``test + valid``, else train. That alone never moves a row, but
    leaves a class of three rows without a test row every second time, and makes a class of fifty stray by three rows.
    So the hash is overruled where it would take a class more than 3 rows (or 5 % of the class) above a side's share,
    and where the third unit of a class comes and train or test still has none of it.

    What this promises: rows added after the old ones never move an old row, since every decision looks back only; and
    a row deleted or corrected moves about one other, of those that were overruled (a test measures it). A division by
    rank within the class would meet the shares exactly and move rows with every one added; hashing label and text
    together would tear a text with two labels apart without meeting the shares any better.
    """
    wanted = tuple(shares[side] for side in SIDES)
    sides: dict[Any, int] = {}
    counts: dict[Any, list[int]] = defaultdict(lambda: [0, 0, 0])
    counted: set[tuple[Any, Any]] = set()
    result = []
    for unit, label, fraction in zip(units, labels, fractions, strict=True):
        side = sides.get(unit)
        if side is None:
            side = sides[unit] = _choose(fraction, wanted, counts[label])
            counts[label][side] += 1
            counted.add((unit, label))
        elif (unit, label) not in counted:
            counted.add((unit, label))
            counts[label][side] += 1
        result.append(side)
    return np.array(result, dtype=np.int8)


def _choose(fraction: float, shares: tuple[float, ...], count: list[int]) -> int:
    total = sum(count) + 1
    if total >= _NEEDED:
        for needed in (_TRAIN, _TEST):
            if not count[needed] and shares[needed] > 0:
                return needed
    side = _TRAIN
    if fraction < shares[_TEST]:
        side = _TEST
    elif fraction < shares[_TEST] + shares[_VALID]:
        side = _VALID
    slack = max(_SLACK_ROWS, _SLACK_SHARE * total)
    if count[side] + 1 - shares[side] * total <= slack:
        return side
    return max((_TRAIN, _VALID, _TEST), key=lambda s: shares[s] * total - count[s])


def by_time(moments: np.ndarray, sides: np.ndarray, split: Split, *, has_test: bool, has_valid: bool) -> np.ndarray:
    """Return the sides by date: test from ``test_from`` on, valid from ``valid_from`` on, train before.

    The days are written in the task file and not computed from shares, so rows that come later move none of the old:
    they are newer, and go to test. Without ``valid_from``, the older rows keep the side that :func:`divide` gave them.
    """
    moved = sides.copy()
    if not has_test and split.test_from:
        later = moments >= seconds(split.test_from)
        moved[later] = _TEST
        moved[~later & (moved == _TEST)] = _TRAIN
        if not has_valid and split.valid_from:
            newer = moments >= seconds(split.valid_from)
            moved[~later] = np.where(newer[~later], _VALID, _TRAIN)
    return moved


def by_owner(owners: np.ndarray, moments: np.ndarray, split: Split, *, has_test: bool, has_valid: bool) -> np.ndarray:
    """Return the sides of interactions: of each user's rows the newest are tested on, those before them validated on.

    So no row of a user is learnt from that is newer than one of his test rows; rows of other users may be. At least one
    row stays in train, and a user with fewer rows than sides gives none to validation, then none to test. Rows without a
    time count as older than all others, and rows of one time are in the order of the file. New rows push old ones out
    of test: what is newest cannot stay so.
    """
    order = np.lexsort((np.arange(len(owners)), np.nan_to_num(moments, nan=-np.inf), owners))
    _, starts, counts = np.unique(owners[order], return_index=True, return_counts=True)
    test = _newest(counts, split.test, split.newest, none=has_test)
    test = np.minimum(test, counts - 1)
    valid = np.minimum(_newest(counts, split.valid, split.newest, none=has_valid), np.maximum(0, counts - test - 1))
    place = np.arange(len(order)) - np.repeat(starts, counts)
    left = np.repeat(counts, counts) - place  # 1 for the newest
    tested, validated = np.repeat(test, counts), np.repeat(test + valid, counts)
    sides = np.zeros(len(owners), dtype=np.int8)
    sides[order] = np.where(left <= tested, _TEST, np.where(left <= validated, _VALID, _TRAIN))
    return sides


def _newest(counts: np.ndarray, share: float, rows: int | None, *, none: bool) -> np.ndarray:
    if none or share == 0:
        return np.zeros_like(counts)
    if rows is not None:
        return np.full_like(counts, rows)
    return np.maximum(1, np.rint(share * counts).astype(counts.dtype))


def seconds(day: str) -> float:
    """Return a date of the task file as seconds since 1970, in UTC."""
    moment = datetime.fromisoformat(day)
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


def time_faults(moments: np.ndarray, split: Split, *, has_test: bool) -> list[Fault]:
    """Return what a division by time lacks: the first test day, with the one that would give the wanted share."""
    if not split.time or has_test or split.test_from or split.test == 0 or not len(moments):
        return []
    known = np.sort(moments[~np.isnan(moments)])
    if not len(known):
        return []
    day = datetime.fromtimestamp(float(known[int((1 - split.test) * (len(known) - 1))]), UTC).date().isoformat()
    share = float((known >= seconds(day)).mean())
    what = f'a division by "{split.time}" needs the first day of the test rows, so that rows added later move none.'
    return [Fault(what, "data.split.test_from", f"{day} puts {share:.0%} of the rows in test.")]

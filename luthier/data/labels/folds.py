"""Folds for predictions on rows that the predictor has not learnt from: a division that old rows keep for ever."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from luthier.base.inputs import stratum
from luthier.base.records import Example
from luthier.base.seeds import stable_fraction
from luthier.data.dedupe import key

MAX_FOLDS = 127

# How far a class may stray above its share of a fold before the hash is overruled: rows, or a share of its rows.
_SLACK_ROWS = 1.0
_SLACK_SHARE = 0.05


def folds(examples: Sequence[Example], k: int, *, seed: int) -> NDArray[np.int8]:
    """Return each example's fold, (N,) numbers from 0 to ``k`` - 1.

    A unit is a group where the example has one, and else the normalised text, as in :func:`luthier.data.split.assign`:
    all rows of a unit are in one fold. The fold comes from a stable hash of the unit, and is overruled where it would
    take the class of the unit's first row more than one row (or 5 % of the class) above its share of that fold, or all
    of a class into one fold; so a class of two units can be learnt for either. Every decision looks back only: rows
    added after the old ones never move an old row.

    Raises:
        ValueError: ``k`` is below 2 or above 127.
    """
    if not 2 <= k <= MAX_FOLDS:
        raise ValueError(f"{k} folds; from 2 to {MAX_FOLDS} are possible")
    chosen: dict[tuple[str, str], int] = {}
    counts: dict[str, list[int]] = defaultdict(lambda: [0] * k)
    counted: set[tuple[tuple[str, str], str]] = set()
    result = np.empty(len(examples), dtype=np.int8)
    for i, example in enumerate(examples):
        unit = ("group", example.group) if example.group is not None else ("text", key(example))
        label = stratum(example)
        if unit not in chosen:
            # A hash of its own: the split's has given its lower end away to the test rows.
            fraction = stable_fraction(f"fold\x1f{unit[1]}", seed=seed)
            chosen[unit] = _choose(int(fraction * k), counts[label])
        fold = chosen[unit]
        if (unit, label) not in counted:
            counted.add((unit, label))
            counts[label][fold] += 1
        result[i] = fold
    return result


def _choose(hashed: int, count: list[int]) -> int:
    k, total = len(count), sum(count) + 1
    slack = max(_SLACK_ROWS, _SLACK_SHARE * total)
    # The second unit of a class never joins the first, or the fold would have nothing to learn the class from.
    alone = 0 < sum(count) == count[hashed]
    if not alone and count[hashed] + 1 - total / k <= slack:
        return hashed
    # The next emptiest from the hashed one on, or fold 0 would take what every rare class has left.
    return min(((hashed + step) % k for step in range(k)), key=lambda fold: count[fold])

"""Train, valid and test: a division that rows keep for ever."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Literal

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


def shares_of(split: Split, *, has_test: bool, has_valid: bool) -> dict[Side, float]:
    """Return the wanted share of each side; a side with a file of its own takes nothing from the source."""
    test = 0.0 if has_test else split.test
    valid = 0.0 if has_valid else split.valid
    return {"train": 1.0 - test - valid, "valid": valid, "test": test}


def assign(examples: Sequence[Example], split: Split, *, has_test: bool, has_valid: bool) -> list[Side]:
    """Return each example's side.

    A *unit* is a group where the example has one, and else the normalised text: all rows of a unit stand on one side,
    so neither a customer nor a repeated text is ever on two. A unit's side is decided when its first row comes, by a
    stable hash of the unit: test below ``test``, valid below ``test + valid``, else train. That alone never moves a
    row, but leaves a class of three rows without a test row every second time, and makes a class of fifty stray by
    three rows. So the hash is overruled where it would take a class more than 3 rows (or 5 % of the class) above a
    side's share, and where the third unit of a class comes and train or test still has none of it.

    What this promises: rows added after the old ones never move an old row, since every decision looks back only; and
    a row deleted or corrected moves about one other, of those that were overruled (a test measures it). A division by
    rank within the class would meet the shares exactly and move rows with every one added; hashing label and text
    together would tear a text with two labels apart without meeting the shares any better.
    """
    shares = shares_of(split, has_test=has_test, has_valid=has_valid)
    sides: dict[tuple[str, str], Side] = {}
    counts: dict[str, dict[Side, int]] = defaultdict(lambda: dict.fromkeys(SIDES, 0))
    counted: set[tuple[tuple[str, str], str]] = set()
    result: list[Side] = []
    for example in examples:
        unit = ("group", example.group) if example.group is not None else ("text", key(example))
        # Answers are not classes: without labels, all rows are one.
        label = str(example.target) if "text" in example.inputs else ""
        if unit not in sides:
            sides[unit] = _choose(stable_fraction(unit[1], seed=split.seed), shares, counts[label])
        side = sides[unit]
        if (unit, label) not in counted:
            counted.add((unit, label))
            counts[label][side] += 1
        result.append(side)
    return result


def _choose(fraction: float, shares: dict[Side, float], count: dict[Side, int]) -> Side:
    total = sum(count.values()) + 1
    if total >= _NEEDED:
        for needed in ("train", "test"):
            if not count[needed] and shares[needed] > 0:
                return needed
    side: Side = "train"
    if fraction < shares["test"]:
        side = "test"
    elif fraction < shares["test"] + shares["valid"]:
        side = "valid"
    slack = max(_SLACK_ROWS, _SLACK_SHARE * total)
    if count[side] + 1 - shares[side] * total <= slack:
        return side
    return max(SIDES, key=lambda s: shares[s] * total - count[s])

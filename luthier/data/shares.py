"""Parts of the train rows for a learning curve: each holds the smaller ones, and every label keeps its share."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence

import numpy as np

from luthier.base.errors import Fault
from luthier.base.records import Example
from luthier.base.seeds import derive_seed


def nested(rows: Sequence[Example], shares: Sequence[float], *, labelled: bool, seed: int) -> list[list[int]]:
    """Return for each share, in (0, 1], the positions of its rows; whatever is in a part is in every larger one.

    Rows of a label are put in a random order and a part takes the first ``share`` of them, rounded to the nearest row but
    at least one. Rows of one group come in one run of that order, so that a smaller part also has fewer groups.

    Args:
        labelled: ``target`` is a label whose share is to be kept; otherwise all rows are one stratum.
    """
    parts: list[list[int]] = [[] for _ in shares]
    for place, (label, members) in enumerate(sorted(_strata(rows, labelled).items())):
        del label
        order = _in_groups(rows, members, np.random.default_rng(derive_seed(seed, "shares", place)))
        for part, share in zip(parts, shares, strict=True):
            part += order[: max(1, math.floor(share * len(order) + 0.5))]
    return [sorted(part) for part in parts]


def faults(rows: Sequence[Example], shares: Sequence[float], *, labelled: bool, where: str) -> list[Fault]:
    """Return what is wrong with shares of these rows: out of range, or so small that a label would vanish."""
    wrong = [s for s in shares if not 0 < s <= 1]
    if wrong or len(set(shares)) < 2:
        listed = ",".join(f"{100 * s:g}" for s in shares)
        what = f"{100 * wrong[0]:g} % is no share of the train rows" if wrong else f"{listed}: one point is no curve"
        return [Fault(what, where, "Name at least two shares above 0 and up to 100, such as 25,50,100.")]
    smallest = min(shares)
    counts = {label: len(members) for label, members in _strata(rows, labelled).items()}
    gone = sorted((n, label) for label, n in counts.items() if n * smallest < 1)
    if not gone:
        return []
    least = math.ceil(100 / min(counts.values()))
    named = ", ".join(f'"{label}" ({n})' for n, label in gone[:5]) + (" ..." if len(gone) > 5 else "")
    what = f"{100 * smallest:g} % of the train rows would leave none of {len(gone)} labels: {named}"
    if not labelled:
        what = f"{100 * smallest:g} % of {len(rows)} train rows is less than one"
    mend = f"Begin at {least} % or more" if least < 100 else "Give these labels more rows"
    return [Fault(what, where, f"{mend}.")]


def _strata(rows: Sequence[Example], labelled: bool) -> dict[str, list[int]]:
    found: dict[str, list[int]] = defaultdict(list)
    for i, row in enumerate(rows):
        found[str(row.target) if labelled else ""].append(i)
    return found


def _in_groups(rows: Sequence[Example], members: Sequence[int], rng: np.random.Generator) -> list[int]:
    units: dict[tuple[str, object], list[int]] = {}
    for i in members:
        group = rows[i].group
        units.setdefault(("row", i) if group is None else ("group", group), []).append(i)
    kept = list(units.values())
    return [i for u in rng.permutation(len(kept)) for i in kept[int(u)]]

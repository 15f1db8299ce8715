"""Lists of items: how good an order is, how often each item was chosen, and how much news it is to be shown one."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

# Of so many first items of a list metrics are made, as far as lists reach; every list reaches to SHORTEST.
CUTS = (1, 5, 10, 20, 50)
SHORTEST = 10
# In what is measured of a list: how many items it may hold.
LISTED = "listed"


def cuts_of(k: int) -> tuple[int, ...]:
    """Return those of CUTS that lists of up to ``k`` items reach."""
    return tuple(cut for cut in CUTS if cut <= max(k, SHORTEST))


def novelty_bits(cut: int) -> str:
    """Return the name of the sum of the first ``cut`` items' bits in what is measured of a list."""
    return f"novelty_bits@{cut}"


def ndcg(wanted: Mapping[str, float], given: Sequence[str], *, k: int = SHORTEST) -> float:
    """Return the normalised discounted cumulative gain of the first ``k`` (Järvelin & Kekäläinen 2002).

    Gains are linear, the discount is 1 / log2(rank + 1), and 1 is the best possible list of ``k``; NaN where nothing is wanted.
    """
    best = sorted((gain for gain in wanted.values() if gain > 0), reverse=True)[:k]
    if not best:
        return math.nan
    ideal = sum(gain / math.log2(rank + 2) for rank, gain in enumerate(best))
    return sum(max(0.0, wanted.get(item, 0.0)) / math.log2(rank + 2) for rank, item in enumerate(given[:k])) / ideal


@dataclass(frozen=True, slots=True)
class Popularity:
    """``counts`` says how many of the ``askers`` (users or queries) an item was relevant to."""

    counts: Mapping[str, int] = field(default_factory=dict)
    askers: int = 0

    @classmethod
    def of(cls, pairs: Iterable[tuple[str, str]]) -> Popularity:
        """Count pairs of an asker and an item that was relevant to it."""
        seen = set(pairs)
        return cls(dict(Counter(item for _, item in seen)), len({asker for asker, _ in seen}))

    def bits(self, item: str) -> float:
        """Return how much it tells to see this item chosen, -log2 of its share of the askers (Vargas & Castells 2011).

        One is added to both counts, so that an item nobody chose is not infinitely new.
        """
        return -math.log2((self.counts.get(item, 0) + 1) / (self.askers + 1))

    def novelty(self, items: Sequence[str], k: int) -> dict[str, float]:
        """Return the sums that the novelty of many lists of up to ``k`` items is made of, as ``Prediction.measured`` carries them."""
        bits = [self.bits(item) for item in items]
        return {LISTED: float(k), **{novelty_bits(cut): sum(bits[:cut]) for cut in cuts_of(k)}}

"""Ranked rows: where the items that are right for a query or a user stand in the list given for it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from luthier.base.ranks import CUTS, LISTED, SHORTEST, cuts_of, novelty_bits
from luthier.base.records import Prediction
from luthier.evaluate.tables.common import Family, Floats

# Each is measured of the first 1, 5, 10 ... items of a list. BEYOND are of the items given, right or wrong.
RANKED = ("ndcg", "recall", "map", "precision", "hit")
BEYOND = ("coverage", "novelty")
MRR = "mrr"


@dataclass(frozen=True, eq=False)
class RankTable:
    """One row for each query or user, measured at C cuts: scores [n, 5 C + 1], bits of novelty [n, C], the first items' numbers.

    ``items`` is (n, last cut), -1 where a list is shorter; ``catalogue`` is how many items there are.
    """

    scores: Floats
    bits: Floats
    items: NDArray[np.int64]
    catalogue: int
    cuts: tuple[int, ...]

    @classmethod
    def of(
        cls, targets: Sequence[Mapping[str, float]], predictions: Sequence[Prediction], labels: Sequence[str]
    ) -> RankTable:
        cuts = cuts_of(min((int(p.measured.get(LISTED, SHORTEST)) for p in predictions), default=SHORTEST))
        numbers: dict[str, int] = {item: n for n, item in enumerate(labels)}
        given = [[item for item, _ in prediction.items or ()] for prediction in predictions]
        items, names = np.full((len(targets), cuts[-1]), -1, dtype=np.int64), [novelty_bits(cut) for cut in cuts]
        bits = [[float(prediction.measured.get(name, np.nan)) for name in names] for prediction in predictions]
        for row, some in zip(items, given, strict=True):
            found = [numbers.setdefault(item, len(numbers)) for item in some[: cuts[-1]]]
            row[: len(found)] = found
        return cls(
            scores_of(targets, given, cuts),
            np.array(bits, dtype=np.float64).reshape(len(targets), len(cuts)),
            items,
            len(numbers),
            cuts,
        )

    @cached_property
    def names(self) -> tuple[str, ...]:
        return names_at(self.cuts)

    @property
    def size(self) -> int:
        return len(self.scores)

    @property
    def rank_cost(self) -> int:
        """Zero: no metric of lists looks at all pairs of rows."""
        return 0

    @cached_property
    def _counts(self) -> Floats:
        """How many items stand before each cut, [n, C]."""
        there = np.cumsum(self.items >= 0, axis=1)
        return there[:, [cut - 1 for cut in self.cuts]].astype(np.float64)

    def measure(self, weights: Floats, *, ranks: bool = True) -> Floats:
        """Return the metrics [r, len(names)] for row weights [r, n]; NaN where undefined.

        Coverage is of the rows as they are: a resample holds fewer different ones, so its coverage says nothing.
        """
        del ranks
        with np.errstate(divide="ignore", invalid="ignore"):
            means = (weights @ self.scores) / weights.sum(1, keepdims=True)
            novelty = (weights @ self.bits) / (weights @ self._counts)
        whole = (weights == 1).all(1) & (self.catalogue > 0)
        shown = [len(np.unique(first[first >= 0])) for first in (self.items[:, :cut] for cut in self.cuts)]
        coverage = np.where(whole[:, None], np.array(shown) / max(1, self.catalogue), np.nan)
        result = np.hstack([means, coverage, novelty])
        result[~np.isfinite(result)] = np.nan
        return result

    def counted(self, metric: str) -> NDArray[np.bool_]:
        """Return which rows [n] a metric looks at: all."""
        return np.ones(self.size, dtype=bool)


def names_at(cuts: Sequence[int]) -> tuple[str, ...]:
    """Return the names of all metrics at these cuts, in the order of :class:`RankTable`'s columns."""
    at = {kind: tuple(f"{kind}@{cut}" for cut in cuts) for kind in (*RANKED, *BEYOND)}
    return (*(name for kind in RANKED for name in at[kind]), MRR, *(name for kind in BEYOND for name in at[kind]))


def unreached(metric: str, k: int) -> int | None:
    """Return the cut of a metric that lists of ``k`` items do not reach; None where they do, or the metric has none."""
    _, at, cut = metric.rpartition("@")
    return int(cut) if at and cut.isdecimal() and int(cut) in CUTS and int(cut) not in cuts_of(k) else None


def scores_of(wanted: Sequence[Mapping[str, float]], given: Sequence[Sequence[str]], cuts: Sequence[int]) -> Floats:
    """Return RANKED of lists at each of their first ``cuts`` items, one kind after the other, and their MRR [n, 5 C + 1]; NaN where nothing is right.

    NDCG as in :func:`luthier.base.ranks.ndcg`. Recall is the share of all right items that are among the first k; precision divides by k, however short the list
    is; average precision by the right items that could stand among k. MRR looks at the list as far as it goes.
    """
    last = np.array(cuts) - 1
    gains = _padded([[max(0.0, row.get(item, 0.0)) for item in some] for row, some in zip(wanted, given, strict=True)], cuts[-1])
    best = _padded([sorted((gain for gain in row.values() if gain > 0), reverse=True) for row in wanted], cuts[-1])
    right = (best > 0).sum(1, keepdims=True)  # as many as there are, and not only those that a list has room for
    ranks = np.arange(1, gains.shape[1] + 1)
    hits = np.cumsum(gains > 0, axis=1)
    precisions = np.cumsum(np.where(gains > 0, hits / ranks, 0.0), axis=1)[:, last]
    with np.errstate(divide="ignore", invalid="ignore"):
        ndcg = np.cumsum(gains / np.log2(ranks + 1), axis=1)[:, last] / np.cumsum(best / np.log2(np.arange(2, best.shape[1] + 2)), axis=1)[:, last]
        recall, average = hits[:, last] / right, precisions / np.minimum(cuts, right)
    first = (gains > 0).argmax(1)
    mrr = np.where(hits[:, -1:] > 0, 1.0 / (first[:, None] + 1), 0.0)
    found = np.hstack([ndcg, recall, average, hits[:, last] / np.array(cuts), hits[:, last] > 0, mrr])
    return np.asarray(np.where(right > 0, found, np.nan), dtype=np.float64)


def _padded(rows: Sequence[Sequence[float]], least: int) -> Floats:
    """Return rows of numbers as one array with zeros behind them, ``least`` columns or more."""
    found = np.zeros((len(rows), max([least, *map(len, rows)])))
    for line, row in zip(found, rows, strict=True):
        line[: len(row)] = row
    return found


def _words(cut: int) -> dict[str, str]:
    first = f"the first {cut}"
    said = {
        "ndcg": f"how high the right items stand among {first}: 1 is the best possible order",
        "recall": f"share of the right items that are among {first}",
        "map": f"mean precision at the places of the right items among {first}",
        "precision": f"share of {first} that are right",
        "hit": f"share of queries or users with a right item among {first}",
        "coverage": f"share of all items that stand among anybody's first {cut}",
        "novelty": f"how rare {first} items are, in bits: an item that one of eight chose has 3",
    }
    if cut == 1:
        right = "share of queries or users whose first item is right"
        said |= {
            "ndcg": "gain of the first item beside the best that could stand there: 1 is no better one",
            "recall": "share of the right items that stand first",
            "map": right,
            "precision": right,
            "hit": right,
            "coverage": "share of all items that stand first for anybody",
            "novelty": "how rare the first items are, in bits: an item that one of eight chose has 3",
        }
    return {f"{kind}@{cut}": words for kind, words in said.items()}


_OF_ITEMS = frozenset(name for name in names_at(CUTS) if name.startswith(BEYOND))

FAMILY = Family(
    table=RankTable.of,
    default="ndcg@10",
    overall=names_at(CUTS),
    shown=("ndcg@10", "recall@10", "mrr", "coverage@10"),
    words={
        "mrr": "one over the place of the first right item, 0 where the list has none",
        **{name: words for cut in CUTS for name, words in _words(cut).items()},
    },
    neither_is_better=_OF_ITEMS,
    # Without an interval, of coverage: see RankTable.measure.
    unbounded=_OF_ITEMS,
)

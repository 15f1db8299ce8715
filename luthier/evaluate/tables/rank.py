"""Ranked rows: where the items that are right for a query or a user stand in the list given for it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from luthier.base.ranks import NOVELTY_BITS, NOVELTY_ITEMS, ndcg
from luthier.base.records import Prediction
from luthier.evaluate.tables.common import Family, Floats

K = 10
RANKED = ("ndcg@10", "recall@10", "mrr", "map@10", "precision@10", "hit@10")
BEYOND = ("coverage@10", "novelty@10")


@dataclass(frozen=True, eq=False)
class RankTable:
    """One row for each query or user: its scores [n, 6], its novelty [n, 2], and the numbers of its first items.

    ``items`` is (n, 10), -1 where a list is shorter; ``catalogue`` is how many items there are.
    """

    scores: Floats
    novelty: Floats
    items: NDArray[np.int64]
    catalogue: int

    names = (*RANKED, *BEYOND)

    @classmethod
    def of(
        cls, targets: Sequence[Mapping[str, float]], predictions: Sequence[Prediction], labels: Sequence[str]
    ) -> RankTable:
        numbers: dict[str, int] = {item: n for n, item in enumerate(labels)}
        scores, novelty, items = [], [], np.full((len(targets), K), -1, dtype=np.int64)
        for row, (wanted, prediction) in enumerate(zip(targets, predictions, strict=True)):
            given = [item for item, _ in prediction.items or ()]
            scores.append(scores_of(wanted, given))
            novelty.append([float(prediction.measured.get(name, 0.0)) for name in (NOVELTY_BITS, NOVELTY_ITEMS)])
            found = [numbers.setdefault(item, len(numbers)) for item in given[:K]]
            items[row, : len(found)] = found
        shape = (len(targets), len(RANKED))
        return cls(
            np.array(scores, dtype=np.float64).reshape(shape),
            np.array(novelty, dtype=np.float64).reshape(len(targets), 2),
            items,
            len(numbers),
        )

    @property
    def size(self) -> int:
        return len(self.scores)

    @property
    def rank_cost(self) -> int:
        """Zero: no metric of lists looks at all pairs of rows."""
        return 0

    def measure(self, weights: Floats, *, ranks: bool = True) -> Floats:
        """Return the metrics [r, len(names)] for row weights [r, n]; NaN where undefined.

        Coverage is of the rows as they are: a resample holds fewer different ones, so its coverage says nothing.
        """
        del ranks
        with np.errstate(divide="ignore", invalid="ignore"):
            means = (weights @ self.scores) / weights.sum(1, keepdims=True)
            bits = weights @ self.novelty
            novelty = bits[:, :1] / bits[:, 1:]
        whole = (weights == 1).all(1)
        shown = np.unique(self.items[self.items >= 0])
        coverage = np.where(whole & (self.catalogue > 0), len(shown) / max(1, self.catalogue), np.nan)
        result = np.hstack([means, coverage[:, None], novelty])
        result[~np.isfinite(result)] = np.nan
        return result

    def counted(self, metric: str) -> NDArray[np.bool_]:
        """Return which rows [n] a metric looks at: all."""
        return np.ones(self.size, dtype=bool)


def scores_of(wanted: Mapping[str, float], given: Sequence[str]) -> list[float]:
    """Return RANKED of one list.

    NDCG as in :func:`luthier.base.ranks.ndcg`. Recall is the share of all right items that are among the first 10; precision divides by 10, however short the list
    is; average precision by the right items that could stand among 10. MRR looks at the list as far as it goes.
    """
    right = {item: gain for item, gain in wanted.items() if gain > 0}
    if not right:
        return [float("nan")] * len(RANKED)
    ranks = np.array([rank for rank, item in enumerate(given[:K], 1) if item in right], dtype=np.int64)
    precisions = np.arange(1, len(ranks) + 1) / ranks
    first = next((rank for rank, item in enumerate(given, 1) if item in right), 0)
    return [
        ndcg(right, given, k=K),
        len(ranks) / len(right),
        1 / first if first else 0.0,
        float(precisions.sum() / min(K, len(right))),
        len(ranks) / K,
        float(bool(len(ranks))),
    ]


FAMILY = Family(
    table=RankTable.of,
    default="ndcg@10",
    overall=(*RANKED, *BEYOND),
    shown=("ndcg@10", "recall@10", "mrr", "coverage@10"),
    words={
        "ndcg@10": "how high the right items stand among the first 10: 1 is the best possible order",
        "recall@10": "share of the right items that are among the first 10",
        "mrr": "one over the place of the first right item, 0 where the list has none",
        "map@10": "mean precision at the places of the right items among the first 10",
        "precision@10": "share of the first 10 that are right",
        "hit@10": "share of queries or users with a right item among the first 10",
        "coverage@10": "share of all items that stand among anybody's first 10",
        "novelty@10": "how rare the items given are, in bits: an item that one of eight chose has 3",
    },
    neither_is_better=frozenset({"coverage@10", "novelty@10"}),
    # Without an interval: see RankTable.measure.
    unbounded=frozenset({"novelty@10", "coverage@10"}),
)

"""Scored rows: quadratic weighted kappa and exact agreement after rounding, errors, correlations; by trait and their mean."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from luthier.base.records import Prediction
from luthier.base.scales import step_of
from luthier.evaluate.tables.common import Family, Floats, mean_of_defined

# In the order in which a report shows them from the right.
MEASURES = ("bias", "exact", "adjacent", "spearman", "pearson", "mae", "rmse", "qwk")


@dataclass(frozen=True, eq=False)
class GradeTable:
    """Scores wanted and given [n, T], NaN where nobody judged; one column a trait."""

    traits: tuple[str, ...]
    target: Floats
    given: Floats

    @classmethod
    def of(
        cls, targets: Sequence[Mapping[str, float]], predictions: Sequence[Prediction], labels: Sequence[str]
    ) -> GradeTable:
        traits = tuple(labels) or tuple(sorted({trait for target in targets for trait in target}))
        wanted = [[float(target.get(trait, np.nan)) for trait in traits] for target in targets]
        given = [[float((p.grades or {}).get(trait, np.nan)) for trait in traits] for p in predictions]
        shape = (len(targets), len(traits))
        return cls(traits, np.array(wanted).reshape(shape), np.array(given).reshape(shape))

    @property
    def size(self) -> int:
        return len(self.target)

    @cached_property
    def names(self) -> tuple[str, ...]:
        return (*MEASURES, *(f"{kind}[{trait}]" for kind in MEASURES for trait in self.traits))

    @cached_property
    def judged(self) -> NDArray[np.bool_]:
        """Which scores [n, T] can be compared."""
        return np.asarray(~np.isnan(self.target) & ~np.isnan(self.given))

    @cached_property
    def steps(self) -> tuple[float, ...]:
        """The step of each trait's scale, as the wanted scores show it: all models are rounded alike."""
        return tuple(step_of(column[~np.isnan(column)].tolist()) for column in self.target.T)

    def rounded(self, trait: int) -> tuple[Floats, Floats]:
        """Return the judged scores of a trait, wanted and given, in whole steps above the lowest wanted one."""
        rows = self.judged[:, trait]
        wanted, given = self.target[rows, trait], self.given[rows, trait]
        lowest = wanted.min() if len(wanted) else 0.0
        return tuple(np.floor((part - lowest) / self.steps[trait] + 0.5) for part in (wanted, given))

    def measure(self, weights: Floats, *, ranks: bool = True) -> Floats:
        """Return the metrics [r, len(names)] for row weights [r, n]; NaN where undefined, Spearman without ``ranks``.

        A metric of all traits is the mean of the traits' own; for ``rmse`` that is the mean columnwise error (MCRMSE).
        """
        by_trait = np.stack([self._trait(k, weights, ranks) for k in range(len(self.traits))])  # T, r, 8
        with np.errstate(invalid="ignore"):
            overall = mean_of_defined(by_trait.transpose(1, 2, 0))
        return np.hstack([overall, by_trait.transpose(1, 2, 0).reshape(len(weights), -1)])

    def _trait(self, trait: int, weights: Floats, ranks: bool) -> Floats:
        rows = self.judged[:, trait]
        wanted, given, drawn = self.target[rows, trait], self.given[rows, trait], weights[:, rows]
        found = np.full((len(weights), len(MEASURES)), np.nan)
        if not len(wanted):
            return found
        one, two = self.rounded(trait)
        apart = np.abs(one - two)
        columns = np.stack([given - wanted, apart == 0, apart <= 1, np.abs(wanted - given), (wanted - given) ** 2], axis=1)
        with np.errstate(divide="ignore", invalid="ignore"):
            bias, exact, adjacent, mae, squares = ((drawn @ columns) / drawn.sum(1, keepdims=True)).T
            spearman = spearman_of(wanted, given, drawn) if ranks else np.full(len(weights), np.nan)
            pearson = _correlation(wanted, given, drawn)
            kappa = quadratic_kappa(one, two, drawn)
        return np.stack([bias, exact, adjacent, spearman, pearson, mae, np.sqrt(squares), kappa], axis=1)

    @property
    def rank_cost(self) -> int:
        """Elements that one resample of Spearman's correlation has to walk."""
        return 4 * self.target.size

    def counted(self, metric: str) -> NDArray[np.bool_]:
        """Return which rows [n] a metric looks at."""
        _, _, trait = metric.partition("[")
        return self.judged[:, self.traits.index(trait[:-1])] if trait else np.asarray(self.judged.any(1))


def quadratic_kappa(one: Floats, two: Floats, weights: Floats) -> Floats:
    """Return Cohen's kappa with quadratic weights [r] (Cohen 1968).

    What two independent judges would differ by needs no table: it is the sum of both second moments less twice the
    product of the means. NaN where both give one and the same score to every row.
    """
    total, first, second = weights.sum(1), weights @ one, weights @ two
    by_chance = weights @ one**2 + weights @ two**2 - 2 * first * second / total
    return np.where(by_chance > 0, 1 - (weights @ (one - two) ** 2) / by_chance, np.nan)


def _correlation(one: Floats, two: Floats, weights: Floats) -> Floats:
    """Return Pearson's correlation [r] of one pair of columns; NaN where one of them does not vary."""
    one, two = one - one.mean(), two - two.mean()
    columns = np.stack([one, two, one * two, one * one, two * two], axis=1)
    first, second, product, square, other = ((weights @ columns) / weights.sum(1, keepdims=True)).T
    return _of_moments(product - first * second, square - first**2, other - second**2)


def spearman_of(one: Floats, two: Floats, weights: Floats) -> Floats:
    """Return Spearman's correlation [r]: Pearson's of the ranks among the rows drawn, ties at their middle."""
    first, second = _ranks(one, weights), _ranks(two, weights)
    total = weights.sum(1, keepdims=True)
    first -= (weights * first).sum(1, keepdims=True) / total
    second -= (weights * second).sum(1, keepdims=True) / total
    return _of_moments(*((weights * part).sum(1) for part in (first * second, first**2, second**2)))


def _ranks(values: Floats, weights: Floats) -> Floats:
    """Return the rank [r, n] of each row among rows drawn ``weights`` times."""
    distinct, place = np.unique(values, return_inverse=True)
    counts = np.stack([np.bincount(place, row, len(distinct)) for row in weights])
    ranks: Floats = (np.cumsum(counts, axis=1) - counts / 2)[:, place]
    return ranks


def _of_moments(product: Floats, square: Floats, other: Floats) -> Floats:
    varies = (square > 1e-12) & (other > 1e-12)
    return np.where(varies, product / np.sqrt(np.where(varies, square * other, 1.0)), np.nan)


FAMILY = Family(
    table=GradeTable.of,
    default="qwk",
    overall=MEASURES,
    by_label=MEASURES,
    shown=("qwk", "rmse", "spearman", "adjacent"),
    words={
        "qwk": "agreement with the human scores, large differences counting more: 0 is chance, 1 is perfect",
        "exact": "share of scores that are the human one after rounding to the scale",
        "adjacent": "share of scores at most one step from the human one",
        "rmse": "size of a usual error in points, large ones counting more: 0 is perfect",
        "mae": "mean error in points: 0 is perfect",
        "bias": "how much too high the scores are on average, in points; below 0 they are too low",
        "pearson": "how straight a line given and human scores make: 1 is perfect",
        "spearman": "whether texts come in the same order as by the human scores: 1 is perfect",
    },
    lower_is_better=frozenset({"rmse", "mae"}),
    neither_is_better=frozenset({"bias"}),
    unbounded=frozenset({"rmse", "mae", "bias", "qwk", "pearson", "spearman"}),
)

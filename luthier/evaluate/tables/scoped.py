"""Rows with one label or none of them: how well the two are told apart, beside all that is measured of single labels.

A row is out of scope where its label is none of the head's; it is called so where the answer is none of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from luthier.base.records import Prediction
from luthier.evaluate.tables.classify import FAMILY as LABELS
from luthier.evaluate.tables.classify import OUT_OF_SCOPE, ClassifyTable, of_probabilities
from luthier.evaluate.tables.common import Family, Floats, Table, tally


def table(targets: Sequence[str], predictions: Sequence[Prediction], labels: Sequence[str]) -> Table:
    """Return the rows as a table of labels; one that also tells scope where the model judged it of every row."""
    if predictions and all(p.unlike is not None for p in predictions):
        return ScopedTable.of(targets, predictions, labels)
    return ClassifyTable.of(targets, predictions, labels)


def own_answer(prediction: Prediction) -> Prediction:
    """Return the prediction with the label it would have without the choice of saying none."""
    return prediction if prediction.nearest is None else replace(prediction, label=prediction.nearest, nearest=None)


@dataclass(frozen=True, eq=False)
class ScopedTable:
    """``whole``: all rows, "none of these" being one more label. ``inner``: the rows in scope by the label that is likeliest.

    Probabilities are of the labels alone, so what is made of them (ROC-AUC, calibration) is of the ``inner`` rows.
    """

    whole: ClassifyTable
    inner: ClassifyTable
    outside: NDArray[np.bool_]
    declined: NDArray[np.bool_]
    unlike: Floats

    @classmethod
    def of(cls, targets: Sequence[str], predictions: Sequence[Prediction], labels: Sequence[str]) -> ScopedTable:
        known = set(labels)
        outside = np.array([target not in known for target in targets], dtype=bool)
        inside: list[int] = np.flatnonzero(~outside).tolist()
        return cls(
            ClassifyTable.of(targets, [replace(p, scores=None) for p in predictions], labels),
            ClassifyTable.of([targets[i] for i in inside], [own_answer(predictions[i]) for i in inside], labels),
            outside,
            np.array([p.label not in known for p in predictions], dtype=bool),
            np.array([p.unlike for p in predictions], dtype=np.float64),
        )

    @property
    def size(self) -> int:
        return self.whole.size

    @cached_property
    def names(self) -> tuple[str, ...]:
        return (*self.whole.names[: self._overall], *OUT_OF_SCOPE, *self.whole.names[self._overall :])

    @cached_property
    def _overall(self) -> int:
        """How many metrics of all rows come before those of each label."""
        return next(i for i, name in enumerate(self.whole.names) if "[" in name)

    @cached_property
    def _scored(self) -> dict[str, int]:
        """What is made of probabilities, and so of the ``inner`` rows, with its place among the inner metrics."""
        there = set(self.whole.names)
        return {name: i for i, name in enumerate(self.inner.names) if name in there and of_probabilities(name)}

    @property
    def rank_cost(self) -> int:
        """Elements that one resample of the ranked metrics has to walk."""
        return self.inner.rank_cost + self.size

    def measure(self, weights: Floats, *, ranks: bool = True) -> Floats:
        """Return the metrics [r, len(names)] for row weights [r, n]; NaN where undefined."""
        found = self.whole.measure(weights, ranks=ranks)
        if self.inner.size:
            own = self.inner.measure(weights[:, ~self.outside], ranks=ranks)
            found[:, [self.whole.names.index(name) for name in self._scored]] = own[:, list(self._scored.values())]
        right = self.whole.target == self.whole.predicted
        with np.errstate(divide="ignore", invalid="ignore"):
            away, said, both = (weights @ x.astype(float) for x in (self.outside, self.declined, self.outside & self.declined))
            inner = weights @ (~self.outside).astype(float)
            kept, hit = (weights @ x.astype(float) for x in (~self.outside & ~self.declined, ~self.outside & right))
            precision = np.where(said > 0, both / said, np.where(away > 0, 0.0, np.nan))
            shares = np.stack([self._auroc(weights), both / away, precision, hit / inner, kept / inner], 1)
        return np.hstack([found[:, : self._overall], shares, found[:, self._overall :]])

    @cached_property
    def _places(self) -> tuple[NDArray[np.int32], int]:
        steps = np.unique(self.unlike[self.outside])
        place = np.searchsorted(steps, self.unlike, "left") + np.searchsorted(steps, self.unlike, "right")
        return place.astype(np.int32), 2 * len(steps) + 1

    def _auroc(self, weights: Floats) -> Floats:
        """Return the weighted share of pairs in which the row out of scope is the more unlike; ties one half."""
        place, count = self._places
        ones = tally(place[self.outside], weights[:, self.outside], count)
        zeros = tally(place[~self.outside], weights[:, ~self.outside], count)
        pairs = ones.sum(1) * zeros.sum(1)
        below = np.cumsum(zeros, axis=1) - zeros / 2
        area: Floats = np.where(pairs > 0, (ones * below).sum(1) / pairs, np.nan)
        return area

    def counted(self, metric: str) -> NDArray[np.bool_]:
        """Return which rows [n] the denominator of a metric is made of."""
        if metric in ("in_scope_accuracy", "in_scope_kept"):
            return ~self.outside
        if metric in ("oos_auroc", "oos_recall"):
            return self.outside
        if metric == "oos_precision":
            return self.declined
        if metric in self._scored:
            counted = ~self.outside
            counted[counted] = self.inner.counted(metric)
            return counted
        return self.whole.counted(metric)


FAMILY: Family = replace(LABELS, table=table)

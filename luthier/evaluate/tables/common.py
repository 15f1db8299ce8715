"""Rows as arrays, so that a metric is one formula over row weights.

The value of a metric is the formula with every weight one; a bootstrap resample is the same formula with the number of
times each row was drawn. So a value and its interval can never come from two different definitions.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields, is_dataclass, replace
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from luthier.base.records import Prediction

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

ECE_BINS = 15


class Table(Protocol):
    """What intervals and comparisons need of rows: how many, which metrics, and their values for given row weights."""

    @property
    def size(self) -> int: ...
    @property
    def names(self) -> tuple[str, ...]: ...
    @property
    def rank_cost(self) -> int: ...
    def measure(self, weights: Floats, *, ranks: bool = True) -> Floats: ...
    def counted(self, metric: str) -> NDArray[np.bool_]: ...


class RowSums:
    """What tables share whose metrics are quotients of per-row sums [n, F]: nothing in them looks at all pairs of rows."""

    sums: Floats

    @property
    def size(self) -> int:
        return len(self.sums)

    @property
    def rank_cost(self) -> int:
        """Zero: no metric here needs ranks."""
        return 0


@dataclass(frozen=True, slots=True)
class Family:
    """What is measured for one objective.

    ``default`` stands for the run, and chooses the delivered weights unless ``chooses`` does; ``overall`` are all metrics of all rows, ``by_label`` those written
    ``metric[label]`` (a trait of a grade, too); ``shown`` come first in the terminal. ``words`` says of each what it means. ``measured`` need no written answer.
    """

    table: Callable[[Sequence[Any], Sequence[Prediction], Sequence[str]], Table]
    default: str
    overall: tuple[str, ...]
    shown: tuple[str, ...]
    words: Mapping[str, str]
    by_label: tuple[str, ...] = ()
    chooses: str = ""
    lower_is_better: frozenset[str] = field(default_factory=frozenset)
    neither_is_better: frozenset[str] = field(default_factory=frozenset)
    unbounded: frozenset[str] = field(default_factory=frozenset)
    measured: frozenset[str] = field(default_factory=frozenset)

    def names(self, labels: Sequence[str]) -> list[str]:
        """Return the names of all metrics, those of each label last."""
        return [*self.overall, *(f"{kind}[{label}]" for kind in self.by_label for label in labels)]


# Metrics whose value rests on the order of all rows, of a label or of all: computed where asked for, and on fewer resamples.
_RANKED = frozenset({"roc_auc", "map", "average_precision", "aurc", "oos_auroc", "spearman"})


def by_ranks(metric: str) -> bool:
    """Whether a metric is one of those that :meth:`Table.measure` leaves out without ``ranks``."""
    return metric.partition("[")[0] in _RANKED


def some_rows(table: Any, places: Ints) -> Any | None:
    """Return the table of some rows, made of the arrays of ``table``; None where its fields are not one entry a row."""
    values = {field.name: getattr(table, field.name) for field in fields(table)} if is_dataclass(table) else {}
    arrays = {name: value for name, value in values.items() if isinstance(value, np.ndarray)}
    plain = all(value is None or isinstance(value, np.ndarray | tuple | int) for value in values.values())
    if not arrays or not plain or any(len(value) != table.size for value in arrays.values()):
        return None
    return replace(table, **{name: value[places] for name, value in arrays.items()})


def tally(codes: NDArray[np.integer], weights: Floats, size: int) -> Floats:
    """Sum weights [r, m] by code [m] into [r, size]."""
    places = codes.astype(np.intp, copy=False)
    return np.stack([np.bincount(places, row, size) for row in weights]).astype(np.float64, copy=False)


def fewer(marked: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return the rows [n] that are marked, or those that are not where these are fewer."""
    return ~marked if 2 * int(marked.sum()) > len(marked) else marked


def mean_of_defined(values: Floats) -> Floats:
    """Mean over the last axis of what is not NaN; NaN where nothing is."""
    there = ~np.isnan(values)
    means: Floats = np.where(there, values, 0.0).sum(-1) / there.sum(-1)
    return means


def confidence_bins(confidence: Floats, bins: int) -> Ints:
    """Return the bin [n] of each confidence among equal bins (0, 1/b], (1/b, 2/b] ...; 0 falls into the first."""
    return np.clip(np.ceil(confidence * bins).astype(np.int64) - 1, 0, bins - 1)

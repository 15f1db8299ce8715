"""95 % intervals by the percentile bootstrap: over rows, or over groups where rows of a group belong together."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

import numpy as np

from luthier.base.records import Prediction
from luthier.base.seeds import derive_seed
from luthier.evaluate.metrics import UNBOUNDED, split_name
from luthier.evaluate.tables import Floats, Ints, Table, tabulate
from luthier.evaluate.tables.common import by_ranks

Interval = dict[str, float | None]
T = TypeVar("T")
R = TypeVar("R")

LEVEL = 0.95
Z_95 = 1.959964
MIN_DEFINED = 20
MIN_RANK_RESAMPLES = 100
# Fewer draws than this tell the spread, not the tails: of so many rows the metric is as good as normal.
_TAILS = 200
_MANY = 20_000  # rows from which a second thread is worth its start
_CHUNK = 1_500_000  # weights in memory at once: 12 MB, and a few arrays of that size beside them
_RANK_BUDGET = 1_000_000_000  # elements that all resamples of ROC-AUC may walk: some three seconds


def evaluate_with_intervals(
    objective: str,
    targets: Sequence[str],
    predictions: Sequence[Prediction],
    labels: Sequence[str],
    *,
    groups: Sequence[str | None] | None = None,
    resamples: int = 1000,
    seed: int = 0,
) -> dict[str, Interval]:
    """Return ``{metric: {"value", "low", "high"}}`` for every metric of the objective, None where undefined.

    Percentile bootstrap (Efron & Tibshirani 1993, ch. 13): by row, or by whole groups where ``groups`` says which
    rows come from one customer or document, because such rows are not independent (a None is a group of its own).
    Where every row agrees the bootstrap cannot vary and would claim certainty; there the exact bound of Clopper &
    Pearson (1934) for 0 of n or n of n stands instead. What rests on ranks uses fewer resamples of large tables, never fewer
    than 100; where that is too few for the tails, the interval is the normal one of their spread.
    """
    return of_table(tabulate(objective, targets, predictions, labels), groups=groups, resamples=resamples, seed=seed)


def of_table(
    table: Table, *, groups: Sequence[str | None] | None = None, resamples: int = 1000, seed: int = 0
) -> dict[str, Interval]:
    """Return what :func:`evaluate_with_intervals` does of rows that are a table already."""
    units = unit_codes(groups, table.size)
    result: dict[str, Interval] = {}
    if table.size == 0:
        return {name: {"value": None, "low": None, "high": None} for name in table.names}
    values = table.measure(np.ones((1, table.size)))[0]
    drawn = bootstrap([table], units, resamples=resamples, seed=seed)[0]
    for column, name in enumerate(table.names):
        result[name] = _interval(table, name, values[column], drawn[:, column], units)
    return result


def interval_of(table: Table, metric: str, units: Ints, *, resamples: int, seed: int = 0) -> Interval:
    """Return one metric of a table with its interval, by draws of ``units`` [n]; what rests on ranks is drawn only if asked for."""
    if table.size == 0 or metric not in table.names:
        return {"value": None, "low": None, "high": None}
    column, ranked = table.names.index(metric), by_ranks(metric)
    value = table.measure(np.ones((1, table.size)), ranks=ranked)[0, column]
    drawn = [table.measure(w, ranks=ranked)[:, column] for w in resample_weights(units, resamples=resamples, seed=seed)]
    return _interval(table, metric, value, np.concatenate(drawn), units)


def _interval(table: Table, name: str, value: float, drawn: Floats, units: Ints) -> Interval:
    if np.isnan(value):
        return {"value": None, "low": None, "high": None}
    low, high = percentile_interval(drawn)
    if low is not None and np.sum(~np.isnan(drawn)) < _TAILS and table.size >= _MANY:
        reach = Z_95 * float(np.nanstd(drawn, ddof=1))
        low, high = float(value) - reach, min(float(value) + reach, 1.0)  # areas and correlations end at 1
    if value in (0.0, 1.0) and split_name(name)[0] not in (*UNBOUNDED, "ece"):
        low, high = _all_alike(value, len(np.unique(units[table.counted(name)])))
    return {"value": float(value), "low": low, "high": high}


def _all_alike(share: float, count: int) -> tuple[float, float]:
    """Return the bound of Clopper & Pearson for 0 of ``count`` or all of them: draws of what is all alike would claim certainty."""
    reach = ((1 - LEVEL) / 2) ** (1 / count) if count else 0.0
    return (reach, 1.0) if share == 1.0 else (0.0, 1.0 - reach)


def mean_of(values: Sequence[float], groups: Sequence[str | None] | None, *, share: bool = False, resamples: int = 1000) -> Interval:
    """Return the mean of one number a row with its 95 % interval, drawn by groups, and how many ``units`` that are independent it is made of.

    Of a ``share`` that is 0 or 1 throughout the interval is its exact bound.
    """
    if not len(values):
        return {"value": None, "low": None, "high": None}
    column, units = np.asarray(values, dtype=np.float64), unit_codes(groups, len(values))
    mean, count = float(column.mean()), int(units.max()) + 1
    if share and mean in (0.0, 1.0):
        low, high = _all_alike(mean, count)
        return {"value": mean, "low": low, "high": high, "units": count}
    drawn = np.concatenate([w @ column / w.sum(1) for w in resample_weights(units, resamples=resamples, seed=0)])
    return {**dict(zip(("value", "low", "high"), (mean, *percentile_interval(drawn)), strict=True)), "units": count}


def share_of(true: Sequence[bool], groups: Sequence[str | None]) -> Interval:
    """Return the share of what is true with its 95 % interval, and its ``units`` as :func:`mean_of` does.

    Wilson's interval over rows, drawn over groups where rows come in groups; the exact bound where all or none are true, so that an
    interval never promises more than :mod:`luthier.evaluate.verdict` takes a perfect score to show.
    """
    right = int(np.sum(true))
    if right in (0, len(true)) or len(np.unique(unit_codes(groups, len(true)))) < len(true):
        return mean_of(np.asarray(true, dtype=np.float64).tolist(), groups, share=True)
    from scipy.stats import binomtest

    span = binomtest(right, len(true)).proportion_ci(method="wilson")
    return {"value": float(np.mean(true)), "low": float(span.low), "high": float(span.high), "units": len(true)}


def percentile_interval(drawn: Floats) -> tuple[float | None, float | None]:
    """Return the 2.5th and 97.5th percentile of what the resamples gave; None where too few of them define it."""
    defined = drawn[~np.isnan(drawn)]
    if len(defined) < MIN_DEFINED:
        return None, None
    low, high = np.quantile(defined, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return float(low), float(high)


def bootstrap(tables: Sequence[Table], units: Ints, *, resamples: int, seed: int, ranks: bool = True) -> list[Floats]:
    """Return for each table its metrics [resamples, len(names)], all on the same draws: two can be compared.

    Without ``ranks`` what rests on them, which takes most of the time, is left out (NaN).
    """
    ranked, done = rank_resamples(tables, resamples) if ranks else 0, 0

    def tasks() -> Iterator[tuple[Floats, bool]]:
        nonlocal done
        for weights in resample_weights(units, resamples=resamples, seed=seed, cut=ranked):
            yield weights, done < ranked
            done += len(weights)

    found = side_by_side(lambda task: [table.measure(task[0], ranks=task[1]) for table in tables], tasks(), size=len(units))
    return [np.concatenate(parts) for parts in zip(*found, strict=True)]


def side_by_side(act: Callable[[T], R], tasks: Iterable[T], *, size: int) -> list[R]:
    """Return what ``act`` gives for each task, in their order: a thread a core where rows are many, for numpy lets threads run.

    No more tasks are made at a time than there are threads, so that memory does not grow with their number.
    """
    threads = min(4, os.cpu_count() or 1) if size >= _MANY else 1
    if threads == 1:
        return [act(task) for task in tasks]
    found: list[R] = []
    with ThreadPoolExecutor(threads) as pool:
        waiting: deque[Future[R]] = deque()
        for task in tasks:
            waiting.append(pool.submit(act, task))
            if len(waiting) > threads:
                found.append(waiting.popleft().result())
        found += [one.result() for one in waiting]
    return found


def rank_resamples(tables: Sequence[Table], resamples: int) -> int:
    """Return how many of the resamples compute ROC-AUC, whose cost grows with rows times labels."""
    cost = sum(table.rank_cost for table in tables)
    return min(resamples, max(MIN_RANK_RESAMPLES, _RANK_BUDGET // max(cost, 1)))


def resample_weights(units: Ints, *, resamples: int, seed: int, cut: int | None = None) -> Iterator[Floats]:
    """Yield how often each row was drawn, [r, n] at a time; units come with replacement; a chunk ends at ``cut``."""
    rng = np.random.default_rng(derive_seed(seed, "bootstrap"))
    count, done = int(units.max()) + 1, 0
    chunk = max(1, _CHUNK // max(len(units), 1))
    one_each = np.array_equal(units, np.arange(count))
    while done < resamples:
        size = min(chunk, resamples - done, cut - done if cut is not None and done < cut else resamples)
        picks = rng.integers(0, count, size=(size, count)) + count * np.arange(size)[:, None]
        times = np.bincount(picks.ravel(), minlength=size * count).reshape(size, count).astype(np.float64)
        yield times if one_each else times[:, units]
        done += size


def unit_codes(groups: Sequence[str | None] | None, size: int) -> Ints:
    """Return a code per row, 0 .. units-1: rows of one group share it; without groups, or for None, each has its own.

    Raises ValueError where the groups are not one per row.
    """
    if groups is None:
        return np.arange(size)
    if len(groups) != size:
        raise ValueError(f"{len(groups)} groups for {size} rows")
    codes: dict[object, int] = {}
    keys = (("row", i) if group is None else ("group", group) for i, group in enumerate(groups))
    return np.array([codes.setdefault(key, len(codes)) for key in keys], dtype=np.int64)

"""The model on parts of the test rows: each value of each column beside the rest, and the parts where it is worst.

Whether a part is worse is decided row by row: a test of its rows' losses against those of all other rows, corrected for how
many parts were looked at (Benjamini & Hochberg 1995, https://doi.org/10.1111/j.2517-6161.1995.tb02031.x). Rows of one group
count as one.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from luthier.base.records import Example, Prediction
from luthier.evaluate.intervals import interval_of, side_by_side
from luthier.evaluate.rowwise import rowwise
from luthier.evaluate.slices.columns import FEWEST, Column
from luthier.evaluate.tables.common import some_rows

if TYPE_CHECKING:
    # It imports the columns beside this.
    from luthier.evaluate.answered import Answered

_RESAMPLES, _WORK = 300, 1_000_000
_WORST = 8
# False alarms among what is called worse: at most so many in expectation.
_ALARMS = 0.05
# Pairs of columns are looked at where both have few values; a part of two must be so much worse than either of its parts.
_PAIR_VALUES, _BEYOND = 8, 1.25
Mask = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Part:
    """Rows with certain values: ``name`` is how a bar calls them."""

    values: tuple[tuple[str, str], ...]
    rows: Mask

    @property
    def name(self) -> str:
        return ", ".join(f"{column}={value}" for column, value in self.values)


def measure(answered: Answered, *, metric: str, columns: str | Sequence[str], seed: int = 0) -> dict[str, Any] | None:
    """Return the metric of every part with its interval, whether it is worse than the rest, and the worst parts of all.

    None where there is nothing to tell rows apart by.
    """
    told = answered.columns.chosen(columns)
    parts = [part for column, values in told.items() for part in parts_of(column, values)]
    if not parts:
        return None
    losses = losses_of(answered.rows, answered.predictions)
    looked_at = [*parts, *_pairs(told, parts, losses)]
    chances = [_chance(part.rows, losses, answered.units) for part in looked_at]
    sure = benjamini_hochberg([p if p is not None else 1.0 for p, _ in chances])
    measured = side_by_side(lambda part: _measured(answered, part.rows, metric, seed), looked_at, size=len(answered.rows))
    found: list[dict[str, Any]] = []
    for part, (_, more), adjusted, figures in zip(looked_at, chances, sure, measured, strict=True):
        found.append({
            "slice": part.name, "rows": int(part.rows.sum()), **figures, "loss_more": more,
            "p": round(adjusted, 5), "worse": bool(more is not None and more > 0 and adjusted <= _ALARMS),
        })  # fmt: skip
    worst = sorted((f for f in found if f["worse"]), key=lambda f: -f["loss_more"] * f["rows"] ** 0.5)[:_WORST]
    return {"metric": metric, "columns": list(told), "tested": len(looked_at), "found": found[: len(parts)], "worst": worst}


def in_words(found: Mapping[str, Any]) -> list[str]:
    """Return a sentence on the worst parts, as far as they are surely worse."""
    worst = [one for one in found["worst"] if one["value"] is not None][:3]
    if not worst:
        return []
    listed = "; ".join(
        f"{one['slice']} ({one['rows']} rows): {one['value']:.3f}"
        + ("" if one["low"] is None else f" [{one['low']:.3f}, {one['high']:.3f}]") for one in worst
    )  # fmt: skip
    return [f"On some rows {found['metric']} is clearly worse than on the rest: {listed}."]


def parts_of(column: str, values: Column) -> list[Part]:
    """Return a part for each value that enough rows have."""
    there = np.array(values, dtype=object)
    counts = Counter(value for value in values if value is not None)
    return [Part(((column, v),), there == v) for v, n in sorted(counts.items()) if FEWEST <= n < len(values)]


def losses_of(rows: Sequence[Example], predictions: Sequence[Prediction]) -> NDArray[np.float64] | None:
    """Return a loss for each row, [n]: 1 for a wrong label, else what :func:`rowwise` says; None where not every row has one."""
    found = rowwise(rows, predictions)
    if found is None or len(found["loss"]) != len(rows):
        return None
    return 1.0 - np.array(found["right"], dtype=np.float64) if "right" in found else np.array(found["loss"])


def _chance(part: Mask, losses: NDArray[np.float64] | None, groups: NDArray[np.int64]) -> tuple[float | None, float | None]:
    """Return the two-sided p that a part's mean loss is that of the rest, and how much more it is.

    Welch's t test on the means of groups; Fisher's exact test where every group is one row and losses are 0 or 1.
    """
    if losses is None or part.all() or not part.any():
        return None, None
    more = float(losses[part].mean() - losses[~part].mean())
    from scipy.stats import fisher_exact, ttest_ind

    if np.isin(losses, (0.0, 1.0)).all() and len(np.unique(groups)) == len(groups):
        table = [[int(losses[side].sum()), int((1 - losses[side]).sum())] for side in (part, ~part)]
        return float(fisher_exact(table).pvalue), more
    inside, outside = (_means(losses[side], groups[side]) for side in (part, ~part))
    if min(len(inside), len(outside)) < 3 or (np.ptp(inside) == 0 and np.ptp(outside) == 0):
        return None, more
    return float(ttest_ind(inside, outside, equal_var=False).pvalue), more


def _means(values: NDArray[np.float64], groups: NDArray[np.int64]) -> NDArray[np.float64]:
    _, codes = np.unique(groups, return_inverse=True)
    return np.asarray(np.bincount(codes, values) / np.bincount(codes), dtype=np.float64)


def benjamini_hochberg(chances: Sequence[float]) -> list[float]:
    """Return adjusted p values: called true where at most a share q is, of these a share q is false in expectation."""
    order = np.argsort(chances)
    ranked = np.asarray(chances, dtype=np.float64)[order] * len(chances) / np.arange(1, len(chances) + 1)
    adjusted = np.minimum.accumulate(ranked[::-1])[::-1].clip(max=1.0)
    found = np.empty(len(chances))
    found[order] = adjusted
    return [float(p) for p in found]


def _pairs(
    told: Mapping[str, Column], parts: Sequence[Part], losses: NDArray[np.float64] | None
) -> list[Part]:
    """Return parts of two columns that are clearly worse than either of their halves."""
    if losses is None:
        return []
    few = {c for c, values in told.items() if len(set(values) - {None}) <= _PAIR_VALUES}
    mean, found = float(losses.mean()), []
    for one, two in itertools.combinations([p for p in parts if p.values[0][0] in few], 2):
        if one.values[0][0] == two.values[0][0]:
            continue
        rows = one.rows & two.rows
        if rows.sum() < max(2 * FEWEST, 0.01 * len(losses)):
            continue
        halves = max(float(losses[one.rows].mean()), float(losses[two.rows].mean()), mean)
        if float(losses[rows].mean()) > _BEYOND * halves:
            found.append(Part((*one.values, *two.values), rows))
    return found


def _measured(answered: Answered, part: Mask, metric: str, seed: int) -> dict[str, float | None]:
    places = np.flatnonzero(part)
    # Of many rows a few draws tell the width as well, and every part of every column is drawn.
    resamples = int(np.clip(_WORK // max(1, len(places)), 100, _RESAMPLES))
    table = some_rows(answered.table, places)
    units = np.unique(answered.units[places], return_inverse=True)[1]
    return dict(interval_of(answered.only(places.tolist()).table if table is None else table, metric, units,
                            resamples=resamples, seed=seed))  # fmt: skip

"""Batches cut by length: rows of like length together, so that padding costs almost nothing."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from luthier.base.seeds import derive_seed

# Rows are sorted by length within windows of so many; below this a whole epoch is one window.
_WINDOW = 65_536
# Rows of a label that stand together where rows are compared: each then has three to be drawn to.
_TOGETHER = 4


def epoch_batches(
    lengths: Sequence[int],
    *,
    batch: int,
    seed: int,
    epoch: int,
    draws: Sequence[float] | None = None,
    labels: Sequence[int | None] | None = None,
) -> list[list[int]]:
    """Return the optimiser steps of one epoch as lists of row numbers, every row once, or as often as ``draws`` says.

    Rows are shuffled, sorted by length (ties keep their random order), cut into batches, and the batches are shuffled.
    With ``labels``, rows are not sorted by length but dealt so that a row has others of its label in its batch.
    The last batch cut from a window may be smaller: no row is dropped, and none is repeated without ``draws``.
    """
    rng = np.random.default_rng(derive_seed(seed, "batches", epoch))
    order = rng.permutation(len(lengths))
    if draws is not None:
        order = rng.permutation(drawn(draws, order, rng))
    if labels is not None:
        order = _beside_their_like(order, labels, rng)
        return [order[i : i + batch].tolist() for i in range(0, len(order), batch)]
    sizes = np.asarray(lengths)
    batches: list[list[int]] = []
    for start in range(0, len(order), _WINDOW):
        window = order[start : start + _WINDOW]
        window = window[np.argsort(sizes[window], kind="stable")]
        batches += [window[i : i + batch].tolist() for i in range(0, len(window), batch)]
    return [batches[i] for i in rng.permutation(len(batches))]


def drawn(draws: Sequence[float], order: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return as many row numbers as there are rows, row r about ``draws[r]`` times: that rounded down or up.

    Systematic sampling: a comb with one random start is laid over the rows, each as wide as it is to be drawn. Rows with
    equal draws lie side by side, so what they are drawn together is right to within a row.
    """
    order = order[np.argsort(np.asarray(draws)[order], kind="stable")]
    ends = np.cumsum(np.asarray(draws, dtype=np.float64)[order])
    ends *= len(order) / ends[-1]
    return order[np.searchsorted(ends, np.arange(len(order)) + rng.random(), side="right").clip(max=len(order) - 1)]


def _beside_their_like(order: np.ndarray, labels: Sequence[int | None], rng: np.random.Generator) -> np.ndarray:
    """Return the rows in pieces of four of one label, the pieces shuffled; a rest of one row joins the piece before it."""
    by_label: dict[int | None, list[int]] = {}
    for row in order.tolist():
        by_label.setdefault(labels[row], []).append(row)
    pieces: list[list[int]] = []
    for rows in by_label.values():
        cut = [rows[i : i + _TOGETHER] for i in range(0, len(rows), _TOGETHER)]
        if len(cut) > 1 and len(cut[-1]) == 1:
            alone = cut.pop()
            cut[-1] += alone
        pieces += cut
    return np.asarray([row for i in rng.permutation(len(pieces)) for row in pieces[i]], dtype=order.dtype)


def padding_share(batches: Sequence[Sequence[int]], lengths: Sequence[int]) -> float:
    """Return the share of computed tokens that are padding."""
    real = sum(lengths[r] for rows in batches for r in rows)
    computed = sum(max(lengths[r] for r in rows) * len(rows) for rows in batches)
    return 1 - real / computed if computed else 0.0

"""Counts that stay small however many rows come: spreads of lengths, and histograms of them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

MAX_KEPT = 200_000
BARS = 40


class Spread:
    """Median, 95th percentile and histogram of whole numbers, from all of them or from an even sample.

    At most ``cap`` values are kept: when they are full, one of each two goes, and from then on half as many are taken.
    Number and largest value are exact always.
    """

    def __init__(self, *, cap: int = MAX_KEPT) -> None:
        self._cap = cap
        self._kept: list[np.ndarray] = []
        self._size = 0
        self._stride = 1
        self.seen = 0
        self.largest = 0
        self.largest_at = -1

    def add(self, values: Sequence[int] | np.ndarray) -> None:
        """Take the next values in their order."""
        values = np.asarray(values, dtype=np.int64)
        if not len(values):
            return
        at = int(values.argmax())
        if values[at] > self.largest or self.largest_at < 0:
            self.largest, self.largest_at = int(values[at]), self.seen + at
        order = np.arange(self.seen, self.seen + len(values))
        kept = values[order % self._stride == scatter(order // self._stride) % self._stride].astype(np.int32)
        self.seen += len(values)
        self._kept.append(kept)
        self._size += len(kept)
        while self._size > self._cap:
            whole = np.concatenate(self._kept)
            pairs = np.arange(len(whole) // 2)
            whole = whole[2 * pairs + scatter(pairs) % 2]
            self._kept, self._size, self._stride = [whole], len(whole), self._stride * 2

    def result(self) -> dict[str, Any]:
        """Return ``median``, ``p95``, ``max``, ``counted`` and ``looked_at`` (fewer where a sample was kept), ``histogram``."""
        if not self.seen:
            return {"median": 0, "p95": 0, "max": 0, "counted": 0, "looked_at": 0, "histogram": None}
        values = np.sort(np.concatenate(self._kept))
        return {
            "median": round(float(np.median(values))),
            "p95": int(values[min(len(values) - 1, int(0.95 * len(values)))]),
            "max": self.largest,
            "counted": self.seen,
            "looked_at": len(values),
            "histogram": histogram(values),
        }


def scatter(index: Any) -> Any:
    """Return numbers that look drawn by lot for 0, 1, 2, ...: a file with a rhythm must not meet a sample with the same one.

    Fibonacci hashing (Knuth, The Art of Computer Programming 3, 6.4), of ints or arrays of ints.
    """
    return (index * 2_654_435_761 & 0xFFFF_FFFF) >> 13


def histogram(values: np.ndarray, *, bars: int = BARS) -> dict[str, Any] | None:
    """Return ``edges`` (bars + 1), ``counts`` and ``beyond``: bars of one width up to the 99th percentile, rows past them.

    A few very long rows would otherwise squeeze all others into the first bar.
    """
    if not len(values):
        return None
    top = max(1, int(np.sort(values)[min(len(values) - 1, int(0.99 * len(values)))]))
    width = _round_width(math.ceil((top + 1) / bars))
    number = min(bars, math.ceil((top + 1) / width))
    edges = np.arange(number + 1) * width
    counts, _ = np.histogram(values[values < edges[-1]], bins=edges)
    return {"edges": edges.tolist(), "counts": counts.tolist(), "beyond": int((values >= edges[-1]).sum())}


def _round_width(width: int) -> int:
    """Return the next of 1, 2, 5, 10, 20, 50, ... so that the axis reads well."""
    power = 10 ** max(0, len(str(width)) - 1)
    return next(step * power for step in (1, 2, 5, 10) if step * power >= width)

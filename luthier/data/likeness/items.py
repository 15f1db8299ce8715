"""Rows made of one source item: several templates ask about the same passage, so a split by row puts it on both sides.

Two rows share an item when a run of PASSAGE words or more stands in both, and is at least a third of the shorter one.
Runs that many rows have in common are a template's own words and count for nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from luthier.data.likeness.near_long import distinct
from luthier.data.likeness.near_marks import GRAM, PASSAGE, Marks, WordHashes, grams_of, words_of

LEAST_SHARE = 1 / 3
MOST_ROWS, MOST_SHARE = 150, 0.01
MOST_UNIT, MOST_UNIT_SHARE = 1000, 0.02
_PARTNERS = 3
_KEPT_WORDS = 1 << 23


@dataclass(frozen=True, slots=True)
class Shared:
    """Row ``i`` shares a passage of ``words`` words, from word ``start`` of row i, with row ``j`` of a higher side.

    ``units`` numbers the items: rows with one number belong together, a row alone has its own (N int32).
    """

    i: np.ndarray  # int64
    j: np.ndarray  # int64
    words: np.ndarray  # int32
    start: np.ndarray  # int32
    units: np.ndarray
    complete: bool = True

    def __len__(self) -> int:
        return len(self.i)

    def passage(self, at: int, text_of: Callable[[int], str], *, most: int = 20) -> str:
        """Return the first words of the passage of pair ``at``, case folded."""
        words = words_of(text_of(int(self.i[at])))[int(self.start[at]) :][: int(self.words[at])]
        return " ".join(words[:most]) + (" ..." if len(words) > most else "")


def shared_passages(
    marks: Marks,
    *,
    sides: np.ndarray,
    text_of: Callable[[int], str],
    most_rows: int | None = None,
    budget: int = 300_000,
) -> Shared:
    """Find rows across sides that share a passage, and the units that a fix must keep together; near-linear.

    Args:
        marks: of ``Marker(items=True)``.
        sides: int8 as for ``near_pairs``; every row below side 3 is linked to one row of each higher side at most.
        most_rows: a run in more rows than this is boilerplate (default: 1 % of all, at least 2 and at most 150).
        budget: how many pairs of texts may be compared; beyond it, ``complete`` is False.
    """
    count = len(marks)
    most = most_rows or int(max(2, min(MOST_ROWS, MOST_SHARE * count)))
    low, high, common = _edges(marks, most, sides)
    runs = _Runs(marks, text_of, common)
    complete = len(low) <= budget
    # Each row's pairs together, so that its text is read once.
    low, high = low[:budget], high[:budget]
    order = np.lexsort((high, low))
    units = _units(runs, low[order], high[order], count)
    i, j, words, start = _verified(runs, *_across(units, sides), sides)
    return Shared(i, j, words, start, units, complete)


def _edges(marks: Marks, most: int, sides: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return pairs (earliest row of a fingerprint, another row of it), and the fingerprints of boilerplate, sorted.

    The pairs with most fingerprints in common come first.
    """
    usable = sides[marks.print_rows] >= 0
    prints, rows = marks.prints[usable], marks.print_rows[usable]
    order = np.argsort(prints, kind="stable")
    prints, rows = prints[order], rows[order].astype(np.int64)
    new = np.ones(len(prints), dtype=bool)
    new[1:] = prints[1:] != prints[:-1]
    starts = np.flatnonzero(new)
    sizes = np.diff(np.append(starts, len(prints)))
    run = np.cumsum(new) - 1
    chosen = np.flatnonzero((sizes[run] <= most) & ~new)
    codes = (rows[starts[run[chosen]]] << 32) | rows[chosen]
    codes.sort()
    single = distinct(codes)
    shared = np.searchsorted(codes, single, side="right") - np.searchsorted(codes, single, side="left")
    single = single[np.argsort(-shared, kind="stable")]
    return single >> 32, single & 0xFFFFFFFF, prints[starts[sizes > most]]


def _units(runs: _Runs, low: np.ndarray, high: np.ndarray, count: int) -> np.ndarray:
    """Join rows by verified pairs; a unit too large to be one item is taken apart again."""
    parent = np.arange(count, dtype=np.int32).tolist()

    def root(row: int) -> int:
        while parent[row] != row:
            parent[row] = parent[parent[row]]
            row = parent[row]
        return row

    for one, two in zip(low.tolist(), high.tolist(), strict=True):
        first, second = root(one), root(two)
        if first != second and runs.longest(one, two)[0] >= runs.needed(one, two):
            parent[max(first, second)] = min(first, second)
    units = np.fromiter(map(root, range(count)), dtype=np.int32, count=count)
    sizes = np.bincount(units, minlength=count)
    large = sizes[units] > max(20, min(MOST_UNIT, MOST_UNIT_SHARE * count))
    units[large] = np.flatnonzero(large)
    return np.unique(units, return_inverse=True)[1].astype(np.int32)


def _across(units: np.ndarray, sides: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return candidates: each row with the first few rows of every higher side in its unit."""
    left: list[np.ndarray] = []
    right: list[np.ndarray] = []
    for side in range(1, int(sides.max(initial=0)) + 1):
        there = np.flatnonzero(sides == side)
        there = there[np.argsort(units[there], kind="stable")]
        theirs = units[there]
        below = np.flatnonzero((sides >= 0) & (sides < side))
        begin = np.searchsorted(theirs, units[below], side="left")
        end = np.searchsorted(theirs, units[below], side="right")
        for k in range(_PARTNERS):
            has = begin + k < end
            left.append(below[has])
            right.append(there[(begin + k)[has]])
    if not left:
        return np.empty(0, dtype=np.int64), np.empty(0, dtype=np.int64)
    return np.concatenate(left), np.concatenate(right)


def _verified(
    runs: _Runs, i: np.ndarray, j: np.ndarray, sides: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Keep of each row and higher side the first partner that does share a passage, the highest side first.

    A unit holds together by chains: its ends need not share anything.
    """
    found: list[tuple[int, int, int, int]] = []
    done: set[tuple[int, int]] = set()
    for k in np.lexsort((j, -sides[j], i)).tolist():
        one, two = int(i[k]), int(j[k])
        slot = (one, int(sides[two]))
        if slot in done:
            continue
        words, start = runs.longest(one, two)
        if words >= runs.needed(one, two):
            done.add(slot)
            found.append((one, two, words, start))
    columns = np.array(found, dtype=np.int64).reshape(len(found), 4).T
    return columns[0], columns[1], columns[2].astype(np.int32), columns[3].astype(np.int32)


class _Runs:
    """Longest common runs of words of two rows, from the hashes of their runs of GRAM words.

    A run ends where boilerplate begins. Winnowing leaves no PASSAGE words of it without a fingerprint, so what is left of
    it between two of them is too short to count.
    """

    def __init__(self, marks: Marks, text_of: Callable[[int], str], common: np.ndarray) -> None:
        self._common = common
        self._counts = marks.words
        self._text_of = text_of
        self._hashes = WordHashes()
        self._kept: dict[int, tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]] = {}
        self._size = 0

    def needed(self, one: np.ndarray | int, two: np.ndarray | int) -> np.ndarray:
        shorter = np.minimum(self._counts[one], self._counts[two])
        return np.maximum(PASSAGE, np.ceil(shorter * LEAST_SHARE - 1e-9)).astype(np.int64)

    def longest(self, one: int, two: int) -> tuple[int, int]:
        """Return how many words the longest common run has, and where it starts in ``one``; (0, 0) below GRAM words.

        Where the same run stands twice in ``two``, its first place counts.
        """
        mine, _, _, own = self._grams(one)
        _, values, places, _ = self._grams(two)
        if not len(mine) or not len(values):
            return 0, 0
        at = np.minimum(np.searchsorted(values, mine), len(values) - 1)
        hit = np.flatnonzero((values[at] == mine) & own)
        if not len(hit):
            return 0, 0
        diagonal = places[at[hit]] - hit
        new = np.ones(len(hit), dtype=bool)
        new[1:] = (np.diff(hit) != 1) | (np.diff(diagonal) != 0)
        starts = np.flatnonzero(new)
        lengths = np.diff(np.append(starts, len(hit)))
        best = int(lengths.argmax())
        return int(lengths[best]) + GRAM - 1, int(hit[starts[best]])

    def _grams(self, row: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Return a row's grams, the same sorted, the places of those, and which grams are no boilerplate."""
        found = self._kept.get(row)
        if found is None:
            if self._size > _KEPT_WORDS:
                self._kept, self._size = {}, 0
            self._hashes.trim()
            hashes = np.frombuffer(self._hashes.joined(words_of(self._text_of(row))), dtype="<u8").astype(np.uint64)
            grams = grams_of(hashes)
            order = np.argsort(grams, kind="stable")
            own = np.ones(len(grams), dtype=bool)
            if len(self._common):
                at = np.minimum(np.searchsorted(self._common, grams), len(self._common) - 1)
                own = self._common[at] != grams
            found = self._kept[row] = (grams, grams[order], order, own)
            self._size += len(hashes)
        return found

"""The join of longer texts: rows that share a MinHash band are candidates, sketches rule most out, words settle the rest."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

from luthier.data.likeness.near_links import Links, allowed
from luthier.data.likeness.near_marks import BANDS, SHORT_WORDS, Marks, WordHashes, words_of

# In a bucket every row meets the WINDOW before it and the first few; buckets beyond that belong to templates.
WINDOW = 64
FIRST = 4
# How many partners of one row are compared word by word before it is given up.
MAX_TRIES = 24
_AT_ONCE = 1 << 18
_KEPT_WORDS = 1 << 23
_OCCURRENCE = np.uint64(0x9E3779B97F4A7C15)


def join(marks: Marks, links: Links, *, text_of: Callable[[int], str], least: float, budget: int) -> bool:
    """Offer near pairs among the rows that have bands; return whether nothing was cut short.

    Args:
        text_of: gives a row's text again; asked in ascending order as far as possible.
        budget: how many candidates may be looked at.
    """
    usable = links.usable()
    chosen = np.arange(len(marks.banded)) if usable is None else np.flatnonzero(usable[marks.banded])
    # One bit a class, for a first look at a pair that costs a few nanoseconds.
    bits = np.packbits(marks.sketches > 0, axis=1).view(np.uint64).ravel()
    candidates = np.empty(0, dtype=np.int64)
    crowded = np.zeros(len(marks), dtype=bool)
    cut = False
    for band in range(BANDS):
        found = [candidates]
        # Every band has its share: one template must not use up what the others need.
        left = budget // BANDS
        for low, high in _meetings(marks.bands[chosen, band], crowded, marks.banded[chosen]):
            left -= len(low)
            if left < 0:
                cut = True
                break
            found.append(_plausible(marks, links, bits, chosen[low], chosen[high], least))
        candidates = distinct(np.concatenate(found))
    codes = candidates
    rows, partners = marks.banded[codes >> 32].astype(np.int64), marks.banded[codes & 0xFFFFFFFF].astype(np.int64)
    given_up = _settle(marks, links, rows, partners, _bound(marks, codes), Words(marks, text_of), least)
    return not (cut or given_up or _cut(links, crowded))


def _meetings(keys: np.ndarray, crowded: np.ndarray, rows: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield positions of rows that share a key, and mark the rows of buckets too large for all pairs."""
    # Key and position in one number: a plain sort is several times as fast as one of indices.
    packed = (keys.astype(np.uint64) << np.uint64(32)) | np.arange(len(keys), dtype=np.uint64)
    packed.sort()
    keys = packed >> np.uint64(32)
    at = (packed & np.uint64(0xFFFFFFFF)).astype(np.int64)
    new = np.ones(len(keys), dtype=bool)
    new[1:] = keys[1:] != keys[:-1]
    start = np.maximum.accumulate(np.where(new, np.arange(len(keys)), 0))
    rank = np.arange(len(keys)) - start
    for step in range(1, WINDOW + 1):
        here = np.flatnonzero(rank >= step)
        if not len(here):
            return
        yield at[here - step], at[here]
    here = np.flatnonzero(rank > WINDOW)
    crowded[rows[at[here]]] = True
    for step in range(FIRST):
        yield at[start[here] + step], at[here]


def _plausible(
    marks: Marks, links: Links, bits: np.ndarray, low: np.ndarray, high: np.ndarray, least: float
) -> np.ndarray:
    """Return ``row << 32 | partner``, positions among the rows with bands, of the pairs that may be near."""
    kept = []
    for at in range(0, len(low), _AT_ONCE):
        rows, partners = high[at : at + _AT_ONCE], low[at : at + _AT_ONCE]
        if links.sides is not None:
            left, right = links.sides[marks.banded[rows]], links.sides[marks.banded[partners]]
            rows, partners = np.where(left < right, rows, partners), np.where(left < right, partners, rows)
            rows, partners = rows[left != right], partners[left != right]
        i, j = marks.banded[rows], marks.banded[partners]
        n_i, n_j = marks.words[i], marks.words[j]
        longer = np.maximum(n_i, n_j)
        only_i = np.bitwise_count(bits[rows] & ~bits[partners])
        only_j = np.bitwise_count(bits[partners] & ~bits[rows])
        common = np.minimum(n_i - only_i, n_j - only_j)
        fits = longer - common <= allowed(np.arange(longer.max(initial=0) + 1), least=least)[longer]
        codes, i, j, longer = (rows[fits] << 32) | partners[fits], i[fits], j[fits], longer[fits]
        wins = links.could_win(i, j, common[fits] / longer)
        codes, i, j, longer = codes[wins], i[wins], j[wins], longer[wins]
        bound = _bound(marks, codes)
        fits = (longer - np.round(bound * longer) <= allowed(longer, least=least)) & links.could_win(i, j, bound)
        kept.append(codes[fits])
    return np.concatenate(kept) if kept else np.empty(0, dtype=np.int64)


def distinct(values: np.ndarray) -> np.ndarray:
    """Sort the values in place and return them without repeats."""
    # np.unique goes through a hash table since NumPy 2.3, which is many times slower for millions of numbers.
    values.sort()
    keep = np.ones(len(values), dtype=bool)
    keep[1:] = values[1:] != values[:-1]
    return values[keep]


def _bound(marks: Marks, codes: np.ndarray) -> np.ndarray:
    """Return how similar each pair can be at most.

    Words in different classes differ: the classes' counts differ by no more than the words do.
    """
    bound = np.empty(len(codes), dtype=np.float64)
    for at in range(0, len(codes), _AT_ONCE):
        some = codes[at : at + _AT_ONCE]
        i, j = some >> 32, some & 0xFFFFFFFF
        one, two = marks.sketches[i], marks.sketches[j]
        apart = (np.maximum(one, two) - np.minimum(one, two)).sum(axis=1, dtype=np.int64)
        n_i = marks.words[marks.banded[i]].astype(np.int64)
        n_j = marks.words[marks.banded[j]].astype(np.int64)
        common = np.minimum((n_i + n_j - apart) // 2, np.minimum(n_i, n_j))
        bound[at : at + _AT_ONCE] = common / np.maximum(n_i, n_j)
    return bound


class Words:
    """The word hashes of rows, each occurrence of a word a number of its own; read again where they were not kept."""

    def __init__(self, marks: Marks, text_of: Callable[[int], str]) -> None:
        self._marks = marks
        self._text_of = text_of
        self._hashes = WordHashes()
        self._kept: dict[int, np.ndarray] = {}
        self._size = 0

    def similarity(self, i: np.ndarray, j: np.ndarray) -> np.ndarray:
        """Return the exact similarity of each pair; texts are fetched in ascending order."""
        found = np.empty(len(i), dtype=np.float32)
        order = np.lexsort((j, i))
        for at in range(0, len(order), 4096):
            some = order[at : at + 4096]
            if self._size > _KEPT_WORDS:
                self._kept, self._size = {}, 0
            for row in np.unique(np.concatenate([i[some], j[some]])).tolist():
                self._fetch(row)
            for k in some.tolist():
                one, two = self._kept[int(i[k])], self._kept[int(j[k])]
                both = np.concatenate([one, two])
                both.sort()
                found[k] = np.count_nonzero(both[1:] == both[:-1]) / max(len(one), len(two))
        return found

    def _fetch(self, row: int) -> None:
        if row in self._kept:
            return
        if self._marks.words[row] <= SHORT_WORDS:
            hashes = self._marks.short[self._marks.starts[row] : self._marks.starts[row + 1]].copy()
        else:
            hashes = np.frombuffer(self._hashes.joined(words_of(self._text_of(row))), dtype="<u8").astype(np.uint64)
            self._hashes.trim()
        hashes.sort()
        new = np.ones(len(hashes), dtype=bool)
        new[1:] = hashes[1:] != hashes[:-1]
        numbers = np.arange(len(hashes))
        again = numbers - np.maximum.accumulate(np.where(new, numbers, 0))
        self._kept[row] = hashes + again.astype(np.uint64) * _OCCURRENCE
        self._size += len(hashes)


def _settle(
    marks: Marks, links: Links, i: np.ndarray, j: np.ndarray, bound: np.ndarray, words: Words, least: float
) -> bool:
    """Compare candidates word by word, the most promising of each row first; return whether any row was given up."""
    slots = links.target(j)
    promise = j if links.sides is None else -bound
    order = np.lexsort((j, promise, slots, i))
    i, j, bound, slots = i[order], j[order], bound[order], slots[order]
    for tries in range(MAX_TRIES + 1):
        open_ = links.could_win(i, j, bound)
        i, j, bound, slots = i[open_], j[open_], bound[open_], slots[open_]
        if not len(i):
            return False
        if tries == MAX_TRIES:
            return bool((~links.linked(i, slots)).any())
        first = np.ones(len(i), dtype=bool)
        first[1:] = (i[1:] != i[:-1]) | (slots[1:] != slots[:-1])
        rows, partners = i[first], j[first]
        similarity = words.similarity(rows, partners)
        longer = np.maximum(marks.words[rows], marks.words[partners])
        near = longer - np.round(similarity * longer) <= allowed(longer, least=least)
        links.offer(rows[near], partners[near], similarity[near])
        i, j, bound, slots = i[~first], j[~first], bound[~first], slots[~first]
    return False


def _cut(links: Links, crowded: np.ndarray) -> bool:
    """Whether a row of a crowded bucket is still without a partner in some slot it could have one in."""
    rows = np.flatnonzero(crowded)
    if links.sides is None:
        return bool((~links.linked(rows, np.zeros(len(rows), dtype=np.int64))).any())
    sides = links.sides[rows]
    return any(
        bool((~links.linked(rows[sides < side], np.full((sides < side).sum(), side))).any())
        for side in range(1, int(links.sides.max(initial=0)) + 1)
        if (links.sides == side).any()
    )

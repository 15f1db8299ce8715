"""The exact join of short texts: two bags of words are near when they are the same after leaving out a word or two each.

The hash of a bag is the sum of its words' hashes, so the hash without words a and b is the sum less both: all keys of a
text come from one subtraction, and equal keys meet by sorting. In a bucket of equal keys every two rows are near
each other, so one pass that links all to the first is enough however large the bucket is.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from luthier.data.likeness.near_links import Links, allowed
from luthier.data.likeness.near_marks import SHORT_WORDS, Marks

MAX_LEFT_OUT = 2
_KEYS_AT_ONCE = 1 << 23
_SLAB = 1 << 20
_TABLE_BITS = 24
_NOTHING = np.iinfo(np.int64).max
_OCCURRENCE = np.uint64(0x9E3779B97F4A7C15)


def join(marks: Marks, links: Links, *, least: float) -> None:
    """Offer every pair of rows with the same bag of words, and every near pair of up to SHORT_WORDS words and 2 changes.

    The memory taken is some hundred MB at most: keys are made again for each range of hashes rather than kept.
    """
    usable = links.usable()
    rows = np.flatnonzero(marks.words > 0 if usable is None else (marks.words > 0) & usable).astype(np.int32)
    by_count = _by_count(marks.words, rows)
    total = sum(len(r) * _keys_of(n, least) for n, r in by_count.items()) + len(rows)
    parts = 1
    while total / parts > _KEYS_AT_ONCE:
        parts *= 2
    for part in range(parts):
        keys, owners, levels = _gather(marks, rows, by_count, least, part=part, parts=parts)
        _link(marks, links, keys, owners, levels)


def _by_count(words: np.ndarray, rows: np.ndarray) -> dict[int, np.ndarray]:
    counts = words[rows]
    return {n: rows[counts == n] for n in range(1, SHORT_WORDS + 1) if (counts == n).any()}


def _most(count: int, least: float) -> int:
    return min(MAX_LEFT_OUT, int(allowed(np.array([count]), least=least)[0]))


def _keys_of(count: int, least: float) -> int:
    most = _most(count, least)
    return (count if most >= 1 else 0) + (count * (count - 1) // 2 if most >= 2 else 0)


def _gather(
    marks: Marks, rows: np.ndarray, by_count: dict[int, np.ndarray], least: float, *, part: int, parts: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return keys of one range of hashes, their rows, and how many words were left out."""
    shift = np.uint64(64 - max(1, parts.bit_length() - 1))
    keys: list[np.ndarray] = []
    owners: list[np.ndarray] = []
    levels: list[np.ndarray] = []
    for made, of, level in _made(marks, rows, by_count, least):
        if parts > 1:
            inside = (made >> shift) == np.uint64(part)
            made, of = made[inside], of[inside]
        keys.append(made)
        owners.append(of)
        levels.append(np.full(len(made), level, dtype=np.int8))
    return np.concatenate(keys), np.concatenate(owners), np.concatenate(levels)


def _made(
    marks: Marks, rows: np.ndarray, by_count: dict[int, np.ndarray], least: float
) -> Iterator[tuple[np.ndarray, np.ndarray, int]]:
    """Yield keys, owners and level. Keys that could only make pairs less alike than ``least`` are not made."""
    yield marks.bags[rows], rows, 0
    for count, group in by_count.items():
        most = _most(count, least)
        left, right = np.triu_indices(count, 1)
        size = max(1, _SLAB // max(1, count * (count - 1) // 2))
        for at in range(0, len(group) if most else 0, size):
            some = group[at : at + size]
            hashes = marks.short[marks.starts[some][:, None] + np.arange(count)]
            hashes.sort(axis=1)
            # Which "the" is left out makes no difference: only the first of equal words, and the first two.
            again = np.zeros(hashes.shape, dtype=bool)
            again[:, 1:] = hashes[:, 1:] == hashes[:, :-1]
            without_one = marks.bags[some][:, None] - hashes
            yield without_one[~again], np.repeat(some, count - again.sum(axis=1)), 1
            if most >= 2:
                made = without_one[:, left] - hashes[:, right]
                keep = ~again[:, left] & (~again[:, right] | (right == left + 1))
                yield made[keep], np.repeat(some, keep.sum(axis=1)), 2


def _link(marks: Marks, links: Links, keys: np.ndarray, owners: np.ndarray, levels: np.ndarray) -> None:
    chosen = _repeated(keys)
    if not len(chosen):
        return
    keys = keys[chosen]
    first = np.ones(len(chosen), dtype=bool)
    first[1:] = keys[1:] != keys[:-1]
    starts = np.flatnonzero(first)
    run = np.cumsum(first) - 1
    owners, levels = owners[chosen].astype(np.int64), levels[chosen].astype(np.int64)
    left = marks.words[owners] - levels  # words in common
    if links.sides is None:
        earliest = np.minimum.reduceat(owners, starts)[run]
        # A lower bound: the words left out of the earliest itself are not asked for here. See ``similarity_of``.
        _offer(links, owners, earliest, left / marks.words[owners], earliest < owners)
        return
    sides = links.sides[owners]
    for side in range(1, int(sides.max()) + 1):
        codes = np.where(sides == side, (levels << 32) | owners, _NOTHING)
        best = np.minimum.reduceat(codes, starts)[run]
        changes = np.maximum(levels, best >> 32)
        partner = best & 0xFFFFFFFF
        _offer(links, owners, partner, left / (left + changes), (sides < side) & (best != _NOTHING))


def _repeated(keys: np.ndarray) -> np.ndarray:
    """Return where the keys stand that stand more than once, sorted by key.

    Few do, and sorting numbers is many times as fast as sorting places: so a table of their first bits picks the few
    whose places need sorting.
    """
    values = np.sort(keys)
    twice = values[1:][values[1:] == values[:-1]]
    # Within one range of hashes the first bits are the same; the middle ones are as good.
    table = np.zeros(1 << _TABLE_BITS, dtype=bool)
    table[_middle(twice)] = True
    maybe = np.flatnonzero(table[_middle(keys)])
    order = maybe[np.argsort(keys[maybe], kind="stable")]
    same = keys[order][1:] == keys[order][:-1]
    member = np.zeros(len(order), dtype=bool)
    member[1:] |= same
    member[:-1] |= same
    return order[member]


def _middle(keys: np.ndarray) -> np.ndarray:
    return (keys >> np.uint64(16)) & np.uint64((1 << _TABLE_BITS) - 1)


def _offer(links: Links, rows: np.ndarray, partners: np.ndarray, similarity: np.ndarray, which: np.ndarray) -> None:
    links.offer(rows[which], partners[which], similarity[which])


def similarity_of(marks: Marks, i: np.ndarray, j: np.ndarray) -> np.ndarray:
    """Return the exact similarity of pairs of rows with up to SHORT_WORDS words, from their hashes."""
    found = np.empty(len(i), dtype=np.float32)
    for at in range(0, len(i), 1 << 15):
        some = slice(at, at + (1 << 15))
        both = np.concatenate([_padded(marks, i[some], 0), _padded(marks, j[some], 1)], axis=1)
        both.sort(axis=1)
        common = np.count_nonzero(both[:, 1:] == both[:, :-1], axis=1)
        found[some] = common / np.maximum(marks.words[i[some]], marks.words[j[some]])
    return found


def _padded(marks: Marks, rows: np.ndarray, filler: int) -> np.ndarray:
    """Return (rows, SHORT_WORDS) hashes; the second "the" of a text differs from its first, fillers from everything."""
    column = np.arange(SHORT_WORDS)
    inside = column < marks.words[rows][:, None]
    places = np.where(inside, marks.starts[rows][:, None] + column, 0)
    # Fillers are small numbers, different for the two sides; sorted first, they are no words of any text.
    hashes = np.where(inside, marks.short[places], (2 * column + filler).astype(np.uint64))
    hashes.sort(axis=1)
    again = np.zeros(hashes.shape, dtype=np.uint64)
    for k in range(1, SHORT_WORDS):
        again[:, k] = (again[:, k - 1] + np.uint64(1)) * (hashes[:, k] == hashes[:, k - 1])
    return hashes + again * _OCCURRENCE

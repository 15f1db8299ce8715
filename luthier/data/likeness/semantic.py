"""Rows that mean the same in other words: nearest neighbours among sentence vectors, by blocks."""

from __future__ import annotations

import numpy as np

from luthier.data.likeness.near_links import Pairs

LEAST = 0.95
_WIDTH = 4096
_BLOCK_NUMBERS = 1 << 24


def semantic_pairs(
    vectors: np.ndarray, sides: np.ndarray, keys: np.ndarray | None = None, *, least: float = LEAST
) -> Pairs:
    """Link each row to its nearest row of every higher side, where their cosine is at least ``least``.

    Args:
        vectors: (N, D) float32 of unit length.
        sides: int8 as for ``near.near_pairs``; a row below 0 takes no part.
        keys: rows with the same key (the hash of the normalised text, or of the bag of words) are no twins of each other:
            they are found as exact already.
    """
    left: list[np.ndarray] = []
    right: list[np.ndarray] = []
    cosine: list[np.ndarray] = []
    for side in range(int(sides.max(initial=0)), 0, -1):
        there, below = np.flatnonzero(sides == side), np.flatnonzero((sides >= 0) & (sides < side))
        if not len(there) or not len(below):
            continue
        best, partner = _nearest(vectors, below, there, keys)
        good = best >= least
        left.append(below[good])
        right.append(partner[good])
        cosine.append(best[good])
    if not left:
        return Pairs(np.empty(0, dtype=np.int64), np.empty(0, dtype=np.int64), np.empty(0, dtype=np.float32))
    i = np.concatenate(left)
    order = np.argsort(i, kind="stable")
    similarity = np.minimum(np.concatenate(cosine)[order], np.float32(1.0))
    return Pairs(i[order].astype(np.int64), np.concatenate(right)[order].astype(np.int64), similarity)


def _nearest(
    vectors: np.ndarray, rows: np.ndarray, partners: np.ndarray, keys: np.ndarray | None
) -> tuple[np.ndarray, np.ndarray]:
    """Return the largest cosine of each row with any partner, and the first partner that has it."""
    best = np.full(len(rows), -2.0, dtype=np.float32)
    which = np.zeros(len(rows), dtype=np.int64)
    width = min(len(partners), _WIDTH)
    height = max(1, _BLOCK_NUMBERS // width)
    for at in range(0, len(partners), width):
        some = partners[at : at + width]
        theirs = np.ascontiguousarray(vectors[some].T)
        for begin in range(0, len(rows), height):
            mine = rows[begin : begin + height]
            cosine = vectors[mine] @ theirs
            if keys is not None:
                cosine[keys[mine][:, None] == keys[some][None, :]] = -2.0
            place = cosine.argmax(axis=1)
            value = cosine[np.arange(len(mine)), place]
            better = np.flatnonzero(value > best[begin : begin + height])
            best[begin + better] = value[better]
            which[begin + better] = some[place[better]]
    return best, which


def alike_inside(vectors: np.ndarray, *, least: float = LEAST) -> int:
    """Return how many rows mean the same as an earlier row: a cosine of at least ``least``; vectors are (N, D)."""
    count, height = 0, max(1, _BLOCK_NUMBERS // max(1, len(vectors)))
    for begin in range(0, len(vectors), height):
        block = vectors[begin : begin + height]
        cosine = block @ vectors[: begin + len(block)].T
        # Only rows before the row itself count.
        earlier = np.arange(begin + len(block))[None, :] < np.arange(begin, begin + len(block))[:, None]
        count += int(((cosine >= least) & earlier).any(axis=1).sum())
    return count

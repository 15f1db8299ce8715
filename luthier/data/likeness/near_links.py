"""The best partner found so far of each row, and the rule of what is near; both joins offer their finds here."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

LONG_WORDS = 16
LONG_SIMILARITY = 0.8
MAX_SIDES = 4
_NOTHING = np.iinfo(np.int64).max
_STEPS = 1 << 24
_ROW_BITS = 32


@dataclass(frozen=True, slots=True)
class Pairs:
    """Row ``i`` is near row ``j``: arrays of one length, sorted by ``i``; with ``complete`` False there may be more."""

    i: np.ndarray  # int64
    j: np.ndarray  # int64
    similarity: np.ndarray  # float32
    complete: bool = True

    def __len__(self) -> int:
        return len(self.i)


def allowed(words: np.ndarray, *, least: float = 0.0) -> np.ndarray:
    """Return how many changes two texts may have of which the longer has so many words; below 1 word -1: never near."""
    words = np.asarray(words, dtype=np.int64)
    few = np.select([words < 1, words <= 2, words <= 4], [-1, 0, 1], 2)
    # A fifth in whole numbers: (1 - 0.8) * 20 is 3.9999999999999996.
    most = np.where(words > LONG_WORDS, words // 5, few)
    return np.minimum(most, np.floor((1.0 - least) * words + 1e-9)).astype(np.int64)


class Links:
    """Without sides the earliest near row before each row; with sides the most similar row of every higher side.

    Of equally similar partners the one with the smallest number is kept, among those that were offered.
    """

    def __init__(self, count: int, sides: np.ndarray | None) -> None:
        self.sides = None if sides is None else np.asarray(sides, dtype=np.int8)
        rows = 1 if sides is None else MAX_SIDES
        self._best = np.full((rows, count), _NOTHING, dtype=np.int64)
        self._similarity = np.zeros((rows, count), dtype=np.float32)

    def usable(self) -> np.ndarray | None:
        """Return which rows take part, or None for all."""
        return None if self.sides is None else self.sides >= 0

    def target(self, partners: np.ndarray) -> np.ndarray:
        """Return the slot that partners are kept in."""
        return np.zeros(len(partners), dtype=np.int64) if self.sides is None else self.sides[partners].astype(np.int64)

    def offer(self, rows: np.ndarray, partners: np.ndarray, similarity: np.ndarray) -> None:
        """Keep each pair that is better than what its row has; rows must be of lower sides than partners, or later."""
        slots = self.target(partners)
        codes = self._codes(partners, similarity)
        np.minimum.at(self._best, (slots, rows), codes)
        won = self._best[slots, rows] == codes
        self._similarity[slots[won], rows[won]] = similarity[won]

    def could_win(self, rows: np.ndarray, partners: np.ndarray, at_most: np.ndarray) -> np.ndarray:
        """Return which pairs would be kept if they were as similar as they can be at most."""
        return self._codes(partners, at_most) < self._best[self.target(partners), rows]

    def linked(self, rows: np.ndarray, slots: np.ndarray) -> np.ndarray:
        """Return which rows have a partner in these slots."""
        return self._best[slots, rows] != _NOTHING

    def pairs(self, *, complete: bool) -> Pairs:
        """Return all that is linked."""
        slots, rows = np.nonzero(self._best != _NOTHING)
        partners = self._best[slots, rows] & ((1 << _ROW_BITS) - 1)
        order = np.lexsort((-slots, rows))
        slots, rows = slots[order], rows[order]
        return Pairs(rows.astype(np.int64), partners[order], self._similarity[slots, rows], complete)

    def _codes(self, partners: np.ndarray, similarity: np.ndarray) -> np.ndarray:
        """Return numbers of which the smaller is the better pair."""
        numbers = partners.astype(np.int64)
        if self.sides is None:
            return numbers
        gaps = np.rint((1.0 - np.asarray(similarity, dtype=np.float64)) * _STEPS).astype(np.int64)
        return (gaps << _ROW_BITS) | numbers

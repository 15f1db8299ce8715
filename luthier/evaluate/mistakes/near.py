"""Vectors of many rows on disk, and the rows nearest to some of them: memory holds a block at a time."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from luthier.base.files import storage

BLOCK = 8192
Floats = NDArray[np.float32]


class Vectors:
    """Unit vectors of N rows, (N, D) of half precision in an unnamed temporary file."""

    def __init__(self, pieces: Iterable[NDArray[np.floating]]) -> None:
        """Take (B, D) vectors piece by piece, in the order of the rows."""
        with storage(Path(tempfile.gettempdir())):
            self._file = tempfile.TemporaryFile(prefix="luthier-")  # noqa: SIM115 - closed with its reader
            self._rows = self._width = 0
            for piece in pieces:
                self._width, self._rows = piece.shape[1], self._rows + len(piece)
                self._file.write(unit(piece).astype(np.float16).tobytes())
            self._file.flush()

    def __len__(self) -> int:
        return self._rows

    def of(self, rows: NDArray[np.int64]) -> Floats:
        """Return the vectors of some rows, (K, D)."""
        return np.asarray(self._mapped()[rows], dtype=np.float32)

    def nearest(self, asked_QD: Floats, k: int, *, without: NDArray[np.int64] | None = None) -> tuple[NDArray[np.int64], Floats]:
        """Return the ``k`` rows with the highest cosine to each asked vector, (Q, k) places and (Q, k) cosines, the nearest first.

        Args:
            without: (Q,) a row of its own that each is not compared with; -1 for none.
        """
        k = min(k, self._rows - (without is not None and bool((without >= 0).any())))
        asked = unit(asked_QD)
        best = np.full((len(asked), k), -np.inf, dtype=np.float32)
        place = np.full((len(asked), k), -1, dtype=np.int64)
        if not self._rows or not len(asked):
            return place, best
        mapped = self._mapped()
        for start in range(0, self._rows, BLOCK):
            cosine = asked @ np.asarray(mapped[start : start + BLOCK], dtype=np.float32).T
            if without is not None:
                mine = np.flatnonzero((without >= start) & (without < start + cosine.shape[1]))
                cosine[mine, without[mine] - start] = -np.inf
            best, place = highest(best, place, cosine, start)
        return place, best

    def _mapped(self) -> np.ndarray:
        return np.memmap(self._file, dtype=np.float16, mode="r", shape=(self._rows, self._width))


def highest(best_QK: Floats, place_QK: NDArray[np.int64], new_QB: Floats, start: int) -> tuple[Floats, NDArray[np.int64]]:
    """Return the K highest of values so far and of a block of new ones, whose first column is place ``start``: (Q, K) values and places."""
    numbers = np.broadcast_to(np.arange(start, start + new_QB.shape[1]), new_QB.shape)
    both, where = np.concatenate([best_QK, new_QB], 1), np.concatenate([place_QK, numbers], 1)
    order = np.argsort(-both, axis=1, kind="stable")[:, : best_QK.shape[1]]
    return np.take_along_axis(both, order, 1), np.take_along_axis(where, order, 1)


def unit(vectors_ND: NDArray[np.floating]) -> Floats:
    """Return vectors of length 1; a vector of nothing stays so."""
    lengths = np.linalg.norm(vectors_ND, axis=1, keepdims=True)
    return np.asarray(vectors_ND / np.where(lengths > 0, lengths, 1), dtype=np.float32)

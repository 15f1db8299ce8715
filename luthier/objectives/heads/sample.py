"""The train rows as a head sees them, and the folds on which heads are compared."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Ints = NDArray[np.int64]

# Rows beyond so many are not needed to tell heads apart; they only cost time.
_JUDGED = 4000


@dataclass(frozen=True, slots=True)
class Sample:
    """Vectors of the train rows (N, D) with their class numbers and weights, and those of the labels' texts (M, D).

    ``told_M`` are the classes that the texts speak of. Texts are never held out and never judged.
    """

    rows_ND: Floats
    labels_N: Ints
    weights_N: Floats
    texts_MD: Floats
    told_M: Ints
    classes: int

    @property
    def counts_C(self) -> Ints:
        return np.bincount(self.labels_N, minlength=self.classes)

    def only(self, rows: NDArray[np.bool_] | Ints) -> Sample:
        """Return the sample with some of its rows; the texts stay."""
        return replace(
            self, rows_ND=self.rows_ND[rows], labels_N=self.labels_N[rows], weights_N=self.weights_N[rows]
        )  # fmt: skip

    def joined(self, text_weight: float) -> tuple[Floats, Ints, Floats]:
        """Return vectors, classes and weights of rows and texts together: a text counts as ``text_weight`` rows."""
        if not text_weight or not len(self.told_M):
            return self.rows_ND, self.labels_N, self.weights_N
        return (
            np.concatenate([self.rows_ND, self.texts_MD]),
            np.concatenate([self.labels_N, self.told_M]),
            np.concatenate([self.weights_N, np.full(len(self.told_M), text_weight, dtype=np.float32)]),
        )


def make_sample(
    rows_ND: NDArray[Any], labels: Sequence[int], classes: int, *, weights: Sequence[float] | None = None,
    texts_MD: NDArray[Any] | None = None, told: Sequence[int] = (),
) -> Sample:  # fmt: skip
    """Return the sample; weights are scaled to a mean of 1."""
    weights_N = np.ones(len(labels), dtype=np.float32) if weights is None else np.asarray(weights, dtype=np.float32)
    weights_N = weights_N * np.float32(len(weights_N) / max(float(weights_N.sum()), 1e-12))
    texts = np.zeros((0, rows_ND.shape[1]), dtype=np.float32) if texts_MD is None else texts_MD
    return Sample(np.asarray(rows_ND, dtype=np.float32), np.asarray(labels, dtype=np.int64), weights_N,
                  np.asarray(texts, dtype=np.float32), np.asarray(told, dtype=np.int64), classes)  # fmt: skip


def deal(labels_N: Ints, *, seed: int) -> list[Ints]:
    """Return the held-out rows of each fold: every class is spread over the folds as evenly as it goes.

    Where classes are of one size and the folds divide it, a fold holds as many rows of each: holding out one row alone
    makes its class the rarer one, and every head with a bias guesses the other. So there are as many folds as a class
    has rows (the median), two at least and eight at most; four at most beyond 200 rows. Of more than 2,000 a fifth is
    held out once (at most 4,000 rows): so many rows tell heads apart without being used twice. The only row of a class
    is never held out.
    """
    rng = np.random.default_rng(seed)
    count = len(labels_N)
    sizes = np.bincount(labels_N)
    most = 8 if count <= 200 else 4
    k = 5 if count > 2000 else int(np.clip(np.median(sizes[sizes > 1]), 2, most)) if (sizes > 1).any() else 2
    fold_N = np.full(count, -1)
    start = 0
    for label in rng.permutation(np.flatnonzero(sizes > 1)):
        rows = rng.permutation(np.flatnonzero(labels_N == label))
        # The next class goes on where this one ended, or the first folds would get all that is left over.
        fold_N[rows] = (start + np.arange(len(rows))) % k
        start += len(rows)
    held = [np.flatnonzero(fold_N == fold) for fold in range(k)]
    held = [rows for rows in held if len(rows)]
    return [held[0][:_JUDGED]] if count > 2000 and held else held

"""Which rows of an earlier stage are kept to be learnt again: by chance, label by label, or far apart."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from luthier.base.records import Example, Remembered
from luthier.base.seeds import derive_seed

Vectors = Callable[[Sequence[Example]], NDArray[np.float32]]
_LEAST = 1


def remember(
    rows: Sequence[Example], *, share: float, choose: str, stage: int, seed: int, vectors: Vectors | None = None
) -> list[Remembered]:
    """Return the share of a stage's training rows that later stages learn again, at least one.

    Args:
        choose: ``reservoir`` (by chance), ``balanced`` (by label; without labels by chance) or ``diverse``.
        stage: the place of the rows' stage, which the kept rows carry.
        vectors: gives the (N, D) sentence vectors of rows, for ``diverse``.
    """
    count = max(_LEAST, round(share * len(rows))) if len(rows) else 0
    draw = derive_seed(seed, "rehearse", stage)
    if choose == "diverse":
        if vectors is None:
            raise ValueError("diverse rows are chosen by their vectors")
        places = k_center(vectors(rows), count)
    elif choose == "balanced":
        places = balanced([str(e.target) for e in rows], count, seed=draw)
    else:
        places = reservoir(rows, count, seed=draw)
    return [Remembered.of(rows[i], stage) for i in sorted(places)]


def reservoir(rows: Iterable[object], count: int, *, seed: int) -> list[int]:
    """Return the places of ``count`` rows, each equally likely, in one pass over rows of unknown number.

    Algorithm R: Vitter 1985, https://doi.org/10.1145/3147.3165.
    """
    rng = np.random.default_rng(seed)
    kept: list[int] = []
    for place, _ in enumerate(rows):
        if len(kept) < count:
            kept.append(place)
        elif (there := int(rng.integers(place + 1))) < count:
            kept[there] = place
    return kept


def balanced(labels: Sequence[str], count: int, *, seed: int) -> list[int]:
    """Return ``count`` places, as many of each label as there are, shared out evenly: a rare label is kept whole."""
    rng = np.random.default_rng(seed)
    by_label: dict[str, list[int]] = {}
    for place in rng.permutation(len(labels)).tolist():
        by_label.setdefault(labels[place], []).append(place)
    # One of each label in turn; which labels get one more in the last turn is left to chance.
    queues = [by_label[label] for label in sorted(by_label)]
    kept: list[int] = []
    while len(kept) < min(count, len(labels)):
        turn = [queues[i] for i in rng.permutation(len(queues)) if queues[i]]
        kept += [queue.pop() for queue in turn[: count - len(kept)]]
    return kept


def k_center(vectors_ND: NDArray[np.float32], count: int) -> list[int]:
    """Return ``count`` places, each the farthest from those before: at most twice the best covering radius.

    Gonzalez 1985, https://doi.org/10.1016/0304-3975(85)90224-5; as a choice of rows to learn from: Sener & Savarese
    2018, https://arxiv.org/abs/1708.00489. The first is the row nearest to the mean, so that chance decides nothing.
    """
    if not len(vectors_ND) or count < 1:
        return []
    mean_D = vectors_ND.mean(0)
    kept = [int(np.square(vectors_ND - mean_D).sum(1).argmin())]
    nearest_N = np.square(vectors_ND - vectors_ND[kept[0]]).sum(1)
    while len(kept) < min(count, len(vectors_ND)):
        nearest_N[kept[-1]] = -1.0
        kept.append(int(nearest_N.argmax()))
        nearest_N = np.minimum(nearest_N, np.square(vectors_ND - vectors_ND[kept[-1]]).sum(1))
    return kept

"""What users with the same items chose: item-to-item weights in closed form, without a word being read."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import load_file, save_file

STRENGTHS = (30.0, 100.0, 300.0, 1000.0)
# Items after which an older choice counts half; None: all alike.
HALF_LIVES = (None, 100.0, 30.0)
# A matrix of so many rows is inverted in some twenty seconds and 300 MB.
_MOST = 8_000
_KEPT = 1024
_BLOCK = 512
Histories = Sequence[Sequence[int]]


def weighed(histories: Histories, size: int, half_life: float | None) -> Any:
    """Return a sparse (N, size) matrix of histories, the latest last; each item weighs half after ``half_life`` newer ones."""
    from scipy.sparse import csr_matrix

    rows = np.repeat(np.arange(len(histories)), [len(h) for h in histories])
    items = np.array([i for h in histories for i in h], dtype=np.int64)
    ages = np.array([len(h) - 1 - k for h in histories for k in range(len(h))], dtype=np.float64)
    values = np.ones(len(items)) if half_life is None else 0.5 ** (ages / half_life)
    return csr_matrix((values.astype(np.float32), (rows, items)), shape=(len(histories), size))


@dataclass(frozen=True)
class Fit:
    """Weights in factors, so that scores of many histories cost little: ``left`` (U, M) sparse, ``right`` (U, C), ``rest_C``.

    ``columns`` are the C items that get scores at all. The weight from item i to the item of column c is
    (left.T @ right)[i, c] / rest_C[c], zero from an item to itself.
    """

    left: Any
    right: np.ndarray
    rest_C: np.ndarray
    columns: np.ndarray

    def scores(self, past_NM: Any) -> np.ndarray:
        """Return (N, M) scores; those of items in the history itself mean nothing."""
        found = np.zeros(past_NM.shape, dtype=np.float32)
        found[:, self.columns] = (past_NM @ self.left.T) @ self.right / self.rest_C
        return found

    def weights(self) -> Any:
        """Return the weights as a sparse (M, M) matrix: of each item the 1,024 strongest."""
        from scipy.sparse import csc_matrix, csr_matrix, hstack

        size, parts = self.left.shape[1], []
        for start in range(0, len(self.columns), _BLOCK):
            which = slice(start, start + _BLOCK)
            block = np.asarray(self.left.T @ self.right[:, which]) / self.rest_C[which]
            block[self.columns[which], np.arange(block.shape[1])] = 0
            if size > _KEPT:
                least = -np.partition(-np.abs(block), _KEPT - 1, axis=0)[_KEPT - 1]
                block[np.abs(block) < least] = 0
            parts.append(csc_matrix(block.astype(np.float32)))
        cells = (np.ones(len(self.columns), dtype=np.float32), (np.arange(len(self.columns)), self.columns))
        return (hstack(parts, format="csr") @ csr_matrix(cells, shape=(len(self.columns), size))).tocsr()


def fit(chosen_UM: Any, strength: float) -> Fit:
    """Fit EASE (Steck 2019, https://arxiv.org/abs/1905.03375): each item from all others by ridge regression, none from itself.

    With G = X'X + strength I the weights are -P[i, j] / P[j, j], P the inverse of G. For fewer users than items the same
    is X'AX / (1 - diag(X'AX)) with A the inverse of XX' + strength I (Woodbury), which needs no matrix of items by items.
    Of many users and many items, the 8,000 most chosen get weights: of the others there is little to learn.
    """
    users, items = chosen_UM.shape
    counts = np.asarray(chosen_UM.sum(0)).ravel()
    columns = np.flatnonzero(counts > 0)
    if users <= min(len(columns), _MOST):
        inner = (chosen_UM @ chosen_UM.T).toarray().astype(np.float64) + strength * np.eye(users)
        used_UC = chosen_UM[:, columns]
        right = np.asarray((used_UC.T @ np.linalg.inv(inner)).T, dtype=np.float32)
        rest = 1 - np.asarray(used_UC.multiply(right).sum(0), dtype=np.float64).ravel()
        return Fit(chosen_UM, right, rest, columns)
    from scipy.sparse import identity

    columns = np.sort(np.argsort(-counts, kind="stable")[: min(len(columns), _MOST)])
    inner = (chosen_UM[:, columns].T @ chosen_UM[:, columns]).toarray().astype(np.float64)
    inverse = np.linalg.inv(inner + strength * np.eye(len(columns)))
    left = identity(items, format="csr", dtype=np.float32)[columns]
    return Fit(left, (-inverse).astype(np.float32), np.diag(inverse).copy(), columns)


@dataclass(frozen=True)
class Interactions:
    """Fitted weights (M, M) as they are saved and served, with the ``half_life`` of a history and the ``share`` they get."""

    weights: Any
    half_life: float | None
    share: float

    def scores(self, histories: Histories) -> np.ndarray:
        """Return (N, M) scores of all items for each history, the latest item last."""
        return np.asarray((weighed(histories, self.weights.shape[0], self.half_life) @ self.weights).todense())

    def save(self, folder: Path) -> dict[str, Any]:
        """Write the weights; return the facts that :meth:`load` needs."""
        matrix = self.weights.tocsr()
        save_file(
            {"data": matrix.data.astype(np.float32), "indices": matrix.indices.astype(np.int32), "indptr": matrix.indptr.astype(np.int64)},
            folder / "interactions.safetensors",
        )  # fmt: skip
        return {"half_life": self.half_life, "share": self.share, "items": int(matrix.shape[0])}

    @classmethod
    def load(cls, folder: Path, facts: Mapping[str, Any]) -> Interactions:
        from scipy.sparse import csr_matrix

        parts = load_file(folder / "interactions.safetensors")
        shape = (facts["items"], facts["items"])
        matrix = csr_matrix((parts["data"], parts["indices"], parts["indptr"]), shape=shape)
        return cls(matrix, facts["half_life"], float(facts["share"]))


def blended(text_NM: np.ndarray, chosen_NM: np.ndarray, share: float) -> np.ndarray:
    """Return both scores in one: each divided by its spread over the items of the row, in the shares 1 - share and share.

    A row without interactions keeps its text scores alone.
    """
    spread = chosen_NM.std(1, keepdims=True)
    known = spread > 0
    text = text_NM / np.maximum(text_NM.std(1, keepdims=True), 1e-9)
    mixed = (1 - share) * text + share * chosen_NM / np.where(known, spread, 1)
    return np.where(known, mixed, text).astype(np.float32)


Judge = Callable[[np.ndarray], float]
_SHARES = tuple(i / 10 for i in range(11))


def chosen(
    train: Histories, past: Histories, text_NM: np.ndarray, judge: Judge
) -> tuple[Interactions | None, dict[str, Any]]:
    """Return the interactions whose strength, half-life and share rank validation rows best, and facts of the choice.

    Args:
        train: what each user chose, the latest last: what is fitted. past: the histories of the validation rows.
        text_NM: how the network scores these rows. judge: says of scores (N, M) how good they are.
    """
    size = text_NM.shape[1]
    matrix = weighed(train, size, None)
    tried: list[tuple[float, float, float | None, Fit]] = []
    for strength in STRENGTHS:
        fitted = fit(matrix, strength)
        for half_life in HALF_LIVES:
            value = judge(fitted.scores(weighed(past, size, half_life)))
            # Of equals, and of what is kept in memory, the first stands.
            if not tried or value > tried[0][0]:
                tried = [(value, strength, half_life, fitted)]
    _, strength, half_life, fitted = tried[0]
    alone = Interactions(fitted.weights(), half_life, 1.0)
    chosen_NM = alone.scores(past)
    values = {share: judge(blended(text_NM, chosen_NM, share)) for share in _SHARES}
    share = max(_SHARES, key=lambda s: values[s])
    facts = {
        "share": share, "strength": strength, "half_life": half_life, "text": round(values[0.0], 4),
        "interactions": round(values[1.0], 4), "both": round(values[share], 4),
    }  # fmt: skip
    return replace(alone, share=share) if share > 0 else None, facts

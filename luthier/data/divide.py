"""Which row stands on which side: groups, near copies and dates taken together."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from luthier.data.board import ROLES, Board
from luthier.data.leaks import HELD_OUT, MOST_COPIES, many_items
from luthier.data.likeness.items import shared_passages
from luthier.data.likeness.near import clusters, near_pairs
from luthier.data.split import SIDES, Side, by_owner, by_time, divide, shares_of
from luthier.spec.data import DataSection

_ROLE_SIDES = {"source": 0, "valid": 1, "test": 2, "held_out": HELD_OUT}


@dataclass(frozen=True)
class Divided:
    """``sides`` is (N,) int8: 0 train, 1 valid, 2 test, 3 held out, -1 left out.

    ``families`` is (N,) int32: how many rows are as near to each other as ``data.near`` asks, a row alone is 1.
    ``kept_together`` counts rows that went where the row went that they nearly equal,
    ``near_copies`` all rows that nearly equal an earlier one.
    """

    sides: np.ndarray
    families: np.ndarray
    kept_together: int = 0
    near_copies: int = 0

    def of(self, side: Side) -> np.ndarray:
        return np.flatnonzero(self.sides == SIDES.index(side))

    def count(self, side: Side) -> int:
        return int((self.sides == SIDES.index(side)).sum())


def divide_rows(board: Board, data: DataSection, *, fix: bool = False) -> Divided:
    """Divide the source's rows by :func:`luthier.data.split.divide`; rows of official files stand where they are named.

    Near copies of a row (``data.near``) go where the row went, so a division made here never tears them apart; more
    than five alike are a template and are divided one by one.

    Args:
        fix: rows that reuse one passage go together too (:mod:`luthier.data.likeness.items`).
    """
    sides = np.array([_ROLE_SIDES[role] for role in ROLES], dtype=np.int8)[board.role]
    rows = board.of("source")
    has_test, has_valid = data.test is not None, data.valid is not None
    shares = shares_of(data.split, has_test=has_test, has_valid=has_valid)
    # Two spaces of numbers: a group and a text that share a hash are not the same unit.
    group, top = board.group[rows], np.uint64(1 << 63)
    units = np.where(group == 0, board.key[rows] & ~top, group | top).tolist()
    fractions, labels = board.fraction[rows].tolist(), board.label[rows].tolist()
    together = 0
    pairs = near_pairs(board.marks, sides=None, text_of=board.text, least=data.near)
    component = clusters(pairs, len(board))
    families = np.bincount(component, minlength=1)[component].astype(np.int32)
    if shares["train"] < 1.0 and not data.split.test_from:
        links = dict(zip(pairs.i.tolist(), pairs.j.tolist(), strict=True))
        together = _attach(board, len(rows), units, fractions, links, most=MOST_COPIES)
    sides[rows] = divide(units, labels, fractions, shares)
    if board.owner[rows].any() and not data.split.test_from:
        sides[rows] = by_owner(
            board.owner[rows], board.moment[rows], data.split, has_test=has_test, has_valid=has_valid
        )
    elif data.split.time:
        sides[rows] = by_time(board.moment[rows], sides[rows], data.split, has_test=has_test, has_valid=has_valid)
    elif fix and not has_test and (items := _items(board, sides)):
        together += _attach(board, len(rows), units, fractions, items, most=len(rows))
        sides[rows] = divide(units, labels, fractions, shares)
    return Divided(sides, families, together, int((sides[pairs.i] != HELD_OUT).sum()))


def _items(board: Board, sides: np.ndarray) -> dict[int, int]:
    """Return for each row the first row made of the same passage, where so many are that it decides the score."""
    inner = np.where(sides == HELD_OUT, -1, sides).astype(np.int8)
    found = shared_passages(board.marks, sides=inner, text_of=board.text)
    touched = np.unique(found.j[sides[found.j] == 2])
    if not many_items(len(touched), int((sides == 2).sum())):
        return {}
    _, first, inverse = np.unique(found.units, return_index=True, return_inverse=True)
    heads = first[inverse]
    linked = np.flatnonzero(heads != np.arange(len(heads)))
    return dict(zip(linked.tolist(), heads[linked].tolist(), strict=True))


def _attach(
    board: Board, count: int, units: list[Any], fractions: list[float], links: dict[int, int], *, most: int
) -> int:
    """Give a linked row the unit of the row it is linked to; return how many were. Looks back only, as the division does."""
    copies: dict[Any, int] = {}
    together = 0
    for i in sorted(links):
        j = links[i]
        if i >= count or board.group[i] or units[j] == units[i]:
            continue
        if copies.get(units[j], 1) < most:
            copies[units[j]] = copies.get(units[j], 1) + 1
            units[i], fractions[i] = units[j], fractions[j]
            together += 1
    return together

"""What stands on both sides of a split: the same text, group, item or time, almost the same words, the same meaning."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np

from luthier.base.records import Example
from luthier.data.board import ROLES, Board, hash64, spoken
from luthier.data.likeness.items import shared_passages
from luthier.data.likeness.near import near_pairs, words_of
from luthier.data.likeness.semantic import semantic_pairs
from luthier.spec.data import DataSection

Kind = Literal["exact", "group", "time", "item", "held_out", "near", "semantic"]
KINDS: tuple[Kind, ...] = ("exact", "group", "time", "item", "held_out", "near", "semantic")
SIDE_NAMES = ("train", "valid", "test", "held_out")
HELD_OUT = 3
# More rows than this that are nearly equal are a template, not a copy: told, and left alone.
MOST_COPIES = 5
# Rows that reuse an item stop a run where they are more than chance: at least so many, and so large a share of test.
_ITEM_ROWS, _ITEM_SHARE = 5, 0.01
_SHOWN_CHARS = 300
_PASSAGES = 50


@dataclass(frozen=True, slots=True)
class Leak:
    """The row ``row`` shares something with ``other`` on a side that outranks its own: test over valid over train.

    Both are indices into the board. ``stops`` says whether it ends a run under ``leaks: stop``.
    """

    kind: Kind
    row: int
    side: int
    other: int
    other_side: int
    similarity: float = 1.0
    stops: bool = True
    passage: str = ""


@dataclass(frozen=True)
class Leaks:
    """All leaks by kind, one for each leaking row and kind; ``complete`` is False where a search was cut short.

    ``looked_for_semantic`` is False where there were too many rows for it.
    """

    by_kind: Mapping[Kind, tuple[Leak, ...]] = field(default_factory=dict)
    complete: bool = True
    looked_for_semantic: bool = False

    def of(self, kind: Kind) -> tuple[Leak, ...]:
        return self.by_kind.get(kind, ())

    def counts(self) -> dict[str, int | None]:
        """Return the number of leaking rows by kind; None for what was not looked for."""
        found: dict[str, int | None] = {kind: len(self.of(kind)) for kind in KINDS}
        return found if self.looked_for_semantic else found | {"semantic": None}

    def stopping(self) -> list[Leak]:
        return [leak for kind in KINDS for leak in self.of(kind) if leak.stops]

    def without(self, gone: frozenset[int] | set[int]) -> Leaks:
        """Return what is left when the rows ``gone`` are left out."""
        left: dict[Kind, tuple[Leak, ...]] = {
            kind: tuple(leak for leak in found if leak.row not in gone and leak.other not in gone)
            for kind, found in self.by_kind.items()
        }
        return replace(self, by_kind=left)


def find(
    board: Board,
    sides: np.ndarray,
    data: DataSection,
    *,
    families: np.ndarray | None = None,
    vectors: np.ndarray | None = None,
) -> Leaks:
    """Compare train and valid with test, train with valid, and train and valid with the held-out files.

    Exact: the same normalised input. Group: the same value of ``split.by``. Time: as new as the test rows or newer.
    Held out: a text of a named evaluation file, or almost. Near: the same words but for one or two, in any order
    (:mod:`luthier.data.likeness.near`). Item: another wording around the same passage (:mod:`luthier.data.likeness.items`). Semantic: the
    same meaning by embeddings. A row that leaks by more than one of exact, near, item and semantic counts for the
    first.

    Args:
        sides: (N,) int8: 0 train, 1 valid, 2 test, 3 held out.
        families: (N,) how many rows are nearly equal to each other; more than five are a template and stop nothing.
        vectors: (N, D) of unit length, of the rows on sides 0 to 2; without them the same meaning is not looked for.
    """
    inner = np.where(sides == HELD_OUT, -1, sides)
    exact = _leaks("exact", *_shared(board.key, inner), inner)
    group = _leaks("group", *_shared(board.group, inner), inner)
    pairs = near_pairs(board.marks, sides=sides, text_of=board.text)
    taken = {leak.row for leak in exact}
    held = _held_out(board, sides, pairs, data.near)
    near = _near(board, pairs, sides, taken, data.near, families)
    taken |= {leak.row for leak in near}
    item = _items(board, sides, taken)
    taken |= {leak.row for leak in item}
    semantic = [] if vectors is None else _semantic(sides, taken, vectors)
    found: dict[Kind, tuple[Leak, ...]] = {
        "exact": tuple(exact), "group": tuple(group), "time": tuple(_times(board, sides, data)), "item": tuple(item),
        "held_out": tuple(held), "near": tuple(near), "semantic": tuple(semantic),
    }  # fmt: skip
    return Leaks(found, pairs.complete, vectors is not None)


def _shared(values: np.ndarray, sides: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return rows i and, for each, the first row j of the highest side that has the same value (0: none)."""
    rows = np.flatnonzero((values != 0) & (sides >= 0))
    order = rows[np.lexsort((rows, -sides[rows], values[rows]))]
    if not len(order):
        return order, order
    starts = np.r_[True, values[order][1:] != values[order][:-1]]
    heads = order[np.flatnonzero(starts)][np.cumsum(starts) - 1]
    leaking = sides[order] < sides[heads]
    i, j = order[leaking], heads[leaking]
    back = np.argsort(i)
    return i[back], j[back]


def _leaks(kind: Kind, i: Iterable[int], j: Iterable[int], sides: np.ndarray) -> list[Leak]:
    return [Leak(kind, int(a), int(sides[a]), int(b), int(sides[b])) for a, b in zip(i, j, strict=True)]


def _times(board: Board, sides: np.ndarray, data: DataSection) -> list[Leak]:
    """Return rows before the verdict that are as new as the rows it is made on."""
    if not data.split.time:
        return []
    tested = np.flatnonzero((sides == 2) & ~np.isnan(board.moment))
    if not len(tested):
        return []
    oldest = tested[np.argmin(board.moment[tested])]
    late = np.flatnonzero((sides >= 0) & (sides < 2) & (board.moment >= board.moment[oldest]))
    return [Leak("time", int(i), int(sides[i]), int(oldest), 2) for i in late]


def _held_out(board: Board, sides: np.ndarray, pairs: Any, least: float) -> list[Leak]:
    held = np.where(sides == HELD_OUT, HELD_OUT, np.where(sides == 2, -1, 0))
    i, j = _shared(board.said, held.astype(np.int8))
    best = {int(a): (int(b), 1.0) for a, b in zip(i, j, strict=True)}
    wanted = (sides[pairs.j] == HELD_OUT) & (sides[pairs.i] < 2) & (pairs.similarity >= least - 1e-6)
    for a, b, similarity in zip(pairs.i[wanted], pairs.j[wanted], pairs.similarity[wanted], strict=True):
        best.setdefault(int(a), (int(b), float(similarity)))
    return [Leak("held_out", a, int(sides[a]), b, HELD_OUT, s) for a, (b, s) in sorted(best.items())]


def _near(
    board: Board, pairs: Any, sides: np.ndarray, taken: set[int], least: float, families: np.ndarray | None
) -> list[Leak]:
    inner = (sides[pairs.j] != HELD_OUT) & (sides[pairs.i] != HELD_OUT)
    i, j, similarity = pairs.i[inner], pairs.j[inner], pairs.similarity[inner]
    close = similarity >= least - 1e-6
    if families is not None:
        close &= families[i] <= MOST_COPIES
    # A division made here has kept copies together already: what it tore apart are templates, or rows of groups.
    close &= (board.role[j] != ROLES.index("source")) | (board.role[i] != ROLES.index("source"))
    best: dict[int, Leak] = {}
    # Of a row's partners, the one on the highest side, and there the most alike.
    for k in np.lexsort((-similarity, -sides[j])):
        a, b = int(i[k]), int(j[k])
        if a not in taken and a not in best:
            best[a] = Leak("near", a, int(sides[a]), b, int(sides[b]), float(similarity[k]), bool(close[k]))
    return [best[a] for a in sorted(best)]


def _items(board: Board, sides: np.ndarray, taken: set[int]) -> list[Leak]:
    inner = np.where(sides == HELD_OUT, -1, sides).astype(np.int8)
    found = shared_passages(board.marks, sides=inner, text_of=board.text)
    best: dict[int, int] = {}
    for k in np.lexsort((found.j, -sides[found.j])).tolist():
        if int(found.i[k]) not in taken:
            best.setdefault(int(found.i[k]), k)
    tested = {int(found.j[k]) for k in best.values() if sides[found.j[k]] == 2}
    stops = many_items(len(tested), int((inner == 2).sum()))
    leaks: list[Leak] = []
    for a in sorted(best):
        b = int(found.j[best[a]])
        # A passage is read again from disk: only those that may be shown are.
        passage = found.passage(best[a], board.text) if len(leaks) < _PASSAGES else ""
        leaks.append(Leak("item", a, int(sides[a]), b, int(sides[b]), 1.0, stops, passage))
    return leaks


def many_items(touched: int, tested: int) -> bool:
    """Whether so many of the test rows share an item with train that it is more than chance."""
    return touched >= max(_ITEM_ROWS, _ITEM_SHARE * tested)


def _semantic(sides: np.ndarray, taken: set[int], vectors: np.ndarray) -> list[Leak]:
    rows = np.flatnonzero((sides >= 0) & (sides != HELD_OUT))
    pairs = semantic_pairs(vectors[rows], sides[rows])
    best: dict[int, Leak] = {}
    for k in np.lexsort((-pairs.similarity, -sides[rows[pairs.j]])) if len(pairs.i) else ():
        a, b = int(rows[pairs.i[k]]), int(rows[pairs.j[k]])
        if a not in taken and a not in best:
            # Two ways to ask one thing are what a model should learn from: told, and no reason to stop.
            best[a] = Leak("semantic", a, int(sides[a]), b, int(sides[b]), float(pairs.similarity[k]), False)
    return [best[a] for a in sorted(best)]


def as_dict(leak: Leak, board: Board) -> dict[str, Any]:
    """Return a leak with both places and both texts, cut."""
    return {
        "kind": leak.kind,
        "side": SIDE_NAMES[leak.side],
        "where": str(board.place(leak.row)),
        "other_side": SIDE_NAMES[leak.other_side],
        "other_where": str(board.place(leak.other)),
        "text": board.text(leak.row)[:_SHOWN_CHARS],
        "other_text": board.text(leak.other)[:_SHOWN_CHARS],
        "group": board.rows[leak.row].group if leak.kind == "group" else None,
        "similarity": round(leak.similarity, 3),
        "passage": leak.passage[:_SHOWN_CHARS] or None,
        "stops": leak.stops,
    }


def clash_finder(rows: Iterable[Example]) -> Callable[[Sequence[Example]], list[bool]]:
    """Return a function that says of new rows whether they equal one of ``rows``: the check after every resampling.

    Two texts are equal here where their words are, in any order.
    """
    known = {_words_key(example) for example in rows}
    return lambda examples: [_words_key(example) in known for example in examples]


def _words_key(example: Example) -> int:
    return hash64("\x1f".join(sorted(words_of(spoken(example)))))

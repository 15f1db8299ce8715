"""What stands on both sides of a split: the same text, the same group, almost the same text."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from luthier.base.records import Example
from luthier.data.dedupe import key
from luthier.data.split import Side

SIMILAR = 0.8
MAX_CHECKS = 2_000_000
# A word; in scripts written without spaces, a character.
_CJK = "\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7af"
_WORD = re.compile(f"[{_CJK}]|[^\\W{_CJK}]+")


@dataclass(frozen=True, slots=True)
class Leak:
    """``row`` shares something with ``other`` on a side that outranks its own: test over valid over train."""

    kind: Literal["exact", "group", "near"]
    row: Example
    side: Side
    other: Example
    other_side: Side
    similarity: float = 1.0

    def as_dict(self) -> dict[str, Any]:
        turns = self.row.inputs.get("messages")
        text = turns[-1]["content"] if turns else self.row.inputs["text"]
        return {
            "kind": self.kind,
            "side": self.side,
            "where": str(self.row.source),
            "other_side": self.other_side,
            "other_where": str(self.other.source),
            "text": text[:120],
            "group": self.row.group if self.kind == "group" else None,
            "similarity": round(self.similarity, 3),
        }


@dataclass(frozen=True, slots=True)
class Leaks:
    """Every row of a lower side that leaks; ``complete`` is False where the search for near ones was cut short."""

    exact: tuple[Leak, ...] = ()
    group: tuple[Leak, ...] = ()
    near: tuple[Leak, ...] = ()
    complete: bool = True


def find(train: Sequence[Example], valid: Sequence[Example], test: Sequence[Example]) -> Leaks:
    """Compare train and valid with test, and train with valid.

    Exact: the same normalised input. Group: the same ``Example.group``. Near: at least 0.8 of all words and word
    pairs in common (Jaccard), which is one word changed in about fifteen; rows that leak exactly are not counted as
    near again.
    """
    sides: dict[Side, Sequence[Example]] = {"test": test, "valid": valid, "train": train}
    keys = {side: [key(e) for e in examples] for side, examples in sides.items()}
    groups = {side: [e.group for e in examples] for side, examples in sides.items()}
    exact = _shared("exact", sides, keys)
    leaking = {(leak.side, id(leak.row)) for leak in exact}
    near, complete = _near(sides, leaking)
    return Leaks(tuple(exact), tuple(_shared("group", sides, groups)), tuple(near), complete)


def _shared(
    kind: Literal["exact", "group"], sides: dict[Side, Sequence[Example]], values: dict[Side, Any]
) -> list[Leak]:
    higher: dict[str, tuple[Side, Example]] = {}
    leaks: list[Leak] = []
    for side, examples in sides.items():  # test first: it outranks the others
        here: dict[str, tuple[Side, Example]] = {}
        for value, example in zip(values[side], examples, strict=True):
            if value is None:
                continue
            if value in higher:
                other_side, other = higher[value]
                leaks.append(Leak(kind, example, side, other, other_side))
            else:
                here.setdefault(value, (side, example))
        higher.update(here)
    return leaks


def fix(leaks: Leaks) -> list[Leak]:
    """Return one leak for each row to leave out: the lower side of every exact and group leak.

    Test rows always stay, because test is what others published or what the last round was judged by.
    """
    seen: dict[int, Leak] = {}
    for leak in (*leaks.exact, *leaks.group):
        seen.setdefault(id(leak.row), leak)
    return list(seen.values())


def _near(sides: dict[Side, Sequence[Example]], leaking: set[tuple[Side, int]]) -> tuple[list[Leak], bool]:
    rows = [(side, e) for side, examples in sides.items() for e in examples]
    bags = _Bags([_words(e) for _, e in rows])
    start = {"test": 0, "valid": len(sides["test"]), "train": len(sides["test"]) + len(sides["valid"])}
    leaks: list[Leak] = []
    found: set[int] = set()
    budget = MAX_CHECKS
    ranks: tuple[tuple[Side, tuple[Side, ...]], ...] = (("test", ("valid", "train")), ("valid", ("train",)))
    for other_side, lower in ranks:
        left = [
            i
            for side in lower
            for i in range(start[side], start[side] + len(sides[side]))
            if i not in found and (side, id(rows[i][1])) not in leaking
        ]
        right = range(start[other_side], start[other_side] + len(sides[other_side]))
        pairs, budget = bags.join(left, right, budget)
        for i, j, similarity in pairs:
            found.add(i)
            leaks.append(Leak("near", rows[i][1], rows[i][0], rows[j][1], rows[j][0], similarity))
    return leaks, budget > 0


def _words(example: Example) -> list[str]:
    # A system prompt shared by all rows would make every two of them alike.
    turns = example.inputs.get("messages")
    text = "\n".join(t["content"] for t in turns if t["role"] != "system") if turns else example.inputs["text"]
    return _WORD.findall(text.lower() if text.isascii() else text.casefold())


class _Bags:
    """Sets of words and word pairs, as numbers that count up from the rarest, joined without comparing all pairs.

    Two sets with a Jaccard similarity of at least s share an element among the ``n - ceil(s n) + 1`` rarest of each
    (the prefix filter: Chaudhuri, Ganti, Kaushik 2006; Bayardo, Ma, Srikant 2007). Unlike MinHash, this misses no
    pair.
    """

    def __init__(self, texts: Sequence[Sequence[str]]) -> None:
        vocabulary: dict[str, int] = {}
        ids = np.fromiter((vocabulary.setdefault(w, len(vocabulary)) for t in texts for w in t), dtype=np.int64)
        lengths = np.fromiter((len(t) for t in texts), dtype=np.int64, count=len(texts))
        owner = np.repeat(np.arange(len(texts)), lengths)
        together = owner[1:] == owner[:-1]
        pairs = ((ids[:-1] + 1) << 32 | ids[1:])[together]
        codes, inverse, counts = np.unique(np.concatenate([ids, pairs]), return_inverse=True, return_counts=True)
        rank = np.empty(len(codes), dtype=np.int64)
        rank[np.argsort(counts, kind="stable")] = np.arange(len(codes))
        owners = np.concatenate([owner, owner[1:][together]])
        flat = np.unique(owners * max(1, len(codes)) + rank[inverse])
        self._items = flat % max(1, len(codes))
        self._starts = np.searchsorted(flat, np.arange(len(texts) + 1) * max(1, len(codes)))

    def items(self, index: int) -> list[int]:
        """Return a set's elements, the rarest first."""
        return self._items[self._starts[index] : self._starts[index + 1]].tolist()

    def join(self, left: Sequence[int], right: Sequence[int], budget: int) -> tuple[list[tuple[int, int, float]], int]:
        """Return for each of ``left`` its first partner in ``right`` and the similarity, and the budget left.

        Args:
            budget: how many candidates may be compared in full; at 0 the search ends, so that no data makes it endless.
        """
        where: dict[int, list[int]] = {}
        sets: dict[int, frozenset[int]] = {}
        for j in right:
            items = self.items(j)
            sets[j] = frozenset(items)
            for item in items[: _prefix(len(items))]:
                where.setdefault(item, []).append(j)
        pairs: list[tuple[int, int, float]] = []
        for i in left:
            items = self.items(i)
            partner, budget = self._partner(items, where, sets, budget)
            if partner is not None:
                pairs.append((i, *partner))
            if budget <= 0:
                break
        return pairs, budget

    @staticmethod
    def _partner(
        items: list[int],
        where: dict[int, list[int]],
        sets: dict[int, frozenset[int]],
        budget: int,
    ) -> tuple[tuple[int, float] | None, int]:
        mine = frozenset(items)
        tried: set[int] = set()
        least, most = math.ceil(SIMILAR * len(items) - 1e-9), len(items) / SIMILAR + 1e-9
        for item in items[: _prefix(len(items))]:
            for j in where.get(item, ()):
                theirs = sets[j]
                if j in tried or not least <= len(theirs) <= most:
                    continue
                tried.add(j)
                budget -= 1
                common = len(mine & theirs)
                similarity = common / (len(mine) + len(theirs) - common)
                if similarity >= SIMILAR - 1e-9:
                    return (j, similarity), budget
                if budget <= 0:
                    return None, budget
        return None, budget


def _prefix(size: int) -> int:
    return size - math.ceil(SIMILAR * size - 1e-9) + 1 if size else 0

"""The rows that can be asked about: each text once, at most so many, the same ones at every start."""

from __future__ import annotations

import hashlib
import heapq
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from luthier.base.records import Example
from luthier.data.dedupe import normalise

POOL_ROWS = 20_000
KNOWN_ROWS = 5_000


@dataclass(frozen=True, slots=True)
class Item:
    """One text to be labelled; ``known`` is the label it came with, and ``extra`` what is kept of its other columns."""

    id: str
    text: str
    file: str
    line: int
    known: str | None = None
    extra: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Pool:
    """``items`` to ask about, ``known`` ones to learn from at once, and how many ``rows`` of the source held a text.

    ``sampled`` says that there were more different texts than are taken.
    """

    items: tuple[Item, ...]
    known: tuple[Item, ...]
    labels: Mapping[str, int]
    rows: int
    sampled: bool


class _Sample:
    """Keeps the items whose ids are smallest: a sample that another row changes by one at most, and no order matters to."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._heap: list[tuple[int, Item]] = []
        self._ids: set[str] = set()
        self.full = False

    def wants(self, name: str) -> bool:
        """Whether an item of this id would be kept."""
        if name in self._ids:
            return False
        if len(self._heap) < self._size:
            return True
        self.full = True
        return -int(name, 16) > self._heap[0][0]

    def add(self, item: Item) -> None:
        entry = (-int(item.id, 16), item)
        if len(self._heap) < self._size:
            heapq.heappush(self._heap, entry)
        else:
            self._ids.discard(heapq.heapreplace(self._heap, entry)[1].id)
        self._ids.add(item.id)

    def items(self) -> tuple[Item, ...]:
        """Return the items in the order of their ids, which is a random order that never changes."""
        return tuple(item for _, item in sorted(self._heap, key=lambda entry: -entry[0]))


def row_id(text: str) -> str:
    """Return the id of a text; texts that differ only in case, width, white space or outer punctuation share it."""
    return hashlib.blake2b(normalise(text).encode("utf-8", "surrogatepass"), digest_size=8).hexdigest()


def gather(
    examples: Iterable[Example], *, again: bool = False, carry: Iterable[str] = (), limit: int = POOL_ROWS
) -> Pool:
    """Collect the texts to ask about.

    Args:
        again: ask about rows that have a label too.
        carry: columns that are kept with the answer, such as the one that a task divides by.
    """
    carry = tuple(carry)
    asked, known = _Sample(limit), _Sample(KNOWN_ROWS)
    labels: Counter[str] = Counter()
    rows = 0
    for example in examples:
        rows += 1
        text = str(example.inputs["text"])
        label = example.target if isinstance(example.target, str) else None
        if label is not None:
            labels[label] += 1
        sample = known if label is not None and not again else asked
        name = row_id(text)
        if sample.wants(name):
            extra = {column: example.extra[column] for column in carry if column in example.extra}
            sample.add(Item(name, text, example.source.file, example.source.line, label, extra))
    learnt = known.items()
    told = {item.id for item in learnt}
    return Pool(tuple(i for i in asked.items() if i.id not in told), learnt, labels, rows, asked.full)

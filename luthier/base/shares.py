"""Probabilities by label, of many rows: the rows share their labels, and a row takes the room of its numbers."""

from __future__ import annotations

from collections.abc import ItemsView, Iterator, Mapping, Sequence, ValuesView
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray


class Shares(Mapping[str, float]):
    """A row's numbers by label, as a dict has them, in an eighth of its room (100,000 rows of 150 labels: 0.1 GB, not 0.9)."""

    __slots__ = ("numbers", "places")

    def __init__(self, places: Mapping[str, int], numbers: NDArray[Any]) -> None:
        self.places = places
        self.numbers = numbers

    def __getitem__(self, label: str) -> float:
        return float(self.numbers[self.places[label]])

    def __iter__(self) -> Iterator[str]:
        return iter(self.places)

    def __len__(self) -> int:
        return len(self.places)

    # The mixins of Mapping would look every label up by itself.
    def items(self) -> ItemsView[str, float]:
        return self._dict().items()

    def values(self) -> ValuesView[float]:
        return self._dict().values()

    def __repr__(self) -> str:
        return repr(self._dict())

    def _dict(self) -> dict[str, float]:
        return dict(zip(self.places, self.numbers.tolist(), strict=True))


@lru_cache(maxsize=64)
def _places(labels: tuple[str, ...]) -> dict[str, int]:
    return {label: place for place, label in enumerate(labels)}


def shares(labels: Sequence[str], numbers_NL: NDArray[Any]) -> list[Shares]:
    """Return one mapping a row of numbers [n, labels]; they stay in the array that is given."""
    if numbers_NL.shape[1:] != (len(labels),):
        raise ValueError(f"{numbers_NL.shape} numbers for {len(labels)} labels")
    places = _places(tuple(labels))
    return [Shares(places, row) for row in numbers_NL]


def table_of(rows: Sequence[Mapping[str, float]], labels: Sequence[str]) -> NDArray[np.float64]:
    """Return the numbers of rows [n, labels]; 0 for a label that a row lacks."""
    found = np.zeros((len(rows), len(labels)))
    alike: dict[int, tuple[list[int], list[Shares]]] = {}
    for i, row in enumerate(rows):
        if isinstance(row, Shares):
            chosen, given = alike.setdefault(id(row.places), ([], []))
            chosen.append(i)
            given.append(row)
        else:
            found[i] = [row.get(label, 0.0) for label in labels]
    for chosen, given in alike.values():
        places = given[0].places
        columns = [column for column, label in enumerate(labels) if label in places]
        theirs = np.stack([row.numbers for row in given])  # at once: one by one takes ten times as long
        found[np.ix_(chosen, columns)] = theirs[:, [places[labels[column]] for column in columns]]
    return found

"""What a ranker knows beside its network: the items there are, what was relevant to whom, and what users did."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from luthier.base.files import read_json, write_json
from luthier.base.ranks import Popularity
from luthier.base.records import Example

# What another sequence of a row is to it, in ``Encoded.values``.
RELEVANT, NEGATIVE, HISTORY, SEEN = 1.0, 0.0, -1.0, -2.0
_FILE = "items.json"


def asker(inputs: Mapping[str, Any]) -> str:
    """Return the query or the user of a row."""
    return str(inputs.get("user", inputs.get("query", "")))


def gain_of(example: Example) -> float:
    value = example.extra.get("relevance")
    return 1.0 if value is None else float(value)


def look_at(rows: Iterable[Example]) -> dict[str, Any]:
    """Return what train rows say: ``relevant`` and ``negatives`` by asker, in their order, and whether askers are users."""
    relevant: dict[str, list[str]] = {}
    negatives: dict[str, list[str]] = {}
    users = False
    for row in rows:
        users = users or "user" in row.inputs
        where = relevant if gain_of(row) > 0 else negatives
        where.setdefault(asker(row.inputs), []).append(str(row.target))
    return {"relevant": relevant, "negatives": negatives, "users": users}


@dataclass(frozen=True)
class Known:
    """Items by number, and what was relevant to each asker of the train rows; ``histories`` are what a service starts from."""

    ids: tuple[str, ...]
    names: tuple[str, ...]
    texts: tuple[str, ...]
    users: bool
    relevant: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    negatives: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    histories: Mapping[str, Sequence[tuple[int, float]]] = field(default_factory=dict)
    popularity: Popularity = field(default_factory=Popularity)

    def __post_init__(self) -> None:
        place = {item: number for number, item in enumerate(self.ids)}
        by_name = {" ".join(name.casefold().split()): number for number, name in reversed(list(enumerate(self.names)))}
        object.__setattr__(self, "_place", place)
        object.__setattr__(self, "_by_name", by_name)

    @classmethod
    def of(cls, known: Mapping[str, Any]) -> Known:
        """Make it of what :func:`look_at` and :func:`luthier.data.ranking.united` found; without items, targets are items."""
        relevant, negatives = known["relevant"], known["negatives"]
        items = known.get("items") or {
            item: (item, item) for some in (relevant, negatives) for items in some.values() for item in items
        }
        ids = tuple(sorted(items))
        place = {item: number for number, item in enumerate(ids)}

        def numbers(by: Mapping[str, Sequence[str]]) -> dict[str, tuple[int, ...]]:
            return {who: tuple(place[i] for i in some if i in place) for who, some in by.items()}

        told = known.get("histories") or {}
        return cls(
            ids, tuple(items[i][0] for i in ids), tuple(items[i][1] for i in ids), bool(known["users"]),
            numbers(relevant), numbers(negatives),
            {who: tuple((place[i], gain) for i, gain in past if i in place) for who, past in told.items()},
            Popularity.of((who, item) for who, some in relevant.items() for item in some),
        )  # fmt: skip

    def __len__(self) -> int:
        return len(self.ids)

    def find(self, item: str) -> int | None:
        """Return the number of an item by its id, or by its name; None for one that is not known."""
        found: int | None = self._place.get(item)  # type: ignore[attr-defined]
        return found if found is not None else self._by_name.get(" ".join(item.casefold().split()))  # type: ignore[attr-defined]

    def save(self, folder: Path) -> None:
        """Write what a service needs; what was relevant in train is in the network and the interactions by then."""
        write_json(folder / _FILE, {
            "ids": list(self.ids), "names": list(self.names), "texts": list(self.texts), "users": self.users,
            "histories": {who: [list(pair) for pair in past] for who, past in self.histories.items()},
            "counts": dict(self.popularity.counts), "askers": self.popularity.askers,
        })  # fmt: skip

    @classmethod
    def load(cls, folder: Path) -> Known:
        values = read_json(folder / _FILE)
        histories = {who: tuple((int(n), float(g)) for n, g in past) for who, past in values["histories"].items()}
        return cls(
            tuple(values["ids"]), tuple(values["names"]), tuple(values["texts"]), bool(values["users"]),
            histories=histories, popularity=Popularity(values["counts"], int(values["askers"])),
        )  # fmt: skip

"""Short ways to make queries, users and items in tests."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

from making import section

from luthier.base.records import Example, Source
from luthier.models.catalogue import find
from luthier.models.load import open_base
from luthier.objectives.rank import Ranker
from luthier.spec.model import ModelSection

WORDS = ["parcel", "refund", "password", "lamp", "phone", "order", "app", "mail"]
ITEMS = {f"i{n}": (f"{word} guide", f"{word} guide; all about the {word}") for n, word in enumerate(WORDS)}


def query_rows(*, negatives: bool = False) -> list[Example]:
    """Return rows of 24 queries, each with its item and maybe one that is known to be wrong."""
    found = []
    for k, ask in enumerate(("where is my {}", "the {} does not work", "please help with the {}")):
        for n, word in enumerate(WORDS):
            query = {"query": ask.format(word)}
            place = Source("rows.csv", 2 + len(found))
            found.append(Example(f"q{k}-{n}", query, f"i{n}", place, query["query"], {"relevance": 1.0}))
            if negatives:
                wrong = f"i{(n + 1 + k) % len(WORDS)}"
                found.append(Example(f"n{k}-{n}", query, wrong, place, query["query"], {"relevance": 0.0}))
    return found


def user_rows(users: int = 12, *, seed: int = 0) -> list[Example]:
    """Return what users did in the order of time: each likes neighbouring items, and dislikes one."""
    rng = random.Random(seed)
    found = []
    for t in range(5):
        for user in range(users):
            item = (user + t) % len(WORDS)
            worth = 0.0 if t == rng.randint(1, 4) else 1.0
            place = Source("rows.csv", 2 + len(found))
            extra = {"relevance": worth, "time": 1000 + t}
            found.append(Example(f"u{user}-{t}", {"user": f"U{user}"}, f"i{item}", place, None, extra))
    return found


def ranker(folder: Path, rows: list[Example], *, pooling: Any = "auto", **known: Any) -> Ranker:
    base = open_base(find(str(folder)))
    told = {**Ranker.look(rows), "items": ITEMS, **known}
    return Ranker.create(base, labels=tuple(ITEMS), model=ModelSection(base=str(folder), pooling=pooling), known=told)


def settings(rows: int, **more: Any) -> Any:
    return section("rank", rows, method="full", **more)

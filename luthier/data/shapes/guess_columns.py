"""What one column of some rows looks like, and how well its name fits what it may be."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from luthier.base.records import Row

# In the order of trust: of two columns that fit, the one whose name stands first is taken.
TEXT = (
    "text", "message", "sentence", "utterance", "body", "comment", "review", "tweet", "post", "question", "query",
    "content", "email", "abstract", "article", "document", "description", "transcript", "request", "complaint", "note",
    "headline", "title", "subject", "input", "case",
)  # fmt: skip
LABEL = (
    "label", "category", "class", "queue", "intent", "sentiment", "topic", "target", "department", "tag", "emotion",
    "type", "polarity", "genre", "condition", "gold", "outcome", "urgency", "priority", "status", "rating", "stars",
)  # fmt: skip
_FLAGS = frozenset(("true", "false", "0", "1", "0.0", "1.0"))
_MANY_LABELS = 200
_LABEL_CHARS = 60
_LABEL_WORDS = 6
# Which objective, which column is what, and why.
Found = tuple[str, dict[str, str | list[str]], list[str]]


@dataclass(frozen=True, slots=True)
class Shape:
    """One column: how many cells are filled and of them different, their mean length, and whether they are words."""

    name: str
    rows: int
    filled: int
    distinct: int
    chars: float
    words: float
    numbers: float
    chats: bool
    flags: bool

    @property
    def varied(self) -> float:
        return self.distinct / max(1, self.filled)

    @property
    def is_text(self) -> bool:
        return self.varied > 0.3 and self.numbers < 0.2 and self.words >= 1.5 and self.filled > self.rows / 2

    @property
    def is_label(self) -> bool:
        few = 2 <= self.distinct <= max(2, min(_MANY_LABELS, self.filled // 3))
        return few and self.chars <= _LABEL_CHARS and self.words <= _LABEL_WORDS and self.filled > self.rows / 2

    @property
    def is_group(self) -> bool:
        return self.filled > self.rows / 2 and self.distinct >= max(10, self.rows // 100) and self.varied < 0.95


def shapes_of(rows: Sequence[Row]) -> Iterable[Shape]:
    for name in dict.fromkeys(key for row in rows for key in row.values):
        values = [row.values.get(name) for row in rows]
        filled = [v for v in values if v is not None and (not isinstance(v, str) or v.strip())]
        chats = sum(_is_chat(v) for v in filled) > len(filled) / 2
        texts = [str(v).strip() for v in filled if not isinstance(v, list | dict)]
        if len(texts) < len(filled) / 2:
            texts = []
        size = max(1, len(texts))
        yield Shape(
            name,
            len(rows),
            len(filled),
            len(set(texts)),
            sum(map(len, texts)) / size,
            sum(len(t.split()) for t in texts) / size,
            sum(bool(re.fullmatch(r"[-+]?[\d.,]+", t)) for t in texts) / size,
            chats,
            bool(texts) and len(set(texts)) == 2 and all(t.lower() in _FLAGS for t in texts),
        )


def _is_chat(value: Any) -> bool:
    if not (isinstance(value, list) and value and isinstance(value[0], dict)):
        return False
    return bool({"role", "from"} & value[0].keys()) and bool({"content", "value"} & value[0].keys())


def rank_of(name: str, known: Sequence[str]) -> int | None:
    """Return how well a column's name fits: its place in ``known``, whole names first; None where it does not fit."""
    whole = name.strip().lower()
    if whole in known:
        return known.index(whole)
    parts = re.split(r"[\W\d_]+", re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name).lower())
    ranks = [known.index(p) for part in parts for p in (part, part.removesuffix("s")) if p in known]
    return min(ranks) + len(known) if ranks else None


def best_of(shapes: Iterable[Shape], known: Sequence[str]) -> Shape | None:
    ranked = [(rank, i, s) for i, s in enumerate(shapes) if (rank := rank_of(s.name, known)) is not None]
    return min(ranked)[2] if ranked else None

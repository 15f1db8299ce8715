"""Look at rows and say what they could teach: objective and columns, by name first and then by shape."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

from luthier.base.errors import DataError, Fault
from luthier.base.records import Row
from luthier.data.sources import read_rows

ROWS = 2_000
_MOST_ROWS = 100_000
_FILES = 8

# In the order of trust: of two columns that fit, the one whose name stands first is taken.
_TEXT = (
    "text", "message", "sentence", "utterance", "body", "comment", "review", "tweet", "post", "question", "query",
    "content", "email", "abstract", "article", "document", "description", "transcript", "request", "complaint", "note",
    "headline", "title", "subject", "input", "case",
)  # fmt: skip
_LABEL = (
    "label", "category", "class", "queue", "intent", "sentiment", "topic", "target", "department", "tag", "emotion",
    "type", "polarity", "genre", "condition", "gold", "outcome", "urgency", "priority", "status", "rating", "stars",
)  # fmt: skip
_PROMPT = (
    "prompt", "instruction", "question", "query", "input", "dialogue", "dialog", "source", "document", "article",
    "original", "text", "context", "request",
)  # fmt: skip
_COMPLETION = (
    "completion", "response", "answer", "output", "reply", "summary", "translation", "target", "solution", "chosen",
)  # fmt: skip
_BY = (
    "customer", "user", "patient", "client", "group", "account", "author", "session", "conversation", "thread",
    "speaker", "subject", "person", "member", "household", "student", "device", "company",
)  # fmt: skip
_CHATS = ("messages", "conversations", "conversation", "dialogue", "turns")

_MANY_LABELS = 200
_LABEL_CHARS = 60
_LABEL_WORDS = 6


@dataclass(frozen=True, slots=True)
class Guess:
    """What the rows look like; ``columns`` and ``by`` go into a task file as they stand, ``reasons`` say why."""

    objective: str
    columns: dict[str, str]
    by: str | None
    label_counts: dict[str, int]
    reasons: list[str]
    rows_looked_at: int
    problems: list[Fault] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class _Shape:
    """One column: how many cells are filled and of them different, their mean length, and whether they are words."""

    name: str
    rows: int
    filled: int
    distinct: int
    chars: float
    words: float
    numbers: float
    chats: bool

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


def guess(paths: Sequence[Path]) -> Guess:
    """Say objective and columns after a look at up to 2,000 rows spread over the files.

    Raises:
        DataError: no row could be read, or nothing in them looks like a task; the columns are listed.
    """
    faults: list[Fault] = []
    rows = _sample(paths, faults)
    if not rows:
        raise DataError.of(faults or [Fault("there are no rows to look at", ", ".join(map(str, paths)))])
    shapes = {shape.name: shape for shape in _shapes(rows)}
    found = _chat(shapes) or _alpaca(shapes) or _named(shapes) or _shaped(shapes)
    if found is None:
        listed = ", ".join(list(shapes)[:20])
        raise DataError(
            f"nothing here looks like a text with a label, or a prompt with an answer. Columns: {listed}.",
            where=str(paths[0]),
            mend="Write the task file by hand: data.columns says which column is what.",
        )
    objective, columns, reasons = found
    counts = _count(rows, columns["label"]) if objective == "classify" else {}
    by = _group(shapes, set(columns.values()))
    if by:
        reasons.append(f'"{by}" repeats: its rows stay on one side of the split')
    return Guess(objective, columns, by, counts, reasons, len(rows), faults)


def _sample(paths: Sequence[Path], faults: list[Fault]) -> list[Row]:
    """Take rows evenly from the whole of each file: files sorted by label would show only one at their top."""
    taken: list[Row] = []
    paths = paths[:_FILES]
    share = ROWS // max(1, len(paths))
    for path in paths:
        kept: list[Row] = []
        step = 1
        for number, row in enumerate(islice(read_rows(path, faults=faults), _MOST_ROWS)):
            if number % step == 0:
                kept.append(row)
            if len(kept) > 2 * share:
                kept, step = kept[::2], step * 2
        taken += [kept[int(i * len(kept) / share)] for i in range(share)] if len(kept) > share else kept
    return taken


def _shapes(rows: Sequence[Row]) -> Iterable[_Shape]:
    for name in dict.fromkeys(key for row in rows for key in row.values):
        values = [row.values.get(name) for row in rows]
        filled = [v for v in values if v is not None and (not isinstance(v, str) or v.strip())]
        chats = sum(_is_chat(v) for v in filled) > len(filled) / 2
        texts = [str(v).strip() for v in filled if not isinstance(v, list | dict)]
        if len(texts) < len(filled) / 2:
            texts = []
        size = max(1, len(texts))
        yield _Shape(
            name,
            len(rows),
            len(filled),
            len(set(texts)),
            sum(map(len, texts)) / size,
            sum(len(t.split()) for t in texts) / size,
            sum(bool(re.fullmatch(r"[-+]?[\d.,]+", t)) for t in texts) / size,
            chats,
        )


def _is_chat(value: Any) -> bool:
    if not (isinstance(value, list) and value and isinstance(value[0], dict)):
        return False
    return bool({"role", "from"} & value[0].keys()) and bool({"content", "value"} & value[0].keys())


def _rank(name: str, known: Sequence[str]) -> int | None:
    """Return how well a column's name fits: its place in ``known``, whole names first; None where it does not fit."""
    whole = name.strip().lower()
    if whole in known:
        return known.index(whole)
    parts = re.split(r"[\W\d_]+", re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name).lower())
    ranks = [known.index(p) for part in parts for p in (part, part.removesuffix("s")) if p in known]
    return min(ranks) + len(known) if ranks else None


def _best(shapes: Iterable[_Shape], known: Sequence[str]) -> _Shape | None:
    ranked = [(rank, i, s) for i, s in enumerate(shapes) if (rank := _rank(s.name, known)) is not None]
    return min(ranked)[2] if ranked else None


Found = tuple[str, dict[str, str], list[str]]


def _chat(shapes: dict[str, _Shape]) -> Found | None:
    chats = [s for s in shapes.values() if s.chats]
    best = _best(chats, _CHATS) or (chats[0] if chats else None)
    if best is None:
        return None
    return "generate", {"messages": best.name}, [f'"{best.name}" holds conversations, turn by turn']


def _alpaca(shapes: dict[str, _Shape]) -> Found | None:
    if not (
        "instruction" in shapes and "output" in shapes and shapes["instruction"].filled and shapes["output"].filled
    ):
        return None
    columns = {"prompt": "instruction", "completion": "output"}
    if "input" in shapes:
        columns["input"] = "input"
    return "generate", columns, ["instruction and output are the columns of the Alpaca format"]


def _named(shapes: dict[str, _Shape]) -> Found | None:
    """Decide by names, where the shapes agree with them; a label is looked for before an answer."""
    texts = [s for s in shapes.values() if s.is_text and not s.is_label]
    labels = [s for s in shapes.values() if s.is_label]
    label = _best(labels, _LABEL)
    text = _best((s for s in texts if s is not label), _TEXT)
    answer = _best(texts, _COMPLETION)
    asked = _best((s for s in texts if s is not answer), _PROMPT)
    pair = answer is not None and asked is not None
    # "question, answer, type" is a pair with a remark, "text, label, answer" a labelled text: the text's name decides.
    text_like = text is not None and (not pair or text.name != asked.name)  # type: ignore[union-attr]
    if label is not None and text is not None and (not pair or text_like):
        return _labelled(text, label, f'"{label.name}" is named like a label and has {label.distinct} values')
    if pair:
        return _answered(asked, answer, "named like a prompt and its answer")  # type: ignore[arg-type]
    if label is not None and texts:
        longest = max((s for s in texts if s is not label), key=lambda s: s.chars)
        return _labelled(longest, label, f'"{label.name}" is named like a label and has {label.distinct} values')
    return None


def _shaped(shapes: dict[str, _Shape]) -> Found | None:
    """Decide by shape: few different short values are a label, the longest varied column is the text."""
    texts = sorted((s for s in shapes.values() if s.is_text and not s.is_label), key=lambda s: -s.chars)
    if not texts:
        return None
    text = _best(texts, _TEXT) or texts[0]
    labels = sorted(
        (s for s in shapes.values() if s.is_label and s is not text), key=lambda s: (s.numbers > 0.5, s.distinct)
    )
    if labels:
        return _labelled(text, labels[0], f'"{labels[0].name}" has only {labels[0].distinct} short values')
    long = [s for s in shapes.values() if s in texts and s.words >= 3]
    if len(long) == 2:
        return _answered(long[0], long[1], "the two columns of text, in the order of the file")
    return None


def _labelled(text: _Shape, label: _Shape, why: str) -> Found:
    reasons = [why, f'"{text.name}" holds varied text, {text.words:.0f} words on average']
    return "classify", {"text": text.name, "label": label.name}, reasons


def _answered(asked: _Shape, answer: _Shape, why: str) -> Found:
    columns = {"prompt": asked.name, "completion": answer.name}
    return "generate", columns, [f'"{asked.name}" and "{answer.name}" are {why}']


def _group(shapes: dict[str, _Shape], used: set[str]) -> str | None:
    groups = [s for s in shapes.values() if s.name not in used and s.is_group and s.words < 4 and not s.chats]
    best = _best(groups, _BY)
    return best.name if best else None


def _count(rows: Sequence[Row], name: str) -> dict[str, int]:
    labels = (str(row.values.get(name)).strip() for row in rows if row.values.get(name) is not None)
    return dict(Counter(label for label in labels if label).most_common())

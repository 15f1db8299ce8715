"""Recognise texts that are judged by more than one label: sets of labels, and scores."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from typing import Any

from luthier.base.records import Row
from luthier.base.scales import scale_of, step_of
from luthier.data.shapes.cells import Unusable
from luthier.data.shapes.guess_columns import LABEL, TEXT, Found, Shape, best_of
from luthier.data.shapes.label_sets import labels_in

_SETS_NAMES = ("labels", "tags", "topics", "categories", "genres", "classes", *LABEL)
# A comma stands in sentences too, so only these tell a set by themselves.
_MARKS = ("|", ";")
_MOST_LABELS = 500
_LABEL_CHARS = 60
_OFTEN = 3


_SCORES = ("score", "scores", "overall", "mark", "marks", "points", "band", "proficiency", "grade")
_MOST_SCORES = 60


def judged(rows: Sequence[Row], shapes: dict[str, Shape]) -> Found | None:
    """Return objective and columns where a column beside a text holds sets of labels or scores; None of others."""
    return _sets(rows, shapes) or _scores(rows, shapes)


def _scores(rows: Sequence[Row], shapes: dict[str, Shape]) -> Found | None:
    """Take a column named like a score, and with it those that hold numbers of the same scale: its traits."""
    values = {s.name: known for s in shapes.values() if s.numbers > 0.9 and (known := _numbers(rows, s.name))}
    main = best_of((s for s in shapes.values() if 3 <= len(values.get(s.name, ())) <= _MOST_SCORES), _SCORES)
    texts = [s for s in shapes.values() if s.is_text]
    if main is None or not texts:
        return None
    low, high, step = scale_of(sorted(values[main.name]))
    traits = [
        name
        for name, known in values.items()
        if len(known) >= 3 and low <= min(known) and max(known) <= high and step_of(known) == step
    ]
    text = best_of(texts, TEXT) or max(texts, key=lambda s: s.chars)
    score: str | list[str] = main.name if len(traits) == 1 else [main.name, *(t for t in traits if t != main.name)]
    more = f", and {len(traits) - 1} columns more are on its scale" if len(traits) > 1 else ""
    reasons = [f'"{main.name}" is named like a score and goes from {low:g} to {high:g} by {step:g}{more}']
    return "grade", {"text": text.name, "score": score}, reasons


def _numbers(rows: Sequence[Row], name: str) -> set[float]:
    found = set()
    for row in rows:
        try:
            found.add(float(row.values.get(name)))  # type: ignore[arg-type]
        except (TypeError, ValueError):
            continue
    return {value for value in found if math.isfinite(value)}


def _sets(rows: Sequence[Row], shapes: dict[str, Shape]) -> Found | None:
    found = [(name, told) for name in shapes if (told := _set_column([row.values.get(name) for row in rows]))]
    if not found:
        return None
    named = best_of((shapes[name] for name, _ in found), _SETS_NAMES)
    label = named.name if named else found[0][0]
    texts = [s for s in shapes.values() if s.is_text and s.name != label]
    if not texts:
        return None
    text = best_of(texts, TEXT) or max(texts, key=lambda s: s.chars)
    reasons = [
        f'"{label}" holds {dict(found)[label]}',
        f'"{text.name}" holds varied text, {text.words:.0f} words on average',
    ]
    return "multilabel", {"text": text.name, "label": label}, reasons


def _set_column(values: Sequence[Any]) -> str:
    """Return what a column of label sets is, in words; empty where it is none."""
    filled = [v for v in values if v is not None and v != ""]
    if len(filled) < len(values) / 3:
        return ""
    listed = sum(isinstance(v, list | tuple) or (isinstance(v, str) and v.lstrip().startswith("[")) for v in filled)
    mark = "" if listed > len(filled) / 2 else next((m for m in _MARKS if _parted(filled, m)), "")
    if not mark and listed <= len(filled) / 2:
        return ""
    count: Counter[str] = Counter()
    for value in filled:
        try:
            count.update(labels_in(value, mark) or ())
        except Unusable:
            return ""
    few = 2 <= len(count) <= min(_MOST_LABELS, max(2, count.total() // _OFTEN))
    if not few or max(map(len, count)) > _LABEL_CHARS:
        return ""
    return f"lists of {len(count)} labels" if not mark else f"{len(count)} labels parted by {mark}"


def _parted(values: Sequence[Any], mark: str) -> bool:
    return sum(isinstance(v, str) and mark in v for v in values) >= max(2, len(values) / 20)

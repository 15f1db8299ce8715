"""Recognise texts with several labels: lists of words that repeat, or cells of words with one mark between them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

from luthier.base.records import Row
from luthier.data.shapes.cells import Unusable
from luthier.data.shapes.guess_columns import LABEL, TEXT, Found, Shape, best_of
from luthier.data.shapes.label_sets import labels_in

_SETS = ("labels", "tags", "topics", "categories", "genres", "classes", *LABEL)
# A comma stands in sentences too, so only these tell a set by themselves.
_MARKS = ("|", ";")
_MOST_LABELS = 500
_LABEL_CHARS = 60
_OFTEN = 3


def judged(rows: Sequence[Row], shapes: dict[str, Shape]) -> Found | None:
    """Return objective and columns where a column holds sets of labels beside a text; None of others."""
    found = [(name, told) for name in shapes if (told := _set_column([row.values.get(name) for row in rows]))]
    if not found:
        return None
    named = best_of((shapes[name] for name, _ in found), _SETS)
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

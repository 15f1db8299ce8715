"""Rows that are one text: with a label, with the votes of several annotators, or alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from luthier.data.shapes.cells import EMPTY_TEXT, Unusable, label_of, text_of, word_of
from luthier.data.shapes.layout import Layout, Scheme, no_column
from luthier.data.shapes.votes import ANNOTATORS, VOTES, majority, votes_in


def text_scheme(layout: Layout) -> Scheme | None:
    before = len(layout.faults)
    text = layout.find("text")
    if len(layout.faults) > before:
        return None

    def read(values: Mapping[str, Any]) -> tuple[dict[str, Any], str, None]:
        words = text_of(values.get(text))
        if not words:
            raise Unusable(EMPTY_TEXT)
        return {"text": words}, "", None

    return Scheme(text if text == "text" else f"text in {text}", frozenset((text,)), read)


def classify_scheme(layout: Layout) -> Scheme | None:
    before = len(layout.faults)
    text = layout.find("text")
    told = layout.columns.get("label", "label")
    labels: Sequence[str] = (told,) if isinstance(told, str) else tuple(told)
    for label in labels:
        if layout.need_target and label not in layout.keys:
            if isinstance(told, str):
                layout.find("label")
            else:
                layout.faults.append(no_column(label, layout.keys, layout.where, "data.columns.label"))
    who = layout.find("annotator") if "annotator" in layout.columns else ""
    if len(layout.faults) > before:
        return None
    there = [label for label in labels if label in layout.keys]
    used = frozenset((text, *labels, *([who] if who else [])))
    name = ", ".join((text, *there, *([f"by {who}"] if who else [])))
    return Scheme(name, used, _labelled(text, labels, who))


def _labelled(text: str, labels: Sequence[str], who: str) -> Any:
    label = labels[0]
    several = len(labels) > 1

    def read(values: Mapping[str, Any]) -> tuple[dict[str, Any], str | None, Mapping[str, Any] | None]:
        words = text_of(values.get(text))
        if not words:
            raise Unusable(EMPTY_TEXT)
        if who:
            vote = label_of(values.get(label))
            name = word_of(values.get(who))
            return {"text": words}, vote, {VOTES: [vote] if vote else [], ANNOTATORS: [name] if name else []}
        cell = values.get(label)
        if not several and not isinstance(cell, list | tuple):
            return {"text": words}, label_of(cell), None
        votes = votes_in([values.get(name) for name in labels])
        more: dict[str, Any] = {VOTES: votes}
        if several:
            more[ANNOTATORS] = [name for name in labels if label_of(values.get(name)) is not None]
        return {"text": words}, majority(votes), more

    return read

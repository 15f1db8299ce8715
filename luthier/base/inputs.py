"""What the inputs of an example hold, whatever the objective: one text under some name, or the turns of a conversation."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from luthier.base.records import Example

# A text to be judged, a document to be summarised, a query or a user to find items for.
ONE_TEXT = ("text", "document", "query", "user")


def text_name(inputs: Mapping[str, Any]) -> str | None:
    """Return under which name the inputs hold their one text; None for the turns of a conversation."""
    return next((name for name in ONE_TEXT if name in inputs), None)


def is_labelled(example: Example) -> bool:
    """Whether the target is a class or a number and not a text: classify, multilabel, grade (and ``text``, which has none)."""
    return "text" in example.inputs


def with_text(inputs: Mapping[str, Any], text: str) -> dict[str, Any]:
    """Return the inputs with another text in the place of their one text."""
    name = text_name(inputs)
    if name is None:
        raise KeyError("a conversation has no one text")
    return {**inputs, name: text}


def stratum(example: Example) -> str:
    """Return the class that a division keeps the shares of: a label, a set of labels, a band of scores; else nothing.

    Answers, summaries and items are not classes: without them, all rows are one.
    """
    target = example.target
    if target is None or not is_labelled(example):
        return ""
    if isinstance(target, str):
        return target
    if isinstance(target, Mapping):
        known = [float(v) for v in target.values() if v is not None]
        return str(round(sum(known) / len(known))) if known else ""
    return " + ".join(map(str, target))

"""What the inputs of an example hold, whatever the objective: one text under some name, or the turns of a conversation."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
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


def with_asked(inputs: Mapping[str, Any], change: Callable[[str], str | None]) -> dict[str, Any] | None:
    """Return the inputs with what is asked changed, the one text or the last thing a user said; None where nothing was."""
    name = text_name(inputs)
    if name is not None:
        changed = change(str(inputs[name]))
        return None if changed is None else {**inputs, name: changed}
    turns: Sequence[Mapping[str, Any]] = inputs["messages"]
    at = max((i for i, turn in enumerate(turns) if turn["role"] == "user"), default=None)
    changed = None if at is None else change(str(turns[at]["content"]))
    if at is None or changed is None:
        return None
    return {**inputs, "messages": [*turns[:at], {**turns[at], "content": changed}, *turns[at + 1 :]]}


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

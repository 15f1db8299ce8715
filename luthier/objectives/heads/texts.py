"""What a label says of itself: its description, or its name where that is made of words."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

_CAMEL = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")
_SEPARATORS = re.compile(r"[\W_]+", re.UNICODE)
# Words that number classes and say nothing of what is in them.
_EMPTY = frozenset(("label", "class", "category", "cat", "topic", "intent", "type", "group", "cluster", "target", "lbl", "cls", "id", "no"))  # fmt: skip


def label_text(label: str, description: str | None = None) -> str | None:
    """Return what a label says, as a reader would say it, or None where it says nothing.

    A description counts as it is. A name is cut into words (``card_arrival``, ``cardArrival``); one that is nothing but
    a number, a letter or a numbered "class" is no evidence. Whether words help is for cross-validation to say.
    """
    if description and description.strip():
        return " ".join(description.split())
    words = [word for word in _SEPARATORS.split(_CAMEL.sub(" ", label)) if word]
    telling = [w for w in words if not any(c.isdigit() for c in w) and len(w) > 1 and w.lower() not in _EMPTY]
    return " ".join(words).lower() if telling else None


def label_texts(labels: Sequence[str], descriptions: Mapping[str, str] | None = None) -> list[str | None]:
    """Return the text of each label; all None where two labels would say the same, which tells nothing apart."""
    given = descriptions or {}
    texts = [label_text(label, given.get(label)) for label in labels]
    told = [text for text in texts if text is not None]
    return texts if len(set(told)) == len(told) else [None] * len(labels)

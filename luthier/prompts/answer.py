"""Generated ids back to text."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any


def answer_text(tokenizer: Any, ids: Sequence[int], ends: Sequence[int]) -> tuple[str, str]:
    """Return the answer and why it ended: ``stop`` at an end token, ``length`` otherwise."""
    finish = "length"
    for index, token in enumerate(ids):
        if token in ends:
            ids, finish = ids[:index], "stop"
            break
    return tokenizer.decode(list(ids), skip_special_tokens=True).strip(), finish

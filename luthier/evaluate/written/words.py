"""Words of a text in any script, and how much of a text says again what it said."""

from __future__ import annotations

import re

# Chinese and Japanese write no spaces: there every character is a word. Elsewhere a word may hold an apostrophe or a hyphen.
_WORD = re.compile(r"[\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff]|[^\W_\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff]+(?:['’-][^\W_]+)*")
# So many words in the same order are no accident within one answer.
RUN = 4


def words_of(text: str) -> list[str]:
    """Return the words of a text without marks, case folded."""
    return [word.casefold() for word in _WORD.findall(text)]


def repetition(text: str) -> float | None:
    """Return the share of runs of four words that stood in the text before; None where it has no such run.

    seq-rep-4 of Welleck et al. 2020, https://arxiv.org/abs/1908.04319.
    """
    words = words_of(text)
    runs = [tuple(words[i : i + RUN]) for i in range(len(words) - RUN + 1)]
    return 1 - len(set(runs)) / len(runs) if runs else None

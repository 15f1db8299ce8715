"""What answers say word for word as a train row says it: found in one pass over the train rows, with memory for the answers alone.

Twelve words in the same order are long enough that two people do not choose them independently, and short enough to see a name with
an address, or one sentence, given away; the fifty tokens of Carlini et al. (2023, https://arxiv.org/abs/2202.07646) are longer than most
answers a task file is about.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from luthier.base.records import Example
from luthier.evaluate.written.words import words_of

SPAN = 12


@dataclass(frozen=True, slots=True)
class Recited:
    """The longest run of words that an answer has from one train row, where the first such row stands, and how many rows have it.

    What many rows have is a set phrase; what one has may be somebody's.
    """

    text: str
    words: int
    place: str
    rows: int = 1


class Reciting:
    """Answers, cut into runs of twelve words that neither their input nor the wanted answer holds."""

    def __init__(self) -> None:
        self._runs: dict[str, list[tuple[int, int]]] = {}
        self._ends: set[tuple[str, str]] = set()
        self._words: list[list[str]] = []
        self._found: list[Recited | None] = []

    def add(self, answer: str, *others: str) -> int:
        """Take in an answer and what may be said again in it (input, wanted answer); return its number."""
        number, words = len(self._words), words_of(answer)
        self._words.append(words)
        self._found.append(None)
        allowed = {run for other in others for run in _runs_of(words_of(other))} if len(words) >= SPAN else set()
        for at, run in enumerate(_runs_of(words)):
            if run not in allowed:
                self._runs.setdefault(run, []).append((number, at))
                self._ends.add((words[at], words[at + SPAN - 1]))
        return number

    def read(self, rows: Iterable[Example]) -> None:
        """Go over the answers of the train rows, one row in memory at a time: nothing else of them was learnt."""
        if not self._runs:
            return
        for row in rows:
            self._read(words_of(str(row.target)), row)

    def _read(self, words: list[str], row: Example) -> None:
        hits: dict[int, set[int]] = {}
        for i in range(len(words) - SPAN + 1):
            # Joining twelve words for every place of every row would cost most of the time.
            if (words[i], words[i + SPAN - 1]) in self._ends:
                for number, at in self._runs.get(" ".join(words[i : i + SPAN]), ()):
                    hits.setdefault(number, set()).add(at)
        for number, places in hits.items():
            start, size = _longest(places)
            known = self._found[number]
            text = " ".join(self._words[number][start : start + size])
            if known is None or size > known.words:
                self._found[number] = Recited(text, size, str(row.source))
            elif text == known.text:
                self._found[number] = replace(known, rows=known.rows + 1)

    def found(self, number: int) -> Recited | None:
        """Return what an answer recites; None where it recites nothing."""
        return self._found[number]


def _runs_of(words: Sequence[str]) -> list[str]:
    return [" ".join(words[i : i + SPAN]) for i in range(len(words) - SPAN + 1)]


def _longest(places: set[int]) -> tuple[int, int]:
    """Return start and length, in words, of the longest run that neighbouring places make."""
    best, start, before = (0, 0), -1, -2
    for place in sorted(places):
        start = start if place == before + 1 else place
        before = place
        best = max(best, (place - start + SPAN, -start))
    return -best[1], best[0]

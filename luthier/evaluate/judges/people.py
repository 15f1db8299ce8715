"""What people said of answers before a judge was asked: read from a file, one row an answer, one column a person."""

from __future__ import annotations

import itertools
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from luthier.base.errors import DataError, Fault, did_you_mean
from luthier.base.records import Row
from luthier.data.sources import open_sources
from luthier.evaluate.judges.ask import FIRST, SECOND, TIE, Item
from luthier.prompts.template import spoken
from luthier.spec.data import DataSection
from luthier.spec.judge import OVERALL, Judge

# Fewer rated rows say next to nothing of agreement: its interval would reach from chance to perfect.
FEWEST = 30
_WORDS = {FIRST: FIRST, "1": FIRST, "a": FIRST, SECOND: SECOND, "2": SECOND, "b": SECOND, TIE: TIE, "0": TIE, "equal": TIE, "both": TIE}
_AT = "evaluate.judge.human"


@dataclass(frozen=True)
class Rated:
    """Rows that people rated: ``items``, and by criterion what each person said of each row (None where nothing)."""

    items: Sequence[Item] = ()
    said: Mapping[str, Sequence[Sequence[Any]]] = field(default_factory=dict)

    def known(self, criterion: str) -> list[int]:
        """Return the places of the rows that somebody rated by this criterion."""
        return [i for i, said in enumerate(self.said.get(criterion, ())) if any(one is not None for one in said)]

    def word(self, criterion: str, place: int) -> Any:
        """Return what people said of a row together: the mean mark rounded, or what most chose (a tie where none has most)."""
        said = [one for one in self.said[criterion][place] if one is not None]
        if isinstance(said[0], str):
            ranked = Counter(said).most_common(2)
            return TIE if len(ranked) == 2 and ranked[0][1] == ranked[1][1] else ranked[0][0]
        return float(math.floor(sum(said) / len(said) + 0.5))

    def pairs(self, criterion: str) -> list[tuple[list[int], list[Any], list[Any]]]:
        """Return for each two people the places they both rated, with what each said."""
        rows, found = self.said.get(criterion, ()), []
        people = range(max((len(said) for said in rows), default=0))
        for one, two in itertools.combinations(people, 2):
            both = [i for i, said in enumerate(rows) if said[one] is not None and said[two] is not None]
            if both:
                found.append((both, [rows[i][one] for i in both], [rows[i][two] for i in both]))
        return found


def read(settings: Judge, *, base: Path) -> Rated:
    """Return the rated rows of ``settings.human``; none where no file is named.

    Raises:
        DataError: with every fault of the file and its columns, and where too few rows are rated.
    """
    if settings.human is None:
        return Rated()
    faults: list[Fault] = []
    rows = [row for origin in open_sources(settings.human, base, data=DataSection(source=settings.human))
            for row in origin.rows(faults=faults)]  # fmt: skip
    if not faults:
        faults = _column_faults(settings, rows)
    if faults:
        raise DataError.of(faults)
    columns = _columns(settings)
    items: list[Item] = []
    said: dict[str, list[list[Any]]] = {name: [] for name in settings.named()}
    for row in rows:
        items.append(_item(settings, row, columns))
        for name in said:
            said[name].append([_rating(settings, row, column, faults) for column in columns[name]])
    rated = Rated(items, said)
    for name in said:
        if not faults and (count := len(rated.known(name))) < FEWEST:
            what = f'{count} rows are rated by "{name}", which says nothing of agreement'
            faults.append(Fault(what, _AT, f"Rate {FEWEST} at least; a hundred make the interval narrow enough for most bars."))
    if faults:
        raise DataError.of(faults)
    return rated


def _columns(settings: Judge) -> dict[str, list[str]]:
    """Return the columns of everything a rated row may have, by what they are."""
    names = ["prompt", "reference", *(("first", "second") if settings.mode == "pairwise" else ("answer",)), *settings.named()]
    found = {}
    for name in names:
        usual = {OVERALL: "choice" if settings.mode == "pairwise" else "score"}.get(name, name)
        given = settings.human_columns.get(name, settings.human_columns.get(usual, usual))
        found[name] = [given] if isinstance(given, str) else list(given)
    return found


def _column_faults(settings: Judge, rows: Sequence[Row]) -> list[Fault]:
    columns, where = _columns(settings), "evaluate.judge.human_columns"
    usual = "choice" if settings.mode == "pairwise" else "score"
    allowed = {*columns, usual} if OVERALL in columns else set(columns)
    faults = [
        Fault(f'"{name}" is nothing that a rated row has', where, did_you_mean(name, allowed) or f"Known: {', '.join(sorted(allowed))}.")
        for name in settings.human_columns if name not in allowed
    ]  # fmt: skip
    there = list(dict.fromkeys(name for row in rows[:100] for name in row.values))
    for what, named in columns.items():
        needed = what != "reference" or "reference" in settings.human_columns or settings.reference == "on"
        for column in named:
            if needed and column not in there:
                mend = did_you_mean(column, there) or f"Columns: {', '.join(there)}."
                faults.append(Fault(f'{settings.human} has no column "{column}" for {what}', where, f"{mend} Say which it is here."))
    return faults


def _item(settings: Judge, row: Row, columns: Mapping[str, list[str]]) -> Item:
    prompt = "\n\n".join(text for column in columns["prompt"] if (text := _text(row.values.get(column))))
    reference = _text(row.values.get(columns["reference"][0])) or None
    if settings.mode == "pairwise":
        first, second = (_text(row.values.get(columns[name][0])) for name in (FIRST, SECOND))
        return Item(prompt, first, second, reference, group=prompt)
    return Item(prompt, _text(row.values.get(columns["answer"][0])), None, reference, group=prompt)


def _text(value: Any) -> str:
    if isinstance(value, list) and all(isinstance(turn, Mapping) for turn in value):
        return "\n".join(spoken(turn) for turn in value)
    return "" if value is None else str(value)


def _rating(settings: Judge, row: Row, column: str, faults: list[Fault]) -> Any:
    """Return a mark or a choice; None where nothing was said. What cannot be read is a fault with its line."""
    value = row.values.get(column)
    if value is None or str(value).strip() == "":
        return None
    said = str(value).strip()
    if settings.mode == "pairwise":
        if (word := _WORDS.get(said.casefold())) is None:
            faults.append(Fault(f'"{said[:40]}" in {column} is no choice', str(row.source), "Write first, second or tie (or 1, 2, 0)."))
        return word
    low, high = settings.scale
    try:
        mark = float(said)
    except ValueError:
        mark = float("nan")
    if not low <= mark <= high:
        faults.append(Fault(f'"{said[:40]}" in {column} is no mark from {low} to {high}', str(row.source), "Mend it, or evaluate.judge.scale."))
        return None
    return mark

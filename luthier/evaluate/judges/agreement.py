"""How far a judge agrees with people beyond chance: kappa, Spearman's correlation, the share of equal opinions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from luthier.base.endpoint import Unanswered
from luthier.evaluate.intervals import Interval, interval_of, unit_codes
from luthier.evaluate.judges.ask import FIRST, SECOND, TIE, Choice, Mark, Opinion
from luthier.evaluate.judges.people import Rated
from luthier.evaluate.tables.common import Floats, tally
from luthier.evaluate.tables.grade import quadratic_kappa, spearman_of

# Of fewer rows answered, what is left may be the easy ones.
ANSWERED = 0.9
NAMES = ("kappa", "spearman", "exact")
_PLACES = {SECOND: 0.0, TIE: 1.0, FIRST: 2.0}


@dataclass(frozen=True, eq=False)
class AgreementTable:
    """What two judges said of the same rows [n]: marks, or choices as 0, 1 (a tie), 2.

    ``kappa`` of marks weighs differences by their square (Cohen 1968), of choices none (Cohen 1960): a tie is a third thing
    and not half of each.
    """

    one: Floats
    two: Floats
    marks: bool

    names = NAMES

    @property
    def size(self) -> int:
        return len(self.one)

    @property
    def rank_cost(self) -> int:
        return 4 * self.size

    def measure(self, weights: Floats, *, ranks: bool = True) -> Floats:
        """Return NAMES [r, 3] for row weights [r, n]; NaN where undefined."""
        del ranks
        with np.errstate(divide="ignore", invalid="ignore"):
            kappa = (quadratic_kappa if self.marks else plain_kappa)(self.one, self.two, weights)
            exact = weights @ (self.one == self.two) / weights.sum(1)
            return np.stack([kappa, spearman_of(self.one, self.two, weights), exact], axis=1)

    def counted(self, metric: str) -> NDArray[np.bool_]:
        """Return which rows [n] a figure looks at: all."""
        del metric
        return np.ones(self.size, dtype=bool)


def plain_kappa(one: Floats, two: Floats, weights: Floats) -> Floats:
    """Return Cohen's kappa [r] without weights (Cohen 1960); NaN where both say one and the same of every row."""
    values, codes = np.unique(np.concatenate([one, two]), return_inverse=True)
    total = weights.sum(1, keepdims=True)
    first, second = (tally(part, weights, len(values)) / total for part in (codes[: len(one)], codes[len(one) :]))
    by_chance = (first * second).sum(1)
    same = weights @ (one == two) / total[:, 0]
    return np.where(by_chance < 1, (same - by_chance) / np.where(by_chance < 1, 1 - by_chance, 1.0), np.nan)


def between(one: Sequence[Any], two: Sequence[Any], groups: Sequence[str | None] | None, *, resamples: int) -> dict[str, Interval]:
    """Return NAMES with their 95 % intervals, drawn by groups (prompts), of two lists of marks or of choices."""
    marks = not any(isinstance(value, str) for value in [*one, *two])
    first, second = (np.array([value if marks else _PLACES[value] for value in values], dtype=np.float64) for values in (one, two))
    table, units = AgreementTable(first, second, marks), unit_codes(groups, len(first))
    return {name: interval_of(table, name, units, resamples=resamples) for name in NAMES}


def word_of(opinion: Opinion | Unanswered) -> Any:
    """Return the mark or the choice of an opinion; None where there is none."""
    if isinstance(opinion, Mark):
        return opinion.score
    return opinion.better if isinstance(opinion, Choice) else None


def with_people(
    rated: Rated, criterion: str, opinions: Sequence[Opinion | Unanswered], *, least: float, resamples: int
) -> dict[str, Any]:
    """Return how a judge agrees with people on rated rows, how people agree among themselves, and whether that is enough.

    ``kappa``, ``spearman`` and ``exact`` have intervals. ``people`` is the mean kappa of any two of them, None where no row has
    two ratings. ``longer`` is the kappa of a judge that takes the longer answer, of pairs: one that is no better has learnt
    nothing else. ``proven`` is whether kappa's lower end reaches ``least``, and ``why`` says so in words.
    """
    known = [i for i in rated.known(criterion) if word_of(opinions[i]) is not None]
    theirs, its = [rated.word(criterion, i) for i in known], [word_of(opinions[i]) for i in known]
    groups = [rated.items[i].group for i in known]
    found: dict[str, Any] = {"rows": len(known), "rated": len(rated.known(criterion))}
    found |= between(theirs, its, groups, resamples=resamples) if known else dict.fromkeys(NAMES, _NOTHING)
    pairs = [between(one, two, None, resamples=100)["kappa"]["value"] for _, one, two in rated.pairs(criterion)]
    there = [value for value in pairs if value is not None]
    found["people"] = sum(there) / len(there) if there else None
    if theirs and isinstance(theirs[0], str):
        found["longer"] = between(theirs, [_longer(rated, i) for i in known], groups, resamples=100)["kappa"]["value"]
    low = found["kappa"]["low"]
    spoke = len(known) >= ANSWERED * found["rated"]
    found |= {"least": least, "proven": low is not None and low >= least and spoke}
    found["why"] = _why(found, spoke)
    return found


_NOTHING: Interval = {"value": None, "low": None, "high": None}


def _longer(rated: Rated, place: int) -> str:
    item = rated.items[place]
    one, two = len(item.answer), len(item.other or "")
    return TIE if one == two else FIRST if one > two else SECOND


def _why(found: dict[str, Any], spoke: bool) -> str:
    kappa, rows = found["kappa"], found["rows"]
    silent = found["rated"] - rows
    missing = f"; on {silent} rated rows it gave no opinion" if silent else ""
    if kappa["low"] is None:
        return f"agreement with people could not be measured on {rows} rows that they rated{missing}"
    said = f"its kappa with people on {rows} rated rows is {kappa['value']:.2f} [{kappa['low']:.2f}, {kappa['high']:.2f}]{missing}"
    if not spoke:
        return f"{said}: too often none to be relied on"
    return f"{said}, {'at least' if found['proven'] else 'and not surely'} {found['least']:g}"

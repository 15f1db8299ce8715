"""A label that gives itself away: a word, a column, a file or a length from which it could be read off without learning.

What a token or a value must show: it stands in 90 % of a label's rows and in few others (precision 0.98), with enough rows that
chance does not explain it, and it tells much more than always guessing the most frequent label would.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from luthier.base.errors import Fault
from luthier.data.likeness.near_marks import words_of

SAMPLE_ROWS = 50_000
PRECISION, RECALL, ROWS = 0.98, 0.9, 20
_LEAST_PRECISION, _LEAST_RECALL = 0.9, 0.8
# A tell must leave at most this share of the errors of always guessing one label.
_ERRORS_LEFT = 0.2
_MAX_WORDS = 400
_MAX_VOCABULARY = 500_000
_LENGTH_BIN_ROWS, _LENGTH_BINS = 8, 200
_Z = 1.96
Kind = Literal["value", "filled", "empty", "column", "file", "length"]


@dataclass(frozen=True, slots=True)
class Giveaway:
    """``token`` stands in ``recall`` of the rows of ``label``, which are ``precision`` of all that have it (``rows``)."""

    label: str
    token: str
    precision: float
    recall: float
    rows: int
    named: bool = False  # the token is the label's own name

    def fault(self, where: str = "") -> Fault:
        """Return it as a warning."""
        whose = "its own name" if self.named else f'"{self.token}"'
        what = (
            f'label "{self.label}" gives itself away: {whose} stands in {self.recall:.0%} of its texts, '
            f"and {self.precision:.0%} of the {self.rows} texts with it have this label."
        )
        return Fault(what, where, "If texts at the service will not have it, take it out before training.")


@dataclass(frozen=True, slots=True)
class ColumnGiveaway:
    """Column ``column`` (or the file, or the text's length) decides the label in ``accuracy`` of ``rows`` rows.

    Kinds ``value``, ``filled`` and ``empty`` decide one ``label``; ``accuracy`` is then the precision.
    """

    column: str
    kind: Kind
    accuracy: float
    rows: int
    label: str = ""
    value: str = ""

    def fault(self, where: str = "") -> Fault:
        """Return it as a warning; a file or a length is told softly, because files are often one label each."""
        if self.kind == "file":
            what = f"the file a row comes from decides its label in {self.accuracy:.0%} of {self.rows} rows."
            return Fault(what, where, "Fine where files were sorted by label; else see what else differs between them.")
        if self.kind == "length":
            what = f"the length of a text decides its label in {self.accuracy:.0%} of {self.rows} rows."
            return Fault(what, where, "A model may learn the length and little else.")
        if self.kind == "column":
            what = f'column "{self.column}" decides the label in {self.accuracy:.0%} of {self.rows} rows.'
        else:
            state = f'is "{self.value}"' if self.kind == "value" else f"is {self.kind}"
            what = (
                f'label "{self.label}" goes with column "{self.column}": where it {state}, {self.accuracy:.0%} have it.'
            )
        return Fault(what, where, "Was it filled in after the label was known? Then it must not stand in the text.")


class _Sample:
    """A uniform sample of a stream of unknown length (algorithm R: Vitter 1985), the same at every run."""

    def __init__(self, most: int, seed: int) -> None:
        self._most, self._random, self.seen = most, random.Random(seed), 0

    def place(self) -> int | None:
        """Return where the next row goes; None leaves it out."""
        self.seen += 1
        if self.seen <= self._most:
            return self.seen - 1
        at = int(self._random.random() * self.seen)
        return at if at < self._most else None


class TokenTally:
    """Which words stand in which label's texts, from a sample of the train rows."""

    def __init__(self, *, sample: int = SAMPLE_ROWS, seed: int = 0) -> None:
        self._sample = _Sample(sample, seed)
        self._vocabulary: dict[str, int] = {}
        self._rows: list[np.ndarray] = []
        self._labels: list[int] = []

    def add(self, words: Sequence[str], label_number: int) -> None:
        """Add a train row by its words (of ``words_of``) and its label's number."""
        at = self._sample.place()
        if at is None:
            return
        known = self._vocabulary
        if len(known) < _MAX_VOCABULARY:
            numbers = {known.setdefault(w, len(known)) for w in words[:_MAX_WORDS]}
        else:
            numbers = {known[w] for w in words[:_MAX_WORDS] if w in known}
        row = np.fromiter(numbers, dtype=np.int32, count=len(numbers))
        if at == len(self._rows):
            self._rows.append(row)
            self._labels.append(label_number)
        else:
            self._rows[at], self._labels[at] = row, label_number

    def tokens(self, labels: Sequence[str]) -> list[Giveaway]:
        """Return the words, and labels' own names, that give a label away: the best one or two of each label."""
        if not self._rows:
            return []
        flat = np.concatenate(self._rows)
        sizes = np.fromiter(map(len, self._rows), dtype=np.int64)
        numbers = np.array(self._labels, dtype=np.int64)
        owner = np.repeat(np.arange(len(numbers)), sizes)
        label_rows = np.bincount(numbers, minlength=len(labels))
        codes, hits = np.unique(flat.astype(np.int64) * len(labels) + numbers[owner], return_counts=True)
        having = np.bincount(flat, minlength=len(self._vocabulary))
        words, of = codes // len(labels), codes % len(labels)
        good = tells(hits, having[words], label_rows[of], len(numbers))
        best = sorted(np.flatnonzero(good).tolist(), key=lambda k: (of[k], -hits[k] / having[words[k]], -hits[k]))
        spelt = list(self._vocabulary)
        names = {number: words_of(label.replace("_", " ")) for number, label in enumerate(labels)}
        found = [self._named(labels, number, names[number], flat, owner, numbers) for number in range(len(labels))]
        result = [g for g in found if g]
        told = {(g.label, g.token) for g in result}
        per_label: dict[int, int] = {}
        for k in best:
            label, token = labels[of[k]], spelt[words[k]]
            if (label, token) in told or per_label.get(of[k], 0) >= 2:
                continue
            per_label[of[k]] = per_label.get(of[k], 0) + 1
            share = hits[k] / having[words[k]], hits[k] / label_rows[of[k]]
            result.append(Giveaway(label, token, float(share[0]), float(share[1]), int(having[words[k]])))
        return result

    def _named(
        self,
        labels: Sequence[str],
        number: int,
        name: Sequence[str],
        flat: np.ndarray,
        owner: np.ndarray,
        of: np.ndarray,
    ) -> Giveaway | None:
        wanted = [self._vocabulary.get(w) for w in set(name)]
        if not wanted or None in wanted:
            return None
        has = np.bincount(owner[np.isin(flat, np.array(wanted))], minlength=len(of)) == len(wanted)
        hits, label_rows = int((has & (of == number)).sum()), int((of == number).sum())
        if not tells(np.array([hits]), np.array([has.sum()]), np.array([label_rows]), len(of))[0]:
            return None
        rows = int(has.sum())
        return Giveaway(labels[number], " ".join(name), hits / rows, hits / label_rows, rows, named=True)


def tells(hits: np.ndarray, having: np.ndarray, label_rows: np.ndarray, rows: int) -> np.ndarray:
    """Return what tells a label: precision, recall, their Wilson lower bounds, and errors saved over always guessing it."""
    precision = hits / np.maximum(1, having)
    recall = hits / np.maximum(1, label_rows)
    useful = 1 - precision <= _ERRORS_LEFT * (1 - label_rows / max(1, rows))
    enough = (hits >= ROWS) & (label_rows < rows)
    sure = (wilson_low(hits, having) >= _LEAST_PRECISION) & (wilson_low(hits, label_rows) >= _LEAST_RECALL)
    return enough & sure & useful & (precision >= PRECISION) & (recall >= RECALL)


def wilson_low(hits: np.ndarray, of: np.ndarray) -> np.ndarray:
    """Return the lower end of the 95 % interval of a share (Wilson 1927)."""
    n = np.maximum(1, of)
    share = hits / n
    middle = share + _Z**2 / (2 * n)
    return (middle - _Z * np.sqrt(share * (1 - share) / n + _Z**2 / (4 * n**2))) / (1 + _Z**2 / n)


class ColumnTally:
    """Which other columns, files and lengths go with which label, from a sample of the train rows."""

    def __init__(self, *, sample: int = SAMPLE_ROWS, seed: int = 0) -> None:
        self._sample = _Sample(sample, seed)
        self._rows: list[tuple[int, str, int, dict[str, str]]] = []

    def add(self, extra: Mapping[str, Any], label_number: int, *, file: str = "", length: int = 0) -> None:
        """Add a train row: its other columns, its label's number, the file it comes from and its text's length."""
        at = self._sample.place()
        if at is None:
            return
        # The start of a value is enough to tell it from others, and bounds the memory.
        row = (label_number, file, length, {k: str(v)[:80] for k, v in extra.items() if v is not None and v != ""})
        if at == len(self._rows):
            self._rows.append(row)
        else:
            self._rows[at] = row

    def columns(self, labels: Sequence[str]) -> list[ColumnGiveaway]:
        """Return what decides the label: whole columns first, then single values; file and length last."""
        if len(self._rows) < ROWS:
            return []
        numbers = np.array([row[0] for row in self._rows], dtype=np.int64)
        found: list[ColumnGiveaway] = []
        for name in sorted({k for row in self._rows for k in row[3]}):
            values = np.array([row[3].get(name, "") for row in self._rows], dtype=object)
            found += _column(name, values, numbers, labels)
        files = np.array([row[1] for row in self._rows], dtype=object)
        found += _whole("", "file", _numbered(files)[0], numbers)
        lengths = np.array([row[2] for row in self._rows], dtype=np.int64)
        bins = min(_LENGTH_BINS, len(lengths) // _LENGTH_BIN_ROWS + 1)
        edges = np.unique(np.quantile(lengths, np.linspace(0, 1, bins + 1)[1:-1]))
        return found + _whole("", "length", np.searchsorted(edges, lengths, side="right"), numbers)


def _numbered(values: np.ndarray) -> tuple[np.ndarray, list[str]]:
    known: dict[str, int] = {}
    numbers = np.fromiter((known.setdefault(v, len(known)) for v in values), dtype=np.int64, count=len(values))
    return numbers, list(known)


def _column(name: str, values: np.ndarray, of: np.ndarray, labels: Sequence[str]) -> list[ColumnGiveaway]:
    numbers, spelt = _numbered(values)
    if whole := _whole(name, "column", numbers, of):
        return whole
    label_rows = np.bincount(of, minlength=len(labels))
    filled = values != ""
    marks: list[tuple[Kind, str, np.ndarray]] = [("filled", "", filled), ("empty", "", ~filled)]
    sizes = np.bincount(numbers)
    marks += [("value", spelt[k], numbers == k) for k in np.argsort(-sizes)[:50] if sizes[k] >= ROWS and spelt[k] != ""]
    found = []
    for kind, value, has in marks:
        hits = np.bincount(of[has], minlength=len(labels))
        good = tells(hits, np.full(len(labels), has.sum()), label_rows, len(of))
        for k in np.flatnonzero(good).tolist():
            found.append(ColumnGiveaway(name, kind, float(hits[k] / has.sum()), int(has.sum()), labels[k], value))
    return found


def _whole(name: str, kind: Kind, values: np.ndarray, of: np.ndarray) -> list[ColumnGiveaway]:
    """Judge a whole column: each row is guessed from the other rows with its value, so that row numbers tell nothing."""
    count = int(of.max()) + 1
    codes, hits = np.unique(values * count + of, return_counts=True)
    order = np.lexsort((-hits, codes // count))
    value, hits = (codes // count)[order], hits[order]
    first = np.ones(len(value), dtype=bool)
    first[1:] = value[1:] != value[:-1]
    best = hits[first]
    second = np.zeros(len(best), dtype=np.int64)
    runner_up = np.flatnonzero(~first & np.roll(first, 1))
    second[np.cumsum(first)[runner_up] - 1] = hits[runner_up]
    sizes = np.bincount(values)[value[first]]
    many = sizes >= 2
    rows = int(sizes[many].sum())
    # Without the row itself its label must still be the most frequent one of its value.
    right = int(best[many & (best - 1 >= second)].sum())
    most_frequent = np.bincount(of).max() / len(of)
    if rows < max(ROWS, RECALL * len(of)) or many.sum() < 2:
        return []
    accuracy = right / rows
    low = float(wilson_low(np.array([right]), np.array([rows]))[0])
    if accuracy < PRECISION or low < _LEAST_PRECISION or 1 - accuracy > _ERRORS_LEFT * (1 - most_frequent):
        return []
    return [ColumnGiveaway(name, kind, accuracy, rows)]

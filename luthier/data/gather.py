"""Read, map, clean, mask and dedupe: everything the data room does before rows are divided, one row at a time."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from luthier.base.errors import DataError, Fault
from luthier.base.records import Example, Row
from luthier.base.seeds import stable_hash
from luthier.data import dedupe, scope
from luthier.data.board import Board, BoardMaker
from luthier.data.catalogue import UNKNOWN_ITEM, Item, named, open_items, read_items
from luthier.data.cleaning.clean import BoilerplateFinder, Cleaner
from luthier.data.labels.decisions import apply, read_decisions
from luthier.data.personal import Masker, find
from luthier.data.report import input_text
from luthier.data.rows import Drops
from luthier.data.shapes.columns import Dropped, map_rows
from luthier.data.shapes.dates import is_missing, moment
from luthier.data.shapes.layout import cell_settings
from luthier.data.shapes.ranked_rows import TIME, is_number
from luthier.data.sources import Origin, open_sources
from luthier.spec.data import DataSection

_HELD_WORDS = 3
Pair = tuple[Example | Dropped, Example | Dropped]


@dataclass(frozen=True, slots=True)
class Gathered:
    """Everything known before rows are divided: the board, what was left out and why, and what was done to the rest."""

    board: Board
    dropped: Drops
    cleaner: Cleaner
    masked: Mapping[str, int]
    recognised_as: str
    notes: list[Fault]
    files: list[dict[str, Any]]
    items: Mapping[str, Item]


class _Reader:
    """Reads the roles of a data section into one board."""

    def __init__(self, data: DataSection, objective: str, base: Path) -> None:
        self.data, self.objective, self.base = data, objective, base
        self.faults: list[Fault] = []
        self.notes: list[Fault] = []
        self.dropped = Drops()
        self.maker = BoardMaker(seed=data.split.seed)
        self.cleaner = Cleaner(data.clean)
        self.masker = _masker(data, base)
        self.decisions = read_decisions(base / data.corrections, shown=data.corrections) if data.corrections else None
        self.undated: list[tuple[int, Any]] = []
        self.files: list[dict[str, Any]] = []
        self.recognised: dict[str, None] = {}
        self.corrected: dict[str, Example] = {}
        self.conflicts: list[tuple[Example, int]] = []
        self.grouped: Counter[str] = Counter()
        self.items: dict[str, Item] = {}
        # What holds the time of a row: interactions have one of their own.
        self.timed = data.split.time or (TIME if objective == "rank" else None)

    def examples(
        self, origins: Sequence[Origin], counts: Counter[str], *, optional: bool, label: str | None
    ) -> Iterator[Example | Dropped]:
        mapping = map_rows(
            _rows(origins, self.faults, self.notes, counts), columns=self.data.columns, objective=self.objective,
            by=self.data.split.by, time=self.data.split.time, by_optional=optional, faults=self.faults, need_target=label is None,
            settings=cell_settings(self.data),
        )  # fmt: skip
        yield from mapping if label is None else (scope.labelled(found, label) for found in mapping)
        self._settle_dates(mapping.day_first)
        if mapping.recognised_as:
            self.recognised[mapping.recognised_as] = None

    def _settle_dates(self, day_first: bool | None) -> None:
        for index, value in self.undated:
            found = moment(value, day_first=day_first)
            self.maker.set_moment(index, found.timestamp() if found else float("nan"))
        self.undated.clear()

    def learn_boilerplate(self, origins: Sequence[Origin]) -> None:
        """Read the source once more before all else: a line is boilerplate where many rows share it."""
        finder = BoilerplateFinder()
        silent: list[Fault] = []
        mapping = map_rows(_rows(origins, silent, [], Counter()), columns=self.data.columns, objective=self.objective,
                           by=None, by_optional=True, faults=silent, settings=cell_settings(self.data))  # fmt: skip
        for example in mapping:
            if isinstance(example, Example):
                for text in texts_of(example):
                    finder.add(text)
        self.cleaner = Cleaner(self.data.clean, boilerplate=finder.lines())

    def read(self, role: str, origins: Sequence[Origin]) -> None:
        counts: Counter[str] = Counter()
        own = role in ("source", scope.ROLE)
        keep_all = not own or self.data.duplicates == "keep"
        for example, stored in self._decided(role, self._cleaned(origins, counts, role)):
            if isinstance(stored, Dropped):
                self.dropped.add(stored)
            else:
                self._take(example, stored, "source" if own else role, keep_all=keep_all)
        self._file_facts(role, origins, counts)

    def _cleaned(self, origins: Sequence[Origin], counts: Counter[str], role: str) -> Iterator[Pair]:
        """Yield each row as it is compared and as it is kept: masks are numbered in order, so they decide nothing."""
        label = self.data.out_of_scope.label if role == scope.ROLE and self.data.out_of_scope else None
        for found in self.examples(origins, counts, optional=role != "source", label=label):
            example = found if isinstance(found, Dropped) else self.cleaner.example(found)
            yield example, example if isinstance(example, Dropped) or self.masker is None else self._masked(example)

    def _decided(self, role: str, pairs: Iterator[Pair]) -> Iterator[Pair]:
        """Carry out what a person decided of probable label errors: the table shows rows as they are kept."""
        if self.decisions is None or role != "source":
            yield from pairs
            return
        latest: list[Example | Dropped] = []

        def kept() -> Iterator[Example | Dropped]:
            for example, stored in pairs:
                latest[:] = [example]
                yield stored

        for stored in apply(kept(), self.decisions):
            example = latest[0]
            if isinstance(stored, Example) and isinstance(example, Example) and stored.target != example.target:
                example = replace(example, target=stored.target)
            yield example, stored

    def learn_items(self, base: Path) -> None:
        """Read the table of the items, where there is one."""
        origins = open_items(self.data, base)
        counts: dict[str, int] = {}
        if origins:
            self.items = read_items(origins, self.data, self.notes, counts)
            self.items = {key: (name, self.cleaner.text(text)) for key, (name, text) in self.items.items()}
        self.files += [
            {"name": o.shown, "sha256": o.digest(), "rows": counts.get(o.shown, 0), "role": "items"} for o in origins
        ]

    def _is_known(self, example: Example) -> bool:
        """Whether there is such an item; without a table of items, each is its own text."""
        if self.data.items.source is None:
            self.items.setdefault(str(example.target), named(str(example.target)))
        return str(example.target) in self.items

    def _take(self, example: Any, stored: Example, role: str, *, keep_all: bool) -> None:
        if self.objective == "rank" and not self._is_known(stored):
            self.dropped.add(Dropped(example.source, UNKNOWN_ITEM, f'"{example.target}"'))
            return
        if role == "source" and dedupe.is_said(example):
            self.corrected[dedupe.key(example)] = example
        if example.group is not None:
            self.grouped[example.source.file] += 1
        else:
            self.grouped.setdefault(example.source.file, 0)
        first = None if keep_all else self.maker.twin(example)
        if first is None:
            self._add(example, stored, role)
        elif self.maker.same_target(first, example):
            self.dropped.add(Dropped(example.source, dedupe.DUPLICATE, f"of {self.maker.place(first)}"))
        else:  # which one holds is known when all rows are read: a correction may come last
            self.conflicts.append((example, first))

    def _add(self, example: Example, stored: Example, role: str) -> None:
        value = example.extra.get(self.timed) if self.timed else None
        if self.timed == TIME and is_number(value):
            self.maker.add(example, role, moment=float(str(value)), stored=stored)
            return
        found = moment(value) if value is not None else None
        when = found.timestamp() if found else float("nan")
        index = self.maker.add(example, role, moment=when, stored=stored)
        if found is None and not is_missing(value):  # what 03/04/2024 means is known when the column is read
            self.undated.append((index, value))

    def _masked(self, example: Example) -> Example:
        assert self.masker is not None
        masked = self.masker.example(example)
        personal = masked.group is not None and find(masked.group)
        return replace(masked, group=stable_hash(masked.group, size=8)) if personal else masked

    def read_held_out(self, origins: Sequence[Origin]) -> None:
        """Take every text of the evaluation files, whatever their columns are called."""
        counts: Counter[str] = Counter()
        for row in _rows(origins, self.faults, self.notes, counts):
            for text in _strings(row.values):
                if len(text.split()) >= _HELD_WORDS:
                    self.maker.add(Example("", {"text": self.cleaner.text(text)}, None, row.source), "held_out")
        self._file_facts("held_out", origins, counts)

    def _file_facts(self, role: str, origins: Sequence[Origin], counts: Counter[str]) -> None:
        if not self.faults:  # a file that cannot be read cannot be hashed either
            self.files += [
                {"name": o.shown, "sha256": o.digest(), "rows": counts[o.shown], "role": role} for o in origins
            ]

    def settle(self) -> dict[int, Example]:
        """Say which of two targets of one text holds; return the rows that a correction replaces."""
        for example, first in self.conflicts:
            self.dropped.add(
                dedupe.conflict(example, self.maker.place(first), self.maker.target_of(first), self.corrected)
            )
        changed: dict[int, Example] = {}
        for by in self.corrected.values():
            index = self.maker.twin(by)
            if index is not None and not self.maker.same_target(index, by):
                changed[index] = by
        return changed


def gather(data: DataSection, objective: str, base: Path) -> Gathered:
    """Read all files of the data section.

    Raises:
        DataError: with every fault found in files, columns and dates.
    """
    reader = _Reader(data, objective, base)
    origins = _open_all(data, base, reader)
    if objective == "rank":
        reader.learn_items(base)
    if data.clean.boilerplate:
        reader.learn_boilerplate(origins["source"])
    for role in ("source", scope.ROLE, "valid", "test"):
        if role in origins:
            reader.read(role, origins[role])
    if "held_out" in origins:
        reader.read_held_out(origins["held_out"])
    raise_all(reader.faults)
    board = reader.maker.done(reader.settle())
    return Gathered(
        board, reader.dropped, reader.cleaner, dict(reader.masker.counts) if reader.masker else {},
        " + ".join(reader.recognised), reader.notes + _ungrouped(data, reader.grouped), reader.files,
        reader.items,
    )  # fmt: skip


def _open_all(data: DataSection, base: Path, reader: _Reader) -> dict[str, list[Origin]]:
    """Return the origins by role; a file named for a verdict is never read as a source."""
    opened: dict[str, list[Origin]] = {}
    for role, value in (
        ("source", data.source),
        (scope.ROLE, data.out_of_scope.source if data.out_of_scope else None),
        ("test", data.test),
        ("valid", data.valid),
        ("held_out", data.held_out),
    ):
        if value is None:
            continue
        try:
            opened[role] = open_sources(value, base, data=data)
        except DataError as error:
            reader.faults += error.faults
    raise_all(reader.faults if "source" not in opened else [])
    kept = {o.path.resolve() for role in (scope.ROLE, "test", "valid", "held_out") for o in opened.get(role, []) if o.path}
    rest = [o for o in opened["source"] if o.path is None or o.path.resolve() not in kept]
    if rest and len(rest) < len(opened["source"]):
        what = "files that data names for another use (test, valid, held_out, out_of_scope) are left out of data.source."
        reader.notes.append(Fault(what, "data.source"))
        opened["source"] = rest
    return opened


def _rows(origins: Sequence[Origin], faults: list[Fault], notes: list[Fault], counts: Counter[str]) -> Iterator[Row]:
    for origin in origins:
        for row in origin.rows(faults=faults, notes=notes):
            counts[origin.shown] += 1
            yield row


def _masker(data: DataSection, base: Path) -> Masker | None:
    if data.personal != "mask":
        return None
    names: Callable[..., Any] | None = None
    if data.names_model:
        from luthier.models.names import open_names

        names = open_names(data.names_model, folder=base)
    return Masker(names=names)


def texts_of(example: Example) -> list[str]:
    """Return every text of an example's inputs."""
    if "messages" in example.inputs:
        return [str(turn["content"]) for turn in example.inputs["messages"] if turn.get("content")]
    return [input_text(example)]


def _strings(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for part in value.values():
            yield from _strings(part)
    elif isinstance(value, list):
        for part in value:
            yield from _strings(part)


def raise_all(faults: Sequence[Fault]) -> None:
    if faults:
        raise DataError.of(dict.fromkeys(faults))


def _ungrouped(data: DataSection, grouped: Mapping[str, int]) -> list[Fault]:
    if not data.split.by:
        return []
    what = f'no values of "{data.split.by}" in this file: its rows belong to no group and are compared by text alone.'
    return [
        Fault(what, file, "Fill the column to have groups checked.") for file, count in grouped.items() if not count
    ]

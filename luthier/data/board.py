"""What is known of every row at once: a few numbers each, so that a million rows are compared in megabytes."""

from __future__ import annotations

from array import array
from collections.abc import Mapping
from dataclasses import dataclass, replace
from hashlib import blake2b
from typing import Any

import numpy as np

from luthier.base.inputs import stratum, text_name
from luthier.base.records import Example, Source
from luthier.base.seeds import stable_fraction
from luthier.data.dedupe import key, normalise, one_text, twin_key
from luthier.data.likeness.near import Marker, Marks
from luthier.data.rows import Lines, spool_examples
from luthier.data.shapes.ranked_rows import relevance_of
from luthier.prompts.template import spoken as said

ROLES = ("source", "valid", "test", "held_out")


def hash64(text: str) -> int:
    """Return a 64-bit hash; among a million texts, two share one by chance once in forty million data sets."""
    return int.from_bytes(blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest(), "little")


def spoken(example: Example) -> str:
    """Return what is compared for likeness: the text, or the turns without the system prompt, which all rows share."""
    turns = example.inputs.get("messages")
    if turns is None:
        return str(example.inputs["query"]) if "query" in example.inputs else one_text(example)
    return "\n".join(said(t) for t in turns if t["role"] != "system")


@dataclass(frozen=True)
class Board:
    """Numbers of N rows in the order they were read, source first; the rows themselves lie in ``rows`` on disk.

    ``key``, ``said`` (the words alone, whoever says them), ``target`` and ``group`` are 64-bit hashes (group 0: none); ``fraction`` in [0, 1) decides a row's side;
    ``owner`` is a hash of the user whose interaction it is (0: none) and ``gain`` what its item is worth;
    ``label`` is an index into ``labels``; ``moment`` is in seconds since 1970, NaN where there is no date; ``role``
    is an index into :data:`ROLES`.
    """

    rows: Lines[Example]
    labels: tuple[str, ...]
    files: tuple[str, ...]
    key: np.ndarray
    said: np.ndarray
    target: np.ndarray
    group: np.ndarray
    fraction: np.ndarray
    label: np.ndarray
    moment: np.ndarray
    role: np.ndarray
    file: np.ndarray
    line: np.ndarray
    owner: np.ndarray
    gain: np.ndarray
    marks: Marks

    def __len__(self) -> int:
        return len(self.key)

    def place(self, index: int) -> Source:
        return Source(self.files[self.file[index]], int(self.line[index]))

    def of(self, role: str) -> np.ndarray:
        """Return the indices of a role's rows."""
        return np.flatnonzero(self.role == ROLES.index(role))

    def text(self, index: int) -> str:
        return spoken(self.rows[index])


class BoardMaker:
    """Takes examples one by one; remembers a row by its hashes and writes it to disk."""

    def __init__(self, *, seed: int) -> None:
        self._seed = seed
        self._spool = spool_examples()
        self._marker = Marker(items=True)
        self._labels: dict[str, int] = {}
        self._files: dict[str, int] = {}
        self._first: dict[int, int] = {}
        self._queries: set[int] = set()
        self._latest: tuple[Example | None, str, int, int] = (None, "", 0, 0)
        self._columns: dict[str, array[Any]] = {
            name: array(kind)
            for name, kind in {
                "key": "Q", "said": "Q", "target": "Q", "group": "Q", "fraction": "d", "label": "l", "moment": "d", "role": "b", "file": "l", "line": "q", "owner": "Q", "gain": "f",
            }.items()
        }  # fmt: skip

    def __len__(self) -> int:
        return len(self._spool)

    def _same(self, example: Example) -> tuple[str, int, int]:
        """Return an example's key, its hash and that of its twin key; a row is asked for its twin and then added, so the last one is kept."""
        if self._latest[0] is not example:
            same = key(example)
            told = twin_key(example)
            hashed = hash64(same)
            self._latest = (example, same, hashed, hashed if told == same else hash64(told))
        return self._latest[1:]

    def twin(self, example: Example) -> int | None:
        """Return the index of the first row of the source that tells the same, or None."""
        return self._first.get(self._same(example)[2])

    def same_target(self, index: int, example: Example) -> bool:
        return self._columns["target"][index] == hash64(target_text(example))

    def place(self, index: int) -> Source:
        file = self._columns["file"][index]
        return Source(next(name for name, n in self._files.items() if n == file), self._columns["line"][index])

    def target_of(self, index: int) -> str:
        return next(name for name, n in self._labels.items() if n == self._columns["label"][index])

    def add(self, example: Example, role: str, *, moment: float = float("nan"), stored: Example | None = None) -> int:
        """Take a row; return its index.

        Args:
            stored: what is written in its place: masked, while the row is compared and divided as it was. Masks are
                numbered in the order of the rows, so a row's side would hang on the rows before it.
        """
        same, hashed, told = self._same(example)
        index = self._spool.add(stored or example)
        words = spoken(example)
        if role == "source":
            self._first.setdefault(told, index)
        is_text = text_name(example.inputs) is not None
        label = stratum(example)
        of = self._columns
        of["key"].append(hashed)
        of["said"].append(self._said(example, hashed, words) if is_text else hash64(normalise(words)))
        of["owner"].append(hash64(str(example.inputs["user"])) or 1 if "user" in example.inputs else 0)
        of["gain"].append(relevance_of(example.extra))
        of["target"].append(hash64(target_text(example)))
        of["group"].append(0 if example.group is None else hash64(example.group) or 1)
        of["fraction"].append(stable_fraction(same if example.group is None else example.group, seed=self._seed))
        of["label"].append(self._labels.setdefault(label, len(self._labels)))
        of["moment"].append(moment)
        of["role"].append(ROLES.index(role))
        of["file"].append(self._files.setdefault(example.source.file, len(self._files)))
        of["line"].append(example.source.line)
        # Long texts are read back to be compared, so their marks are those of what is kept.
        self._marker.add(self._compared(spoken(stored) if stored is not None else words, example, role))
        return index

    def _said(self, example: Example, hashed: int, words: str) -> int:
        if "user" in example.inputs:  # a user's name is not said
            return 0
        return hash64(normalise(words)) if "query" in example.inputs else hashed

    def _compared(self, words: str, example: Example, role: str) -> str:
        """Return what likeness is looked for in: nothing of a user, and a query in the first of its rows alone."""
        if "user" in example.inputs:
            return ""
        if "query" in example.inputs:
            said = hash64(f"{role} {normalise(words)}")
            if said in self._queries:
                return ""
            self._queries.add(said)
        return words

    def set_moment(self, index: int, moment: float) -> None:
        self._columns["moment"][index] = moment

    def done(self, changed: Mapping[int, Example]) -> Board:
        """Return the board; ``changed`` replaces rows whose target a person corrected."""
        names = np.dtype
        kinds: dict[str, Any] = {
            "key": np.uint64, "said": np.uint64, "target": np.uint64, "group": np.uint64, "fraction": np.float64, "label": np.int32, "moment": np.float64,
            "role": np.int8, "file": np.int32, "line": np.int64, "owner": np.uint64, "gain": np.float32,
        }  # fmt: skip
        columns = {name: np.array(values, dtype=names(kinds[name])) for name, values in self._columns.items()}
        rows = self._spool.lines()
        changed = {index: replace(by, group=rows[index].group) for index, by in changed.items()}
        return Board(
            rows=rows.changed(changed) if changed else rows,
            labels=tuple(self._labels), files=tuple(self._files), marks=self._marker.finish(), **columns,
        )  # fmt: skip


def target_text(example: Example) -> str:
    target = example.target
    return target if isinstance(target, str) else repr(target)

"""The closer look: one pass over the divided rows that gathers what should be known before training."""

from __future__ import annotations

import os
import statistics
from array import array
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np

from luthier.base.inputs import is_labelled
from luthier.base.records import Example
from luthier.data.board import Board
from luthier.data.cleaning.clean import hints
from luthier.data.gather import Gathered
from luthier.data.labels.agreement import agreement
from luthier.data.labels.probable_errors import probable_errors
from luthier.data.likeness.giveaway import ColumnGiveaway, ColumnTally, Giveaway, TokenTally
from luthier.data.likeness.near import words_of
from luthier.data.likeness.semantic import alike_inside
from luthier.data.personal import find
from luthier.data.profile import Profile
from luthier.data.report import input_text
from luthier.data.shapes.votes import VOTES
from luthier.data.split import SIDES, Side
from luthier.spec.data import DataSection

Sides = Mapping[Side, Sequence[Example]]
_HINT_STEP = 4


@dataclass
class Closer:
    """What one pass over the rows counted. ``firsts`` are places by what is counted, for warnings that name one."""

    labels: Counter[tuple[str, Side]] = field(default_factory=Counter)
    firsts: dict[str, str] = field(default_factory=dict)
    chars: array[int] = field(default_factory=lambda: array("l"))
    personal: Counter[str] = field(default_factory=Counter)
    common: str | None = None
    train_chars: array[int] = field(default_factory=lambda: array("l"))
    repeated: list[tuple[str, str]] = field(default_factory=list)
    is_text: bool = True
    alike: int | None = None
    findings: dict[str, Any] = field(default_factory=dict)

    def label_table(self) -> dict[str, dict[str, int]]:
        """Return ``{label: {train, valid, test}}``, labels sorted."""
        names = sorted({label for label, _ in self.labels})
        return {label: {side: self.labels[label, side] for side in SIDES} for label in names}

    def lengths(self) -> dict[str, int]:
        sizes = sorted(self.chars)
        if not sizes:
            return {"median_chars": 0, "p95_chars": 0, "max_chars": 0}
        p95 = sizes[min(len(sizes) - 1, int(0.95 * len(sizes)))]
        return {"median_chars": round(statistics.median(sizes)), "p95_chars": p95, "max_chars": sizes[-1]}


def look_closer(
    sides: Sides,
    gathered: Gathered,
    data: DataSection,
    objective: str,
    *,
    tested: np.ndarray,
    vectors: np.ndarray | None = None,
) -> Closer:
    """Count labels, lengths, personal data, odd texts, giveaways and probable label errors.

    Args:
        tested: the board's indices of the test rows.
        vectors: sentence vectors of the train rows, where they are known: they tell labels apart better than words.
    """
    closer = Closer(repeated=_repeated(gathered.board, tested) if data.test is not None else [])
    closer.alike = None if vectors is None else alike_inside(vectors)
    profile = Profile()
    tokens, columns, voted = TokenTally(), ColumnTally(), False
    wanted: Counter[str] = Counter()
    labels: dict[str, int] = {}
    masked = data.personal == "mask"
    for side in SIDES:
        for number, example in enumerate(sides[side]):
            if "user" in example.inputs:  # what is read of an interaction is its item
                example = _of_item(example, gathered)
            text = input_text(example)
            closer.is_text = is_labelled(example)
            _count(closer, example, text, side, masked=masked)
            profile.add(example, side)
            if number % _HINT_STEP == 0:
                wanted.update(hints(text))
            for label in labels_of(example, objective):
                closer.labels[label, side] += 1
                closer.firsts.setdefault(f"label {label}", str(example.source))
                if side == "train" and objective == "classify":
                    index = labels.setdefault(label, len(labels))
                    tokens.add(words_of(text), index)
                    columns.add(example.extra, index, file=example.source.file, length=len(text))
            voted = voted or VOTES in example.extra
    closer.findings = _findings(closer, gathered, profile, wanted)
    if objective == "classify":
        closer.findings |= _of_labels(sides, data, tokens, columns, list(labels), vectors)
    if voted:
        closer.findings["agreement"] = agreement(e for side in SIDES for e in sides[side] if VOTES in e.extra)
    return closer


def _of_item(example: Example, gathered: Gathered) -> Example:
    name, text = gathered.items.get(str(example.target), ("", ""))
    return replace(example, inputs={"query": text}, target=name)


def labels_of(example: Example, objective: str) -> list[str]:
    """Return the labels a row has: one for classify, any number for multilabel, traits for grade, none for the others."""
    if objective == "classify":
        return [str(example.target)]
    return list(example.target or ()) if objective in ("multilabel", "grade") else []


def _count(closer: Closer, example: Example, text: str, side: Side, *, masked: bool) -> None:
    closer.chars.append(len(text))
    if side == "train":
        closer.train_chars.append(len(text))
        closer.common = text if closer.common is None else os.path.commonprefix([closer.common, text])  # noqa: RUF071
        closer.firsts.setdefault("train", str(example.source))
    if masked:
        return
    texts = [text] if is_labelled(example) or "user" in example.inputs else [text, str(example.target)]
    for kind, _, _ in (hit for part in texts for hit in find(part)):
        closer.personal[kind] += 1
        closer.firsts.setdefault("personal", str(example.source))


def _repeated(board: Board, tested: np.ndarray) -> list[tuple[str, str]]:
    """Return the places of rows that an official test file holds again, each with that of the first."""
    _, first, inverse = np.unique(board.key[tested], return_index=True, return_inverse=True)
    again = np.flatnonzero(first[inverse] != np.arange(len(tested)))
    return [(str(board.place(int(tested[k]))), str(board.place(int(tested[first[inverse[k]]])))) for k in again]


def _findings(closer: Closer, gathered: Gathered, profile: Profile, wanted: Counter[str]) -> dict[str, Any]:
    cleaner = gathered.cleaner
    return {
        "profile": profile.result(),
        "cleaning": {"counts": dict(cleaner.counts), "examples": dict(cleaner.examples)},
        "hints": [{"step": step, "rows": rows * _HINT_STEP} for step, rows in wanted.most_common()],
        "masked": dict(gathered.masked),
    }


def _of_labels(
    sides: Sides,
    data: DataSection,
    tokens: TokenTally,
    columns: ColumnTally,
    labels: list[str],
    vectors: np.ndarray | None,
) -> dict[str, Any]:
    return {
        "giveaways": [*map(_giveaway, tokens.tokens(labels)), *map(_giveaway, columns.columns(labels))],
        "label_errors": probable_errors(sides["train"], labels, data, vectors=vectors),
    }


def _giveaway(found: Giveaway | ColumnGiveaway) -> dict[str, Any]:
    return {**asdict(found), **found.fault("data.source").as_dict()}

"""The records of the data room: what was found, and the divided rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from luthier.base.errors import Fault
from luthier.base.inputs import text_name
from luthier.base.records import Example
from luthier.data.rows import Sealed
from luthier.data.shapes.columns import Dropped
from luthier.data.split import Side
from luthier.prompts.template import spoken


@dataclass(frozen=True, slots=True)
class DataReport:
    """Counts, warnings and fingerprint of prepared data.

    ``rows`` counts rows read. ``leaks`` counts rows of the lower side by kind, after a fix those that are left; semantic
    is None where it was not looked for. ``stopping`` counts those that end a run under ``leaks: stop``. ``duplicates``
    counts rows dropped (exact, conflicting) and rows that are like an earlier one and stay (near, semantic). ``personal`` counts finds in inputs and answers. ``lengths`` are characters of the input.
    ``problems`` are warnings; faults never get as far as a report. ``findings`` holds what the closer look found, by
    name: profile, cleaning, giveaways, label_errors, agreement, hints, masked.
    """

    rows: int
    splits: Mapping[str, int]
    labels: Mapping[str, Mapping[str, int]]
    dropped: Mapping[str, int]
    duplicates: Mapping[str, int | None]
    leaks: Mapping[str, int | None]
    stopping: Mapping[str, int]
    leak_examples: tuple[Mapping[str, Any], ...]
    problems: tuple[Fault, ...]
    personal: Mapping[str, int]
    recognised_as: str
    lengths: Mapping[str, int]
    fingerprint: str
    files: tuple[Mapping[str, Any], ...]
    findings: Mapping[str, Any] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        return {
            "rows": self.rows,
            "splits": dict(self.splits),
            "labels": {label: dict(counts) for label, counts in self.labels.items()},
            "dropped": dict(self.dropped),
            "duplicates": dict(self.duplicates),
            "leaks": dict(self.leaks),
            "stopping": dict(self.stopping),
            "leak_examples": [dict(e) for e in self.leak_examples],
            "problems": [p.as_dict() for p in self.problems],
            "personal": dict(self.personal),
            "recognised_as": self.recognised_as,
            "lengths": dict(self.lengths),
            "fingerprint": self.fingerprint,
            "files": [dict(f) for f in self.files],
            **self.findings,
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> DataReport:
        names = set(cls.__dataclass_fields__) - {"findings"}
        known: dict[str, Any] = {name: values[name] for name in names}
        known |= {name: tuple(values[name]) for name in ("leak_examples", "files")}
        known["problems"] = tuple(Fault(**problem) for problem in values["problems"])
        return cls(**known, findings={name: value for name, value in values.items() if name not in names})


@dataclass(frozen=True, slots=True)
class Prepared:
    """Divided examples, read from disk, with the ``labels`` of train and valid, sorted.

    ``folder`` is None where nothing was written. ``clean`` holds the cleaning that a service has to repeat. ``twins``
    are the places of test rows that have a near or semantic twin in train or valid. ``items`` are those to be ranked,
    ``{id: (name, text)}``, and their ids are then the labels; ``known`` is what a model of them starts with
    (:mod:`luthier.data.ranking`). ``outside`` are rows of none of the labels, out of train and valid (:mod:`luthier.data.scope`).
    """

    train: Sequence[Example]
    valid: Sequence[Example]
    test: Sequence[Example]
    labels: tuple[str, ...]
    report: DataReport
    dropped: Sequence[Dropped] = ()
    folder: Path | None = None
    clean: Mapping[str, Any] = field(default_factory=dict)
    twins: frozenset[str] = frozenset()
    items: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    known: Mapping[str, Any] = field(default_factory=dict)
    outside: Sequence[Example] = ()

    def side(self, name: Side) -> Sequence[Example]:
        return {"train": self.train, "valid": self.valid, "test": self.test}[name]

    def sealed(self) -> Prepared:
        """Return the same data with the test rows closed: what training and search are handed."""
        return replace(self, test=Sealed(len(self.test)))


def input_text(example: Example) -> str:
    """Return what a model reads: the text, or all turns before the answer."""
    name = text_name(example.inputs)
    if name is not None:
        return str(example.inputs[name])
    return "\n".join(spoken(turn) for turn in example.inputs["messages"])

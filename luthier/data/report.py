"""What was found in the data: the records of the data room, and the warnings that go with them."""

from __future__ import annotations

import os
import statistics
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from luthier.base.errors import Fault
from luthier.base.records import Example
from luthier.data.columns import Dropped
from luthier.data.dedupe import DUPLICATE, drop_duplicates, is_conflicting, normalise
from luthier.data.leaks import Leak, Leaks
from luthier.data.personal import find
from luthier.data.split import SIDES, Side

LEAK_EXAMPLES = 20
_FEW_TRAIN_ROWS = 10
_FEW_TEST_ROWS = 50
_IMBALANCE = 20
_SAME_START_CHARS = 20
_NAMED = 8
Sides = Mapping[Side, Sequence[Example]]


@dataclass(frozen=True, slots=True)
class DataReport:
    """Counts, warnings and fingerprint of prepared data.

    ``rows`` counts rows read. ``leaks`` counts rows of the lower side, after a fix those that are left; semantic is
    None because it is not looked for. ``duplicates`` counts rows dropped. ``personal`` counts finds in inputs and
    answers. ``lengths`` are characters of the input. ``problems`` are warnings; faults never get as far as a report.
    """

    rows: int
    splits: Mapping[str, int]
    labels: Mapping[str, Mapping[str, int]]
    dropped: Mapping[str, int]
    duplicates: Mapping[str, int]
    leaks: Mapping[str, int | None]
    leak_examples: tuple[Mapping[str, Any], ...]
    problems: tuple[Fault, ...]
    personal: Mapping[str, int]
    recognised_as: str
    lengths: Mapping[str, int]
    fingerprint: str
    files: tuple[Mapping[str, Any], ...]

    def as_dict(self) -> dict[str, Any]:
        return {
            "rows": self.rows,
            "splits": dict(self.splits),
            "labels": {label: dict(counts) for label, counts in self.labels.items()},
            "dropped": dict(self.dropped),
            "duplicates": dict(self.duplicates),
            "leaks": dict(self.leaks),
            "leak_examples": [dict(e) for e in self.leak_examples],
            "problems": [p.as_dict() for p in self.problems],
            "personal": dict(self.personal),
            "recognised_as": self.recognised_as,
            "lengths": dict(self.lengths),
            "fingerprint": self.fingerprint,
            "files": [dict(f) for f in self.files],
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> DataReport:
        problems = tuple(Fault(**problem) for problem in values["problems"])
        known: dict[str, Any] = {name: values[name] for name in cls.__dataclass_fields__}
        known |= {name: tuple(values[name]) for name in ("leak_examples", "files")}
        return cls(**(known | {"problems": problems}))


@dataclass(frozen=True, slots=True)
class Prepared:
    """Divided examples with the ``labels`` of train and valid, sorted; ``folder`` is None where nothing was written."""

    train: tuple[Example, ...]
    valid: tuple[Example, ...]
    test: tuple[Example, ...]
    labels: tuple[str, ...]
    report: DataReport
    dropped: list[Dropped] = field(default_factory=list)
    folder: Path | None = None

    def side(self, name: Side) -> tuple[Example, ...]:
        return {"train": self.train, "valid": self.valid, "test": self.test}[name]


def input_text(example: Example) -> str:
    """Return what a model reads: the text, or all turns before the answer."""
    if "text" in example.inputs:
        return str(example.inputs["text"])
    return "\n".join(turn["content"] for turn in example.inputs["messages"])


def label_table(sides: Sides) -> dict[str, dict[str, int]]:
    """Return ``{label: {train, valid, test}}``, labels sorted."""
    counts = Counter((str(e.target), side) for side in SIDES for e in sides[side])
    return {label: {side: counts[label, side] for side in SIDES} for label in sorted({label for label, _ in counts})}


def lengths_of(sides: Sides) -> dict[str, int]:
    sizes = sorted(len(input_text(e)) for side in SIDES for e in sides[side])
    if not sizes:
        return {"median_chars": 0, "p95_chars": 0, "max_chars": 0}
    p95 = sizes[min(len(sizes) - 1, int(0.95 * len(sizes)))]
    return {"median_chars": round(statistics.median(sizes)), "p95_chars": p95, "max_chars": sizes[-1]}


def leak_examples(leaks: Leaks) -> tuple[dict[str, Any], ...]:
    """Return up to 20 leaks with both places; those that stop a run come first."""
    return tuple(leak.as_dict() for leak in (*leaks.exact, *leaks.group, *leaks.near)[:LEAK_EXAMPLES])


def personal_in(sides: Sides) -> tuple[dict[str, int], dict[str, Example]]:
    """Count personal data by kind, with the first example of each."""
    counts: Counter[str] = Counter()
    first: dict[str, Example] = {}
    for side in SIDES:
        for example in sides[side]:
            texts = [input_text(example)] + ([] if "text" in example.inputs else [str(example.target)])
            for kind, _, _ in (hit for text in texts for hit in find(text)):
                counts[kind] += 1
                first.setdefault(kind, example)
    return dict(counts), first


def warnings(sides: Sides, dropped: Sequence[Dropped], objective: str, *, official_test: bool) -> list[Fault]:
    """Return what should be known before training, and stops nothing."""
    found = _sizes(sides, official_test) + _repeated(sides, dropped, official_test) + _same_start(sides)
    if objective == "classify":
        table = label_table(sides)
        found += _label_counts(table, official_test) + _label_names(table, sides)
    return found


def _names(words: Iterable[str]) -> str:
    words = list(words)
    return ", ".join(f'"{w}"' for w in words[:_NAMED]) + (
        f" and {len(words) - _NAMED} more" if len(words) > _NAMED else ""
    )


def _sizes(sides: Sides, official_test: bool) -> list[Fault]:
    found = []
    if not sides["valid"]:
        found.append(
            Fault("there are no validation rows, so training cannot stop early.", "data.split.valid", "Set it to 0.1.")
        )
    if 0 < len(sides["test"]) < _FEW_TEST_ROWS:
        what = f"only {len(sides['test'])} test rows: the intervals of every score will be wide."
        found.append(Fault(what, "data.test" if official_test else "data.split.test", "Label more rows."))
    return found


def _repeated(sides: Sides, dropped: Sequence[Dropped], official_test: bool) -> list[Fault]:
    found = []
    conflicting = [d for d in dropped if is_conflicting(d)]
    if conflicting:
        kind = "label" if _is_text(sides) else "answer"
        what = f"inputs told again with another {kind}: {len(conflicting)}, of which the first is kept."
        mend = f"Here: {conflicting[0].detail}."
        found.append(Fault(what, str(conflicting[0].source), mend))
    exact = sum(d.reason == DUPLICATE for d in dropped)
    rows = sum(len(sides[side]) for side in SIDES)
    if exact > rows:
        found.append(
            Fault(f"more rows are duplicates ({exact}) than are left ({rows}).", "", "Is this the right column?")
        )
    if official_test and (again := drop_duplicates(sides["test"])[1]):
        what = f"rows that the test file holds again: {len(again)}; they stay, because its rows are what is measured."
        found.append(Fault(what, str(again[0].source), f"This one repeats {again[0].detail.removeprefix('of ')}."))
    return found


def _is_text(sides: Sides) -> bool:
    return any("text" in e.inputs for side in SIDES for e in sides[side][:1])


def _same_start(sides: Sides) -> list[Fault]:
    texts = [input_text(e) for e in sides["train"]]
    if len(texts) < 2:
        return []
    common = os.path.commonprefix(texts)  # noqa: RUF071 - characters are meant, not folders
    if len(common) < _SAME_START_CHARS or len(common) < statistics.median(map(len, texts)) / 2:
        return []
    what = f'all texts start alike: "{common[:60]}".'
    return [Fault(what, str(sides["train"][0].source), "Words that every row shares teach nothing and cost time.")]


def _label_counts(table: Mapping[str, Mapping[str, int]], official_test: bool) -> list[Fault]:
    found = []
    unseen = [label for label, n in table.items() if not n["train"]]
    if unseen:
        what = f"no train rows, only valid or test rows, of {_names(unseen)}."
        found.append(Fault(what, "data", "Label more rows of it, or leave the label out."))
    few = [label for label, n in table.items() if 0 < n["train"] < _FEW_TRAIN_ROWS]
    if few:
        what = f"fewer than {_FEW_TRAIN_ROWS} train rows of {_names(few)}."
        found.append(Fault(what, "data", "Label more rows of it: what is learnt from so few is luck."))
    untested = [label for label, n in table.items() if n["train"] and not n["test"]]
    if untested:
        place = "data.test" if official_test else "data.split.test"
        found.append(Fault(f"no test rows of {_names(untested)}, so nothing is known of it afterwards.", place))
    sizes = {label: n["train"] for label, n in table.items() if n["train"]}
    if len(sizes) > 1:
        most, least = max(sizes, key=lambda k: sizes[k]), min(sizes, key=lambda k: sizes[k])
        if sizes[most] >= _IMBALANCE * sizes[least]:
            what = f'"{most}" has {sizes[most]} train rows and "{least}" has {sizes[least]}.'
            found.append(
                Fault(what, "data", "Accuracy says little here: set bars on macro_f1 and on the recall of rare labels.")
            )
    return found


def _label_names(table: Mapping[str, Any], sides: Sides) -> list[Fault]:
    found = []
    alike: dict[str, list[str]] = {}
    for label in table:
        alike.setdefault(normalise(label.replace("_", " ").replace("-", " ")), []).append(label)
    for names in alike.values():
        if len(names) > 1:
            # The rarest spelling is the likely slip, so its place is named.
            rare = min(names, key=lambda n: sum(table[n].values()))
            place = next(str(e.source) for side in SIDES for e in sides[side] if str(e.target) == rare)
            found.append(
                Fault(f"labels that differ only in how they are written: {_names(names)}.", place, "Merge them?")
            )
    rows = sum(len(sides[side]) for side in SIDES)
    if len(table) > max(20, rows // 2):
        what = f"{len(table)} different labels in {rows} rows."
        found.append(
            Fault(what, "data.columns.label", "Is this column really a label, or were text and label swapped?")
        )
    return found


def leak_warnings(leaks: Leaks, policy: str) -> list[Fault]:
    """Return warnings for leaks that do not stop a run: near ones, and all of them under ``leaks: allow``."""
    found = []
    if leaks.near:
        found.append(_leak_warning("rows almost the same as a row of another split", leaks.near))
    if policy == "allow":
        if leaks.exact:
            found.append(_leak_warning("rows whose text stands in another split too (data.leaks: allow)", leaks.exact))
        if leaks.group:
            found.append(_leak_warning("rows whose group stands in another split too (data.leaks: allow)", leaks.group))
    if not leaks.complete:
        what = "the search for near duplicates was cut short: too many texts are half alike."
        found.append(Fault(what, "data", "The number of near leaks is a lower bound."))
    return found


def _leak_warning(what: str, leaks: Sequence[Leak]) -> Fault:
    leak = leaks[0]
    mend = f"The first is this {leak.side} row; its like in {leak.other_side} is at {leak.other.source}."
    return Fault(f"{what}: {len(leaks)}; scores will look better than they are.", str(leak.row.source), mend)


def personal_warnings(counts: Mapping[str, int], first: Mapping[str, Example]) -> list[Fault]:
    if not counts:
        return []
    shown = ", ".join(f"{n} {kind}" for kind, n in sorted(counts.items()))
    place = str(next(iter(first.values())).source)
    return [
        Fault(
            f"personal data in the texts: {shown}.", place, "A model can repeat what it read: mask it before training."
        )
    ]

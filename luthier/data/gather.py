"""Read, map, dedupe and divide: everything the data room does before leaks are dealt with."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from luthier.base.errors import DataError, Fault, did_you_mean
from luthier.base.files import sha256_file
from luthier.base.records import Example, Row
from luthier.data.columns import Dropped, Mapped, to_examples
from luthier.data.dedupe import correct, corrections, drop_duplicates
from luthier.data.sources import expand, read_rows
from luthier.data.split import SIDES, Side, assign, shares_of
from luthier.spec.data import DataSection

_SHOWN_DROPS = 3


@dataclass(frozen=True, slots=True)
class Gathered:
    """Everything known after reading and dividing, before leaks are dealt with."""

    sides: dict[Side, list[Example]]
    dropped: list[Dropped]
    recognised_as: str
    notes: list[Fault]
    files: list[dict[str, Any]]


@dataclass(frozen=True, slots=True)
class Read:
    mapped: Mapped
    files: list[dict[str, Any]] = field(default_factory=list)


def _shown(path: Path, base: Path) -> str:
    """Return the name a user knows a file by: relative where it lies below the task file."""
    try:
        return path.relative_to(base).as_posix()
    except ValueError:
        relative = os.path.relpath(path, base)
        return str(path) if relative.startswith(os.path.join("..", "..", "..")) else Path(relative).as_posix()


def read_files(
    paths: Sequence[Path],
    data: DataSection,
    objective: str,
    base: Path,
    faults: list[Fault],
    notes: list[Fault],
    *,
    need_target: bool = True,
    by_optional: bool = False,
) -> Read:
    counts: Counter[str] = Counter()
    shown = {path: _shown(path, base) for path in paths}

    def rows() -> Iterator[Row]:
        for path, name in shown.items():
            found = read_rows(
                path,
                encoding=data.encoding,
                max_chars=data.max_chars,
                shown_as=name,
                faults=faults,
                notes=notes,
            )
            for row in found:
                counts[name] += 1
                yield row

    mapped = to_examples(
        rows(),
        columns=data.columns,
        objective=objective,
        by=data.split.by,
        need_target=need_target,
        by_optional=by_optional,
    )
    faults.extend(mapped.faults)
    if faults:  # a file that cannot be read cannot be hashed either
        return Read(mapped)
    files = [{"name": name, "sha256": sha256_file(path), "rows": counts[name]} for path, name in shown.items()]
    return Read(mapped, files)


def gather(data: DataSection, objective: str, base: Path) -> Gathered:
    """Read all files of the data section and divide the rows.

    Raises:
        DataError: with every fault found.
    """
    faults: list[Fault] = []
    notes: list[Fault] = []
    named = {"source": data.source, "test": data.test, "valid": data.valid}
    paths = {role: _expand(value, base, faults) for role, value in named.items() if value is not None}
    official = {p.resolve() for role in ("test", "valid") for p in paths.get(role, [])}
    rest = [p for p in paths["source"] if p.resolve() not in official]
    if rest and len(rest) < len(paths["source"]):
        notes.append(Fault("files of data.test and data.valid are left out of data.source.", "data.source"))
        paths["source"] = rest
    reads = {
        role: read_files(found, data, objective, base, faults, notes, by_optional=role != "source")
        for role, found in paths.items()
    }
    raise_all(faults)
    pool, dropped = reads["source"].mapped.examples, [d for r in reads.values() for d in r.mapped.dropped]
    corrected = corrections(pool)
    if data.duplicates == "drop":
        pool, again = drop_duplicates(pool)
        dropped += again
    # Divided by the labels as they first stood, corrected afterwards: a correction moves no row to another side.
    sides = _divide(pool, data, reads)
    sides = {side: [correct(e, corrected) for e in rows] if side not in reads else rows for side, rows in sides.items()}
    gathered = Gathered(
        sides,
        dropped,
        " + ".join(dict.fromkeys(r.mapped.recognised_as for r in reads.values() if r.mapped.recognised_as)),
        notes + _ungrouped(data, reads),
        [f | {"role": role} for role, r in reads.items() for f in r.files],
    )
    raise_all(faults_of(gathered, data, objective))
    return gathered


def _expand(value: str | list[str], base: Path, faults: list[Fault]) -> list[Path]:
    try:
        return expand(value, base)
    except DataError as error:
        faults += error.faults
        return []


def raise_all(faults: Sequence[Fault]) -> None:
    if faults:
        raise DataError.of(dict.fromkeys(faults))


def _divide(pool: list[Example], data: DataSection, reads: dict[str, Read]) -> dict[Side, list[Example]]:
    sides: dict[Side, list[Example]] = {side: [] for side in SIDES}
    chosen = assign(pool, data.split, has_test="test" in reads, has_valid="valid" in reads)
    for example, side in zip(pool, chosen, strict=True):
        sides[side].append(example)
    for side in ("valid", "test"):
        if side in reads:
            sides[side] = list(reads[side].mapped.examples)
    return sides


def _ungrouped(data: DataSection, reads: dict[str, Read]) -> list[Fault]:
    if not data.split.by:
        return []
    examples = [e for read in reads.values() for e in read.mapped.examples]
    grouped = {e.source.file for e in examples if e.group is not None}
    without = dict.fromkeys(e.source.file for e in examples if e.source.file not in grouped)
    what = f'no values of "{data.split.by}" in this file: its rows belong to no group and are compared by text alone.'
    return [Fault(what, file, "Fill the column to have groups checked.") for file in without]


def faults_of(gathered: Gathered, data: DataSection, objective: str) -> list[Fault]:
    """Return what makes the divided rows useless for training or for a verdict."""
    faults: list[Fault] = []
    sides = gathered.sides
    shares = shares_of(data.split, has_test=data.test is not None, has_valid=data.valid is not None)
    if not any(sides.values()):
        return [_none_left("", "data.source", gathered, "Check data.columns.")]
    if shares["train"] <= 0:
        faults.append(
            Fault("valid and test together leave nothing to train on.", "data.split", "Make them sum to less than 1.")
        )
    elif not sides["train"]:
        faults.append(_none_left("train", "data.source", gathered, "Give more rows."))
    if not sides["test"]:
        own = data.test is None
        mend = (
            "Give more rows, set data.split.test higher, or name a test file in data.test."
            if own
            else "Check its columns."
        )
        if own and data.split.by:
            mend += f" All rows of one {data.split.by} stay together: are there several?"
        faults.append(_none_left("test", "data.split.test" if own else "data.test", gathered, mend))
    if objective == "classify" and sides["train"]:
        faults += _label_faults(sides, data)
    return faults


def _none_left(side: str, where: str, gathered: Gathered, mend: str) -> Fault:
    left_out = Counter(d.reason for d in gathered.dropped).most_common(_SHOWN_DROPS)
    first = {d.reason: d.source for d in reversed(gathered.dropped)}
    shown = ", ".join(f"{n} dropped for {reason} (first: {first[reason]})" for reason, n in left_out)
    return Fault(f"no {side} rows are left".replace("  ", " ") + (f": {shown}." if shown else "."), where, mend)


def _label_faults(sides: dict[Side, list[Example]], data: DataSection) -> list[Fault]:
    faults: list[Fault] = []
    known = Counter(str(e.target) for e in sides["train"])
    if len(known) == 1:
        mend = "A classifier needs two labels at least: check data.columns.label."
        faults.append(
            Fault(f'every train row has the label "{next(iter(known))}".', str(sides["train"][0].source), mend)
        )
    # A label that the source has and the division put elsewhere is bad luck, told as a warning.
    own = {str(e.target) for side in ("valid", "test") if getattr(data, side) is None for e in sides[side]}
    for side in ("test", "valid"):
        if getattr(data, side) is None:
            continue
        count = Counter(str(e.target) for e in sides[side])
        first = {str(e.target): e.source for e in reversed(sides[side])}
        for label in sorted(count.keys() - known.keys() - own):
            what = f'label "{label}" ({count[label]} rows of data.{side}) is never in train, so it can never be right.'
            mend = did_you_mean(label, known) or "Add train rows of it, or leave these rows out."
            faults.append(Fault(what, str(first[label]), mend))
    return faults

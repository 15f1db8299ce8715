"""From the task's data section to a checked, divided folder: read, map, dedupe, split, find leaks, write."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from luthier.base.errors import BundleError, DataError, Fault
from luthier.base.files import (
    new_folder,
    read_json,
    read_jsonl,
    verify_manifest,
    write_json,
    write_jsonl,
    write_manifest,
)
from luthier.base.records import Example, Source
from luthier.data import leaks as leaks_
from luthier.data import report as report_
from luthier.data.columns import Dropped, Mapped
from luthier.data.dedupe import DUPLICATE, is_conflicting
from luthier.data.gather import Gathered, faults_of, gather, raise_all, read_files
from luthier.data.report import DataReport, Prepared
from luthier.data.sources import expand
from luthier.data.split import SIDES, Side
from luthier.spec.data import DataSection

__all__ = ["DataReport", "Prepared", "load_prepared", "prepare", "read_examples", "stops", "survey"]

FORMAT = "luthier-data-1"
LEAK_REASON = "leak: also in "


def survey(data: DataSection, objective: str, *, base: Path) -> Prepared:
    """Read, map, dedupe, divide and look for leaks; write nothing, and stop for no leak.

    Args:
        base: the folder that relative paths of the data section start from.
    Raises:
        DataError: with all faults: of files and columns, nothing left, one single class, an official label never
        trained on.
    """
    gathered = gather(data, objective, base)
    return _finish(gathered, _find(gathered), data, objective)


def stops(prepared: Prepared, data: DataSection) -> list[Fault]:
    """Return the leaks that stop a run under ``data.leaks: stop``: one fault with the counts, then the places."""
    found = prepared.report.leaks
    exact, group = found["exact"] or 0, found["group"] or 0
    if data.leaks != "stop" or exact + group == 0:
        return []
    parts = [f"{exact} by their text"] * bool(exact) + [f"{group} by {data.split.by}"] * bool(group)
    faults = [
        Fault(
            f"rows are shared between splits: {', '.join(parts)}.",
            "data.leaks",
            "Set data.leaks: fix to leave out the train side, or allow to go on and have it told in the report.",
        )
    ]
    for leak in prepared.report.leak_examples:
        if leak["kind"] != "near":
            shared = f'group "{leak["group"]}"' if leak["kind"] == "group" else f'text "{leak["text"][:60]}"'
            what = f"this {leak['side']} row shares its {shared} with the {leak['other_side']} row"
            faults.append(Fault(f"{what} {leak['other_where']}", leak["where"]))
    return faults


def prepare(data: DataSection, objective: str, *, base: Path, out: Path) -> Prepared:
    """Survey the data, deal with leaks as ``data.leaks`` says, and write ``out/<fingerprint>/`` whole or not at all.

    A folder of that name which verifies is taken as it is.

    Raises:
        DataError: as :func:`survey`, and for leaks under ``leaks: stop``, with the places.
    """
    gathered = gather(data, objective, base)
    found = _find(gathered)
    if data.leaks == "fix":
        gathered, found = _fix(gathered, found)
    prepared = _finish(gathered, found, data, objective)
    if faults := stops(prepared, data):
        raise DataError.of(faults)
    folder = out / prepared.report.fingerprint[:16]
    if not _is_whole(folder):
        with new_folder(folder) as building:
            _write(prepared, building, objective)
    return replace(prepared, folder=folder)


def load_prepared(folder: Path) -> Prepared:
    """Read a folder that :func:`prepare` wrote, after checking every hash.

    Raises:
        BundleError: a file is missing or changed.
    """
    manifest = verify_manifest(folder)
    if manifest.get("format") != FORMAT:
        raise BundleError("this is not a folder of prepared data", where=str(folder), mend="Run the preparation again.")
    facts = read_json(folder / "data.json")
    sides = {side: tuple(Example.from_dict(v) for v in read_jsonl(folder / f"{side}.jsonl")) for side in SIDES}
    dropped = [
        Dropped(Source(v["file"], v["line"]), v["reason"], v["detail"]) for v in read_jsonl(folder / "dropped.jsonl")
    ]
    return Prepared(
        sides["train"],
        sides["valid"],
        sides["test"],
        tuple(facts["label_order"]),
        DataReport.from_dict(facts),
        dropped,
        folder,
    )


def read_examples(
    source: str | Sequence[str], *, data: DataSection, objective: str, base: Path, need_target: bool
) -> Mapped:
    """Read a file with the task's columns and encoding, for prediction and evaluation; drop no duplicates.

    Raises:
        DataError: with every fault of the files and columns.
    """
    faults: list[Fault] = []
    mapped = read_files(
        expand(source, base), data, objective, base, faults, [], need_target=need_target, by_optional=True
    ).mapped
    if faults:
        raise DataError.of(faults)
    return mapped


def _find(gathered: Gathered) -> leaks_.Leaks:
    return leaks_.find(gathered.sides["train"], gathered.sides["valid"], gathered.sides["test"])


def _fix(gathered: Gathered, found: leaks_.Leaks) -> tuple[Gathered, leaks_.Leaks]:
    out = leaks_.fix(found)
    gone = {id(leak.row) for leak in out}
    dropped = [
        Dropped(leak.row.source, f"{LEAK_REASON}{leak.other_side}", f"same {_WHY[leak.kind]} as {leak.other.source}")
        for leak in out
    ]
    sides = {side: [e for e in examples if id(e) not in gone] for side, examples in gathered.sides.items()}
    left = replace(gathered, sides=sides, dropped=gathered.dropped + dropped)
    near = tuple(leak for leak in found.near if id(leak.row) not in gone and id(leak.other) not in gone)
    return left, leaks_.Leaks(near=near, complete=found.complete)


_WHY = {"exact": "text", "group": "group", "near": "words"}


def _finish(gathered: Gathered, found: leaks_.Leaks, data: DataSection, objective: str) -> Prepared:
    raise_all(faults_of(gathered, data, objective))
    sides = gathered.sides
    personal, first = report_.personal_in(sides)
    official = data.test is not None
    problems = [
        *gathered.notes,
        *report_.leak_warnings(found, data.leaks),
        *report_.warnings(sides, gathered.dropped, objective, official_test=official),
        *report_.personal_warnings(personal, first),
    ]
    conflicting = sum(is_conflicting(d) for d in gathered.dropped)
    report = DataReport(
        rows=sum(f["rows"] for f in gathered.files),
        splits={side: len(sides[side]) for side in SIDES},
        labels=report_.label_table(sides) if objective == "classify" else {},
        dropped=dict(Counter(d.reason for d in gathered.dropped).most_common()),
        duplicates={"exact": sum(d.reason == DUPLICATE for d in gathered.dropped), "conflicting": conflicting},
        leaks={"exact": len(found.exact), "near": len(found.near), "semantic": None, "group": len(found.group)},
        leak_examples=report_.leak_examples(found),
        problems=tuple(problems),
        personal=personal,
        recognised_as=gathered.recognised_as,
        lengths=report_.lengths_of(sides),
        fingerprint=_fingerprint(gathered, data, objective),
        files=tuple(gathered.files),
    )
    labels = {str(e.target) for e in (*sides["train"], *sides["valid"])} if objective == "classify" else ()
    train, valid, test = (tuple(sides[side]) for side in SIDES)
    return Prepared(train, valid, test, tuple(sorted(labels)), report, gathered.dropped)


def _fingerprint(gathered: Gathered, data: DataSection, objective: str) -> str:
    """Hash what went in and what came out; where the files lie on this machine does not matter, their order does."""
    section = data.model_dump(mode="json", exclude={"source", "test", "valid"})
    files = [(f["role"], Path(f["name"]).name, f["sha256"]) for f in gathered.files]
    digest = hashlib.sha256()
    for part in _parts([FORMAT, objective, section, files], gathered.sides):
        digest.update(part.encode("utf-8"))
    return digest.hexdigest()


def _parts(head: Any, sides: dict[Side, list[Example]]) -> Iterable[str]:
    yield json.dumps(head, sort_keys=True, ensure_ascii=True)
    for side in SIDES:
        yield f"\n{side}"
        for example in sides[side]:
            yield f"\n{example.id}"


def _is_whole(folder: Path) -> bool:
    try:
        return folder.is_dir() and verify_manifest(folder).get("format") == FORMAT
    except BundleError:
        return False


def _write(prepared: Prepared, folder: Path, objective: str) -> None:
    for side in SIDES:
        write_jsonl(folder / f"{side}.jsonl", (e.as_dict() for e in prepared.side(side)))
    write_jsonl(folder / "dropped.jsonl", (d.as_dict() for d in prepared.dropped))
    facts = prepared.report.as_dict() | {"objective": objective, "label_order": list(prepared.labels)}
    write_json(folder / "data.json", facts)
    write_manifest(folder, format=FORMAT, fingerprint=prepared.report.fingerprint, objective=objective)

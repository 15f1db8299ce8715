"""From the task's data section to a checked, divided folder: gather, divide, find leaks, look closer, write."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from luthier.base.errors import BundleError, DataError
from luthier.base.files import new_folder, read_json, verify_manifest, write_json, write_manifest
from luthier.base.records import Example
from luthier.data import leaks as leaks_
from luthier.data import scope
from luthier.data.assemble import build_report
from luthier.data.divide import Divided, divide_rows
from luthier.data.faults import faults_of, stops
from luthier.data.findings import look_closer
from luthier.data.gather import Gathered, gather, raise_all
from luthier.data.report import DataReport, Prepared
from luthier.data.rows import dropped_of, open_lines, write_lines
from luthier.data.shapes.columns import Dropped, Mapped, to_examples
from luthier.data.shapes.layout import cell_settings
from luthier.data.sources import open_sources
from luthier.data.split import SIDES, Side
from luthier.data.versions import changes_since, write_card
from luthier.spec.data import DataSection

__all__ = ["DataReport", "Prepared", "divided_rows", "load_prepared", "prepare", "read_examples", "stops", "survey"]

FORMAT = "luthier-data-2"
LEAK_REASON = "leak: also in "
SEMANTIC_ROWS = 2_000
# Less alike than this, two short texts share little but how people ask.
_TWIN = 0.8
Watch = Callable[[str], None]


def survey(data: DataSection, objective: str, *, base: Path, watch: Watch | None = None) -> Prepared:
    """Read, clean, dedupe, divide and look for leaks and for what else should be known; write nothing, stop for no leak.

    Args:
        base: the folder that relative paths of the data section start from.
        watch: is told each step as it begins.
    Raises:
        DataError: with all faults: of files and columns, nothing left, one single class, an official label never
        trained on.
    """
    return scope.set_aside(_look(data, objective, base, watch or _nothing, fix=False), data)


def prepare(
    data: DataSection,
    objective: str,
    *,
    base: Path,
    out: Path,
    previous: Path | None = None,
    watch: Watch | None = None,
) -> Prepared:
    """Survey the data, deal with leaks as ``data.leaks`` says, and write ``out/<fingerprint>/`` whole or not at all.

    A folder of that name which verifies is taken as it is.

    Args:
        previous: an earlier folder of the same task; what changed since then is written beside the rows.
    Raises:
        DataError: as :func:`survey`, and for leaks under ``leaks: stop``, with the places.
    """
    prepared = _look(data, objective, base, watch or _nothing, fix=data.leaks == "fix")
    if faults := stops(prepared, data):
        raise DataError.of(faults)
    folder = out / prepared.report.fingerprint[:16]
    if not _is_whole(folder):
        with new_folder(folder) as building:
            _write(prepared, building, data, objective, previous if previous != folder else None)
    return scope.set_aside(load_prepared(folder, verified=True), data)


def load_prepared(folder: Path, *, verified: bool = False) -> Prepared:
    """Open a folder that :func:`prepare` wrote, after checking every hash; its rows stay on disk.

    Raises:
        BundleError: a file is missing or changed.
    """
    manifest = {"format": FORMAT} if verified else verify_manifest(folder)
    if manifest.get("format") != FORMAT:
        raise BundleError("this is not a folder of prepared data", where=str(folder), mend="Run the preparation again.")
    facts = read_json(folder / "data.json")
    sides = {side: open_lines(folder / f"{side}.jsonl", Example.from_dict) for side in SIDES}
    items = folder / "items.jsonl"
    own = ("objective", "label_order", "clean", "twins")
    return Prepared(
        sides["train"], sides["valid"], sides["test"],
        tuple(facts["label_order"]),
        DataReport.from_dict({name: value for name, value in facts.items() if name not in own}),
        open_lines(folder / "dropped.jsonl", dropped_of),
        folder, facts["clean"], frozenset(facts["twins"]),
        dict(open_lines(items, _item_of)) if items.is_file() else {},
    )  # fmt: skip


def divided_rows(data: DataSection, objective: str, *, base: Path) -> dict[Side, Sequence[Example]]:
    """Return the rows of each side as :func:`survey` divides them, without looking for anything in them.

    Raises:
        DataError: with all faults of files and columns.
    """
    gathered = gather(data, objective, base)
    divided = divide_rows(gathered.board, data, fix=data.leaks == "fix")
    return {side: gathered.board.rows.take(_in_order(gathered, divided, side)) for side in SIDES}


def read_examples(
    source: str | Sequence[str], *, data: DataSection, objective: str, base: Path, need_target: bool
) -> Mapped:
    """Read a file with the task's columns and encoding, for prediction and evaluation; drop no duplicates.

    Raises:
        DataError: with every fault of the files and columns.
    """
    faults: list[Any] = []
    value = source if isinstance(source, str) else list(source)
    rows = (row for origin in open_sources(value, base, data=data) for row in origin.rows(faults=faults, notes=[]))
    mapped = to_examples(
        rows, columns=data.columns, objective=objective, by=data.split.by, need_target=need_target, by_optional=True,
        settings=cell_settings(data),
    )  # fmt: skip
    raise_all([*faults, *mapped.faults])
    return mapped


def _item_of(values: Mapping[str, Any]) -> tuple[str, tuple[str, str]]:
    name, text = values["item"]
    return values["id"], (name, text)


def _nothing(step: str) -> None:
    return None


def _look(data: DataSection, objective: str, base: Path, watch: Watch, *, fix: bool) -> Prepared:
    watch("reading")
    gathered = gather(data, objective, base)
    watch("dividing")
    divided = divide_rows(gathered.board, data, fix=fix)
    raise_all(faults_of(gathered, divided, data, objective))
    watch("leaks")
    vectors = _vectors(gathered, divided, data)
    found = leaks_.find(gathered.board, divided.sides, data, families=divided.families, vectors=vectors)
    if fix:
        divided, found = _fix(gathered, divided, found)
        raise_all(faults_of(gathered, divided, data, objective))
    watch("looking closer")
    sides = {side: gathered.board.rows.take(_in_order(gathered, divided, side)) for side in SIDES}
    closer = look_closer(sides, gathered, data, objective, tested=divided.of("test"),
                         vectors=None if vectors is None else vectors[divided.of("train")])  # fmt: skip
    fingerprint = _fingerprint(gathered, sides, data, objective)
    report = build_report(gathered, divided, sides, found, closer, data, objective, fingerprint=fingerprint)
    labels = tuple(sorted(label for label, n in report.labels.items() if n["train"] or n["valid"]))
    if objective == "rank":
        labels = tuple(sorted(gathered.items))
    clean = gathered.cleaner.as_dict()
    return Prepared(
        sides["train"], sides["valid"], sides["test"], labels, report, gathered.dropped, None, clean,
        _twins(gathered, found), dict(gathered.items),
    )  # fmt: skip


def _in_order(gathered: Gathered, divided: Divided, side: Side) -> np.ndarray:
    """Return the indices of a side's rows: as they were read, interactions by their time."""
    rows, board = divided.of(side), gathered.board
    return rows[np.argsort(board.moment[rows], kind="stable")] if board.owner.any() else rows


def _vectors(gathered: Gathered, divided: Divided, data: DataSection) -> np.ndarray | None:
    """Return (N, D) sentence vectors of the rows to be compared, zeros elsewhere; None where meaning is not looked at."""
    rows = np.flatnonzero((divided.sides >= 0) & (divided.sides < leaks_.HELD_OUT))
    if data.semantic == "off" or (data.semantic == "auto" and len(rows) > SEMANTIC_ROWS):
        return None
    from luthier.models.embed import Embedder

    found = Embedder().embed([gathered.board.text(int(i)) for i in rows])
    vectors = np.zeros((len(divided.sides), found.shape[1]), dtype=np.float32)
    vectors[rows] = found
    return vectors


def _fix(gathered: Gathered, divided: Divided, found: leaks_.Leaks) -> tuple[Divided, leaks_.Leaks]:
    """Leave out the lower side of every leak that would stop a run: test rows stay, for they are what is measured."""
    board = gathered.board
    gone: set[int] = set()
    for leak in found.stopping():
        if leak.row not in gone:
            gone.add(leak.row)
            side = leaks_.SIDE_NAMES[leak.other_side].replace("_", "-")
            detail = f"same {_WHY[leak.kind]} as {board.place(leak.other)}"
            gathered.dropped.add(Dropped(board.place(leak.row), f"{LEAK_REASON}{side}", detail))
    sides = divided.sides.copy()
    sides[list(gone)] = -1
    return replace(divided, sides=sides), found.without(gone)


_WHY = {
    "exact": "text", "group": "group", "near": "words but a few", "item": "passage", "held_out": "text", "time": "time or later",
}  # fmt: skip


def _twins(gathered: Gathered, found: leaks_.Leaks) -> frozenset[str]:
    """Return the places of test rows that have a twin in train or valid: the report tells the score without them."""
    board = gathered.board
    return frozenset(
        str(board.place(leak.other))
        for kind in leaks_.KINDS if kind not in ("group", "time", "held_out")
        for leak in found.of(kind) if leak.other_side == 2 and leak.similarity >= _TWIN
    )  # fmt: skip


def _fingerprint(gathered: Gathered, sides: dict[Any, Any], data: DataSection, objective: str) -> str:
    """Hash what went in and what came out; where the files lie on this machine does not matter, their order does."""
    section = data.model_dump(
        mode="json",
        exclude={
            "source": True,
            "test": True,
            "valid": True,
            "held_out": True,
            "augment": True,
            "balance": True,
            "license": True,
            "items": {"source"},
            "out_of_scope": {"source"},
        },
    )
    files = [(f["role"], Path(f["name"]).name, f["sha256"]) for f in gathered.files]
    digest = hashlib.sha256()
    for part in _parts([FORMAT, objective, section, files], sides):
        digest.update(part.encode("utf-8"))
    for item in sorted(gathered.items.items()):
        digest.update(repr(item).encode("utf-8", "replace"))
    return digest.hexdigest()


def _parts(head: Any, sides: dict[Any, Iterable[Example]]) -> Iterable[str]:
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


def _write(prepared: Prepared, folder: Path, data: DataSection, objective: str, previous: Path | None) -> None:
    for side in SIDES:
        write_lines(folder / f"{side}.jsonl", prepared.side(side), Example.as_dict)
    write_lines(folder / "dropped.jsonl", prepared.dropped, Dropped.as_dict)
    if prepared.items:
        write_lines(folder / "items.jsonl", list(prepared.items.items()), lambda item: {"id": item[0], "item": item[1]})
    facts = prepared.report.as_dict() | {
        "objective": objective, "label_order": list(prepared.labels), "clean": dict(prepared.clean), "twins": sorted(prepared.twins),
    }  # fmt: skip
    write_json(folder / "data.json", facts)
    changes = changes_since(previous, prepared) if previous else None
    if changes:
        write_json(folder / "changes.json", changes)
    write_card(folder, prepared, data, objective, changes)
    write_manifest(folder, format=FORMAT, fingerprint=prepared.report.fingerprint, objective=objective)

"""A prepared folder says what it is: a card for people, and what changed since the last one."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from luthier.base.errors import BundleError
from luthier.base.files import read_json, read_jsonl, verify_manifest, write_text
from luthier.base.records import Example
from luthier.data.dedupe import key
from luthier.data.hub_card import data_card
from luthier.data.report import Prepared
from luthier.data.split import SIDES, Side
from luthier.spec.data import DataSection

_SHOWN = 20


def changes_since(previous: Path, prepared: Prepared) -> dict[str, Any] | None:
    """Return what is new, gone, labelled otherwise or on another side than in an earlier folder; None if it is unreadable.

    A row is known by its normalised input. The lists name at most 20 places each; the counts are whole.
    """
    try:
        manifest = verify_manifest(previous)
        before: dict[str, tuple[Side, str, str]] = {}
        for side in SIDES:
            for values in read_jsonl(previous / f"{side}.jsonl"):
                example = Example.from_dict(values)
                before.setdefault(key(example), (side, str(example.target), str(example.source)))
        facts = read_json(previous / "data.json")
    except (BundleError, OSError, ValueError, KeyError):
        return None
    counts: Counter[str] = Counter()
    shown: dict[str, list[dict[str, Any]]] = {"added": [], "relabelled": [], "moved": [], "removed": []}
    seen: set[str] = set()

    def note(kind: str, **facts: Any) -> None:
        counts[kind] += 1
        if len(shown[kind]) < _SHOWN:
            shown[kind].append(facts)

    for side in SIDES:
        for example in prepared.side(side):
            same, where = key(example), str(example.source)
            old = before.get(same)
            if same in seen:
                continue
            seen.add(same)
            if old is None:
                note("added", where=where, side=side)
                continue
            if old[1] != str(example.target):
                note("relabelled", where=where, before=old[1][:120], now=str(example.target)[:120])
            if old[0] != side:
                note("moved", where=where, before=old[0], now=side)
    for same, (side, _, where) in before.items():
        if same not in seen:
            note("removed", where=where, side=side)
    labels = {
        "new": sorted(set(prepared.report.labels) - set(facts["labels"])),
        "gone": sorted(set(facts["labels"]) - set(prepared.report.labels)),
    }
    return {
        "since": manifest["fingerprint"][:16],
        **{kind: counts[kind] for kind in shown},
        "labels": labels,
        "rows": shown,
    }


def write_card(
    folder: Path, prepared: Prepared, data: DataSection, objective: str, changes: Mapping[str, Any] | None
) -> Path:
    """Write README.md: the dataset card, with the front matter that dataset hubs read."""
    return write_text(folder / "README.md", data_card(prepared, data, objective, changes))

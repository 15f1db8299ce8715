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
from luthier.data.report import Prepared
from luthier.data.split import SIDES, Side

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


def write_card(folder: Path, prepared: Prepared, objective: str, changes: Mapping[str, Any] | None) -> Path:
    """Write README.md: the dataset card, with the front matter that dataset hubs read."""
    report = prepared.report
    size = sum(report.splits.values())
    bucket = next((name for bound, name in _SIZES if size < bound), "n>1M")
    lines = [
        "---",
        "configs:",
        "- config_name: default",
        "  data_files:",
        *[f"  - split: {name}\n    path: {side}.jsonl" for side, name in _HUB_SPLITS.items() if report.splits[side]],
        f"task_categories:\n- {_CATEGORIES.get(objective, 'text-generation')}",
        f"size_categories:\n- {bucket}",
        "---",
        "",
        f"# Prepared data {report.fingerprint[:16]}",
        "",
        f"Rows for the objective `{objective}`, read as {report.recognised_as or 'given'}, cleaned, without duplicates, divided and "
        "checked. Every line keeps the `file` and `line` it came from; what was left out is in `dropped.jsonl` with its reason.",
        "",
        "| split | rows |", "| --- | --- |",
        *[f"| {side} | {report.splits[side]} |" for side in SIDES],
        "",
        "## Sources", "",
        *[f"- `{f['name']}` ({f['role']}): {f['rows']} rows, sha256 `{f['sha256'][:16]}`" for f in report.files],
    ]  # fmt: skip
    if report.labels:
        lines += ["", "## Labels", "", "| label | train | valid | test |", "| --- | --- | --- | --- |"]
        lines += [f"| {_cell(name)} | {n['train']} | {n['valid']} | {n['test']} |" for name, n in report.labels.items()]
    lines += ["", "## What was done", ""]
    lines += [f"- left out: {count} ({reason})" for reason, count in report.dropped.items()] or [
        "- nothing was left out"
    ]
    lines += [
        f"- changed by the step {step}: {count} rows" for step, count in report.findings["cleaning"]["counts"].items()
    ]
    masked = report.findings.get("masked") or {}
    lines += [f"- masked: {count} {kind}" for kind, count in masked.items()]
    lines += ["", "## What is known", ""]
    leaks = ", ".join(f"{count} {kind}" for kind, count in report.leaks.items() if count)
    lines += [f"- rows shared between splits: {leaks or 'none found'}"]
    lines += [f"- {_cell(str(problem))}" for problem in report.problems]
    if changes:
        lines += ["", f"## Since {changes['since']}", ""]
        lines += [f"- {kind}: {changes[kind]}" for kind in ("added", "removed", "relabelled", "moved")]
    return write_text(folder / "README.md", "\n".join(lines) + "\n")


_SIZES = ((1_000, "n<1K"), (10_000, "1K<n<10K"), (100_000, "10K<n<100K"), (1_000_000, "100K<n<1M"))
_HUB_SPLITS = {"train": "train", "valid": "validation", "test": "test"}
_CATEGORIES = {"classify": "text-classification"}


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")

"""The data section of the report: what was read, dropped, doubled, leaked, and what looks wrong."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from luthier.evaluate.report.html import Cell, Column, Html, count, definitions, plain_number, table, tag
from luthier.evaluate.report.plots import Figure

_LEAKS = {
    "exact": "the same text in two splits",
    "group": "the same group in two splits",
    "near": "nearly the same text in two splits",
    "semantic": "the same meaning in two splits",
}
_DOUBLES = {"exact": "the same text and the same answer", "conflicting": "the same text and another answer"}


def data(record: Mapping[str, Any], plots: dict[str, Figure]) -> list[Html]:
    """Return counts, what was dropped and why, duplicates, leaks and problems with how to mend them."""
    del plots
    found = record.get("data") or {}
    if not found:
        return []
    return [
        definitions(_counts(found)),
        *_problems(found),
        tag("div", _tallies(found), class_="pair"),
        *_leak_examples(found),
        *_files(found),
    ]


def _tallies(found: Mapping[str, Any]) -> list[Html]:
    return [
        *_tally("Rows left out, by reason", "Reason", found.get("dropped")),
        *_tally("Duplicates", "Kind", found.get("duplicates"), _DOUBLES),
        *_tally("Rows shared between splits", "Kind", found.get("leaks"), _LEAKS),
        *_tally("Personal data found", "Kind", found.get("personal")),
    ]


def _counts(found: Mapping[str, Any]) -> list[tuple[str, object]]:
    splits = found.get("splits") or {}
    pairs: list[tuple[str, object]] = (
        [("rows read", count(found.get("rows")).shown)] if found.get("rows") is not None else []
    )
    pairs += [(f"{name} rows", count(value).shown) for name, value in splits.items()]
    pairs += [(name.replace("_", " "), count(value).shown) for name, value in (found.get("lengths") or {}).items()]
    dropped = found.get("dropped")
    if plain_number(dropped) is not None:
        pairs.append(("rows left out", count(dropped).shown))
    return [*pairs, ("recognised as", found.get("recognised_as")), ("fingerprint", found.get("fingerprint"))]


def _problems(found: Mapping[str, Any]) -> list[Html]:
    problems = [p if isinstance(p, Mapping) else {"what": str(p)} for p in found.get("problems") or []]
    if not problems:
        return [tag("p", "No problem was found in the data.")]
    columns = [Column("Problem"), Column("Where"), Column("How to mend it")]
    rows = [
        [Cell(p.get("what"), class_="long"), tag("code", p.get("where") or ""), Cell(p.get("mend"), class_="long")]
        for p in problems
    ]
    return [table(f"Problems in the data ({len(problems)})", columns, rows)]


def _tally(caption: str, head: str, counts: Any, words: Mapping[str, str] | None = None) -> list[Html]:
    """Return a table of counts; what was not looked for is said, not shown as none."""
    if not isinstance(counts, Mapping) or not counts:
        return []
    rows = [
        [(words or {}).get(str(name), name), Cell("not looked for") if value is None else count(value)]
        for name, value in counts.items()
    ]
    return [table(caption, [Column(head), Column("Rows", True)], rows)]


def _leak_examples(found: Mapping[str, Any]) -> list[Html]:
    rows = [leak for leak in found.get("leak_examples") or [] if isinstance(leak, Mapping)]
    if not rows:
        return []
    names = list(dict.fromkeys(name for row in rows for name in row))
    columns = [Column(name.replace("_", " ").capitalize()) for name in names]
    body = [[Cell(row.get(name, ""), class_="long" if "text" in name else None) for name in names] for row in rows]
    return [
        tag("details", tag("summary", f"Examples of shared rows ({len(rows)})"), table("Shared rows", columns, body))
    ]


def _files(found: Mapping[str, Any]) -> list[Html]:
    files = [f for f in found.get("files") or [] if isinstance(f, Mapping)]
    if not files:
        return []
    rows = [[f.get("name"), count(f.get("rows")), tag("code", str(f.get("sha256") or "")[:16])] for f in files]
    return [table("Files read", [Column("File"), Column("Rows", True), Column("sha256, first 16")], rows)]

"""The part of the report on a judge model: what it says, how far it agrees with people, and what was sent to it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from luthier.evaluate.report.engineer import place
from luthier.evaluate.report.html import DASH, Cell, Column, Html, count, number, spanned, table, tag
from luthier.evaluate.report.plots import Figure

_ENOUGH = {True: Cell("✓ yes", class_="yes"), False: Cell("? no", class_="maybe"), None: Cell("? unproven", class_="maybe")}


def judges(record: Mapping[str, Any], plots: dict[str, Figure]) -> list[Html]:
    """Return the judge's figures beside its agreement with people, the judged rows, and where they were sent."""
    del plots
    found = record.get("judge")
    if not found:
        return []
    parts = [tag("p", _sent(found["sent"], found["model"]))]
    if found["failed"]:
        parts.append(tag("p", tag("strong", f"It has no figures: {found['failed']}.")))
    parts += [_figures(found), _agreement(found)]
    parts += [tag("p", f"{name}: {why}.") for name, why in found["doubts"].items() if not found["failed"]]
    if found["malformed"]:
        said = "Answers of the judge that held no opinion; they are counted and not guessed at"
        parts.append(tag("details", tag("summary", said), [tag("pre", text, tabindex="0") for text in found["malformed"]]))
    return [*parts, *_rows(found)]


def _sent(sent: Mapping[str, Any], model: str) -> str:
    if sent["to"] is None:
        people = f", and {sent['rated_rows']:,} that people rated," if sent["rated_rows"] else ""
        return f"Answers to {sent['test_rows']:,} test rows{people} were weighed by {model} on this machine; nothing was sent."
    rated = f" and of {sent['rated_rows']:,} rows that people rated" if sent["rated_rows"] else ""
    return (
        f"{', '.join(sent['what']).capitalize()} of {sent['test_rows']:,} test rows{rated} were sent to {model} at {sent['to']}, "
        f"and nowhere else: {sent['requests']:,} requests, {sent['tokens']:,} tokens; {sent['from_disk']:,} answers were on disk."
    )


def _figures(found: Mapping[str, Any]) -> Html:
    pairwise = found["mode"] == "pairwise"
    columns = [Column("Judged by"), Column("Share preferred [95 %]" if pairwise else "Mean mark [95 %]", True), Column("Rows", True),
               Column("No opinion", True)]  # fmt: skip
    columns += [Column(t, True) for t in ("Won", "Tied", "Lost", "Flipped", "First read won")] if pairwise else [Column("Marks")]
    body: list[list[object]] = []
    for one in found["criteria"]:
        shown = Cell(tag("span", one["criterion"], tag("small", one["text"])), one["criterion"])
        silent = one.get("unanswered") or {}
        why = f" ({', '.join(f'{n} {why}' for why, n in silent.items())})" if silent else ""
        told = Cell(f"{sum(silent.values())}{why}", sum(silent.values()))
        cells: list[object] = [shown, spanned(one), count(one.get("rows")), told]
        if pairwise:
            cells += [count(one.get(key)) for key in ("wins", "ties", "losses")] + [_share(one.get("flip_rate")), _share(one.get("first_place"))]
        else:
            cells.append(", ".join(f"{mark}: {n}" for mark, n in (one.get("marks") or {}).items()) or DASH)
        body.append(cells)
    against = f" against {found['versus']}" if pairwise else f", from {found['scale'][0]} to {found['scale'][1]}"
    return table(f"What the judge says of the answers{against}", columns, body, sortable=True)


def _agreement(found: Mapping[str, Any]) -> Html:
    """Return how the judge agrees with people; without their ratings that nothing is known of it."""
    if not any(one["agreement"] for one in found["criteria"]):
        why = "could not be measured" if found["sent"]["rated_rows"] else "is unproven: no people's ratings were given (evaluate.judge.human)"
        return tag("p", f"How far this judge agrees with people {why}. No bar can rest on it.")
    columns = [Column("Judged by"), Column("Rated rows", True), Column("Kappa [95 %]", True), Column("Spearman [95 %]", True),
               Column("Equal [95 %]", True), Column("People alike", True), Column("Needed", True), Column("Enough?")]  # fmt: skip
    if pairwise := found["mode"] == "pairwise":
        columns.insert(-2, Column("“The longer one”", True))
    body: list[list[object]] = []
    for one in found["criteria"]:
        agreed = one["agreement"] or {}
        cells: list[object] = [Cell(one["criterion"], one["criterion"]), count(agreed.get("rows"))]
        cells += [spanned(agreed.get(name), 2) for name in ("kappa", "spearman", "exact")]
        cells += [number(agreed.get("people"), 2), *([number(agreed.get("longer"), 2)] if pairwise else []), number(agreed.get("least"), 2)]
        body.append([*cells, _ENOUGH[agreed.get("proven")]])
    return table("How far the judge agrees with people, on rows they rated before; how far people agree with each other, by kappa", columns, body, sortable=True)


def _rows(found: Mapping[str, Any]) -> list[Html]:
    if not found["shown"]:
        return []
    pairwise, names = found["mode"] == "pairwise", [one["criterion"] for one in found["criteria"]]
    columns = [Column("Prompt"), Column("Answer"), *([Column("Other answer")] if pairwise else []), *(Column(n) for n in names), Column("Where")]
    body = [
        [
            *(Cell(row[key], class_="long") for key in ("prompt", "answer", *(("other",) if pairwise else ()))),
            *(Cell(tag("span", row["said"][n]["opinion"], tag("small", row["said"][n]["reason"]))) for n in names),
            tag("code", place(row)),
        ]
        for row in found["shown"]
    ]  # fmt: skip
    return [tag("details", tag("summary", "Judged rows, the worst first"), table("Judged rows", columns, body, hide_caption=True))]


def _share(value: object) -> Cell:
    return Cell(f"{value:.0%}", value) if isinstance(value, float) else Cell(DASH)

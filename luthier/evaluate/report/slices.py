"""The part of the report on parts of the rows: where the model is worst, and every value of every column."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from luthier.evaluate.report.html import Cell, Column, Html, count, interval, number, table, tag
from luthier.evaluate.report.plots import Figure

# From where on a gap is called more than chance.
_ALARMS = 0.05


def slices(record: Mapping[str, Any], plots: dict[str, Figure]) -> list[Html]:
    """Return the worst parts first, then a table of all that were looked at."""
    del plots
    found = record.get("slices")
    if not found:
        return []
    whole = ((record.get("metrics") or {}).get("test") or {}).get(found["metric"])
    said = (
        f"The test rows by {', '.join(found['columns'])}. A part is called worse where its rows are wrong more often than all "
        f"others, beyond what chance gives among {found['tested']} parts looked at (5 % of what is called worse may be false)."
    )
    parts: list[Html] = [tag("p", said), *_gaps(found.get("gaps") or [])]
    if found["worst"]:
        parts.append(_table("Where it is worst", found["metric"], found["worst"], whole))
    else:
        parts.append(tag("p", "No part is clearly worse than the rest. Parts with few rows can hide much: see the intervals."))
    every = _table("Every part", found["metric"], found["found"], whole)
    parts.append(tag("details", tag("summary", f"All {len(found['found'])} parts"), every))
    return parts


def _gaps(found: Sequence[Mapping[str, Any]]) -> list[Html]:
    """Return how far apart the values of each column are: whether the model is as good for one group as for another."""
    if not found:
        return []
    columns = [Column("By"), Column("Metric"), Column("Highest"), Column("Lowest"), Column("Gap", True), Column("95 % interval", True),
               Column("p, corrected", True), Column("More than chance?")]  # fmt: skip
    body: list[list[object]] = []
    for one in found:
        told = [p for p in one["parts"] if p["measured"] is not None]
        ends = [f(told, key=lambda p: p["measured"]) for f in (max, min)]
        shown = [f"{end['value']}: {end['measured']:.3f} ({end['rows']} rows)" for end in ends]
        sure = "cannot tell" if one["p"] is None else "yes" if one["p"] <= _ALARMS else "not shown"
        body.append([Cell(one["column"], one["column"]), one["metric"], *shown, number(one), interval(one), number(one["p"]),
                     Cell(sure, class_="no" if sure == "yes" else None)])  # fmt: skip
    said = (
        "A gap is how far the highest value of a column is from the lowest, among values of ten test rows or more. Some gap is there "
        "by chance alone: p is how often rows shuffled between the groups give one as large. “Not shown” is no proof of fairness: "
        "see how far the interval reaches."
    )
    return [tag("h3", "Is it as good for one group as for another?"), tag("p", said), table("Gaps between groups", columns, body, sortable=True)]


def _table(caption: str, metric: str, rows: Sequence[Mapping[str, Any]], whole: Any) -> Html:
    columns = [Column("Rows where"), Column("Rows", True), Column(metric, True), Column("95 % interval", True),
               Column("p, corrected", True), Column("Worse?")]  # fmt: skip
    body: list[list[object]] = []
    if whole is not None:
        body.append([Cell("all test rows", ""), Cell(""), number(whole), interval(whole), Cell(""), Cell("")])
    for row in rows:
        worse = Cell("yes", class_="no") if row["worse"] else Cell("cannot tell" if row["loss_more"] is None else "no")
        body.append([Cell(row["slice"], row["slice"]), count(row["rows"]), number(row), interval(row), number(row["p"]), worse])
    return table(caption, columns, body, sortable=True)

"""The part of the report on what mistakes cost: the confusion in money, and the pairs that cost most."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from luthier.evaluate.report.html import Cell, Column, Html, count, decimal, number, plain_number, table, tag
from luthier.evaluate.report.plots import Figure

_MOST_LABELS = 20


def money(record: Mapping[str, Any], plots: dict[str, Figure]) -> list[Html]:
    """Return the mean cost of a row beside that of the rivals, the matrix where it can be read, and the dearest pairs."""
    del plots
    found = record.get("money")
    if not found:
        return []
    unit = f" {found['unit']}" if found["unit"] else ""
    mean = ((record.get("metrics") or {}).get("test") or {}).get("cost") or {}
    said = f"The {found['rows']} test rows cost {decimal(found['total'])}{unit} together"
    value = plain_number(mean)
    said += f", {decimal(value)}{unit} a row" if value is not None else ""
    span = f" (95 % interval {decimal(mean['low'])} to {decimal(mean['high'])})" if mean.get("low") is not None else ""
    parts: list[Html] = [tag("p", said + span + "." + _others(record, unit) + _single(found, unit))]
    if found["dearest"]:
        columns = [Column("True label"), Column("Answered"), Column("Rows", True), Column(f"Cost{unit}", True), Column("Share of all", True)]
        body: list[list[object]] = [
            [Cell(p["true"], p["true"]), p["answered"], count(p["rows"]), number(p["cost"]), Cell(f"{p['cost'] / found['total']:.0%}", p["cost"])]
            for p in found["dearest"]
        ]
        parts.append(table("What costs most", columns, body, sortable=True))
    if len(found["labels"]) <= _MOST_LABELS:
        columns = [Column("True label"), *(Column(label, True) for label in found["labels"])]
        rows: list[list[object]] = [
            [Cell(label, label), *(number(cost) for cost in line)] for label, line in zip(found["labels"], found["matrix"], strict=True)
        ]
        parts.append(tag("details", tag("summary", "The confusion matrix in cost"), table(f"Cost{unit} by true label and answer", columns, rows)))
    return parts


def _others(record: Mapping[str, Any], unit: str) -> str:
    costs = {name: plain_number((values or {}).get("cost")) for name, values in (record.get("baselines") or {}).items()}
    told = [f"{name} {decimal(value)}" for name, value in costs.items() if value is not None]
    return f" The rivals{unit and ', in' + unit}: {', '.join(told)} a row." if told else ""


def _single(found: Mapping[str, Any], unit: str) -> str:
    one, likeliest = found.get("single"), found.get("likeliest")
    said = f" Always answering “{one['label']}” would cost {decimal(one['cost'])}{unit} a row." if one else ""
    return said + (f" The likeliest labels would cost {decimal(likeliest)}{unit} a row." if likeliest is not None else "")

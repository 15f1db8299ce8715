"""The part of the report for plain text: what the model finds hardest."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from luthier.evaluate.report.html import Cell, Column, Html, count, decimal, table, tag
from luthier.evaluate.report.plots import Figure


def surprises(record: Mapping[str, Any], plots: dict[str, Figure]) -> list[Html]:
    """Return the hardest test documents; often they are of another kind, or damaged."""
    del plots
    rows = record.get("surprises") or []
    if not rows:
        return []
    columns = [Column("Document"), Column("Bits per token", True), Column("Tokens", True), Column("Where")]
    cells = [
        [
            Cell(r["text"], class_="long"),
            decimal(r["bits"]),
            count(r["tokens"]),
            tag("code", f"{r['file']}:{r['line']}"),
        ]
        for r in rows
    ]
    said = "The test documents that surprise the model most. Look whether they belong to the field, and are whole."
    return [tag("p", said), table("Hardest documents", columns, cells, hide_caption=True)]

"""The part of the report for preferences: which pairs are ordered wrongly, and what the order follows."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from luthier.evaluate.report.engineer import place
from luthier.evaluate.report.html import Cell, Column, Html, count, number, table, tag
from luthier.evaluate.report.plots import Figure


def preferences(record: Mapping[str, Any], plots: dict[str, Figure]) -> list[Html]:
    """Return the shares of rightly ordered pairs by length and by agreement, and the worst pairs."""
    del plots
    found = record.get("preferences") or {}
    shares = [*(found.get("by_length") or []), *(found.get("by_agreement") or [])]
    pairs = found.get("pairs") or []
    parts: list[Html] = []
    if shares:
        columns = [Column("Pairs where"), Column("Pairs", True), Column("Ordered rightly", True)]
        body = [[s.get("what"), count(s.get("rows")), number(s.get("accuracy"), 2)] for s in shares]
        parts.append(table("Ordered rightly, by length and by agreement", columns, body))
    if pairs:
        parts += [_said(), _worst(pairs)]
    return parts


def _said() -> Html:
    return tag(
        "p", "Worst first. The margin is the reward of the better answer less that of the worse; the gain is how many nats "
        "the better answer won on the worse by training.",
    )  # fmt: skip


def _worst(pairs: list[Mapping[str, Any]]) -> Html:
    columns = [
        Column("Prompt"),
        Column("Preferred"),
        Column("Not preferred"),
        Column("Margin", True),
        Column("Gain", True),
    ]
    body = [
        [
            *(Cell(p.get(key, ""), class_="long") for key in ("prompt", "chosen", "rejected")),
            number(p.get("margin"), 2), number(p.get("gain"), 2), tag("code", place(p)),
        ]
        for p in pairs
    ]  # fmt: skip
    return table("Pairs ordered worst", [*columns, Column("Where")], body, hide_caption=True)

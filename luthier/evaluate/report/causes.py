"""The part of the report that says why mistakes were made: grouped by likely cause, each beside the train rows nearest to it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from luthier.evaluate.report.html import Cell, Column, Html, count, number, table, tag
from luthier.evaluate.report.plots import Figure


def causes(record: Mapping[str, Any], plots: dict[str, Figure]) -> list[Html]:
    """Return the causes with their counts, then each with what to do and its worst mistakes."""
    del plots
    found = record.get("causes")
    if not found or not found["groups"]:
        return []
    said = (
        f"The {found['looked_at']} worst mistakes, each beside {_of_train(found)} as the tuned network sees them. "
        f"What is near there has been learnt alike. Causes are likely ones, not proofs; all of these mistakes stand in {found['file']}."
    )
    body: list[list[object]] = [
        [Cell(g["what"], g["what"]), count(g["rows"]), Cell(f"{g['rows'] / found['looked_at']:.0%}", g["rows"])] for g in found["groups"]
    ]
    columns = [Column("Likely cause"), Column("Mistakes", True), Column("Share", True)]
    return [tag("p", said), table("Why the model was wrong", columns, body), *(_group(g) for g in found["groups"])]


def _of_train(found: Mapping[str, Any]) -> str:
    rows, read = found["train_rows"], found.get("train_rows_read", found["train_rows"])
    whole = f"the {count(rows).shown} train rows"
    return whole if read == rows else f"{count(read).shown} of {whole}, those most like it in words and a spread over all,"


def _group(group: Mapping[str, Any]) -> Html:
    columns = [Column("Text"), Column("True"), Column("Predicted"), Column("Confidence", True), Column("Nearest train rows"), Column("Where")]
    body = [
        [Cell(m["text"], class_="long"), m["target"], m["predicted"], number(m["confidence"], 2), tag("div", [_near(n) for n in m["near"][:3]]),
         Cell(tag("code", f"{m['file']}:{m['line']}"))]
        for m in group["mistakes"]
    ]  # fmt: skip
    more = f" The worst {len(body)} of {group['rows']}." if len(body) < group["rows"] else ""
    return tag(
        "details", tag("summary", f"{group['what']} ({group['rows']})"), tag("p", group["mend"] + more),
        table(str(group["what"]), columns, body, hide_caption=True) if body else None,
    )  # fmt: skip


def _near(row: Mapping[str, Any]) -> Html:
    """Return a train row with its label, marked where that looks wrong."""
    what = "score" if isinstance(row["looks_wrong"], Mapping) else "label"
    wrong = [" ", tag("span", f"{what} looks wrong", class_="no")] if row["looks_wrong"] else []
    place = tag("code", f"{row['file']}:{row['line']}")
    return tag("p", tag("strong", row["label"]), *wrong, f" ({row['cosine']:.2f}) ", row["text"], " ", place)

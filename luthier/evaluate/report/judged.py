"""Parts of the report for graders and extractors: given scores against human ones, and what was chosen of a document."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from luthier.evaluate.report import plots as report_plots
from luthier.evaluate.report.html import Column, Html, count, decimal, plot, table, tag
from luthier.evaluate.report.plots import Figure


def agreement(record: Mapping[str, Any], plots: dict[str, Figure]) -> list[Html]:
    """Return given against human scores: the first trait as a plot, the others as tables to unfold."""
    parts: list[Html] = []
    for trait, found in (record.get("agreement") or {}).items():
        labels, matrix = [str(label) for label in found["labels"]], found["matrix"]
        rows = sum(map(sum, matrix))
        near = sum(n for i, row in enumerate(matrix) for j, n in enumerate(row) if abs(i - j) <= 1)
        same = sum(row[i] for i, row in enumerate(matrix))
        said = f"{trait}: rows are human scores, columns those given, rounded to the scale. "
        said += f"{same} of {rows} are the same and {near} at most one step apart."
        if not parts:
            plots["agreement"] = report_plots.confusion(labels, matrix)
            parts.append(plot("agreement", said, **report_plots.confusion_size(len(labels))))
            continue
        columns = [Column("Human score"), *(Column(label, True) for label in labels)]
        cells = [[label, *map(count, row)] for label, row in zip(labels, matrix, strict=True)]
        parts.append(
            tag("details", tag("summary", trait), tag("p", said), table(trait, columns, cells, hide_caption=True))
        )
    return parts


def chosen(record: Mapping[str, Any], plots: dict[str, Figure]) -> list[Html]:
    """Return documents sentence by sentence, those that were chosen marked, beside a summary by a person."""
    del plots
    parts: list[Html] = []
    if record.get("ceiling"):
        best = ", ".join(f"{name} {decimal(value)}" for name, value in record["ceiling"].items())
        said = f"No choice of sentences gets far beyond {best}: that is what the sentences reach that share most with the summaries."
        parts.append(tag("p", said))
    for row in record.get("chosen") or []:
        taken = set(row["taken"])
        sentences = [tag("li", tag("mark", text) if i in taken else text) for i, text in enumerate(row["sentences"])]
        where = f"{row['file']}:{row['line']}"
        head = [tag("code", where), f" rougeL {row['rougeL']:.2f}, best possible {row['ceiling']:.2f}"]
        parts.append(
            tag(
                "details",
                tag("summary", head),
                tag("ol", sentences),
                tag("p", "By a person: ", row["target"]),
            )
        )
    return parts

"""Rows that are a document and summaries that people wrote of it: one column, several, or a list in a cell."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from luthier.data.shapes.cells import EMPTY_TEXT, Unusable, text_of
from luthier.data.shapes.layout import Layout, Scheme, no_column

EMPTY_SUMMARY = "empty summary"


def extract_scheme(layout: Layout) -> Scheme | None:
    before = len(layout.faults)
    text = layout.find("text")
    told = layout.columns.get("summary", "summary")
    names = (told,) if isinstance(told, str) else tuple(told)
    # Files of one task may have other numbers of summaries a row: what a file lacks is passed over where it has one.
    there = [name for name in names if name in layout.keys]
    if layout.need_target and not there:
        layout.faults.append(no_column(names[0], layout.keys, layout.where, "data.columns.summary"))
    if len(layout.faults) > before:
        return None

    def read(values: Mapping[str, Any]) -> tuple[dict[str, Any], list[str] | None, None]:
        document = text_of(values.get(text))
        if not document:
            raise Unusable(EMPTY_TEXT)
        cells = [cell for name in there for cell in _cells(values.get(name))]
        summaries = [summary for cell in cells if (summary := text_of(cell))]
        if layout.need_target and not summaries:
            raise Unusable(EMPTY_SUMMARY)
        return {"document": document}, summaries or None, None

    return Scheme(", ".join((text, *there)), frozenset((text, *there)), read)


def _cells(value: Any) -> list[Any]:
    return list(value) if isinstance(value, list | tuple) else [value]

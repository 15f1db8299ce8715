"""Predictions and targets as arrays: one file an objective, one entry in one dict."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from luthier.base.records import Prediction
from luthier.evaluate.tables import extract, generate, grade, multilabel, prefer, rank, scoped, text
from luthier.evaluate.tables.common import Family, Floats, Ints, Table

FAMILIES: dict[str, Family] = {
    "classify": scoped.FAMILY,
    "multilabel": multilabel.FAMILY,
    "grade": grade.FAMILY,
    "extract": extract.FAMILY,
    "generate": generate.FAMILY,
    "prefer": prefer.FAMILY,
    "text": text.FAMILY,
    "rank": rank.FAMILY,
}

__all__ = ["FAMILIES", "Family", "Floats", "Ints", "Table", "tabulate"]


def tabulate(objective: str, targets: Sequence[Any], predictions: Sequence[Prediction], labels: Sequence[str]) -> Table:
    """Return the rows of ``objective`` as arrays. Raises ValueError where targets and predictions differ in number."""
    if len(targets) != len(predictions):
        raise ValueError(f"{len(targets)} targets and {len(predictions)} predictions")
    return FAMILIES[objective].table(targets, predictions, labels)

"""Where a grader is wrong: given scores against human ones, and the texts it is furthest from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from luthier.base.records import Example, Prediction
from luthier.evaluate.mistakes import asked, start_of
from luthier.evaluate.tables.grade import GradeTable

_MOST_STEPS = 25


def of_scores(
    rows: Sequence[Example], predictions: Sequence[Prediction], labels: Sequence[str], worst: int
) -> dict[str, Any]:
    """Return ``agreement``, a table of rounded scores for each trait, and ``mistakes``, by mean error in steps."""
    table = GradeTable.of([e.target for e in rows], predictions, labels)
    return {"agreement": _agreement(table), "mistakes": [mistake for _, mistake in _ranked(rows, predictions, table)[:worst]]}


def ranked_scores(
    rows: Sequence[Example], predictions: Sequence[Prediction], labels: Sequence[str]
) -> list[tuple[int, dict[str, Any]]]:
    """Return every row with a score more than half a step off, with its number, worst first."""
    return _ranked(rows, predictions, GradeTable.of([e.target for e in rows], predictions, labels))


def _ranked(
    rows: Sequence[Example], predictions: Sequence[Prediction], table: GradeTable
) -> list[tuple[int, dict[str, Any]]]:
    found = [(i, m) for i, e in enumerate(rows) if (m := _mistake(e, predictions[i], table, i)) is not None]
    return sorted(found, key=lambda one: -one[1]["loss"])


def _agreement(table: GradeTable) -> dict[str, Any]:
    """Return ``{trait: {"labels", "matrix"}}``: rows are human scores, columns those given; none for very fine scales."""
    found = {}
    for k, trait in enumerate(table.traits):
        wanted, given = table.rounded(k)
        if not len(wanted):
            continue
        low, high = int(min(wanted.min(), given.min())), int(max(wanted.max(), given.max()))
        if high - low >= _MOST_STEPS:
            continue
        size = high - low + 1
        cells = np.bincount(((wanted - low) * size + given - low).astype(np.int64), minlength=size * size)
        lowest, step = float(np.nanmin(table.target[table.judged[:, k], k])), table.steps[k]
        names = [f"{lowest + (low + i) * step:g}" for i in range(size)]
        found[trait] = {"labels": names, "matrix": cells.reshape(size, size).tolist()}
    return found


def _mistake(example: Example, prediction: Prediction, table: GradeTable, row: int) -> dict[str, Any] | None:
    judged = table.judged[row]
    apart = np.abs(table.target[row] - table.given[row]) / np.array(table.steps)
    if not judged.any() or not apart[judged].max() > 0.5:
        return None
    return {
        "text": start_of(asked(example)),
        "target": _listed(example.target, table.traits),
        "predicted": _listed(prediction.grades or {}, table.traits),
        "confidence": None,
        "loss": float(apart[judged].mean()),
        "file": example.source.file,
        "line": example.source.line,
    }


def _listed(scores: Mapping[str, float], traits: Sequence[str]) -> str:
    if len(traits) == 1:
        return f"{scores[traits[0]]:.3g}" if traits[0] in scores else ""
    return ", ".join(f"{trait} {scores[trait]:.3g}" for trait in traits if trait in scores)

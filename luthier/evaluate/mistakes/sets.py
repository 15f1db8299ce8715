"""Where a multilabel model is wrong: each label's figures, and the rows with the worst sets."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from luthier.base.records import Example, Prediction
from luthier.evaluate import curves
from luthier.evaluate.mistakes import asked, start_of

_LEAST = 1e-12


def of_sets(
    rows: Sequence[Example], predictions: Sequence[Prediction], labels: Sequence[str], worst: int
) -> dict[str, Any]:
    """Return ROC and precision-recall curves, and the rows whose sets are wrong, by the summed loss of their wrong decisions, in nats."""
    drawn = curves.set_curves([e.target for e in rows], predictions, labels)
    return {**drawn, "mistakes": [mistake for _, mistake in ranked_sets(rows, predictions, labels)[:worst]]}


def ranked_sets(
    rows: Sequence[Example], predictions: Sequence[Prediction], labels: Sequence[str]
) -> list[tuple[int, dict[str, Any]]]:
    """Return every row whose set is wrong, with its number, worst first."""
    pairs = zip(rows, predictions, strict=True)
    found = [(i, m) for i, pair in enumerate(pairs) if (m := _mistake(*pair, labels)) is not None]
    return sorted(found, key=lambda one: -one[1]["loss"])


def _mistake(example: Example, prediction: Prediction, labels: Sequence[str]) -> dict[str, Any] | None:
    wanted, given = set(example.target), set(prediction.labels or ())
    wrong = wanted ^ given
    if not wrong:
        return None
    scores = prediction.scores or {}
    sure = {label: scores.get(label, 0.0) if label in given else 1 - scores.get(label, 0.0) for label in wrong}
    return {
        "text": start_of(asked(example)),
        "target": _listed(wanted, labels),
        "predicted": _listed(given, labels),
        "confidence": max(sure.values()),
        "loss": -sum(math.log(max(1 - share, _LEAST)) for share in sure.values()),
        "file": example.source.file,
        "line": example.source.line,
    }


def _listed(found: set[str], labels: Sequence[str]) -> str:
    order = {label: i for i, label in enumerate(labels)}
    return ", ".join(sorted(found, key=lambda label: (order.get(label, len(order)), label))) or "(none)"

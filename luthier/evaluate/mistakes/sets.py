"""Where a multilabel model is wrong: each label's figures, and the rows with the worst sets."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from luthier.base.records import Example, Prediction
from luthier.evaluate.mistakes import asked, start_of

_LEAST = 1e-12


def of_sets(
    rows: Sequence[Example], predictions: Sequence[Prediction], labels: Sequence[str], worst: int
) -> dict[str, Any]:
    """Return the rows whose sets are wrong, by the summed loss of their wrong decisions, in nats."""
    found = [m for pair in zip(rows, predictions, strict=True) if (m := _mistake(*pair, labels)) is not None]
    return {"mistakes": sorted(found, key=lambda row: -row["loss"])[:worst]}


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

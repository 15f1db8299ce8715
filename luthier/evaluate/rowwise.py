"""What each row of a prediction says by itself: its loss, whether it is right, how sure the model was."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from luthier.base.overlap import rouge_1_of
from luthier.base.records import Example, Prediction
from luthier.evaluate.rewards import is_preference, surprise

Rows = dict[str, list[float]]

_LEAST = 1e-12
_DIGITS = 5


def rowwise(rows: Sequence[Example], predictions: Sequence[Prediction]) -> Rows | None:
    """Return ``loss`` (nats per learnt unit), and of labels also ``right`` (0 or 1) and ``confidence``, a number a row.

    None where these predictions do not hold the loss of the known targets. Numbers are rounded: they go into checkpoints.
    """
    if not rows:
        return None
    if all(p.label is not None and p.scores is not None for p in predictions):
        return _of_labels(rows, predictions)
    if all(p.labels is not None and p.scores is not None for p in predictions):
        return {"loss": [_of_set(row.target, p.scores or {}) for row, p in zip(rows, predictions, strict=True)]}
    if all(p.sentences is not None for p in predictions):
        pairs = zip(rows, predictions, strict=True)
        return {"loss": [round(1 - rouge_1_of(p.sentences or (), row.target), _DIGITS) for row, p in pairs]}
    if all(p.grades is not None for p in predictions):
        return {"loss": [_of_grades(row.target, p.grades or {}) for row, p in zip(rows, predictions, strict=True)]}
    if all(is_preference(row.target) for row in rows):
        surprises = [surprise(p, row.target) for row, p in zip(rows, predictions, strict=True)]
        return {"loss": [round(s, _DIGITS) for s in surprises if s is not None]}
    weighed = [p.measured["nll_sum"] / p.measured["token_count"] for p in predictions if p.measured.get("token_count")]
    # A row that is too long to weigh is so at every evaluation, so rows still pair up.
    return {"loss": [round(value, _DIGITS) for value in weighed]} if weighed else None


def _of_set(wanted: Sequence[str], scores: Mapping[str, float]) -> float:
    """Return the summed loss of all yes-or-no decisions, in nats."""
    right = [scores[label] if label in wanted else 1 - scores[label] for label in scores]
    return round(-sum(math.log(max(share, _LEAST)) for share in right), _DIGITS)


def _of_grades(wanted: Mapping[str, float], given: Mapping[str, float]) -> float:
    """Return the mean squared error of the traits that were judged, in points."""
    squares = [(given[trait] - score) ** 2 for trait, score in wanted.items() if trait in given]
    return round(sum(squares) / len(squares), _DIGITS) if squares else 0.0


def _of_labels(rows: Sequence[Example], predictions: Sequence[Prediction]) -> Rows:
    found: Rows = {"loss": [], "right": [], "confidence": []}
    for row, prediction in zip(rows, predictions, strict=True):
        scores = prediction.scores or {}
        found["loss"].append(round(-math.log(max(scores.get(str(row.target), 0.0), _LEAST)), _DIGITS))
        found["right"].append(int(prediction.label == row.target))
        found["confidence"].append(round(scores.get(str(prediction.label), 0.0), _DIGITS))
    return found

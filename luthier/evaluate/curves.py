"""The points of ROC and precision-recall curves and reliability diagrams, without any drawing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from luthier.base.records import Prediction
from luthier.evaluate.tables.classify import ClassifyTable
from luthier.evaluate.tables.common import ECE_BINS, Floats, confidence_bins
from luthier.evaluate.tables.multilabel import MultilabelTable


def roc_curves(
    targets: Sequence[str], predictions: Sequence[Prediction], labels: Sequence[str], max_points: int = 200
) -> dict[str, dict[str, Any]]:
    """Return ``{label: {"fpr", "tpr", "auc"}}``, each label against the rest; of two labels, the second.

    A curve is thinned to ``max_points``; ``auc`` is of all points. Labels without a row, or with every row, have no
    curve.
    """
    table = ClassifyTable.of(targets, predictions, labels)
    if table.probabilities is None:
        return {}
    codes = [1] if len(table.labels) == 2 else range(len(table.labels))
    curves = {}
    for code in codes:
        truth = table.target == code
        if 0 < truth.sum() < len(truth):
            curves[table.labels[code]] = _roc(truth.astype(float), table.probabilities[:, code], max_points)
    return curves


def pr_curves(
    targets: Sequence[str], predictions: Sequence[Prediction], labels: Sequence[str], max_points: int = 200
) -> dict[str, dict[str, Any]]:
    """Return ``{label: {"recall", "precision", "area", "share"}}``, each label against the rest; of two labels, the second.

    ``area`` is the average precision, the sum of precision over steps of recall, and ``share`` the precision of chance: the
    label's share of the rows. Labels without a row have no curve.
    """
    table = ClassifyTable.of(targets, predictions, labels)
    if table.probabilities is None:
        return {}
    codes = [1] if len(table.labels) == 2 else range(len(table.labels))
    found = {table.labels[code]: (table.target == code, table.probabilities[:, code]) for code in codes}
    return {label: _pr(truth.astype(float), scores, max_points) for label, (truth, scores) in found.items() if truth.any()}


def set_curves(
    targets: Sequence[Sequence[str]], predictions: Sequence[Prediction], labels: Sequence[str], max_points: int = 200
) -> dict[str, Any]:
    """Return ``roc`` and ``pr`` of each label of sets, as for single labels, and ``reliability``; no scores, no curves.

    Of sets it is the probability of each label in each row that is held against how often the label is right.
    """
    table = MultilabelTable.of(targets, predictions, labels)
    if table.scores is None:
        return {}
    columns = [(label, table.target[:, code], table.scores[:, code]) for code, label in enumerate(table.labels)]
    return {
        "roc": {label: _roc(truth, scores, max_points) for label, truth, scores in columns if 0 < truth.sum() < len(truth)},
        "pr": {label: _pr(truth, scores, max_points) for label, truth, scores in columns if truth.any()},
        "reliability": _bins(table.scores.ravel(), table.target.ravel(), ECE_BINS),
    }


def _pr(truth: Floats, scores: Floats, max_points: int) -> dict[str, Any]:
    order = np.argsort(-scores, kind="stable")
    last_of_tie = np.append(np.diff(scores[order]) != 0, True)
    hits = np.cumsum(truth[order])[last_of_tie]
    precision = hits / np.arange(1, len(truth) + 1)[last_of_tie]
    recall = hits / truth.sum()
    area = float((np.diff(recall, prepend=0.0) * precision).sum())
    # A step of recall has the precision at its end; the curve starts at that of the surest rows.
    recall, precision = np.concatenate([[0.0], recall]), np.concatenate([precision[:1], precision])
    kept = np.unique(np.linspace(0, len(recall) - 1, min(max_points, len(recall))).round().astype(int))
    share = float(truth.mean())
    return {"recall": recall[kept].round(5).tolist(), "precision": precision[kept].round(5).tolist(), "area": area, "share": share}


def _roc(truth: Floats, scores: Floats, max_points: int) -> dict[str, Any]:
    order = np.argsort(-scores, kind="stable")
    last_of_tie = np.append(np.diff(scores[order]) != 0, True)
    found = np.concatenate([[0.0], np.cumsum(truth[order])[last_of_tie]]) / truth.sum()
    false = np.concatenate([[0.0], np.cumsum(1 - truth[order])[last_of_tie]]) / (1 - truth).sum()
    area = float(np.trapezoid(found, false))
    kept = np.unique(np.linspace(0, len(found) - 1, min(max_points, len(found))).round().astype(int))
    return {"fpr": false[kept].round(5).tolist(), "tpr": found[kept].round(5).tolist(), "auc": area}


def reliability(targets: Sequence[str], predictions: Sequence[Prediction], bins: int = ECE_BINS) -> dict[str, Any]:
    """Return ``{"bins": [{"low", "high", "count", "confidence", "accuracy"}]}``: how often a confidence is right.

    Equal-width bins of the score of the predicted label; means are None in an empty bin. No scores, no bins.
    """
    if not predictions or not all(p.scores and p.label in p.scores for p in predictions):
        return {"bins": []}
    confidence = np.array([p.scores[p.label] for p in predictions if p.scores and p.label is not None])
    return _bins(confidence, np.array([p.label == t for p, t in zip(predictions, targets, strict=True)], dtype=float), bins)


def _bins(confidence: Floats, right: Floats, bins: int) -> dict[str, Any]:
    place = confidence_bins(confidence, bins)
    rows = []
    for b in range(bins):
        inside = place == b
        means = {"confidence": confidence, "accuracy": right}
        rows.append(
            {
                "low": b / bins,
                "high": (b + 1) / bins,
                "count": int(inside.sum()),
                **{name: float(values[inside].mean()) if inside.any() else None for name, values in means.items()},
            }
        )
    return {"bins": rows}


def risk_coverage(targets: Sequence[str], predictions: Sequence[Prediction], max_points: int = 100) -> dict[str, Any]:
    """Return ``{"coverage", "risk", "confidence"}``: of the surest rows so many are answered, and this share of them is wrong.

    Rows of equal confidence come together; ``confidence`` is the least that is answered. No scores, no curve.
    """
    if not predictions or not all(p.scores and p.label in p.scores for p in predictions):
        return {}
    confidence = np.array([p.scores[p.label] for p in predictions if p.scores and p.label is not None])
    wrong = np.array([p.label != t for p, t in zip(predictions, targets, strict=True)], dtype=float)
    order = np.argsort(-confidence, kind="stable")
    last_of_tie = np.append(np.diff(confidence[order]) != 0, True)
    answered = np.arange(1, len(order) + 1)[last_of_tie]
    risk = np.cumsum(wrong[order])[last_of_tie] / answered
    kept = np.unique(np.linspace(0, len(answered) - 1, min(max_points, len(answered))).round().astype(int))
    return {"coverage": (answered[kept] / len(order)).round(5).tolist(), "risk": risk[kept].round(5).tolist(),
            "confidence": confidence[order][last_of_tie][kept].round(5).tolist()}  # fmt: skip

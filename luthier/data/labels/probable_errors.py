"""Probable label errors of the train rows: who votes, on how many rows, and the table that a person fills in."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from luthier.base.records import Example
from luthier.data.report import input_text
from luthier.spec.data import DataSection

ROWS = 20_000
_FOLDS = 5
_LEAST = 50
_SHOWN = 1_000
_SURE_SHARE = 0.25


def probable_errors(
    train: Sequence[Example], labels: list[str], data: DataSection, *, vectors: np.ndarray | None = None
) -> dict[str, Any]:
    """Return the count, the share and the ranked rows of probable label errors, by out-of-fold predictions.

    Rows of labels with fewer than two folds' worth of rows are judged too; a data set of fewer than 50 rows or of one
    label is not. ``skipped`` says why nothing was looked for. ``sure_wrong`` is the share of wrong predictions among the
    quarter that is surest.
    """
    if data.label_errors == "off":
        return {"count": None, "skipped": "data.label_errors: off"}
    if len(train) > ROWS and data.label_errors == "auto":
        return {"count": None, "skipped": f"more than {ROWS:,} train rows; data.label_errors: on looks at all of them"}
    if len(train) < _LEAST or len(labels) < 2:
        return {"count": None, "skipped": "too few rows or labels"}
    from luthier.data.labels.folds import folds
    from luthier.data.labels.out_of_fold import probabilities
    from luthier.data.labels.suspects import as_rows, find

    number = {label: i for i, label in enumerate(labels)}
    truth = np.array([number[str(e.target)] for e in train], dtype=np.int64)
    texts = [] if vectors is not None else [input_text(e) for e in train]
    fold = folds(train, _FOLDS, seed=data.split.seed)
    scores = probabilities(texts, truth, len(labels), folds=fold, seed=data.split.seed,
                           features="words" if vectors is None else vectors)  # fmt: skip
    found = find(truth, scores)
    flagged = int(found.is_issue.sum())
    right = scores.argmax(1) == truth
    # Hard rows are those a model is unsure of; a wrong label does not care how sure it is.
    sure = np.argsort(-scores.max(1), kind="stable")[: max(1, round(_SURE_SHARE * len(train)))]
    return {
        "count": flagged,
        "share": flagged / len(train),
        "estimated_share": found.estimated_share,
        "out_of_fold_accuracy": float(right.mean()),
        "sure_wrong": float(1 - right[sure].mean()),
        "features": "words" if vectors is None else "vectors",
        "rows": as_rows(found, train, labels, scores, limit=_SHOWN),
    }

"""Probable label errors: which rows carry a label that out-of-fold predictions and the habits of the noise speak against.

Confident learning (Northcutt, Jiang and Chuang 2021, https://arxiv.org/abs/1911.00068) counts how labels are mistaken for
each other. Here the counts are taken among the rows that are most clearly of a class, and the ranking uses them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from luthier.base.records import Example
from luthier.data.report import input_text

Floats = NDArray[np.float64]

# Chosen on noisy AG News and on injected noise of four kinds: see docs/guides/label-errors.md.
_CLEAR_SHARE = 0.4
# From this share of one-way errors up, undoing them ranks better; measured on the kinds of noise of bench/label_errors.py.
_HABIT = 0.2
_MUTUAL = 0.3
_DEVIATIONS = 1.0
_STEPS = 3
_LEAST_RATE = 1e-4
_MOST_RATE = 0.9
SHOWN_CHARS = 2000


@dataclass(frozen=True, slots=True)
class Suspects:
    """What was found of N rows.

    ``order`` (N,) is worst first, ``score`` (N,) the chance from 0 to 1 that the label is wrong, ``suggested`` (N,)
    the most likely other label's number, ``is_issue`` (N,) whether the row should be looked at, ``estimated_share`` that
    of wrong labels by cleanlab's confident joint.
    """

    order: NDArray[np.int64]
    score: Floats
    suggested: NDArray[np.int64]
    is_issue: NDArray[np.bool_]
    estimated_share: float


def find(labels_N: NDArray[Any], probabilities_NC: NDArray[Any]) -> Suspects:
    """Rank rows by how likely their label is wrong, given out-of-fold probabilities of the labels as they stand.

    The predictions have learnt from the wrong labels too, so they are first turned into those of true labels: three
    Richardson-Lucy steps (Richardson 1972) that undo the transition matrix, the chance of each label given the true
    class. Bayes' rule then gives the chance of another class given the label that the row carries. That chance ranks,
    where at least a fifth of the errors goes one way; else there is no habit to undo, and the chance of the row's own
    label ranks, as in cleanlab. How many rows to look at is what the confident joint estimates, less the rows whose
    label the predictions favour.

    Raises:
        ValueError: shapes that do not fit, a label out of range, probabilities that are negative or not finite.
    """
    labels = np.asarray(labels_N, dtype=np.int64)
    given = np.asarray(probabilities_NC, dtype=np.float64)
    _check(labels, given)
    size, classes = given.shape
    if classes < 2 or size == 0:
        nothing = np.zeros(size)
        return Suspects(np.arange(size), nothing, labels, nothing > 0, 0.0)
    chances = np.maximum(given, 1e-12)
    chances /= chances.sum(1, keepdims=True)
    matrix, one_way = transitions(labels, chances)
    at = np.arange(size)
    joint = _undo(chances, matrix) * matrix[labels]
    if one_way < _HABIT:  # nothing to undo: what the predictions say of the label as it stands ranks best
        score = 1.0 - chances[at, labels]
    else:
        score = 1.0 - joint[at, labels] / joint.sum(1)
    # Rows that the first score cannot tell apart are ordered by the plain probability of their label.
    order = np.lexsort((chances[at, labels], -score))
    others = joint.copy()
    others[at, labels] = -1.0
    share = _estimated_share(labels, chances)
    is_issue = np.zeros(size, dtype=bool)
    is_issue[order[: round(share * size)]] = True
    is_issue &= chances.argmax(1) != labels
    return Suspects(order, score, others.argmax(1), is_issue, share)


def _check(labels: NDArray[np.int64], given: Floats) -> None:
    if given.ndim != 2 or len(given) != len(labels):
        raise ValueError(f"{len(labels)} labels and probabilities of shape {given.shape}")
    if len(labels) and (labels.min() < 0 or labels.max() >= given.shape[1]):
        raise ValueError(f"labels from {labels.min()} to {labels.max()} for {given.shape[1]} columns")
    if not np.isfinite(given).all() or (given < 0).any():
        raise ValueError("a probability is negative or not a finite number")


def transitions(labels: NDArray[np.int64], chances: Floats) -> tuple[Floats, float]:
    """Return (C, C) chances of label j (row) given true class k (column), columns sum to 1; and the share of one-way errors.

    Each class's clearest rows, 40 % of those predicted as it, are counted by the label they carry. Two classes that are
    hard to tell apart are mistaken for each other both ways, which says nothing of the labels; labels that go one way
    more often than back, by more than a standard error, are noise. So the excess of one way counts in full, and what
    goes both ways to three tenths, the rest of it spread evenly over all pairs.
    """
    classes = chances.shape[1]
    predicted = chances.argmax(1)
    counted, clear, size = np.zeros((classes, classes)), np.zeros(classes), np.bincount(predicted, minlength=classes)
    for k in np.flatnonzero(size):
        rows = np.flatnonzero(predicted == k)
        rows = rows[np.argsort(-chances[rows, k], kind="stable")[: int(np.ceil(_CLEAR_SHARE * len(rows)))]]
        counted[k], clear[k] = np.bincount(labels[rows], minlength=classes), len(rows)
    # From here on in rows of the whole class, [true, label], so that both ways of a pair can be compared.
    flows = counted / (clear[:, None] + 1.0) * size[:, None]
    np.fill_diagonal(flows, 0.0)
    error = counted * (size / np.maximum(clear, 1.0))[:, None] ** 2
    np.fill_diagonal(error, 0.0)
    mutual = np.minimum(flows, flows.T)
    excess = np.maximum(flows - mutual - _DEVIATIONS * np.sqrt(error + error.T), 0.0)
    mutual = flows - excess
    even = mutual.sum() / (classes * (classes - 1))
    rates = (excess + _MUTUAL * mutual + (1 - _MUTUAL) * even) / np.maximum(size, 1)[:, None]
    rates = np.maximum(rates, _LEAST_RATE / (classes - 1))
    np.fill_diagonal(rates, 0.0)
    rates *= np.minimum(1.0, _MOST_RATE / rates.sum(1))[:, None]
    rates[np.diag_indices(classes)] = 1.0 - rates.sum(1)
    return rates.T, float(excess.sum() / max(flows.sum(), 1e-12))


def _undo(chances: Floats, matrix: Floats) -> Floats:
    """Return chances of the true class, (N, C), from those of the label."""
    found = chances
    for _ in range(_STEPS):
        found = found * ((chances / np.maximum(found @ matrix.T, 1e-12)) @ matrix)
        found /= found.sum(1, keepdims=True)
    return found


def _estimated_share(labels: NDArray[np.int64], chances: Floats) -> float:
    from cleanlab.count import compute_confident_joint

    joint = np.asarray(compute_confident_joint(labels, chances), dtype=np.float64)
    return float(1.0 - np.trace(joint) / joint.sum()) if joint.sum() else 0.0


def as_rows(
    found: Suspects,
    examples: Sequence[Example],
    names: Sequence[str],
    probabilities_NC: NDArray[Any],
    *,
    limit: int | None = None,
) -> list[dict[str, Any]]:
    """Return the rows whose label is probably wrong, worst first, as a table with an empty ``decision`` to fill in.

    ``luthier.data.labels.decisions`` reads it back. Texts beyond 2,000 characters are cut and end with three dots.
    """
    rows = []
    for rank, i in enumerate(found.order[found.is_issue[found.order]][:limit], start=1):
        example, label, suggested = examples[int(i)], str(examples[int(i)].target), int(found.suggested[i])
        text = input_text(example)
        rows.append(
            {
                "rank": rank,
                "file": example.source.file,
                "line": example.source.line,
                "text": text if len(text) <= SHOWN_CHARS else text[:SHOWN_CHARS] + "...",
                "label": label,
                "suggested": names[suggested],
                "probability_of_label": round(float(probabilities_NC[i, list(names).index(label)]), 4),
                "probability_of_suggested": round(float(probabilities_NC[i, suggested]), 4),
                "decision": "",
            }
        )
    return rows

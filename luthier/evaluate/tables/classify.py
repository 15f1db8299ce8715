"""Rows with one label: accuracy, F1 and their like, ROC-AUC, calibration."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from luthier.base.records import Prediction
from luthier.evaluate.tables.common import Family, Floats, Ints, mean_of_defined, tally

ECE_BINS = 15
OVERALL = (
    "accuracy",
    "balanced_accuracy",
    "macro_f1",
    "micro_f1",
    "weighted_f1",
    "macro_precision",
    "macro_recall",
    "mcc",
)
PROBABILISTIC = ("roc_auc", "ece", "brier", "log_loss", "aurc")
PER_LABEL = ("f1", "precision", "recall")
# Where some answers go to a person.
REFERRED = ("referred", "answered_accuracy")
CAUGHT = "caught"
# Where mistakes have a price.
COST = "cost"
# Where a model may say that a row has none of its labels (tables/scoped.py).
OUT_OF_SCOPE = ("oos_auroc", "oos_recall", "oos_precision", "in_scope_accuracy", "in_scope_kept")


@dataclass(frozen=True, eq=False)
class ClassifyTable:
    """Single-label rows: codes into ``labels`` (of the head, then any other that occurs), probabilities [n, L]."""

    labels: tuple[str, ...]
    target: Ints
    predicted: Ints
    probabilities: Floats | None
    referred: NDArray[np.bool_] | None = None
    cost: Floats | None = None

    @classmethod
    def of(cls, targets: Sequence[str], predictions: Sequence[Prediction], labels: Sequence[str]) -> ClassifyTable:
        given = [p.label if p.label is not None else "" for p in predictions]
        # A label that the head lacks can still stand in a file of later rows: it counts, as always wrong.
        universe = (*labels, *sorted({*targets, *given} - set(labels)))
        code = {label: i for i, label in enumerate(universe)}
        scored = bool(predictions) and all(p.scores for p in predictions)
        return cls(
            universe,
            np.array([code[t] for t in targets], dtype=np.int64),
            np.array([code[g] for g in given], dtype=np.int64),
            np.array([[p.scores.get(u, 0.0) for u in universe] for p in predictions if p.scores]) if scored else None,
            np.array([bool(p.refer) for p in predictions]) if any(p.refer is not None for p in predictions) else None,
            np.array([p.measured[COST] for p in predictions]) if predictions and all(COST in p.measured for p in predictions) else None,
        )

    @property
    def size(self) -> int:
        return len(self.target)

    @cached_property
    def names(self) -> tuple[str, ...]:
        ruled = self.referred is not None
        kinds = (*PER_LABEL, CAUGHT) if ruled else PER_LABEL
        overall = (*OVERALL, *PROBABILISTIC, *(REFERRED if ruled else ()), *(() if self.cost is None else (COST,)))
        return (*overall, *(f"{kind}[{label}]" for kind in kinds for label in self.labels))

    @cached_property
    def true_probability(self) -> Floats:
        """Probability given to the true label, [n]; needs probabilities."""
        assert self.probabilities is not None
        picked: Floats = self.probabilities[np.arange(self.size), self.target]
        return picked

    @cached_property
    def confidence(self) -> Floats:
        """Probability given to the predicted label, [n]; needs probabilities."""
        assert self.probabilities is not None
        picked: Floats = self.probabilities[np.arange(self.size), self.predicted]
        return picked

    @cached_property
    def _brier(self) -> Floats:
        assert self.probabilities is not None
        squares = (self.probabilities**2).sum(1) - 2 * self.true_probability + 1
        # The usual scale: one half of the sum over both classes where there are two, the sum where there are more.
        scale = 0.5 if len(self.labels) == 2 else 1.0
        return np.asarray(scale * squares, dtype=np.float64)

    def measure(self, weights: Floats, *, ranks: bool = True) -> Floats:
        """Return the metrics [r, len(names)] for row weights [r, n]; NaN where undefined, and what rests on ranks without ``ranks``."""
        with np.errstate(divide="ignore", invalid="ignore"):
            support = tally(self.target, weights, len(self.labels))
            guessed = tally(self.predicted, weights, len(self.labels))
            right = self.target == self.predicted
            hits = tally(self.target[right], weights[:, right], len(self.labels))
            per_label = _per_label(support, guessed, hits)
            overall = _overall(support, guessed, hits, per_label)
            scores = np.full((len(weights), len(PROBABILISTIC)), np.nan)
            if self.probabilities is not None:
                scores[:, 0] = self._roc_auc(weights, support) if ranks else np.nan
                scores[:, 1] = self._ece(weights)
                scores[:, 2:4] = weights @ np.stack([self._brier, self._log_loss], 1) / weights.sum(1, keepdims=True)
                scores[:, 4] = self._aurc(weights) if ranks else np.nan
            priced = [] if self.cost is None else [(weights @ self.cost / weights.sum(1))[:, None]]
            if self.referred is None:
                return np.hstack([overall, scores, *priced, *per_label])
            kept = weights * ~self.referred
            answered = np.stack([1 - kept.sum(1) / weights.sum(1), (kept * right).sum(1) / kept.sum(1)], 1)
            safe = right | self.referred
            caught = tally(self.target[safe], weights[:, safe], len(self.labels)) / support
        return np.hstack([overall, scores, answered, *priced, *per_label, caught])

    @cached_property
    def _surest(self) -> tuple[Ints, Ints]:
        """Rows by falling confidence, and for each place the last place of those equally sure: ties stand or fall together."""
        order = np.argsort(-self.confidence, kind="stable")
        sorted_ = self.confidence[order]
        ends = np.flatnonzero(np.append(np.diff(sorted_) != 0, True))
        return order, ends[np.searchsorted(ends, np.arange(len(order)))]

    def _aurc(self, weights: Floats) -> Floats:
        """Area under the risk-coverage curve: the mean, over how many of the surest rows are answered, of the share that is wrong.

        Geifman & El-Yaniv 2017, https://arxiv.org/abs/1705.08500. With ties every row of them sees the risk at their end.
        """
        order, ends = self._surest
        ordered = weights[:, order]
        wrong = (self.target != self.predicted)[order]
        risk = np.cumsum(ordered * wrong, axis=1)[:, ends] / np.maximum(np.cumsum(ordered, axis=1)[:, ends], 1e-12)
        area: Floats = (ordered * risk).sum(1) / weights.sum(1)
        return area

    @cached_property
    def _log_loss(self) -> Floats:
        return -np.log(np.clip(self.true_probability, np.finfo(np.float64).eps, 1.0))

    def _ece(self, weights: Floats) -> Floats:
        """Expected calibration error, equal-width bins (Guo et al. 2017, https://arxiv.org/abs/1706.04599)."""
        bins = confidence_bins(self.confidence, ECE_BINS)
        gap = (self.target == self.predicted) - self.confidence
        sums = tally(bins, weights * gap, ECE_BINS)
        error: Floats = np.abs(sums).sum(1) / weights.sum(1)
        return error

    @cached_property
    def _places(self) -> list[tuple[int, NDArray[np.int32], int]]:
        """For each label that ROC-AUC looks at: its code, each row's place [n] among its positives, places in all.

        The m distinct scores of positives make 2 m + 1 places: odd ones hold the rows of just that score, even ones
        the rows between two. So one pass in the rows' own order counts what lies below each positive; ties are exact.
        """
        assert self.probabilities is not None
        codes = [1] if len(self.labels) == 2 else np.unique(self.target).tolist()
        places = []
        for code in codes:
            scores = self.probabilities[:, code]
            steps = np.unique(scores[self.target == code])
            place = np.searchsorted(steps, scores, "left") + np.searchsorted(steps, scores, "right")
            places.append((code, place.astype(np.int32), 2 * len(steps) + 1))
        return places

    def _roc_auc(self, weights: Floats, support: Floats) -> Floats:
        """Area under the ROC curve as the weighted share of rightly ordered pairs; ties count one half.

        Of the second label where there are two, else the mean over labels in the targets, each against the rest.
        """
        areas = np.full((len(self._places), len(weights)), np.nan)
        for i, (code, place, count) in enumerate(self._places):
            positive = self.target == code
            ones = tally(place[positive], weights[:, positive], count)
            zeros = tally(place, weights, count) - ones
            below = np.cumsum(zeros, axis=1) - zeros / 2
            pairs = support[:, code] * (support.sum(1) - support[:, code])
            areas[i] = np.where(pairs > 0, np.einsum("rm,rm->r", ones, below) / pairs, np.nan)
        return mean_of_defined(areas.T)

    @property
    def rank_cost(self) -> int:
        """Elements that one resample of ROC-AUC has to walk."""
        return 0 if self.probabilities is None else self.size * len(self._places)

    def counted(self, metric: str) -> NDArray[np.bool_]:
        """Return which rows [n] the denominator of a metric is made of."""
        kind, _, label = metric.partition("[")
        if not label:
            if metric == "roc_auc" and len(self.labels) == 2:
                sizes = np.bincount(self.target, minlength=2)
                return np.equal(self.target, int(np.argmin(sizes)))
            return np.ones(self.size, dtype=bool)
        code = self.labels.index(label[:-1])
        return np.equal(self.predicted if kind == "precision" else self.target, code)


def confidence_bins(confidence: Floats, bins: int) -> Ints:
    """Return the bin [n] of each confidence among equal bins (0, 1/b], (1/b, 2/b] ...; 0 falls into the first."""
    return np.clip(np.ceil(confidence * bins).astype(np.int64) - 1, 0, bins - 1)


def _per_label(support: Floats, guessed: Floats, hits: Floats) -> tuple[Floats, Floats, Floats]:
    # As scikit-learn with zero_division=0 where the label occurs; without a row of it there is nothing to find: NaN.
    f1 = np.where(support > 0, 2 * hits / (support + guessed), np.nan)
    precision = np.where(guessed > 0, hits / guessed, np.where(support > 0, 0.0, np.nan))
    return f1, precision, hits / support


def _overall(support: Floats, guessed: Floats, hits: Floats, per_label: tuple[Floats, Floats, Floats]) -> Floats:
    """Return OVERALL [r, 8]. MCC: Gorodkin 2004, zero where its denominator is, as scikit-learn has it."""
    total, right = support.sum(1), hits.sum(1)
    f1, precision, recall = (np.where(support > 0, values, np.nan) for values in per_label)
    macro_recall = mean_of_defined(recall)
    spread = (total**2 - (guessed**2).sum(1)) * (total**2 - (support**2).sum(1))
    mcc = np.where(spread > 0, (right * total - (guessed * support).sum(1)) / np.sqrt(spread), 0.0)
    weighted = np.nansum(f1 * support, axis=1) / total
    columns = (right / total, macro_recall, mean_of_defined(f1), right / total, weighted, mean_of_defined(precision))
    return np.where(total[:, None] > 0, np.stack([*columns, macro_recall, mcc], 1), np.nan)


FAMILY = Family(
    table=ClassifyTable.of,
    default="macro_f1",
    overall=(*OVERALL, *PROBABILISTIC, *REFERRED, COST, *OUT_OF_SCOPE),
    by_label=(*PER_LABEL, CAUGHT),
    shown=("accuracy", "macro_f1", "roc_auc", "ece"),
    words={
        "accuracy": "share of rows that get the right label",
        "balanced_accuracy": "mean recall of the labels, so that each label counts the same",
        "macro_f1": "mean F1 of the labels, so that a rare label counts as much as a common one",
        "micro_f1": "F1 over all rows; with one label a row it equals accuracy",
        "weighted_f1": "mean F1 of the labels, each by its number of rows",
        "macro_precision": "mean precision of the labels",
        "macro_recall": "mean recall of the labels",
        "mcc": "correlation of given and true labels: 0 is chance, 1 is perfect",
        "roc_auc": "how well the scores put right above wrong: 0.5 is chance, 1 is perfect",
        "ece": "how far confidence is from the truth on average: 0 is honest",
        "brier": "squared error of the probabilities: 0 is perfect",
        "log_loss": "mean loss on the true label, in nats: 0 is perfect",
        "aurc": "share that is wrong, averaged over how many of the surest rows are answered: 0 is perfect",
        "referred": "share of rows that go to a person",
        "answered_accuracy": "of the rows that do not go to a person, the share that get the right label",
        "caught": "of the rows of this label, the share that are given it or go to a person",
        "cost": "what a row costs on average, by the table of costs",
        "oos_auroc": "how well rows of none of the labels are told from the others: 0.5 is chance, 1 is perfect",
        "oos_recall": "of the rows of none of the labels, the share that the model says so of",
        "oos_precision": "of the rows that the model says are of none of the labels, the share that are",
        "in_scope_accuracy": "of the rows that have one of the labels, the share that get it",
        "in_scope_kept": "of the rows that have one of the labels, the share that get any",
        "f1": "harmonic mean of precision and recall for this label",
        "precision": "of the rows given this label, the share that are right",
        "recall": "of the rows of this label, the share that are found",
    },
    lower_is_better=frozenset({"ece", "brier", "log_loss", "aurc", "referred", COST}),
    unbounded=frozenset({"log_loss", "brier", "mcc", COST}),
)

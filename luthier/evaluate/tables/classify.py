"""Rows with one label: accuracy, F1 and their like, ROC-AUC, average precision, calibration."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from luthier.base.records import Prediction
from luthier.base.shares import table_of
from luthier.evaluate.tables.common import (
    ECE_BINS,
    Family,
    Floats,
    Ints,
    confidence_bins,
    fewer,
    mean_of_defined,
    tally,
)

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
RANKED = ("roc_auc", "map")
PROBABILISTIC = (*RANKED, "ece", "brier", "log_loss", "aurc")
# Of each label by the order of its scores, in the order of RANKED, whose means they are.
BY_SCORES = ("roc_auc", "average_precision")
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
            table_of([p.scores for p in predictions if p.scores], universe) if scored else None,
            np.array([bool(p.refer) for p in predictions]) if any(p.refer is not None for p in predictions) else None,
            np.array([p.measured[COST] for p in predictions]) if predictions and all(COST in p.measured for p in predictions) else None,
        )

    @property
    def size(self) -> int:
        return len(self.target)

    @cached_property
    def names(self) -> tuple[str, ...]:
        ruled = self.referred is not None
        kinds = (*BY_SCORES, *PER_LABEL, *((CAUGHT,) if ruled else ()))
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
            by_scores = self._by_scores(weights, support, ranks=ranks)
            scores = np.hstack([self._means(by_scores), self._of_probabilities(weights, ranks=ranks)])
            priced = [] if self.cost is None else [(weights @ self.cost / weights.sum(1))[:, None]]
            if self.referred is None:
                return np.hstack([overall, scores, *priced, *by_scores, *per_label])
            kept = weights * ~self.referred
            answered = np.stack([1 - kept.sum(1) / weights.sum(1), (kept * right).sum(1) / kept.sum(1)], 1)
            safe = right | self.referred
            caught = tally(self.target[safe], weights[:, safe], len(self.labels)) / support
        return np.hstack([overall, scores, answered, *priced, *by_scores, *per_label, caught])

    def _of_probabilities(self, weights: Floats, *, ranks: bool) -> Floats:
        """Return what PROBABILISTIC holds after RANKED [r, 4]; NaN without probabilities, and AURC without ``ranks``."""
        found = np.full((len(weights), len(PROBABILISTIC) - len(RANKED)), np.nan)
        if self.probabilities is not None:
            found[:, 0] = self._ece(weights)
            found[:, 1:3] = weights @ np.stack([self._brier, self._log_loss], 1) / weights.sum(1, keepdims=True)
            found[:, 3] = self._aurc(weights) if ranks else np.nan
        return found

    @cached_property
    def _surest(self) -> tuple[Ints, int]:
        """Each row's place [n] among the distinct confidences, the surest first, and how many those are: ties stand or fall together."""
        steps, place = np.unique(-self.confidence, return_inverse=True)
        return place, len(steps)

    def _aurc(self, weights: Floats) -> Floats:
        """Area under the risk-coverage curve: the mean, over how many of the surest rows are answered, of the share that is wrong.

        Geifman & El-Yaniv 2017, https://arxiv.org/abs/1705.08500. With ties every row of them sees the risk at their end.
        """
        place, steps = self._surest
        wrong = self.target != self.predicted
        drawn = tally(place, weights, steps)
        risk = np.cumsum(tally(place[wrong], weights[:, wrong], steps), axis=1)
        risk /= np.maximum(np.cumsum(drawn, axis=1), 1e-12)
        area: Floats = np.einsum("rm,rm->r", drawn, risk) / weights.sum(1)
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
        """For each label in the targets: its code, each row's place [n] among its positives, and their distinct scores, m.

        The scores of positives, falling, make 2 m + 1 places: odd ones hold the rows of just that score, even ones the rows
        between two. So one pass in the rows' own order counts what stands above each positive; ties are exact.
        """
        assert self.probabilities is not None
        places = []
        for code in np.unique(self.target).tolist():
            scores = self.probabilities[:, code]
            steps = np.unique(scores[self.target == code])
            place = np.searchsorted(steps, scores, "left") + np.searchsorted(steps, scores, "right")
            places.append((code, (2 * len(steps) - place).astype(np.int32), len(steps)))
        return places

    def _by_scores(self, weights: Floats, support: Floats, *, ranks: bool) -> Floats:
        """Return BY_SCORES of each label against the rest [2, r, L]; NaN where undefined, and without ``ranks``.

        ROC-AUC is the weighted share of rightly ordered pairs, ties one half; average precision the sum of precision over
        steps of recall, without interpolation. Both equal scikit-learn's, and look at one and the same counts.
        """
        found = np.full((len(BY_SCORES), *support.shape), np.nan)
        if self.probabilities is None or not ranks:
            return found
        total = weights.sum(1)
        for code, place, steps in self._places:
            positive = self.target == code
            ones, all_ones = tally(place[positive] // 2, weights[:, positive], steps), support[:, code]
            upto = np.cumsum(tally(place, weights, 2 * steps + 1), axis=1)
            above, within = upto[:, 0:-1:2], upto[:, 1::2]
            # Of all rows above a positive, half of those beside it, less the positives among them: pairs in the wrong order.
            wrong = (np.einsum("rm,rm->r", ones, above) + np.einsum("rm,rm->r", ones, within) - all_ones**2) / 2
            pairs = all_ones * (total - all_ones)
            found[0, :, code] = np.where(pairs > 0, (pairs - wrong) / pairs, np.nan)
            precision = np.cumsum(ones, axis=1)
            precision /= np.maximum(within, 1e-12)
            found[1, :, code] = np.where(all_ones > 0, np.einsum("rm,rm->r", ones, precision) / all_ones, np.nan)
        return found

    def _means(self, by_scores: Floats) -> Floats:
        """Return RANKED [r, 2]: means over the labels in the targets; ROC-AUC of the second label where there are two."""
        areas = by_scores[0][:, 1:] if len(self.labels) == 2 else by_scores[0]
        return np.stack([mean_of_defined(areas), mean_of_defined(by_scores[1])], axis=1)

    @property
    def rank_cost(self) -> int:
        """Elements that one resample of the ranked metrics has to walk."""
        return 0 if self.probabilities is None else self.size * len(self._places)

    def counted(self, metric: str) -> NDArray[np.bool_]:
        """Return which rows [n] the denominator of a metric is made of."""
        kind, _, label = metric.partition("[")
        if not label and not (kind == "roc_auc" and len(self.labels) == 2):
            return np.ones(self.size, dtype=bool)
        code = self.labels.index(label[:-1]) if label else 1
        if kind == "roc_auc":  # pairs are no surer than the fewer of their two sides
            return fewer(np.equal(self.target, code))
        return np.equal(self.predicted if kind == "precision" else self.target, code)


def of_probabilities(metric: str) -> bool:
    """Whether a metric is made of probabilities, and not of the labels given alone."""
    kind, _, label = metric.partition("[")
    return kind in (BY_SCORES if label else PROBABILISTIC)


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
    by_label=(*BY_SCORES, *PER_LABEL, CAUGHT),
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
        "map": "mean average precision: how well each label's rows are put first by its scores: 1 is perfect",
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
        "average_precision": "how well this label's rows are put first by its scores: its share of the rows is chance, 1 is perfect",
        "f1": "harmonic mean of precision and recall for this label",
        "precision": "of the rows given this label, the share that are right",
        "recall": "of the rows of this label, the share that are found",
    },
    lower_is_better=frozenset({"ece", "brier", "log_loss", "aurc", "referred", COST}),
    unbounded=frozenset({"log_loss", "brier", "mcc", COST}),
)

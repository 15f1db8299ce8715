"""Rows with any number of labels: F1 in its four means, exact sets, Hamming loss, average precision, ROC-AUC, calibration."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from luthier.base.records import Prediction
from luthier.base.shares import table_of
from luthier.evaluate.tables.common import ECE_BINS, Family, Floats, confidence_bins, fewer, mean_of_defined

COUNTED = ("micro_f1", "macro_f1", "weighted_f1", "micro_precision", "micro_recall", "macro_precision", "macro_recall")
BY_ROW = ("samples_f1", "exact_match", "hamming_loss")
RANKED = ("map", "roc_auc")
# Of the probability of each label in each row: every one is a yes-or-no forecast.
PROBABILISTIC = ("ece", "brier")
# Of each label by the order of its scores, in the order of RANKED, whose means they are.
BY_SCORES = ("average_precision", "roc_auc")
PER_LABEL = ("f1", "precision", "recall")


@dataclass(frozen=True, eq=False)
class MultilabelTable:
    """Sets of labels as 0 and 1 [n, L] over ``labels`` (of the head, then any other that occurs), and scores [n, L]."""

    labels: tuple[str, ...]
    target: Floats
    given: Floats
    scores: Floats | None

    @classmethod
    def of(
        cls, targets: Sequence[Sequence[str]], predictions: Sequence[Prediction], labels: Sequence[str]
    ) -> MultilabelTable:
        sets = [set(target) for target in targets]
        given = [set(p.labels or ()) for p in predictions]
        # A label that the head lacks can still stand in a file of later rows: it counts, as always missed.
        universe = (*labels, *sorted(set().union(*sets, *given) - set(labels)))
        scored = bool(predictions) and all(p.scores for p in predictions)
        return cls(
            universe,
            _marked(sets, universe),
            _marked(given, universe),
            table_of([p.scores for p in predictions if p.scores], universe) if scored else None,
        )

    @property
    def size(self) -> int:
        return len(self.target)

    @cached_property
    def names(self) -> tuple[str, ...]:
        return (*COUNTED, *BY_ROW, *RANKED, *PROBABILISTIC, *(f"{kind}[{label}]" for kind in (*BY_SCORES, *PER_LABEL) for label in self.labels))

    def measure(self, weights: Floats, *, ranks: bool = True) -> Floats:
        """Return the metrics [r, len(names)] for row weights [r, n]; NaN where undefined, and what rests on ranks without ``ranks``."""
        support, guessed, hits = (weights @ m for m in (self.target, self.given, self.target * self.given))
        with np.errstate(divide="ignore", invalid="ignore"):
            per_label = _per_label(support, guessed, hits)
            counted = _counted(support, guessed, hits, per_label)
            by_row = (weights @ self._by_row) / weights.sum(1, keepdims=True)
            by_scores = self._by_scores(weights) if ranks and self.scores is not None else np.full((len(BY_SCORES), *support.shape), np.nan)
            ranked = mean_of_defined(by_scores).T
        return np.hstack([counted, by_row, ranked, self._of_probabilities(weights), *by_scores, *per_label])

    def _of_probabilities(self, weights: Floats) -> Floats:
        """Return what PROBABILISTIC holds [r, 2]; NaN without probabilities."""
        if self.scores is None or not len(self.labels):
            return np.full((len(weights), len(PROBABILISTIC)), np.nan)
        sums = weights @ self._forecasts / (weights.sum(1, keepdims=True) * len(self.labels))
        return np.stack([np.abs(sums[:, 1:]).sum(1), sums[:, 0]], axis=1)

    @cached_property
    def _forecasts(self) -> Floats:
        """Each row's squared errors, summed over labels, and by bin of probability what came less what was said [n, 1 + bins]."""
        assert self.scores is not None
        gaps = self.target - self.scores
        found = np.zeros((self.size, 1 + ECE_BINS))
        found[:, 0] = (gaps**2).sum(1)
        for code in range(len(self.labels)):
            found[np.arange(self.size), 1 + confidence_bins(self.scores[:, code], ECE_BINS)] += gaps[:, code]
        return found

    @cached_property
    def _by_row(self) -> Floats:
        both, sizes = (self.target * self.given).sum(1), self.target.sum(1) + self.given.sum(1)
        # Two empty sets are alike, as scikit-learn has it with zero_division=1.
        f1 = np.where(sizes > 0, 2 * both / np.maximum(sizes, 1), 1.0)
        wrong = self.target != self.given
        return np.stack([f1, ~wrong.any(1), wrong.mean(1) if len(self.labels) else np.zeros(self.size)], axis=1).astype(
            np.float64
        )

    @cached_property
    def _orders(self) -> list[tuple[int, NDArray[np.int64], NDArray[np.int64]]]:
        """For each label in the targets: its code, rows by falling score, and where runs of equal scores end."""
        assert self.scores is not None
        found = []
        for code in np.flatnonzero(self.target.sum(0)):
            scores = self.scores[:, code]
            order = np.argsort(-scores, kind="stable")
            ends = np.flatnonzero(np.append(np.diff(scores[order]) != 0, True))
            found.append((int(code), order, ends))
        return found

    def _by_scores(self, weights: Floats) -> Floats:
        """Return BY_SCORES of each label [2, r, L]; NaN where undefined, as for a label that no target has.

        Average precision is the sum of precision over steps of recall, without interpolation; ROC-AUC the share of
        rightly ordered pairs, ties one half. Both equal to scikit-learn's with sample weights.
        """
        found = np.full((len(BY_SCORES), len(weights), len(self.labels)), np.nan)
        for code, order, ends in self._orders:
            right = self.target[order, code]
            sorted_weights = weights[:, order]
            ones = np.cumsum(sorted_weights * right, axis=1)[:, ends]
            zeros = np.cumsum(sorted_weights * (1 - right), axis=1)[:, ends]
            gained = np.diff(ones, axis=1, prepend=0)
            all_ones, all_zeros = ones[:, -1], zeros[:, -1]
            precision = np.where(ones + zeros > 0, ones / (ones + zeros), 0.0)
            found[0, :, code] = np.where(all_ones > 0, (gained * precision).sum(1) / all_ones, np.nan)
            below = all_zeros[:, None] - zeros + np.diff(zeros, axis=1, prepend=0) / 2
            pairs = all_ones * all_zeros
            found[1, :, code] = np.where(pairs > 0, (gained * below).sum(1) / pairs, np.nan)
        return found

    @property
    def rank_cost(self) -> int:
        """Elements that one resample of the ranked metrics has to walk."""
        return 0 if self.scores is None else 4 * self.size * len(self._orders)

    def counted(self, metric: str) -> NDArray[np.bool_]:
        """Return which rows [n] the denominator of a metric is made of."""
        kind, _, label = metric.partition("[")
        if label:
            code = self.labels.index(label[:-1])
            if kind == "roc_auc":  # pairs are no surer than the fewer of their two sides
                return fewer(self.target[:, code] > 0)
            return np.asarray((self.given if kind == "precision" else self.target)[:, code] > 0)
        if kind in (*BY_ROW, *PROBABILISTIC):
            return np.ones(self.size, dtype=bool)
        return np.asarray((self.given if kind == "micro_precision" else self.target).sum(1) > 0)


def _marked(sets: Sequence[set[str]], universe: Sequence[str]) -> Floats:
    code = {label: i for i, label in enumerate(universe)}
    marks = np.zeros((len(sets), len(universe)))
    for row, labels in enumerate(sets):
        marks[row, [code[label] for label in labels]] = 1.0
    return marks


def _per_label(support: Floats, guessed: Floats, hits: Floats) -> tuple[Floats, Floats, Floats]:
    # As for single labels: without a row of it there is nothing to find.
    f1 = np.where(support > 0, 2 * hits / (support + guessed), np.nan)
    precision = np.where(guessed > 0, hits / guessed, np.where(support > 0, 0.0, np.nan))
    return f1, precision, np.where(support > 0, hits / support, np.nan)


def _counted(support: Floats, guessed: Floats, hits: Floats, per_label: tuple[Floats, Floats, Floats]) -> Floats:
    """Return COUNTED [r, 7]; macro averages run over the labels in the targets, as for single labels."""
    right, wanted, said = hits.sum(1), support.sum(1), guessed.sum(1)
    f1, precision, recall = (np.where(support > 0, values, np.nan) for values in per_label)
    micro_f1 = np.where(wanted + said > 0, 2 * right / (wanted + said), np.nan)
    weighted = np.where(wanted > 0, np.nansum(f1 * support, axis=1) / wanted, np.nan)
    micro_precision = np.where(said > 0, right / said, np.where(wanted > 0, 0.0, np.nan))
    micro_recall = np.where(wanted > 0, right / wanted, np.nan)
    columns = (micro_f1, mean_of_defined(f1), weighted, micro_precision, micro_recall)
    return np.stack([*columns, mean_of_defined(precision), mean_of_defined(recall)], axis=1)


FAMILY = Family(
    table=MultilabelTable.of,
    default="micro_f1",
    overall=(*COUNTED, *BY_ROW, *RANKED, *PROBABILISTIC),
    by_label=(*BY_SCORES, *PER_LABEL),
    shown=("micro_f1", "macro_f1", "exact_match", "map"),
    words={
        "micro_f1": "F1 over all labels of all rows",
        "macro_f1": "mean F1 of the labels, so that a rare label counts as much as a common one",
        "weighted_f1": "mean F1 of the labels, each by its number of rows",
        "micro_precision": "of all labels given, the share that are right",
        "micro_recall": "of all labels wanted, the share that are given",
        "macro_precision": "mean precision of the labels",
        "macro_recall": "mean recall of the labels",
        "samples_f1": "mean over rows of the F1 between given and wanted labels",
        "exact_match": "share of rows whose labels are right, all of them",
        "hamming_loss": "share of all yes-or-no decisions that are wrong: 0 is perfect",
        "map": "mean average precision: how well each label's rows are put first by its scores: 1 is perfect",
        "roc_auc": "how well the scores put right above wrong: 0.5 is chance, 1 is perfect",
        "ece": "how far the probabilities of labels are from how often those are right, on average: 0 is honest",
        "brier": "mean squared error of the probabilities of labels: 0 is perfect",
        "average_precision": "how well this label's rows are put first by its scores: its share of the rows is chance, 1 is perfect",
        "f1": "harmonic mean of precision and recall for this label",
        "precision": "of the rows given this label, the share that are right",
        "recall": "of the rows of this label, the share that are found",
    },
    lower_is_better=frozenset({"hamming_loss", "ece", "brier"}),
)

"""Rows as arrays, so that a metric is one formula over row weights.

The value of a metric is the formula with every weight one; a bootstrap resample is the same formula with the number of
times each row was drawn. So a value and its interval can never come from two different definitions.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from luthier.base.records import Prediction
from luthier.evaluate.text_scores import exact_match, rouge_l, rouge_n, rouge_tokens, token_f1

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

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
PROBABILISTIC = ("roc_auc", "ece", "brier", "log_loss")
PER_LABEL = ("f1", "precision", "recall")
ALIKE = ("exact_match", "token_f1", "rouge1", "rouge2", "rougeL")
GENERATED = (*ALIKE, "length_ratio", "stopped", "perplexity", "bits_per_token")


class Table(Protocol):
    """What intervals and comparisons need of rows: how many, which metrics, and their values for given row weights."""

    @property
    def size(self) -> int: ...
    @property
    def names(self) -> tuple[str, ...]: ...
    @property
    def rank_cost(self) -> int: ...
    def measure(self, weights: Floats, *, ranks: bool = True) -> Floats: ...
    def counted(self, metric: str) -> NDArray[np.bool_]: ...


def tabulate(
    objective: str, targets: Sequence[str], predictions: Sequence[Prediction], labels: Sequence[str]
) -> ClassifyTable | GenerateTable:
    """Return the rows of ``objective`` as arrays. Raises ValueError where targets and predictions differ in number."""
    if len(targets) != len(predictions):
        raise ValueError(f"{len(targets)} targets and {len(predictions)} predictions")
    if objective == "classify":
        return ClassifyTable.of(targets, predictions, labels)
    return GenerateTable.of(targets, predictions)


@dataclass(frozen=True, eq=False)
class ClassifyTable:
    """Single-label rows: codes into ``labels`` (of the head, then any other that occurs), probabilities [n, L]."""

    labels: tuple[str, ...]
    target: Ints
    predicted: Ints
    probabilities: Floats | None

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
        )

    @property
    def size(self) -> int:
        return len(self.target)

    @cached_property
    def names(self) -> tuple[str, ...]:
        return (*OVERALL, *PROBABILISTIC, *(f"{kind}[{label}]" for kind in PER_LABEL for label in self.labels))

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
        """Return the metrics [r, len(names)] for row weights [r, n]; NaN where undefined, ROC-AUC without ``ranks``."""
        with np.errstate(divide="ignore", invalid="ignore"):
            support = _tally(self.target, weights, len(self.labels))
            guessed = _tally(self.predicted, weights, len(self.labels))
            right = self.target == self.predicted
            hits = _tally(self.target[right], weights[:, right], len(self.labels))
            per_label = _per_label(support, guessed, hits)
            overall = _overall(support, guessed, hits, per_label)
            scores = np.full((len(weights), len(PROBABILISTIC)), np.nan)
            if self.probabilities is not None:
                scores[:, 0] = self._roc_auc(weights, support) if ranks else np.nan
                scores[:, 1] = self._ece(weights)
                scores[:, 2:] = weights @ np.stack([self._brier, self._log_loss], 1) / weights.sum(1, keepdims=True)
        return np.hstack([overall, scores, *per_label])

    @cached_property
    def _log_loss(self) -> Floats:
        return -np.log(np.clip(self.true_probability, np.finfo(np.float64).eps, 1.0))

    def _ece(self, weights: Floats) -> Floats:
        """Expected calibration error, equal-width bins (Guo et al. 2017, https://arxiv.org/abs/1706.04599)."""
        bins = confidence_bins(self.confidence, ECE_BINS)
        gap = (self.target == self.predicted) - self.confidence
        sums = _tally(bins, weights * gap, ECE_BINS)
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
            ones = _tally(place[positive], weights[:, positive], count)
            zeros = _tally(place, weights, count) - ones
            below = np.cumsum(zeros, axis=1) - zeros / 2
            pairs = support[:, code] * (support.sum(1) - support[:, code])
            areas[i] = np.where(pairs > 0, np.einsum("rm,rm->r", ones, below) / pairs, np.nan)
        return _mean_of_defined(areas.T)

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


def _tally(codes: NDArray[np.integer], weights: Floats, size: int) -> Floats:
    """Sum weights [r, m] by code [m] into [r, size]."""
    places = codes.astype(np.intp, copy=False)
    return np.stack([np.bincount(places, row, size) for row in weights]).astype(np.float64, copy=False)


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
    macro_recall = _mean_of_defined(recall)
    spread = (total**2 - (guessed**2).sum(1)) * (total**2 - (support**2).sum(1))
    mcc = np.where(spread > 0, (right * total - (guessed * support).sum(1)) / np.sqrt(spread), 0.0)
    weighted = np.nansum(f1 * support, axis=1) / total
    columns = (right / total, macro_recall, _mean_of_defined(f1), right / total, weighted, _mean_of_defined(precision))
    return np.where(total[:, None] > 0, np.stack([*columns, macro_recall, mcc], 1), np.nan)


def _mean_of_defined(values: Floats) -> Floats:
    """Mean over the last axis of what is not NaN; NaN where nothing is."""
    there = ~np.isnan(values)
    means: Floats = np.where(there, values, 0.0).sum(-1) / there.sum(-1)
    return means


@dataclass(frozen=True, eq=False)
class GenerateTable:
    """Answered rows: per-row sums [n, F] whose quotients are the metrics; without a text, those of text are zero."""

    has_text: NDArray[np.bool_]
    measured: NDArray[np.bool_]
    sums: Floats

    names = GENERATED

    @classmethod
    def of(cls, targets: Sequence[str], predictions: Sequence[Prediction]) -> GenerateTable:
        sums = [_text_sums(t, p) + _measured_sums(p) for t, p in zip(targets, predictions, strict=True)]
        return cls(
            np.array([p.text is not None for p in predictions], dtype=bool),
            np.array([p.measured.get("token_count", 0) > 0 for p in predictions], dtype=bool),
            np.array(sums, dtype=np.float64).reshape(len(sums), 11),
        )

    @property
    def size(self) -> int:
        return len(self.sums)

    @property
    def rank_cost(self) -> int:
        """Zero: no metric of texts needs ranks."""
        return 0

    def measure(self, weights: Floats, *, ranks: bool = True) -> Floats:
        """Return the metrics [r, len(names)] for row weights [r, n]; NaN where undefined."""
        del ranks
        totals = weights @ self.sums
        answers, alike, stopped = totals[:, :1], totals[:, 1:6], totals[:, 6:7]
        text_chars, target_chars, nll, tokens = (totals[:, i : i + 1] for i in range(7, 11))
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            loss = nll / tokens
            columns = [alike / answers, text_chars / target_chars, stopped / answers, np.exp(loss), loss / np.log(2)]
            result = np.hstack(columns)
        result[~np.isfinite(result)] = np.nan
        return result

    def counted(self, metric: str) -> NDArray[np.bool_]:
        """Return which rows [n] a metric looks at."""
        return self.measured if metric in ("perplexity", "bits_per_token") else self.has_text


def _text_sums(target: str, prediction: Prediction) -> list[float]:
    """Return answers, the five ALIKE scores, stopped, characters of the answer and of the target."""
    text = prediction.text
    if text is None:
        return [0.0] * 9
    wanted, given = rouge_tokens(target), rouge_tokens(text)
    rouge = [rouge_n(wanted, given, 1), rouge_n(wanted, given, 2), rouge_l(wanted, given)]
    alike = [exact_match(target, text), token_f1(target, text), *rouge]
    return [1.0, *alike, float(prediction.finish == "stop"), float(len(text)), float(len(target))]


def _measured_sums(prediction: Prediction) -> list[float]:
    count = float(prediction.measured.get("token_count", 0.0))
    return [float(prediction.measured.get("nll_sum", 0.0)), count] if count > 0 else [0.0, 0.0]

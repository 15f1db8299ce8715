"""Predictions for rows that the predictor has not learnt from, and their scores with intervals.

Evaluation stands on a floor above and measures released models; here only labels are compared, so that the data room can
judge its own rows: which labels look wrong, and what a change of the train rows is worth.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from luthier.base.seeds import derive_seed

Labels = Sequence[Any] | NDArray[Any]
Floats = NDArray[np.float64]

METRICS = ("accuracy", "macro_f1", "macro_precision", "macro_recall", "micro_f1", "weighted_f1", "balanced_accuracy")
PER_LABEL = ("f1", "precision", "recall")
LEVEL = 0.95
# Of five units all may differ one way by luck alone: two-sided sign test, 2 * 0.5**5 > 0.05.
MIN_DIFFERING = 6
_CHUNK = 2_000_000
_FITS_AT_ONCE = 2
_MIN_DEFINED = 20


def probabilities(
    texts: Sequence[str],
    labels_N: NDArray[Any],
    classes: int,
    *,
    folds: NDArray[Any],
    features: Literal["words"] | NDArray[Any] = "words",
    seed: int = 0,
) -> NDArray[np.float32]:
    """Return (N, C) probabilities of each row's classes by models that learnt from the other folds only.

    Args:
        labels_N: class numbers from 0 to ``classes`` - 1, one for each text.
        folds: the fold of each row, as :func:`luthier.data.labels.folds.folds` gives it.
        features: ``words`` for what can be told from the words (see ``word_features``), or an (N, D) array such as
            sentence embeddings; then the texts are not read.

    Raises:
        ValueError: lengths that differ, a label out of range, features that are not finite.
    """
    labels_N, folds = np.asarray(labels_N, dtype=np.int64), np.asarray(folds)
    size = len(labels_N)
    if len(folds) != size or (len(texts) if isinstance(features, str) else len(features)) != size:
        raise ValueError(
            f"{size} labels, {len(folds)} folds, {len(texts)} texts: features, labels and folds go together"
        )
    if size and (labels_N.min() < 0 or labels_N.max() >= classes):
        raise ValueError(f"labels from {labels_N.min()} to {labels_N.max()} where there are {classes} classes")
    from luthier.data.labels import out_of_fold_fit as fit

    with fit.one_thread_each():
        rows_ND = fit.word_features(texts, seed=seed) if isinstance(features, str) else np.asarray(features, np.float32)
        if not np.isfinite(rows_ND).all():
            raise ValueError("a feature is not a finite number")
        result = np.zeros((size, classes), dtype=np.float32)

        def fill(fold: int) -> None:
            held = folds == fold
            result[held] = fit.predict(rows_ND[~held], labels_N[~held], rows_ND[held], classes)

        with ThreadPoolExecutor(_FITS_AT_ONCE) as pool:
            list(pool.map(fill, np.unique(folds)))
    return result


def score(
    truth: Labels,
    predicted: Labels,
    *,
    metrics: Sequence[str] = ("accuracy", "macro_f1"),
    groups: Sequence[str | None] | None = None,
    resamples: int = 2000,
    seed: int = 0,
) -> dict[str, tuple[float, float, float]]:
    """Return ``{metric: (value, low, high)}`` with the 95 % percentile bootstrap over rows, or over whole groups.

    Where every row is right (or wrong) the bootstrap cannot vary; there the bound of Clopper & Pearson (1934) for n of
    n stands instead. See :func:`paired_difference` for the metrics and what is raised.
    """
    truth_N, (predicted_N,), names = _codes(truth, [predicted])
    units_N = _units(groups, len(truth_N))
    wanted = [_resolve(metric, names) for metric in metrics]
    values, drawn = _measure(truth_N, [predicted_N], units_N, len(names), wanted, resamples, seed)
    result = {}
    for column, metric in enumerate(metrics):
        value = float(values[0, column])
        low, high = _interval(drawn[0][:, column])
        if value in (0.0, 1.0):
            reach = ((1 - LEVEL) / 2) ** (1 / len(np.unique(units_N)))
            low, high = (reach, 1.0) if value == 1.0 else (0.0, 1.0 - reach)
        result[metric] = (value, low, high)
    return result


def paired_difference(
    truth: Labels,
    first: Labels,
    second: Labels,
    *,
    metric: str = "macro_f1",
    groups: Sequence[str | None] | None = None,
    resamples: int = 2000,
    seed: int = 0,
) -> tuple[float, float, float]:
    """Return how much better ``second`` is than ``first`` on the same rows, with its 95 % interval: (difference, low, high).

    Both are measured on the same draws of rows, or of whole groups where ``groups`` says which rows belong together
    (paired percentile bootstrap, Efron & Tibshirani 1993, ch. 16). Where the two differ on fewer than six rows (or
    groups), the interval is widened until it holds zero: so few can all fall one way by luck. The definitions are those
    of the evaluation: means over labels are over those that occur in the truth.

    Args:
        truth, first, second: one label (text or number) for each row, in the same order.
        metric: accuracy, macro_f1, macro_precision, macro_recall (balanced_accuracy), micro_f1, weighted_f1, or one
            label's, as ``recall[urgent]``.

    Raises:
        ValueError: no rows, lengths that differ, or an unknown metric.
    """
    truth_N, predicted, names = _codes(truth, [first, second])
    units_N = _units(groups, len(truth_N))
    wanted = [_resolve(metric, names)]
    values, drawn = _measure(truth_N, predicted, units_N, len(names), wanted, resamples, seed)
    low, high = _interval(drawn[1][:, 0] - drawn[0][:, 0])
    if len(np.unique(units_N[predicted[0] != predicted[1]])) < MIN_DIFFERING:
        low, high = min(low, 0.0), max(high, 0.0)
    return float(values[1, 0] - values[0, 0]), low, high


def _codes(
    truth: Labels, predictions: Sequence[Labels]
) -> tuple[NDArray[np.int64], list[NDArray[np.int64]], list[str]]:
    lists = [[str(label) for label in labels] for labels in (truth, *predictions)]
    if not lists[0]:
        raise ValueError("no rows")
    if len({len(labels) for labels in lists}) > 1:
        raise ValueError(f"labels of {', '.join(str(len(labels)) for labels in lists)} rows")
    names = sorted(set().union(*lists))
    number = {name: i for i, name in enumerate(names)}
    arrays = [np.array([number[label] for label in labels], dtype=np.int64) for labels in lists]
    return arrays[0], arrays[1:], names


def _units(groups: Sequence[str | None] | None, size: int) -> NDArray[np.int64]:
    """Return a number for each row, 0 .. units - 1: rows of one group share it, None is a unit of its own."""
    if groups is None:
        return np.arange(size)
    if len(groups) != size:
        raise ValueError(f"{len(groups)} groups for {size} rows")
    codes: dict[tuple[str, object], int] = {}
    keys = (("row", i) if group is None else ("group", group) for i, group in enumerate(groups))
    return np.array([codes.setdefault(key, len(codes)) for key in keys], dtype=np.int64)


def _resolve(metric: str, names: Sequence[str]) -> tuple[str, int]:
    """Return the metric's kind and the number of its label, -1 for one over all labels."""
    kind, bracket, label = metric.partition("[")
    if not bracket and kind in METRICS:
        return kind, -1
    if bracket and kind in PER_LABEL and label.endswith("]") and label[:-1] in names:
        return kind, list(names).index(label[:-1])
    known = ", ".join((*METRICS, *(f"{kind}[label]" for kind in PER_LABEL)))
    raise ValueError(f"{metric} is not one of {known}, of a label that occurs")


def _measure(
    truth_N: NDArray[np.int64],
    predicted: Sequence[NDArray[np.int64]],
    units_N: NDArray[np.int64],
    classes: int,
    wanted: Sequence[tuple[str, int]],
    resamples: int,
    seed: int,
) -> tuple[Floats, list[Floats]]:
    """Return the values (predictors, metrics) and, of each predictor, those of the resamples (resamples, metrics)."""
    from scipy.sparse import csr_array

    kind_U, kinds, rows_N, kind_N = _kinds(truth_N, predicted, units_N, classes)
    columns = [truth_N, *(p for labels in predicted for p in (labels, np.where(labels == truth_N, labels, -1)))]
    tally = []
    for labels in columns:
        there = labels[rows_N] >= 0
        at = (kind_N[there], labels[rows_N][there])
        tally.append(csr_array((np.ones(int(there.sum())), at), shape=(kinds, classes)))
    units = len(kind_U)

    def values(times_RK: Floats) -> list[Floats]:
        sums = [np.asarray(times_RK @ counts) for counts in tally]
        return [_metrics(sums[0], sums[1 + 2 * i], sums[2 + 2 * i], wanted) for i in range(len(predicted))]

    whole = np.stack([v[0] for v in values(np.bincount(kind_U, minlength=kinds)[None].astype(np.float64))])
    rng = np.random.default_rng(derive_seed(seed, "out-of-fold bootstrap"))
    drawn: list[list[Floats]] = [[] for _ in predicted]
    chunk, done = max(1, _CHUNK // units), 0
    while done < resamples:
        size = min(chunk, resamples - done)
        picks = kind_U[rng.integers(0, units, size=(size, units))] + kinds * np.arange(size)[:, None]
        times = np.bincount(picks.ravel(), minlength=size * kinds).reshape(size, kinds).astype(np.float64)
        for part, found in zip(drawn, values(times), strict=True):
            part.append(found)
        done += size
    return whole, [np.concatenate(parts) for parts in drawn]


def _kinds(
    truth_N: NDArray[np.int64], predicted: Sequence[NDArray[np.int64]], units_N: NDArray[np.int64], classes: int
) -> tuple[NDArray[np.int64], int, NDArray[np.int64], NDArray[np.int64]]:
    """Return the kind of each unit, their number, and the rows that stand for all kinds with the kind of each.

    Units of one row that agree in truth and predictions are one kind: how often each was drawn is all that matters.
    """
    units = int(units_N.max()) + 1
    if units < len(truth_N):
        return np.arange(units), units, np.arange(len(truth_N)), units_N
    combined = truth_N
    for labels in predicted:
        combined = combined * classes + labels
    _, first, kind = np.unique(combined, return_index=True, return_inverse=True)
    return kind, len(first), first, np.arange(len(first))


def _metrics(support: Floats, guessed: Floats, hits: Floats, wanted: Sequence[tuple[str, int]]) -> Floats:
    """Return (resamples, metrics) from the weights (resamples, classes) of true, predicted and rightly predicted rows."""
    total = support.sum(1)
    result = np.empty((len(support), len(wanted)))
    with np.errstate(divide="ignore", invalid="ignore"):
        precision = np.where(guessed > 0, hits / guessed, np.where(support > 0, 0.0, np.nan))
        parts = {"recall": hits / support, "precision": precision, "f1": 2 * hits / (support + guessed)}
        for column, (kind, label) in enumerate(wanted):
            if label >= 0:
                result[:, column] = parts[kind][:, label]
            elif kind in ("accuracy", "micro_f1"):
                result[:, column] = hits.sum(1) / total
            elif kind == "weighted_f1":
                result[:, column] = np.where(support > 0, parts["f1"] * support, 0.0).sum(1) / total
            else:
                source = parts["recall" if kind == "balanced_accuracy" else kind.removeprefix("macro_")]
                result[:, column] = np.where(support > 0, source, 0.0).sum(1) / (support > 0).sum(1)
    return result


def _interval(drawn: Floats) -> tuple[float, float]:
    defined = drawn[~np.isnan(drawn)]
    if len(defined) < _MIN_DEFINED:
        return -np.inf, np.inf
    low, high = np.quantile(defined, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return float(low), float(high)

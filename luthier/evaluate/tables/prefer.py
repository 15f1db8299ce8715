"""Rows of preferences: pairs of a better and a worse answer, or single answers marked good or bad."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from luthier.base.records import Prediction
from luthier.evaluate.rewards import REJECTED, change, margin_gain, mean_likelihood, reward, surprise
from luthier.evaluate.tables.common import Family, Floats, tally

PREFERRED = (
    "preference_accuracy", "preference_log_loss", "reward_margin", "margin_grew", "sign_accuracy", "likelihood_accuracy",
    "chosen_log_likelihood", "rejected_log_likelihood", "perplexity", "length_ratio", "stopped",
)  # fmt: skip
# Of each answer: reward, mean log-likelihood, summed log-likelihood, tokens, change of the sum; NaN where unknown. A rival's score
# orders answers as a reward does, but its size says nothing, so it is no reward of its own.
_REWARD, _MEAN, _SUM, _TOKENS, _CHANGE, _OWN = range(6)


@dataclass(frozen=True, eq=False)
class PreferTable:
    """Rows as arrays: ``better`` and ``worse`` (n, 6) are their answers' figures, ``texts`` (n, 4) what was written.

    A row of a single answer has only one of the two. Accuracies over single answers run over all pairs of a good and a
    bad one, which makes them areas under a ROC curve.
    """

    single: NDArray[np.bool_]
    better: Floats
    worse: Floats
    surprise: Floats
    gain: Floats
    texts: Floats

    names = PREFERRED

    @classmethod
    def of(cls, targets: Sequence[Mapping[str, Any]], predictions: Sequence[Prediction]) -> PreferTable:
        rows = list(zip(targets, predictions, strict=True))
        nothing = [np.nan] * 6
        better = [_figures(p) if "chosen" in t or t.get("desirable") else nothing for t, p in rows]
        worse = [
            _figures(p, REJECTED) if "chosen" in t else nothing if t.get("desirable") else _figures(p) for t, p in rows
        ]
        return cls(
            np.array(["chosen" not in t for t in targets], dtype=bool),
            _floats(better).reshape(-1, 6),
            _floats(worse).reshape(-1, 6),
            _floats([surprise(p, t) for t, p in rows]),
            _floats([margin_gain(p) for _, p in rows]),
            _floats([_written(t, p) for t, p in rows]).reshape(-1, 4),
        )

    @property
    def size(self) -> int:
        return len(self.single)

    @property
    def rank_cost(self) -> int:
        """Elements that one resample of the areas has to walk."""
        return 2 * int(self.single.sum())

    def measure(self, weights: Floats, *, ranks: bool = True) -> Floats:
        """Return the metrics [r, len(names)] for row weights [r, n]; NaN where undefined."""
        better, worse = self.better, self.worse
        signs = np.stack([_half(better[:, _CHANGE]), _half(-worse[:, _CHANGE])], 1)
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            margin = _mean(weights, better[:, _OWN]) - _mean(weights, worse[:, _OWN])
            surprised = _share(weights, -better[:, _SUM], better[:, _TOKENS])
            columns = [
                self._accuracy(weights, _REWARD, ranks), _mean(weights, self.surprise), margin,
                _mean(weights, _half(self.gain)), _mean(np.repeat(weights, 2, axis=1), signs.ravel()),
                self._accuracy(weights, _MEAN, ranks), _mean(weights, better[:, _SUM]), _mean(weights, worse[:, _SUM]),
                np.exp(surprised), _share(weights, self.texts[:, 1], self.texts[:, 2]), _mean(weights, self.texts[:, 3]),
            ]  # fmt: skip
        found = np.stack(columns, 1)
        found[~np.isfinite(found)] = np.nan
        return found

    def _accuracy(self, weights: Floats, column: int, ranks: bool) -> Floats:
        """Return how often the better answer has the higher figure; ties count one half."""
        if not self.single.any():
            return _mean(weights, _half(self.better[:, column] - self.worse[:, column]))
        return self._area(weights, column) if ranks else np.full(len(weights), np.nan)

    def _area(self, weights: Floats, column: int) -> Floats:
        figures, good, known = self._marks[column]
        if not good.any() or good.all():
            return np.full(len(weights), np.nan)
        _, place = np.unique(figures, return_inverse=True)
        ones = tally(place[good], weights[:, known][:, good], place.max() + 1)
        zeros = tally(place[~good], weights[:, known][:, ~good], place.max() + 1)
        below = np.cumsum(zeros, axis=1) - zeros / 2
        return np.einsum("rm,rm->r", ones, below) / (ones.sum(1) * zeros.sum(1))

    @cached_property
    def _marks(self) -> dict[int, tuple[Floats, NDArray[np.bool_], NDArray[np.bool_]]]:
        """Single answers by column: their figures, whether each is good, and which rows they are."""
        found = {}
        for column in (_REWARD, _MEAN):
            good = ~np.isnan(self.better[:, column])
            figures = np.where(good, self.better[:, column], self.worse[:, column])
            known = self.single & ~np.isnan(figures)
            found[column] = figures[known], good[known], known
        return found

    def counted(self, metric: str) -> NDArray[np.bool_]:
        """Return which rows [n] a metric looks at."""
        if metric in ("length_ratio", "stopped"):
            return ~np.isnan(self.texts[:, 0])
        if metric == "margin_grew":
            return ~np.isnan(self.gain)
        if metric == "sign_accuracy":
            return ~(np.isnan(self.better[:, _CHANGE]) & np.isnan(self.worse[:, _CHANGE]))
        column = _MEAN if metric in ("likelihood_accuracy", "perplexity") else _REWARD
        return ~(np.isnan(self.better[:, column]) & np.isnan(self.worse[:, column]))


def _figures(prediction: Prediction, prefix: str = "") -> list[float | None]:
    nll, count = (prediction.measured.get(prefix + name) for name in ("nll_sum", "token_count"))
    summed = None if nll is None else -nll
    found = reward(prediction, prefix)
    own = None if prefix + "score" in prediction.measured else found
    return [found, mean_likelihood(prediction, prefix), summed, count, change(prediction, prefix), own]


def _written(target: Mapping[str, Any], prediction: Prediction) -> list[float | None]:
    """Return 1, characters written, characters of the better answer, and whether the answer ended by itself."""
    wanted = target.get("chosen") or (target.get("completion") if target.get("desirable") else None)
    if prediction.text is None:
        return [None] * 4
    chars = float(len(prediction.text)) if wanted else None
    return [1.0, chars, float(len(wanted)) if wanted else None, float(prediction.finish == "stop")]


def _floats(values: Sequence[Any]) -> Floats:
    return np.array(values, dtype=np.float64)


def _half(values: Floats) -> Floats:
    """Return 1 where positive, 0 where negative, one half at zero, NaN where unknown."""
    halves: Floats = np.where(np.isnan(values), np.nan, (np.sign(values) + 1) / 2)
    return halves


def _mean(weights: Floats, values: Floats) -> Floats:
    return _share(weights, values, np.where(np.isnan(values), np.nan, 1.0))


def _share(weights: Floats, over: Floats, under: Floats) -> Floats:
    known = ~(np.isnan(over) | np.isnan(under))
    share: Floats = (weights[:, known] @ over[known]) / (weights[:, known] @ under[known])
    return share


FAMILY = Family(
    table=lambda targets, predictions, labels: PreferTable.of(targets, predictions),
    default="preference_accuracy",
    chooses="preference_log_loss",
    overall=PREFERRED,
    shown=("preference_accuracy", "reward_margin", "likelihood_accuracy", "perplexity"),
    words={
        "preference_accuracy": "share of pairs in which the better answer gets the higher reward: 0.5 is chance",
        "preference_log_loss": "how surprised the rewards are by what people preferred: 0.693 is a coin flip, 0 is sure and right",
        "reward_margin": "by how much reward the better answers lead on average",
        "margin_grew": "share of pairs in which the better answer gained on the worse since before training",
        "sign_accuracy": "share of answers that training made likelier where they are good, and less likely where bad",
        "likelihood_accuracy": "share of pairs in which the better answer is the likelier one, token for token",
        "chosen_log_likelihood": "mean log-likelihood of the better answers, in nats",
        "rejected_log_likelihood": "mean log-likelihood of the worse answers, in nats",
        "perplexity": "how surprised the model is by the wanted answer: 1 is not at all",
        "length_ratio": "characters answered for each character wanted: 1 is the same length",
        "stopped": "share of answers that ended by themselves and were not cut off",
    },
    lower_is_better=frozenset({"preference_log_loss", "perplexity"}),
    neither_is_better=frozenset({"length_ratio", "rejected_log_likelihood"}),
    unbounded=frozenset({
        "preference_log_loss", "reward_margin", "chosen_log_likelihood", "rejected_log_likelihood", "perplexity", "length_ratio",
    }),
    measured=frozenset(PREFERRED) - {"length_ratio", "stopped"},
)  # fmt: skip

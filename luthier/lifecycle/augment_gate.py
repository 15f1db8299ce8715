"""Does a change of the train rows help? Measured on the train rows alone, each predicted by what never learnt from it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from luthier.base.records import Example
from luthier.data.augment.balance import Kind, balanced
from luthier.data.labels.folds import folds
from luthier.data.report import input_text
from luthier.evaluate.intervals import bootstrap, unit_codes
from luthier.evaluate.metrics import LOWER_IS_BETTER
from luthier.evaluate.tables.classify import ClassifyTable, of_probabilities

FOLDS = 5
MIN_ROWS = 40
RESAMPLES = 2000
LEVEL = 0.95
# Of five rows all may differ one way by luck alone: two-sided sign test, 2 * 0.5**5 > 0.05.
MIN_DIFFERING = 6
_STRENGTHS = (1.0, 10.0, 100.0)

Embed = Callable[[Sequence[str]], NDArray[np.float32]]
Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Decision:
    """What was asked, what the out-of-fold scores said, and what is done.

    ``before`` and ``after`` are the metric without and with the change on ``rows_judged`` train rows; ``low`` and ``high``
    bound their difference at ``level``. Where nothing was measured they are None. ``chosen`` names what is kept.
    """

    asked: str
    kept: bool
    why: str
    chosen: tuple[str, ...] = ()
    metric: str | None = None
    before: float | None = None
    after: float | None = None
    difference: float | None = None
    low: float | None = None
    high: float | None = None
    level: float | None = None
    rows_judged: int = 0
    rows_added: int = 0
    by_way: Mapping[str, int] = field(default_factory=dict)
    left_out: Mapping[str, int] = field(default_factory=dict)
    endpoint: Mapping[str, int] = field(default_factory=dict)
    tried: Mapping[str, Mapping[str, float]] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        values = {name: getattr(self, name) for name in self.__dataclass_fields__}
        for name in ("before", "after", "difference", "low", "high"):
            values[name] = None if values[name] is None else round(values[name], 5)
        return {
            **values,
            "chosen": list(self.chosen),
            **{n: dict(values[n]) for n in ("by_way", "left_out", "endpoint", "tried")},
        }


@dataclass(frozen=True, slots=True)
class Added:
    """New rows by their vectors, and for each the position of the row it was made of."""

    vectors_MD: NDArray[np.float32]
    of_M: NDArray[np.int64]


class Proxy:
    """A quick stand-in for the model: logistic regression on frozen sentence vectors, fitted on four fifths at a time.

    New rows of a row are learnt from only where that row is; what is predicted are original rows alone. Every fit has the
    same penalty for each unit of weight, so that more rows are not taken for a weaker penalty.
    """

    def __init__(self, rows: Sequence[Example], *, embed: Embed, metric: str = "macro_f1", seed: int = 0) -> None:
        self.metric, self.seed, self._embed = metric, seed, embed
        self.rows = list(rows)
        self.truth = [str(e.target) for e in self.rows]
        self.labels = tuple(sorted(set(self.truth)))
        code = {label: i for i, label in enumerate(self.labels)}
        self._codes_N = np.array([code[t] for t in self.truth], dtype=np.int64)
        self._folds_N = folds(self.rows, FOLDS, seed=seed)
        groups = [e.group for e in self.rows]
        self._units_N = unit_codes(groups if any(g is not None for g in groups) else None, len(self.rows))
        self._position: dict[str, int] = {}
        for i, example in enumerate(self.rows):
            self._position.setdefault(example.id, i)

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def too_few(self) -> str:
        """Why these rows cannot tell, or an empty text."""
        if len(self.rows) < MIN_ROWS:
            return f"{len(self.rows)} train rows are too few to tell: at least {MIN_ROWS} are needed"
        counts = np.bincount(self._codes_N)
        return "" if (counts >= 2).sum() >= 2 else "fewer than two labels have two rows"

    @cached_property
    def _vectors_ND(self) -> NDArray[np.float32]:
        return self._embed([input_text(e) for e in self.rows])

    @cached_property
    def _strength(self) -> float:
        """Return the penalty that suits the rows as they are, so that a change has to beat them at their best."""
        tables = {s: self.table(self._predict(s, None, None)) for s in _STRENGTHS}
        scores = {s: value(table, self.metric) for s, table in tables.items()}
        sign = -1.0 if self.metric in LOWER_IS_BETTER else 1.0
        return max(_STRENGTHS, key=lambda s: -np.inf if np.isnan(scores[s]) else sign * scores[s])

    def add(self, new: Sequence[Example]) -> Added:
        """Return new rows as :meth:`predict` takes them."""
        of = np.array([self._position[str(e.extra["of"])] for e in new], dtype=np.int64)
        width = self._vectors_ND.shape[1]
        return Added(self._embed([input_text(e) for e in new]) if new else np.zeros((0, width), np.float32), of)

    def predict(self, *, added: Added | None = None, balance: Kind | None = None) -> Floats:
        """Return (N, C) out-of-fold probabilities with new rows, with a balance, or as the rows are."""
        return self._predict(self._strength, added, balance)

    def _predict(self, strength: float, added: Added | None, balance: Kind | None) -> Floats:
        from sklearn.linear_model import LogisticRegression

        result = np.zeros((len(self.rows), len(self.labels)))
        for fold in np.unique(self._folds_N):
            held = self._folds_N == fold
            X, y = self._vectors_ND[~held], self._codes_N[~held]
            if added is not None and len(added.of_M):
                learnt = ~held[added.of_M]
                X = np.concatenate([X, added.vectors_MD[learnt]])
                y = np.concatenate([y, self._codes_N[added.of_M[learnt]]])
            if len(np.unique(y)) < 2:
                result[held, y[0]] = 1.0
                continue
            weight = self._weights(y, balance)
            model = LogisticRegression(C=strength * (~held).sum() / weight.sum(), max_iter=200, tol=1e-3)
            model.fit(X, y, sample_weight=weight)
            result[np.ix_(held, model.classes_)] = model.predict_proba(self._vectors_ND[held])
        return result

    def _weights(self, y: NDArray[np.int64], balance: Kind | None) -> Floats:
        if balance is None:
            return np.ones(len(y))
        counts = {str(c): int(n) for c, n in enumerate(np.bincount(y)) if n}
        by_label = balanced(balance, counts).by_label
        return np.array([by_label[str(c)] for c in y])

    def table(self, probabilities_NC: Floats) -> ClassifyTable:
        scored = of_probabilities(self.metric)
        return ClassifyTable(
            self.labels, self._codes_N, probabilities_NC.argmax(1), probabilities_NC if scored else None
        )

    def compare(
        self, before_NC: Floats, after_NC: Floats, *, level: float = LEVEL, resamples: int = RESAMPLES
    ) -> dict[str, float]:
        """Return ``before``, ``after``, ``difference`` (positive is better) and its interval ``low``, ``high``.

        A paired percentile bootstrap over rows, or whole groups (Efron & Tibshirani 1993, ch. 16). Where the two differ
        on fewer than six rows (or groups) the interval is widened until it holds zero.
        """
        tables = [self.table(before_NC), self.table(after_NC)]
        sign = -1.0 if self.metric in LOWER_IS_BETTER else 1.0
        one, two = (value(t, self.metric) for t in tables)
        column = tables[0].names.index(self.metric)
        drawn = bootstrap(tables, self._units_N, resamples=resamples, seed=self.seed)
        differences = sign * (drawn[1][:, column] - drawn[0][:, column])
        differences = differences[~np.isnan(differences)]
        low, high = np.quantile(differences, [(1 - level) / 2, (1 + level) / 2]) if len(differences) else (0.0, 0.0)
        changed = tables[0].predicted != tables[1].predicted
        if tables[0].probabilities is not None:
            changed = np.abs(before_NC - after_NC).max(1) > 0
        if len(np.unique(self._units_N[changed])) < MIN_DIFFERING:
            low, high = min(low, 0.0), max(high, 0.0)
        return {"before": one, "after": two, "difference": sign * (two - one), "low": float(low), "high": float(high)}


def value(table: ClassifyTable, metric: str) -> float:
    """Return one metric of a table, NaN where it is undefined."""
    values = table.measure(np.ones((1, table.size)))[0]
    return float(values[table.names.index(metric)])


def decide(
    asked: str, proxy: Proxy, before_NC: Floats, candidates: Mapping[str, Floats], *, resamples: int = RESAMPLES
) -> Decision:
    """Keep the candidate whose gain is surest, if its interval lies above zero; else keep the rows as they are.

    With several candidates each interval is wider (Bonferroni), so that trying more does not find more by luck.
    """
    if reason := proxy.too_few:
        return Decision(asked, False, f"{reason}; nothing is changed", rows_judged=len(proxy))
    if not candidates:
        return Decision(asked, False, "there was nothing to try; nothing is changed", rows_judged=len(proxy))
    level = 1 - (1 - LEVEL) / len(candidates)
    tried = {n: proxy.compare(before_NC, p, level=level, resamples=resamples) for n, p in candidates.items()}
    best = max(tried, key=lambda n: -np.inf if np.isnan(tried[n]["low"]) else tried[n]["low"])
    found = tried[best]
    if np.isnan(found["difference"]):
        why = f"{proxy.metric} is undefined on these rows; nothing is changed"
        return Decision(asked, False, why, metric=proxy.metric, rows_judged=len(proxy))
    kept = found["low"] > 0
    rounded = {n: {k: round(v, 5) for k, v in values.items()} for n, values in tried.items()}
    return Decision(
        asked, kept, _why(best, found, proxy, level, kept), tuple(best.split("+")) if kept else (), proxy.metric,
        found["before"], found["after"], found["difference"], found["low"], found["high"], round(level, 4), len(proxy),
        tried=rounded,
    )  # fmt: skip


def _why(name: str, found: Mapping[str, float], proxy: Proxy, level: float, kept: bool) -> str:
    how = "better" if found["difference"] > 0 else "worse" if found["difference"] < 0 else "neither better nor worse"
    size = f" by {abs(found['difference']):.3f}" if found["difference"] else ""
    end = "kept" if kept else "not kept"
    if not kept and found["low"] <= 0 <= found["high"]:
        end = "which may be chance: not kept"
    return (
        f"{name.replace('+', ' and ')}: out-of-fold {proxy.metric} on {len(proxy):,} train rows is {how}{size} "
        f"({100 * level:.3g} % interval {found['low']:+.3f} to {found['high']:+.3f}), {end}"
    )

"""Two models on the same rows: which is better, and whether these rows can tell."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from luthier.base.records import Prediction
from luthier.base.seeds import derive_seed
from luthier.evaluate.intervals import bootstrap, percentile_interval, unit_codes
from luthier.evaluate.metrics import LOWER_IS_BETTER, NEITHER_IS_BETTER
from luthier.evaluate.tables import Floats, Ints, Table, tabulate
from luthier.evaluate.tables.classify import of_probabilities
from luthier.evaluate.tables.common import by_ranks

CANNOT_TELL = "cannot tell"
MIN_DIFFERING = 6  # of five rows all may differ one way by luck alone: two-sided sign test, 2 * 0.5**5 > 0.05
_EXACT_BELOW = 1000
_LEVEL = 0.05
_SWAPPED = 20_000  # of more rows the bootstrap keeps its level by itself
_WORK = 1_000_000


def paired(
    objective: str,
    targets: Sequence[str],
    first: Sequence[Prediction],
    second: Sequence[Prediction],
    labels: Sequence[str],
    *,
    groups: Sequence[str | None] | None = None,
    resamples: int = 1000,
    seed: int = 0,
    metrics: Collection[str] | None = None,
) -> dict[str, dict[str, Any]]:
    """Compare two models by a paired bootstrap: both are measured on the same draws of rows (or groups).

    Returns per metric ``first``, ``second``, ``difference`` (second - first) with its 95 % interval ``low, high``, the
    two-sided ``p`` (share of draws on the other side of zero, doubled, one added to both counts) and ``better``:
    "first", "second" or "cannot tell". It is "cannot tell" too where the two differ on fewer than six rows or groups,
    for length_ratio, of which neither more nor less is better, and where the two could as well have said each other's
    answers: of few rows the bootstrap alone calls equal models different a little too often, so a claim must stand
    approximate randomisation too (Noreen 1989; Yeh 2000, https://aclanthology.org/C00-2137). ``accuracy`` has ``mcnemar_p`` beside it, None
    where rows come in groups. Source: Efron & Tibshirani 1993, ch. 16; Berg-Kirkpatrick et al. 2012,
    https://aclanthology.org/D12-1091.
    """
    one, two = (tabulate(objective, targets, p, labels) for p in (first, second))
    units = unit_codes(groups, one.size)
    known = [name for name in one.names if name in set(two.names) and (metrics is None or name in metrics)]
    if one.size == 0:
        return {name: _nothing() for name in known}
    ranks = any(map(by_ranks, known))
    values = [dict(zip(t.names, t.measure(np.ones((1, t.size)), ranks=ranks)[0], strict=True)) for t in (one, two)]
    draws = bootstrap([one, two], units, resamples=resamples, seed=seed, ranks=ranks)
    places = [{name: i for i, name in enumerate(t.names)} for t in (one, two)]
    differing = {kind: _differing(first, second, units, kind) for kind in ("label", "anything")}
    result: dict[str, dict[str, Any]] = {}
    for name in known:
        drawn = draws[1][:, places[1][name]] - draws[0][:, places[0][name]]
        kind = "label" if objective == "classify" and not of_probabilities(name) else "anything"
        result[name] = _difference(name, values[0][name], values[1][name], drawn, differing[kind])
    claimed = [name for name, row in result.items() if row["better"] != CANNOT_TELL]
    if claimed and int(units.max()) < _SWAPPED:
        both = tabulate(objective, [*targets, *targets], [*first, *second], labels)
        for name, p in swapped(both, units, claimed, resamples=resamples, seed=seed).items():
            result[name]["p"] = max(p, result[name]["p"])
            result[name]["better"] = CANNOT_TELL if p > _LEVEL else result[name]["better"]
    if "accuracy" in result:
        right = [np.array([p.label == t for p, t in zip(ps, targets, strict=True)]) for ps in (first, second)]
        grouped = len(np.unique(units)) < len(units)
        result["accuracy"]["mcnemar_p"] = None if grouped else mcnemar(right[0], right[1])
    return result


def swapped(both: Table, units: Ints, names: Sequence[str], *, resamples: int, seed: int) -> dict[str, float]:
    """Return for each metric the two-sided p that the difference is no larger than when answers change sides by chance.

    Args:
        both: the rows of the first model, then the same rows of the second.
        units: [n], rows that change sides together.
    """
    rng = np.random.default_rng(derive_seed(seed, "swapped"))
    places = {name: both.names.index(name) for name in names if name in both.names}
    ranked, count = any(map(by_ranks, places)), int(units.max()) + 1

    def differences(sides: NDArray[np.bool_]) -> Floats:
        other = np.hstack([sides, ~sides]).astype(np.float64)
        found: Floats = both.measure(other, ranks=ranked) - both.measure(1.0 - other, ranks=ranked)
        return found[:, list(places.values())]

    seen = np.abs(differences(np.zeros((1, len(units)), dtype=bool)))
    chunk = max(1, _WORK // (2 * len(units)))
    as_far = np.zeros(len(places))
    for done in range(0, resamples, chunk):
        sides = rng.random((min(chunk, resamples - done), count))[:, units] < 0.5
        as_far += (np.abs(differences(sides)) >= seen * (1 - 1e-9)).sum(0)
    return {name: float((k + 1) / (resamples + 1)) for name, k in zip(places, as_far, strict=True)}


def _nothing() -> dict[str, Any]:
    none = dict.fromkeys(("first", "second", "difference", "low", "high", "p"))
    return {**none, "better": CANNOT_TELL}


def _difference(name: str, first: float, second: float, drawn: Floats, differing: int) -> dict[str, Any]:
    if np.isnan(first) or np.isnan(second):
        known = {"first": first, "second": second}
        return {**_nothing(), **{k: None if np.isnan(v) else float(v) for k, v in known.items()}}
    low, high = percentile_interval(drawn)
    defined = drawn[~np.isnan(drawn)]
    tail = min((defined <= 0).sum(), (defined >= 0).sum())
    difference = float(second - first)
    better = CANNOT_TELL
    if low is not None and high is not None and (low > 0 or high < 0):
        enough = differing >= MIN_DIFFERING and name not in NEITHER_IS_BETTER
        better = ("second" if (low > 0) != (name in LOWER_IS_BETTER) else "first") if enough else CANNOT_TELL
    return {
        "first": float(first),
        "second": float(second),
        "difference": difference,
        "low": low,
        "high": high,
        "p": min(1.0, 2 * (int(tail) + 1) / (len(defined) + 1)),
        "better": better,
    }


def _differing(first: Sequence[Prediction], second: Sequence[Prediction], units: Ints, kind: str) -> int:
    """Count the units with a row on which the two differ: in the label, or in anything at all."""
    pairs = enumerate(zip(first, second, strict=True))
    rows = [i for i, (a, b) in pairs if (a.label != b.label if kind == "label" else a != b)]
    return len(np.unique(units[rows])) if rows else 0


def mcnemar(first_right: NDArray[np.bool_], second_right: NDArray[np.bool_]) -> float:
    """Return the two-sided p that both models are right equally often (McNemar 1947).

    Exact binomial up to 1,000 rows on which only one is right; above, the corrected chi-square.
    """
    only_first = int((first_right & ~second_right).sum())
    only_second = int((second_right & ~first_right).sum())
    count, less = only_first + only_second, min(only_first, only_second)
    if count == 0:
        return 1.0
    if count > _EXACT_BELOW:
        return math.erfc(math.sqrt(max(abs(only_first - only_second) - 1, 0) ** 2 / count / 2))
    return float(min(1.0, 2 * sum(math.comb(count, k) for k in range(less + 1)) / (1 << count)))

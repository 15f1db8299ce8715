"""A learning curve from its cells: each a share of the train rows and a seed, measured on the same validation rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from luthier.base.records import Prediction
from luthier.evaluate import metrics
from luthier.evaluate.diagnosis.extrapolate import Floats, extrapolate, likely_seed_variance
from luthier.evaluate.intervals import bootstrap, unit_codes
from luthier.evaluate.tables import tabulate

RESAMPLES = 500
# A hundredth of a metric between 0 and 1 is about the least gain that anyone labels twice the rows for.
WORTH = 0.01


def redraw(
    objective: str, targets: Sequence[Any], predictions: Sequence[Prediction], labels: Sequence[str], metric: str, *,
    groups: Sequence[str | None] | None,
) -> tuple[float, list[float]]:  # fmt: skip
    """Return a metric and what it would be on other draws of the validation rows: the same draws for every cell."""
    table = tabulate(objective, targets, predictions, labels)
    column = table.names.index(metric)
    value = float(table.measure(np.ones((1, table.size)))[0][column])
    drawn = bootstrap([table], unit_codes(groups, table.size), resamples=RESAMPLES, seed=0)[0][:, column]
    return value, drawn.tolist()


def summarise(cells: Sequence[Mapping[str, Any]], *, metric: str, best: float | None) -> dict[str, Any]:
    """Return points, the extrapolation to twice the rows and what to make of it.

    Args:
        cells: ``{"share", "rows", "seed", "score", "drawn"}``, every seed at every share.
        best: the best possible value of the metric, or None.
    """
    sign = -1.0 if metrics.split_name(metric)[0] in metrics.LOWER_IS_BETTER else 1.0
    shares = sorted({c["share"] for c in cells})
    by_place = {(c["share"], c["seed"]): c for c in cells}
    seeds = sorted({c["seed"] for c in cells})
    scores_SK = sign * np.array([[by_place[share, seed]["score"] for share in shares] for seed in seeds])
    # A draw in which the metric is undefined is None in JSON; numpy takes it for NaN.
    drawn_KR = sign * np.array(
        [[by_place[share, seed]["drawn"] for seed in seeds] for share in shares], dtype=float
    ).mean(1)
    cov_KK = _covariance(drawn_KR)
    rows = [round(np.mean([by_place[share, seed]["rows"] for seed in seeds])) for share in shares]
    ahead = extrapolate(rows, scores_SK, cov_KK, to=2 * rows[-1], best=None if best is None else sign * best)
    if sign < 0:
        ahead = _turned(ahead)
    spread = np.sqrt(np.diag(cov_KK) + likely_seed_variance(scores_SK) / len(seeds))
    points = []
    for k, share in enumerate(shares):
        value = float(sign * scores_SK[:, k].mean())
        low, high = value - 1.96 * spread[k], value + 1.96 * spread[k]
        if best is not None:
            low, high = (max(low, best), high) if sign < 0 else (max(low, 0.0), min(high, best))
        points.append({"share": share, "rows": rows[k], "value": round(value, 6), "low": round(float(low), 6),
                       "high": round(float(high), 6), "scores": [round(float(sign * s), 6) for s in scores_SK[:, k]]})  # fmt: skip
    return {"metric": metric, "points": points, "extrapolated": ahead, "words": words(metric, points, ahead, sign=sign)}


def _covariance(drawn_KR: Floats) -> Floats:
    """Return the covariance over draws in which every part's metric is defined."""
    defined = drawn_KR[:, ~np.isnan(drawn_KR).any(0)]
    return np.cov(defined) if defined.shape[1] > 1 else np.zeros((len(drawn_KR), len(drawn_KR)))


def _turned(found: Mapping[str, Any]) -> dict[str, Any]:
    """Return an extrapolation of negated values as one of the values: low and high change places."""

    def span(values: Mapping[str, float]) -> dict[str, float]:
        return {**values, "value": -values["value"], "low": -values["high"], "high": -values["low"]}

    return {
        **span(found),
        "gain": span(found["gain"]),
        "exponent": found["exponent"],
        "band": [span(b) for b in found["band"]],
    }


def words(metric: str, points: Sequence[Mapping[str, Any]], ahead: Mapping[str, Any], *, sign: float = 1.0) -> str:
    """Return what the curve says in two or three sentences."""
    last, gain = points[-1], ahead["gain"]
    least, most = sorted((sign * gain["low"], sign * gain["high"]))
    told = (
        f"With {last['rows']:,} train rows {metric} is {last['value']:.3f}; twice as many would bring it to about "
        f"{ahead['value']:.3f} ({ahead['low']:.3f} to {ahead['high']:.3f}), a gain of {least:.3f} to {most:.3f}."
    )
    worth = WORTH * (1.0 if metrics.split_name(metric)[0] not in metrics.UNBOUNDED else abs(last["value"]))
    if most < worth:
        told += " More rows of the same kind will hardly help: look at the labels, the text and the base model."
    elif least >= worth:
        told += " More rows will help."
    else:
        told += " More rows may help; more seeds or more validation rows would narrow this down."
    if sign * (points[-1]["value"] - points[0]["value"]) < 0:
        told += " The smallest part did better than all rows: that is chance, or training that is not stable."
    return told

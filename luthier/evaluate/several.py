"""Several models on the same rows: their figures, what differs for certain, on which parts, and on which rows."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from luthier.base.records import Example, Prediction
from luthier.evaluate.answered import Answered
from luthier.evaluate.compare import CANNOT_TELL, paired
from luthier.evaluate.intervals import Z_95, of_table
from luthier.evaluate.metrics import split_name
from luthier.evaluate.mistakes import asked, start_of
from luthier.evaluate.robust.look import told
from luthier.evaluate.rowwise import rowwise
from luthier.evaluate.slices import parts_of

# Chance alone makes one comparison of all that are looked at together look sure this often.
ALARM = 0.05
SHOWN_ROWS = 50
DRAWS = 1000
# Of so many rows fewer draws tell the spread as well, and :func:`chance_of` the tail.
_MANY, _FEWER_DRAWS = 20_000, 200
Answers = Mapping[str, Sequence[Prediction]]


def holm(chances: Sequence[float | None]) -> list[float | None]:
    """Return adjusted p values: whatever is called true at q, any of it is false with a chance of q at most (Holm 1979)."""
    known = sorted((p, i) for i, p in enumerate(chances) if p is not None)
    found: list[float | None] = [None] * len(chances)
    highest = 0.0
    for rank, (p, i) in enumerate(known):
        highest = max(highest, min(1.0, p * (len(known) - rank)))
        found[i] = highest
    return found


def compare(
    objective: str, rows: Sequence[Example], answers: Answers, labels: Sequence[str], *, main: str, slices: str | Sequence[str] = "auto",
    seed: int = 0,
) -> dict[str, Any]:  # fmt: skip
    """Compare models on the same rows.

    Every two are compared by a paired bootstrap. What is looked at together is corrected together (Holm): all pairs in ``main``;
    all pairs in every other metric of all rows; each label's metrics; each part of the rows. ``adjusted`` is the corrected p, and
    ``better`` is "first" or "second" only where it is at most 5 %.

    Returns ``metrics`` (by model), ``pairs`` (two names, their ``metrics``, and the rows that one of the two has right alone),
    ``slices`` and ``best``: the model that is surely better than each other one in ``main``, or "cannot tell".
    """
    each = {name: Answered(objective, rows, predictions, labels) for name, predictions in answers.items()}
    first = next(iter(each.values()))
    pairs = list(itertools.combinations(answers, 2))
    measured = {
        name: of_table(one.table, groups=one.groups, seed=seed) for name, one in each.items()
    }
    found: list[dict[str, Any]] = []
    for one, two in pairs:
        metrics = paired(objective, first.targets, answers[one], answers[two], labels, groups=first.groups, resamples=DRAWS, seed=seed)
        found.append({"first": one, "second": two, "metrics": metrics, **differing_rows(rows, answers[one], answers[two])})
    correct([pair["metrics"] for pair in found], main)
    return {
        "metrics": measured, "pairs": found, "draws": DRAWS, "main_metric": main,
        "slices": by_slices(each, main=main, columns=slices, seed=seed), "best": best_of(list(answers), found, main),
    }  # fmt: skip


def chance_of(difference: Mapping[str, Any], draws: int = DRAWS) -> float | None:
    """Return the p of a paired difference, below what its ``draws`` can show too.

    A difference that no draw takes back has the least p that so many draws can give, and after a correction for hundreds of
    comparisons nothing would be left of it. There the tail of a normal distribution as wide as the draws' 95 % interval stands in.
    """
    p, low, high = (difference[key] for key in ("p", "low", "high"))
    if p is None or low is None or p > 2 / (draws + 1) or high <= low:
        return None if p is None else float(p)
    z = abs(difference["difference"]) * 2 * Z_95 / (high - low)
    return min(float(p), math.erfc(z / math.sqrt(2)))


def correct(pairs: Sequence[Mapping[str, dict[str, Any]]], main: str) -> None:
    """Correct the main metric over all pairs, all other metrics of all rows together, and those of labels together."""
    families: dict[str, list[dict[str, Any]]] = {}
    for metrics in pairs:
        for name, one in metrics.items():
            family = "main" if name == main else "metrics" if split_name(name)[1] is None else "labels"
            families.setdefault(family, []).append(one)
    for together in families.values():
        _adjust(together)


def _adjust(differences: Sequence[dict[str, Any]], draws: int = DRAWS) -> None:
    """Add ``adjusted`` to differences that are looked at together, and take back a ``better`` that it does not bear."""
    for one, p in zip(differences, holm([chance_of(one, draws) for one in differences]), strict=True):
        one["adjusted"] = p
        if p is None or p > ALARM:
            one["better"] = CANNOT_TELL


def beside(answered: Answered, rivals: Mapping[str, Sequence[Prediction]], *, metric: str, seed: int = 0) -> dict[str, Any]:
    """Return how a model's answers and those of each rival differ on the same rows in one metric, corrected for how many rivals there are.

    ``{"metric", "rivals": {name: difference}}``: a difference as :func:`luthier.evaluate.compare.paired` gives it, with the rival as the
    first and the model as the second, and ``adjusted``. A rival that has no such metric is left out.
    """
    found: dict[str, dict[str, Any]] = {}
    draws = DRAWS if len(answered.rows) <= _MANY else _FEWER_DRAWS
    for name, theirs in rivals.items():
        pair = paired(answered.objective, answered.targets, theirs, answered.predictions, answered.labels, groups=answered.groups,
                      resamples=draws, seed=seed, metrics=[metric])  # fmt: skip
        if (one := pair.get(metric)) is not None and one["difference"] is not None:
            found[name] = one
    _adjust(list(found.values()), draws)
    return {"metric": metric, "rivals": found}


def not_shown(found: Mapping[str, Any]) -> list[str]:
    """Say of each rival that the model is not surely better than it."""
    metric = found["metric"]
    return [
        f"The model is {'surely worse than' if one['better'] == 'first' else 'not shown to be better than'} {name} on these rows: "
        f"{metric} {one['second']:.3f} and {one['first']:.3f}, difference {one['difference']:+.3f}"
        + (f" [{one['low']:+.3f}, {one['high']:+.3f}]." if one["low"] is not None else ".")
        for name, one in found["rivals"].items() if one["better"] != "second"
    ]  # fmt: skip


def best_of(names: Sequence[str], pairs: Sequence[Mapping[str, Any]], main: str) -> str:
    """Return the model that is surely better than each other one in a metric, or "cannot tell"."""
    wins = dict.fromkeys(names, 0)
    for pair in pairs:
        better = pair["metrics"].get(main, {}).get("better", CANNOT_TELL)
        if better != CANNOT_TELL:
            wins[pair[better]] += 1
    return next((name for name, n in wins.items() if n == len(names) - 1), CANNOT_TELL)


def differing_rows(rows: Sequence[Example], first: Sequence[Prediction], second: Sequence[Prediction]) -> dict[str, Any]:
    """Return how many rows one has right and the other wrong, both ways, and some of them with what each said.

    Where answers are neither right nor wrong, rows count by the smaller loss, and those with the largest difference are shown.
    """
    one, two = _right(rows, first), _right(rows, second)
    if one is not None and two is not None:
        order = {"only_first": np.flatnonzero(one & ~two), "only_second": np.flatnonzero(two & ~one)}
        counts = {"both_right": int((one & two).sum()), "both_wrong": int((~one & ~two).sum())}
        by = "right"
    else:
        losses = [_losses(rows, predictions) for predictions in (first, second)]
        if losses[0] is None or losses[1] is None:
            return {}
        gap = losses[1] - losses[0]
        order = {"only_first": np.flatnonzero(gap > 0)[np.argsort(-gap[gap > 0], kind="stable")],
                 "only_second": np.flatnonzero(gap < 0)[np.argsort(gap[gap < 0], kind="stable")]}  # fmt: skip
        counts, by = {"alike": int((gap == 0).sum())}, "loss"
    shown = {
        side: [_shown(rows[i], first[i], second[i]) for i in places[:SHOWN_ROWS].tolist()] for side, places in order.items()
    }
    return {"rows": {"by": by, **counts, **{side: len(places) for side, places in order.items()}, "shown": shown}}


def _right(rows: Sequence[Example], predictions: Sequence[Prediction]) -> NDArray[np.bool_] | None:
    """Return which answers are right; None where some are neither right nor wrong."""
    if predictions and all(p.label is not None for p in predictions):
        return np.array([p.label == row.target for row, p in zip(rows, predictions, strict=True)])
    if predictions and all(p.labels is not None for p in predictions):
        return np.array([set(p.labels or ()) == set(row.target or ()) for row, p in zip(rows, predictions, strict=True)])
    return None


def _losses(rows: Sequence[Example], predictions: Sequence[Prediction]) -> NDArray[np.float64] | None:
    found = rowwise(rows, predictions)
    return np.array(found["loss"]) if found and len(found["loss"]) == len(rows) else None


def _shown(row: Example, first: Prediction, second: Prediction) -> dict[str, Any]:
    wanted = row.target.get("chosen", "") if isinstance(row.target, Mapping) and "chosen" in row.target else row.target
    return {
        "text": start_of(asked(row)), "target": start_of(_said(wanted)),
        "first": start_of(_answer(first)), "second": start_of(_answer(second)), "file": row.source.file, "line": row.source.line,
    }  # fmt: skip


def _said(target: Any) -> str:
    if isinstance(target, Mapping):
        return ", ".join(f"{name} {value}" for name, value in target.items())
    return target if isinstance(target, str) else " + ".join(map(str, target or ())) or "none"


def _answer(prediction: Prediction) -> str:
    if prediction.text is not None:
        return prediction.text
    return " ".join(prediction.sentences) if prediction.sentences is not None else told(prediction)


def by_slices(each: Mapping[str, Answered], *, main: str, columns: str | Sequence[str], seed: int = 0) -> list[dict[str, Any]]:
    """Return ``main`` of every model on each part of the rows, and how each other differs there from the first."""
    names = list(each)
    first = each[names[0]]
    parts = [part for column, values in first.columns.chosen(columns).items() for part in parts_of(column, values)]
    found: list[dict[str, Any]] = []
    for part in parts:
        places = np.flatnonzero(part.rows).tolist()
        some = {name: one.only(places) for name, one in each.items()}
        one = some[names[0]]
        differences = {
            name: paired(one.objective, one.targets, one.predictions, other.predictions, one.labels, groups=one.groups, resamples=DRAWS,
                         seed=seed, metrics=[main]).get(main)
            for name, other in some.items() if name != names[0]
        }  # fmt: skip
        values = {names[0]: next((d["first"] for d in differences.values() if d), None)}
        values |= {name: d["second"] if d else None for name, d in differences.items()}
        found.append({"slice": part.name, "rows": len(places), "values": values, "differences": differences})
    _adjust([d for one in found for d in one["differences"].values() if d])
    return found


def settings_apart(settings: Mapping[str, Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return the dotted keys in which settings differ, each with every model's value; a key that one lacks is None there."""
    flat = {name: dict(_dotted(values)) for name, values in settings.items()}
    keys = list(dict.fromkeys(key for values in flat.values() for key in values))
    return [
        {"key": key, "values": {name: values.get(key) for name, values in flat.items()}}
        for key in keys if len({repr(values.get(key)) for values in flat.values()}) > 1
    ]  # fmt: skip


def _dotted(values: Mapping[str, Any], prefix: str = "") -> list[tuple[str, Any]]:
    pairs: list[tuple[str, Any]] = []
    for name, value in values.items():
        pairs += _dotted(value, f"{prefix}{name}.") if isinstance(value, Mapping) and value else [(f"{prefix}{name}", value)]
    return pairs

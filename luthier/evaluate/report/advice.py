"""What to do next, in a few sentences that follow from the figures of a run."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from luthier.evaluate.metrics import DEFAULT, LOWER_IS_BETTER
from luthier.evaluate.report.html import plain_number, span_of
from luthier.evaluate.resolution import rounded
from luthier.evaluate.verdict import counted, figure, made_of

MAX_SENTENCES = 5
_WEAK_RECALL = 0.95
_OVERCONFIDENT = 0.1


def next_steps(record: Mapping[str, Any]) -> list[str]:
    """Return at most five sentences, the most useful first."""
    sentences = [
        *_undefined_bars(record),
        *_doubted_bars(record),
        *_weakest_label(record),
        *_fit(record),
        *_too_few_rows(record),
        *_baseline_is_enough(record),
        *_look_at_the_data(record),
        *_cut_off(record),
        *_written(record),
        *_overconfident(record),
        *_serve(record),
    ]
    return sentences[:MAX_SENTENCES]


def measured_on_test(record: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the metrics of the test rows."""
    return dict((record.get("metrics") or {}).get("test") or {})


def main_metric(record: Mapping[str, Any]) -> str | None:
    """Return the metric that the run is about: that of its first bar, else the objective's own."""
    bars = record.get("bars") or []
    objective = (record.get("task") or {}).get("objective", "")
    name = bars[0].get("metric") if bars else DEFAULT.get(objective)
    return str(name) if name else None


def _undefined_bars(record: Mapping[str, Any]) -> list[str]:
    names = [str(bar["metric"]) for bar in record.get("bars") or [] if bar.get("value") is None and not bar.get("doubt")]
    return [f"Add test rows that let {', '.join(names)} be measured: this test set has none."] if names else []


def _doubted_bars(record: Mapping[str, Any]) -> list[str]:
    names = [str(bar["metric"]) for bar in record.get("bars") or [] if bar.get("doubt")]
    if not names:
        return []
    if (record.get("judge") or {}).get("failed"):
        return [f"Look at the judge's service and run again with --again: {', '.join(names)} could not be judged."]
    return [f"Let people rate judge/to-rate.csv, and mend the judge's criteria or take another: {', '.join(names)} rests on it."]


def weakest_label(record: Mapping[str, Any]) -> tuple[str, int, int, str | None, int] | None:
    """Return the label with the least recall: its name, rows, found rows, what it is taken for and how often."""
    table = record.get("confusion") or {}
    labels, matrix = table.get("labels") or [], table.get("matrix") or []
    known = [(row[i] / sum(row), -sum(row), i) for i, row in enumerate(matrix) if sum(row)]
    if not known:
        return None
    i = min(known)[2]
    taken = max((n, j) for j, n in enumerate(matrix[i]) if j != i) if len(labels) > 1 else (0, -1)
    return labels[i], sum(matrix[i]), matrix[i][i], labels[taken[1]] if taken[0] else None, taken[0]


def _weakest_label(record: Mapping[str, Any]) -> list[str]:
    weak = weakest_label(record)
    if weak is None or weak[2] / weak[1] >= _WEAK_RECALL:
        return []
    label, rows, found, taken_for, times = weak
    sentence = f"The weakest label is “{label}”: {found} of its {rows} test rows are found"
    sentence += f", and {times} are taken for “{taken_for}”." if taken_for else "."
    trained = ((record.get("data") or {}).get("labels") or {}).get(label) or {}
    learnt = plain_number(trained.get("train")) if isinstance(trained, Mapping) else None
    more = f" It has {learnt:,.0f} training rows: add more" if learnt is not None else " Add training rows of it"
    return [sentence + more + (", or settle how the two labels differ." if taken_for else ".")]


def _fit(record: Mapping[str, Any]) -> list[str]:
    found = record.get("diagnosis") or {}
    told = {
        "overfits": "It overfits", "underfits": "It underfits", "noisy": "Its labels look noisy",
        "data-limited": "It is limited by its data",
    }.get(str(found.get("verdict")))  # fmt: skip
    if told is None:
        return []
    since = f" from step {found['from_step']}" if found.get("from_step") is not None else ""
    return [" ".join([f"{told}{since}.", *list(found.get("next") or [])[:1]])]


def _too_few_rows(record: Mapping[str, Any]) -> list[str]:
    tested = plain_number(((record.get("data") or {}).get("splits") or {}).get("test"))
    for bar in record.get("bars") or []:
        value, span = plain_number(bar.get("value")), span_of(bar)
        if "enough" in bar:
            said = counted(bar, int(bar["units"]))
            return [f"{said} cannot tell whether {bar['metric']} clears {figure(float(bar['limit']))}: it takes {bar['enough']}."]
        rows, what = _rows_of(bar, tested)
        if bar.get("certain", True) or value is None or span is None or not rows:
            continue
        gap = abs(value - float(bar["limit"]))
        # An interval narrows with the square root of the rows.
        needed = rows * ((span[1] - span[0]) / 2 / gap) ** 2 if gap else float("inf")
        start = f"{what} cannot tell for sure whether {bar['metric']} clears {figure(float(bar['limit']))}"
        if needed > 20 * rows:
            return [f"{start}: it lies on the bar. More test rows will hardly settle it; a better model would."]
        return [f"{start}: about {rounded(needed * 1.1):,} would."]
    return []


def _rows_of(bar: Mapping[str, Any], tested: float | None) -> tuple[float | None, str]:
    """Return how many rows a bar is on, and in words: all test rows, whose share a part of them keeps, or what is asked beside them."""
    units = plain_number(bar.get("units"))
    if units is None or made_of(bar["metric"]) == "test row":
        return tested, f"{tested or 0:,.0f} test rows"
    return units, counted(bar, int(units))


def _baseline_is_enough(record: Mapping[str, Any]) -> list[str]:
    found = record.get("beside") or {}
    for name, one in (found.get("rivals") or {}).items():
        if one["better"] == "second":
            continue
        start = f"The baseline {name} reaches {found['metric']} {figure(one['first'])}"
        sign = -1 if found["metric"] in LOWER_IS_BETTER else 1
        if sign * one["first"] >= sign * one["second"]:
            return [f"{start} and is as good: training has not paid yet."]
        return [f"{start}, and on the same rows this model is not surely better: it may do."]
    return []


def _look_at_the_data(record: Mapping[str, Any]) -> list[str]:
    data, sentences = record.get("data") or {}, []
    leaks = sum(int(n) for n in (data.get("leaks") or {}).values() if plain_number(n))
    if leaks:
        some = "1 row is" if leaks == 1 else f"{leaks:,} rows are"
        sentences.append(f"{some} shared between splits, which flatters the figures: see the data section.")
    sure = [m for m in record.get("mistakes") or [] if (plain_number(m.get("confidence")) or 0) >= 0.9]
    if sure:
        place = f"{sure[0].get('file')}:{sure[0].get('line')}"
        some = "is 1 mistake" if len(sure) == 1 else f"are {len(sure)} mistakes"
        sentences.append(f"There {some} made with 90 % confidence or more, from {place} on: check those labels first.")
    return sentences


def _cut_off(record: Mapping[str, Any]) -> list[str]:
    stopped = plain_number(measured_on_test(record).get("stopped"))
    if stopped is None or stopped >= 0.9:
        return []
    return [
        f"{1 - stopped:.0%} of the answers were cut off: raise evaluate.max_new_tokens or train on shorter answers."
    ]


# What helps against the likely causes of bad answers that are the model's own.
_AGAINST = {
    "wrong format": "are not in the wanted format: look whether all wanted answers are, and train longer",
    "recites train": "recite train answers that do not fit: take answers that come again and again out of train, or train less",
    "repeats itself": "repeat themselves: train on more rows, or with a lower rate; a small model often does",
}
_MANY, _OF_WANTED = 0.1, 0.75


def _written(record: Mapping[str, Any]) -> list[str]:
    """Say what is the matter with many of the answers, and where they leave the input."""
    found = record.get("answers") or {}
    shares = {one["cause"]: one["rows"] / found["rows"] for one in found.get("causes") or []}
    told = [f"{shares[cause]:.0%} of the answers {words}." for cause, words in _AGAINST.items() if shares.get(cause, 0) >= _MANY]
    mine = plain_number(measured_on_test(record).get("grounded"))
    wanted = plain_number(((record.get("written") or {}).get("wanted") or {}).get("grounded"))
    if mine is not None and wanted and mine < _OF_WANTED * wanted:
        told.append(f"Of what the answers say {mine:.0%} stands in the input, of what people wrote {wanted:.0%}: it makes things up.")
    return told


def _overconfident(record: Mapping[str, Any]) -> list[str]:
    error = plain_number(measured_on_test(record).get("ece"))
    if error is None or error < _OVERCONFIDENT:
        return []
    return [f"Its confidence is {error:.0%} away from the truth on average: do not act on scores without a margin."]


def _serve(record: Mapping[str, Any]) -> list[str]:
    if record.get("verdict") != "accepted":
        return []
    return [
        "Serve it with “luthier serve”, collect feedback, and bring it back as training rows with “luthier harvest”."
    ]

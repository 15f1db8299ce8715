"""The verdict: do the measured values clear the bars, and can these rows tell."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from luthier.spec.evaluate import Bar


@dataclass(frozen=True, slots=True)
class Verdict:
    """``accepted`` or not, the ``reasons`` for not, ``notes`` on how sure that is, and every bar with its figures."""

    accepted: bool
    reasons: tuple[str, ...]
    notes: tuple[str, ...]
    bars: tuple[dict[str, Any], ...]

    def as_dict(self) -> dict[str, Any]:
        """Return the form that report.json holds."""
        word = "accepted" if self.accepted else "missed"
        return {"verdict": word, "reasons": list(self.reasons), "notes": list(self.notes), "bars": list(self.bars)}


def judge(bars: Sequence[Bar], metrics: Mapping[str, Mapping[str, float | None]]) -> Verdict:
    """Hold measured ``{metric: {"value", "low", "high"}}`` against the bars.

    The value decides. Where its interval reaches over the bar a note says that these rows cannot tell for sure; a
    metric that is undefined misses its bar.
    """
    held = [_hold(bar, metrics.get(bar.metric)) for bar in bars]
    reasons = [_reason(bar, row) for bar, row in zip(bars, held, strict=True) if not row["holds"]]
    notes = [
        _note(bar, row) for bar, row in zip(bars, held, strict=True) if row["value"] is not None and not row["certain"]
    ]
    if not bars:
        notes.append(
            "No bar is set in accept, so nothing was asked of this model; set one to make the verdict mean something."
        )
    return Verdict(not reasons, tuple(reasons), tuple(notes), tuple(held))


def _hold(bar: Bar, measured: Mapping[str, float | None] | None) -> dict[str, Any]:
    measured = measured or {}
    value, low, high = (measured.get(key) for key in ("value", "low", "high"))
    holds = value is not None and bar.holds(value)
    ends = [] if low is None or high is None else [bar.holds(low), bar.holds(high)]
    certain = bool(ends) and all(end == holds for end in ends)
    facts = {"metric": bar.metric, "op": bar.op, "limit": bar.limit, "value": value, "low": low, "high": high}
    return {**facts, "holds": holds, "certain": certain}


def _reason(bar: Bar, row: Mapping[str, Any]) -> str:
    asked = f"the bar is {bar.op} {figure(bar.limit)}"
    if row["value"] is None:
        label = bar.metric.partition("[")[2].rstrip("]")
        why = f'no test row is labelled "{label}"' if label else "the test rows do not define it"
        return f"{bar.metric} could not be measured ({why}), {asked}"
    return f"{bar.metric} is {measured_words(row)}, {asked}"


def _note(bar: Bar, row: Mapping[str, Any]) -> str:
    if row["low"] is None:
        return f"{bar.metric} {bar.op} {figure(bar.limit)}: there are too few test rows for an interval."
    end = "is met" if row["holds"] else "is missed"
    return (
        f"{bar.metric} {end} at {measured_words(row)}, but the interval reaches over the bar of {figure(bar.limit)}: "
        "this test set cannot tell for sure."
    )


def measured_words(row: Mapping[str, Any]) -> str:
    """Return ``0.78 [0.71, 0.84]``, with enough digits that the value does not look like the limit it misses."""
    value = figure(row["value"], apart_from=row["limit"])
    return value if row["low"] is None else f"{value} [{figure(row['low'])}, {figure(row['high'])}]"


def figure(value: float | None, *, apart_from: float | None = None) -> str:
    """Return a number with two decimals (fewer for large ones), and more where it would else read as ``apart_from``."""
    if value is None:
        return "undefined"
    digits = 2 if abs(value) < 100 else 1 if abs(value) < 1000 else 0
    while (
        apart_from is not None
        and digits < 8
        and value != apart_from
        and round(value, digits) == round(apart_from, digits)
    ):
        digits += 1
    text = f"{value:.{digits}f}"
    if round(value, digits) != value and apart_from is None and f"{value:.4g}" == repr(value):
        return repr(value)  # a limit such as 0.805 is shown as it was written
    return text

"""The verdict: do the measured values clear the bars, and can these rows tell."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from luthier.evaluate.metrics import split_name, unbounded
from luthier.spec.bars import Bar

Figures = Mapping[str, float | None]
MET, MISSED, UNTOLD = "met", "missed", "cannot tell"
_TAIL = 0.025


@dataclass(frozen=True, slots=True)
class Verdict:
    """``accepted``, ``missed`` or ``cannot tell``, the ``reasons`` for not, ``notes`` on how sure that is, and every bar with its figures."""

    word: str
    reasons: tuple[str, ...]
    notes: tuple[str, ...]
    bars: tuple[dict[str, Any], ...]

    @property
    def accepted(self) -> bool:
        return self.word == "accepted"

    def as_dict(self) -> dict[str, Any]:
        """Return the form that report.json holds."""
        return {"verdict": self.word, "reasons": list(self.reasons), "notes": list(self.notes), "bars": list(self.bars)}


def judge(
    bars: Sequence[Bar], metrics: Mapping[str, Figures], *, rivals: Mapping[str, Figures] | None = None,
    sizes: Mapping[str, int] | None = None, doubts: Mapping[str, str] | None = None,
) -> Verdict:  # fmt: skip
    """Hold measured ``{metric: {"value", "low", "high"}}`` against the bars.

    The value decides. Where its interval reaches over the bar a note says that these rows cannot tell for sure; a
    metric that is undefined misses its bar. A bar cannot be told where it must clear it ``surely`` and only its value does, or
    where the rows are so few that a perfect score would leave the bar within its interval.

    Args:
        rivals: by the bar's metric, what its rival reaches (``value``) and the 95 % interval of the difference to it.
        sizes: by the bar's metric, how many rows (or groups) it is made of.
        doubts: by the bar's metric, why its value cannot be believed, whatever it is.
    """
    held = [
        _hold(bar, metrics.get(bar.metric), (rivals or {}).get(bar.metric), (sizes or {}).get(bar.metric), (doubts or {}).get(bar.metric))
        for bar in bars
    ]
    pairs = list(zip(bars, held, strict=True))
    reasons = [_reason(bar, row) for bar, row in pairs if row["state"] == MISSED]
    reasons += [_untold(bar, row) for bar, row in pairs if row["state"] == UNTOLD]
    unsure = [(bar, row) for bar, row in pairs if not row["certain"] and row["state"] != UNTOLD]
    notes = [_note(bar, row) for bar, row in unsure if row["value"] is not None and row["limit"] is not None]
    if not bars:
        notes.append(
            "No bar is set in accept, so nothing was asked of this model; set one to make the verdict mean something."
        )
    states = {row["state"] for row in held}
    word = "missed" if MISSED in states else "cannot tell" if UNTOLD in states else "accepted"
    return Verdict(word, tuple(reasons), tuple(notes), tuple(held))


def _hold(
    bar: Bar, measured: Figures | None, rival: Figures | None, size: int | None, doubt: str | None
) -> dict[str, Any]:
    measured, rival = measured or {}, rival or {}
    value, low, high = (measured.get(key) for key in ("value", "low", "high"))
    theirs = rival.get("value")
    limit = bar.limit if bar.rival is None else None if theirs is None else theirs + bar.margin
    clears = value is not None and limit is not None and bar.holds(value, limit=limit)
    # Against a rival the two are measured on the same rows: the difference is surer than either value.
    ends = (low, high) if bar.rival is None else (rival.get("low"), rival.get("high"))
    asked = limit if bar.rival is None else bar.margin
    certain = asked is not None and all(end is not None and bar.holds(end, limit=asked) == clears for end in ends)
    few = clears and _too_few(bar, size)
    state = UNTOLD if doubt else MISSED if not clears else UNTOLD if few or (bar.surely and not certain) else MET
    facts = {"metric": bar.metric, "op": bar.op, "limit": limit, "value": value, "low": low, "high": high}
    more = {"rival": bar.rival, "margin": bar.margin, "difference": list(ends)} if bar.rival else {}
    more |= {**({"surely": True} if bar.surely else {}), **({"doubt": doubt} if doubt else {})}
    return {**facts, **more, "holds": state == MET, "certain": certain, "state": state, **({"rows": size} if few else {})}


def _too_few(bar: Bar, size: int | None) -> bool:
    """Whether even n right of n would leave the bar within its interval (Clopper & Pearson 1934)."""
    if size is None or bar.rival is not None or bar.op not in (">=", ">") or not 0 < bar.limit < 1:
        return False
    if unbounded(bar.plain) or (bar.where is not None and bar.where.over):
        return False
    return size == 0 or not bar.holds(_TAIL ** (1 / size))


def _asked(bar: Bar, row: Mapping[str, Any]) -> str:
    against = f" ({bar.asked.removesuffix(' surely')})" if bar.rival else ""
    limit = "what its rival reaches" if row["limit"] is None else figure(row["limit"])
    return f"the bar is {bar.op} {limit}{against}{' surely' if bar.surely else ''}"


def _reason(bar: Bar, row: Mapping[str, Any]) -> str:
    if row["value"] is not None and row["limit"] is None:
        return f"{bar.metric} is {measured_words(row)}, but {bar.rival} has no such figure, {_asked(bar, row)}"
    if row["value"] is None:
        label = split_name(bar.plain)[1]
        why = f'no test row is labelled "{label}"' if label else "the test rows do not define it"
        return f"{bar.metric} could not be measured ({why}), {_asked(bar, row)}"
    return f"{bar.metric} is {measured_words(row)}, {_asked(bar, row)}"


def _untold(bar: Bar, row: Mapping[str, Any]) -> str:
    if "doubt" in row:
        return f"{bar.metric} is {measured_words(row)}, {_asked(bar, row)}, and nobody can tell: {row['doubt']}"
    if "rows" in row:
        best = figure(_TAIL ** (1 / row["rows"])) if row["rows"] else "0"
        return (
            f"{bar.metric} is {measured_words(row)}, {_asked(bar, row)}, and {row['rows']} test rows cannot tell: "
            f"a perfect score on them would only show {best} or more"
        )
    span = "" if not bar.rival or None in row["difference"] else "; the difference to it is {} to {}".format(*map(figure, row["difference"]))
    return f"{bar.metric} is {measured_words(row)}, {_asked(bar, row)}{span}: the value clears it, its interval does not"


def _note(bar: Bar, row: Mapping[str, Any]) -> str:
    if row["low"] is None:
        return f"{bar.metric} {bar.asked}: there are too few test rows for an interval."
    end = "is met" if row["holds"] else "is missed"
    over = f"the bar of {figure(row['limit'])}" if bar.rival is None else f"{bar.rival}'s {figure(row['limit'] - bar.margin)} {bar.margin:+g}"
    return (
        f"{bar.metric} {end} at {measured_words(row)}, but the interval reaches over {over}: this test set cannot tell for sure."
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

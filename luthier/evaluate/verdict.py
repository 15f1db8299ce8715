"""The verdict: do the measured values clear the bars, and can these rows tell."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from luthier.evaluate import cases
from luthier.evaluate.compare import MIN_DIFFERING
from luthier.evaluate.judges import named as judges
from luthier.evaluate.metrics import split_name, unbounded
from luthier.evaluate.robust import named as changes
from luthier.evaluate.written.extras import MEMORISED
from luthier.spec.bars import Bar, split_slice

# ``value``, ``low``, ``high``; where known also ``rows``, ``units`` (rows, those of a group counted once) and, of marks, ``least`` and ``most``.
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
    bars: Sequence[Bar], metrics: Mapping[str, Figures], *, rivals: Mapping[str, Figures] | None = None, doubts: Mapping[str, str] | None = None
) -> Verdict:  # fmt: skip
    """Hold measured ``{metric: {"value", "low", "high"}}`` against the bars.

    The value decides. Where its interval reaches over the bar a note says that these rows cannot tell for sure; a
    metric that is undefined misses its bar. A bar cannot be told where it must clear it ``surely`` and only its value does, or
    where a figure is made of fewer ``units`` than :func:`enough`.

    Args:
        rivals: by the bar's metric, what its rival reaches (``value``) and the 95 % interval of the difference to it.
        doubts: by the bar's metric, why its value cannot be believed, whatever it is.
    """
    held = [_hold(bar, metrics.get(bar.metric), (rivals or {}).get(bar.metric), (doubts or {}).get(bar.metric)) for bar in bars]
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


def _hold(bar: Bar, measured: Figures | None, rival: Figures | None, doubt: str | None) -> dict[str, Any]:
    measured, rival = measured or {}, rival or {}
    value, low, high = (measured.get(key) for key in ("value", "low", "high"))
    theirs = rival.get("value")
    limit = bar.limit if bar.rival is None else None if theirs is None else theirs + bar.margin
    clears = value is not None and limit is not None and bar.holds(value, limit=limit)
    # Against a rival the two are measured on the same rows: the difference is surer than either value.
    ends = (low, high) if bar.rival is None else (rival.get("low"), rival.get("high"))
    asked = limit if bar.rival is None else bar.margin
    certain = asked is not None and all(end is not None and bar.holds(end, limit=asked) == clears for end in ends)
    few = _too_few(bar, measured) if clears else {}
    state = UNTOLD if doubt else MISSED if not clears else UNTOLD if few or (bar.surely and not certain) else MET
    facts = {"metric": bar.metric, "op": bar.op, "limit": limit, "value": value, "low": low, "high": high}
    more = {"rival": bar.rival, "margin": bar.margin, "difference": list(ends)} if bar.rival else {}
    more |= {**({"surely": True} if bar.surely else {}), **({"doubt": doubt} if doubt else {})}
    more |= {key: measured[key] for key in ("rows", "units") if measured.get(key) is not None}
    return {**facts, **more, "holds": state == MET, "certain": certain, "state": state, **few}


def enough(bar: Bar, measured: Figures | None = None) -> int | None:
    """Return of how many rows (or groups of rows) the best result that there can be shows a bar to be met; None where their number is no matter.

    n rows that are all right show a share of 0.025 ** (1 / n) or more, n without a fault one of 1 - 0.025 ** (1 / n) or less: the exact
    bounds of Clopper & Pearson (1934). By Markov's inequality they hold for the mean of any numbers between 0 and 1 too, and so for
    marks between the ``least`` and the ``most`` of ``measured``. ``>= 1`` and ``<= 0`` are more than any number of rows can show: they are
    read as asked of these rows themselves.

    Of what has no bounds (rmse, perplexity, a cost) no number of rows bounds the mean, whatever they say (Bahadur & Savage 1956), so the
    least is asked that a bar can mean: that most rows clear it. Of fewer than six not even that is shown where all of them do: it is the
    sign test's number, as in :mod:`luthier.evaluate.compare`.
    """
    if bar.rival is not None or (bar.where is not None and bar.where.over == "gap"):
        return None
    span = _span(bar, measured or {})
    if span is None:
        return MIN_DIFFERING
    share = (bar.limit - span[0]) / (span[1] - span[0])
    share = share if _from_below(bar) else 1 - share
    if not 0 < share < 1:
        return None
    rows = math.ceil(math.log(_TAIL) / math.log(share))
    return rows + (not bar.holds(_best(bar, span, rows)))  # exactly on the bar is enough for >= and not for >


def _span(bar: Bar, measured: Figures) -> tuple[float, float] | None:
    """Return the lowest and highest value that a row can give; None of what has no bounds."""
    least, most = measured.get("least"), measured.get("most")
    if least is not None and most is not None:
        return least, most
    return None if unbounded(bar.plain) else (0.0, 1.0)


def _from_below(bar: Bar) -> bool:
    return bar.op in (">=", ">")


def _best(bar: Bar, span: tuple[float, float], rows: int) -> float:
    """Return what the best result on so many rows shows: the end of its interval that is nearer to the bar."""
    reach = (span[1] - span[0]) * (_TAIL ** (1 / rows) if rows else 0.0)
    return span[0] + reach if _from_below(bar) else span[1] - reach


def _too_few(bar: Bar, measured: Figures) -> dict[str, Any]:
    """Return how many rows would be ``enough`` and what the ``best`` result on these would show (None without bounds); nothing where they are enough."""
    units, needed = measured.get("units"), enough(bar, measured)
    if units is None or needed is None or units >= needed:
        return {}
    span = _span(bar, measured)
    return {"enough": needed, "best": None if span is None else _best(bar, span, int(units))}


def beyond(bar: Bar, measured: Figures) -> str | None:
    """Say why so many ``units`` cannot show a bar to be met, whatever the answers; None where they can."""
    few = _too_few(bar, measured)
    units = measured.get("units")
    return _few_words(bar, {"metric": bar.metric, "limit": bar.limit, **measured, **few}) if few and units else None


def rival_of(row: Mapping[str, Any]) -> Figures:
    """Return what the rival of a bar, as report.json holds it, reached, and the interval of the difference to it, as :func:`judge` takes them."""
    low, high = row["difference"]
    return {"value": None if row["limit"] is None else row["limit"] - row["margin"], "low": low, "high": high}


def counted(bar: Mapping[str, Any], units: int) -> str:
    """Return "28 test rows": so many of what the metric of a bar, as report.json holds it, is made of."""
    where, ends = split_slice(str(bar["metric"]))[1], "" if units == 1 else "s"
    what, whose = made_of(str(bar["metric"])), f" of the smallest part by {where.column}" if where is not None and where.over else ""
    return f"{units} group{ends} of {what}s{whose}" if bar.get("rows", units) > bar.get("units", units) else f"{units} {what}{ends}{whose}"


def made_of(metric: str) -> str:
    """Return what a metric is made of, one of it: a test row, or what is asked beside them."""
    plain = split_slice(metric)[0]
    if plain == cases.ALL or plain in cases.REFUSALS or cases.ability_of(plain) is not None:
        return "functional test"
    if plain == MEMORISED or judges.is_metric(plain):
        return "train answer" if plain == MEMORISED else "judged answer"
    of_stage, at, _ = plain.rpartition("@")
    return "changed test row" if changes.in_words(plain) else made_of(of_stage) if at else "test row"


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
    if "enough" in row:
        return f"{bar.metric} is {measured_words(row)}, {_asked(bar, row)}, and {_few_words(bar, row)}"
    span = "" if not bar.rival or None in row["difference"] else "; the difference to it is {} to {}".format(*map(figure, row["difference"]))
    return f"{bar.metric} is {measured_words(row)}, {_asked(bar, row)}{span}: the value clears it, its interval does not"


def _few_words(bar: Bar, row: Mapping[str, Any]) -> str:
    start = f"{counted(row, row['units'])} cannot tell: "
    if row["best"] is None:
        return f"{start}that all of so few lie on one side of it may be chance; it takes {row['enough']}"
    best = f"{figure(row['best'], apart_from=row['limit'])} or {'more' if _from_below(bar) else 'less'}"
    return f"{start}a perfect score on them would only show {best}; it takes {row['enough']}"


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

"""How fine a difference some test rows can show, and how many rows would show a finer one: said beside every result.

Power of the usual kind: what is found four times out of five at the 5 % level (Card et al. 2020, "With Little Power Comes Great
Responsibility", https://aclanthology.org/2020.emnlp-main.745). The standard error is read off the 95 % interval, so it holds for every metric
and for rows that belong together.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from luthier.evaluate.intervals import Z_95
from luthier.evaluate.metrics import unbounded

_Z_80 = 0.841621
POWER = (Z_95 + _Z_80) / (2 * Z_95)  # of an interval's width, for the difference that it measures
# Two points of a share are what people ask for.
WANTED = 0.02


def of_interval(metric: str, interval: Mapping[str, Any], rows: int) -> dict[str, Any] | None:
    """Return the smallest ``difference`` between two models that ``rows`` test rows show, and how many rows show the ``wanted`` one.

    The two models' mistakes are taken as independent, the worst case: models that share mistakes are told apart by fewer rows. Of a
    metric without a scale the wanted difference is half of what is shown. None where the metric has no interval.
    """
    low, high = interval.get("low"), interval.get("high")
    if low is None or high is None or not rows or not high > low:
        return None
    difference = POWER * math.sqrt(2) * (high - low)
    wanted = difference / 2 if unbounded(metric) else WANTED
    return {"metric": metric, "rows": rows, "difference": difference, "wanted": wanted, "needed": rounded(rows * (difference / wanted) ** 2)}


def needed_for(pair: Mapping[str, Any], rows: int) -> int | None:
    """Return about how many rows would show the difference that two models had on these, four times out of five; None for none."""
    if pair.get("low") is None or not pair.get("difference"):
        return None
    return rounded(rows * (POWER * (pair["high"] - pair["low"]) / pair["difference"]) ** 2)


def rounded(value: float) -> int:
    """Round up to two leading digits: more would claim what an estimate cannot."""
    step = 10 ** max(0, len(str(int(value))) - 2)
    return int(-(-value // step) * step)


def in_words(found: Mapping[str, Any]) -> str:
    """Say it in a sentence or two."""
    metric, rows, difference = found["metric"], found["rows"], found["difference"]
    if unbounded(metric):
        return (f"These {rows:,} test rows tell two models apart that are {difference:.3g} of {metric} from each other, four times out of five; "
                f"half as much takes about {found['needed']:,}.")  # fmt: skip
    told = f"These {rows:,} test rows tell two models apart that are {100 * difference:.2g} points of {metric} from each other, four times out of five"
    return f"{told}." if difference <= found["wanted"] else f"{told}; {100 * found['wanted']:.2g} points take about {found['needed']:,}."

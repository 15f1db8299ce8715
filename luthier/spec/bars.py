"""The bars of `accept:`: what is measured, on which rows, held against what, and how sure it must be."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from luthier.base.errors import Fault

_NUMBER = r"[-+]?\d+(?:\.\d+)?(?:[eE][-+]?\d+)?"
# ">= 0.80", ">= 80 % surely", ">= live - 0.01", "< tfidf_linear"
_BAR = re.compile(
    rf"^\s*(?P<op>>=|<=|>|<)\s*(?:(?P<limit>{_NUMBER})\s*(?P<share>%?)|(?P<rival>[A-Za-z]\w*)"
    rf"(?:\s*(?P<sign>[-+])\s*(?P<margin>\d+(?:\.\d+)?)\s*(?P<points>%?))?)\s*(?P<surely>surely)?\s*$"
)
_SLICED = re.compile(r"^(?P<metric>[^{}]+)\{(?P<where>[^{}]+)\}(?P<rest>.*)$", re.DOTALL)
# What may stand after a column's colon: its worst value, and how far its best is from its worst.
OVER_VALUES = ("worst", "gap")
# The bundle that `evaluate.against` names.
LIVE = "live"


@dataclass(frozen=True, slots=True)
class Bar:
    """One bar of `accept`: ``metric`` compared by ``op`` with ``limit``, or with what a ``rival`` reaches plus ``margin``.

    ``surely``: the whole 95 % interval must clear the bar, not the value alone. ``metric`` is as written, with the slice it is
    of; ``plain`` is without it.
    """

    metric: str
    op: str
    limit: float
    rival: str | None = None
    margin: float = 0.0
    surely: bool = False

    def holds(self, value: float, *, limit: float | None = None) -> bool:
        """Whether ``value`` clears the bar; ``limit`` stands in for that of a bar against a rival."""
        asked = self.limit if limit is None else limit
        return {">=": value >= asked, "<=": value <= asked, ">": value > asked, "<": value < asked}[self.op]

    @property
    def plain(self) -> str:
        return split_slice(self.metric)[0]

    @property
    def where(self) -> Where | None:
        return split_slice(self.metric)[1]

    @property
    def asked(self) -> str:
        """The bar in words, without its metric."""
        if self.rival is None:
            said = f"{self.op} {self.limit:g}"
        else:
            said = f"{self.op} {self.rival}" + (f" {'-' if self.margin < 0 else '+'} {abs(self.margin):g}" if self.margin else "")
        return said + (" surely" if self.surely else "")

    def __str__(self) -> str:
        return f"{self.metric} {self.asked}"


@dataclass(frozen=True, slots=True)
class Where:
    """The rows a bar is on: those whose columns have these ``values``, or of each value of a ``column`` the ``over`` of them."""

    values: Mapping[str, str] = field(default_factory=dict)
    column: str = ""
    over: str = ""


def split_slice(metric: str) -> tuple[str, Where | None]:
    """Return ``("recall[urgent]", Where({"channel": "email"}))`` for ``recall[urgent]{channel=email}``.

    ``accuracy{channel:worst}`` is of the value of the column that has least, ``accuracy{channel:gap}`` is what its best
    has more than its worst; ``accuracy{channel=email, age=old}`` is of the rows with both.
    """
    found = _SLICED.match(metric)
    if found is None:
        return metric, None
    name, inside = found["metric"].strip() + found["rest"], found["where"]
    column, colon, over = inside.partition(":")
    if colon and "=" not in inside:
        return name, Where(column=column.strip(), over=over.strip())
    pairs = (part.partition("=") for part in inside.split(","))
    return name, Where(values={key.strip(): value.strip() for key, _, value in pairs})


def parse_bars(accept: Mapping[str, str]) -> tuple[list[Bar], list[Fault]]:
    """Read ``{"macro_f1": ">= 0.80"}`` into bars; what cannot be read becomes a fault."""
    bars, faults = [], []
    for metric, text in accept.items():
        found, where = _BAR.match(text), f"accept.{metric}"
        if found is None:
            mend = 'Write an operator and a number, such as ">= 0.80", or ">= tfidf_linear + 0.02"; "surely" after it asks for the whole interval.'
            faults.append(Fault(f'"{text}" is not a bar', where, mend))
            continue
        faults += _slice_faults(metric, where)
        share = 100 if found["share"] or found["points"] else 1
        margin = float(f"{found['sign']}{found['margin']}") / share if found["margin"] else 0.0
        limit = float(found["limit"]) / share if found["limit"] else 0.0
        bars.append(Bar(metric, found["op"], limit, found["rival"], margin, bool(found["surely"])))
    return bars, faults


def _slice_faults(metric: str, where: str) -> list[Fault]:
    of = split_slice(metric)[1]
    if of is None:
        if "{" in metric or "}" in metric:
            return [Fault(f'"{metric}" has a brace without its other', where, "Write accuracy{column=value}.")]
        return []
    if of.over and of.over not in OVER_VALUES:
        return [Fault(f'"{of.over}" is not known after a column', where, "Write {column:worst}, {column:gap} or {column=value}.")]
    if any(not key or not value for key, value in of.values.items()) or (not of.values and not of.column):
        return [Fault(f'"{metric}" does not say which rows', where, "Write accuracy{column=value}.")]
    return []

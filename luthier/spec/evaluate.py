"""``evaluate:`` how the model is measured, and ``accept:`` the bars it must clear."""

from __future__ import annotations

import re
from dataclasses import dataclass

from pydantic import Field

from luthier.base.errors import Fault
from luthier.spec.common import Section

_BAR = re.compile(r"^\s*(>=|<=|>|<)\s*([-+]?\d+(?:\.\d+)?(?:[eE][-+]?\d+)?)\s*(%?)\s*$")


class EvaluateSection(Section):
    """Measurement on the test split."""

    bootstrap: int = Field(1000, ge=100, description="Resamples of the test rows for the 95 % intervals.")
    worst: int = Field(20, ge=0, description="How many of the worst mistakes the report shows.")
    max_new_tokens: int = Field(256, ge=1, description="Longest generated answer, in tokens.")
    generate_rows: int = Field(
        200, ge=1, description="At most so many test rows are answered in full by a decoder; perplexity uses all rows."
    )
    learning_curve: bool = Field(
        False,
        description="Train on a quarter and half of the train rows too, and say in the report what twice as many would bring.",
    )
    against: str | None = Field(
        None, description="An earlier bundle, measured on the same test rows beside the new one."
    )


@dataclass(frozen=True, slots=True)
class Bar:
    """One bar of `accept`: ``metric`` compared by ``op`` with ``limit``."""

    metric: str
    op: str
    limit: float

    def holds(self, value: float) -> bool:
        """Whether ``value`` clears the bar."""
        return {">=": value >= self.limit, "<=": value <= self.limit, ">": value > self.limit, "<": value < self.limit}[
            self.op
        ]

    def __str__(self) -> str:
        return f"{self.metric} {self.op} {self.limit:g}"


def parse_bars(accept: dict[str, str]) -> tuple[list[Bar], list[Fault]]:
    """Read ``{"macro_f1": ">= 0.80"}`` into bars; what cannot be read becomes a fault."""
    bars, faults = [], []
    for metric, text in accept.items():
        found = _BAR.match(text)
        if found is None:
            faults.append(
                Fault(
                    f'"{text}" is not a bar', f"accept.{metric}", 'Write an operator and a number, such as ">= 0.80".'
                )
            )
            continue
        limit = float(found[2]) / (100 if found[3] else 1)
        bars.append(Bar(metric, found[1], limit))
    return bars, faults

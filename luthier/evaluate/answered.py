"""Test rows with the answers to them: what metrics, parts of the rows and bars are made of."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from luthier.base.records import Example, Prediction
from luthier.evaluate.intervals import unit_codes
from luthier.evaluate.slices.columns import Columns
from luthier.evaluate.tables import Ints, Table, tabulate


@dataclass(frozen=True)
class Answered:
    """Rows, held in memory, what a model says of them, and by which columns they can be told apart."""

    objective: str
    rows: Sequence[Example]
    predictions: Sequence[Prediction]
    labels: Sequence[str]

    @cached_property
    def columns(self) -> Columns:
        return Columns(self.rows)

    @cached_property
    def table(self) -> Table:
        return tabulate(self.objective, self.targets, self.predictions, self.labels)

    @cached_property
    def targets(self) -> list[Any]:
        return [row.target for row in self.rows]

    @cached_property
    def groups(self) -> list[str | None] | None:
        """Which rows belong together; None where every row stands alone."""
        found = [row.group for row in self.rows]
        return found if any(found) else None

    @cached_property
    def units(self) -> Ints:
        return unit_codes(self.groups, len(self.rows))

    def only(self, places: Sequence[int], predictions: Sequence[Prediction] | None = None) -> Answered:
        """Return some of the rows, or another model's answers to them."""
        given = self.predictions if predictions is None else predictions
        return Answered(self.objective, [self.rows[i] for i in places], [given[i] for i in places], self.labels)

"""The passes of a training, cut from the real rows as the loop will cut them, before any of them is computed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from luthier.base.records import Encoded
from luthier.objectives.learner import Learner
from luthier.train.loop import Plan, batches_of, pieces_of

# Cutting takes microseconds a row, and one epoch is like the next.
_MOST_STEPS = 5000
# Tokens of one pass without gradients, as the predictor and the fitted heads cut it.
READING = 4096
_READING_ROWS = 256


@dataclass(frozen=True, slots=True)
class Work:
    """``steps`` optimiser steps; ``cut`` are the passes of the first of them, each pass the numbers of its rows."""

    steps: int
    per_epoch: int
    cut: tuple[tuple[tuple[int, ...], ...], ...]
    lengths: tuple[int, ...]
    padded: bool

    @property
    def pieces(self) -> list[tuple[int, ...]]:
        return [piece for step in self.cut for piece in step]

    @property
    def scale(self) -> float:
        """How many times as much as what was cut the whole training is."""
        return self.steps / len(self.cut) if self.cut else 0.0

    def tokens(self, piece: Sequence[int]) -> int:
        """Return the tokens that a pass computes, padding included."""
        if not self.padded:
            return sum(self.lengths[row] for row in piece)
        return max(self.lengths[row] for row in piece) * len(piece)

    def cost(self, piece: Sequence[int]) -> float:
        """Return what a pass costs beside others: its tokens, and a little more where attention looks over long rows."""
        return self.tokens(piece) * (1 + max(self.lengths[row] for row in piece) / 4096)

    @property
    def largest(self) -> tuple[int, ...]:
        return max(self.pieces, key=lambda piece: self.tokens(piece) * max(self.lengths[row] for row in piece) ** 0.5)


def cut(learner: Learner, rows: Sequence[Encoded], plan: Plan, *, times: float = 1.0) -> Work:
    """Return the work of a training; ``times`` as many rows are there as are given."""
    lengths = [len(row) for row in rows]
    per_epoch = -(-len(rows) // plan.batch)
    seen = min(plan.steps, per_epoch, _MOST_STEPS)
    batches = batches_of(learner, rows, plan, 0, draws=None)[:seen]
    steps = [tuple(tuple(piece) for piece in pieces_of(learner, picked, lengths, plan)) for picked in batches]
    return Work(plan.steps, round(per_epoch * times), tuple(steps), tuple(lengths), learner.separable and not learner.flat)


def strata(work: Work, count: int) -> list[tuple[int, ...]]:
    """Return up to ``count`` different passes: the largest first, then those in the middle of equal shares of the cost."""
    ordered = sorted(set(work.pieces), key=work.cost)
    found = [work.largest]
    for k in range(count - 1):
        place = min(len(ordered) - 1, int((k + 0.5) / (count - 1) * len(ordered)))
        if ordered[place] not in found:
            found.append(ordered[place])
    return found


def reading(lengths: Sequence[int]) -> int:
    """Return the padded tokens that it takes to read rows of these lengths once, as the predictor does."""
    total = width = rows = 0
    for length in sorted(lengths, reverse=True):
        if rows and (width * (rows + 1) > READING or rows >= _READING_ROWS):
            total, rows = total + width * rows, 0
        width = length if not rows else width
        rows += 1
    return total + width * rows


def shortened(row: Encoded, tokens: int) -> Encoded:
    """Return the beginning of a row, with half of it to be learnt where tokens are learnt."""
    learn = tuple(i >= tokens // 2 for i in range(min(tokens, len(row.ids)))) if row.learn else row.learn
    places = tuple(place for place in row.places if place < tokens)
    return replace(row, ids=row.ids[:tokens], learn=learn, places=places, others=tuple(shortened(o, tokens) for o in row.others))

"""Run some of a training's passes on the real rows: how long they take here, and what they ask of memory."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch

from luthier.base.records import Encoded
from luthier.objectives.classify import Classifier
from luthier.objectives.cut import micro_batches
from luthier.objectives.heads.use import FEW
from luthier.objectives.learner import Learner
from luthier.objectives.linear import regression
from luthier.spec.train import TrainSection
from luthier.train.loop import Plan, clip, try_out
from luthier.train.optim import make_optimizer
from luthier.train.planning.heap import Trace
from luthier.train.planning.trace import fixed_sizes, recorded, square_sizes
from luthier.train.planning.work import READING, Work, strata
from luthier.train.planning.work import reading as read_tokens

# Passes of so many sizes are run; between two of them time is interpolated. Of some, allocations are recorded too.
_SIZES, _RECORDED = 5, 3
# Rows that are read, and those that a head is fitted to, to see how long it takes.
_READ_ROWS, _FITTED_ROWS = 128, 512


@dataclass(frozen=True, slots=True)
class Clock:
    """Seconds on the wall and of computing: on a shared machine the first are more."""

    wall_s: float
    cpu_s: float

    def times(self, factor: float) -> Clock:
        return Clock(self.wall_s * factor, self.cpu_s * factor)

    def plus(self, other: Clock) -> Clock:
        return Clock(self.wall_s + other.wall_s, self.cpu_s + other.cpu_s)


NOTHING = Clock(0.0, 0.0)


@dataclass(frozen=True, slots=True)
class Pass:
    """One pass as it was run: forward and backward."""

    tokens: int
    cost: float
    took: Clock


@dataclass(frozen=True)
class Probe:
    """What was measured. ``reading`` is of one token without gradients, ``step`` of the optimiser alone; ``refer`` of one
    token that the untuned network is asked about. ``traces`` are allocations by name, ``sizes`` the tokens and the longest row of each pass."""

    passes: list[Pass]
    step: Clock
    reading: Clock
    refer: Clock
    head: Clock
    traces: dict[str, Trace]
    sizes: dict[str, tuple[int, int]]

    @property
    def share(self) -> float:
        """Computing seconds to a second on the wall: what this machine gave."""
        wall = sum(p.took.wall_s for p in self.passes) + self.reading.wall_s
        return sum(p.took.cpu_s for p in self.passes) / wall if wall else 1.0

    def of(self, cost: float) -> Clock:
        """Return what a pass of some cost takes: between those run, in proportion beyond them, and below them on the line through the smallest."""
        known = sorted(self.passes, key=lambda p: p.cost)
        costs = [p.cost for p in known]
        if cost > costs[-1]:
            return known[-1].took.times(cost / costs[-1])
        if cost < costs[0]:
            return _below(known[0], known[1] if len(known) > 1 else None, cost)
        return Clock(*(float(np.interp(cost, costs, [getattr(p.took, name) for p in known])) for name in ("wall_s", "cpu_s")))

    def whole(self, work: Work) -> Clock:
        """Return what all steps take."""
        total = self.step.times(len(work.cut))
        for piece in work.pieces:
            total = total.plus(self.of(work.cost(piece)))
        return total.times(work.scale)


def _below(least: Pass, next_: Pass | None, cost: float) -> Clock:
    """Return what a pass smaller than all that were run takes: its share of the smallest, and of what that would have cost without a token."""
    share = cost / least.cost

    def of(took: float, more: float) -> float:
        slope = (more - took) / (next_.cost - least.cost) if next_ else took / least.cost
        empty = min(took, max(0.0, took - slope * least.cost))
        return empty + (took - empty) * share

    after = next_.took if next_ else least.took
    return Clock(of(least.took.wall_s, after.wall_s), of(least.took.cpu_s, after.cpu_s))


def probe(learner: Learner, rows: Sequence[Encoded], work: Work, plan: Plan, section: TrainSection, *, budget_s: float,
          fits_head: int = 0) -> Probe:  # fmt: skip
    """Run passes until ``budget_s`` seconds of computing are used up by them; at least one. The learner learns from them: hand a copy.

    Args:
        fits_head: to how many rows the training fits a head before it begins.
    """
    traces: dict[str, Trace] = {}
    sizes: dict[str, tuple[int, int]] = {}
    reading = _reading(learner, rows, traces, sizes)
    head = _head(learner, rows, section, fits_head) if fits_head else NOTHING
    passes: list[Pass] = []
    refer = step = NOTHING
    if plan.steps:
        began = time.process_time()
        learner.start_epoch(0, seed=plan.seed)
        fixed = fixed_sizes(learner.network) | {p.numel() * 4 for p in learner.parameters()}
        for number, piece in enumerate(strata(work, _SIZES)):
            if number and time.process_time() - began > budget_s:
                break
            picked = [rows[row] for row in piece]
            if learner.refers:
                picked, took = _timed(lambda picked=picked: learner.refer(picked))  # type: ignore[misc]
                refer = refer if number else took.times(1 / max(1, work.tokens(piece)))
            learner.zero_grad(set_to_none=True)
            run = partial(try_out, learner, picked, range(len(picked)), plan)
            if number < _RECORDED:
                name = f"pass {work.tokens(piece)}"
                long = max(map(len, picked))
                square = square_sizes(learner.network, len(piece), long)
                traces[name], sizes[name] = recorded(run, fixed=fixed, square=square), (work.tokens(piece), long)
            _, took = _timed(run)
            passes.append(Pass(work.tokens(piece), work.cost(piece), took))
        step = _step(learner, section, traces, fixed)
    return Probe(passes, step, reading, refer, head, traces, sizes)


def _timed(run: Callable[[], Any]) -> tuple[Any, Clock]:
    wall, cpu = time.perf_counter(), time.process_time()
    found = run()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return found, Clock(time.perf_counter() - wall, time.process_time() - cpu)


def _reading(learner: Learner, rows: Sequence[Encoded], traces: dict[str, Trace], sizes: dict[str, tuple[int, int]]) -> Clock:
    """Measure some rows as validation rows are, and return what one padded token takes."""
    lengths = [len(row) for row in rows]
    piece = micro_batches(_middle(lengths, _READ_ROWS), lengths, max_tokens=READING // 2)[0]
    picked = [rows[row] for row in piece]
    tokens = max(1, max(lengths[row] for row in piece) * len(piece))
    learner.eval()

    def read() -> Any:
        if not learner.asked or not learner.answers:  # rows of plain documents are windows already
            with torch.inference_mode():
                return learner.loss(learner.collate(picked), smoothing=0.0)
        return learner.measure(picked)

    traces["reading"] = recorded(read, fixed=frozenset())
    sizes["reading"] = (tokens, max(lengths[row] for row in piece))
    _, took = _timed(read)
    return took.times(1 / tokens)


def _head(learner: Learner, rows: Sequence[Encoded], section: TrainSection, whole: int) -> Clock:
    """Fit a head to some of the rows and return what that of all of them takes."""
    lengths = [len(row) for row in rows]
    # Rows of like length, as passes over many rows hold: of few rows of all lengths half of the tokens would be padding.
    few = [rows[row] for row in _middle(lengths, _READ_ROWS)]
    tokens, seen = read_tokens(lengths) * whole / len(rows), read_tokens([len(row) for row in few])
    if isinstance(learner, Classifier) and whole > FEW and learner.pooling != "own":
        learner.eval()
        learner.frozen.read(few[:16], learner.head_features)
        vectors, read = _timed(lambda: learner.frozen.read(few, learner.head_features))
        labels = np.asarray([row.label for row in few])
        return _regression(vectors.numpy(), labels, len(learner.labels), whole).plus(read.times(tokens / max(1, seen)))
    # Libraries are imported by the first fit. What a fit costs before it sees a row is told by two of different sizes.
    learner.begin(few[::4], train=section)
    part = few[1::4] if len(few) > 4 else few
    _, small = _timed(lambda: learner.begin(part, train=section))
    _, took = _timed(lambda: learner.begin(few, train=section))
    more = max(0, tokens - seen) / max(1, seen - read_tokens([len(row) for row in part]))
    return took.plus(took.plus(small.times(-1)).times(more)) if took.cpu_s > small.cpu_s else took.times(tokens / max(1, seen))


def _middle(lengths: Sequence[int], most: int) -> list[int]:
    """Return the numbers of up to so many rows, evenly from the middle half of the lengths."""
    order = sorted(range(len(lengths)), key=lengths.__getitem__)
    middle = order[len(order) // 4 : len(order) // 4 + max(min(len(order), most), len(order) // 2)]
    return middle[:: max(1, len(middle) // most)][:most]


def _regression(few_ND: np.ndarray, labels_N: np.ndarray, classes: int, whole: int) -> Clock:
    """Return what a regression on the vectors of ``whole`` rows takes, of which a few are given."""
    # As many rows as make the fit's own start small beside its work: the same ones again, each a little moved.
    times = max(1, _FITTED_ROWS // len(few_ND))
    moved = np.random.default_rng(0).normal(scale=0.1 * float(few_ND.std()), size=(times * len(few_ND), few_ND.shape[1]))
    many, labels = np.tile(few_ND, (times, 1)) + moved.astype(few_ND.dtype), np.tile(labels_N, times)

    def fit(count: int) -> Any:
        return regression(many[:count], labels[:count], classes, strength=10.0, weights_N=None, unseen=-10.0)

    fit(16)  # imports the library
    _, took = _timed(lambda: fit(len(many)))
    # The penalty is chosen by three fits to four fifths of at most 4,000 rows; then all are fitted (objectives/linear.py).
    return took.times((3 * 0.8 * min(whole, 4000) + whole) / len(many))


def _step(learner: Learner, section: TrainSection, traces: dict[str, Trace], fixed: frozenset[int]) -> Clock:
    """Record the optimiser's first step, which makes its moments, and time its second."""
    optimizer = make_optimizer(learner, rate=float(section.rate), weight_decay=section.weight_decay,
                               layer_decay=float(section.layer_decay), kind=section.optimizer)  # fmt: skip
    parameters = [p for group in optimizer.param_groups for p in group["params"]]

    def run() -> None:
        clip(parameters, section.max_grad_norm)
        optimizer.step()

    traces["first step"] = recorded(run, fixed=fixed)
    _, took = _timed(run)
    traces["step"] = recorded(run, fixed=fixed)
    return took


def touch(network: torch.nn.Module) -> None:
    """Read every page of the weights: what is mapped from a file takes memory only when it is read."""
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.detach().reshape(-1)[::1024].sum()


def learning_sizes(network: torch.nn.Module) -> list[int]:
    """Return the bytes of each parameter that learns."""
    return [p.numel() * p.element_size() for p in network.parameters() if p.requires_grad]

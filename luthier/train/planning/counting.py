"""A training by arithmetic: what two short passes of the real network keep and compute, carried over to all rows and layers."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from luthier.base.records import Encoded
from luthier.models import methods
from luthier.objectives.learner import Learner
from luthier.objectives.scores import PIECE
from luthier.train.loop import Plan
from luthier.train.planning.machines import Machine
from luthier.train.planning.probe import Clock
from luthier.train.planning.trace import Counts, counted
from luthier.train.planning.work import Work, shortened

# From Python to a started kernel it takes some 5 to 25 microseconds
# (https://jiahuanglin.xyz/all_lessons/gpu_kernel_serving/18_pytorch_to_kernel.html); a pass that computes less takes its calls' time.
_CALL_S = 1e-5
# Under autocast the inputs of matrix products are kept in two bytes, those of norms and softmax in four.
_HALVED = 0.6
# Rows of these lengths are counted: attention grows with the square of the length, all else in proportion.
_SHORT, _LONG = 24, 72
_FEW = (8, 24)
# Rows are cut to so many times these lengths where all are longer: a pass over whole ones would take as long as what it estimates.
_MUCH = 4
# Weights are read once for each token that is written; the slowest memory of a GPU here (T4, L4) reads so many bytes a second.
_READ_S = 3e11


@dataclass(frozen=True, slots=True)
class Law:
    """What a row of T tokens takes: ``a`` T + ``b`` T²; bytes kept and FLOPs of training, FLOPs of reading alone.

    ``calls`` of the library are by pass and not by row; ``total`` and ``trained`` count parameters.
    """

    kept: tuple[float, float]
    flops: tuple[float, float]
    reads: tuple[float, float]
    largest: float
    calls: int
    total: int
    trained: int

    def kept_by(self, lengths: Sequence[int]) -> float:
        """Return the bytes that a pass over padded rows of these lengths keeps for its backward pass."""
        return sum(_at(self.kept, n) for n in lengths)

    def over(self, deeper: Law, layers: int) -> Law:
        """Return the law of a network with ``layers`` more than ``deeper``, which has one more than this one."""
        def on(a: float, b: float) -> float:
            return b + layers * (b - a)

        def both(name: str) -> tuple[float, float]:
            (a, b), (c, d) = getattr(self, name), getattr(deeper, name)
            return on(a, c), max(0.0, on(b, d))

        return Law(both("kept"), both("flops"), both("reads"), deeper.largest, round(on(self.calls, deeper.calls)),
                   round(on(self.total, deeper.total)), round(on(self.trained, deeper.trained)))  # fmt: skip


def _at(pair: tuple[float, float], length: float) -> float:
    return pair[0] * length + pair[1] * length * length


def law(learner: Learner, rows: Sequence[Encoded], plan: Plan) -> Law:
    """Count two passes of two rows each, short and longer, and return the law they follow.

    The learner keeps its weights, and gets gradients that are dropped again.
    """
    sizes = _FEW if sum(p.numel() for p in learner.parameters()) > 3e8 else (_SHORT, _LONG)
    found = []
    with torch.random.fork_rng():
        for size in sizes:
            pair = _pair(rows, size, cut=sizes == _FEW)
            length = sum(map(len, pair)) / 2
            found.append((length, _counted(learner, pair, plan), _reads(learner, pair)))
    learner.zero_grad(set_to_none=True)
    (short, few, few_reads), (long, many, many_reads) = found
    parameters = methods.count(learner)

    def fit(a: float, b: float) -> tuple[float, float]:
        if long - short < 1:
            return b / 2 / max(1.0, long), 0.0
        square = max(0.0, (b / 2 / long - a / 2 / short) / (long - short))
        return b / 2 / long - square * long, square

    return Law(
        fit(few.kept, many.kept), fit(few.flops, many.flops), fit(few_reads, many_reads), many.largest / (2 * max(1.0, long)), many.calls,
        parameters.total, parameters.trained,
    )  # fmt: skip


def _pair(rows: Sequence[Encoded], size: int, *, cut: bool) -> list[Encoded]:
    """Return two rows of about a length; where the network is large, or all are much longer, the beginnings of two."""
    order = sorted(rows, key=lambda row: abs(len(row) - size))[:2]
    order = order if len(order) == 2 else order * 2
    most = size if cut else _MUCH * size
    return [shortened(row, most) if len(row) > most else row for row in order]


def _counted(learner: Learner, pair: Sequence[Encoded], plan: Plan) -> Counts:
    learner.train()
    given = learner.refer(pair) if learner.refers else list(pair)
    learner.begin_step(given)
    return counted(learner, lambda: learner.loss(learner.collate(given), smoothing=plan.smoothing)[0])


def _reads(learner: Learner, pair: Sequence[Encoded]) -> float:
    learner.eval()
    given = learner.refer(pair) if learner.refers else list(pair)
    learner.begin_step(given)
    with torch.no_grad():
        return counted(learner, lambda: learner.loss(learner.collate(given), smoothing=0.0)[0], backward=False).flops


@dataclass(frozen=True, slots=True)
class Pace:
    """How fast a machine goes: operations a second, and whether every call costs the time of starting it."""

    flops: float
    calls: bool

    @classmethod
    def of(cls, machine: Machine) -> Pace:
        return cls(machine.flops, machine.kind == "gpu")

    def passes(self, rule: Law, work: Work) -> Clock:
        """Return what all passes and steps of a training take."""
        seconds = 0.0
        # The optimiser reads and writes 16 bytes for each parameter that learns; its products are few.
        step = rule.trained * 20 / self.flops + (100 * _CALL_S if self.calls else 0.0)
        for pieces in work.cut:
            seconds += step
            for piece in pieces:
                width = max(work.lengths[row] for row in piece)
                padded = [width] * len(piece) if work.padded else [work.lengths[row] for row in piece]
                done = sum(_at(rule.flops, n) for n in padded) / self.flops
                seconds += max(done, rule.calls * _CALL_S if self.calls else 0.0)
        return Clock(seconds * work.scale, seconds * work.scale)

    def reading(self, rule: Law, lengths: Sequence[int]) -> Clock:
        """Return what reading rows of these lengths without gradients takes."""
        done = sum(_at(rule.reads, n) for n in lengths) / self.flops
        calls = rule.calls / 3 * _CALL_S * max(1, sum(lengths) / 4096) if self.calls and len(lengths) else 0.0
        return Clock(max(done, calls), max(done, calls))

    def writing(self, rule: Law, tokens: int) -> Clock:
        """Return what writing tokens one after the other takes: every one reads all weights and calls all layers."""
        one = max(rule.total * 4 / _READ_S, rule.calls / 3 * _CALL_S) if self.calls else rule.total * 2 / self.flops * 4
        return Clock(one * tokens, one * tokens)


def rate_here(width: int, *, seconds: float = 0.05, device: torch.device | str = "cpu", half: bool = False) -> Clock:
    """Return operations a second of matrix products of this machine at a network's width, on the wall and of computing.

    Args:
        half: in bfloat16, and not in float32.
    """
    side, where = max(64, min(width, 2048)), torch.device(device)
    dtype = torch.bfloat16 if half else torch.float32
    rows = 16384 if where.type == "cuda" else 512
    left, right = (torch.randn(n, side, device=where, dtype=dtype) for n in (rows, side))

    def multiply() -> None:
        left @ right
        if where.type == "cuda":
            torch.cuda.synchronize()

    multiply()
    began, cpu, count = time.perf_counter(), time.process_time(), 0
    while time.perf_counter() - began < seconds or count < 2:
        multiply()
        count += 1
    done = 2.0 * rows * side * side * count
    return Clock(done / (time.perf_counter() - began), done / max(1e-9, time.process_time() - cpu))


@dataclass(frozen=True, slots=True)
class Held:
    """Bytes of a training by what they are for; ``host`` are not on the device where it has a memory of its own."""

    weights: int
    gradients: int
    moments: int
    activations: int
    working: int
    best: int

    @property
    def device(self) -> int:
        return self.weights + self.gradients + self.moments + self.activations + self.working

    @property
    def together(self) -> int:
        return self.device + self.best


def held(rule: Law, work: Work, *, vocabulary: int, bfloat16: bool, quantised: float | None = None) -> Held:
    """Return what a training holds at its largest pass.

    Args:
        vocabulary: of a network that writes, 0 of one that reads.
        quantised: bytes for each weight that does not learn, where it is kept in fewer bits.
    """
    lengths: list[int] = []
    if work.pieces:
        def keeps(piece: Sequence[int]) -> float:
            return rule.kept_by(_padded(work, piece))

        lengths = _padded(work, max(work.pieces, key=keeps))
    kept = rule.kept_by(lengths) * (_HALVED if bfloat16 else 1.0)
    # Scores are computed in pieces, in float32, with their gradient beside them; a block works with a few vectors at once.
    scores = 2 * min(PIECE, sum(lengths) * vocabulary) * 4
    working = 2 * rule.largest * sum(lengths) + scores
    weights = rule.total * 4.0 if quantised is None else rule.trained * 4.0 + (rule.total - rule.trained) * quantised
    cast = rule.total * 2 if bfloat16 else 0
    return Held(int(weights), rule.trained * 4, rule.trained * 8, int(kept), int(working + cast), rule.trained * 4)


def _padded(work: Work, piece: Sequence[int]) -> list[int]:
    lengths = [work.lengths[row] for row in piece]
    return [max(lengths)] * len(lengths) if work.padded else lengths

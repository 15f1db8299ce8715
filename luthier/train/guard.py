"""What is borne during training and how: steps that are not finite, micro-batches that do not fit in memory."""

from __future__ import annotations

import gc
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch

from luthier.base.errors import TrainError
from luthier.base.records import Encoded, StepReport
from luthier.models.memory import out_of_memory
from luthier.objectives.learner import Learner
from luthier.spec.train import TrainSection
from luthier.train.loop import NotFinite, Plan, batches_of, pieces_of, train, try_out
from luthier.train.penalty import Penalty

# Three steps in a row are no accident of a batch: the weights or the data are broken.
_IN_A_ROW = 3
# What a token keeps for the backward pass besides its row of attention, in units of that row's numbers: about 14 times the
# width of a head (Korthikanti et al. 2022, https://arxiv.org/abs/2205.05198, equation 1). It only orders micro-batches.
_BESIDE_ATTENTION = 512
# Batches of so many rows are looked through for the costliest; what lies beyond is bounded by the longest rows together.
_LOOKED_THROUGH = 1_000_000


@dataclass(slots=True)
class Care:
    """What a run has borne so far. It lies in every checkpoint, so that a resumed run goes on the same way.

    ``skipped`` and ``lowered`` hold ``step`` (from 1), ``what`` and ``rows``; ``micro_tokens`` is what memory allowed.
    """

    skipped: list[dict[str, Any]] = field(default_factory=list)
    lowered: list[dict[str, Any]] = field(default_factory=list)
    micro_tokens: int | None = None

    def plan(self, plan: Plan) -> Plan:
        """Return the plan as it is followed now."""
        tokens = min(self.micro_tokens or plan.micro_tokens, plan.micro_tokens)
        return replace(plan, rate=plan.rate * 0.5 ** len(self.lowered), micro_tokens=tokens)

    def facts(self) -> dict[str, Any]:
        """Return what the report tells; nothing where nothing was borne."""
        found: dict[str, Any] = {}
        if self.skipped:
            found |= {"skipped_steps": len(self.skipped), "skipped": self.skipped}
        if self.lowered:
            found |= {"lowered_rates": len(self.lowered), "lowered": self.lowered}
        return found | ({"micro_tokens": self.micro_tokens} if self.micro_tokens else {})


@dataclass(frozen=True, slots=True)
class Skipped:
    """Step ``step`` (from 1) was left out."""

    step: int
    what: str
    rows: str


@dataclass(frozen=True, slots=True)
class Lowered:
    """Step ``step`` (from 1) is to be done again from the best weights, at ``factor`` of the planned rates."""

    step: int
    what: str
    rows: str
    factor: float


@dataclass(frozen=True, slots=True)
class Smaller:
    """Memory ran out at step ``step`` (from 1); from now on a micro-batch has at most ``micro_tokens``."""

    step: int
    tokens: int
    micro_tokens: int


Event = StepReport | Skipped | Lowered | Smaller


def careful(
    learner: Learner, rows: Sequence[Encoded], plan: Plan, optimizer: torch.optim.Optimizer, care: Care, *, section: TrainSection,
    start: int, names: Sequence[str] = (), draws: Sequence[float] | None = None, penalty: Penalty | None = None,
) -> Iterator[Event]:  # fmt: skip
    """Train as :func:`luthier.train.loop.train` does, and bear what may be borne; ``care`` is kept up to date.

    After :class:`Lowered` the caller puts the best weights back and empties the optimiser before it asks for more.

    Raises:
        TrainError: what may not be borne, or too much of it.
    """
    step = start
    if step < plan.steps:
        yield from _try_costliest(learner, rows, plan, optimizer, care, start=start, names=names, draws=draws)
    while step < plan.steps:
        steps = train(learner, rows, care.plan(plan), optimizer, start=step, names=names, draws=draws, penalty=penalty)
        failed: NotFinite | None = None
        chance = _chance()
        try:
            for report in steps:
                step = report.step
                yield report
                chance = _chance()
            return
        except NotFinite as error:
            failed = error.with_traceback(None)
        except (RuntimeError, MemoryError) as error:
            if not out_of_memory(error):
                raise
        # Here the error is gone, and with it the frames that held the step's tensors.
        _forget(optimizer)
        if failed is None:
            _set_chance(chance)
            per_epoch = -(-len(rows) // plan.batch)
            picked = batches_of(learner, rows, plan, step // per_epoch, draws=draws)[step % per_epoch]
            yield _smaller(learner, rows, picked, plan, care, step, names)
        elif section.nonfinite == "stop":
            raise failed
        elif section.nonfinite == "skip":
            _bear(care.skipped, failed, section)
            step += 1
            yield Skipped(step, failed.said, failed.rows)
        else:
            _bear(care.lowered, failed, section)
            yield Lowered(step + 1, failed.said, failed.rows, 0.5 ** len(care.lowered))


def costliest(
    learner: Learner, rows: Sequence[Encoded], plan: Plan, *, start: int, draws: Sequence[float] | None = None
) -> tuple[int, list[int]]:
    """Return the micro-batch from step ``start`` on that takes most memory, and the step (from 0) in which it comes.

    In a run of very many rows the longest rows together stand for the steps that are not looked through.
    """
    lengths = [len(r) for r in rows]
    per_epoch = -(-len(rows) // plan.batch)
    best: tuple[float, int, list[int]] = (-1.0, start, [])
    for epoch in range(start // per_epoch, -(-plan.steps // per_epoch)):
        if (epoch - start // per_epoch) * len(rows) > _LOOKED_THROUGH:
            longest = sorted(range(len(rows)), key=lambda r: -lengths[r])[: plan.batch]
            found = [(start, piece) for piece in pieces_of(learner, longest, lengths, plan)]
            epoch = plan.steps
        else:
            batches = batches_of(learner, rows, plan, epoch, draws=draws)
            numbered = ((epoch * per_epoch + i, picked) for i, picked in enumerate(batches))
            found = [(n, piece) for n, picked in numbered if start <= n < plan.steps
                     for piece in pieces_of(learner, picked, lengths, plan)]  # fmt: skip
        for number, piece in found:
            cost = _cost(learner, piece, lengths)
            if cost > best[0]:
                best = (cost, number, piece)
        if epoch == plan.steps:
            break
    return best[1], best[2]


def _cost(learner: Learner, piece: Sequence[int], lengths: Sequence[int]) -> float:
    if learner.flat:
        return float(sum(lengths[r] * (lengths[r] + _BESIDE_ATTENTION) for r in piece))
    return float(_tokens(learner, piece, lengths) * (lengths[piece[0]] + _BESIDE_ATTENTION))


def _tokens(learner: Learner, piece: Sequence[int], lengths: Sequence[int]) -> int:
    """Return the tokens that are computed for a piece, longest row first: in one line, or padded to the longest."""
    return sum(lengths[r] for r in piece) if learner.flat else lengths[piece[0]] * len(piece)


def _try_costliest(
    learner: Learner, rows: Sequence[Encoded], plan: Plan, optimizer: torch.optim.Optimizer, care: Care, *, start: int,
    names: Sequence[str], draws: Sequence[float] | None,
) -> Iterator[Smaller]:  # fmt: skip
    """Compute the costliest micro-batch once without learning from it, so that a lack of memory shows at once."""
    while True:
        now = care.plan(plan)
        step, piece = costliest(learner, rows, now, start=start, draws=draws)
        if step == start:  # the first step tries it anyway
            return
        chance, fits = _chance(), False
        # The moments of AdamW are made in the first update: room for them must be there as well.
        learning = [p for p in learner.parameters() if p.requires_grad and not optimizer.state.get(p)]
        try:
            held = [torch.empty_like(p) for p in learning for _ in range(2)]
            learner.start_epoch(step // -(-len(rows) // plan.batch), seed=plan.seed)
            try_out(learner, rows, piece, now)
            del held
            fits = True
        except (RuntimeError, MemoryError) as error:
            if not out_of_memory(error):
                raise
        _forget(optimizer)
        _set_chance(chance)
        if fits:
            return
        yield _smaller(learner, rows, piece, plan, care, step, names)


def _smaller(
    learner: Learner, rows: Sequence[Encoded], picked: Sequence[int], plan: Plan, care: Care, step: int, names: Sequence[str]
) -> Smaller:
    """Halve the micro-batch, or say which row does not fit even alone."""
    now, lengths = care.plan(plan), [len(r) for r in rows]
    where = f"step {step + 1}"
    if not learner.separable:
        raise TrainError(
            f"a step of {len(picked)} rows does not fit in memory, and it cannot be cut: its rows are compared with each other",
            where=where, mend=f"Lower train.batch (now {plan.batch}) or model.max_tokens, or set train.method: lora.",
        )  # fmt: skip
    pieces = pieces_of(learner, picked, lengths, now)
    cut = [_tokens(learner, piece, lengths) for piece in pieces if len(piece) > 1]
    if not cut:
        row = max((piece[0] for piece in pieces), key=lambda r: lengths[r])
        raise TrainError(
            f"one row of {lengths[row]} tokens does not fit in memory, even alone",
            where=names[row] if row < len(names) else where,
            mend="Shorten it, lower model.max_tokens, or let less learn: train.method: lora or last-layers.",
        )
    tokens = max(cut)
    care.micro_tokens = max(1, min(now.micro_tokens, tokens) // 2)
    return Smaller(step + 1, tokens, care.micro_tokens)


def _bear(borne: list[dict[str, Any]], failed: NotFinite, section: TrainSection) -> None:
    """Note what was borne.

    Raises:
        TrainError: too often in a row, or in all.
    """
    borne.append({"step": failed.step + 1, "what": failed.said, "rows": failed.rows})
    last = [one["step"] for one in borne[-_IN_A_ROW:]]
    in_a_row = len(last) == _IN_A_ROW and last[-1] - last[0] <= _IN_A_ROW - 1
    if in_a_row or len(borne) > section.nonfinite_limit:
        often = f"{_IN_A_ROW} times in a row" if in_a_row else f"{len(borne)} times, more than train.nonfinite_limit"
        raise TrainError(
            f"{failed.said} at step {failed.step + 1}, {often}; training stopped before the update",
            where=failed.rows, mend="Lower train.rate, or look at these rows; the last checkpoint is kept.",
        )  # fmt: skip


def _forget(optimizer: torch.optim.Optimizer) -> None:
    """Drop the gradients, and give back what memory is not in use."""
    optimizer.zero_grad(set_to_none=True)
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def _chance() -> list[torch.Tensor]:
    """Return the random state, of the CPU and of the GPU where there is one."""
    return [torch.get_rng_state(), *([torch.cuda.get_rng_state()] if torch.cuda.is_available() else [])]


def _set_chance(state: Sequence[torch.Tensor]) -> None:
    torch.set_rng_state(state[0])
    if len(state) > 1:
        torch.cuda.set_rng_state(state[1])

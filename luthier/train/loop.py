"""The training loop: a generator without I/O that yields one report per optimiser step."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import torch

from luthier.base.errors import TrainError
from luthier.base.records import Encoded, StepReport
from luthier.models import freeze
from luthier.models.memory import out_of_memory
from luthier.objectives.cut import micro_batches
from luthier.objectives.learner import Batch, Learner
from luthier.train.batches import epoch_batches
from luthier.train.optim import rate_at, set_rate
from luthier.train.penalty import Penalty


class NotFinite(TrainError):
    """A step's loss or gradient is NaN or infinite: ``step`` is its number from 0, ``what`` the value, ``rows`` where they stand."""

    def __init__(self, step: int, what: str, rows: str) -> None:
        super().__init__(
            f"{what} at step {step + 1}; training stopped before the update, so the weights are those of step {step}",
            where=rows,
            mend="Try a lower train.rate, look at these rows, or set train.nonfinite to skip or lower-rate.",
        )
        self.step, self.said, self.rows = step, what, rows


@dataclass(frozen=True, slots=True)
class Plan:
    """What the loop does, resolved: no `auto` is left here. ``rate`` is the peak, ``warmup`` and ``steps`` count updates."""

    steps: int
    batch: int
    micro_tokens: int
    rate: float
    warmup: int
    schedule: str
    smoothing: float
    max_grad_norm: float
    seed: int
    bfloat16: bool = False
    gradual: bool = False


def train(
    learner: Learner, rows: Sequence[Encoded], plan: Plan, optimizer: torch.optim.Optimizer, *, start: int = 0,
    names: Sequence[str] = (), draws: Sequence[float] | None = None, penalty: Penalty | None = None,
) -> Iterator[StepReport]:  # fmt: skip
    """Yield one report after each update, from update ``start`` to ``plan.steps``.

    The position in the data follows from the step number alone, so a resumed run sees the same batches. Each micro-batch's
    gradient is divided by the learnt units of the whole step, so that k micro-batches equal one big batch.

    Args:
        names: where each row came from, to name the rows of a batch that breaks.
        draws: how often each row is drawn in an epoch, on average; an epoch has as many rows as before.
        penalty: a term of the loss that is added once for each update.
    Raises:
        NotFinite: a loss or gradient that is not; the weights are those of the step before.
        TrainError: the optimiser's moments do not fit in memory.
    """
    lengths = [len(r) for r in rows]
    per_epoch = -(-len(rows) // plan.batch)
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    stages = freeze.stages(learner) if plan.gradual else None
    epoch, batches, ahead = -1, [], Ahead(learner, rows, lengths, plan)
    for step in range(start, plan.steps):
        began = time.perf_counter()
        if step // per_epoch != epoch:
            epoch = step // per_epoch
            learner.start_epoch(epoch, seed=plan.seed)
            batches = batches_of(learner, rows, plan, epoch, draws=draws)
        picked = batches[step % per_epoch]
        factor = rate_at(step, steps=plan.steps, warmup=plan.warmup, schedule=plan.schedule)
        set_rate(optimizer, plan.rate * factor)
        learner.train()
        with freeze.learning(stages, step, plan.steps):
            loss, count, padded = backward(learner, rows, picked, ahead, plan)
        added = penalty.add() if penalty else 0.0
        norm = clip(parameters, plan.max_grad_norm)
        told = torch.stack([loss / count + added, norm.to(loss)])
        # The device itself leaves the weights as they are where a number is not finite; the host reads the numbers only
        # when the update and the next batch are on their way.
        optimizer.found_inf = (~torch.isfinite(told)).any().float()  # type: ignore[attr-defined]
        _update(optimizer)
        optimizer.zero_grad(set_to_none=True)
        if (step + 1) % per_epoch:
            ahead.make(batches[(step + 1) % per_epoch])
        loss_value, norm_value = told.tolist()
        if not (math.isfinite(loss_value) and math.isfinite(norm_value)):
            raise NotFinite(step, _said(loss_value, norm_value), _places(picked, names))
        yield StepReport(
            step=step + 1,
            epoch=(step + 1) / per_epoch,
            loss=loss_value,
            count=count,
            rate=plan.rate * factor,
            grad_norm=norm_value,
            rows=len(picked),
            tokens=sum(lengths[r] for r in picked),
            padded_tokens=padded,
            seconds=time.perf_counter() - began,
        )


def batches_of(
    learner: Learner, rows: Sequence[Encoded], plan: Plan, epoch: int, *, draws: Sequence[float] | None
) -> list[list[int]]:
    """Return the row numbers of every step of an epoch: they follow from the plan alone."""
    labels = [r.label for r in rows] if learner.groups_rows else None
    return epoch_batches([len(r) for r in rows], batch=plan.batch, seed=plan.seed, epoch=epoch, draws=draws, labels=labels)


def pieces_of(learner: Learner, picked: Sequence[int], lengths: Sequence[int], plan: Plan) -> list[list[int]]:
    """Return a step's rows as they are computed at a time."""
    # In-batch negatives tie the rows of a step together: there it is one piece, whatever its size.
    most = plan.micro_tokens if learner.separable else max(lengths[r] for r in picked) * len(picked)
    return micro_batches(picked, lengths, max_tokens=most, flat=learner.flat)


class Ahead:
    """The passes of a step, the first of the next one made while a GPU is still at this one."""

    def __init__(self, learner: Learner, rows: Sequence[Encoded], lengths: Sequence[int], plan: Plan) -> None:
        self._learner, self._rows, self._lengths, self._plan = learner, rows, lengths, plan
        self._made: tuple[Sequence[int], Batch] | None = None

    def pieces(self, picked: Sequence[int]) -> list[list[int]]:
        return pieces_of(self._learner, picked, self._lengths, self._plan)

    def make(self, picked: Sequence[int]) -> None:
        """Make the first pass of these rows, if there is room: the update is done by now and must be told."""
        if self._learner.device.type != "cuda":
            return
        try:
            self._made = (picked, self._collated(self.pieces(picked)[0]))
        except (RuntimeError, MemoryError) as error:
            if not out_of_memory(error):
                raise

    def batches(self, picked: Sequence[int]) -> Iterator[Batch]:
        """Yield the passes of a step's rows."""
        made, self._made = self._made, None
        for number, piece in enumerate(self.pieces(picked)):
            if number == 0 and made is not None and made[0] is picked:
                yield made[1]
            else:
                yield self._collated(piece)

    def _collated(self, piece: Sequence[int]) -> Batch:
        return self._learner.collate([self._rows[r] for r in piece])


def backward(
    learner: Learner, rows: Sequence[Encoded], picked: Sequence[int], ahead: Ahead, plan: Plan
) -> tuple[torch.Tensor, float, int]:
    """Accumulate the gradient of the mean loss over a step's rows; return the summed loss, learnt units and computed tokens."""
    units = sum(learner.units(rows[r]) for r in picked)
    with precision(learner, plan):
        learner.begin_step([rows[r] for r in picked])
    total, padded = torch.zeros((), dtype=torch.float64, device=learner.device), 0
    for batch in ahead.batches(picked):
        with precision(learner, plan):
            loss_sum, _ = learner.loss(batch, smoothing=plan.smoothing)
        (loss_sum / units).backward()
        total += loss_sum.detach()
        padded += batch.padded_tokens
        # What is left of this pass would lie between the next one's tensors, and the heap would grow around it.
        del batch, loss_sum
    return total, units, padded


def try_out(learner: Learner, rows: Sequence[Encoded], picked: Sequence[int], plan: Plan) -> None:
    """Run the passes of some rows forwards and backwards as a step does, without an update; the gradients are left."""
    learner.train()
    backward(learner, rows, picked, Ahead(learner, rows, [len(r) for r in rows], plan), plan)


def precision(learner: Learner, plan: Plan) -> Any:
    """Return the context in which the network is run for a loss."""
    return torch.autocast(learner.device.type, dtype=torch.bfloat16) if plan.bfloat16 else nullcontext()


def _said(loss: float, norm: float) -> str:
    return f"the loss is {loss}" if not math.isfinite(loss) else f"the gradient's norm is {norm}"


def clip(parameters: Sequence[torch.nn.Parameter], limit: float) -> torch.Tensor:
    """Scale gradients down to the limit and return the norm that they had, to the bit as ``clip_grad_norm_`` does.

    That multiplies by 1 where the norm is lower: a pass over all gradients for nothing, 1 % of a step. On a GPU a look at the
    norm would wait for it.
    """
    norm = torch.nn.utils.get_total_norm([p.grad for p in parameters if p.grad is not None], foreach=True)
    # Close to the limit torch's own rounding decides, and what is not finite is refused by the caller.
    if norm.device.type != "cpu" or not float(norm) < 0.999 * limit - 1e-5:
        torch.nn.utils.clip_grads_with_norm_(parameters, limit, norm, foreach=True)
    return norm


def _places(picked: Sequence[int], names: Sequence[str]) -> str:
    places = ", ".join(names[r] for r in picked[:8] if r < len(names))
    more = f" and {len(picked) - 8} more" if len(picked) > 8 else ""
    return f"rows {places}{more}" if places else f"{len(picked)} rows"


def _update(optimizer: torch.optim.Optimizer) -> None:
    """Do the update; the first one makes the moments, for which no smaller micro-batch makes room."""
    try:
        optimizer.step()
        return
    except (RuntimeError, MemoryError) as error:
        if not out_of_memory(error):
            raise
    raise TrainError(
        "the optimiser's moments do not fit in memory: two numbers for each that learns",
        where="train.method", mend="Let less learn: lora, last-layers or bitfit. The last checkpoint is kept.",
    )  # fmt: skip

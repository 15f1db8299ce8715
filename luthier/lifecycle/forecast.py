"""A run's own estimate: made before it trains, held against what it took, and never in its way."""

from __future__ import annotations

import copy
import time
from collections.abc import Mapping
from typing import Any

import torch

from luthier.data.prepare import Prepared
from luthier.lifecycle import plan_memory, plan_parts
from luthier.lifecycle.plan_parts import COUNTED, MEASURED, OPENED, UTILISED, Speed
from luthier.lifecycle.plan_words import duration, off, size
from luthier.lifecycle.round import Round
from luthier.models import memory, methods
from luthier.objectives import Learner
from luthier.objectives.heads.use import FEW
from luthier.spec.task import Task
from luthier.train.planning import counting
from luthier.train.planning.counting import Pace
from luthier.train.planning.probe import NOTHING, probe, touch
from luthier.train.run import Outcome

# Share of a training's time that its estimate may take.
_SHARE = 0.02
# Rows that are encoded for it; more tell the lengths no better.
_ROWS = 2_000
# A pass forwards and backwards computes about so much for a weight and a token.
_FLOPS = 6
# No pass takes less on a GPU: its kernels are started one by one from Python.
_STARTED_S = 0.02
# Passes that the smallest trial takes: two of reading, the largest one twice, the optimiser.
_TRIAL = 4


def forecast(round_: Round, data: Prepared, learner: Learner, resolved: Task) -> dict[str, Any] | None:
    """Estimate memory and time of the training that is about to begin, on a copy of the learner; tell it as an event.

    At most a fiftieth of the expected time goes into it: short trainings are estimated by arithmetic, longer ones by trying out
    passes. Whatever goes wrong is told and stops nothing.
    """
    began = time.monotonic()
    state = torch.get_rng_state()
    try:
        found = _forecast(data, learner, resolved)
    except Exception as error:  # an estimate is not worth a run
        round_.emit("plan_failed", reason=f"{type(error).__name__}: {error}"[:300])
        return None
    finally:
        torch.set_rng_state(state)
    memory.restart_peak()
    found["planned_in_s"] = round(time.monotonic() - began, 2)
    said = (f"plan     training should take about {duration(found['train_s'])} ({duration(found['low_s'])} to {duration(found['high_s'])}) "
            f"and {size(found['memory_mb'])} of memory at most")  # fmt: skip
    round_.emit("plan", **found, said=said)
    return found


def _forecast(data: Prepared, learner: Learner, resolved: Task) -> dict[str, Any]:
    weights = sum(p.numel() * p.element_size() for p in learner.parameters())
    room = memory.free_bytes(next(learner.parameters()).device)
    if room is not None and weights > OPENED * room:
        raise MemoryError("a copy of the model to try passes on would take too much of the free memory")
    touch(learner)
    resident = memory.process_bytes("VmRSS") or 0
    memory.restart_peak()
    rival = copy.deepcopy(learner)
    subject = plan_parts.subject(resolved, data, rival, resolved.train, most=_ROWS)
    where = next(rival.parameters()).device
    on_gpu = where.type == "cuda"
    # On a processor most of a step is no product, so float32's rate tells more of it, whatever it trains in.
    half = on_gpu and subject.section.precision == "bfloat16"
    found = counting.rate_here(memory.width_of(rival.network), seconds=0.02, device=where, half=half)
    rate, busy = found.wall_s, min(1.0, found.wall_s / found.cpu_s)
    tokens = sum(map(subject.work.tokens, subject.work.pieces)) * subject.work.scale
    passes = len(subject.work.pieces) * subject.work.scale
    guess = _FLOPS * methods.count(rival).total * tokens / (rate * UTILISED)
    guess = max(guess, passes * _STARTED_S) if on_gpu else guess
    one = guess / max(1.0, passes)
    # A head that is fitted to part of the rows takes its time too, which a short training would feel.
    tries = subject.plan.steps > 0 and _SHARE * guess >= _TRIAL * one
    if tries:
        # What is begun is ended, so half of the time is asked for.
        budget_s = _SHARE * guess * busy / 2
        tried = probe(rival, subject.rows, subject.work, subject.plan, resolved.train, budget_s=budget_s, fits_head=subject.fits)
        speed, held, span = Speed(probe=tried), plan_memory.here(subject, tried, resident), MEASURED
    else:
        rule = counting.law(rival, subject.rows, subject.plan)
        speed = Speed(rule=rule, pace=Pace(rate * UTILISED, on_gpu))
        held, span = plan_memory.counted(subject, rule, None, runtime=resident - weights), COUNTED
    parts = plan_parts.training_parts(subject, speed)
    parts.pop("nearest rows", None)  # not of the training's own time, which this is held against
    if "head" in parts and getattr(getattr(learner, "frozen", None), "filled", False):
        # The rivals read the rows already, and of many they fitted this head.
        read = speed.reads([len(row) for row in subject.rows]).times(-subject.times)
        parts["head"] = NOTHING if subject.fits > FEW else parts["head"].plus(read)
        parts["head"] = max(parts["head"], NOTHING, key=lambda clock: clock.wall_s)
    whole = plan_parts.sum_of(parts.values()).wall_s
    return {
        "train_s": round(whole, 2), "low_s": round(whole * span[0], 2), "high_s": round(whole * span[1], 2),
        "memory_mb": held["mb"], "how": "measured" if speed.probe is not None else "counted", "steps": subject.plan.steps,
        "parts": {name: round(clock.wall_s, 2) for name, clock in parts.items()}, "memory_parts": held["parts"],
    }  # fmt: skip


def judged(found: Mapping[str, Any] | None, outcome: Outcome) -> dict[str, Any]:
    """Return the report's entry: the estimate beside what the training took, and by how much it was off.

    The memory is the most that this process held from the estimate on. Where training stopped early, its steps and evaluations
    are expected in that proportion.
    """
    peak = memory.peak_bytes(whole=False)
    if not found or peak is None or not outcome.seconds:
        return {}
    train_s, memory_mb, steps = outcome.seconds, round(peak / 2**20, 1), outcome.steps
    share = steps / found["steps"] if found["steps"] else 1.0
    expected = sum(s * (share if name in ("steps", "evaluations") else 1.0) for name, s in found["parts"].items())
    return {
        "plan": {
            "train_s": {"estimated": round(expected, 2), "took": round(train_s, 2), "error": _error(expected, train_s)},
            "memory_mb": {"estimated": found["memory_mb"], "took": memory_mb, "error": _error(found["memory_mb"], memory_mb)},
            "how": found["how"], "planned_in_s": found["planned_in_s"],
            "words": [off("training time", expected, train_s, duration), off("most memory while training", found["memory_mb"], memory_mb, size)],
        }
    }  # fmt: skip


def _error(expected: float, took: float) -> float:
    """Return how far the estimate lies above (+) or below (-) what was taken, as a share of that."""
    return round(expected / took - 1, 4)

"""The memory of a plan: by playing allocations over again here, by arithmetic for elsewhere; and what to do where it is not enough."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch

from luthier.lifecycle.plan_parts import Subject
from luthier.models import memory, methods
from luthier.train.planning import counting
from luthier.train.planning.counting import Law
from luthier.train.planning.machines import Machine
from luthier.train.planning.probe import Probe, learning_sizes
from luthier.train.planning.replay import growth
from luthier.train.planning.work import cut

# Played allocations leave out what libraries take for themselves; arithmetic leaves out more.
_MEASURED, _COUNTED = (0.85, 1.2), (0.75, 1.4)
# Of memory asked for, what lies unused between pieces; on a GPU, in the allocator's blocks.
_GAPS = 1.2
# A process that opens a GPU holds its context and the libraries' kernels there.
_CONTEXT = 600 << 20
# Bytes for a weight in 4 bits with the constants of its block (Dettmers et al. 2023, section 3).
_FOUR_BITS = 0.52


def here(subject: Subject, tried: Probe, resident: int) -> dict[str, Any]:
    """Return the peak of this process: what it holds now, and what training adds to it.

    Args:
        resident: bytes before the first pass, weights touched; from there on the trial's peak was looked for.
    """
    sizes = learning_sizes(subject.learner)
    room = memory.free_bytes(torch.device("cpu"))
    whole = sum(map(_wall, tried.passes)) / max(1, len(tried.passes)) * len(subject.work.pieces) * subject.work.scale
    more = growth(tried, subject.work, sizes, evaluations=subject.section.evaluations if len(subject.data.valid) else 1,
                  saves=whole > subject.section.checkpoint_s, room=room)  # fmt: skip
    # What the trial took beyond what it asked for: libraries' own buffers, which no trace shows.
    libraries = max(0, (memory.peak_bytes(whole=False) or 0) - resident - more.tried)
    weights = sum(p.numel() * p.element_size() for p in subject.learner.parameters())
    learns = sum(sizes)
    copies = learns * 4 if subject.plan.steps else learns
    parts = {
        "Python, libraries and data": resident - weights, "weights": weights, "gradients": learns if subject.plan.steps else 0,
        "optimiser": 2 * learns if subject.plan.steps else 0, "best weights": learns,
        "activations": max(0, more.alive - copies), "gaps between them": more.held - more.alive, "libraries at work": libraries,
    }  # fmt: skip
    peak = resident + more.held + libraries
    found = _found(parts, peak, _MEASURED, "measured" if more.played else "counted")
    found |= {"free_mb": None if room is None else _mb(room + resident), "of": "this process"}
    return found | _fits(subject, found, None if room is None else room + resident, max(0, more.alive - copies))


def _wall(one: Any) -> float:
    return float(one.took.wall_s)


def counted(subject: Subject, rule: Law, where: Machine | None, *, runtime: int) -> dict[str, Any]:
    """Return the peak on a machine by arithmetic; on a GPU, of its own memory."""
    gpu = where is not None and where.kind == "gpu"
    quantised = _FOUR_BITS if subject.section.method == "qlora" else None
    vocabulary = int(getattr(methods.plain(subject.learner.network).config, "vocab_size", 0) or 0) if subject.learner.writes else 0
    held = counting.held(rule, subject.work, vocabulary=vocabulary, bfloat16=subject.section.precision == "bfloat16", quantised=quantised)
    base = _CONTEXT if gpu else max(runtime, 400 << 20)
    moving = (held.gradients + held.moments + held.activations + held.working) if subject.plan.steps else held.working
    peak = base + held.weights + moving * _GAPS + (0 if gpu else held.best)
    parts = {
        ("GPU context and kernels" if gpu else "Python, libraries and data"): base, "weights": held.weights,
        "gradients": held.gradients, "optimiser": held.moments, "activations": held.activations,
        "one layer at work": held.working, **({} if gpu else {"best weights": held.best}), "gaps between them": int(moving * (_GAPS - 1)),
    }  # fmt: skip
    room = where.memory if where is not None else memory.free_bytes(torch.device("cpu"))
    found = _found(parts, peak, _COUNTED, "counted")
    found |= {"free_mb": None if room is None else _mb(room), "of": "the GPU" if gpu else "the process"}
    return found | _fits(subject, found, room, held.activations)


def _found(parts: Mapping[str, float], peak: float, span: tuple[float, float], how: str) -> dict[str, Any]:
    told = {name: _mb(size) for name, size in parts.items() if size > 0}
    return {"mb": _mb(peak), "low": _mb(peak * span[0]), "high": _mb(peak * span[1]), "how": how, "parts": told}


def _mb(size: float) -> float:
    return round(size / 2**20, 1)


def _fits(subject: Subject, found: Mapping[str, Any], room: int | None, activations: int) -> dict[str, Any]:
    """Return whether it fits, and where it may not, what would take how much less."""
    if room is None:
        return {"fits": "unknown", "advice": []}
    state = "no" if found["mb"] > _mb(room) else "maybe" if found["high"] > _mb(room) else "yes"
    return {"fits": state, "advice": [] if state == "yes" else advice(subject, found["mb"], activations)}


def advice(subject: Subject, whole_mb: float, activations: int) -> list[str]:
    """Return what to change for less memory, each with what it would leave."""
    section, found = subject.section, []
    if subject.work.pieces and subject.learner.separable:
        longest = max(subject.work.lengths)
        half = max(longest, int(section.micro_tokens) // 4)
        now = subject.work.tokens(subject.work.largest)
        if half < now:
            smaller = cut(subject.learner, subject.rows, replace(subject.plan, micro_tokens=half))
            left = activations * smaller.tokens(smaller.largest) / now
            found.append(f"train.micro_tokens: {half} would take about {whole_mb - _mb(activations - left):,.0f} MB, and little more time")
        if longest > 256:
            found.append(f"model.max_tokens below {longest} cuts the longest rows, which take the most")
    learns = methods.count(subject.learner).trained
    if section.method in ("full", "gradual", "contrastive"):
        found.append(f"train.method: lora learns few of these parameters, and would save up to {_mb(learns * 16):,.0f} MB; last-layers keeps "
                     "activations of the last layers only")  # fmt: skip
    elif section.method == "lora":
        found.append("train.method: qlora keeps the weights in 4 bits (on a GPU), an eighth of their memory")
    found.append("a smaller model.base, or a larger machine (--machine)")
    return found

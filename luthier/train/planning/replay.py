"""The memory of a training on this processor: its allocations played over again, in the order of its steps."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from luthier.train.planning import heap
from luthier.train.planning.heap import FIXED, Play, Trace
from luthier.train.planning.probe import Probe
from luthier.train.planning.trace import accumulating
from luthier.train.planning.work import READING, Work

# Growth comes with new sizes of passes and ends soon.
_PASSES = 120


@dataclass(frozen=True, slots=True)
class Growth:
    """Bytes that training adds to a process: ``alive`` are asked for at the same time at most, ``held`` is what the
    process grows by with the gaps between them; ``played`` says whether that was found out or taken as a fifth more.
    ``tried`` is what the trial's own requests make a process grow by."""

    alive: int
    held: int
    played: bool
    tried: int


def growth(probe: Probe, work: Work, sizes: Sequence[int], *, evaluations: int, saves: bool, room: int | None) -> Growth:
    """Return what a training adds to the memory of this process.

    Args:
        sizes: bytes of each parameter that learns.
        evaluations: how often the best weights may be copied.
        saves: whether a checkpoint is written on the way.
        room: bytes that may be used to find out; None where that is not known.
    """
    traces = {**probe.traces, **_copies(sizes)}
    traces |= {f"{name} more": accumulating(traces[name]) for name in probe.sizes if name != "reading"}
    plays = _plays(probe, work, evaluations=evaluations, saves=saves)
    alive = heap.alive(traces, plays)
    held = heap.grown(traces, plays) if room is None or alive < room // 2 else None
    trial = _trial(probe)
    tried = heap.grown(traces, trial) if held is not None else None
    return Growth(alive, int(alive * 1.2) if held is None else held, held is not None, heap.alive(traces, trial) if tried is None else tried)


def _trial(probe: Probe) -> list[Play]:
    """Return the plays of the trial as it was: a reading, each pass with its gradients, and the optimiser's first step."""
    passes = [name for name in probe.sizes if name != "reading"]
    plays = [Play("reading"), *(Play(name) for name in passes for _ in range(2))]
    if not passes:
        return plays
    return [*plays, Play(passes[-1], keep="gradients"), Play("first step", keep="moments", free=("gradients",))]


def _copies(sizes: Sequence[int]) -> dict[str, Trace]:
    """Return the traces of a copy of all that learns, and of a checkpoint: weights, two moments, the best weights."""
    best = [(slot, size, FIXED) for slot, size in enumerate(sizes)]
    return {"best": best, "save": [(slot, size, FIXED) for slot, size in enumerate([*sizes] * 4)]}


def _plays(probe: Probe, work: Work, *, evaluations: int, saves: bool) -> list[Play]:
    read = Play("reading", READING / probe.sizes["reading"][0])
    plays = [read, Play("best", keep="best 0")]
    steps = _some(work)
    due = {round(len(steps) * (i + 1) / evaluations) - 1 for i in range(evaluations)} if steps else set()
    copies = 0
    for number, step in enumerate(steps):
        for place, piece in enumerate(step):
            play = _nearest(probe, work, piece)
            plays.append(replace(play, keep="gradients") if not place else replace(play, trace=f"{play.trace} more"))
        first = not number
        plays.append(Play("first step" if first else "step", keep="moments" if first else "", free=("gradients",)))
        if number in due:
            copies += 1
            plays += [read, Play("best", keep=f"best {copies}", free=(f"best {copies - 1}",))]
            plays += [Play("save")] if saves else []
    return plays


def _some(work: Work) -> list[tuple[tuple[int, ...], ...]]:
    """Return the first steps, and that with the largest pass if it is not among them."""
    found: list[tuple[tuple[int, ...], ...]] = []
    passes = 0
    for step in work.cut:
        if found and passes + len(step) > _PASSES:
            break
        found.append(step)
        passes += len(step)
    if found and all(work.largest not in step for step in found):
        found.append(next(step for step in work.cut if work.largest in step))
    return found


def _nearest(probe: Probe, work: Work, piece: Sequence[int]) -> Play:
    """Return the recorded pass that is nearest in tokens, its sizes carried over to those of this one."""
    tokens, long = work.tokens(piece), max(work.lengths[row] for row in piece)
    names = [name for name in probe.sizes if name != "reading"]
    name = min(names, key=lambda name: abs(probe.sizes[name][0] - tokens))
    scale = tokens / probe.sizes[name][0]
    return Play(name, scale, scale * long / probe.sizes[name][1])

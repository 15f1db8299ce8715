"""Play recorded allocations with this machine's own allocator, in a process that does nothing else.

What a process holds is more than what is asked of it: freed pieces of other sizes lie between the living ones. How much
that is depends on the order and the sizes, so they are played over again, without computing anything: allocate, touch
every page, free. Run as a script it reads a program from standard input and needs nothing but Python.
"""

from __future__ import annotations

import ctypes
import json
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_PAGE = 4096
_ALIGNED = 64  # as torch asks for memory on a CPU
_TIMEOUT_S = 60


@dataclass(frozen=True, slots=True)
class Play:
    """One trace to be played: sizes that grow with the tokens are multiplied by ``scale``, those of attention's matrices by
    ``square``; what is left alive is put into the bag ``keep``, and at the end the bags of ``free`` are freed."""

    trace: str
    scale: float = 1.0
    square: float = 1.0
    keep: str = ""
    free: tuple[str, ...] = ()


# How a size follows the batch: with its tokens, not at all, or with rows times the square of their length.
TOKENS, FIXED, SQUARE = 0, 1, 2
# (slot, bytes, how it follows the batch); zero bytes free the slot.
Trace = Sequence[tuple[int, int, int]]


def grown(traces: dict[str, Trace], plays: Sequence[Play]) -> int | None:
    """Return by how many bytes a process grows at most that allocates like this; None where it cannot be told."""
    program = {
        "traces": traces,
        "plays": [[p.trace, (p.scale, 1.0, p.square), p.keep, list(p.free)] for p in plays],
    }
    try:
        done = subprocess.run(
            [sys.executable, "-I", str(Path(__file__))], input=json.dumps(program), capture_output=True, text=True,
            timeout=_TIMEOUT_S, check=False,
        )  # fmt: skip
        return int(json.loads(done.stdout)) if done.returncode == 0 else None
    except (OSError, ValueError, subprocess.TimeoutExpired):
        return None


def alive(traces: dict[str, Trace], plays: Sequence[Play]) -> int:
    """Return the most bytes that are asked for and not yet freed at any moment: the same play without an allocator."""
    now = most = 0
    bags: dict[str, int] = {}
    for play in plays:
        freed = sum(bags.pop(name, 0) for name in play.free)
        factors = (play.scale, 1.0, play.square)
        live: dict[int, int] = {}
        for slot, size, kind in traces[play.trace]:
            if size:
                live[slot] = int(size * factors[kind])
                now += live[slot]
                most = max(most, now)
            else:
                now -= live.pop(slot, 0)
        now -= freed
        bags[play.keep] = bags.get(play.keep, 0) + sum(live.values())
        now -= bags.pop("", 0)
    return most


def _play(program: dict[str, Any]) -> int:
    """Play a program and return by how many bytes this process grew."""
    libc = ctypes.CDLL(None)
    libc.free.argtypes = [ctypes.c_void_p]
    place = ctypes.c_void_p()

    def take(size: int) -> int:
        if libc.posix_memalign(ctypes.byref(place), _ALIGNED, ctypes.c_size_t(max(1, size))):
            raise MemoryError
        found = place.value or 0
        if size <= _PAGE:
            ctypes.memset(found, 1, size)
        else:
            pages = memoryview((ctypes.c_ubyte * size).from_address(found)).cast("B")[::_PAGE]
            pages[:] = bytes(len(pages))
        return found

    before = _status("VmRSS")
    bags: dict[str, list[int]] = {}
    for name, factors, keep, free in program["plays"]:
        old = [found for bag in free for found in bags.pop(bag, [])]
        live: dict[int, int] = {}
        for slot, size, kind in program["traces"][name]:
            if size:
                live[slot] = take(int(size * factors[kind]))
            elif slot in live:
                libc.free(live.pop(slot))
        for found in old:
            libc.free(found)
        if keep:
            bags.setdefault(keep, []).extend(live.values())
        else:
            for found in live.values():
                libc.free(found)
    return _status("VmHWM") - before


def _status(name: str) -> int:
    """Return a line of Linux's account of this process, in bytes."""
    lines = Path("/proc/self/status").read_text(encoding="ascii", errors="replace").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(name)) * 1024


if __name__ == "__main__":
    sys.stdout.write(str(_play(json.load(sys.stdin))))

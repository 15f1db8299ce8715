"""Machines with a name: what they compute and hold, from their makers' data sheets; and the share of it that training gets."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from luthier.base.errors import TaskError, did_you_mean

HERE = "this"


@dataclass(frozen=True, slots=True)
class Machine:
    """``fp32_tflops`` and ``bf16_tflops`` (None: it has none) are peaks of dense products; ``utilisation`` is the share
    of them that a training gets, an assumption: large trainings report 21 to 46 % (Chowdhery et al. 2022,
    https://arxiv.org/abs/2204.02311, table 3), and an H200 gave 47 % (docs/results.md)."""

    name: str
    words: str
    kind: str
    memory_gb: float
    fp32_tflops: float
    bf16_tflops: float | None
    utilisation: float
    source: str

    @property
    def bfloat16(self) -> bool:
        return self.bf16_tflops is not None

    @property
    def flops(self) -> float:
        """Operations a second that a training gets."""
        return 1e12 * self.utilisation * (self.bf16_tflops or self.fp32_tflops)

    @property
    def memory(self) -> int:
        """Bytes."""
        return int(self.memory_gb * 1e9)


@lru_cache
def machines() -> dict[str, Machine]:
    """Return the machines by name."""
    text = Path(__file__).with_name("machines.json").read_text(encoding="utf-8")
    return {name: Machine(name, **facts) for name, facts in json.loads(text).items()}


def find(name: str) -> Machine | None:
    """Return a machine by its name; None for this one.

    Raises:
        TaskError: no such machine.
    """
    if name == HERE:
        return None
    known = machines()
    if name.lower() not in known:
        raise TaskError(
            f'no machine is called "{name}"', where="--machine",
            mend=did_you_mean(name.lower(), [HERE, *known]) or f"Known are {HERE}, {', '.join(known)}.",
        )  # fmt: skip
    return known[name.lower()]

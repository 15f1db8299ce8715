"""The command line: one verb per step, thin; heavy imports inside the commands."""

from __future__ import annotations

import os
import sys
import traceback

from luthier import show
from luthier.base.errors import Interrupted
from luthier.cli import labelling, making, using  # noqa: F401  (importing a module of verbs registers them)
from luthier.cli.frame import cli

__all__ = ["cli", "main"]

# Python ends a bug with 1, which here means a missed bar; 70 is "internal software error" in sysexits.h.
BUG = 70


def main() -> None:
    """Entry point of the `luthier` command."""
    # Threads that wait by spinning slow each other down many times over when the machine is shared (docs/experiments.md).
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    try:
        cli(standalone_mode=True)
    except Interrupted as problem:  # a signal between two commands' work
        show.error(problem)
        sys.exit(problem.exit_code)
    except Exception:
        traceback.print_exc()
        show.say("this is a bug in Luthier, not a fault of yours: please report it with the lines above")
        sys.exit(BUG)

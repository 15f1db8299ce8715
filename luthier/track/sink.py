"""What every tracker is handed, and what it answers to."""

from __future__ import annotations

import contextlib
import io
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

Numbers = Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Place:
    """Where a run is tracked.

    ``id`` is what the tracker called the run before it was stopped, None for a new one. ``folder`` is this tracker's own on
    this machine; ``server`` and ``online`` are given only where the task file says so. ``settings`` are flat.
    """

    project: str
    run: str
    id: str | None
    folder: Path
    server: str | None
    online: bool
    settings: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Point:
    """Numbers at one step; ``axis`` names the count of steps, which starts anew in each stage. ``at`` is in seconds since 1970."""

    step: int
    numbers: Numbers
    at: float
    axis: str = "step"


@dataclass(frozen=True, slots=True)
class End:
    """How a run ended: ``state`` is finished, stopped or failed; ``words`` are short texts (verdict, bundle), ``files`` what to attach."""

    state: str
    step: int = 0
    numbers: Mapping[str, float] | None = None
    words: Mapping[str, str] | None = None
    files: Sequence[Path] = ()


class Sink(Protocol):
    """One tracked run. Any of these may raise whatever the library raises: the tracker is then left alone."""

    id: str

    def settings(self, settings: Mapping[str, Any]) -> None:
        """Add settings: those of a later stage."""

    def rewind(self, step: int) -> None:
        """Know that the run goes on from an earlier step than the last one told."""

    def points(self, points: Sequence[Point]) -> None:
        """Take points, in order."""

    def end(self, end: End) -> None:
        """Take the result, write everything out and close."""


def flat(values: Mapping[str, Any], before: str = "") -> dict[str, Any]:
    """Return nested settings under dotted names; lists as JSON, None and empty sections left out."""
    found: dict[str, Any] = {}
    for name, value in values.items():
        key = f"{before}{name}"
        if isinstance(value, Mapping):
            found |= flat(value, f"{key}.")
        elif isinstance(value, list | tuple):
            found |= {key: json.dumps(value, ensure_ascii=False, default=str)} if value else {}
        elif value is not None:
            found[key] = value
    return found


@contextlib.contextmanager
def hushed() -> Iterator[None]:
    """Keep a library's words off standard output, which belongs to the result."""
    with contextlib.redirect_stdout(io.StringIO()):
        yield


@contextlib.contextmanager
def environment(*without: str, **values: str) -> Iterator[None]:
    """Set variables that a library reads, and hide those that would send the run elsewhere, for as long as it starts."""
    names = (*without, *values)
    before = {name: os.environ[name] for name in names if name in os.environ}
    try:
        for name in names:
            os.environ.pop(name, None)
        os.environ.update(values)
        yield
    finally:
        for name in names:
            os.environ.pop(name, None)
        os.environ.update(before)

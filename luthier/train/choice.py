"""A method with the reason for it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Choice:
    """A method with the reason for it; ``facts`` are figures that a report shows (memory, a contest's scores)."""

    method: str
    why: str
    facts: Mapping[str, Any] = field(default_factory=dict)

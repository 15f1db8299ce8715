"""Scales of scores: lowest, highest, and the step between two of them."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

# Scores closer together than a thousandth are one score written twice.
_FINEST = 1000
# With more steps than this, scores are not given in steps at all.
_MOST_STEPS = 100
_BANDS = 10


def step_of(scores: Iterable[float]) -> float:
    """Return the largest step on which all the scores lie; a tenth of their range where they lie on none to speak of.

    One single score has a step of 1.
    """
    values = sorted({round(float(score) * _FINEST) for score in scores})
    if len(values) < 2:
        return 1.0
    step = math.gcd(*(value - values[0] for value in values[1:]))
    span = values[-1] - values[0]
    return (span / _BANDS if span > _MOST_STEPS * step else step) / _FINEST


def scale_of(scores: Sequence[float]) -> list[float]:
    """Return ``[lowest, highest, step]`` of scores that were given."""
    return [min(scores), max(scores), step_of(scores)]


def by_trait(targets: Iterable[Mapping[str, float] | None]) -> dict[str, list[float]]:
    """Return the scores that were given, by trait; a row may lack some."""
    found: dict[str, list[float]] = {}
    for target in targets:
        for trait, score in (target or {}).items():
            found.setdefault(trait, []).append(float(score))
    return found


def settled(scales: Mapping[str, list[float]], told: Any) -> dict[str, list[float]]:
    """Return each trait's scale: what a task says of it, or else what its scores show."""
    return {trait: told_for(trait, told) or scale for trait, scale in scales.items()}


def told_for(trait: str, told: Any) -> list[float] | None:
    """Return what a task says of a trait's scale: one for all traits, or by trait; None where it says nothing."""
    found = told.get(trait) if isinstance(told, Mapping) else told
    return None if found is None else [float(part) for part in found]

"""The whole circle, made of steps that can each be run alone."""

from luthier.lifecycle.circle import run
from luthier.lifecycle.round import Run

__all__ = ["Run", "run"]

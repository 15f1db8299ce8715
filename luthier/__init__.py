"""Luthier: the fine-tuning system that knows what success is.

The public Python API: :func:`run`, :func:`load`, :class:`Task`. Everything is imported when first used, so that
``import luthier`` is quick.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"
__all__ = ["Task", "load", "run"]

if TYPE_CHECKING:
    from luthier.lifecycle import run
    from luthier.release.predictor import load_predictor as load
    from luthier.spec.task import Task


def __getattr__(name: str) -> Any:
    if name == "run":
        from luthier.lifecycle import run

        return run
    if name == "load":
        from luthier.release.predictor import load_predictor

        return load_predictor
    if name == "Task":
        from luthier.spec.task import Task

        return Task
    raise AttributeError(f"module 'luthier' has no attribute {name!r}")


def __dir__() -> list[str]:
    return [*__all__, "__version__"]

"""Checkpoints: whole or absent, verified when read, exact when resumed. Safetensors and JSON only."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

from luthier.base.errors import BundleError, LuthierError, TrainError
from luthier.base.files import new_folder, read_json, verify_manifest, write_json, write_manifest
from luthier.models.methods import load_trained_state, trained_state
from luthier.objectives.learner import Learner

_KEPT = 2
_MOMENTS = ("exp_avg", "exp_avg_sq")


@dataclass(slots=True)
class Progress:
    """Where a run stands between two steps: all that is not in the weights or the optimiser.

    ``best_score`` is that of the weights to deliver, ``held`` the one that a later score must exceed by
    ``train.min_delta`` lest patience run out.
    """

    step: int = 0
    evaluations: list[dict[str, Any]] = field(default_factory=list)
    losses: list[dict[str, float]] = field(default_factory=list)
    best_step: int = 0
    best_score: float | None = None
    held: float | None = None
    stale: int = 0
    seconds: float = 0.0
    facts: dict[str, Any] = field(default_factory=dict)


def save(
    folder: Path, *, learner: Learner, optimizer: torch.optim.Optimizer, progress: Progress,
    best: dict[str, torch.Tensor] | None, settings: str,
) -> Path:  # fmt: skip
    """Write ``folder/step-N`` with weights, moments, random state and progress; older ones beyond two are removed.

    Args:
        settings: a hash of all that must be equal for a resume to make sense.
    Raises:
        TrainError: a weight is not finite; nothing is written.
        StorageError: the disk is full; the older checkpoints are untouched.
    """
    tensors = _tensors(learner, optimizer, best)
    broken = [name for name, value in tensors.items() if value.is_floating_point() and not torch.isfinite(value).all()]
    if broken:
        raise TrainError(f"{broken[0]} is not finite, so no checkpoint was written", where=f"step {progress.step}")
    path = folder / f"step-{progress.step:08d}"
    with new_folder(path) as building:
        save_file(tensors, building / "state.safetensors")
        facts = {name: getattr(progress, name) for name in progress.__dataclass_fields__}
        write_json(building / "state.json", {**facts, "settings": settings})
        write_manifest(building)
    for old in sorted(folder.glob("step-*"))[:-_KEPT]:
        shutil.rmtree(old, ignore_errors=True)
    return path


def _tensors(
    learner: Learner, optimizer: torch.optim.Optimizer, best: dict[str, torch.Tensor] | None
) -> dict[str, torch.Tensor]:
    named = {name: p for name, p in learner.named_parameters() if p.requires_grad}
    tensors = {f"weight/{name}": p.detach().cpu().contiguous() for name, p in named.items()}
    for name, parameter in named.items():
        state = optimizer.state.get(parameter)
        if state:
            tensors |= {f"{moment}/{name}": state[moment].detach().cpu().contiguous() for moment in _MOMENTS}
            tensors[f"updates/{name}"] = state["step"].detach().cpu().reshape(1)
    tensors |= {f"best/{name}": value.detach().cpu().contiguous() for name, value in (best or {}).items()}
    tensors["random/cpu"] = torch.get_rng_state()
    if torch.cuda.is_available():
        tensors["random/cuda"] = torch.cuda.get_rng_state()
    # Tied weights share memory, which safetensors refuses to write twice.
    return {name: value.clone() for name, value in tensors.items()}


@dataclass(frozen=True, slots=True)
class Restored:
    progress: Progress
    best: dict[str, torch.Tensor] | None
    path: Path


def restore(
    folder: Path, *, learner: Learner, optimizer: torch.optim.Optimizer, settings: str, say: Callable[[str], None]
) -> Restored | None:
    """Load the newest whole checkpoint in place, or return None where there is none.

    A damaged one is passed over for the one before, and ``say`` is told.

    Raises:
        TrainError: the newest whole checkpoint belongs to other settings.
    """
    for path in sorted(folder.glob("step-*"), reverse=True):
        try:
            verify_manifest(path)
            tensors = load_file(path / "state.safetensors")
            values = read_json(path / "state.json")
        except (BundleError, OSError, json.JSONDecodeError, LuthierError) as error:
            say(f"the checkpoint {path.name} is damaged ({str(error).splitlines()[0]}); going back to the one before")
            continue
        if values.pop("settings") != settings:
            raise TrainError(
                "the checkpoints here belong to another task, data or version of it",
                where=str(folder),
                mend="Choose another folder with --out, or remove this one.",
            )
        return Restored(Progress(**values), _apply(tensors, learner, optimizer), path)
    return None


def _apply(
    tensors: dict[str, torch.Tensor], learner: Learner, optimizer: torch.optim.Optimizer
) -> dict[str, torch.Tensor] | None:
    groups: dict[str, dict[str, torch.Tensor]] = {}
    for key, value in tensors.items():
        kind, name = key.split("/", 1)
        groups.setdefault(kind, {})[name] = value
    load_trained_state(learner, groups["weight"])
    for name, parameter in learner.named_parameters():
        if name in groups.get("updates", {}):
            state = {moment: groups[moment][name].to(parameter.device) for moment in _MOMENTS}
            state["step"] = groups["updates"][name].reshape(()).to(parameter.device if parameter.is_cuda else "cpu")
            optimizer.state[parameter] = state
    torch.set_rng_state(groups["random"]["cpu"])
    if "cuda" in groups["random"] and torch.cuda.is_available():
        torch.cuda.set_rng_state(groups["random"]["cuda"])
    return groups.get("best")


def copy_state(learner: Learner) -> dict[str, torch.Tensor]:
    """Return a copy of the parameters that learn, on the CPU."""
    return {name: value.cpu().clone() for name, value in trained_state(learner).items()}

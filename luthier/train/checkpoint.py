"""Checkpoints: whole or absent, verified when read, exact when resumed. Safetensors and JSON only."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from luthier.base.errors import LuthierError, TrainError
from luthier.base.files import free_bytes, need_room, new_folder, read_json, verify_manifest, write_json, write_manifest
from luthier.models.methods import load_trained_state, trained_state
from luthier.objectives.learner import Learner
from luthier.train.guard import Care

# Raised when what lies in a checkpoint changes its meaning: one of another number is of another version.
_FORMAT = 2
KEPT = 2
# Progress, manifest and the folders' own blocks, besides the tensors.
_BESIDE = 1 << 18
# Of AdamW two for each weight that learns, of Muon one.
_MOMENTS = ("exp_avg", "exp_avg_sq", "momentum")


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
    care: Care = field(default_factory=Care)


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
    path = folder / _named(progress.step)
    facts = {name: getattr(progress, name) for name in progress.__dataclass_fields__}
    state = {**facts, "care": asdict(progress.care), "settings": settings, "format": _FORMAT}
    needed = sum(value.nbytes for value in tensors.values()) + len(json.dumps(state, default=str)) + _BESIDE
    _make_room(folder, progress.step, needed)
    with new_folder(path) as building:
        save_file(tensors, building / "state.safetensors")
        write_json(building / "state.json", state)
        write_manifest(building)
    # Numbers decide and no clock does. What lies ahead of this step is what a resume passed over as damaged.
    ahead = [p for p in _all(folder) if p.name > path.name]
    for old in [*ahead, *_until(folder, progress.step)[:-KEPT]]:
        shutil.rmtree(old, ignore_errors=True)
    return path


def check_room(folder: Path, *, learner: Learner, scored: bool) -> None:
    """Refuse to begin a run whose checkpoints would not fit on the disk: weights, two moments, and the best weights.

    Of the checkpoints that are there, all but the newest may go.

    Raises:
        StorageError: with the bytes needed and free.
    """
    spare = sum(f.stat().st_size for path in _all(folder)[:-1] for f in path.iterdir())
    need_room(folder, bytes_of(learner, scored=scored), "a checkpoint", spare=spare)


def bytes_of(learner: Learner, *, scored: bool) -> int:
    """Return the size of a checkpoint: weights that learn, two moments, and the best weights where there is a score."""
    return sum(p.nbytes for p in learner.parameters() if p.requires_grad) * (4 if scored else 3) + _BESIDE


def _named(step: int) -> str:
    return f"step-{step:08d}"


def _all(folder: Path) -> list[Path]:
    """Return the checkpoints of a folder by their number, whole or not."""
    return sorted(folder.glob("step-*"))


def _until(folder: Path, step: int) -> list[Path]:
    return [path for path in _all(folder) if path.name <= _named(step)]


def _make_room(folder: Path, step: int, needed: int) -> None:
    """Give up the older checkpoints, never the newest, where a new one has no room beside them.

    Raises:
        StorageError: even then it does not fit.
    """
    for old in _until(folder, step)[:-1]:
        if free_bytes(folder) < needed:
            shutil.rmtree(old, ignore_errors=True)
    need_room(folder, needed, "a checkpoint")


def _tensors(
    learner: Learner, optimizer: torch.optim.Optimizer, best: dict[str, torch.Tensor] | None
) -> dict[str, torch.Tensor]:
    named = {name: p for name, p in learner.named_parameters() if p.requires_grad}
    tensors = {f"weight/{name}": p.detach().cpu().contiguous() for name, p in named.items()}
    for name, parameter in named.items():
        state = optimizer.state.get(parameter)
        if state:
            tensors |= {f"{moment}/{name}": state[moment].detach().cpu().contiguous() for moment in _MOMENTS if moment in state}
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
    found = _all(folder)
    for path in reversed(found):
        try:
            verify_manifest(path)
            tensors = load_file(path / "state.safetensors")
            values = dict(read_json(path / "state.json"))
        except (LuthierError, OSError, ValueError, TypeError, SafetensorError) as error:
            say(f"the checkpoint {path.name} is damaged ({str(error).splitlines()[0]}); going back to the one before")
            continue
        if values.pop("settings", None) != settings or values.pop("format", None) != _FORMAT:
            raise TrainError(
                "the checkpoints here belong to another task, data or version of it",
                where=str(folder),
                mend="Choose another folder with --out, or remove this one.",
            )
        progress = Progress(**{**values, "care": Care(**values["care"])})
        return Restored(progress, _apply(tensors, learner, optimizer), path)
    if found:
        say("no whole checkpoint is left, so training starts anew")
    return None


def _apply(
    tensors: dict[str, torch.Tensor], learner: Learner, optimizer: torch.optim.Optimizer
) -> dict[str, torch.Tensor] | None:
    groups: dict[str, dict[str, torch.Tensor]] = {}
    for key, value in tensors.items():
        kind, name = key.split("/", 1)
        # What was read is a window on the file: kept, it would hold the disk's room when the checkpoint is long removed.
        groups.setdefault(kind, {})[name] = value if kind == "weight" else value.clone()
    load_trained_state(learner, groups["weight"])
    for name, parameter in learner.named_parameters():
        if name in groups.get("updates", {}):
            state = {m: groups[m][name].to(parameter.device) for m in _MOMENTS if name in groups.get(m, {})}
            state["step"] = groups["updates"][name].reshape(()).to(parameter.device if parameter.is_cuda else "cpu")
            optimizer.state[parameter] = state
    torch.set_rng_state(groups["random"]["cpu"])
    if "cuda" in groups["random"] and torch.cuda.is_available():
        torch.cuda.set_rng_state(groups["random"]["cuda"])
    return groups.get("best")


def copy_state(learner: Learner) -> dict[str, torch.Tensor]:
    """Return a copy of the parameters that learn, on the CPU."""
    return {name: value.cpu().clone() for name, value in trained_state(learner).items()}

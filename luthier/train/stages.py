"""The learners of a sequence of tasks over one body: how each joins, what is shared, and where it all stood after a stage."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import nn

from luthier.base.errors import BundleError, ModelError
from luthier.base.files import new_folder, read_json, verify_manifest, write_json, write_manifest
from luthier.models import methods
from luthier.models.body import own_heads, share, shared_parameters
from luthier.models.columns import Column
from luthier.objectives import Learner
from luthier.objectives.classify import Classifier
from luthier.spec.stages import Keep

_STATE = "state.safetensors"


class Trail:
    """The learners so far, in order. All have one body, or each has a column that sees those before it."""

    def __init__(self, keep: Keep) -> None:
        self.keep = keep
        self.learners: list[Learner] = []

    def join(self, learner: Learner) -> None:
        """Put the body as it stands under a new stage's learner; with progressive columns, the columns beside it.

        Raises:
            ModelError: the base model has its head inside the network where columns need a bare encoder, or the new
                learner's network has no body in common with the one before.
        """
        if self.keep.columns == "progressive":
            if getattr(learner, "pooling", "own") == "own":
                raise ModelError(
                    "progressive columns need an encoder whose tokens are pooled",
                    where="keep.columns", mend="Set model.pooling: mean, or keep.columns: none.",
                )  # fmt: skip
            learner.network = Column(learner.network, [known.network for known in self.learners])
            learner.to(self.learners[0].device if self.learners else learner.device)
        elif self.learners:
            learner.network = share(learner.network, self.learners[-1].network, own=own_heads(learner.network))
            if self.keep.head == "shared":
                carry_head(self.learners[-1], learner)
        self.learners.append(learner)

    def answering(self, stage: int, *, after: int = -1) -> Learner:
        """Return the learner that answers for a stage as all stood after another: its own, or where one head grows, that
        other's. Labels that a head gets later have learnt nothing by then."""
        return self.learners[after if self.keep.head == "shared" else stage]

    def settle(self) -> None:
        """Fold the latest learner's adapters into the body, so that all learners see one plain network again."""
        latest = self.learners[-1]
        latest.network = methods.merge(latest.network)

    def body(self) -> dict[str, nn.Parameter]:
        """Return the parameters of the latest learner that were there before its stage, by name."""
        latest = self.learners[-1]
        if len(self.learners) > 1:
            return shared_parameters(latest.network, self.learners[-2].network)
        heads = tuple(f"{name}." for name in own_heads(latest.network))
        return {name: p for name, p in latest.network.named_parameters() if not name.startswith(heads or "\n")}

    def named(self) -> dict[str, nn.Parameter]:
        """Return every parameter once, by its first learner's place and its name there."""
        found: dict[str, nn.Parameter] = {}
        seen: set[int] = set()
        for place, learner in enumerate(self.learners):
            for name, parameter in learner.named_parameters():
                if id(parameter) not in seen:
                    seen.add(id(parameter))
                    found[f"{place}/{name}"] = parameter
        return found


def carry_head(old: Learner, new: Learner) -> None:
    """Copy what the head knew of earlier labels, which come first among the new one's, into it."""
    if not isinstance(old, Classifier) or not isinstance(new, Classifier):
        raise ModelError("one head for all stages is for `classify` only", where="keep.head", mend="Set it to own.")
    count, before, after = len(old.labels), old.last_linear, new.last_linear
    if new.labels[:count] != old.labels:
        raise ValueError("the labels known before must come first")
    with torch.no_grad():
        after.weight[:count].copy_(before.weight)
        if after.bias is not None and before.bias is not None:
            after.bias[:count].copy_(before.bias)


def save(folder: Path, trail: Trail, facts: Mapping[str, Any], *, settings: str) -> None:
    """Write all learners as they stand after a stage, with its facts; whole or not at all."""
    with new_folder(folder) as building:
        save_file({n: p.detach().cpu().contiguous().clone() for n, p in trail.named().items()}, building / _STATE)
        write_json(building / "state.json", {"settings": settings, "facts": dict(facts)})
        write_manifest(building)


def facts_of(folder: Path, *, settings: str) -> dict[str, Any] | None:
    """Return the facts of a finished stage; None where it is not finished, damaged, or of other settings."""
    try:
        verify_manifest(folder)
        found = read_json(folder / "state.json")
    except (BundleError, OSError, ValueError):
        shutil.rmtree(folder, ignore_errors=True)
        return None
    return dict(found["facts"]) if found["settings"] == settings else None


def load(folder: Path, trail: Trail) -> None:
    """Put all learners back to where they stood after a stage; later learners' own parameters stay."""
    tensors = load_file(folder / _STATE)
    named = trail.named()
    with torch.no_grad():
        for name, value in tensors.items():
            named[name].copy_(value)

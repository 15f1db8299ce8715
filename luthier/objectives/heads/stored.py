"""A head on disk: safetensors with a JSON that says how it is read."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors.torch import load_file, save_file
from torch import nn

from luthier.base.errors import BundleError
from luthier.base.files import read_json, write_json
from luthier.objectives.heads.near import KIND, NearestRows

_FEATURES = {
    "mean": "masked mean of last_hidden_state, divided by its Euclidean norm",
    "cls": "last_hidden_state at the first token",
}


def save_head(
    head: nn.Module, folder: Path, *, pooling: str, labels: tuple[str, ...],
    scores: str = "softmax(features @ weight.T + bias)", more: Mapping[str, Any] | None = None,
) -> None:  # fmt: skip
    """Write the head into a new folder.

    Args:
        scores: how a linear head's answer follows from the features, so that it can be read without Luthier.
        more: what else must be known for that.
    """
    folder.mkdir()
    facts = {"pooling": pooling, "labels": list(labels), "features": _FEATURES[pooling]}
    if isinstance(head, NearestRows):
        head.save(folder, facts)
        return
    state = {name: value.detach().contiguous() for name, value in head.state_dict().items()}
    save_file(state, folder / "head.safetensors")
    write_json(folder / "head.json", {**facts, "kind": "linear", "in_features": state["weight"].shape[1],
                                      "scores": scores, **(more or {})})  # fmt: skip


def load_head(folder: Path) -> nn.Module:
    """Open what :func:`save_head` wrote.

    Raises:
        BundleError: missing or damaged.
    """
    try:
        facts: Mapping[str, Any] = read_json(folder / "head.json")
        if facts["kind"] == KIND:
            return NearestRows.load(folder)
        return load_linear(folder)
    except (OSError, ValueError, KeyError, RuntimeError) as error:
        raise BundleError("the bundle's head cannot be read", where=str(folder)) from error


def load_linear(folder: Path) -> nn.Linear:
    """Open a head that is one linear layer.

    Raises:
        BundleError: missing or damaged.
    """
    try:
        read_json(folder / "head.json")
        state = load_file(folder / "head.safetensors")
        head = nn.Linear(state["weight"].shape[1], state["weight"].shape[0])
        head.load_state_dict(state)
    except (OSError, ValueError, KeyError, RuntimeError) as error:
        raise BundleError("the bundle's head cannot be read", where=str(folder)) from error
    return head

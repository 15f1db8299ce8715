"""One network body under several heads: which modules are shared, and their parameters by name."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import nn

from luthier.base.errors import ModelError


def share(new: Any, old: Any, *, own: Sequence[str] = ()) -> nn.Module:
    """Return what to use in place of ``new``: a network whose body is that of ``old``, and whose heads are its own.

    Both are transformers networks of one base model, perhaps of different classes (a bare encoder, a causal language model,
    a sequence classifier). Two of one class without heads of their own are one network.

    Args:
        own: names of the children of ``new`` that stay its own.
    Raises:
        ModelError: the two have no body in common.
    """
    if type(new) is type(old):
        if not own:
            return old
        for name, child in old.named_children():
            if name not in own:
                setattr(new, name, child)
        return new
    body, place = getattr(old, "base_model", old), getattr(new, "base_model", new)
    if type(body) is not type(place):
        raise ModelError(
            f"a {type(new).__name__} and a {type(old).__name__} have no body in common",
            where="stages", mend="Choose one kind of base model and pooling for all stages.",
        )  # fmt: skip
    if place is new:
        return body
    setattr(new, new.base_model_prefix, body)
    return new


def shared_parameters(first: nn.Module, *others: nn.Module) -> dict[str, nn.Parameter]:
    """Return the parameters of ``first``, by name, that every other module has too."""
    held = [{id(p) for p in other.parameters()} for other in others]
    return {name: p for name, p in first.named_parameters() if all(id(p) in ids for ids in held)}


def own_heads(network: Any) -> tuple[str, ...]:
    """Return the children that answer one task alone: a classifier's layers beside its base model.

    A language model's output layer is no such head: it writes text for every stage.
    """
    body = getattr(network, "base_model", network)
    if body is network or getattr(network, "get_output_embeddings", lambda: None)() is not None:
        return ()
    return tuple(
        name for name, child in network.named_children() if child is not body and any(True for _ in child.parameters())
    )

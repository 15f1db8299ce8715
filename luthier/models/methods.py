"""Which parameters learn: one function per method, one entry in one dict; and how what was learnt is kept."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from peft import PeftModel
from peft.utils import ModulesToSaveWrapper
from torch import nn

from luthier.base.errors import ModelError
from luthier.models import adapters, freeze, low_rank, quantised, tuners, virtual
from luthier.spec.train import TrainSection

# The wrapping methods; every other one sets which of the network's own parameters learn.
_WRAPPERS: dict[str, Callable[[nn.Module, TrainSection, tuple[str, ...]], nn.Module]] = {
    "lora": tuners.lora,
    "qlora": quantised.qlora,
    "ia3": tuners.ia3,
    "prompt": tuners.prompt,
    "prefix": tuners.prefix,
}
# Methods without parameters of their own in each layer: rates by layer mean nothing for them.
# What is put in changes what the network says before anything has learnt, if only by rounding.
SHIFTS = frozenset(("adapters", "prompt", "prefix"))
_NO_LAYERS = frozenset(("head", "prototypes", "neighbours", "prompt", "prefix"))


@dataclass(frozen=True, slots=True)
class Counted:
    """Numbers of parameters, each counted once however often it is shared."""

    total: int
    trained: int


def apply(
    network: nn.Module, train: TrainSection, *, freeze_embeddings: bool, head_names: tuple[str, ...] = ()
) -> nn.Module:
    """Return the network with ``requires_grad`` set by method; what peft does comes back wrapped by it.

    Args:
        freeze_embeddings: keep the embeddings fixed, so that back-propagation stops above them.
        head_names: modules of a classification head inside the network, which always learn.
    Raises:
        ModelError: the network cannot take the method: no such targets, layers, biases or inputs.
    """
    check(train)
    if train.dropout is not None:
        freeze.set_dropout(network, train.dropout)
    if train.method in _WRAPPERS:
        return _WRAPPERS[train.method](network, train, head_names)
    whole = train.method in ("full", "gradual", "contrastive")
    for parameter in network.parameters():
        parameter.requires_grad_(whole)
    if whole and freeze_embeddings:
        for parameter in freeze.embeddings(network):
            parameter.requires_grad_(False)
    elif train.method == "last-layers":
        freeze.last(network, train.layers, head_names)
    elif train.method == "bitfit":
        freeze.biases(network, head_names, freeze_embeddings=freeze_embeddings)
    elif train.method == "adapters":
        adapters.add(network, train.adapters.width)
        freeze.heads(network, head_names)
    elif train.method in ("head", "prototypes", "neighbours"):
        freeze.heads(network, head_names)
    return network


def check(train: TrainSection) -> None:
    """Refuse settings that contradict each other.

    Raises:
        ModelError: rates by layer with a method that has none.
    """
    if train.method in _NO_LAYERS and train.layer_decay not in ("auto", 1.0):
        raise ModelError(
            f"`{train.method}` learns nothing in the layers, so their rates cannot fall from layer to layer",
            where="train.layer_decay",
            mend="Leave it out, or use full, last-layers, gradual, bitfit, lora, ia3 or adapters.",
        )


def merge(network: nn.Module) -> nn.Module:
    """Return the plain network with its adapters folded into the weights; a network without adapters comes back as it is."""
    if not isinstance(network, PeftModel) or virtual.learns_input(network):
        return network
    low_rank.hold_whole(network)
    _bare_heads(network)
    inside: nn.Module = network.get_base_model()
    if quantised.is_quantised(inside):
        quantised.unfold(inside)
        del inside.is_loaded_in_4bit
        return inside
    return network.merge_and_unload()


def _bare_heads(network: nn.Module) -> None:
    """Put the trained heads in the place of peft's wrappers: it cannot do so itself where a head is more than one layer."""
    for name, module in list(network.named_modules()):
        if isinstance(module, ModulesToSaveWrapper):
            parent, _, own = name.rpartition(".")
            setattr(network.get_submodule(parent), own, module.modules_to_save[module.active_adapters[0]])


def count(*modules: nn.Module | None) -> Counted:
    """Count the parameters of modules, and those that learn. An adapter's base counts in the total."""
    seen: dict[int, nn.Parameter] = {id(p): p for m in modules if m is not None for p in m.parameters()}
    sizes = {key: quantised.real_count(p) for key, p in seen.items()}
    return Counted(sum(sizes.values()), sum(sizes[key] for key, p in seen.items() if p.requires_grad))


def save(network: nn.Module, folder: Path) -> tuple[nn.Module, str | None]:
    """Write ``folder/network`` for transformers and ``folder/adapter`` where there is one; return the network to go on with.

    The second value says what :func:`reopen` must put back: ``peft`` (a prompt or prefix), ``bottleneck``, or None where
    the network alone is the model (low-rank updates and scaling vectors are merged, and kept beside it for peft).
    """
    kind = None
    if isinstance(network, PeftModel):
        _forget_place(network)
        _in_order(network)
        # Left to itself peft asks the hub for the base's configuration, to see whether the vocabulary has grown. It has not.
        network.save_pretrained(str(folder / "adapter"), safe_serialization=True, save_embedding_layers=False)
        kind = "peft" if virtual.learns_input(network) else None
        network = merge(network)
    elif is_adapted(network):
        adapters.save(network, folder / "adapter")
        kind = adapters.NAME
    bare: Any = plain(network)
    bare.save_pretrained(folder / "network", state_dict=adapters.bare_state(bare))
    return network, kind


def _in_order(network: PeftModel) -> None:
    """Put the names of modules in order: peft holds them as a set, whose order differs from process to process."""
    for config in network.peft_config.values():
        for key in ("target_modules", "exclude_modules", "modules_to_save", "feedforward_modules"):
            if isinstance(named := getattr(config, key, None), set):
                setattr(config, key, sorted(named))


def _forget_place(network: PeftModel) -> None:
    """Let the adapter's configuration name its base and not the folder that one machine keeps it in."""
    for config in network.peft_config.values():
        named = config.base_model_name_or_path
        if named and Path(named).is_dir():
            config.base_model_name_or_path = Path(named).name


def reopen(network: nn.Module, folder: Path, kind: str | None) -> nn.Module:
    """Return the network of a bundle with the part put back that :func:`save` could not merge."""
    if kind == "peft":
        return tuners.reopen(network, str(folder / "adapter"))
    if kind == adapters.NAME:
        adapters.load(network, folder / "adapter")
    return network


def is_adapted(network: nn.Module) -> bool:
    """Whether something stands on the network that was not in its base."""
    return isinstance(network, PeftModel) or any(True for _ in adapters.found(network))


def plain(network: nn.Module) -> nn.Module:
    """Return the transformers network inside a peft wrapper, adapters active, or the network itself."""
    return network.get_base_model() if isinstance(network, PeftModel) else network


def trained_state(module: nn.Module) -> dict[str, torch.Tensor]:
    """Return the parameters that learn, by name: what a checkpoint must hold besides the base."""
    return {name: p.detach() for name, p in module.named_parameters() if p.requires_grad}


def load_trained_state(module: nn.Module, state: dict[str, torch.Tensor]) -> None:
    """Copy a :func:`trained_state` back in place."""
    parameters = {name: p for name, p in module.named_parameters() if p.requires_grad}
    with torch.no_grad():
        for name, value in state.items():
            parameters[name].copy_(value)

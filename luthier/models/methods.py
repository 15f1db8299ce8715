"""Which parameters learn: all, the last layers, or low-rank adapters; and what is not worth training."""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from torch import nn

from luthier.base.errors import ModelError
from luthier.models.low_rank import use_one_pass
from luthier.spec.train import TrainSection


@dataclass(frozen=True, slots=True)
class Counted:
    """Numbers of parameters, each counted once however often it is shared."""

    total: int
    trained: int


def apply(
    network: nn.Module, train: TrainSection, *, freeze_embeddings: bool, head_names: tuple[str, ...] = ()
) -> nn.Module:
    """Return the network with ``requires_grad`` set by method; for LoRA it comes back wrapped by peft.

    Args:
        freeze_embeddings: keep the whole embedding module fixed, so that back-propagation stops above it.
        head_names: modules of a classification head inside the network, which always learn.
    Raises:
        ModelError: LoRA targets that the network does not have.
    """
    if train.method == "lora":
        return _lora(network, train, head_names)
    for parameter in network.parameters():
        parameter.requires_grad_(train.method == "full")
    if train.method == "last-layers":
        _unfreeze_last(network, train.layers, head_names)
    elif freeze_embeddings:
        for parameter in embedding_module(network).parameters():
            parameter.requires_grad_(False)
    return network


def _unfreeze_last(network: nn.Module, count: int, head_names: tuple[str, ...]) -> None:
    layers = blocks(network)
    if count > len(layers):
        raise ModelError(f"the model has {len(layers)} layers, {count} are asked for", where="train.layers")
    learning: list[nn.Module] = list(layers[-count:]) + _after(network, layers)
    learning += [module for name, module in network.named_modules() if name in head_names]
    for module in learning:
        for parameter in module.parameters():
            parameter.requires_grad_(True)


def _after(network: nn.Module, layers: nn.ModuleList) -> list[nn.Module]:
    """Return the norms that stand beside the blocks (a decoder's final norm)."""
    for module in network.modules():
        children = dict(module.named_children())
        if any(child is layers for child in children.values()):
            return [child for name, child in children.items() if "norm" in name.lower() or name == "ln_f"]
    return []


def blocks(network: nn.Module) -> nn.ModuleList:
    """Return the list of transformer blocks: the longest ModuleList of like modules."""
    lists = [m for m in network.modules() if isinstance(m, nn.ModuleList) and len(m) and len({type(x) for x in m}) == 1]
    if not lists:
        raise ModelError(
            "no list of layers was found in this model", where="train.method", mend="Use `full` or `lora`."
        )
    return max(lists, key=len)


def embedding_module(network: nn.Module) -> nn.Module:
    """Return the module that turns ids into vectors: token embeddings with positions and norm where they stand together."""
    tokens = network.get_input_embeddings()  # type: ignore[operator]
    for name, module in network.named_modules():
        if name.split(".")[-1] == "embeddings" and any(child is tokens for child in module.modules()):
            return module
    return tokens


def _lora(network: nn.Module, train: TrainSection, head_names: tuple[str, ...]) -> nn.Module:
    spec = train.lora
    config = LoraConfig(
        r=spec.rank,
        lora_alpha=spec.alpha,  # type: ignore[arg-type]
        lora_dropout=spec.dropout,
        target_modules=spec.targets if isinstance(spec.targets, list) else lora_targets(network, head_names),
        modules_to_save=list(head_names) or None,
        bias="none",
    )
    try:
        with warnings.catch_warnings():
            # peft corrects fan_in_fan_out for GPT-2 by itself and transformers announces a renamed property: nothing to act on.
            warnings.simplefilter("ignore")
            wrapped = get_peft_model(network, config)
    except ValueError as error:
        linear = sorted({name.split(".")[-1] for name, m in network.named_modules() if isinstance(m, nn.Linear)})
        raise ModelError(
            f"LoRA cannot be put on {spec.targets} ({str(error).splitlines()[0][:120]})",
            where="train.lora.targets",
            mend=f"Linear modules of this model: {', '.join(linear)}.",
        ) from None
    use_one_pass(wrapped)
    return wrapped


def lora_targets(network: nn.Module, head_names: tuple[str, ...] = ()) -> list[str]:
    """Return the full names of every linear layer inside the transformer blocks (GPT-2's Conv1D counts as one)."""
    layers = blocks(network)
    inside = {id(m) for m in layers.modules()}
    return [
        name
        for name, module in network.named_modules()
        if id(module) in inside
        and (isinstance(module, nn.Linear) or type(module).__name__ == "Conv1D")
        and name not in head_names
    ]


def merge(network: nn.Module) -> nn.Module:
    """Return the plain network with its adapters folded into the weights; a network without adapters comes back as it is."""
    if not isinstance(network, PeftModel):
        return network
    return network.merge_and_unload()


def count(*modules: nn.Module | None) -> Counted:
    """Count the parameters of modules, and those that learn. An adapter's base counts in the total."""
    seen: dict[int, nn.Parameter] = {id(p): p for m in modules if m is not None for p in m.parameters()}
    total = sum(p.numel() for p in seen.values())
    return Counted(total, sum(p.numel() for p in seen.values() if p.requires_grad))


def save_adapter(network: nn.Module, folder: str) -> bool:
    """Write the adapter as peft does (safetensors and JSON), if there is one."""
    if not isinstance(network, PeftModel):
        return False
    network.save_pretrained(folder, safe_serialization=True)
    return True


def is_adapted(network: nn.Module) -> bool:
    return isinstance(network, PeftModel)


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

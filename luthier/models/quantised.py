"""QLoRA: the blocks' weights in 4 bits on a GPU, low-rank updates on top (Dettmers et al. 2023, https://arxiv.org/abs/2305.14314)."""

from __future__ import annotations

import importlib.util
from typing import Any

import torch
from peft.tuners.lora.layer import LoraLayer
from torch import nn

from luthier.base.errors import ModelError
from luthier.models import tuners
from luthier.spec.train import TrainSection


def qlora(network: Any, train: TrainSection, head_names: tuple[str, ...]) -> nn.Module:
    """Return the network with its blocks in 4 bits and low-rank updates on them.

    Raises:
        ModelError: no GPU, no bitsandbytes, or layers that it does not quantise.
    """
    check()
    for name in tuners.lora_targets(network, head_names):
        layer = network.get_submodule(name)
        if not isinstance(layer, nn.Linear):
            raise ModelError(
                f"{network.config.model_type} keeps {name} in a form that bitsandbytes does not quantise",
                where="train.method",
                mend="Use lora.",
            )
        _replace(network, name, _small(layer))
    network.is_loaded_in_4bit = True  # peft looks here
    return tuners.lora(network, train, head_names)


def _small(layer: nn.Linear) -> nn.Module:
    import bitsandbytes

    # Computed in float32 outside autocast, so that what is measured is what is delivered.
    small = bitsandbytes.nn.Linear4bit(layer.in_features, layer.out_features, bias=layer.bias is not None, device="meta",
                                       quant_type="nf4", compute_dtype=torch.float32)  # fmt: skip
    # Made without weights of its own: drawing them first took longer than all else.
    small.weight = bitsandbytes.nn.Params4bit(layer.weight.data, requires_grad=False, quant_type="nf4", module=small)
    if layer.bias is not None:
        small.bias = nn.Parameter(layer.bias.data, requires_grad=False)
    moved: nn.Module = small.to(layer.weight.device)  # quantises
    return moved


def _replace(network: nn.Module, name: str, module: nn.Module) -> None:
    parent, _, own = name.rpartition(".")
    setattr(network.get_submodule(parent), own, module)


def is_quantised(network: Any) -> bool:
    return bool(getattr(network, "is_loaded_in_4bit", False))


@torch.no_grad()
def unfold(network: nn.Module) -> None:
    """Put plain layers of what the 4 bits stand for, plus the update, in the place of quantised ones with adapters.

    Merging into 4 bits would round the update away; what was trained is the dequantised weights and the update.
    """
    import bitsandbytes

    for name, layer in list(network.named_modules()):
        if not isinstance(layer, LoraLayer):
            continue
        base: Any = layer.get_base_layer()
        weight = bitsandbytes.functional.dequantize_4bit(base.weight.data, base.weight.quant_state).float()
        plain = nn.Linear(base.in_features, base.out_features, bias=base.bias is not None, device=weight.device)
        plain.weight.copy_(_updated(weight, layer))
        if base.bias is not None:
            plain.bias.copy_(base.bias)
        _replace(network, name, plain)


def _updated(weight: torch.Tensor, layer: Any) -> torch.Tensor:
    """Return the (out, in) weight with its update; DoRA's rows have lengths of their own."""
    down, up = layer.lora_A["default"].weight.float(), layer.lora_B["default"].weight.float()
    weight = weight + layer.scaling["default"] * (up @ down)
    if "default" in layer.lora_magnitude_vector:
        lengths = layer.lora_magnitude_vector["default"].weight.float()
        weight = (lengths / weight.norm(dim=1))[:, None] * weight
    return weight


def real_count(parameter: Any) -> int:
    """Return how many weights a parameter stands for; in 4 bits two share a byte."""
    state = getattr(parameter, "quant_state", None)
    return int(parameter.numel() if state is None else torch.Size(state.shape).numel())


def check() -> None:
    """Refuse QLoRA where it cannot run.

    Raises:
        ModelError: no GPU, or bitsandbytes is not installed.
    """
    missing = None
    if not torch.cuda.is_available():
        missing = "there is no GPU here"
    elif importlib.util.find_spec("bitsandbytes") is None:
        missing = "bitsandbytes is not installed (pip install 'luthier[qlora]')"
    if missing:
        raise ModelError(
            f"QLoRA keeps the base in 4 bits on a GPU, and {missing}",
            where="train.method",
            mend="Use lora: the same update on the base in full precision, with four to eight times its memory.",
        )

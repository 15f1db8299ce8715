"""Bottleneck adapters: a narrow residual layer on each block's feed-forward output, saved beside the network it sits in.

Houlsby et al. 2019 (https://arxiv.org/abs/1902.00751) put them before the sum with the block's input; Pfeiffer et al. 2021
(https://arxiv.org/abs/2005.00247) keep only the one after the feed-forward layer. They hold a non-linearity, so they cannot
be folded into the weights.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import nn

from luthier.base.errors import BundleError, ModelError
from luthier.base.files import write_json
from luthier.models.freeze import blocks

NAME = "bottleneck"
_WEIGHTS, _FACTS = "bottleneck.safetensors", "bottleneck.json"


class Bottleneck(nn.Module):
    """``y + up(gelu(down(y)))``, the identity at the start: ``up`` begins at zero."""

    def __init__(self, size: int, width: int) -> None:
        super().__init__()
        self.down = nn.Linear(size, width)
        self.up = nn.Linear(width, size)
        nn.init.normal_(self.down.weight, std=0.02)
        nn.init.zeros_(self.down.bias)
        nn.init.zeros_(self.up.weight)
        nn.init.zeros_(self.up.bias)

    def forward(self, y: torch.Tensor) -> torch.Tensor:
        """Return (..., size) of the same."""
        return y + self.up(nn.functional.gelu(self.down(y)))


def add(network: nn.Module, width: int) -> int:
    """Put an adapter on the feed-forward output of every block; return how many.

    Raises:
        ModelError: a block without a linear feed-forward output (a mixture of experts).
    """
    places = [feed_forward_output(block) for block in blocks(network)]
    for layer in places:
        _attach(layer, Bottleneck(_out(layer), width).to(layer.weight.device))  # type: ignore[arg-type]
    return len(places)


def feed_forward_output(block: nn.Module) -> nn.Module:
    """Return a block's last linear layer: the projection back to the width of the residual stream."""
    layers = [m for m in block.modules() if isinstance(m, nn.Linear) or type(m).__name__ == "Conv1D"]
    if not layers:
        raise ModelError(
            "a block of this model has no linear feed-forward output",
            where="train.method: adapters",
            mend="Use lora, or full.",
        )
    return layers[-1]


def _out(layer: Any) -> int:
    return int(layer.out_features if isinstance(layer, nn.Linear) else layer.nf)


def _attach(layer: nn.Module, adapter: Bottleneck) -> None:
    layer.add_module(NAME, adapter)
    layer.register_forward_hook(_through)


def _through(layer: Any, given: Any, output: torch.Tensor) -> torch.Tensor:
    adapter: torch.Tensor = layer.bottleneck(output)
    return adapter


def found(network: nn.Module) -> Iterator[tuple[str, Bottleneck]]:
    """Yield the adapters of a network by name."""
    yield from ((name, m) for name, m in network.named_modules() if isinstance(m, Bottleneck))


def save(network: nn.Module, folder: Path) -> None:
    """Write the adapters' weights as safetensors and what is needed to put them back as JSON."""
    adapters = dict(found(network))
    folder.mkdir(parents=True, exist_ok=True)
    tensors = {f"{name}.{key}": v.contiguous() for name, m in adapters.items() for key, v in m.state_dict().items()}
    save_file(tensors, folder / _WEIGHTS)
    write_json(folder / _FACTS, {
        "kind": NAME,
        "places": [name.removesuffix("." + NAME) for name in adapters],
        "width": next(iter(adapters.values())).down.out_features,
        "computes": "y + up(gelu(down(y))), y the output of the module at that place",
    })  # fmt: skip


def load(network: nn.Module, folder: Path) -> None:
    """Put saved adapters back.

    Raises:
        BundleError: unreadable, or not of this network.
    """
    try:
        facts = json.loads((folder / _FACTS).read_text(encoding="utf-8"))
        tensors = load_file(folder / _WEIGHTS)
        for place in facts["places"]:
            layer = network.get_submodule(place)
            adapter = Bottleneck(_out(layer), int(facts["width"]))
            start = f"{place}.{NAME}."
            adapter.load_state_dict({k.removeprefix(start): v for k, v in tensors.items() if k.startswith(start)})
            _attach(layer, adapter.to(layer.weight.device))  # type: ignore[arg-type]
    except (OSError, ValueError, KeyError, AttributeError, RuntimeError) as error:
        raise BundleError(
            "the bundle's adapters cannot be read, or are not of this network", where=str(folder)
        ) from error


def bare_state(network: nn.Module) -> dict[str, torch.Tensor]:
    """Return the network's own state, without its adapters."""
    return {k: v for k, v in network.state_dict().items() if f".{NAME}." not in k}

"""Where a network's parameters stand, from its embeddings to its top: which of them learn, from when, and how fast."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from torch import nn

from luthier.base.errors import ModelError, TrainError


def stacks(network: nn.Module) -> list[nn.ModuleList]:
    """Return the lists of transformer blocks in the order of computation: one, or an encoder's and a decoder's."""
    found = _found(network)
    if not found:
        raise ModelError(
            "no list of layers was found in this model", where="train.method", mend="Use `full` or `head`."
        )
    return found


def _found(network: nn.Module) -> list[nn.ModuleList]:
    both = getattr(getattr(network, "config", None), "is_encoder_decoder", False)
    return [stack for part in (_halves(network) if both else [network]) if (stack := _longest(part)) is not None]


def _halves(network: nn.Module) -> list[nn.Module]:
    names = {name.split(".")[-1]: module for name, module in reversed(list(network.named_modules()))}
    return [names[half] for half in ("encoder", "decoder") if half in names] or [network]


def _longest(module: nn.Module) -> nn.ModuleList | None:
    lists = [m for m in module.modules() if isinstance(m, nn.ModuleList) and len(m) and len({type(x) for x in m}) == 1]
    return max(lists, key=len, default=None)


def blocks(network: nn.Module) -> list[nn.Module]:
    """Return the transformer blocks from the lowest to the highest; an encoder's stand below its decoder's."""
    return [block for stack in stacks(network) for block in stack]


def after(network: nn.Module) -> list[nn.Module]:
    """Return the norms that stand beside the blocks (a decoder's final norm)."""
    lists = stacks(network)
    for module in network.modules():
        children = dict(module.named_children())
        if any(child is lists[-1] for child in children.values()):
            return [
                c for name, c in children.items() if ("norm" in name.lower() and "embed" not in name) or name == "ln_f"
            ]
    return []


def embeddings(network: nn.Module) -> list[nn.Parameter]:
    """Return the parameters that turn ids and positions into vectors, with their norm where it stands with them."""
    tokens = network.get_input_embeddings()  # type: ignore[operator]
    inside = {id(m) for stack in _found(network) for m in stack.modules()}
    found: list[nn.Module] = [tokens]
    for name, module in network.named_modules():
        own = name.split(".")[-1]
        together = own == "embeddings" and any(child is tokens for child in module.modules())
        beside = isinstance(module, nn.Embedding) or own in ("layernorm_embedding", "embedding_norm")
        if together or (beside and id(module) not in inside):
            found.append(module)
    return list({id(p): p for module in found for p in module.parameters()}.values())


def depths(network: nn.Module) -> tuple[dict[int, int], int]:
    """Return the depth of each parameter by its id, and the top: 0 for embeddings, 1 to L for blocks, L + 1 above."""
    layers = blocks(network)
    top = len(layers) + 1
    found = {id(p): top for p in network.parameters()}
    for depth, block in enumerate(layers, 1):
        found.update((id(p), depth) for p in block.parameters())
    found.update((id(p), 0) for p in embeddings(network))
    return found, top


def last(network: nn.Module, count: int, head_names: Sequence[str]) -> None:
    """Let the last ``count`` blocks learn, the norms above them, and the head.

    Raises:
        ModelError: the model has fewer.
    """
    layers = blocks(network)
    if count > len(layers):
        raise ModelError(
            f"the model has {len(layers)} layers, {count} are asked for",
            where="train.layers",
            mend=f"Set it to {len(layers)} or less, or train.method to full.",
        )
    for module in [*layers[-count:], *after(network)]:
        module.requires_grad_(True)
    heads(network, head_names)


def heads(network: nn.Module, names: Sequence[str]) -> None:
    """Let the head inside the network learn."""
    for name, module in network.named_modules():
        if name in names:
            module.requires_grad_(True)


def biases(network: nn.Module, head_names: Sequence[str], *, freeze_embeddings: bool) -> None:
    """Let biases learn and nothing else but the head (BitFit, Ben Zaken et al. 2022, https://arxiv.org/abs/2106.10199).

    Raises:
        ModelError: the model has none.
    """
    frozen = {id(p) for p in embeddings(network)} if freeze_embeddings else set()
    found = [p for name, p in network.named_parameters() if name.endswith("bias") and id(p) not in frozen]
    if not found:
        raise ModelError(
            f"{_kind(network)} has no biases, so `bitfit` has nothing to learn",
            where="train.method",
            mend="Use lora, ia3 or adapters.",
        )
    for parameter in found:
        parameter.requires_grad_(True)
    heads(network, head_names)


def _kind(network: nn.Module) -> str:
    return str(getattr(getattr(network, "config", None), "model_type", "this model"))


def set_dropout(network: nn.Module, share: float) -> None:
    """Set every dropout of the network: its modules, and the shares that attention reads as plain numbers.

    Raises:
        ModelError: the model has none.
    """
    found = 0
    for module in network.modules():
        if isinstance(module, nn.Dropout):
            module.p = share
            found += 1
        for name, value in vars(module).items():
            # BART's blocks, Llama's attention and others call torch's function with an attribute. Layer drop is another thing.
            if "dropout" in name and isinstance(value, float | int) and not isinstance(value, bool):
                setattr(module, name, share)
                found += 1
    if not found and share:
        raise ModelError(
            f"{_kind(network)} has no dropout to set",
            where="train.dropout",
            mend="Leave it out; train.weight_decay and train.patience hold it back.",
        )


# Gradual unfreezing


def stages(learner: Any) -> list[list[nn.Parameter]]:
    """Return what learns, grouped in the order of joining: the head and the top block, then block by block downwards.

    ULMFiT (Howard & Ruder 2018, https://arxiv.org/abs/1801.06146).
    """
    by_id, top = depths(learner.network)
    groups: dict[int, list[nn.Parameter]] = {}
    for parameter in learner.parameters():
        if parameter.requires_grad:
            # The head alone would move for nothing where it was fitted: it starts together with the top block.
            groups.setdefault(min(by_id.get(id(parameter), top), top - 1), []).append(parameter)
    return [groups[depth] for depth in sorted(groups, reverse=True)]


def joins_at(stage: int, *, of: int, steps: int) -> int:
    """Return the update (from 0) at which a stage starts to learn: evenly spaced over the run."""
    return stage * steps // of


def check_stages(groups: Sequence[Sequence[nn.Parameter]], steps: int) -> None:
    """Refuse a run too short for every stage to have a step of its own.

    Raises:
        TrainError: fewer steps than stages.
    """
    if steps < len(groups):
        raise TrainError(
            f"gradual unfreezing has {len(groups)} stages, the run {steps} steps: the lowest layers would never learn",
            where="train.method",
            mend="Raise train.epochs or train.max_steps, or use full or last-layers.",
        )


@contextmanager
def learning(groups: Sequence[Sequence[nn.Parameter]] | None, step: int, steps: int) -> Iterator[None]:
    """Let only the stages learn that have joined by ``step``; afterwards all are as they were.

    Which these are follows from the step number alone, so a resumed run goes on exactly. Between steps every parameter
    counts as learning: checkpoints and the best weights hold them all.
    """
    waiting = [
        p
        for i, group in enumerate(groups or ())
        if joins_at(i, of=len(groups or ()), steps=steps) > step
        for p in group
    ]
    for parameter in waiting:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for parameter in waiting:
            parameter.requires_grad_(True)

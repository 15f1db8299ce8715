"""How the blocks run in training: compiled, and with what they computed kept or computed again."""

from __future__ import annotations

import importlib.util
import shutil
from functools import partial
from types import MethodType
from typing import Any

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from luthier.base.errors import ModelError
from luthier.models.freeze import blocks

# More compiled variants of a block than this and it runs uncompiled: lengths are no variants, since they are symbols there.
_VARIANTS = 8


def keep_inputs_only(network: nn.Module) -> None:
    """Let each block keep only its input for the backward pass and compute the rest again (Chen et al. 2016, https://arxiv.org/abs/1604.06174)."""
    for block in blocks(network):
        block.forward = MethodType(_again, block)


def _again(self: nn.Module, *args: Any, **kwargs: Any) -> Any:
    run = partial(type(self).forward, self)
    if not (self.training and torch.is_grad_enabled()):
        return run(*args, **kwargs)
    # What was drawn must be drawn again; where nothing is drawn, asking for the generator's state only costs time.
    return checkpoint(run, *args, use_reentrant=False, preserve_rng_state=_draws(self), **kwargs)


def _draws(block: nn.Module) -> bool:
    return any(
        (isinstance(m, nn.Dropout) and m.p > 0)
        or any("dropout" in name and isinstance(v, float) and v > 0 for name, v in vars(m).items())
        for m in block.modules()
    )


def compile_blocks(network: nn.Module) -> None:
    """Compile each block as it runs in training; in evaluation it runs as before.

    Blocks of one kind share what is compiled, so a deep network compiles as fast as a flat one. Sizes are symbols: another
    length is no other variant.

    Raises:
        ModelError: no compiler for this device.
    """
    missing = missing_compiler(next(network.parameters()).device)
    if missing:
        raise ModelError(f"torch.compile needs {missing}", where="train.compile", mend="Install it, or set it to off.")
    import torch._dynamo.config as dynamo

    dynamo.recompile_limit = _VARIANTS
    for block in blocks(network):
        compiled = torch.compile(block._call_impl, dynamic=True)
        block._compiled_call_impl = partial(_chosen, block, compiled)


def _chosen(block: nn.Module, compiled: Any, *args: Any, **kwargs: Any) -> Any:
    if not (block.training and torch.is_grad_enabled()):
        return block._call_impl(*args, **kwargs)
    if args and isinstance(args[0], torch.Tensor) and not args[0].requires_grad:
        # Under adapters nothing before the first block learns; as a case of its own it would be compiled a second time.
        args = (args[0].detach().requires_grad_(), *args[1:])
    return compiled(*args, **kwargs)


def missing_compiler(device: torch.device) -> str | None:
    """Return what torch.compile lacks for a device, or None."""
    if device.type == "cuda":
        return None if importlib.util.find_spec("triton") else "the package triton"
    return None if any(map(shutil.which, ("g++", "clang++", "c++"))) else "a C++ compiler"


def undo(network: nn.Module) -> None:
    """Let the blocks run as transformers has them."""
    for block in blocks(network):
        if isinstance(block.__dict__.get("forward"), MethodType) and block.forward.__func__ is _again:  # type: ignore[attr-defined]
            del block.forward
        block._compiled_call_impl = None

"""What `auto` means where only time and memory are at stake: packed rows, compiled blocks, activations computed again.

None of these settings changes what is learnt (tests/numeric/test_speed_parities.py holds it).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from luthier.base.errors import ModelError, TrainError
from luthier.models import dropout, dropped, flat, freeze, low_rank, memory, methods, passes
from luthier.objectives.heads import use
from luthier.objectives.learner import Learner
from luthier.spec.objective import WRITING
from luthier.spec.train import TrainSection
from luthier.train.defaults import BATCH, make_plan, micro_tokens

# Tokens of a pass on a GPU, tried from the most: products of 16,384 rows run at full rate, and more only take memory.
_PASSES = (16384, 8192, 4096)
# Compiling takes about a minute; with fewer steps than this it is not won back.
_STEPS_THAT_PAY = 300
# Methods whose networks are read through a learnt prompt, change what learns from step to step, or learn nothing inside.
_NOT_COMPILED = frozenset(("prompt", "prefix", "gradual", "head", "prototypes", "neighbours"))


@dataclass(frozen=True, slots=True)
class Setting:
    """One setting with its value and the reason for it."""

    key: str
    value: Any
    why: str

    def __str__(self) -> str:
        return f"{self.key} {self.value}: {self.why}"


def choose(train: TrainSection, *, rows: int, learner: Learner) -> list[Setting]:
    """Return what each `auto` becomes for a learner whose method is chosen and not yet applied; what is set stays."""
    where = learner.device
    found: list[Setting] = []
    packing = _packing(train, learner)
    found += [packing] if train.packing == "auto" else []
    packs = (packing.value if train.packing == "auto" else train.packing) == "on"
    if where.type == "cuda" and learner.objective in WRITING:
        found += _by_memory(train, learner, packs)
    elif train.checkpointing == "auto":
        found.append(Setting("checkpointing", "off", "only a GPU is filled so far that time is worth less than memory"))
    if train.compile == "auto":
        found.append(_compiling(train, where, rows, packs))
    return found


def settle(train: TrainSection, *, rows: int, learner: Learner) -> TrainSection:
    """Return the section with these settings decided."""
    return train.model_copy(update={s.key: s.value for s in choose(train, rows=rows, learner=learner)})


def _packing(train: TrainSection, learner: Learner) -> Setting:
    if train.method in ("prompt", "prefix"):
        return Setting("packing", "off", "a learnt prompt stands before each row")
    if learner.objective == "text":
        why = learner.packs_rows()
        return Setting("packing", "off" if why else "on", why or "documents fill rows and do not see each other")
    if learner.device.type != "cuda":
        return Setting("packing", "off", "on a CPU rows of like length are padded little, and a mask costs more")
    if not flat.has_kernel() or train.precision == "float32" or not torch.cuda.is_bf16_supported():
        return Setting("packing", "off", "flash attention for it needs torch 2.10 and bfloat16")
    why = learner.packs_rows()
    return Setting("packing", "off" if why else "on", why or "no padding, and flash attention keeps rows apart")


def _by_memory(train: TrainSection, learner: Learner, packs: bool) -> list[Setting]:
    """Decide together how long a pass is and whether its activations are kept: the longest that fits, kept if one does."""
    try:
        size = memory.size_of(methods.plain(learner.network))
    except ModelError:
        size = None
    room = memory.free_bytes(learner.device)
    if size is None or room is None or train.method not in ("full", "lora", "qlora", "last-layers"):
        return [Setting("checkpointing", "off", "the memory of this method is not estimated")] \
            if train.checkpointing == "auto" else []  # fmt: skip
    room += sum(p.numel() * p.element_size() for p in learner.network.parameters())
    passes_ = _PASSES if train.micro_tokens == "auto" else (micro_tokens(train, learner.objective),)
    kept = {"auto": (False, True), "on": (True,), "off": (False,)}[train.checkpointing]
    tried = [(again, tokens) for again in kept for tokens in passes_]
    needs = {at: _needs(train, learner, size, packs, *at) for at in tried}
    again, tokens = next((at for at in tried if needs[at] <= room), tried[-1])
    words = f"about {memory.gigabytes(needs[again, tokens])} of {memory.gigabytes(room)}"
    found = []
    if train.micro_tokens == "auto":
        found.append(Setting("micro_tokens", tokens, words))
    if train.checkpointing == "auto":
        why = f"activations fit, {words}" if not again else f"activations would need {memory.gigabytes(needs[False, tokens])}"
        found.append(Setting("checkpointing", "on" if again else "off", why))
    return found


def _needs(train: TrainSection, learner: Learner, size: memory.Size, packs: bool, again: bool, tokens: int) -> int:
    return memory.needed(
        size, train.method, rank=train.lora.rank, layers=min(train.layers, size.layers), tokens=tokens,
        row_tokens=min(learner.max_tokens, tokens), embeddings=train.embeddings != "freeze",
        on_gpu=memory.Pass(flat=packs, again=again),
    )  # fmt: skip


def _compiling(train: TrainSection, where: torch.device, rows: int, packs: bool) -> Setting:
    if where.type != "cuda":
        return Setting("compile", "off", "it pays on a GPU")
    if not packs:
        return Setting("compile", "off", "rows are not packed, and padded passes have many shapes")
    if train.method in _NOT_COMPILED:
        return Setting("compile", "off", f"not with `{train.method}`")
    missing = passes.missing_compiler(where)
    if missing:
        return Setting("compile", "off", f"it needs {missing}")
    epochs = 3.0 if train.epochs == "auto" else float(train.epochs)
    batch = BATCH if train.batch == "auto" else train.batch
    steps = make_plan(train.model_copy(update={"epochs": epochs, "batch": batch, "rate": 0.0, "micro_tokens": 1, "label_smoothing": 0.0,
                                               "warmup_steps": None}), rows=rows).steps  # fmt: skip
    if steps < _STEPS_THAT_PAY:
        return Setting("compile", "off", f"{steps} steps do not win back the minute that it takes")
    return Setting("compile", "on", f"{steps} steps win back the minute that it takes")


def read_frozen(learner: Learner, train: TrainSection) -> None:
    """Let the untouched network be read in the precision of the training that begins there.

    A head that is all that learns is fitted to every digit.
    """
    kept = getattr(learner, "frozen", None)
    if kept is not None:
        kept.half = learner.device.type if train.precision == "bfloat16" and train.method not in use.ENDS else None


def prepare(learner: Learner, train: TrainSection) -> None:
    """Put settled settings on a learner whose method is applied.

    Raises:
        TrainError, ModelError: a setting that this learner cannot take.
    """
    if train.packing != "auto":
        learner.lay_flat(train.packing == "on")
    read_frozen(learner, train)
    network: Any = methods.plain(learner.network)
    if train.precision == "bfloat16" and learner.device.type == "cuda":
        low_rank.hold_half(learner.network)
    if train.checkpointing == "on":
        _with_layers(network, "checkpointing")
        if train.method in ("prompt", "prefix"):
            _refuse("checkpointing", f"`{train.method}` hands keys to the blocks that are used up when they are run again")
        passes.keep_inputs_only(network)
    if train.compile == "on":
        _with_layers(network, "compile")
        if train.method in _NOT_COMPILED:
            _refuse("compile", f"`{train.method}` changes what the blocks are handed or which of them learn")
        passes.compile_blocks(network)
        for module in learner.modules():
            if isinstance(module, Learner):
                module.compiled = True
    elif learner.device.type == "cpu":  # a compiler draws inside its own loops
        dropout.use_quick(learner)
        if hasattr(network, "config"):
            dropped.use(network)


def release(learner: Learner) -> None:
    """Take everything back that :func:`prepare` put on for the time of training, but for the weights."""
    for module in learner.modules():
        if isinstance(module, Learner):
            module.compiled = False
            module.set_flat(False)
    dropout.undo(learner)
    network = methods.plain(learner.network) if getattr(learner, "network", None) is not None else None
    if network is not None and hasattr(network, "config"):
        dropped.leave(network)
    if network is not None and _layers(network):
        passes.undo(network)


def _layers(network: Any) -> Sequence[Any]:
    try:
        return freeze.blocks(network)
    except ModelError:
        return ()


def _with_layers(network: Any, key: str) -> None:
    if not _layers(network):
        _refuse(key, "no list of layers was found in this model")


def _refuse(key: str, why: str) -> None:
    raise TrainError(why, where=f"train.{key}", mend="Set it to auto or off.")

"""What `method: auto` means: the method for these rows, this network and this machine, with the reason in words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from luthier.base.errors import ModelError
from luthier.base.records import Example
from luthier.models import memory, methods, quantised
from luthier.objectives.classify import Classifier
from luthier.objectives.learner import Learner
from luthier.spec.objective import ANSWERING, WRITING
from luthier.spec.train import BY_VECTORS, TrainSection
from luthier.train import defaults
from luthier.train.choice import Choice
from luthier.train.few.contest import contest

# Decoders follow instructions from few rows best when little of them may move: low-rank updates reach full tuning there
# (Schulman et al. 2025, "LoRA without regret") and forget less (Biderman et al. 2024, https://arxiv.org/abs/2405.09673);
# with hundreds of thousands of rows their capacity ends.
_MANY_ROWS = 200_000


def choose_method(
    learner: Learner,
    examples: Sequence[Example],
    train: TrainSection,
    *,
    seed: int | None = None,
    contests: bool = True,
) -> Choice:
    """Return the method for a task; the one asked for where it is not `auto`.

    Few labels are decided by a contest where there is one for the objective (:data:`CONTESTS`); otherwise full tuning is
    taken where it fits in memory, and low-rank updates where it does not or where the model writes.

    Args:
        learner: as made of the base, before anything learns.
        train: with or without `auto` elsewhere.
        seed: of a contest's folds; default the section's own.
        contests: False where a body is wanted that others build on, whatever a head alone would reach.
    Raises:
        ModelError: no method fits in memory.
    """
    if train.method != "auto":
        if train.method == "qlora":
            quantised.check()
        if train.method in BY_VECTORS and not isinstance(learner, Classifier):
            raise ModelError(
                f"`{train.method}` classifies by an encoder's vectors, which this task has none of",
                where="train.method",
                mend="Leave it out, or use lora, last-layers or full.",
            )
        return Choice(train.method, "the task asks for it")
    found = _by_size(learner, examples, train)
    hold = CONTESTS.get(learner.objective) if contests else None
    won = hold(learner, examples, train, train.seed if seed is None else seed, found) if hold else None
    return won or found


# Contests for few labels, one per objective: handed the learner, the rows, the section, a seed and the choice by size, they
# return the winner, or None where there are too many rows for a contest to be worth its time.
CONTESTS: dict[str, Any] = {"classify": contest}


def _by_size(learner: Learner, examples: Sequence[Example], train: TrainSection) -> Choice:
    network = methods.plain(learner.network)
    try:
        size = memory.size_of(network)
    except ModelError:
        return Choice("full", "the layers of this model could not be told apart, so its memory was not estimated")
    where = next(network.parameters()).device
    room = memory.free_bytes(where)
    # On a GPU a method fits where its shortest pass does, with activations computed again (luthier/train/speed.py).
    tokens = defaults.micro_tokens(train, learner.objective) if where.type != "cuda" else 4096
    row = min(learner.max_tokens, tokens)
    trained = train.embeddings == "train" or (train.embeddings == "auto" and learner.objective in WRITING)
    needs = {
        method: memory.needed(
            size, method, rank=train.lora.rank, layers=min(train.layers, size.layers), tokens=tokens, row_tokens=row,
            embeddings=trained, on_gpu=memory.Pass(flat=True, again=True) if where.type == "cuda" else None,
        ) - (0 if method == "qlora" else _already(network))
        for method in ("full", "lora", "qlora", "last-layers", "head")
    }  # fmt: skip
    order, reason = wanted(learner.objective, len(examples), small=learner.small, headed=learner.headed)
    facts = {"needs_bytes": needs, "free_bytes": room}
    for method in order:
        if method == "qlora" and not _can_qlora():
            continue
        if room is None or needs[method] <= room:
            return Choice(method, _words(method, order[0], reason, needs, room, len(examples)), facts)
    raise ModelError(
        f"training needs about {memory.gigabytes(min(needs[m] for m in order))} with the smallest method, "
        f"{memory.gigabytes(room or 0)} are free",
        where="model.base",
        mend="Take a smaller base model, lower train.micro_tokens, or name a train.method to try it all the same.",
    )


def _already(network: torch.nn.Module) -> int:
    """Return the bytes of weights that are loaded and so are taken from the free memory already."""
    return sum(p.numel() * p.element_size() for p in network.parameters())


def wanted(objective: str, rows: int, *, small: bool, headed: bool) -> tuple[tuple[str, ...], str]:
    """Return the methods from the one wanted most, and why that one; ``small`` and ``headed`` are those of :class:`Learner`."""
    less = ("lora", "qlora", "last-layers", *(("head",) if headed else ()))
    if small:
        return ("full", *less), "so small a model that writes learns more as a whole than by adapters"
    if objective in ANSWERING and rows < _MANY_ROWS:
        why = "a model that writes keeps more of what it can do under low-rank updates, and learns as much from so few rows"
        return less, why
    if objective in WRITING:
        return (
            "full",
            *less,
        ), "there is much to learn, and all of the network can hold it"
    return ("full", *less), "an encoder learns most when all its layers may move"


def _words(
    method: str, wanted: str, reason: str, needs: Mapping[str, int], room: int | None, rows: int
) -> str:  # fmt: skip
    free = (
        ""
        if room is None
        else f"; about {memory.gigabytes(max(0, needs[method]))} more memory of {memory.gigabytes(room)} free"
    )
    if method == wanted:
        return f"{rows:,} rows: {reason}{free}"
    return (
        f"`{wanted}` would need about {memory.gigabytes(needs[wanted])} more memory and {memory.gigabytes(room or 0)} are "
        f"free; `{method}` needs {memory.gigabytes(max(0, needs[method]))}"
    )


def _can_qlora() -> bool:
    try:
        quantised.check()
    except ModelError:
        return False
    return True

"""Whether what is read of a text sees its end: in a network that reads from left to right the first token sees only itself."""

from __future__ import annotations

import itertools
from typing import Any

import torch

from luthier.base.errors import ModelError
from luthier.models.load import Base

_WORDS = 6


def settled_pooling(base: Base, network: Any, pooling: str, *, asked: str) -> str:
    """Return the pooling for a network: the one that was found, or ``mean`` where `auto` found one that sees nothing of a text.

    Args:
        network: the bare one, or the model's own classifier for ``own``.
        asked: what the task says.
    Raises:
        ModelError: the task names such a one.
    """
    if pooling not in ("cls", "own") or sees_end(base, network):
        return pooling
    if asked == "auto":
        return "mean"
    part = "its first token" if pooling == "cls" else "its own classification head, which looks at the first token,"
    raise ModelError(
        f"{base.found.name} ({base.config.model_type}) reads from left to right, and {part} sees nothing of what follows",
        where="model.pooling",
        mend="Set it to auto or mean.",
    )


def sees_end(base: Base, network: Any) -> bool:
    """Whether the first token's vector, or the scores of the network's own classifier, change with the last word of a text.

    Measured on two short texts where the configuration leaves a doubt: some architectures are built in both ways, and where a
    classifier looks differs from one to the next.
    """
    if not (base.decodes or getattr(base.config, "is_decoder", False)):
        return True
    if base.hollow is not None:  # weights that are left open tell nothing; `score` reads the last token
        return hasattr(network, "score")
    special = {*base.tokenizer.all_special_ids}
    words = [*itertools.islice((i for i in range(len(base.tokenizer)) if i not in special), _WORDS + 1)]
    with torch.no_grad():
        one, other = (_read(network, [*words[: _WORDS - 1], last]) for last in words[-2:])
    return not torch.allclose(one, other, rtol=0, atol=1e-6)


def _read(network: Any, ids: list[int]) -> torch.Tensor:
    ids_BT = torch.tensor([ids], device=next(network.parameters()).device)
    output = network(input_ids=ids_BT, attention_mask=torch.ones_like(ids_BT))
    logits: torch.Tensor | None = getattr(output, "logits", None)
    return output.last_hidden_state[:, 0] if logits is None else logits

"""Run a network with a learnt prompt or prefix in front: positions counted, padding kept out, virtual positions cut off."""

from __future__ import annotations

from typing import Any

import torch
from peft import PeftModel, PeftType
from torch import nn

from luthier.base.errors import ModelError
from luthier.models.load import positions


def learns_input(network: nn.Module) -> bool:
    """Whether a prompt or prefix was learnt, which no merging can fold into the weights."""
    return isinstance(network, PeftModel) and bool(network.active_peft_config.is_prompt_learning)


def learns_keys(network: nn.Module) -> bool:
    """Whether what was learnt are keys and values of every layer."""
    return learns_input(network) and network.active_peft_config.peft_type == PeftType.PREFIX_TUNING  # type: ignore[union-attr]


def run(network: Any, ids_BT: torch.Tensor, mask_BT: torch.Tensor | None, *, part: Any = None, **extra: Any) -> Any:
    """Return the output of ``part`` of the network (default: all of it) for ids padded on the right.

    Where a prompt was learnt, it stands in front of the ids. Hidden states and scores of its positions are cut off, so
    what comes back has T positions as without one.
    """
    if not learns_input(network):
        return (network if part is None else part)(input_ids=ids_BT, attention_mask=mask_BT, **extra)
    part = network.get_base_model() if part is None else part
    count = network.active_peft_config.num_virtual_tokens
    if mask_BT is not None:
        mask_BT = torch.cat([torch.ones_like(mask_BT[:, :1]).expand(-1, count), mask_BT], dim=1)
    learnt: Any = network.get_prompt(batch_size=len(ids_BT))
    if not torch.is_tensor(learnt):
        # A prefix is read as keys and values of words before, whatever the caller wants of a cache of its own.
        return part(input_ids=ids_BT, attention_mask=mask_BT, past_key_values=learnt, **{**extra, "use_cache": True})
    words_BTD = network.word_embeddings(ids_BT)
    output = part(
        inputs_embeds=torch.cat([learnt.to(words_BTD.dtype), words_BTD], dim=1), attention_mask=mask_BT, **extra
    )
    for name in ("last_hidden_state", "logits"):
        value = getattr(output, name, None)
        if value is not None and value.dim() == 3:
            setattr(output, name, value[:, count:])
    return output


def room(network: Any, max_tokens: int) -> int:
    """Return how many tokens of a text fit where learnt positions take some of the model's own."""
    limit = positions(network.config) if learns_input(network) else None
    return max_tokens if limit is None else min(max_tokens, limit - network.active_peft_config.num_virtual_tokens)


def check_room(network: Any, count: int) -> None:
    """Refuse so many virtual tokens that no text fits beside them.

    Raises:
        ModelError: fewer than eight tokens would be left.
    """
    limit = positions(network.config)
    if limit is not None and limit - count < 8:
        raise ModelError(
            f"{count} virtual tokens leave no room in a model of {limit} positions",
            where="train.prompt.tokens",
            mend=f"Set it to {max(1, limit // 4)} or less.",
        )


def shape_of_keys(network: Any) -> dict[str, int]:
    """Return what a prefix must look like: layers, key and value heads (fewer where queries share them), and their width."""
    config = network.config
    heads = int(getattr(config, "num_attention_heads", None) or config.n_head)
    hidden = int(getattr(config, "hidden_size", None) or getattr(config, "dim", 0) or config.n_embd)
    kept = int(getattr(config, "num_key_value_heads", None) or heads)
    width = int(getattr(config, "head_dim", None) or hidden // heads)
    layers = int(getattr(config, "num_hidden_layers", None) or getattr(config, "n_layers", 0) or config.n_layer)
    return {"num_layers": layers, "num_attention_heads": kept, "token_dim": kept * width}


@torch.no_grad()
def changes_output(network: Any) -> bool:
    """Whether what is learnt in front reaches the output: some architectures take it and leave it aside."""
    device = next(network.parameters()).device
    # Two rows of different length: some architectures take a prompt alone and fail on a padded batch.
    ids_BT = torch.arange(1, 11, device=device).view(2, 5) % int(network.config.vocab_size)
    mask_BT = torch.ones_like(ids_BT)
    mask_BT[1, 3:] = 0
    weights = list(network.prompt_encoder.parameters())
    kept = [p.clone() for p in weights]
    was_training = network.training
    network.eval()
    try:
        before = _vectors(run(network, ids_BT, mask_BT))
        for p in weights:
            p.add_(torch.linspace(-1, 1, p.numel(), device=device).view_as(p))
        after = _vectors(run(network, ids_BT, mask_BT))
    finally:
        for p, value in zip(weights, kept, strict=True):
            p.copy_(value)
        network.train(was_training)
    return bool(torch.isfinite(after).all()) and not torch.allclose(before, after, atol=1e-6)


def _vectors(output: Any) -> torch.Tensor:
    found: torch.Tensor = output.logits if getattr(output, "logits", None) is not None else output.last_hidden_state
    return found


def generation_inputs(network: Any, ids_BT: torch.Tensor, mask_BT: torch.Tensor) -> dict[str, Any]:
    """Return what a decoder's ``generate`` needs for ids padded on the left, a learnt prompt in front of the real ones."""
    if not learns_input(network):
        return {"input_ids": ids_BT, "attention_mask": mask_BT}
    count = network.active_peft_config.num_virtual_tokens
    learnt: Any = network.get_prompt(batch_size=len(ids_BT))
    wide_mask = torch.cat([torch.ones_like(mask_BT[:, :1]).expand(-1, count), mask_BT], dim=1)
    if not torch.is_tensor(learnt):
        # generate() takes as many ids off the front as there are keys already; which ids these are is never looked at.
        wide_ids = torch.cat([torch.zeros_like(ids_BT[:, :1]).expand(-1, count), ids_BT], dim=1)
        return {"input_ids": wide_ids, "attention_mask": wide_mask, "past_key_values": learnt}
    words_BTD = network.word_embeddings(ids_BT)
    rows: list[torch.Tensor] = []
    for words_TD, mask_T in zip(words_BTD, mask_BT, strict=True):
        pads = int((mask_T == 0).sum())
        rows.append(torch.cat([words_TD[:pads], learnt[len(rows)].to(words_TD.dtype), words_TD[pads:]]))
    narrow = torch.cat([mask_BT, torch.ones_like(mask_BT[:, :1]).expand(-1, count)], dim=1)
    return {"inputs_embeds": torch.stack(rows), "attention_mask": narrow}

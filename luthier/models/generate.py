"""Answer prompts with a decoder: greedily, in batches padded on the left."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from transformers import GenerationConfig


def generate(
    network: torch.nn.Module,
    prompts: Sequence[Sequence[int]],
    *,
    ends: Sequence[int],
    pad: int,
    max_new_tokens: int,
) -> list[list[int]]:
    """Return the new ids of each prompt, end token included where one was made.

    Args:
        prompts: B lists of ids; they are padded on the left to one (B, T) batch.
    """
    device = next(network.parameters()).device
    longest = max(len(p) for p in prompts)
    ids_BT = torch.full((len(prompts), longest), pad, dtype=torch.long, device=device)
    mask_BT = torch.zeros_like(ids_BT)
    for row, prompt in enumerate(prompts):
        ids_BT[row, longest - len(prompt) :] = torch.tensor(prompt, device=device)
        mask_BT[row, longest - len(prompt) :] = 1
    config = GenerationConfig(
        max_new_tokens=max_new_tokens, eos_token_id=list(ends), pad_token_id=pad, use_cache=True, do_sample=False
    )
    with torch.inference_mode():
        made_BT = network.generate(input_ids=ids_BT, attention_mask=mask_BT, generation_config=config)  # type: ignore[operator]
    return [_until(row, ends) for row in made_BT[:, longest:].tolist()]


def _until(ids: list[int], ends: Sequence[int]) -> list[int]:
    for index, token in enumerate(ids):
        if token in ends:
            return ids[: index + 1]
    return ids

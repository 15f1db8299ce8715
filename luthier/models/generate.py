"""Answer prompts with a decoder: greedily, in batches padded on the left."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from peft import PeftModel
from transformers import GenerationConfig, LogitsProcessor, LogitsProcessorList

from luthier.models import virtual


def generate(
    network: torch.nn.Module,
    prompts: Sequence[Sequence[int]],
    *,
    ends: Sequence[int],
    pad: int,
    max_new_tokens: int,
    never_repeat: int = 0,
) -> list[list[int]]:
    """Return the new ids of each prompt, end token included where one was made.

    Args:
        network: plain, or wrapped by peft.
        prompts: B lists of ids; they are padded on the left to one (B, T) batch.
        never_repeat: no run of so many tokens stands twice in an answer; what stands in the prompt may be repeated. 0: any may.
    """
    if virtual.learns_keys(network) and len({len(p) for p in prompts}) > 1:
        # Padding between a prefix and its prompt would push the prefix out of sliding attention windows.
        by_length = {size: [p for p in prompts if len(p) == size] for size in {len(p) for p in prompts}}
        made = {
            size: iter(generate(network, same, ends=ends, pad=pad, max_new_tokens=max_new_tokens, never_repeat=never_repeat))
            for size, same in by_length.items()
        }
        return [next(made[len(p)]) for p in prompts]
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
    plain: Any = network.get_base_model() if isinstance(network, PeftModel) else network
    with torch.inference_mode():
        given = virtual.generation_inputs(network, ids_BT, mask_BT)
        # Where vectors were given and no ids, only new ids come back.
        known = given["input_ids"].shape[1] if "input_ids" in given else 0
        made_BT = plain.generate(**given, generation_config=config, logits_processor=_allowed(never_repeat, known))
    return [_until(row, ends) for row in made_BT[:, known:].tolist()]


def generate_seq2seq(
    network: torch.nn.Module,
    ids_BT: torch.Tensor,
    mask_BT: torch.Tensor,
    *,
    ends: Sequence[int],
    pad: int,
    max_new_tokens: int,
    never_repeat: int = 0,
) -> list[list[int]]:
    """Return the ids that an encoder-decoder writes for each row it reads, end token included where one was made.

    Greedy: what a summariser's folder says of beams and least lengths was chosen for another task. Which token starts an
    answer is the folder's own.
    """
    config = GenerationConfig(
        max_new_tokens=max_new_tokens, eos_token_id=list(ends), pad_token_id=pad, use_cache=True, do_sample=False,
        num_beams=1, min_length=0, no_repeat_ngram_size=0, repetition_penalty=1.0,
    )  # fmt: skip
    plain: Any = network.get_base_model() if isinstance(network, PeftModel) else network
    with torch.inference_mode():
        made_BT = plain.generate(
            input_ids=ids_BT, attention_mask=mask_BT, generation_config=config, logits_processor=_allowed(never_repeat, 1)
        )
    return [_until(row, ends) for row in made_BT[:, 1:].tolist()]


class _NeverTwice(LogitsProcessor):
    """Forbid the tokens that would end a run of ``size`` tokens which stands in the answer already.

    transformers' own counts the prompt's runs too, and a summary or a number repeated for the asker is made of those.
    """

    def __init__(self, size: int, known: int) -> None:
        self.size, self.known = size, known

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        for row, ids in enumerate(input_ids[:, self.known :].tolist()):
            last = tuple(ids[len(ids) - self.size + 1 :]) if self.size > 1 else ()
            starts = range(len(ids) - self.size + 1)
            banned = [ids[i + self.size - 1] for i in starts if tuple(ids[i : i + self.size - 1]) == last]
            if banned:
                scores[row, banned] = -torch.inf
        return scores


def _allowed(never_repeat: int, known: int) -> LogitsProcessorList:
    return LogitsProcessorList([_NeverTwice(never_repeat, known)] if never_repeat else [])


def _until(ids: list[int], ends: Sequence[int]) -> list[int]:
    for index, token in enumerate(ids):
        if token in ends:
            return ids[: index + 1]
    return ids

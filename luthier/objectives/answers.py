"""Several answers to one prompt as rows of a batch: each behind its own copy of the prompt, or all behind one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from luthier.base.records import Encoded

# Sequences that begin with the same prompt and are learnt from their first learnt token to their end.
Group = Sequence[Encoded]
# A mask that is not plainly causal makes attention dearer, so sharing must save at least this share of the tokens.
_WORTH = 0.15


@dataclass(frozen=True, slots=True)
class Layout:
    """Groups as tensors. Learnt token n is ``target_N[n]``, of sequence ``sequence_N[n]``, predicted at the flat place ``source_N[n]``.

    ``mask`` (B, 1, T, T) is true where attention may look, and comes with ``positions_BT``; both are None where every
    sequence has a line of its own: padding stands on the right, and attention looks left only.
    """

    ids_BT: torch.Tensor
    positions_BT: torch.Tensor | None
    mask: torch.Tensor | None
    source_N: torch.Tensor
    target_N: torch.Tensor
    sequence_N: torch.Tensor
    sequences: int

    def to(self, device: torch.device) -> Layout:
        """Return it on a device."""
        moved = (t.to(device) if t is not None else None for t in (self.ids_BT, self.positions_BT, self.mask))
        ids_BT, positions_BT, mask = moved
        assert ids_BT is not None
        return Layout(
            ids_BT, positions_BT, mask, self.source_N.to(device), self.target_N.to(device), self.sequence_N.to(device),
            self.sequences,
        )  # fmt: skip


def prompt_length(sequence: Encoded) -> int:
    """Return how many tokens stand before the answer."""
    return sequence.learn.index(True)


def lay_out(groups: Sequence[Group], *, pad: int, share: bool) -> Layout:
    """Return groups as a batch, behind shared prompts where ``share`` allows it and it saves enough."""
    return together(groups, pad=pad) if share and saving(groups) >= _WORTH else apart(groups, pad=pad)


def saving(groups: Sequence[Group]) -> float:
    """Return the share of computed tokens, padding included, that shared prompts save."""
    sequences = [s for group in groups for s in group]
    alone = len(sequences) * max(len(s.ids) for s in sequences)
    shared = len(groups) * max(_width(group) for group in groups)
    return 1 - shared / alone


def _width(group: Group) -> int:
    return len(group[0].ids) + sum(len(s.ids) - prompt_length(s) for s in group[1:])


def apart(groups: Sequence[Group], *, pad: int) -> Layout:
    """Return every sequence on a line of its own, in the order of the groups."""
    sequences = [s for group in groups for s in group]
    width = max(len(s.ids) for s in sequences)
    ids_BT = torch.full((len(sequences), width), pad, dtype=torch.long)
    sources, targets, owners = [], [], []
    for number, sequence in enumerate(sequences):
        ids = torch.tensor(sequence.ids)
        ids_BT[number, : len(ids)] = ids
        start = prompt_length(sequence)
        sources.append(torch.arange(start - 1, len(ids) - 1) + number * width)
        targets.append(ids[start:])
        owners.append(torch.full((len(ids) - start,), number))
    return Layout(
        ids_BT, None, None, torch.cat(sources), torch.cat(targets), torch.cat(owners), len(sequences)
    )  # fmt: skip


def together(groups: Sequence[Group], *, pad: int) -> Layout:
    """Return a line for each group: the prompt once, then its answers, which see the prompt and themselves only."""
    width = max(_width(group) for group in groups)
    ids_BT = torch.full((len(groups), width), pad, dtype=torch.long)
    positions_BT = torch.zeros((len(groups), width), dtype=torch.long)
    # 0 is the prompt, 1, 2, ... its answers, -1 padding.
    part_BT = torch.full((len(groups), width), -1)
    sources, targets, owners = [], [], []
    number = 0
    for line, group in enumerate(groups):
        start = prompt_length(group[0])
        ids_BT[line, :start] = torch.tensor(group[0].ids[:start])
        positions_BT[line, :start] = torch.arange(start)
        part_BT[line, :start] = 0
        place = start
        for part, sequence in enumerate(group, 1):
            answer = torch.tensor(sequence.ids[start:])
            here = slice(place, place + len(answer))
            ids_BT[line, here] = answer
            positions_BT[line, here] = torch.arange(start, start + len(answer))
            part_BT[line, here] = part
            # The first token of each answer is predicted from the prompt's last.
            places = torch.arange(place - 1, place + len(answer) - 1)
            places[0] = start - 1
            sources.append(places + line * width)
            targets.append(answer)
            owners.append(torch.full((len(answer),), number))
            place, number = place + len(answer), number + 1
    looks_left = torch.ones(width, width, dtype=torch.bool).tril()
    sees = (part_BT[:, None, :] == 0) | (part_BT[:, None, :] == part_BT[:, :, None])
    return Layout(
        ids_BT, positions_BT, (looks_left & sees)[:, None], torch.cat(sources), torch.cat(targets), torch.cat(owners),
        number,
    )  # fmt: skip


@torch.no_grad()
def can_share(network: Any, max_tokens: int) -> bool:
    """Whether answers behind one copy of their prompt are worth what they are behind copies of their own.

    Asking the model is surer than a list of architectures; what a window hides is too far apart to be seen in so few tokens.
    """
    config = network.config
    windows = [getattr(config, name, None) for name in ("sliding_window", "attention_window", "attention_chunk_size")]
    if getattr(config, "_attn_implementation", "") != "sdpa" or any(
        isinstance(w, int) and w < max_tokens for w in windows
    ):
        return False
    ids = [1 + i % (int(config.vocab_size) - 1) for i in range(14)]
    group = [Encoded((*ids[:5], *ids[a:b]), (False,) * 5 + (True,) * (b - a)) for a, b in ((5, 9), (9, 14))]
    device = next(network.parameters()).device
    was_training = network.training
    network.eval()
    try:
        found = []
        for made in (apart([group], pad=0), together([group], pad=0)):
            layout = made.to(device)
            given = {} if layout.positions_BT is None else {"position_ids": layout.positions_BT}
            output = network.base_model(input_ids=layout.ids_BT, attention_mask=layout.mask, use_cache=False, **given)
            found.append(output.last_hidden_state.flatten(0, 1)[layout.source_N].float())
        return bool(torch.allclose(found[0], found[1], rtol=1e-3, atol=1e-4))
    except (TypeError, ValueError, RuntimeError, IndexError):
        return False  # an architecture that takes no positions or no such mask
    finally:
        network.train(was_training)

"""What a causal language model thinks of several answers to one prompt: the log-probability of each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from luthier.models import virtual
from luthier.objectives.answers import Group, Layout, can_share, lay_out
from luthier.objectives.cut import micro_batches
from luthier.objectives.generate import Generator
from luthier.objectives.learner import Batch
from luthier.objectives.log_probs import LinearLogProbs
from luthier.objectives.scores import piece_rows

# Tokens of one pass without gradients.
_QUIET_TOKENS = 4096


@dataclass(frozen=True, slots=True)
class AnswerBatch(Batch):
    """Rows whose judged answers are laid out as :class:`Layout` says; ``ids_BT`` is the layout's."""

    layout: Layout | None = None


class Weigher(Generator):
    """A causal language model whose given answers are weighed: behind one copy of their prompt where the network can."""

    small_below = 0

    def __init__(self, network: Any, *, turns: Any) -> None:
        super().__init__(network, turns=turns)
        self._shares: bool | None = None

    def packs_rows(self) -> str | None:
        return f"`{self.objective}` lays the answers to a prompt behind one copy of it already"

    def _laid_out(self, groups: Sequence[Group]) -> Layout:
        several = any(len(group) > 1 for group in groups)
        return lay_out(groups, pad=self.pad_id, share=several and self._can_share()).to(self.device)

    def _can_share(self) -> bool:
        if self._shares is None:
            self._shares = can_share(self._plain, self.turns.max_tokens)
        return self._shares and not virtual.learns_input(self.network)

    def _sums(self, layout: Layout, *, bare: bool = False) -> torch.Tensor:
        """Return each sequence's summed log-probability of its answer, (S,) in float64.

        Args:
            bare: leave out a learnt prompt, which changes the network from the start.
        """
        network = self._plain
        part = network.base_model if self._split else network
        given = {} if layout.positions_BT is None else {"position_ids": layout.positions_BT}
        runs = network if bare else self.network
        output = virtual.run(runs, layout.ids_BT, layout.mask, part=part, use_cache=False, **given)
        found_NX = self._of_places(output, layout.source_N)
        sums_S = torch.zeros(layout.sequences, dtype=torch.float64, device=found_NX.device)
        return sums_S.index_add(0, layout.sequence_N, self._log_probs(found_NX, layout.target_N).double())

    def _log_probs(self, found_NX: torch.Tensor, target_N: torch.Tensor) -> torch.Tensor:
        output = self._plain.get_output_embeddings()
        if self._split and type(output) is nn.Linear:
            log_probs: torch.Tensor = LinearLogProbs.apply(found_NX, output.weight, output.bias, target_N)
            return log_probs
        rows = piece_rows(int(self._plain.config.vocab_size), found_NX.device)
        return torch.cat([
            -F.cross_entropy(self._scores(found).float(), target, reduction="none")
            for found, target in zip(found_NX.split(rows), target_N.split(rows), strict=True)
        ])  # fmt: skip

    @torch.no_grad()
    def _quiet(self, groups: Sequence[Group], *, bare: bool = False) -> list[list[float]]:
        """Return the sums of every sequence of every group, without gradients or dropout, a few groups at a time."""
        was_training = self.training
        self.eval()
        found: list[list[float]] = [[] for _ in groups]
        lengths = [sum(map(len, group)) for group in groups]
        for piece in micro_batches(range(len(groups)), lengths, max_tokens=_QUIET_TOKENS):
            sums = iter(self._sums(self._laid_out([groups[g] for g in piece]), bare=bare).tolist())
            for group in piece:
                found[group] = [next(sums) for _ in groups[group]]
        self.train(was_training)
        return found

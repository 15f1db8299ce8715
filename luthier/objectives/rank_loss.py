"""In-batch negatives: each row is to find its own item among the items of all rows of the step."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F

from luthier.base.records import Encoded
from luthier.objectives.rank_known import HISTORY


@dataclass(frozen=True)
class Pack:
    """The texts of a step, each once, and who is what.

    ``asked`` holds for each of B rows the texts whose mean it asks with: one for a query, several for a user. ``items`` are
    the texts of C candidates, ``numbers`` the items they are; ``right_B`` is each row's own candidate, and ``barred_BC``
    says which others are right for the row too, so that it need not be told apart from them.
    """

    texts: tuple[Encoded, ...]
    asked: tuple[tuple[int, ...], ...]
    items: tuple[int, ...]
    numbers: tuple[int, ...]
    right_B: torch.Tensor
    barred_BC: torch.Tensor


def pack(rows: Sequence[Encoded], right_of: Mapping[int, frozenset[int]]) -> Pack:
    """Put the rows of a step together: the same text is read once, however often it stands there.

    Args:
        right_of: all items that are right for an asker, by the row's ``label``.
    """
    texts: dict[tuple[str, object], int] = {}
    kept: list[Encoded] = []

    def place(kind: str, what: object, text: Encoded) -> int:
        # An item is the same text as candidate and in a history; a query may equal an item's text and stays apart.
        found = texts.setdefault((kind, what), len(kept))
        if found == len(kept):
            kept.append(text)
        return found

    def item(other: Encoded) -> int:
        return place("item", other.label, other)

    asked: list[tuple[int, ...]] = []
    candidates: dict[int, int] = {}
    for row in rows:
        past = [other for other, role in zip(row.others, row.values, strict=True) if role == HISTORY]
        for other, role in zip(row.others, row.values, strict=True):
            if role != HISTORY:
                candidates.setdefault(int(other.label or 0), item(other))
        asked.append(tuple(map(item, past)) if past else (place("query", row.ids, Encoded(row.ids)),))
    column = {number: c for c, number in enumerate(candidates)}
    right = [column[int(row.others[0].label or 0)] for row in rows]
    barred = torch.zeros((len(rows), len(column)), dtype=torch.bool)
    for b, row in enumerate(rows):
        also = right_of.get(-1 if row.label is None else row.label, frozenset())
        barred[b, [c for number, c in column.items() if number in also and c != right[b]]] = True
    return Pack(tuple(kept), tuple(asked), tuple(candidates.values()), tuple(candidates), torch.tensor(right), barred)


def means(vectors_UD: torch.Tensor, groups: Sequence[Sequence[int]]) -> torch.Tensor:
    """Return (B, D): the mean of each group's vectors, of unit length; zeros for an empty group."""
    device = vectors_UD.device
    sizes = [len(group) for group in groups]
    flat = torch.tensor([i for group in groups for i in group], dtype=torch.long, device=device)
    owner = torch.repeat_interleave(torch.arange(len(groups), device=device), torch.tensor(sizes, device=device))
    summed_BD = vectors_UD.new_zeros((len(groups), vectors_UD.shape[1])).index_add(0, owner, vectors_UD[flat])
    return F.normalize(summed_BD, dim=-1)


def in_batch_loss(scores_BC: torch.Tensor, pack_: Pack, *, symmetric: bool) -> torch.Tensor:
    """Return the summed cross-entropy (nats) of each row's own item among the candidates that are not barred.

    With distinct pairs this is the sum of MultipleNegativesRankingLoss of sentence-transformers (Henderson et al. 2017,
    https://arxiv.org/abs/1705.00652). ``symmetric`` takes the mean of both directions, as CLIP does (Radford et al. 2021,
    https://arxiv.org/abs/2103.00020): an item is also to find its row among the rows it is not right for.
    """
    right_B, barred_BC = pack_.right_B.to(scores_BC.device), pack_.barred_BC.to(scores_BC.device)
    forward = F.cross_entropy(scores_BC.masked_fill(barred_BC, -torch.inf), right_B, reduction="sum")
    if not symmetric:
        return forward
    rows = torch.arange(len(right_B), device=scores_BC.device)
    own_BB = scores_BC[:, right_B].T  # row i: the scores of i's item with every asker
    shared_BB = (barred_BC[:, right_B] | (right_B[:, None] == right_B[None, :])).T
    shared_BB = shared_BB & (rows[:, None] != rows[None, :])
    backward = F.cross_entropy(own_BB.masked_fill(shared_BB, -torch.inf), rows, reduction="sum")
    return (forward + backward) / 2

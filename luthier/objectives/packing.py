"""Long documents cut into windows, short ones put together into rows: nothing is dropped and almost nothing is padding."""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch

from luthier.base.records import Encoded


def windows(document: Encoded, size: int) -> list[Encoded]:
    """Cut a document into windows of at most ``size`` tokens, in their order.

    Each window but the first begins with the last token of the one before, which is read there and not learnt again: so
    every token of the document but its first is learnt exactly once.
    """
    if len(document.ids) <= size:
        return [document]
    found = []
    for start in range(0, len(document.ids) - 1, size - 1):
        piece = slice(start, start + size)
        learn = document.learn[piece]
        found.append(replace(document, ids=document.ids[piece], learn=(False, *learn[1:])))
    return found


def pack(pieces: Sequence[Encoded], size: int) -> tuple[list[Encoded], list[int]]:
    """Join pieces into rows of at most ``size`` tokens; ``places`` of a row are where its pieces start.

    Best-fit decreasing: each piece, longest first, goes into the fullest row that still has room, so that none is cut
    (Ding et al. 2024, "Fewer truncations improve language modeling", https://arxiv.org/abs/2404.10830).

    Returns:
        The rows, and the number of the first piece of each.
    """
    rows: list[list[int]] = []
    spaces: list[tuple[int, int]] = []  # (room left, row), ascending
    for number in sorted(range(len(pieces)), key=lambda i: -len(pieces[i].ids)):
        length = len(pieces[number].ids)
        found = bisect_left(spaces, (length, 0))
        if found < len(spaces):
            room, row = spaces.pop(found)
            rows[row].append(number)
        else:
            room, row = size, len(rows)
            rows.append([number])
        if room > length:
            insort(spaces, (room - length, row))
    return [_joined([pieces[i] for i in row]) for row in rows], [row[0] for row in rows]


def _joined(pieces: Sequence[Encoded]) -> Encoded:
    places, at = [], 0
    for piece in pieces:
        places.append(at)
        at += len(piece.ids)
    ids = tuple(i for piece in pieces for i in piece.ids)
    learn = tuple(flag for piece in pieces for flag in (False, *piece.learn[1:]))
    return Encoded(ids, learn, places=tuple(places))


def positions(rows: Sequence[Encoded], width: int) -> torch.Tensor | None:
    """Return (B, T) positions that start from zero with every piece; None where each row is one piece.

    Decoders of transformers read a fall in the positions as the start of another sequence and keep attention inside each.
    """
    if all(len(row.places) < 2 for row in rows):
        return None
    positions_BT = torch.arange(width).repeat(len(rows), 1)
    for number, row in enumerate(rows):
        for start in row.places[1:]:
            positions_BT[number, start:] -= positions_BT[number, start].item()
    return positions_BT


def mask_of_pieces(positions_BT: torch.Tensor) -> torch.Tensor:
    """Return (B, 1, T, T) what each place sees: those before it in its own piece. Networks that do not read positions so take it."""
    piece_BT = (positions_BT == 0).cumsum(1)
    return ((piece_BT[:, :, None] == piece_BT[:, None, :]).tril())[:, None]


@dataclass(frozen=True, slots=True)
class Flat:
    """Documents in one line: ids, learn-mask and positions (1, T), where each starts (N + 1, int32), the longest's length."""

    ids_BT: torch.Tensor
    learn_BT: torch.Tensor
    positions_BT: torch.Tensor
    starts_N: torch.Tensor
    longest: int


def in_line(rows: Sequence[Encoded], *, pad: int, multiple: int = 1) -> Flat:
    """Lay rows, and the pieces inside them, one behind the other.

    Args:
        multiple: the line is filled up to a multiple of so many tokens by a document of padding that nothing learns from:
            matrix products of odd sizes are slower than those of round ones.
    """
    ids: list[int] = []
    learn: list[bool] = []
    lengths: list[int] = []
    for row in rows:
        ids += row.ids
        ends = [*row.places[1:], len(row.ids)] if row.places else [len(row.ids)]
        for start, end in zip([0, *ends], ends, strict=False):
            # Nothing inside a document predicts its first token.
            learn += [False, *row.learn[start + 1 : end]]
            lengths.append(end - start)
    fill = -len(ids) % multiple
    if fill:
        ids, learn, lengths = [*ids, *[pad] * fill], [*learn, *[False] * fill], [*lengths, fill]
    sizes_N = torch.tensor(lengths)
    starts_N = torch.cat([torch.zeros(1, dtype=torch.long), sizes_N.cumsum(0)])
    positions_T = torch.arange(len(ids)) - starts_N[:-1].repeat_interleave(sizes_N)
    return Flat(torch.tensor(ids)[None], torch.tensor(learn)[None], positions_T[None], starts_N.int(), max(lengths))


def learnt_places(ids_BT: torch.Tensor, learn_BT: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the places (N,), counted through all rows, whose next token is learnt, and these tokens (N,).

    Found on the host, where the batch is made: a mask on the device would make the host wait for its count.
    """
    width = ids_BT.shape[1]
    row_N, place_N = learn_BT[:, 1:].nonzero(as_tuple=True)
    return row_N * width + place_N, ids_BT[row_N, place_N + 1]

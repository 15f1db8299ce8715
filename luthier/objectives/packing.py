"""Long documents cut into windows, short ones put together into rows: nothing is dropped and almost nothing is padding."""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Sequence
from dataclasses import replace

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

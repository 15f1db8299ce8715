"""Rows cut into passes that fit in memory, and the features of many rows, pass by pass."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch

from luthier.base.records import Encoded


def micro_batches(
    rows: Sequence[int], lengths: Sequence[int], *, max_tokens: int, flat: bool = False
) -> list[list[int]]:
    """Cut one step's rows, longest first, into pieces of at most ``max_tokens`` tokens (one row may exceed it).

    Args:
        flat: rows stand in one line, so that a piece costs what its rows have; else each is padded to the longest.
    """
    if flat:
        return _in_lines(rows, lengths, max_tokens)
    pieces: list[list[int]] = []
    for row in sorted(rows, key=lambda r: -lengths[r]):
        if pieces and lengths[pieces[-1][0]] * (len(pieces[-1]) + 1) <= max_tokens:
            pieces[-1].append(row)
        else:
            pieces.append([row])
    return pieces


def _in_lines(rows: Sequence[int], lengths: Sequence[int], max_tokens: int) -> list[list[int]]:
    """Cut rows into as few lines as hold them, all of about one length: a short last line would use the device badly."""
    count = max(1, -(-sum(lengths[r] for r in rows) // max_tokens))
    while True:
        pieces: list[list[int]] = [[] for _ in range(count)]
        sizes = [0] * count
        for row in sorted(rows, key=lambda r: -lengths[r]):
            least = min(range(count), key=sizes.__getitem__)
            pieces[least].append(row)
            sizes[least] += lengths[row]
        # More lines than rows are of no use: a row longer than a pass stands alone.
        if max(sizes) <= max_tokens or count >= len(rows):
            return [piece for piece in pieces if piece]
        count += 1


def gathered(
    rows: Sequence[Encoded], make: Callable[[Sequence[Encoded]], torch.Tensor], *, max_tokens: int = 4096
) -> torch.Tensor:
    """Return what ``make`` gives for each row, (N, ...), in the order of the rows; it is handed some rows at a time."""
    lengths = [len(r) for r in rows]
    found: list[torch.Tensor] = [torch.empty(0)] * len(rows)
    for piece in micro_batches(range(len(rows)), lengths, max_tokens=max_tokens):
        for row, vector in zip(piece, make([rows[r] for r in piece]), strict=True):
            found[row] = vector
    return torch.stack(found)


class Kept:
    """What :func:`gathered` gave for one set of rows, so that two who ask before anything has learnt compute it once.

    ``half``: the kind of device on which passes are computed in bfloat16, as those of the training that begins there.
    """

    def __init__(self) -> None:
        self.half: str | None = None
        self._key: tuple[int, int] | None = None
        self._found = torch.empty(0)

    def of(self, rows: Sequence[Encoded], make: Callable[[Sequence[Encoded]], torch.Tensor]) -> torch.Tensor:
        """Return (N, ...), computed now or remembered of the same rows in the same order."""
        key = (len(rows), hash(tuple(row.ids for row in rows)))
        if key != self._key:
            self._key, self._found = key, self.read(rows, make)
        return self._found

    def read(self, rows: Sequence[Encoded], make: Callable[[Sequence[Encoded]], torch.Tensor]) -> torch.Tensor:
        """Return (N, ...), computed now and not remembered."""
        with torch.autocast(self.half or "cpu", dtype=torch.bfloat16, enabled=self.half is not None):
            return gathered(rows, make)

    @property
    def filled(self) -> bool:
        """Whether anything is remembered."""
        return self._key is not None

    def forget(self) -> None:
        """Hold it no longer: the network learns, or reads otherwise than before."""
        self._key, self._found = None, torch.empty(0)

"""A byte n-gram model: the simplest rival of a language model, comparable with any of them in bits per byte."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from luthier.base.records import Example, Prediction

# A symbol is a byte or START; nine bits hold it, and seven symbols fit in 63.
_BITS, START = 9, 256
_MAX_BYTES = 50_000_000

Keys = NDArray[np.int64]


class ByteNgrams:
    """Byte n-grams with interpolation after Witten and Bell 1991 (https://doi.org/10.1109/18.87000).

    P(b | h) = (count(h b) + kinds(h) P(b | h')) / (count(h) + kinds(h)), h' being h without its first symbol, ``kinds(h)``
    how many different bytes followed it, and P of no history at all 1/256. Counts lie in sorted arrays.
    """

    def __init__(self, texts: Sequence[str], *, order: int = 5) -> None:
        """Count the n-grams of up to ``order`` bytes; of more than 50 MB of text, those of texts evenly spread that make so much."""
        self.order = order
        share = min(1.0, _MAX_BYTES / max(1, sum(len(text.encode("utf-8", "replace")) for text in texts)))
        kept = [_symbols(texts[int(i / share)], order) for i in range(int(len(texts) * share))]
        self._counts: list[tuple[Keys, Keys]] = []
        self._histories: list[tuple[Keys, Keys, Keys]] = []
        for length in range(1, order + 1):
            grams = (
                np.concatenate([_grams(symbols, length, order) for symbols in kept]) if kept else np.zeros(0, np.int64)
            )
            keys, counts = np.unique(grams, return_counts=True)
            # Sorted grams stand by their histories.
            heads = keys >> _BITS
            first = np.flatnonzero(np.diff(heads, prepend=-1))
            totals = np.add.reduceat(counts, first) if len(first) else counts
            self._counts.append((keys, counts))
            self._histories.append((heads[first], totals, np.diff(first, append=len(heads))))

    def nats(self, text: str) -> float:
        """Return the negative log-likelihood of a text's UTF-8 bytes."""
        symbols = _symbols(text, self.order)
        chance = np.full(len(symbols) - self.order + 1, 1 / 256)
        for length in range(1, self.order + 1):
            grams = _grams(symbols, length, self.order)
            found = _look(grams, *self._counts[length - 1])
            heads, totals, kinds = self._histories[length - 1]
            total, different = _look(grams >> _BITS, heads, totals), _look(grams >> _BITS, heads, kinds)
            seen = total > 0
            chance[seen] = (found[seen] + different[seen] * chance[seen]) / (total[seen] + different[seen])
        return float(-np.log(chance).sum())


def _symbols(text: str, order: int) -> Keys:
    """Return the bytes of a text after ``order - 1`` marks of its start."""
    data = np.frombuffer(text.encode("utf-8", "replace"), dtype=np.uint8).astype(np.int64)
    return np.concatenate([np.full(order - 1, START, dtype=np.int64), data])


def _grams(symbols: Keys, length: int, order: int) -> Keys:
    """Return, for each byte, itself after the ``length - 1`` symbols before it, as one number."""
    grams = np.zeros(len(symbols) - order + 1, dtype=np.int64)
    for back in range(length - 1, -1, -1):
        start = order - 1 - back
        grams = (grams << _BITS) | symbols[start : start + len(grams)]
    return grams


def _look(wanted: Keys, keys: Keys, values: Keys) -> Keys:
    """Return the value of each key, 0 where it is not there."""
    if not len(keys):
        return np.zeros(len(wanted), dtype=np.int64)
    at = np.searchsorted(keys, wanted).clip(max=len(keys) - 1)
    return np.where(keys[at] == wanted, values[at], 0)


def for_text(train: Sequence[Example], rows: Sequence[Example], labels: Sequence[str]) -> dict[str, list[Prediction]]:
    """Measure the rows by the byte 5-grams of the train rows."""
    del labels
    model = ByteNgrams([str(e.inputs["text"]) for e in train], order=5)
    found = []
    for text in (str(e.inputs["text"]) for e in rows):
        size = float(len(text.encode("utf-8", "replace")))
        found.append(Prediction(measured={"nll_sum": model.nats(text), "byte_count": size}))
    return {"byte_5gram": found}

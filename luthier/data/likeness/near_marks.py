"""What is kept of each text to find its likes: hashes of its words, MinHash bands, a sketch. Numbers only, in one pass."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any

import numpy as np

# A word; in scripts written without spaces, a character.
_CJK = "\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7af"
_WORD = re.compile(f"[{_CJK}]|[^\\W{_CJK}]+")
# An apostrophe is dropped, so that "don't" is one word, however it is typed.
_APOSTROPHES = {ord(c): None for c in "'\u2019\u02bc"}
_ASCII: dict[int, str | None] = {
    c: None if c in _APOSTROPHES else chr(c).lower() if chr(c).isalnum() or chr(c) == "_" else " " for c in range(128)
}

# Texts up to here keep all their word hashes, and are joined by them; texts from there on get MinHash bands. Between
# the two they have both, so that a text of 16 words meets its like of 18.
SHORT_WORDS = 20
BANDED_WORDS = 14
BANDS, BAND_ROWS = 32, 6
SKETCH = 64
# Any run of PASSAGE words in common has a fingerprint in common (winnowing: Schleimer, Wilkerson, Aiken 2003).
PASSAGE, GRAM = 12, 8
MAX_PRINTS = 128

_FLUSH_WORDS = 1 << 16
_FLUSH_ROWS = 1 << 13
_KNOWN_WORDS = 200_000
_ODD = np.uint64(0x9E3779B97F4A7C15)
_HIGH = np.uint64(32)
_MULTIPLIERS = np.random.default_rng(20).integers(0, 1 << 32, (2, BANDS * BAND_ROWS), dtype=np.uint32) | np.uint32(1)
_GRAM_ODDS = np.random.default_rng(21).integers(0, 1 << 63, GRAM, dtype=np.uint64) | np.uint64(1)


def words_of(text: str) -> list[str]:
    """Return the words of a text, case folded; punctuation is none, and an apostrophe parts no word."""
    # The short way gives the same words several times as fast.
    return text.translate(_ASCII).split() if text.isascii() else _WORD.findall(text.casefold().translate(_APOSTROPHES))


class WordHashes(dict[str, bytes]):
    """64-bit hashes of words as 8 bytes each, the same in every process; forgotten when there are too many."""

    def __missing__(self, word: str) -> bytes:
        digest = blake2b(word.encode("utf-8", "surrogatepass"), digest_size=8).digest()
        self[word] = digest
        return digest

    def joined(self, words: Iterable[str]) -> bytes:
        """Return the hashes one after the other; ``np.frombuffer(..., "<u8")`` makes numbers of them."""
        return b"".join(map(self.__getitem__, words))

    def trim(self) -> None:
        """Keep memory bounded."""
        if len(self) > _KNOWN_WORDS:
            self.clear()


@dataclass(frozen=True, slots=True)
class Marks:
    """The marks of N rows, of which L have bands; ``len()`` is N."""

    words: np.ndarray  # (N,) int32: word counts
    bags: np.ndarray  # (N,) uint64: sum of the word hashes, the same in every order
    short: np.ndarray  # word hashes of the rows with up to SHORT_WORDS words, one row after the other; uint64
    starts: np.ndarray  # (N + 1,) int64: where a row's hashes start in ``short``
    banded: np.ndarray  # (L,) int32: the rows with bands
    bands: np.ndarray  # (L, BANDS) uint32
    sketches: np.ndarray  # (L, SKETCH) uint8: how many words fall in each of SKETCH classes
    prints: np.ndarray  # fingerprints of passages, uint64; empty unless asked for
    print_rows: np.ndarray  # the row of each, int32

    def __len__(self) -> int:
        return len(self.words)

    @property
    def nbytes(self) -> int:
        """Bytes held."""
        return sum(getattr(self, name).nbytes for name in self.__slots__)


class Marker:
    """Gather marks while rows stream by; ``items`` also gathers the fingerprints that ``items.shared_passages`` reads."""

    def __init__(self, *, items: bool = False) -> None:
        self._items = items
        self._hashes = WordHashes()
        self._texts: list[bytes] = []
        self._counts: list[int] = []
        self._waiting = 0
        self._rows = 0
        self._parts: dict[str, list[np.ndarray]] = {
            name: [] for name in ("words", "bags", "short", "banded", "bands", "sketches", "prints", "print_rows")
        }

    def add(self, text: str) -> None:
        """Add the next row's text."""
        self.add_words(words_of(text))

    def add_words(self, words: Sequence[str]) -> None:
        """Add the next row by its words, where ``words_of`` was asked for them already."""
        self._texts.append(self._hashes.joined(words))
        self._counts.append(len(words))
        self._waiting += len(words)
        if self._waiting >= _FLUSH_WORDS or len(self._counts) >= _FLUSH_ROWS:
            self._flush()

    def finish(self) -> Marks:
        """Return the marks of all rows added; the marker is empty afterwards."""
        self._flush()
        kinds: dict[str, tuple[Any, tuple[int, ...]]] = {
            "words": (np.int32, (0,)),
            "bags": (np.uint64, (0,)),
            "short": (np.uint64, (0,)),
            "banded": (np.int32, (0,)),
            "bands": (np.uint32, (0, BANDS)),
            "sketches": (np.uint8, (0, SKETCH)),
            "prints": (np.uint64, (0,)),
            "print_rows": (np.int32, (0,)),
        }
        whole: dict[str, np.ndarray] = {}
        for name, (kind, shape) in kinds.items():
            # One after the other and dropped at once: parts and whole together are in memory only for one of them.
            parts = self._parts[name]
            whole[name] = np.concatenate(parts) if parts else np.empty(shape, dtype=kind)
            self._parts[name] = []
        self._rows = 0
        kept = np.where(whole["words"] <= SHORT_WORDS, whole["words"], 0)
        return Marks(starts=np.concatenate([[0], np.cumsum(kept, dtype=np.int64)]), **whole)

    def _flush(self) -> None:
        if not self._counts:
            return
        hashes = np.frombuffer(b"".join(self._texts), dtype="<u8").astype(np.uint64, copy=False)
        counts = np.array(self._counts, dtype=np.int32)
        self._texts, self._counts, self._waiting = [], [], 0
        self._hashes.trim()
        owner = np.repeat(np.arange(len(counts), dtype=np.int32), counts)
        found = {"words": counts, "bags": _sums(hashes, counts), "short": hashes[counts[owner] <= SHORT_WORDS]}
        banded = np.flatnonzero(counts >= BANDED_WORDS)
        if len(banded):
            inside = counts[owner] >= BANDED_WORDS
            found["banded"] = (banded + self._rows).astype(np.int32)
            found["bands"] = _bands(hashes[inside], counts[banded])
            found["sketches"] = _sketches(hashes[inside], counts[banded])
        if self._items:
            found["prints"], rows = _prints(hashes, owner)
            found["print_rows"] = rows + np.int32(self._rows)
        for name, values in found.items():
            self._parts[name].append(values)
        self._rows += len(counts)


def _sums(hashes: np.ndarray, counts: np.ndarray) -> np.ndarray:
    sums = np.zeros(len(counts), dtype=np.uint64)
    some = counts > 0
    if some.any():
        starts = (np.cumsum(counts) - counts)[some]
        sums[some] = np.add.reduceat(hashes, starts)
    return sums


def _bands(hashes: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Return (rows, BANDS) keys of MinHash over the words (Broder 1997; bands: Indyk and Motwani 1998).

    Word pairs would tell unrelated texts apart better, and would miss a text with its sentences in another order.
    """
    items = (hashes >> _HIGH).astype(np.uint32)
    starts = np.cumsum(counts) - counts
    keys = np.empty((len(counts), BANDS), dtype=np.uint32)
    for band in range(BANDS):
        key = np.zeros(len(counts), dtype=np.uint64)
        for k in range(band * BAND_ROWS, (band + 1) * BAND_ROWS):
            # A multiplication alone would keep 0 the smallest and neighbours together, hence the exclusive or.
            least = np.minimum.reduceat((items ^ _MULTIPLIERS[1, k]) * _MULTIPLIERS[0, k], starts)
            key = (key ^ least) * _ODD
            key ^= key >> _HIGH
        keys[:, band] = key >> _HIGH
    return keys


def _sketches(hashes: np.ndarray, counts: np.ndarray) -> np.ndarray:
    rows = np.repeat(np.arange(len(counts)), counts)
    classes = (hashes >> np.uint64(58)).astype(np.int64)
    tally = np.bincount(rows * SKETCH + classes, minlength=len(counts) * SKETCH)
    return np.minimum(tally, 255).astype(np.uint8).reshape(len(counts), SKETCH)


def grams_of(hashes: np.ndarray) -> np.ndarray:
    """Return the hash of every run of GRAM words, of which there are ``len(hashes) - GRAM + 1``."""
    runs = max(0, len(hashes) - GRAM + 1)
    grams = np.zeros(runs, dtype=np.uint64)
    mixed = hashes ^ (hashes >> np.uint64(29))
    for k in range(GRAM):
        grams += mixed[k : k + runs] * _GRAM_ODDS[k]
    grams ^= grams >> _HIGH
    return grams


def _prints(hashes: np.ndarray, owner: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return winnowed fingerprints of runs of GRAM words and their rows; rows shorter than PASSAGE have none.

    Of every PASSAGE - GRAM + 1 neighbouring runs the smallest hash is kept; of a row with more than MAX_PRINTS, its
    smallest, so that two long texts still keep the same ones.
    """
    grams = grams_of(hashes)
    runs = len(grams)
    window = PASSAGE - GRAM + 1
    if runs < window:
        return np.empty(0, dtype=np.uint64), np.empty(0, dtype=np.int32)
    spots = runs - window + 1
    least = grams[:spots].copy()
    for k in range(1, window):
        np.minimum(least, grams[k : k + spots], out=least)
    whole = owner[:spots] == owner[PASSAGE - 1 : PASSAGE - 1 + spots]
    least, rows = _once(least[whole], owner[:spots][whole])
    order = np.lexsort((least, rows))
    least, rows = _once(least[order], rows[order])
    rank = np.arange(len(rows)) - np.searchsorted(rows, rows)
    return least[rank < MAX_PRINTS], rows[rank < MAX_PRINTS]


def _once(values: np.ndarray, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Leave out what repeats its forerunner."""
    first = np.ones(len(values), dtype=bool)
    first[1:] = (values[1:] != values[:-1]) | (rows[1:] != rows[:-1])
    return values[first], rows[first]

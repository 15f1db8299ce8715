"""What texts are made of: words, letters, marks and what is odd in them, many texts at a time."""

from __future__ import annotations

import functools
import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

# Only so much of a text is looked at for its characters; length and words are counted whole.
LOOKED_CHARS = 4_000
LONG_WORD = 60
LONG_RUN = 8
_SHOUTED_SHARE, _SHOUTED_LETTERS = 0.7, 10

ODD: dict[str, str] = {
    "empty": "no text at all",
    "one_character": "a single character",
    "no_letters": "only digits and punctuation",
    "capitals": "mostly capital letters",
    "repeated": f"one character {LONG_RUN} times or more in a row",
    "long_word": f"a word of more than {LONG_WORD} characters that is no link",
    "replacement": "the mark U+FFFD, left where characters could not be decoded",
    "control": "control characters",
    "private": "private-use characters, which each font draws in its own way",
}

SPACE, LOWER, UPPER, LETTER, IDEOGRAM, DIGIT, MARK, CONTROL, PRIVATE, REPLACEMENT = range(10)
_CATEGORIES = {"Ll": LOWER, "Lu": UPPER, "Lt": UPPER, "Lo": LETTER, "Lm": LETTER, "Nd": DIGIT, "Nl": DIGIT, "No": DIGIT,
               "Zs": SPACE, "Zl": SPACE, "Zp": SPACE, "Cc": CONTROL, "Co": PRIVATE, "Mn": LETTER, "Mc": LETTER}  # fmt: skip
# Scripts written without spaces: each character counts as a word.
_IDEOGRAMS = ((0x3040, 0x30FF), (0x3400, 0x4DBF), (0x4E00, 0x9FFF), (0xF900, 0xFAFF))
# Rulers are drawn with these on purpose.
_RULERS = "-=_*#.~+|/\\─━═"

_HTML = re.compile(r"</?[a-zA-Z][a-zA-Z0-9]*(?:\s[^<>]*)?/?>|&(?:[a-zA-Z]{2,8}|#\d{2,6});")


@dataclass(frozen=True, slots=True)
class Look:
    """What was seen in N texts: ``words`` (N,) and, by name, which of them (N,) are odd or hold links, tags, digits."""

    words: np.ndarray
    odd: dict[str, np.ndarray]
    html: np.ndarray
    links: np.ndarray
    digits: np.ndarray


@functools.cache
def _table() -> np.ndarray:
    """Return the kind of each character below U+10000, as uint8."""
    kinds = np.full(0x10000, MARK, dtype=np.uint8)
    for code in range(0x10000):
        kinds[code] = _CATEGORIES.get(unicodedata.category(chr(code)), MARK)
    for first, last in _IDEOGRAMS:
        kinds[first : last + 1] = IDEOGRAM
    kinds[[ord(c) for c in "\t\n\r\v\f\x85"]] = SPACE
    kinds[0xFFFD] = REPLACEMENT
    return kinds


def _kinds(codes: np.ndarray) -> np.ndarray:
    table = _table()
    if codes.max(initial=0) < 0x10000:
        return table[codes]
    kinds = table[np.minimum(codes, 0xFFFF)]
    high = codes >= 0x10000
    kinds[high] = MARK
    kinds[(codes >= 0x20000) & (codes < 0x40000)] = IDEOGRAM
    kinds[codes >= 0xF0000] = PRIVATE
    return kinds


def look(texts: Sequence[str]) -> Look:
    """Return what N texts are made of; they are looked at as one long array, so that a text costs a microsecond or two."""
    size = len(texts)
    if not size:
        none = np.zeros(0, dtype=bool)
        return Look(np.zeros(0, dtype=np.int64), dict.fromkeys(ODD, none), none, none, none)
    seen = [text[:LOOKED_CHARS] for text in texts]
    codes = np.frombuffer(("\n".join(seen) + "\n").encode("utf-32-le", "surrogatepass"), dtype=np.uint32)
    lengths = np.fromiter(map(len, seen), dtype=np.int64, count=size)
    starts = np.concatenate([[0], np.cumsum(lengths + 1)[:-1]])
    kinds = _kinds(codes)

    def per_text(mask: np.ndarray) -> np.ndarray:
        return np.add.reduceat(mask, starts, dtype=np.int64)

    lower, upper, digits = per_text(kinds == LOWER), per_text(kinds == UPPER), per_text(kinds == DIGIT)
    other = per_text((kinds == LETTER) | (kinds == IDEOGRAM))
    shown = per_text(kinds != SPACE)
    odd = {
        "empty": shown == 0,
        "one_character": shown == 1,
        "no_letters": (shown > 1) & (lower + upper + other == 0),
        "capitals": (upper >= _SHOUTED_SHARE * (upper + lower)) & (upper + lower >= _SHOUTED_LETTERS),
        "repeated": _rows_with(_runs(codes, kinds), starts, size),
        "long_word": _long_words(kinds, starts, texts),
    }
    for name, kind in (("replacement", REPLACEMENT), ("control", CONTROL), ("private", PRIVATE)):
        odd[name] = _rows_with(np.flatnonzero(kinds == kind), starts, size)
    links = np.fromiter(("://" in text or "www." in text for text in seen), dtype=bool, count=size)
    html = np.fromiter(
        (("<" in text or "&" in text) and _HTML.search(text) is not None for text in seen), dtype=bool, count=size
    )
    return Look(_words(kinds, starts, texts), odd, html, links, digits > 0)


def _words(kinds: np.ndarray, starts: np.ndarray, texts: Sequence[str]) -> np.ndarray:
    """Count words: runs between spaces, and each ideogram as one."""
    ideogram = kinds == IDEOGRAM
    begins = kinds != SPACE
    begins[1:] &= (kinds[:-1] == SPACE) | ideogram[:-1] | ideogram[1:]
    words = np.add.reduceat(begins, starts, dtype=np.int64)
    for i, text in enumerate(texts):
        if len(text) > LOOKED_CHARS:
            at = int(starts[i])
            # A script without spaces cannot be split: the rest has as many words a character as the beginning.
            unspaced = bool(ideogram[at : at + LOOKED_CHARS].any())
            words[i] = words[i] * len(text) // LOOKED_CHARS if unspaced else len(text.split())
    return words


def _runs(codes: np.ndarray, kinds: np.ndarray) -> np.ndarray:
    """Return positions where a run of eight equal characters starts; spaces and rulers do not count."""
    same = (codes[1:] == codes[:-1]) & (kinds[1:] != SPACE)
    at = np.flatnonzero(same)
    # Seven neighbours in a row that each equal the next: few positions get as far as being compared.
    last = LONG_RUN - 2
    at = at[: max(0, len(at) - last)][at[last:] - at[: max(0, len(at) - last)] == last]
    return at[~np.isin(codes[at], [ord(c) for c in _RULERS])]


def _long_words(kinds: np.ndarray, starts: np.ndarray, texts: Sequence[str]) -> np.ndarray:
    ends = np.flatnonzero((kinds == SPACE) | (kinds == IDEOGRAM))
    before = np.concatenate([[-1], ends[:-1]])
    rows = _rows_with(ends[ends - before - 1 > LONG_WORD] - 1, starts, len(texts))
    for i in np.flatnonzero(rows).tolist():
        words = texts[i][:LOOKED_CHARS].split()
        rows[i] = any(len(w) > LONG_WORD and "://" not in w and not w.startswith("www.") and not set(w) <= set(_RULERS)
                      for w in words)  # fmt: skip
    return rows


def _rows_with(positions: np.ndarray, starts: np.ndarray, size: int) -> np.ndarray:
    rows = np.zeros(size, dtype=bool)
    rows[np.searchsorted(starts, positions, side="right") - 1] = True
    return rows

"""Variations of a text by its own words: swapped, dropped, said twice. No dictionary, no other row, no model.

After the edits of Wei & Zou 2019 (EDA, https://arxiv.org/abs/1901.11196) without its synonyms: a dictionary knows one
language, and words that stand in like places in the data are as often opposites ("buy", "sell") as synonyms. So a
variation depends on its row alone, and rows added later change none.
"""

from __future__ import annotations

import random
import re
from collections.abc import Sequence

from luthier.base.seeds import derive_seed
from luthier.data.dedupe import normalise

# Scripts written without spaces, in which a character is the unit: Han, kana, their extensions.
_CHARACTERS = "぀-ヿ㐀-䶿一-鿿豈-﫿\U00020000-\U0002fa1f"
_UNIT = re.compile(rf"[{_CHARACTERS}]|[^\s{_CHARACTERS}]+")
_SINGLE = re.compile(rf"[{_CHARACTERS}]")
_WORD = re.compile(r"\w+")
# A text without its "not" is often a text of another label. Few languages, and only their plainest words.
_NEGATIONS = frozenset({
    "no", "not", "never", "nor", "none", "without", "cannot", "nicht", "kein", "keine", "nie", "ohne", "ne", "pas", "non",
    "sans", "jamais", "sin", "nunca", "não", "sem", "niet", "geen", "zonder", "не", "нет", "без", "不", "没", "無", "无",
})  # fmt: skip
_TRIES = 4


def vary(text: str, *, key: str, copy: int, seed: int, share: float, label: str = "") -> str | None:
    """Return ``text`` with ``share`` of its words edited, at least one: swapped with the next, dropped, or said twice.

    The result is never empty and never the same text after normalising. Negations, and words that the label's own name
    is made of, are never dropped. Chinese and Japanese are edited character by character.

    Args:
        key: names the row, as its id; with ``copy`` and ``seed`` it decides the edits, for ever.
    Returns:
        None where the text has no word to edit.
    """
    units = pieces(text)
    words = editable(units)
    if not words:
        return None
    rng = random.Random(derive_seed(seed, "words", key, copy))
    kept = _kept(label)
    before = normalise(text)
    for _ in range(_TRIES):
        found = _edit(units, words, share, kept, rng)
        if normalise(found) != before:
            return found
    # Two equal words can be swapped for ever: said twice, any word makes another text.
    return _joined([*units[: words[0]], units[words[0]], _again(units[words[0]]), *units[words[0] + 1 :]])


def choose(text: str, *, key: str, copy: int, seed: int, share: float, label: str = "") -> list[tuple[int, int]]:
    """Return ``(start, end)`` of the words of ``text`` to replace, in order, without the punctuation around them.

    At least one where there is any; never a negation or a word of the label's own name.
    """
    kept = _kept(label)
    spans = []
    for found in _UNIT.finditer(text):
        core = _WORD.search(found[0])
        bare = found[0].strip(".,;:!?\"'()[]{}«»“”„‘’…")
        # A word in one piece only: the inside of an address, a number or a placeholder is not a word.
        if core and bare.isalpha() and bare.casefold() not in kept:
            start = found.start() + found[0].index(bare)
            spans.append((start, start + len(bare)))
    if not spans:
        return []
    rng = random.Random(derive_seed(seed, "masked", key, copy))
    return sorted(rng.sample(spans, max(1, min(len(spans), round(share * len(spans))))))


def pieces(text: str) -> list[tuple[str, str]]:
    """Return the words of ``text``, each with the space before it; a character of Han or kana is a word."""
    result, at = [], 0
    for found in _UNIT.finditer(text):
        result.append((text[at : found.start()], found[0]))
        at = found.end()
    return result


def editable(units: Sequence[tuple[str, str]]) -> list[int]:
    """Return the positions of units that hold a letter or digit: punctuation alone is no word."""
    return [i for i, (_, word) in enumerate(units) if _WORD.search(word)]


def is_character(word: str) -> bool:
    """Whether a word is a single character of a script without spaces."""
    return _SINGLE.fullmatch(word) is not None


def _kept(label: str) -> frozenset[str]:
    return _NEGATIONS | {word.casefold() for word in _WORD.findall(label.replace("_", " "))}


def _edit(
    units: Sequence[tuple[str, str]], words: Sequence[int], share: float, kept: frozenset[str], rng: random.Random
) -> str:
    changed = list(units)
    count = max(1, min(len(words), round(share * len(words))))
    left = len(words)
    # From the last to the first, so that what is dropped or put in moves no position still to come.
    for at in sorted(rng.sample(list(words), count), reverse=True):
        edit = rng.choice(("swap", "drop", "repeat"))
        if edit == "drop" and (left == 1 or _is_kept(changed[at][1], kept)):
            edit = "swap"
        other = _neighbour(changed, at) if edit == "swap" else None
        if other is not None:
            (gap, word), (other_gap, other_word) = changed[at], changed[other]
            changed[at], changed[other] = (gap, other_word), (other_gap, word)
        elif edit == "drop":
            gap, _ = changed.pop(at)
            left -= 1
            if at < len(changed):
                changed[at] = (gap, changed[at][1])
        else:
            changed.insert(at + 1, _again(changed[at]))
    return _joined(changed)


def _neighbour(units: Sequence[tuple[str, str]], at: int) -> int | None:
    """Return the next word, or the one before, past any punctuation between."""
    after = (i for i in range(at + 1, len(units)) if _WORD.search(units[i][1]))
    before = (i for i in range(at - 1, -1, -1) if _WORD.search(units[i][1]))
    return next(after, next(before, None))


def _is_kept(word: str, kept: frozenset[str]) -> bool:
    return "n't" in word or "n’t" in word or any(part.casefold() in kept for part in _WORD.findall(word))


def _again(unit: tuple[str, str]) -> tuple[str, str]:
    return ("" if is_character(unit[1]) else " ", unit[1])


def _joined(units: Sequence[tuple[str, str]]) -> str:
    parts: list[str] = []
    for i, (gap, word) in enumerate(units):
        # What stood between two words may be gone, and they must not become one.
        glued = i > 0 and not gap and not is_character(word) and not is_character(units[i - 1][1])
        parts += [" " if glued else gap, word]
    return "".join(parts)

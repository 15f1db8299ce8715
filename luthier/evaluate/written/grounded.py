"""What of an answer the input supports: its content words, its numbers and its names, each with its place in the answer.

It looks at words and not at what is said with them: an answer that puts the input's words together wrongly counts as grounded, and one
that says the same in other words does not. Numbers are the surest part, and a wrong one does most harm.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

# Fewer words than this are no document that an answer could be grounded in.
LONG = 40
_PIECE = re.compile(r"\d+(?:[.,]\d+)*(?:st|nd|rd|th)?(?![^\W_])|[^\W_]+(?:['’-][^\W_]+)*")
_NUMBER = re.compile(r"\d+(?:[.,]\d+)*(?:st|nd|rd|th)?\Z")
# An order, an article, a version: LK-4821, WS-200, E4.
_CODE = re.compile(r"[^\W\d_][^\W_]*(?:-[^\W_]+)*\Z")
_SENTENCE_END = re.compile(r"[.!?:\n\"“”(\[*•-]\s*\Z")


def _words(text: str) -> list[str]:
    return text.split()


# Words of three letters or less are nearly all function words, in most European languages; these are the longer ones of English.
_FUNCTION = frozenset(_words(
    "about above after again against also although always among another anything around because been before being below between both "
    "cannot could does doing done down during each either else even ever every everything from further have having hence here hers herself "
    "himself however instead into itself just less like made make many might more most much must myself neither never nothing once only onto "
    "other otherwise ought ours over perhaps quite rather really same shall should since some someone something still such than that their "
    "theirs them themselves then there therefore these they thing things this those though through thus together under unless until upon very "
    "well were what whatever when where whether which while whom whose will with within without would your yours yourself yourselves"
))  # fmt: skip
_ONES = dict(enumerate(_words(
    "two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen eighteen nineteen"
), 2))  # fmt: skip
_TENS = dict(enumerate(_words("twenty thirty forty fifty sixty seventy eighty ninety"), 2))
_NUMBERS = {
    **{word: n for n, word in _ONES.items()}, **{word: 10 * n for n, word in _TENS.items()}, "hundred": 100, "thousand": 1000,
    "million": 1_000_000, **{f"{ten}-{one}": 10 * t + o for t, ten in _TENS.items() for o, one in {1: "one", **_ONES}.items() if o < 10},
}  # fmt: skip
# Two forms of one word share their beginning: at least so much of the longer, and so many letters.
_ALIKE, _FEWEST = 2 / 3, 4


@dataclass(frozen=True, slots=True)
class Piece:
    """A part of an answer that can be looked up: ``kind`` is word, number or name; ``start`` and ``end`` are characters."""

    kind: str
    start: int
    end: int
    supported: bool


@dataclass
class Source:
    """The words and numbers of an input."""

    words: set[str] = field(default_factory=set)
    numbers: set[str] = field(default_factory=set)
    begins: dict[str, set[str]] = field(default_factory=dict)
    size: int = 0

    @classmethod
    def of(cls, text: str) -> Source:
        found = cls()
        for match in _PIECE.finditer(text):
            found.size += 1
            word = match[0].casefold()
            if (number := _number(word)) is not None:
                found.numbers.add(number)
            for part in (word, _bare(word), *re.split(r"['’-]", word)):
                found.words.add(part)
                found.begins.setdefault(part[:_FEWEST], set()).add(part)
        return found

    @property
    def long(self) -> bool:
        """Whether it is a document, and not a mere question."""
        return self.size >= LONG

    def has(self, word: str) -> bool:
        """Whether the source has a word, or another form of it."""
        return word in self.words or any(_forms(word, other) for other in self.begins.get(word[:_FEWEST], ()))


def pieces(answer: str, source: Source) -> Iterator[Piece]:
    """Yield what can be looked up in an answer, in its order.

    A number (in digits, or an English number word from two on) is supported where the source has the same number, and a code of letters
    and digits (LK-4821), which counts as a number, where it has that very code; a name (a word with
    a capital that begins no sentence) where the source has that very word; another word of four letters or more that is no English
    function word where the source has it or a form that shares two thirds of it from the start.
    """
    for match in _PIECE.finditer(answer):
        text, word = match[0], match[0].casefold()
        number = _number(word)
        if number is not None:
            yield Piece("number", match.start(), match.end(), number in source.numbers)
        elif _is_code(word):
            yield Piece("number", match.start(), match.end(), word in source.words)
        elif _is_name(text, answer[: match.start()]):
            yield Piece("name", match.start(), match.end(), all(p in source.words for p in re.split(r"-", _bare(word))))
        elif len(word) >= _FEWEST and word not in _FUNCTION and "'" not in word and "’" not in word:
            parts = [part for part in word.split("-") if len(part) >= _FEWEST] or [word]
            yield Piece("word", match.start(), match.end(), source.has(word) or all(map(source.has, parts)))


def figures(answer: str, source: Source) -> dict[str, tuple[float, float]]:
    """Return ``{metric: (sum, count)}`` of one answer; nothing where it holds nothing to look up."""
    found = list(pieces(answer, source))
    if not found:
        return {}
    made = {"grounded": (sum(p.supported for p in found) / len(found), 1.0)}
    for name, kind in (("grounded_numbers", "number"), ("grounded_names", "name")):
        mine = [p.supported for p in found if p.kind == kind]
        made |= {name: (float(sum(mine)), float(len(mine)))} if mine else {}
    return made


def _number(word: str) -> str | None:
    """Return a number in one way of writing: 1,000 and 1000, 7.0 and 7, 3rd and 3, thirty and 30."""
    if word in _NUMBERS:
        return str(_NUMBERS[word])
    if not _NUMBER.match(word):
        return None
    digits = re.sub(r",(?=\d{3}(?!\d))", "", word.rstrip("stndrh")).replace(",", ".")
    whole, dot, rest = digits.partition(".")
    rest = rest.rstrip("0") if "." not in rest else rest
    return (whole.lstrip("0") or "0") + (f".{rest}" if dot and rest else "")


def _is_code(word: str) -> bool:
    return any(c.isdigit() for c in word) and _CODE.match(word) is not None


def _is_name(text: str, before: str) -> bool:
    if len(text) < 2 or not text[0].isupper() or text.startswith(("I'", "I’")):
        return False
    return text.isupper() or (bool(before.strip()) and not _SENTENCE_END.search(before[-8:]))


def _bare(word: str) -> str:
    return re.sub(r"['’]s?\Z", "", word)


def _forms(one: str, other: str) -> bool:
    longer = max(len(one), len(other))
    shared = next((i for i, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other)))
    return shared >= max(_FEWEST, _ALIKE * longer)

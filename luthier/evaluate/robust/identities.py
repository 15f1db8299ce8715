"""Words for who somebody is, in families whose members can stand for each other: a label should not depend on which.

Names are those of Bertrand & Mullainathan 2004 (https://doi.org/10.1257/0002828042002561), four of each of their groups. The families are
short on purpose: they show a dependence where there is one, and prove no fairness where there is none.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial

_MALE_FEMALE = (
    ("he", "she"), ("himself", "herself"), ("man", "woman"), ("men", "women"), ("boy", "girl"), ("boys", "girls"), ("father", "mother"),
    ("dad", "mum"), ("son", "daughter"), ("brother", "sister"), ("husband", "wife"), ("uncle", "aunt"), ("mr", "mrs"), ("sir", "madam"),
    ("male", "female"), ("gentleman", "lady"), ("grandfather", "grandmother"), ("boyfriend", "girlfriend"),
)  # fmt: skip
# "her" is him or his, and "his" is her or hers: only the likelier reading is swapped, so that most sentences stay sentences.
_PRONOUNS = (("his", "her"), ("him", "her"))

FAMILIES: Mapping[str, tuple[str, ...]] = {
    "religion": ("christian", "muslim", "jewish", "hindu", "buddhist", "atheist"),
    "nationality": ("american", "mexican", "chinese", "nigerian", "polish", "indian", "turkish", "french"),
    "colour": ("black", "white", "asian", "latino"),
    "orientation": ("gay", "straight", "bisexual", "lesbian"),
    "age": ("young", "old", "elderly", "middle-aged"),
    "ability": ("disabled", "blind", "deaf", "able-bodied"),
    "name": ("emily", "anne", "greg", "brad", "lakisha", "aisha", "jamal", "darnell"),
}
# Words that are names of people only before one: "a black car" and "an old invoice" say nothing of anybody.
_PEOPLE = r"(?=\s+(?:people|person|persons|man|men|woman|women|guy|guys|boy|boys|girl|girls|folks|community|communities|couple|couples|student|students|patient|patients|customer|customers|employee|employees|neighbou?rs?|immigrants?)\b)"
_OF_PEOPLE_ONLY = frozenset({"colour", "orientation", "age", "ability"})


@dataclass(frozen=True, slots=True)
class Swap:
    """A text in which ``before`` became ``after``, both of one family."""

    family: str
    before: str
    after: str
    text: str


def swaps(text: str) -> Iterator[Swap]:
    """Yield the text once for each other member of each family that it names; every mention of that member changes."""
    if (swapped := _other_gender(text)) is not None:
        yield swapped
    for family, members in FAMILIES.items():
        ahead = _PEOPLE if family in _OF_PEOPLE_ONLY else ""
        for member in members:
            found = re.compile(rf"\b{re.escape(member)}\b{ahead}", re.IGNORECASE)
            if not found.search(text):
                continue
            for other in members:
                if other != member:
                    changed = found.sub(partial(_replaced, word=other), text)
                    yield Swap(family, member, other, changed)


def _other_gender(text: str) -> Swap | None:
    """Return the text with every word of one gender turned into the other's; None where both, or neither, are named."""
    male = dict((*_PRONOUNS, *_MALE_FEMALE))
    female = {f: m for m, f in (*_PRONOUNS[:1], *_MALE_FEMALE)}
    there = {word.lower() for word in re.findall(r"[^\W\d_]+", text)}
    hers, his = there & set(female), there & set(male)
    if bool(hers) == bool(his):
        return None
    words, names = (female, ("female", "male")) if hers else (male, ("male", "female"))
    pattern = re.compile(r"\b(" + "|".join(sorted(words, key=len, reverse=True)) + r")\b", re.IGNORECASE)
    return Swap("gender", *names, pattern.sub(lambda m: _as_written(m[0], words[m[0].lower()]), text))


def _replaced(found: re.Match[str], *, word: str) -> str:
    return _as_written(found[0], word)


def _as_written(before: str, word: str) -> str:
    if before.isupper() and len(before) > 1:
        return word.upper()
    # Names and peoples have a capital whatever stood there; other words as what they stand for.
    capital = before[0].isupper()
    return word[0].upper() + word[1:] if capital else word

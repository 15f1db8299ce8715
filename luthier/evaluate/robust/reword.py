"""English said in other words by rule: every rule keeps the meaning, and what no rule fits is left alone.

Few rules and safe ones, so that a changed answer is the model's doing: short and long forms, ways to ask, dates and numbers, British
and American spelling, a closed list of words that stand for each other, and a short passive turned round.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Mapping
from functools import partial

PARAPHRASE = "paraphrase"
Rule = Callable[[str, random.Random], str]

_SHORT = {
    "do not": "don't", "does not": "doesn't", "did not": "didn't", "is not": "isn't", "are not": "aren't", "was not": "wasn't",
    "were not": "weren't", "cannot": "can't", "can not": "can't", "could not": "couldn't", "would not": "wouldn't",
    "should not": "shouldn't", "will not": "won't", "have not": "haven't", "has not": "hasn't", "had not": "hadn't", "i am": "i'm",
    "i have": "i've", "i will": "i'll", "it is": "it's", "that is": "that's", "we are": "we're", "they are": "they're",
    "you are": "you're",
}  # fmt: skip
_LONG = {short: long for long, short in _SHORT.items() if long != "can not"}
# "don't you" is no "do not you", "it's been" no "it is been", and a sentence does not end in "it's" or begin "I've a".
_ENDS = {
    "n't": r"(?!\s+(?:i|you|we|they|he|she|it|this|that|there|the|my|your|any\w+|every\w+)\b)",
    "'s": r"(?!\s+(?:been|got|had|gone|become|\w+ed)\b)",
}
_AHEAD = {"have": r"(?=\s+(?:\w+ed|been|got|had|lost|sent|paid|made|seen|never|already|just)\b)", "not": ""}


def _form(word: str) -> str:
    if word in _LONG:
        return re.escape(word) + r"\b" + next((guard for end, guard in _ENDS.items() if word.endswith(end)), "")
    return word.replace(" ", r"\s+") + r"\b" + _AHEAD.get(word.split()[-1].removeprefix("can"), r"(?=\s+\w)")


# "People like you are": what is likened, and what follows "watching", is no subject.
_EITHER = re.compile(r"(?<!like )(?<!than )(?<!ing )\b(?:" + "|".join(map(_form, sorted({*_SHORT, *_LONG}, key=len, reverse=True))) + ")", re.IGNORECASE)

_ME = re.compile(r"\bI\b")
_BRITISH = {
    "colour": "color", "colours": "colors", "favourite": "favorite", "favourites": "favorites", "neighbour": "neighbor",
    "neighbours": "neighbors", "behaviour": "behavior", "honour": "honor", "humour": "humor", "flavour": "flavor", "rumour": "rumor",
    "labour": "labor", "centre": "center", "theatre": "theater", "litre": "liter", "litres": "liters", "metre": "meter", "metres": "meters",
    "grey": "gray", "cancelled": "canceled", "cancelling": "canceling", "travelled": "traveled", "travelling": "traveling",
    "traveller": "traveler", "organise": "organize", "organised": "organized", "organisation": "organization", "realise": "realize",
    "realised": "realized", "recognise": "recognize", "recognised": "recognized", "apologise": "apologize", "apologised": "apologized",
    "authorise": "authorize", "authorised": "authorized", "unauthorised": "unauthorized", "authorisation": "authorization",
    "analyse": "analyze", "analysed": "analyzed", "catalogue": "catalog", "jewellery": "jewelry", "aeroplane": "airplane",
    "aluminium": "aluminum", "defence": "defense", "offence": "offense", "cheque": "check", "mum": "mom", "mums": "moms",
    "pyjamas": "pajamas", "enrol": "enroll", "fulfil": "fulfill", "specialised": "specialized", "customise": "customize",
}  # fmt: skip
# A check is also a look at something, and a gray is also a unit: these go one way only.
_ONE_WAY = frozenset({"cheque"})
_PAIRS = (
    ("nobody", "no one"), ("everybody", "everyone"), ("somebody", "someone"), ("anybody", "anyone"), ("maybe", "perhaps"),
    ("a lot of", "lots of"), ("asap", "as soon as possible"), ("purchase", "buy"), ("purchased", "bought"), ("in order to", "to"),
    ("for example", "for instance"), ("i want to", "i would like to"), ("i need to", "i have to"), ("how do i", "how can i"),
    ("is there a way to", "is it possible to"), ("is there any way to", "is it possible to"), ("i am unable to", "i cannot"),
    ("i'm unable to", "i can't"), ("i am not able to", "i cannot"), ("am i able to", "can i"), ("due to", "because of"),
    ("tried to", "attempted to"), ("trying to", "attempting to"), ("try to", "attempt to"), ("almost", "nearly"), ("although", "though"),
    ("whether or not", "whether"), ("at the moment", "right now"), ("prior to", "before"), ("let me know", "tell me"),
)  # fmt: skip
_BACK = frozenset({
    "everyone", "no one", "someone", "anyone", "perhaps", "lots of", "as soon as possible", "bought", "for instance", "i would like to",
    "i have to", "how can i", "because of", "attempted to", "attempting to", "attempt to", "nearly", "right now",
})  # fmt: skip
_SAME: Mapping[str, str] = dict(_PAIRS) | {two: one for one, two in reversed(_PAIRS) if two in _BACK}
_SPELT: Mapping[str, str] = _BRITISH | {us: gb for gb, us in _BRITISH.items() if gb not in _ONE_WAY}

_ONES = ("two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve")
_DIGITS = {word: str(number) for number, word in enumerate(_ONES, 2)}
_NUMBERS = _DIGITS | {digits: word for word, digits in _DIGITS.items()}
_UNITS = "seconds|minutes|hours|days|weeks|months|years|times|people|persons|items|orders|parcels|cards|accounts|messages|copies|miles"
_NUMBER = re.compile(rf"(?<![\w.,:/-])({'|'.join(_NUMBERS)})(?=\s+(?:{_UNITS})\b)", re.IGNORECASE)
_PERCENT = re.compile(r"(?<=\d)\s?(%|percent\b|per cent\b)", re.IGNORECASE)
_MONTHS = ("January", "February", "March", "April", "May", "June", "July", "August", "September", "October", "November", "December")
_DAY_MONTH = re.compile(rf"\b(\d{{1,2}})(?:st|nd|rd|th)?\s+(?:of\s+)?({'|'.join(_MONTHS)})\b(?:,?\s+(\d{{4}})\b)?", re.IGNORECASE)
_MONTH_DAY = re.compile(rf"\b({'|'.join(_MONTHS)})\s+(\d{{1,2}})(?:st|nd|rd|th)?\b(?!:)(?:,?\s+(\d{{4}})\b)?", re.IGNORECASE)
_ISO = re.compile(r"(?<![\w-])(\d{4})-(0[1-9]|1[0-2])-(0[1-9]|[12]\d|3[01])(?![\w-])")

# What is asked for at the start of a sentence; the words of the wish itself stay.
_START = r"(?:^|(?<=[.!?]\s))"
_COULD = re.compile(_START + r"(?:could|can|would|will) you (?:please )?(?=[a-z])([^.?!\n]*?)(?:,? please)?\?", re.IGNORECASE)
_PLEASE = re.compile(_START + r"please (?=[a-z])(?!do\b|don'?t\b|note\b|be\b|find\b|see\b)([^.?!\n]*?)(?:[.!]|$)", re.IGNORECASE)
_SIDE = r"(?:the|a|an|my|our|your|his|her|their) [a-z]+"
_PASSIVE = re.compile(rf"^({_SIDE}) (?:was|were) ([a-z]+ed) by ({_SIDE})(?=[.!]?$)", re.IGNORECASE)


def paraphrase(text: str, rng: random.Random) -> str | None:
    """Say an English text in other words, by every rule that fits; None where none does."""
    changed = text
    for rule in _RULES:
        changed = rule(changed, rng)
    return changed if changed != text.replace("’", "'") else None


def contractions(text: str, rng: random.Random) -> str | None:
    """Say "do not" for "don't" and the other way round."""
    changed = _contracted(text, rng)
    return changed if changed != text.replace("’", "'") else None


def _contracted(text: str, rng: random.Random) -> str:
    def other(found: re.Match[str]) -> str:
        word = " ".join(found[0].lower().split())
        return as_written(found[0], _SHORT.get(word) or _LONG[word])

    return _EITHER.sub(other, text.replace("’", "'"))


def as_written(before: str, word: str) -> str:
    """Return words with the capitals of those they stand for, those of "I" too."""
    if len(before) > 1 and before.isupper():
        return word.upper()
    if _ME.search(before):
        word = re.sub(r"\bi\b", "I", word)
    if before[0].isupper():
        return word[0].upper() + word[1:]
    return word


def _asked(text: str, rng: random.Random) -> str:
    """Turn "Could you send it?" into "Please send it.", and the other way round."""
    if _COULD.search(text):
        return _COULD.sub(lambda m: as_written(m[0][:1], "please ") + m[1] + ".", text)
    frame = rng.choice(("could you please ", "can you please "))
    return _PLEASE.sub(lambda m: as_written(m[0][:1], frame) + m[1] + "?", text)


def _turned(text: str, rng: random.Random) -> str:
    """Turn "The card was blocked by the bank" into "The bank blocked the card": a regular verb between two short names."""
    found = _PASSIVE.match(text)
    if found is None:
        return text
    patient, verb, agent = found.groups()
    return f"{as_written(patient[:1], agent)} {verb} {patient[0].lower()}{patient[1:]}{text[found.end() :]}"


def _dated(text: str, rng: random.Random) -> str:
    """Write 12 May 2024 for May 12, 2024 and the other way round, and a date in digits with its month's name."""

    def tail(year: str | None, comma: str) -> str:
        return f"{comma} {year}" if year else ""

    if _ISO.search(text):
        return _ISO.sub(lambda m: f"{int(m[3])} {_MONTHS[int(m[2]) - 1]} {m[1]}", text)
    if _DAY_MONTH.search(text):
        return _DAY_MONTH.sub(lambda m: f"{m[2]} {m[1]}{tail(m[3], ',')}", text)
    return _MONTH_DAY.sub(lambda m: f"{m[2]} {m[1]}{tail(m[3], '')}", text)


def _counted(text: str, rng: random.Random) -> str:
    """Write two days for 2 days, 5 percent for 5 %, and the other way round."""
    text = _NUMBER.sub(lambda m: as_written(m[0], _NUMBERS[m[0].lower()]), text)
    return _PERCENT.sub(lambda m: "%" if m[1] != "%" else " percent", text)


def _words(text: str, rng: random.Random, *, table: Mapping[str, str], pattern: re.Pattern[str]) -> str:
    return pattern.sub(lambda m: as_written(m[0], table[" ".join(m[0].lower().split())]), text)


def _pattern(table: Mapping[str, str]) -> re.Pattern[str]:
    words = sorted(table, key=len, reverse=True)
    return re.compile(r"(?<![\w'-])(?:" + "|".join(re.escape(w).replace(r"\ ", r"\s+") for w in words) + r")(?![\w'-])", re.IGNORECASE)


_RULES: tuple[Rule, ...] = (
    _contracted, _asked, _turned, _dated, _counted,
    partial(_words, table=_SPELT, pattern=_pattern(_SPELT)), partial(_words, table=_SAME, pattern=_pattern(_SAME)),
)  # fmt: skip

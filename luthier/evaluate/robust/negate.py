"""English turned round: a "not" put into a short statement, or taken out of it.

In the way of HateCheck's tests of negation (Röttger et al. 2021, https://aclanthology.org/2021.acl-long.4) and of CheckList's directional
tests (Ribeiro et al. 2020, https://aclanthology.org/2020.acl-main.442), here on the rows of the test side. Only what a rule turns round for
sure is turned: a statement or an order that begins a clause, in a text without questions or quotations of at most 20 words.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterator
from typing import NamedTuple

from luthier.evaluate.robust.reword import as_written

INSERTED, REMOVED = "put in", "taken out"
_MOST_WORDS = 20

_NO = re.compile(r"\b(?:not|cannot|never|no|none|nobody|nothing|neither|nor|without|hardly|nowhere)\b|n't\b", re.IGNORECASE)
_CANNOT = re.compile(r"\b(?:can't|cannot|can not)\b", re.IGNORECASE)
_WONT = re.compile(r"\bwon't\b", re.IGNORECASE)
_BE = "is|are|was|were|am"
_MODAL = "could|will|would|should|must|might|may|can"
_HAVE = "has|have|had"
_NOT = re.compile(rf"\b({_BE}|{_MODAL}|{_HAVE}|does|did)(?: not|n't)\b", re.IGNORECASE)
_DO_NOT = re.compile(r"\b(do)(?: not|n't) (?=[a-z])", re.IGNORECASE)
# Words that only stand beside a "not", and what is said without one.
_POLAR = (
    (re.compile(r"\s+at all\b", re.IGNORECASE), ""), (re.compile(r"\s+(?:anymore|any more|any longer)\b", re.IGNORECASE), ""),
    (re.compile(r"\bany\b", re.IGNORECASE), "some"), (re.compile(r"\banything\b", re.IGNORECASE), "something"),
    (re.compile(r"\b(?:anyone|anybody)\b", re.IGNORECASE), "someone"), (re.compile(r"\byet\b", re.IGNORECASE), "already"),
    (re.compile(r"\beither\b", re.IGNORECASE), "too"),
)  # fmt: skip
_TO_ANY = ((re.compile(r"\bsome\b", re.IGNORECASE), "any"), (re.compile(r"\balready\b", re.IGNORECASE), "yet"))

# A question is no statement, and after these words stands no subject of one.
_ASKS = re.compile(
    r"^\W*(?:who|what|which|when|where|why|how|whose|is|are|was|were|am|do(?! not)|does|did|can|could|will|would|should|has|have|had|may|if)\b",
    re.IGNORECASE,
)
_SUBJECT = (
    r"(?:i|you|he|she|it|we|they|this|that|there|everyone|everybody|someone|somebody"
    r"|(?:the|my|our|your|his|her|their|this|that|these|those|all|some|most|many) [a-z]+(?: [a-z]+)?|[a-z]+s)"
)
# Where a clause of its own begins: what follows "which", "if" or a noun may be negated and leave the sentence as it is.
# "Not just" says more than what it is put before, and not its contrary.
_ONLY = re.compile(r"^ (?:just|only|simply|merely|even|also|all|both|necessarily)\b", re.IGNORECASE)
_LEFT = r"(?:^\W*|[.!;,:]\s+|\b(?:but|and|because|then|hey|hi|hello|think)\s+)"
_PART = r"(?:\w+ed|been|got|had|lost|sent|paid|made|seen|done|come|gone|found|given|taken|put|left|bought|become|forgotten|received)"
_STATED = re.compile(rf"{_LEFT}{_SUBJECT} ({_BE}|{_MODAL}|(?:{_HAVE})(?= (?:just |already )?{_PART}\b))(?= [a-z])", re.IGNORECASE)
_SHORT = re.compile(_LEFT + r"(i'm|you're|we're|they're|he's|she's|it's|that's|i'll|we'll|they'll|it'll)(?= [a-z])", re.IGNORECASE)

_VERBS = (
    "agree", "allow", "appear", "arrive", "ask", "believe", "belong", "buy", "call", "cancel", "care", "change", "close", "come",
    "contain", "cost", "deliver", "deserve", "do", "enjoy", "exist", "expect", "feel", "find", "forget", "get", "give", "go",
    "happen", "hate", "have", "help", "include", "keep", "know", "lack", "leave", "like", "live", "look", "lose", "love", "make",
    "matter", "mean", "mind", "need", "offer", "open", "own", "pay", "play", "prefer", "provide", "receive", "recommend",
    "remember", "require", "respect", "seem", "send", "show", "sound", "support", "taste", "think", "trust", "understand", "use",
    "want", "wish", "work",
)  # fmt: skip
_PAST = {
    "bought": "buy", "came": "come", "felt": "feel", "found": "find", "forgot": "forget", "got": "get", "gave": "give", "went": "go",
    "had": "have", "kept": "keep", "knew": "know", "left": "leave", "lost": "lose", "made": "make", "meant": "mean", "paid": "pay", "preferred": "prefer", "sent": "send",
    "thought": "think", "understood": "understand", "did": "do", "saw": "see", "took": "take", "told": "tell",
}  # fmt: skip
_ORDERS = (
    "add", "answer", "block", "book", "buy", "call", "cancel", "change", "charge", "check", "close", "confirm", "connect",
    "contact", "create", "delete", "find", "freeze", "give", "make", "move", "open", "order", "pay", "play", "put", "refund",
    "remind", "remove", "replace", "report", "reserve", "schedule", "send", "set", "show", "stop", "switch", "tell", "transfer",
    "turn", "unblock", "update", "use",
)  # fmt: skip


def _third(verb: str) -> str:
    known = {"have": "has", "do": "does", "go": "goes"}
    return known.get(verb) or (f"{verb[:-1]}ies" if re.search(r"[^aeiou]y$", verb) else verb + ("es" if verb.endswith(("s", "ch", "sh")) else "s"))


def _past(verb: str) -> str:
    if verb == "cancel":
        return "cancelled"
    return f"{verb}d" if verb.endswith("e") else f"{verb[:-1]}ied" if re.search(r"[^aeiou]y$", verb) else f"{verb}ed"


_IRREGULAR = frozenset(_PAST.values())
_THIRDS = {_third(verb): verb for verb in _VERBS}
_PASTS = _PAST | {_past(verb): verb for verb in _VERBS if verb not in _IRREGULAR} | {"canceled": "cancel"}


def _said(verbs: Collection[str], subject: str) -> re.Pattern[str]:
    return re.compile(rf"{_LEFT}{subject} (?:really |just |still |only )?({'|'.join(verbs)})(?![\w'-])", re.IGNORECASE)


_MANY = r"(?:i|you|we|they|people|(?:the|my|our|these|those|all|most) [a-z]+s)"
_ONE = r"(?:he|she|it|this|that|everyone|(?:the|my|our|your|this|that) [a-z]+(?: [a-z]+)?)"
# "I have called" is no "I do not have": had and have are verbs of their own only before what somebody has.
_OWNED = r"(?: (?:a|an|the|some|my|to|two|three|this|no)\b)"
_PRONOUN = re.compile(r"\b(?:i|you|we|they)(?: \w+)? $", re.IGNORECASE)
_PRESENT = _said(_VERBS, _MANY)
_PRESENT_ONE = _said(_THIRDS, _ONE)
_PASTLY = _said(_PASTS, rf"(?:{_MANY}|{_ONE})")
_ORDER = re.compile(rf"(?:^|(?<=[.!] ))(please )?({'|'.join(_ORDERS)})(?= (?:the|my|me|a|an|this|that|our|it|all|your|him|her|to|off|on|in)\b)", re.IGNORECASE)


class Negated(NamedTuple):
    """A text turned round, and whether a "not" was put in or taken out."""

    text: str
    kind: str


def negated(text: str) -> Negated | None:
    """Turn an English text round; None where no rule does so for sure."""
    plain = text.replace("’", "'")
    if len(plain.split()) > _MOST_WORDS or set(plain) & set('?"“”') or _ASKS.match(plain):
        return None
    negations = _NO.findall(plain)
    if len(negations) > 1:
        return None
    changed = _without(plain) if negations else _with(plain)
    return None if changed is None or changed == plain else Negated(changed, REMOVED if negations else INSERTED)


def _without(text: str) -> str | None:
    """Take the one negation out; None where it is of another kind."""
    for pattern, to in ((_CANNOT, "can"), (_WONT, "will")):
        if (found := pattern.search(text)) is not None:
            return _unpolar(text[: found.start()] + as_written(found[0], to), text[found.end() :])
    if (found := _NOT.search(text)) is not None:
        return _unpolar(text[: found.start()] + found[1], text[found.end() :])
    if (found := _DO_NOT.search(text)) is not None:
        # "I do not like it" is "I like it"; an order loses its "do" likewise.
        rest = text[found.end() :]
        return _unpolar(text[: found.start()], as_written(found[1][:1], rest[:1]) + rest[1:])
    return None


def _unpolar(left: str, right: str) -> str:
    for pattern, to in _POLAR:
        right = pattern.sub(to, right)
    return left + right


def _with(text: str) -> str | None:
    """Put one in at the first place that a rule knows; None where none does."""
    found = min((one for rule in _INSERTIONS for one in rule(text)), default=None)
    if found is None:
        return None
    _, left, right = found
    if _ONLY.match(right):
        return None
    if right.lower().startswith(" still ") and left.endswith(" not"):
        left, right = left.removesuffix("not") + "no longer", right[len(" still") :]
    for pattern, to in _TO_ANY:
        right = pattern.sub(to, right)
    return left + right


Made = Iterator[tuple[int, str, str]]


def _by_auxiliary(text: str) -> Made:
    """Yield "the card is not", "I cannot", "we have not"."""
    if (m := _STATED.search(text)) is not None:
        joined = "not" if m[1].lower() == "can" else " not"
        yield m.start(1), text[: m.end(1)] + joined, text[m.end(1) :]
    if (m := _SHORT.search(text)) is not None:
        yield m.start(1), f"{text[: m.end()]} not", text[m.end() :]


def _by_verb(text: str) -> Made:
    """Yield "I do not like", "it does not work", "they did not send"."""
    forms = ((_PRESENT, "do", None), (_PRESENT_ONE, "does", _THIRDS), (_PASTLY, "did", _PASTS))
    for pattern, auxiliary, table in forms:
        m = pattern.search(text)
        if m is None or (m[1].lower() in ("have", "has", "had") and not re.match(_OWNED, text[m.end(1) :], re.IGNORECASE)):
            continue
        if m[1].lower() == "like" and not _PRONOUN.search(text[: m.start(1)]):  # "all people like them"
            continue
        verb = m[1].lower() if table is None else table[m[1].lower()]
        yield m.start(1), f"{text[: m.start(1)]}{auxiliary} not {verb}", text[m.end(1) :]


def _by_order(text: str) -> Made:
    """Yield "do not cancel", "please do not cancel"."""
    if (m := _ORDER.search(text)) is not None:
        please = m[1] or ""
        word = "do not " if please else as_written(m[2][:1], "do not ")
        yield m.start(2), f"{text[: m.start()]}{please}{word}{m[2].lower()}", text[m.end(2) :]


_INSERTIONS: tuple[Callable[[str], Made], ...] = (_by_auxiliary, _by_verb, _by_order)

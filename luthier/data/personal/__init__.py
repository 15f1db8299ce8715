"""Personal data in text: e-mail and IP addresses, phone numbers, IBANs, payment cards, national numbers, passports."""

from __future__ import annotations

import re
import secrets
from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from hashlib import blake2b
from itertools import islice
from typing import Any

from luthier.base.inputs import text_name
from luthier.base.records import Example
from luthier.base.seeds import stable_hash
from luthier.data.personal.numbers import passports
from luthier.data.personal.patterns import (
    cards,
    emails,
    ibans,
    ips,
    national_numbers,
    phones,
    phones_abroad,
    phones_of,
)

Found = tuple[str, int, int]
Names = Callable[[Sequence[str]], list[list[tuple[int, int]]]]

_SIGN = re.compile(r"[0-9@]")
_DIGIT = re.compile(r"\d")
_MASK_WORD = re.compile(r"\[[a-z_]+-\d+\]")
_NAME_ROUNDS = 5
_TOGETHER = 64

# What has the surer checksum is looked for first: its digits are then no other number.
_LOOKS: tuple[tuple[str, Callable[[str], Iterable[tuple[int, int]]]], ...] = (
    ("iban", ibans),
    ("card", cards),
    ("passport", passports),
    ("ip", ips),
    ("national_id", national_numbers),
    ("phone", phones),
)


def find(text: str, *, region: str | None = None) -> list[Found]:
    """Return ``(kind, start, end)`` of what is personal, in order and not overlapping.

    Kinds: email; iban (checked mod 97, ISO 13616); card (issuer, length and Luhn, ISO/IEC 7812); passport
    (machine-readable line, ICAO 9303); ip (not of a private network); national_id (check digits, by python-stdnum);
    phone. A phone number is one only with a country code or written as phone numbers are: order numbers, amounts,
    dates and plain digits are left alone, so a number typed as digits without + is missed on purpose.

    Args:
        region: a country such as DE, whose own way to write phone numbers counts too.
    """
    if not _SIGN.search(text) and (text.isascii() or not _DIGIT.search(text)):
        return []
    found: list[Found] = []
    if "@" in text:
        _take(found, "email", emails(text))
    if _DIGIT.search(text):
        for kind, look in _LOOKS:
            _take(found, kind, look(text))
        _take(found, "phone", phones_abroad(text, found))
        if region:
            _take(found, "phone", phones_of(text, region))
    return found


def _take(found: list[Found], kind: str, spans: Iterable[tuple[int, int]]) -> None:
    """Add spans that overlap nothing found before, keeping ``found`` in order."""
    for start, end in list(spans):
        at = bisect_left(found, start, key=lambda item: item[1])
        if (at == 0 or found[at - 1][2] <= start) and (at == len(found) or end <= found[at][1]):
            found.insert(at, (kind, start, end))


def mask(text: str) -> tuple[str, Counter[str]]:
    """Return ``text`` with each find replaced by its kind, as in "write to [email]", and the count of each kind.

    Nothing personal is left to find in what is returned.
    """
    counts: Counter[str] = Counter()
    return _replaced(text, lambda kind, _: f"[{kind}]", counts), counts


def _replaced(text: str, word: Callable[[str, str], str], counts: Counter[str], region: str | None = None) -> str:
    # What stood beside a find, or overlapped it, may be recognised only after it is gone.
    while spans := find(text, region=region):
        counts.update(kind for kind, _, _ in spans)
        text = _spliced(text, spans, word)
    return text


def _spliced(text: str, spans: Iterable[Found], word: Callable[[str, str], str]) -> str:
    parts: list[str] = []
    at = 0
    for kind, start, end in spans:
        parts += [text[at:start], word(kind, text[start:end])]
        at = end
    return "".join([*parts, text[at:]])


class Masker:
    """Replace personal data by words such as ``[email-1]``, the same find always by the same word.

    What is kept of a find is its kind, its number and a hash under a key that is drawn anew for each Masker and never
    written: the finds themselves are kept nowhere, and the words of two Maskers cannot be matched.
    """

    def __init__(self, *, names: Names | None = None, region: str | None = None) -> None:
        """Make ready.

        Args:
            names: where people's names stand in each text (see ``models.names.open_names``); replaced as ``[name-1]``.
            region: as in :func:`find`.
        """
        self.counts: Counter[str] = Counter()
        self._names = names
        self._region = region
        self._key = secrets.token_bytes(32)
        self._numbers: dict[bytes, int] = {}
        self._different: Counter[str] = Counter()

    def text(self, text: str) -> str:
        """Return ``text`` masked; masking it again changes nothing."""
        return self._texts([text])[0]

    def example(self, example: Example) -> Example:
        """Return the example with inputs, answer and other columns masked, never the label of a classify row.

        The group stays, because rows are divided by it. The id follows the masked text.
        """
        return self._examples([example])[0]

    def examples(self, examples: Iterable[Example]) -> Iterator[Example]:
        """Yield examples as :meth:`example` makes them, in order; a names model sees many texts at a time."""
        rows = iter(examples)
        while block := list(islice(rows, _TOGETHER)):
            yield from self._examples(block)

    def note(self) -> dict[str, Any]:
        """Return what was masked by kind, as ``{kind: {"finds", "different"}}``: nothing personal."""
        return {kind: {"finds": n, "different": self._different[kind]} for kind, n in self.counts.most_common()}

    def _examples(self, examples: list[Example]) -> list[Example]:
        texts = [text for example in examples for text in _texts_of(example)]
        masked = self._texts(texts)
        made = []
        at = 0
        for example in examples:
            size = sum(1 for _ in _texts_of(example))
            was, now = texts[at : at + size], masked[at : at + size]
            at += size
            made.append(example if was == now else _with_texts(example, now))
        return made

    def _texts(self, texts: list[str]) -> list[str]:
        masked = [_replaced(text, self._word, self.counts, self._region) for text in texts]
        if self._names is None:
            return masked
        open_ = [i for i, text in enumerate(masked) if any(c.isalpha() for c in text)]
        # A name that is gone changes what the model makes of the rest; it is asked again until it finds no more.
        for _ in range(_NAME_ROUNDS):
            changed = []
            for i, spans in zip(open_, self._names([masked[i] for i in open_]) if open_ else [], strict=True):
                chosen = _outside_words(masked[i], spans)
                if chosen:
                    self.counts["name"] += len(chosen)
                    # A name gone, a number beside it may be one that is known.
                    text = _spliced(masked[i], chosen, self._word)
                    masked[i] = _replaced(text, self._word, self.counts, self._region)
                    changed.append(i)
            open_ = changed
        return masked

    def _word(self, kind: str, found: str) -> str:
        digest = blake2b(f"{kind}\x1f{_normal(kind, found)}".encode("utf-8", "replace"), key=self._key, digest_size=12)
        key = digest.digest()
        number = self._numbers.get(key)
        if number is None:
            self._different[kind] += 1
            number = self._numbers[key] = self._different[kind]
        return f"[{kind}-{number}]"


def _normal(kind: str, found: str) -> str:
    """Return the form in which two finds of a kind are the same."""
    if kind == "name":
        return " ".join(found.split()).casefold()
    if kind == "phone":
        digits = "".join(c for c in found.replace("(0)", "") if c.isdigit())
        # +49 and 0049 begin the same number.
        return digits.removeprefix("00") if not found.lstrip().startswith(("+", "＋")) else digits
    if kind in ("email", "ip"):
        return found.casefold()
    return "".join(c for c in found if c.isalnum()).casefold()


def _outside_words(text: str, spans: Iterable[tuple[int, int]]) -> list[Found]:
    """Return name spans in order, without those that touch a mask word, each other, or no letter."""
    words = [match.span() for match in _MASK_WORD.finditer(text)]
    found: list[Found] = []
    for start, end in sorted(spans):
        if found and start < found[-1][2]:
            continue
        if any(start < b and a < end for a, b in words) or not any(c.isalpha() for c in text[start:end]):
            continue
        found.append(("name", start, end))
    return found


def _texts_of(example: Example) -> Iterator[str]:
    """Yield what is masked, in the order in which :func:`_with_texts` takes it back."""
    if "messages" in example.inputs:
        yield from (turn["content"] for turn in example.inputs["messages"])
        if isinstance(example.target, str):
            yield example.target
    elif (name := text_name(example.inputs)) is not None:
        yield example.inputs[name]
        if name == "document":
            yield from example.target or ()
    yield from (value for value in example.extra.values() if isinstance(value, str))


def _with_texts(example: Example, texts: list[str]) -> Example:
    left = iter(texts)
    inputs = dict(example.inputs)
    target = example.target
    if "messages" in inputs:
        inputs["messages"] = [{**turn, "content": next(left)} for turn in inputs["messages"]]
        target = next(left) if isinstance(target, str) else target
    elif (name := text_name(inputs)) is not None:
        inputs[name] = next(left)
        if name == "document" and target:
            target = [next(left) for _ in target]
    extra = {key: next(left) if isinstance(value, str) else value for key, value in example.extra.items()}
    same = inputs == example.inputs and target == example.target
    id_ = example.id if same else stable_hash([inputs, target])
    return replace(example, id=id_, inputs=inputs, target=target, extra=extra)

"""Personal data in text: e-mail addresses, phone numbers, IBANs and payment cards, found by pattern and checksum."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator

_EMAIL = re.compile(
    r"(?<![\w.+-])\w[\w.!#$%&'*+/=?^`{|}~-]{0,63}@(?:[^\W_](?:[\w-]{0,61}[^\W_])?\.){1,8}[^\W\d_]{2,24}(?![\w@])"
)
_DIGITS = re.compile(r"\d")

# Length of an IBAN by country: SWIFT's IBAN registry, release 99.
_IBAN_LENGTHS = {
    "AD": 24, "AE": 23, "AL": 28, "AT": 20, "AZ": 28, "BA": 20, "BE": 16, "BG": 22, "BH": 22, "BI": 27, "BR": 29,
    "BY": 28, "CH": 21, "CR": 22, "CY": 28, "CZ": 24, "DE": 22, "DJ": 27, "DK": 18, "DO": 28, "EE": 20, "EG": 29,
    "ES": 24, "FI": 18, "FK": 18, "FO": 18, "FR": 27, "GB": 22, "GE": 22, "GI": 23, "GL": 18, "GR": 27, "GT": 28,
    "HN": 28, "HR": 21, "HU": 28, "IE": 22, "IL": 23, "IQ": 23, "IS": 26, "IT": 27, "JO": 30, "KW": 30, "KZ": 20,
    "LB": 28, "LC": 32, "LI": 21, "LT": 20, "LU": 20, "LV": 21, "LY": 25, "MC": 27, "MD": 24, "ME": 22, "MK": 19,
    "MN": 20, "MR": 27, "MT": 31, "MU": 30, "NI": 28, "NL": 18, "NO": 15, "OM": 23, "PK": 24, "PL": 28, "PS": 29,
    "PT": 25, "QA": 29, "RO": 24, "RS": 22, "RU": 33, "SA": 24, "SC": 31, "SD": 18, "SE": 24, "SI": 19, "SK": 24,
    "SM": 27, "SO": 23, "ST": 25, "SV": 28, "TL": 23, "TN": 24, "TR": 26, "UA": 29, "VA": 22, "VG": 24, "XK": 20,
    "YE": 30,
}  # fmt: skip
_IBAN = re.compile(r"(?<![A-Za-z0-9])[A-Za-z]{2}\d{2}(?:[ -]?[A-Za-z0-9]){11,30}")
_CARD = re.compile(r"(?<![\w.-])\d(?:[ -]?\d){12,18}(?![\w-])")
_ISSUERS = (
    (re.compile(r"4"), (13, 16, 19)),  # Visa
    (re.compile(r"5[1-5]|2(?:22[1-9]|2[3-9]|[3-6]|7[01]|720)"), (16,)),  # Mastercard
    (re.compile(r"3[47]"), (15,)),  # American Express
    (re.compile(r"3(?:0[0-5]|[689])"), (14, 16)),  # Diners Club
    (re.compile(r"35(?:2[89]|[3-8])"), (16,)),  # JCB
    (re.compile(r"6(?:011|4[4-9]|5|2)"), (16, 17, 18, 19)),  # Discover, UnionPay
)

# International with + or 00; North American; a national number that starts with 0 and is written in groups.
_PHONES = (
    re.compile(r"(?<![\w+])(?:\+|(?<!\d )00(?=[1-9]))[1-9](?:[ ()./-]{0,2}\d){7,14}(?!\w)"),
    re.compile(r"(?<![\w.+-])(?:1[ .-])?(?:\(\d{3}\) ?\d{3}[ .-]\d{4}|\d{3}([ .-])\d{3}\1\d{4})(?![\w-])"),
    re.compile(r"(?<![\w.+/-])(?<!\d )(?:\(0\d{1,5}\)|0[1-9]\d{0,4})(?:(?: ?[/-] ?|[ .])\d{2,9}){1,5}(?![\w-])"),
)
_DATE = re.compile(r"(?<!\d)(?:\d{1,2}[./ -]\d{1,2}[./ -](?:19|20)\d\d|(?:19|20)\d\d[./ -]\d{1,2}[./ -]\d{1,2})(?!\d)")
_DOTTED = re.compile(r"\d{1,3}(?:\.\d{1,3}){3}")
# Words after which digits are a number of something else.
_NUMBER_OF = re.compile(
    r"(?:\b(?:order|invoice|ticket|case|ref|reference|tracking|parcel|item|article|serial|contract|booking|policy|isbn|sku|id"
    r"|amount|total|rechnung|bestellung|auftrag|kundennummer|vertrag)\b[^\d\n]{0,12}|[#$€£¥]\s?)$",
    re.IGNORECASE,
)
_MONEY_AFTER = re.compile(r"\s?(?:[€$£¥%]|(?:eur|usd|gbp|chf|euros?|dollars?|pounds?)\b)", re.IGNORECASE)
_MIN_PHONE, _MAX_PHONE, _MIN_PLAIN = 9, 15, 12


def find(text: str) -> list[tuple[str, int, int]]:
    """Return ``(kind, start, end)`` of what is personal, in order and not overlapping.

    Kinds: email, iban (checked mod 97, ISO 13616), card (issuer, length and Luhn, ISO/IEC 7812), phone. A phone
    number is one only with a country code or written as phone numbers are, of 9 to 15 digits (ITU-T E.164): order
    numbers, amounts, dates and plain digits are left alone, so a number typed as digits without + is missed on
    purpose.
    """
    found: list[tuple[str, int, int]] = []
    if "@" in text:
        found += [("email", m.start(), m.end()) for m in _EMAIL.finditer(text)]
    if _DIGITS.search(text):
        for kind, spans in (("iban", _ibans(text)), ("card", _cards(text)), ("phone", _phones(text))):
            for start, end in spans:
                if all(end <= s or start >= e for _, s, e in found):
                    found.append((kind, start, end))
    return sorted(found, key=lambda item: item[1])


def mask(text: str) -> tuple[str, Counter[str]]:
    """Return ``text`` with each find replaced by its kind, as in "write to [email]", and the count of each kind.

    Nothing personal is left to find in what is returned.
    """
    counts: Counter[str] = Counter()
    # What stood beside a find, or overlapped it, may be recognised only after it is gone.
    while spans := find(text):
        parts: list[str] = []
        at = 0
        for kind, start, end in spans:
            counts[kind] += 1
            parts += [text[at:start], f"[{kind}]"]
            at = end
        text = "".join([*parts, text[at:]])
    return text, counts


def _ibans(text: str) -> Iterator[tuple[int, int]]:
    at = 0
    while match := _IBAN.search(text, at):
        at = match.start() + 1
        length = _IBAN_LENGTHS.get(match[0][:2].upper())
        if length is None:
            continue
        # The pattern may have run on into the next word; the country says where the number ends.
        places = [i for i in range(match.start(), match.end()) if text[i] not in " -"]
        if len(places) < length:
            continue
        end = places[length - 1] + 1
        number = "".join(text[i] for i in places[:length]).upper()
        if text[end : end + 1].isalnum() or not _mod97(number):
            continue
        yield match.start(), end
        at = end


def _mod97(number: str) -> bool:
    return int("".join(str(int(c, 36)) for c in number[4:] + number[:4])) % 97 == 1


def _cards(text: str) -> Iterator[tuple[int, int]]:
    for match in _CARD.finditer(text):
        digits = re.sub(r"\D", "", match[0])
        known = any(issuer.match(digits) and len(digits) in lengths for issuer, lengths in _ISSUERS)
        if known and _luhn(digits):
            yield match.span()


def _luhn(digits: str) -> bool:
    doubled = [int(d) * (1 + i % 2) for i, d in enumerate(reversed(digits))]
    return sum(d - 9 if d > 9 else d for d in doubled) % 10 == 0


def _phones(text: str) -> Iterator[tuple[int, int]]:
    for pattern in _PHONES:
        for match in pattern.finditer(text):
            digits = sum(c.isdigit() for c in match[0])
            # Plain digits that begin with 00 are more often a number of something than a short call abroad.
            if match[0].isdigit() and digits < _MIN_PLAIN:
                continue
            if not _MIN_PHONE <= digits <= _MAX_PHONE:
                continue
            if _DATE.search(match[0]) or _DOTTED.fullmatch(match[0]):
                continue
            if _NUMBER_OF.search(text[max(0, match.start() - 40) : match.start()]) or _MONEY_AFTER.match(
                text, match.end()
            ):
                continue
            yield match.span()

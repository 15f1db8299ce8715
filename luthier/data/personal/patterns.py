"""The patterns of personal data, each with its checksum or the words around that speak against it."""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from ipaddress import AddressValueError, IPv4Address, IPv6Address

from stdnum import luhn
from stdnum.iso7064 import mod_97_10

from luthier.data.personal.numbers import national_ids

Span = tuple[int, int]

_EMAIL = re.compile(
    r"(?<![\w.+-])\w[\w.!#$%&'*+/=?^`{|}~-]{0,63}@(?:[^\W_](?:[\w-]{0,61}[^\W_])?\.){1,8}[^\W\d_]{2,24}(?![\w@])"
)

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
# So many digits stand near each other in each of them, and in a card's number.
_NINE_DIGITS = re.compile(r"\d(?:[ ()./+-]{0,3}\d){8}")
_DATE = re.compile(r"(?<!\d)(?:\d{1,2}[./ -]\d{1,2}[./ -](?:19|20)\d\d|(?:19|20)\d\d[./ -]\d{1,2}[./ -]\d{1,2})(?!\d)")
_DOTTED = re.compile(r"\d{1,3}(?:\.\d{1,3}){3}")
# Words after which digits are a number of something else.
_NUMBER_OF = re.compile(
    r"(?:\b(?:order|invoice|ticket|case|ref|reference|tracking|parcel|item|article|serial|contract|booking|policy|isbn|sku|id"
    r"|amount|total|rechnung|bestellung|auftrag|kundennummer|vertrag)\b[^\d\n]{0,12}|[#$€£¥]\s?)$",
    re.IGNORECASE,
)
_MONEY_AFTER = re.compile(r"\s?(?:[€$£¥%]|(?:eur|usd|gbp|chf|euros?|dollars?|pounds?)\b)", re.IGNORECASE)
# Words after which a number with check digits is still one of a thing.
_THING = re.compile(
    r"(?:\b(?:order|invoice|ticket|tracking|parcel|item|article|serial|isbn|sku|part|model|amount|total|rechnung|bestellung|auftrag"
    r"|artikel|commande|facture|pedido|factura|ordine|fattura)\b[^\d\n]{0,12}|[#$€£¥]\s?)$",
    re.IGNORECASE,
)
_MIN_PHONE, _MAX_PHONE, _MIN_PLAIN = 9, 15, 12
# What the patterns above leave: short numbers abroad, dashes of other kinds, (0), extensions. 00 only in groups.
_ABROAD = re.compile(r"(?<![\w+＋])(?:[+＋][ (]?|00[ (.-]?(?=[1-9]))\d(?:[\s()./\u2010-\u2015-]{0,3}\d){5,17}")
_ABROAD_CHARS = 40

_IPV4 = re.compile(r"(?<![\w.:-])\d{1,3}(?:\.\d{1,3}){3}(?![\w-]|\.\d)", re.ASCII)
_IPV6 = re.compile(r"(?<![\w:.])[0-9A-Fa-f]{1,4}(?:::?[0-9A-Fa-f]{1,4}){2,7}(?![\w:]|\.\d)", re.ASCII)
_VERSION_OF = re.compile(
    r"(?:\b(?:version|ver|v|release|build|firmware|software|sw|kernel|driver|update|section|chapter|clause|paragraph|kapitel|abschnitt)"
    r"\b\.?|§)\s*$",
    re.IGNORECASE,
)


def emails(text: str) -> Iterator[Span]:
    for match in _EMAIL.finditer(text):
        yield match.span()


def ibans(text: str) -> Iterator[Span]:
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
        if text[end : end + 1].isalnum() or not mod_97_10.is_valid(number[4:] + number[:4]):
            continue
        yield match.start(), end
        at = end


def cards(text: str) -> Iterator[Span]:
    if not _NINE_DIGITS.search(text):
        return
    for match in _CARD.finditer(text):
        digits = re.sub(r"\D", "", match[0])
        known = any(issuer.match(digits) and len(digits) in lengths for issuer, lengths in _ISSUERS)
        if known and luhn.is_valid(digits):
            yield match.span()


def phones(text: str) -> Iterator[Span]:
    if not _NINE_DIGITS.search(text):
        return
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
            if not _is_of_thing(text, *match.span()):
                yield match.span()


def _is_of_thing(text: str, start: int, end: int) -> bool:
    return bool(_NUMBER_OF.search(text[max(0, start - 40) : start]) or _MONEY_AFTER.match(text, end))


def phones_abroad(text: str, taken: Sequence[tuple[str, int, int]]) -> Iterator[Span]:
    """Yield numbers with a country code that ``phonenumbers`` calls valid, where nothing was found before."""
    if not ("+" in text or "00" in text or "＋" in text):
        return
    ends = [end for _, _, end in taken]
    for match in _ABROAD.finditer(text):
        at = bisect_left(ends, match.start() + 1)
        if at < len(taken) and taken[at][1] < match.end():
            continue
        if match[0].isdigit():
            continue
        window = text[match.start() : match.start() + _ABROAD_CHARS]
        # The library knows 00 only as a way out of a region that it is told.
        plus = window if not window.startswith("00") else " +" + window[2:]
        for start, end in _matched(plus, None):
            if not _is_of_thing(text, match.start() + start, match.start() + end):
                yield match.start() + (0 if plus is not window else start), match.start() + end
            break


def phones_of(text: str, region: str) -> Iterator[Span]:
    for start, end in _matched(text, region):
        if not _is_of_thing(text, start, end) and not _DATE.search(text[start:end]):
            yield start, end


def _matched(text: str, region: str | None) -> Iterator[Span]:
    import phonenumbers

    for match in phonenumbers.PhoneNumberMatcher(text, region, leniency=phonenumbers.Leniency.VALID, max_tries=100):
        yield match.start, match.end


def ips(text: str) -> Iterator[Span]:
    if text.count(".") >= 3:
        for match in _IPV4.finditer(text):
            if not _VERSION_OF.search(text[max(0, match.start() - 16) : match.start()]) and _is_someones(match[0]):
                yield match.span()
    if text.count(":") >= 2:
        for match in _IPV6.finditer(text):
            if _is_someones(match[0]):
                yield match.span()


def _is_someones(written: str) -> bool:
    """Return whether one person could have it: not a private network's address, and no numbering like 1.2.3.4."""
    try:
        if ":" in written:
            groups = IPv6Address(written).exploded.split(":")
            # Global unicast is 2000::/3; the rest is for one network, for groups, or for no one.
            return groups[0][0] in "23" and written.count(":") >= 3
        parts = IPv4Address(written).packed
    except AddressValueError:
        return False
    private = parts[0] in (0, 10, 127) or parts[0] >= 224 or parts[:2] in (b"\xa9\xfe", b"\xc0\xa8")
    return not private and not (parts[0] == 172 and 16 <= parts[1] < 32) and max(parts) > 9


def national_numbers(text: str) -> Iterator[Span]:
    for start, end, told in national_ids(text):
        before = text[max(0, start - 40) : start]
        if told or not (_THING.search(before) or _MONEY_AFTER.match(text, end)):
            yield start, end

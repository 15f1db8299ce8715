"""Personal data is found by pattern and checksum, and numbers of other things are left alone."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from luthier.data.personal import find, mask

FOUND = {
    "email": ["jo.smith+x@mail.example.co.uk", "JO@EXAMPLE.COM", "o'neil_9@sub-domain.example.org", "müller@straße.de"],
    "iban": [
        "DE89 3704 0044 0532 0130 00", "GB82WEST12345698765432", "NO9386011117947", "fr14 2004 1010 0505 0001 3m02 606",
    ],
    "card": ["4111 1111 1111 1111", "5500-0000-0000-0004", "378282246310005", "6011111111111117", "2223003122003222"],
    "phone": [
        "+49 170 1234567", "+1 (555) 010-9988", "+442079460018", "0049 170 1234567", "(555) 123-4567", "555-123-4567",
        "1-800-555-0199", "020 7946 0018", "0170/1234567", "01 23 45 67 89", "(030) 123 45 67", "07700 900123",
    ],
}  # fmt: skip

LEFT_ALONE = [
    "order 0170 123 4567",
    "Order no. 555-123-4567",
    "order number: 123456789012",
    "ticket #0170 1234567",
    "it cost 1 234 567 890 EUR",
    "between 467 000 - 450 000",
    "on 2024-01-15 or 15.01.2024 or 01/02/2023",
    "2024-01-15 1030",
    "from 010.123.045.067",
    "4111 1111 1111 1112",
    "1234567890123",
    "tracking 1Z 999 AA1 01 2345 6784",
    "DE89 3704 0044 0532 0130 01",
    "version 1.2.3.4, page 100-200",
    "someone@ home, @user, a@b",
    "3.14159265358979",
    "0012345678",
    "amount: 0800 100 200 300",
    "12345678901 is my id",
]


@pytest.mark.parametrize(("kind", "text"), [(kind, text) for kind, texts in FOUND.items() for text in texts])
def test_found_with_its_place_between_words(kind: str, text: str) -> None:
    said = f"Please use {text}, thank you. Call again tomorrow"
    assert [(k, said[a:b]) for k, a, b in find(said)] == [(kind, text)]
    masked, counts = mask(said)
    assert masked == f"Please use [{kind}], thank you. Call again tomorrow" and dict(counts) == {kind: 1}
    assert mask(text)[0] == f"[{kind}]"


@pytest.mark.parametrize("text", LEFT_ALONE)
def test_left_alone(text: str) -> None:
    assert mask(f"It says {text}.")[0] == f"It says {text}."


def test_a_number_that_runs_into_words() -> None:
    assert mask("IBAN DE89 3704 0044 0532 0130 00 BITTE SCHNELL")[0] == "IBAN [iban] BITTE SCHNELL"
    assert mask("quote 'me@example.com' or `you@example.com`, <we@example.com>")[0] == (
        "quote '[email]' or `[email]`, <[email]>"
    )
    masked, counts = mask("a@b.com b@c.org +49 170 1234567")
    assert masked == "[email] [email] [phone]" and counts == {"email": 2, "phone": 1}


@given(st.text(st.sampled_from("0123456789 +-()./@ab.cDE[]#"), max_size=60))
def test_nothing_is_left_after_masking(text: str) -> None:
    masked, counts = mask(text)
    assert find(masked) == []
    assert (masked == text) == (not counts)
    spans = find(text)
    assert all(a[2] <= b[1] for a, b in pairwise(spans))


@pytest.mark.parametrize(
    "unit",
    [
        "1",
        "+1",
        "0 1",
        "a.",
        "a@",
        "DE12",
        "(0",
        "1-",
        "0171 ",
        "a@a.",
        "+",
        "00 ",
        "1.",
        "1:",
        "ab:",
        "1 2",
        "BSN 1",
        "<1",
        "+4 ",
        "(+",
        "1234 ",
    ],
)
def test_very_long_texts_come_to_an_end(unit: str) -> None:
    # Time that grows with the square of the length would keep this from ending.
    assert find(mask(unit * 20_000)[0]) == []

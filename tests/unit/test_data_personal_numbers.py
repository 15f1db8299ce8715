"""Numbers of persons by country, addresses of machines, phones abroad; and a masker that is consistent and keeps nothing.

All numbers are documented examples: those of python-stdnum's documentation, of the standards, and of ranges kept for it.
"""

from __future__ import annotations

import gc
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from luthier.base.records import Example, Source
from luthier.base.seeds import stable_hash
from luthier.data.personal import Masker, find, mask

ANYWHERE = [
    "536-90-4399", "912-90-3456", "36 574 261 809", "2 95 10 99 126 111 93", "253072B07300470", "54362315-K", "54362315K", "x-2482300w",
    "X2482300W", "RCCMNL83S18D969H", "RSSMRA85T10A562S", "rssmra85t10a562s", "1112.22.333", "880320-0016", "19880320-0016",
    "390.533.447-05", "2341 2341 2346", "2341-2341-2346", "360426199101010071", "11010519491231002X", "756.9217.0769.85",
    "85.07.30-033.28", "85 07 30 033 28", "98.47.28-997.65", "151086 95088", "131052-308T", "710319/2745", "971013-9019902",
    "BOXW310820HNERXN09", "12.531.909-2", "20-05536168-2", "1-2345-45678-78-1",
]  # fmt: skip
NEAR_THEIR_WORD = [
    "SSN 536904399", "social security number: 536904399", "ITIN 912903456", "NHS number 943 476 5870", "NHS 9434765870",
    "Steuer-ID 36574261809", "Steuernummer 181/815/08155", "numéro de sécu 295109912611193", "BSN 111222333", "mijn bsn is 111222333",
    "PESEL: 44051401359", "personnummer 8803200016", "CPF 39053344705", "Aadhaar 234123412346", "AHV-Nr 7569217076985",
    "rijksregisternummer 85073003328", "fødselsnummer 15108695088", "CPR 211062-5629", "CPR-nummer 2110625629", "SVNR 1237 010180",
    "CNP 1630615123457", "ЕГН 8032056031", "OIB 33392005961", "isikukood 36805280109", "asmens kodas 33309240064", "PPS 6433435F",
    "PPSN 6433435OA", "AMKA 01013099997", "TC kimlik no 17291716060", "SIN 123-456-782", "TFN 123 456 782",
    "kennitala 450401-3150", "EMŠO 0101006500006", "NIF 501964843", "cartão de cidadão 00000000 0 ZZ4", "PAN ACUPA7085R",
    "РНОКПП 1759013776", "ID number 7503305044089", "個人番号 621498320257", "マイナンバー 6214 9832 0257", "teudat zehut 039337423",
]  # fmt: skip
OTHER_KINDS = {
    "phone": ["+47 22 12 34 56", "+298 123456", "+354 412 3456", "+44 (0)20 7946 0018", "+1 212-555-0123", "+33 1 23 45 67 89",
              "0044 20 7946 0018", "+81 3-1234-5678", "+376 712 345", "＋49 170 1234567", "00 49 170 1234567"],
    "ip": ["192.0.2.44", "198.51.100.7", "203.0.113.255", "2001:db8::ff00:42:8329", "2001:db8:85a3:0:0:8a2e:370:7334", "8.8.8.10"],
    "iban": ["FR1420041010050500013M02606", "NL91 ABNA 0417 1643 00", "BE68 5390 0754 7034"],
    "card": ["4242 4242 4242 4242", "3530111333300000", "30569309025904"],
    "passport": ["L898902C36UTO7408122F1204159ZE184226B<<<<<10"],
}  # fmt: skip
LEFT_ALONE = [
    # A digit changed, a digit missing, an impossible date.
    "SSN 666-90-4399", "000-12-3456", "36 574 261 890", "2 95 10 99 126 111 94", "54362315-L", "X2482300X",
    "RCCMNL83S18D969X", "1112.52.333", "880320-0018", "880332-0016", "231.002.999-01", "2341 2341 2347", "360426199113010071",
    "756.9217.0769.84", "85.07.30-033.29", "151086 95077", "131052-308U", "310252-308Y", "711319/2745", "BOXW310820HNERXN08",
    "12.531.909-3", "20-05536168-3", "1-2345-45678-78-9", "6214 9832 0258", "BSN 111252333", "PESEL 44051401358", "NHS 9434765871",
    "OIB 33392005962", "TC kimlik 17291716050", "kimlik 1729171606",
    # Right check digits, but plain digits without their word.
    "536904399", "9434765870", "36574261809", "295109912611193", "111222333", "44051401359", "8803200016", "39053344705", "234123412346",
    "15108695088", "2110625629", "1630615123457", "33392005961", "123456782", "7503305044089", "ACUPA7085R", "6433435F",
    # Numbers of things.
    "order 54362315K", "invoice no. 36 574 261 809", "Bestellung 151086 95088", "tracking number 2341 2341 2346", "part 131052-308T",
    "$ 12.531.909-2", "item 880320-0016",
    # What looks like a machine's address and is none, or no one's.
    "127.0.0.1", "192.168.0.1", "10.1.2.3", "172.16.254.1", "0.0.0.0", "255.255.255.0", "224.0.0.251", "version 10.15.7.23", "v 8.10.2.14",
    "section 10.2.3.4", "1.2.3.4", "256.1.2.30", "192.0.2.44.5", "fe80::1ff:fe23:4567:890a", "12:30:45", "10:20:30:40", "std::vector", "::1",
    # Other numbers.
    "on 12.05.2024 at 14:30", "1,234,567.89", "0.0000000123456", "ISBN 978-3-16-148410-0", "12345678901234567890", "(12345) 67890",
    "lines 100-200, 300-400", "+1", "+99", "100+200+300", "2024-05-12T14:30:00.123456", "3/4 of 5/6", "AB123456C7", "0x7ffee4bff8a0",
    "550e8400-e29b-41d4-a716-446655440000", "L898902C36UTO7408122F1204159ZE184226B<<<<<11", "GB82 WEST 1234 5698 7654 33",
    "4242 4242 4242 4241", "sha 9f86d081884c7d65", "R2D2 and C3PO", "a 1 b 2 c 3 d 4 e 5 f 6 g 7", "1 2 3 4 5 6 7 8 9 10",
]  # fmt: skip


def kinds(text: str) -> list[str]:
    return [kind for kind, _, _ in find(text)]


@pytest.mark.parametrize("text", ANYWHERE)
def test_numbers_found_anywhere(text: str) -> None:
    said = f"It is {text}, they say"
    assert [(k, said[a:b]) for k, a, b in find(said)] == [("national_id", text)]


@pytest.mark.parametrize("text", NEAR_THEIR_WORD)
def test_numbers_found_near_their_word(text: str) -> None:
    assert kinds(f"Hello, {text}. Thanks") == ["national_id"]
    assert not any(c.isdigit() for c in mask(f"Hello, {text}. Thanks")[0].replace("ZZ4", ""))


@pytest.mark.parametrize(("kind", "text"), [(kind, text) for kind, texts in OTHER_KINDS.items() for text in texts])
def test_other_kinds(kind: str, text: str) -> None:
    said = f"See {text}, please"
    assert [(k, said[a:b]) for k, a, b in find(said)] == [(kind, text)]


@pytest.mark.parametrize("text", LEFT_ALONE)
def test_left_alone(text: str) -> None:
    assert find(f"It says {text} there") == []


def test_there_are_enough_of_both() -> None:
    assert len(ANYWHERE) + len(NEAR_THEIR_WORD) + sum(map(len, OTHER_KINDS.values())) >= 60 and len(LEFT_ALONE) >= 60
    assert len(set(LEFT_ALONE)) == len(LEFT_ALONE)


def test_national_formats_count_where_the_region_is_known() -> None:
    assert kinds("call 01701234567 now") == []
    assert [(k, s) for k, s, _ in find("call 01701234567 now", region="DE")] == [("phone", 5)]
    assert find("order 01701234567", region="DE") == []
    assert Masker(region="DE").text("ring 01701234567") == "ring [phone-1]"


PIECES = ["+49 170 1234567", "jo@example.com", "536-90-4399", "BSN 111222333", "192.0.2.44", "2001:db8::1:2:3", "DE89370400440532013000",
          "4242424242424242", "54362315K", " ", "-", ".", "/", ":", "+", "00", "7", "NHS", "order", "\n", "＋", "[", "]", "x", "٣"]  # fmt: skip


@settings(max_examples=300, deadline=None)
@given(st.lists(st.sampled_from(PIECES), max_size=12).map("".join) | st.text(max_size=40))
def test_masking_leaves_nothing_to_find_and_is_done_once(text: str) -> None:
    masked, counts = mask(text)
    assert find(masked) == [] and (masked == text) == (not counts)
    masker = Masker()
    once = masker.text(text)
    assert find(once) == [] and masker.text(once) == once
    assert masker.counts == counts


def test_the_same_find_is_the_same_word_however_it_is_written() -> None:
    masker = Masker()
    assert masker.text("jo@example.com and JO@Example.com, al@example.com") == "[email-1] and [email-1], [email-2]"
    assert masker.text("+49 170 1234567, 0049 170/1234567, +49 (0)170 1234567") == "[phone-1], [phone-1], [phone-1]"
    assert masker.text("DE89 3704 0044 0532 0130 00") == masker.text("de89370400440532013000") == "[iban-1]"
    assert masker.text("54362315-K / 54362315k") == "[national_id-1] / [national_id-1]"
    assert masker.text("again al@example.com") == "again [email-2]"
    assert masker.note() == {
        "email": {"finds": 4, "different": 2},
        "phone": {"finds": 3, "different": 1},
        "iban": {"finds": 2, "different": 1},
        "national_id": {"finds": 2, "different": 1},
    }


def chat(answer: str) -> Example:
    turns = [
        {"role": "system", "content": "Be kind to jo@example.com"},
        {"role": "user", "content": "I am jo@example.com"},
    ]
    extra = {"from": "jo@example.com", "stars": 5}
    return Example(stable_hash("x"), {"messages": turns}, answer, Source("a.jsonl", 3), "jo@example.com", extra)


def test_an_example_is_masked_in_inputs_answer_and_other_columns() -> None:
    masked = Masker().example(chat("Dear jo@example.com"))
    assert [turn["content"] for turn in masked.inputs["messages"]] == ["Be kind to [email-1]", "I am [email-1]"]
    assert masked.target == "Dear [email-1]" and masked.extra == {"from": "[email-1]", "stars": 5}
    assert masked.id == stable_hash([masked.inputs, masked.target]) and masked.source == Source("a.jsonl", 3)
    # Rows are divided by their group: it stays what it was.
    assert masked.group == "jo@example.com"


def test_a_label_is_never_masked_and_an_untouched_row_is_the_same() -> None:
    masker = Masker()
    row = Example("1", {"text": "no reply"}, "info@example.com", Source("a.csv", 2))
    assert masker.example(row) is row
    masked = masker.example(Example("1", {"text": "from a@example.com"}, "info@example.com", Source("a.csv", 2)))
    assert (masked.inputs["text"], masked.target) == ("from [email-1]", "info@example.com")


def test_rows_in_bulk_are_what_they_are_one_by_one() -> None:
    rows = [Example(str(i), {"text": f"I am u{i % 7}@example.com"}, "a", Source("a.csv", i)) for i in range(200)]
    one, many = Masker(), Masker()
    assert list(many.examples(rows)) == [one.example(row) for row in rows]
    assert many.counts == one.counts == Counter(email=200) and many.note()["email"]["different"] == 7


def test_nothing_personal_stays_in_memory() -> None:
    masker = Masker()
    masker.text("secret.person@example.com +49 170 1234567")
    seen, waiting = set(), [vars(masker)]
    while waiting:
        thing = waiting.pop()
        if id(thing) in seen or isinstance(thing, type) or callable(thing):
            continue
        seen.add(id(thing))
        assert "secret" not in str(thing) and "1701234567" not in str(thing).replace(" ", "")
        waiting += gc.get_referents(thing) if isinstance(thing, dict | list | tuple | Counter) else []


def test_names_are_asked_for_until_there_are_none() -> None:
    asked: list[list[str]] = []

    def names(texts):
        asked.append(list(texts))
        return [
            [(t.index(w), t.index(w) + len(w))] if (w := next((w for w in ("Anna", "Bob") if w in t), "")) else []
            for t in texts
        ]

    masker = Masker(names=names)
    rows = [
        Example(str(i), {"text": t}, "a", Source("a.csv", i))
        for i, t in enumerate(["Bob and Anna", "12 parcels", "34", "Anna"])
    ]
    assert [e.inputs["text"] for e in masker.examples(rows)] == [
        "[name-2] and [name-1]",
        "12 parcels",
        "34",
        "[name-1]",
    ]
    assert masker.counts == Counter(name=3)
    # A text without letters is not worth the model's time, and only texts that changed are asked again.
    assert asked == [
        ["Bob and Anna", "12 parcels", "Anna"],
        ["Bob and [name-1]", "[name-1]"],
        ["[name-2] and [name-1]"],
    ]

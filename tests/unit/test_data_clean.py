"""Each cleaning step does its own and nothing else, is done once and for all, and tells what it did."""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

import ftfy
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from luthier.base.errors import TaskError
from luthier.base.records import Example, Source
from luthier.base.seeds import stable_hash
from luthier.data.cleaning.clean import BoilerplateFinder, Cleaner, count_words, fix_encoding, hints, tidy_whitespace
from luthier.data.cleaning.html_tags import strip_html
from luthier.data.shapes.columns import Dropped
from luthier.spec.data import Clean

WHERE = Source("m.csv", 7)
NOTHING = {"encoding": False}

RIGHT = [
    "Où est mon colis ? J’attends depuis « trois » jours…", "Größe, Äpfel, Öl, Übung — „so“ ist’s", "¿Dónde está? ¡Ñandú!", "Zażółć gęślą jaźń",
    "Příliš žluťoučký kůň úpěl ďábelské ódy", "Чекаю на її посилку вже ё й ї «дні»", "Где моя посылка? Её нет…", "Ο καιρός είναι ωραίος, «ναι»",
    "İstanbul'da çok güzel ğüşiöç", "Tôi muốn trả lại gói hàng", "我想退回包裹，因为它坏了。", "荷物が壊れて「届いた」…", "소포가 부서졌습니다", "ฉันต้องการส่งคืน",
    "मैं पार्सल वापस करना चाहता हूँ", "أريد إعادة الطرد", "اين بسته کجاست؟ می‌خواهم", "אני רוצה להחזיר", "Þú átt að borða æðislegt", "Ægir på øen, ååå",
    "Õpetaja ütles: ära mine", "Šiauliai, žąsis, ėjo", "Győző hűvös fűben", "👩‍💻 ❤️‍🔥 🏳️‍🌈 👍🏽 🇩🇪", "π ≈ 3.14 ± 0.01, 5 µm, 20 °C, ½ × ¾ ÷ 2", "€ 5,– £3 ¥7 § 12 ¶",
    "ＦＵＬＬ ｗｉｄｔｈ ﬁle ﬂow ½ ™ ®", "“curly” ‘quotes’ — – … •", "e\u0301 stays apart, Å too", "if (a < b && c > d) { x = 'é'; } // naïve", "&amp; &lt;b&gt; stay",
    "┌──┐ │ox│ └──┘ ░▒▓", "AMANHÃ DE MANHÃ, IRMÃ MARIA, MAÇÃ", "São Paulo, João, coração, MANHÃ", "VOILÀ, ÇA Y EST, À BIENTÔT", "f(x) = ∑ √x ∂y", "naïve café über",
]  # fmt: skip
WRONG = [
    ("CafÃ© mit ÃœmlÃ¤uten", "Café mit Ümläuten"), ("donâ€™t", "don’t"), ("â€œquotedâ€\x9d", "“quoted”"), ("voilÃ  le travail", "voilà le travail"),
    ("don\x92t", "don’t"), ("ÐŸÑ€Ð¸Ð²ÐµÑ‚", "Привет"), ("ðŸ˜€ nice", "😀 nice"), ("5 â‚¬", "5 €"), ("CafÃƒÂ©", "Café"),
    ("Größe\nGrÃ¶ÃŸe", "Größe\nGröße"), ("schÃ¶n", "schön"), ("ä½\xa0å¥½", "你好"),
]  # fmt: skip


@pytest.mark.parametrize("text", RIGHT)
def test_right_text_is_left_as_it_is(text: str) -> None:
    assert fix_encoding(text) == text
    assert Cleaner(Clean()).text(text) == text


@pytest.mark.parametrize(("wrong", "right"), WRONG)
def test_wrongly_decoded_text_is_repaired(wrong: str, right: str) -> None:
    assert fix_encoding(wrong) == right


MISTAKES = [
    "latin-1",
    "sloppy-windows-1252",
    "sloppy-windows-1251",
    "sloppy-windows-1250",
    "macroman",
    "iso-8859-2",
    "cp437",
]


@settings(max_examples=400, deadline=None)
@given(st.sampled_from([text.split("\n")[0] for text in RIGHT]), st.sampled_from(MISTAKES))
def test_the_quick_look_hides_nothing_from_ftfy(text: str, mistaken: str) -> None:
    broken = text.encode("utf-8").decode(mistaken)
    config = ftfy.TextFixerConfig(replace_lossy_sequences=False)
    assert fix_encoding(broken) == "\n".join(ftfy.fix_encoding(line, config) for line in broken.split("\n"))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("<p>Hello <b>world</b></p><p>Second &amp; third</p>", "Hello world\nSecond & third"),
        ("one<br>two<BR/>three<br><br>four", "one\ntwo\nthree\n\nfour"),
        ("<div>a</div>\n  <div class='x>y' hidden>b</div>", "a\nb"),
        ("<script>var a='<b>';</script>text<style>\np {}</style>", "text"),
        ("<table><tr><td>a</td><td>b</td></tr><tr><td>c</td></tr></table>", "a b\nc"),
        ("<pre>\ndef f():\n    return 1\n</pre>", "def f():\n    return 1"),
        ("<!DOCTYPE html><html><head><title>T</title></head><body>B<!-- no --></body></html>", "T\nB"),
        ("5 &lt; 6 &#38; &#x27;x&#39; &euro;5&nbsp;", "5 < 6 & 'x' €5"),
        ("&amp;amp;lt;3", "<3"),
        ("<ul><li>one</li><li>two</li></ul>", "one\ntwo"),
        ('go <a href="https://example.com/?a=1&amp;b=2" target=_blank>here</a>!', "go here!"),
        ("<input disabled>x", "x"),
        ("script left open: <script>alert(1)", "script left open: alert(1)"),
    ],
)
def test_html_goes(text: str, expected: str) -> None:
    assert Cleaner(Clean(encoding=False, html=True)).text(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "a < b and c > d", "a<b", "List<int> x = new ArrayList<Integer>();", "Map<String, List<b>>", "Optional<Button> b", "vector<vector<p>> v",
        "if a <b and c> d", "<me@example.com> wrote", "<https://example.com>", "AT&T, R&D &c", "?a=1&copy=2", "x <- 5; y -> 6", "<3 <3", "<>", "</>", "< p >",
        "<unknown>tag</unknown>", "<!-- never closed", "1 << 2 >> 3", "&notanentity; &#xZZ; &#9999999;", "", "<p", "<a href='", "&#0;", "&#xD800;", "x<b=1 or y>2",
    ],
)  # fmt: skip
def test_what_is_no_html_stays(text: str) -> None:
    assert strip_html(text) == text


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a  b\t c\u00a0\u2003d", "a b c d"),
        ("a \n\n\n\n b  \n", "a\n\n b"),
        ("one\r\ntwo\rthree\u2028four", "one\ntwo\nthree\nfour"),
        ("def f():\n    return  1\n\n\n\n\tx = 2   ", "def f():\n    return 1\n\n\tx = 2"),
        ("\ufeffa\u200bb\u2060c\u00add", "abcd"),
        ("a\u200db\u200cc\u200d", "abc"),
        ("می\u200cخواهم", "می\u200cخواهم"),
        ("क्\u200dष", "क्\u200dष"),
        ("👩\u200d💻 ❤️\u200d🔥", "👩\u200d💻 ❤️\u200d🔥"),
        ("ฉัน\u200bต้องการ", "ฉัน\u200bต้องการ"),
        ("quite as it should be\n\nsays everyone", "quite as it should be\n\nsays everyone"),
        ("全角\u3000空白", "全角 空白"),
    ],
)
def test_white_space(text: str, expected: str) -> None:
    assert tidy_whitespace(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Where is it?\n\nSent from my iPhone", "Where is it?"),
        ("Wo?\nVon meinem iPhone gesendet", "Wo?"),
        ("Hi\nGet Outlook for Android", "Hi"),
        ("Thanks!\n\nOn Tue, 3 May 2022 at 10:12, Jo wrote:\n> first\n> second", "Thanks!"),
        ("On 3 May 2022, Jo wrote:\n> first\n\n> second\nMy answer is below", "My answer is below"),
        ("a\nOn 3 May 2022 Jo wrote:\n> x\nb\nOn 4 May 2022 Al wrote:\n> y\nc", "a\nb\nc"),
        ("Ja.\nAm 03.05.2022 um 10:12 schrieb Jo Beispiel <jo@example.com>:\nalles", "Ja."),
        ("Oui.\nLe 3 mai 2022 à 10:12, Jo a écrit :\n> tout", "Oui."),
        ("Yes\nOn Tue, 3 May 2022 at 10:12 AM, Somebody With A Long Name\n<jo@example.com> wrote:\n> x", "Yes"),
        ("Done\n-----Original Message-----\nFrom: a\nall of it", "Done"),
        ("Done\n\nFrom: Jo\nSent: Tuesday\nTo: Al\nSubject: x\n\nold", "Done"),
        ("Bye\n-- \nJo Example\nExample Ltd", "Bye"),
    ],
)
def test_signatures_and_quotes_go(text: str, expected: str) -> None:
    assert Cleaner(Clean(encoding=False, boilerplate=True)).text(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "Sent from my iPhone", "On 3 May 2022 Jo wrote:\nhello", "-- \nJo", "-----Original Message-----\nall", "I sent from my house the parcel\nyesterday",
        "On Monday my boss wrote:\nthis", "> a quote\nand more", "SELECT 1\n--\n-- comment\nFROM t;", "From: Paris\nTo: Rome", "a\n---\nb", "title:\ntext",
        "We need this:\n1. on 3 May\n2. wrote", "Sent from my house to the shop at the corner of the long street\nnever came",
    ],
)  # fmt: skip
def test_what_is_no_boilerplate_stays_and_no_text_is_emptied(text: str) -> None:
    assert Cleaner(Clean(encoding=False, boilerplate=True)).text(text) == text


DISCLAIMER = "This message is confidential and for its addressee only."


def test_shared_lines_are_found_and_taken_out() -> None:
    finder = BoilerplateFinder()
    for i in range(200):
        finder.add(f"My parcel {i} has not come yet\n{DISCLAIMER if i % 4 else 'none'}\nBest regards")
    # Fifteen rows are too few; in the other case the line is nearly always the whole text, so it is what people say.
    for i in range(15):
        finder.add(f"row {i}\nFifteen rows share this line here.")
    for _ in range(50):
        finder.add("Where is my parcel, please tell me?")
    finder.add("ok\nWhere is my parcel, please tell me?")
    assert finder.lines() == {DISCLAIMER.casefold()} and finder.missed == 0 and finder.least == 20
    cleaner = Cleaner(Clean(encoding=False, boilerplate=True), boilerplate=finder.lines())
    assert cleaner.text(f"Hello\n\n  {DISCLAIMER.upper()}  \n\nBye") == "Hello\n\nBye"
    assert cleaner.text(DISCLAIMER) == DISCLAIMER and cleaner.text(f"{DISCLAIMER}\n!?") == f"{DISCLAIMER}\n!?"


@settings(max_examples=60, deadline=None)
@given(st.lists(st.lists(st.integers(0, 60), min_size=1, max_size=6), max_size=120), st.integers(1, 12))
def test_counts_of_lines_are_within_their_bound(rows: list[list[int]], tracked: int) -> None:
    finder = BoilerplateFinder(tracked=tracked)
    exact: Counter[str] = Counter()
    added = 0
    for row in rows:
        lines = {f"this is the shared line {i}" for i in row}
        finder.add("\n".join(f"this is the shared line {i}" for i in row) + "\n.")
        exact.update(lines)
        added += len(lines)
    assert len(finder._counts) <= 2 * tracked and finder.missed <= added / (tracked + 1)
    for line, count in exact.items():
        kept = finder._counts.get(line, [0, 0])[0]
        assert count - finder.missed <= kept <= count


def row(text: str, label: str = "a <b>label</b>") -> Example:
    return Example(stable_hash([{"text": text}, label]), {"text": text}, label, WHERE, extra={"k": "<p>"})


def chat(*turns: tuple[str, str], answer: str) -> Example:
    inputs = {"messages": [{"role": r, "content": c} for r, c in turns]}
    return Example(stable_hash([inputs, answer]), inputs, answer, WHERE)


def test_an_example_is_cleaned_but_never_its_label() -> None:
    cleaner = Cleaner(Clean(html=True))
    made = cleaner.example(row("<p>donâ€™t</p>"))
    assert (
        isinstance(made, Example)
        and made.inputs == {"text": "don’t"}
        and made.target == "a <b>label</b>"
        and made.extra == {"k": "<p>"}
    )
    assert made.id == stable_hash([{"text": "don’t"}, "a <b>label</b>"]) and made.source == WHERE
    assert cleaner.counts == {"encoding": 1, "html": 1}
    same = row("nothing to do")
    assert cleaner.example(same) is same
    assert cleaner.example(row("<br><br>")) == Dropped(WHERE, "empty after cleaning", "html")


def test_a_conversation_is_cleaned_with_its_answer() -> None:
    shared = frozenset([DISCLAIMER.casefold()])
    cleaner = Cleaner(Clean(html=True, boilerplate=True), boilerplate=shared)
    asked = (("system", f"Be kind.\n{DISCLAIMER}"), ("user", f"<b>Hi</b>\n{DISCLAIMER}"))
    made = cleaner.example(chat(*asked, answer="<i>Hello</i>"))
    assert isinstance(made, Example)
    # A system prompt is the same in all rows on purpose.
    assert [t["content"] for t in made.inputs["messages"]] == [
        f"Be kind.\n{DISCLAIMER}",
        "Hi",
    ] and made.target == "Hello"
    assert cleaner.inputs(chat(*asked, answer="x").inputs) == made.inputs
    assert cleaner.counts == {"html": 1, "boilerplate": 1}
    assert cleaner.example(chat(("user", "<br>"), answer="x")) == Dropped(WHERE, "empty after cleaning", "html")
    assert cleaner.example(chat(("user", "x"), answer="<br>")) == Dropped(WHERE, "empty after cleaning", "html")


@pytest.mark.parametrize(
    ("options", "text", "reason", "detail"),
    [
        ({"min_words": 3}, "two words", "too short", "2 words"),
        ({"max_words": 3}, "these are four words", "too long", "4 words"),
        ({"language": "en"}, "Ich möchte das Paket zurückschicken, weil es kaputt ist.", "other language", "de, "),
        ({"language": ["en", "fr"]}, "Где моя посылка, я жду уже три недели подряд", "other language", "ru, "),
        ({"min_words": 3}, "我想退", None, ""),
        ({"min_words": 3, "max_words": 3, "language": ["de"]}, "where is it", None, ""),
        ({"html": True, "min_words": 2}, "<p class='a b c'>one</p>", "too short", "1 words"),
    ],
)
def test_rows_are_left_out_with_their_reason(
    options: dict[str, Any], text: str, reason: str | None, detail: str
) -> None:
    cleaner = Cleaner(Clean(**options))
    made = cleaner.example(row(text))
    if reason is None:
        assert isinstance(made, Example)
        return
    assert (
        isinstance(made, Dropped) and (made.reason, made.source) == (reason, WHERE) and made.detail.startswith(detail)
    )
    step = {"too short": "min_words", "too long": "max_words", "other language": "language"}[reason]
    assert cleaner.counts[step] == 1 and cleaner.examples[step][0]["line"] == 7


def test_a_language_that_is_none_is_said() -> None:
    with pytest.raises(TaskError, match='"en"'):
        Cleaner(Clean(language="english"))


def test_words_are_counted_in_all_scripts() -> None:
    assert [count_words(t) for t in ("", " a  b ", "naïve café", "我想退回", "iPhone が壊れた", "ฉัน")] == [
        0,
        2,
        2,
        4,
        5,
        3,
    ]


def test_the_first_changes_are_shown_without_personal_data() -> None:
    cleaner = Cleaner(Clean(html=True))
    long = "x" * 500 + " write to jo.smith@example.com <b>now</b> " + "y" * 500
    for text in [long, "<p>a</p>", "<p>b</p>", "<p>c</p>"]:
        cleaner.example(row(text))
    shown = cleaner.examples["html"]
    assert cleaner.counts["html"] == 4 and len(shown) == 3
    assert shown[1] == {"file": "m.csv", "line": 7, "before": "<p>a</p>", "after": "a"}
    assert "<b>" in shown[0]["before"] and "<b>" not in shown[0]["after"] and "now" in shown[0]["after"]
    assert all(len(e[k]) <= 120 and "smith" not in e[k] for e in shown for k in ("before", "after"))


def test_a_cleaner_is_kept_as_json() -> None:
    cleaner = Cleaner(
        Clean(html=True, boilerplate=True, language=["en"], min_words=1), boilerplate=frozenset(["b b b b", "a a a a"])
    )
    again = Cleaner.from_dict(json.loads(json.dumps(cleaner.as_dict())))
    assert (again.settings, again.boilerplate, again.as_dict()) == (
        cleaner.settings,
        cleaner.boilerplate,
        cleaner.as_dict(),
    )
    assert again.text("<p>x y\nA a a  a</p>") == cleaner.text("<p>x y\nA a a  a</p>") == "x y"


def test_hints_say_which_steps_would_change_something() -> None:
    assert hints("plain text, a < b, AT&T") == []
    assert hints("<p>x</p>") == ["html"] and hints("a  b") == ["whitespace"]
    assert hints("a\nSent from my iPhone") == ["boilerplate"]
    assert hints("<b>a</b>  &amp;\n\nSent from my iPhone") == ["html", "whitespace", "boilerplate"]


def test_all_off_changes_nothing() -> None:
    text = "<p>donâ€™t</p>  \n\n\n Sent from my iPhone"
    assert Cleaner(Clean(encoding=False)).text(text) == text


ALL = Cleaner(Clean(html=True, whitespace=True, boilerplate=True), boilerplate=frozenset(["one two three four"]))
BITS = ["<p>", "</p>", "<br>", "<b", ">", "<script>", "</script>", "<!--", "-->", "<pre>", "&amp;", "&lt;", "&gt;", "amp;", "&#38;", "&#3", "8;", "&#60;", "&nbsp;",
        "Ã", "©", "â€™", "\xa0", "\u200b", "\u200d", "\u200c", "م", "👩", " ", "  ", "\t", "\n", "\r", "\n\n\n", "-- ", "--", "On 3 May Jo wrote:", "> q",
        "Sent from my iPhone", "one two three four", "From: a", "Sent: b", "x", "1", "é", "\x85", "\ud800", "b", "\x92", "&Atilde;&copy;"]  # fmt: skip


@settings(max_examples=1500, deadline=None)
@given(st.lists(st.sampled_from(BITS), max_size=14).map("".join) | st.text(max_size=40))
@example("&lt;p&gt;x&lt;/p&gt;")
@example("&#5&#54;;" * 3)
def test_cleaning_twice_is_cleaning_once(text: str) -> None:
    once = ALL.text(text)
    assert ALL.text(once) == once
    for step in (fix_encoding, tidy_whitespace):
        assert step(step(text)) == step(text)


def test_a_text_that_comes_to_no_rest_stays() -> None:
    deep = "&#38;"
    for _ in range(20):
        deep = deep.replace("8", "&#56;", 1) if "&#3" in deep else deep
    nested = "<p>" + "<scr" * 40 + "<b>" + "ipt>" * 40
    for text in (deep, nested, "&#3" * 30 + "8;" * 30):
        once = ALL.text(text)
        assert ALL.text(once) == once


@pytest.mark.parametrize("unit", ["<a ", "<script>", "&am", "&#3", "<", "<a \"", "\n", "  \n", " \t", "-- \n", "Ã©", "Ã ", "â€", "<br>", "> x\n",
                                  "On 3 x wrote:\n> a\n", "From: a\nSent: b\n", "\u200d", "&amp;", "<!--", "a  ", "é"])  # fmt: skip
def test_very_long_texts_come_to_an_end(unit: str) -> None:
    # Time that grows with the square of the length would keep this from ending.
    once = ALL.text(unit * 20_000)
    assert ALL.text(once) == once and hints(once) == []

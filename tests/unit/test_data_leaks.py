"""Leaks are found on the right side, and the search for near ones finds exactly what comparing all pairs finds."""

from __future__ import annotations

import random
import re
import time
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from luthier.base.records import Example, Source
from luthier.data import leaks
from luthier.data.leaks import find, fix


def make(texts: list[str], name: str, groups: list[str | None] | None = None) -> list[Example]:
    groups = groups or [None] * len(texts)
    return [
        Example("", {"text": t}, "a", Source(name, i), g) for i, (t, g) in enumerate(zip(texts, groups, strict=True), 1)
    ]


def places(found: tuple[leaks.Leak, ...]) -> list[tuple[str, str]]:
    return [(str(leak.row.source), str(leak.other.source)) for leak in found]


def test_exact_and_group_leaks_name_both_places_and_test_outranks() -> None:
    train = make(["Hello there!", "only here", "seen in both", "only here"], "train", ["g1", "g2", None, "g3"])
    valid = make(["new one", "seen in both."], "valid", ["g2", None])
    test = make(["hello  there", "SEEN in both", "other"], "test", ["g9", None, "g1"])
    found = find(train, valid, test)
    assert places(found.exact) == [("valid:2", "test:2"), ("train:1", "test:1"), ("train:3", "test:2")]
    assert places(found.group) == [("train:1", "test:3"), ("train:2", "valid:1")]
    assert {(leak.side, leak.other_side) for leak in found.exact} == {("valid", "test"), ("train", "test")}
    assert not found.near and found.complete
    assert [str(leak.row.source) for leak in fix(found)] == ["valid:2", "train:1", "train:3", "train:2"]
    assert found.group[0].as_dict()["group"] == "g1" and found.exact[1].as_dict()["text"] == "Hello there!"


def bag(text: str) -> set[object]:
    words = re.findall(r"\w+", text.lower())
    return {*words, *pairwise(words)}


def by_brute_force(left: list[Example], right: list[Example]) -> set[str]:
    found = set()
    for a in left:
        for b in right:
            one, other = bag(a.inputs["text"]), bag(b.inputs["text"])
            if one and other and len(one & other) / len(one | other) >= 0.8:
                found.add(str(a.source))
    return found


@settings(max_examples=40, deadline=None)
@given(st.randoms(use_true_random=False))
def test_near_leaks_are_those_of_comparing_all_pairs(rng: random.Random) -> None:
    base = [" ".join(rng.choices("abcdefgh", k=rng.randint(1, 25))) for _ in range(12)]

    def near(text: str) -> str:
        words = text.split()
        for _ in range(rng.randint(0, 2)):
            words[rng.randrange(len(words))] = rng.choice("abcdefghxyz")
        return " ".join(words)

    train = make([near(rng.choice(base)) for _ in range(30)], "train")
    valid = make([near(rng.choice(base)) for _ in range(6)], "valid")
    test = make([near(rng.choice(base)) for _ in range(10)], "test")
    found = find(train, valid, test)
    exact = {str(leak.row.source) for leak in found.exact}
    wanted = (by_brute_force(train, test + valid) | by_brute_force(valid, test)) - exact
    assert {str(leak.row.source) for leak in found.near} == wanted
    for leak in found.near:
        one, other = bag(leak.row.inputs["text"]), bag(leak.other.inputs["text"])
        assert leak.similarity == pytest.approx(len(one & other) / len(one | other))


def test_words_of_other_scripts_and_shared_system_prompts() -> None:
    train = make(["这个产品的质量真的非常好我会再次购买它的", "!!!"], "train")
    assert len(find(train, [], make(["这个产品的质量真的非常好我会再次购买它吗", "???"], "test")).near) == 1

    def chat(ask: str) -> Example:
        told = {"role": "system", "content": "You are a helpful assistant of the big company " * 5}
        return Example("", {"messages": [told, {"role": "user", "content": ask}]}, "x", Source("f", 1))

    assert not find([chat("where is my parcel")], [], [chat("cancel the contract")]).near


def test_the_search_ends_and_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = random.Random(0)
    shared = "the same long line that each of them starts with and goes on with"
    texts = [f"{shared} {' '.join(rng.choices('abcdefghijklmnopqrstuvwxyz', k=6))}" for _ in range(200)]
    assert find(make(texts[:100], "train"), [], make(texts[100:], "test")).complete
    monkeypatch.setattr(leaks, "MAX_CHECKS", 50)
    assert not find(make(texts[:100], "train"), [], make(texts[100:], "test")).complete


def test_thousands_of_short_texts_take_seconds() -> None:
    rng = random.Random(1)
    words = ["".join(rng.choices("abcdefghijklmnopqrstuvwxyz", k=rng.randint(2, 9))) for _ in range(3000)]
    texts = [" ".join(rng.choices(words, weights=range(3000, 0, -1), k=12)) for _ in range(13_000)]
    began = time.monotonic()
    found = find(make(texts[:10_000], "train"), [], make([*texts[10_000:], texts[0] + " please"], "test"))
    assert "train:1" in {str(leak.row.source) for leak in found.near}
    assert time.monotonic() - began < 20


def test_nothing_at_all() -> None:
    assert find([], [], []) == leaks.Leaks()


@pytest.mark.parametrize("words", [5, 9, 13, 17])
def test_rare_words_that_one_text_has_more_do_not_hide_it(words: int) -> None:
    text = " ".join(f"w{i}" for i in range(words))
    longer = text + "".join(f" extra{i}" for i in range((2 * words - 1) // 8))
    assert len(find(make([longer], "train"), [], make([text], "test")).near) == 1
    assert len(find(make([text], "train"), [], make([longer], "test")).near) == 1

"""Near duplicates: what the arrays find against the plain definition, pair by pair."""

from __future__ import annotations

import random
import re
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from luthier.data.likeness import near, near_long, near_short
from luthier.data.likeness.near import Marker, Marks, Pairs, clusters, is_near, near_pairs, similarity, words_of

WORDS = st.sampled_from(["pay", "card", "my", "the", "is", "lost", "a"])
SHORT = st.lists(WORDS, max_size=8).map(" ".join)
LONGER = st.lists(st.sampled_from([f"w{i}" for i in range(9)]), min_size=10, max_size=16).map(" ".join)


def marks_of(texts: Sequence[str]) -> Marks:
    marker = Marker()
    for text in texts:
        marker.add(text)
    return marker.finish()


def find(texts: Sequence[str], sides: Sequence[int] | None = None, *, least: float = 0.0) -> Pairs:
    given_sides = None if sides is None else np.array(sides, dtype=np.int8)
    return near_pairs(marks_of(texts), sides=given_sides, text_of=texts.__getitem__, least=least)


def as_dict(pairs: Pairs) -> dict[tuple[int, int], float]:
    return {(int(i), int(j)): float(s) for i, j, s in zip(pairs.i, pairs.j, pairs.similarity, strict=True)}


def edited(words: list[str], changes: int, rng: random.Random) -> list[str]:
    words = list(words)
    for number in range(changes):
        at = rng.randrange(len(words))
        match rng.choice("sdix"):
            case "s":
                words[at] = f"new{number}"
            case "d":
                del words[at]
            case "i":
                words.insert(at, f"new{number}")
            case _:
                words.insert(at, words[at])
    return words


@pytest.mark.parametrize(
    ("one", "two", "near_by"),
    [
        ("hello", "hello!", 1.0),
        ("hello", "goodbye", None),
        ("lost card", "card lost", 1.0),
        ("lost card", "lost cards", None),
        ("my card lost", "my card stolen", 2 / 3),
        ("my card lost", "a card stolen", None),
        ("my card is lost", "my card lost", 3 / 4),
        ("where is my new card", "where is the old card", 3 / 5),
        ("where is my new card", "here is the old card", None),
        ("the the the the the", "the the the", 3 / 5),
        ("...", "!!!", None),
    ],
)
def test_the_definition_at_its_corners(one: str, two: str, near_by: float | None) -> None:
    assert is_near(one, two) == (near_by is not None)
    found = as_dict(find([one, two]))
    assert found == ({} if near_by is None else {(1, 0): pytest.approx(near_by)})


def test_beyond_sixteen_words_a_fifth_may_change() -> None:
    sixteen, seventeen = [f"w{i}" for i in range(16)], [f"w{i}" for i in range(17)]
    assert not is_near(" ".join(sixteen), " ".join(["x", "y", "z", *sixteen[3:]]))
    assert is_near(" ".join(seventeen), " ".join(["x", "y", "z", *seventeen[3:]]))
    assert not is_near(" ".join(seventeen), " ".join(["x", "y", "z", "q", *seventeen[4:]]))


def check_earliest(texts: list[str], least: float) -> None:
    wanted: dict[tuple[int, int], float] = {}
    for i, text in enumerate(texts):
        for j in range(i):
            if is_near(text, texts[j]) and similarity(text, texts[j]) >= least - 1e-9:
                wanted[i, j] = pytest.approx(similarity(text, texts[j]))
                break
    assert as_dict(find(texts, least=least)) == wanted


@settings(deadline=None, max_examples=70)
@given(st.lists(SHORT, max_size=14), st.sampled_from([0.0, 0.75, 0.9, 1.0]))
def test_short_texts_are_linked_to_the_earliest_near_one_without_exception(texts: list[str], least: float) -> None:
    check_earliest(texts, least)


@settings(deadline=None, max_examples=30)
@given(st.lists(LONGER, max_size=14), st.sampled_from([0.0, 0.85, 0.9]))
def test_texts_of_up_to_sixteen_words_too(texts: list[str], least: float) -> None:
    check_earliest(texts, least)


@settings(deadline=None, max_examples=70)
@given(st.lists(st.tuples(SHORT, st.integers(-1, 3)), max_size=14), st.sampled_from([0.0, 0.75, 0.9]))
def test_each_row_is_linked_to_its_most_similar_row_of_every_higher_side(
    rows: list[tuple[str, int]], least: float
) -> None:
    texts, sides = [text for text, _ in rows], [side for _, side in rows]
    best: dict[tuple[int, int], float] = {}
    for i, (text, side) in enumerate(rows):
        for other, higher in rows:
            alike = similarity(text, other)
            if 0 <= side < higher and is_near(text, other) and alike >= least - 1e-9:
                best[i, higher] = max(best.get((i, higher), 0.0), alike)
    found = as_dict(find(texts, sides, least=least))
    assert {(i, sides[j]): s for (i, j), s in found.items()} == {k: pytest.approx(s) for k, s in best.items()}
    assert all(similarity(texts[i], texts[j]) == pytest.approx(s) for (i, j), s in found.items())


@settings(deadline=None, max_examples=50)
@given(st.lists(SHORT, min_size=2, max_size=10), st.randoms(use_true_random=False))
def test_who_has_a_near_row_does_not_depend_on_the_order(texts: list[str], rng: random.Random) -> None:
    sides = [rng.choice([0, 2]) for _ in texts]
    order = rng.sample(range(len(texts)), len(texts))
    before = {texts[i] for i, _ in as_dict(find(texts, sides))}
    turned = [texts[k] for k in order]
    assert {turned[i] for i, _ in as_dict(find(turned, [sides[k] for k in order]))} == before


def test_keys_made_in_many_ranges_find_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = random.Random(3)
    texts = [" ".join(rng.choices(["a", "b", "c", "d", "e", "f"], k=rng.randint(3, 9))) for _ in range(80)]
    whole = as_dict(find(texts))
    monkeypatch.setattr(near_short, "_KEYS_AT_ONCE", 300)
    assert as_dict(find(texts)) == whole
    assert len(whole) > 40


def test_marks_do_not_depend_on_where_the_stream_is_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = random.Random(4)
    texts = [" ".join(rng.choices([f"w{i}" for i in range(50)], k=rng.randint(0, 60))) for _ in range(60)]
    whole = marks_of(texts)
    monkeypatch.setattr("luthier.data.likeness.near_marks._FLUSH_ROWS", 7)
    parts = marks_of(texts)
    for name in Marks.__slots__:
        assert np.array_equal(getattr(whole, name), getattr(parts, name)), name


@pytest.mark.parametrize(("words", "changes"), [(17, 2), (20, 2), (21, 2), (40, 4), (200, 20)])
def test_long_texts_with_words_changed_meet(words: int, changes: int) -> None:
    rng = random.Random(words)
    vocabulary = [f"v{i}" for i in range(1000)]
    texts = [rng.choices(vocabulary, k=words) for _ in range(200)]
    texts += [edited(text, changes, rng) for text in texts]
    found = as_dict(find([" ".join(t) for t in texts]))
    assert set(found) == {(200 + k, k) for k in range(200)}


def test_reordered_sentences_are_the_same_bag_at_any_length() -> None:
    rng = random.Random(1)
    texts = [rng.choices([f"v{i}" for i in range(300)], k=k) for k in (5, 17, 20, 21, 90, 400)]
    texts += [rng.sample(text, len(text)) for text in texts]
    assert as_dict(find([" ".join(t) for t in texts])) == {(6 + k, k): 1.0 for k in range(6)}


@settings(deadline=None, max_examples=20)
@given(st.integers(0, 1_000_000))
def test_what_is_found_among_long_texts_is_near_by_the_definition(seed: int) -> None:
    rng = random.Random(seed)
    base = rng.choices([f"v{i}" for i in range(25)], k=30)
    texts = [" ".join(edited(base, rng.randrange(12), rng)) for _ in range(12)]
    for (i, j), s in as_dict(find(texts)).items():
        assert is_near(texts[i], texts[j])
        assert s == pytest.approx(similarity(texts[i], texts[j]))


def test_a_template_of_thousands_of_rows_is_not_compared_row_by_row() -> None:
    frame = [f"frame{i}" for i in range(40)]
    texts = [" ".join([*frame, f"name{k}", f"place{k}"]) for k in range(1000)]
    asked: list[int] = []

    def text_of(row: int) -> str:
        asked.append(row)
        return texts[row]

    pairs = near_pairs(marks_of(texts), text_of=text_of)
    assert pairs.complete
    assert np.array_equal(pairs.i, np.arange(1, 1000))
    assert len(asked) < 4 * len(texts)


def test_a_spent_budget_is_admitted() -> None:
    rng = random.Random(0)
    texts = [" ".join(edited([f"w{i}" for i in range(30)], 3, rng)) for _ in range(100)]
    assert near_pairs(marks_of(texts), text_of=texts.__getitem__).complete
    assert not near_pairs(marks_of(texts), text_of=texts.__getitem__, budget=100).complete


def test_rows_beside_the_sides_are_never_linked() -> None:
    assert as_dict(find(["lost my card"] * 3, [-1, 2, 0])) == {(2, 1): 1.0}
    with pytest.raises(ValueError, match="2 sides for 3 rows"):
        find(["a"] * 3, [0, 1])


def test_the_sketch_never_rules_out_what_is_near() -> None:
    rng = random.Random(8)
    base = [f"v{rng.randrange(30)}" for _ in range(60)]
    texts = [" ".join(edited(base, rng.randrange(20), rng)) for _ in range(30)]
    marks = marks_of(texts)
    codes = np.array([(i << 32) | j for i in range(30) for j in range(30)], dtype=np.int64)
    for code, bound in zip(codes.tolist(), near_long._bound(marks, codes), strict=True):
        assert bound >= similarity(texts[code >> 32], texts[code & 0xFFFFFFFF]) - 1e-9


def test_words_are_case_folded_and_chinese_is_cut_into_characters() -> None:
    assert words_of("It's MY_card, no. 7!") == ["its", "my_card", "no", "7"]
    assert words_of("it’s 'quoted' ŝ") == ["its", "quoted", "ŝ"]
    assert words_of("Straße ÉTÉ") == ["strasse", "été"]
    assert words_of("我的卡 lost") == ["我", "的", "卡", "lost"]


@settings(deadline=None)
@given(st.text(alphabet=st.characters(max_codepoint=127)))
def test_the_short_way_to_words_gives_what_the_expression_gives(text: str) -> None:
    assert words_of(text) == re.findall(r"\w+", text.lower().replace("'", ""), re.ASCII)


@settings(deadline=None)
@given(
    st.integers(1, 30).flatmap(
        lambda n: st.tuples(st.just(n), st.lists(st.tuples(st.integers(0, n - 1), st.integers(0, n - 1))))
    )
)
def test_clusters_are_the_connected_components(given_graph: tuple[int, list[tuple[int, int]]]) -> None:
    count, edges = given_graph
    groups = [{k} for k in range(count)]
    for a, b in edges:
        one, two = next(g for g in groups if a in g), next(g for g in groups if b in g)
        if one is not two:
            one |= two
            groups.remove(two)
    i, j = np.array([a for a, _ in edges], dtype=np.int64), np.array([b for _, b in edges], dtype=np.int64)
    numbers = clusters(Pairs(i, j, np.ones(len(i), dtype=np.float32)), count)
    assert len(set(numbers.tolist())) == len(groups)
    assert all(len({numbers[k] for k in group}) == 1 for group in groups)


def test_nothing_comes_of_nothing() -> None:
    assert len(find([])) == 0
    assert len(find([], [])) == 0
    assert len(find(["", "  ", "?"])) == 0
    assert near.clusters(find([]), 0).tolist() == []

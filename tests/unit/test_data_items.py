"""Passages that several rows share: found across sides, boilerplate left out, units that a fix can keep together."""

from __future__ import annotations

import random
from collections.abc import Sequence

import numpy as np
import pytest

from luthier.data.likeness.items import Shared, shared_passages
from luthier.data.likeness.near import Marker, Marks

VOCABULARY = [f"w{i}" for i in range(4000)]
TEMPLATES = ("what is this about : {}", "{} . sum it up in one line", "read this and answer me : {} . who did it ?")


def words(rng: random.Random, count: int) -> str:
    return " ".join(rng.choices(VOCABULARY, k=count))


def marks_of(texts: Sequence[str]) -> Marks:
    marker = Marker(items=True)
    for text in texts:
        marker.add(text)
    return marker.finish()


def find(texts: Sequence[str], sides: Sequence[int], **options: int) -> Shared:
    return shared_passages(marks_of(texts), sides=np.array(sides, dtype=np.int8), text_of=texts.__getitem__, **options)


@pytest.fixture
def templated() -> tuple[list[str], list[int]]:
    rng = random.Random(0)
    items = [words(rng, rng.randint(12, 80)) for _ in range(150)]
    rows = [(template.format(item), k) for template in TEMPLATES for k, item in enumerate(items)]
    rng.shuffle(rows)
    return [text for text, _ in rows], [k for _, k in rows]


def test_every_item_used_by_two_templates_is_found_across_sides(templated: tuple[list[str], list[int]]) -> None:
    texts, item = templated
    sides = [2 if k % 5 == 0 else 0 for k in range(len(texts))]
    shared = find(texts, sides)
    assert shared.complete
    in_test = {item[k] for k in range(len(texts)) if sides[k] == 2}
    expected = [k for k in range(len(texts)) if sides[k] == 0 and item[k] in in_test]
    assert shared.i.tolist() == expected
    assert all(item[i] == item[j] and sides[j] == 2 for i, j in zip(shared.i.tolist(), shared.j.tolist(), strict=True))


def test_units_are_the_items(templated: tuple[list[str], list[int]]) -> None:
    texts, item = templated
    units = find(texts, [0] * len(texts)).units.tolist()
    assert len(set(units)) == len(set(item))
    assert len(set(zip(units, item, strict=True))) == len(set(item))


def test_a_split_by_item_is_silent(templated: tuple[list[str], list[int]]) -> None:
    texts, item = templated
    shared = find(texts, [2 if k % 5 == 0 else 0 for k in item])
    assert len(shared) == 0


def test_words_of_a_template_are_no_item() -> None:
    rng = random.Random(1)
    frame = words(rng, 40)
    texts = [f"{frame} {words(rng, 30)}" for _ in range(300)]
    shared = find(texts, [k % 2 * 2 for k in range(300)])
    assert len(shared) == 0
    assert len(set(shared.units.tolist())) == 300


def test_how_long_and_where_the_passage_is() -> None:
    rng = random.Random(2)
    passage = words(rng, 25)
    texts = [f"{words(rng, 7)} {passage} {words(rng, 5)}", f"{words(rng, 30)} {passage}", words(rng, 40)]
    shared = find(texts, [0, 2, 2])
    assert (shared.i.tolist(), shared.j.tolist(), shared.words.tolist(), shared.start.tolist()) == ([0], [1], [25], [7])
    assert shared.passage(0, texts.__getitem__, most=30) == passage
    assert shared.passage(0, texts.__getitem__, most=3) == " ".join(passage.split()[:3]) + " ..."


@pytest.mark.parametrize(("run", "rest", "found"), [(12, 0, 1), (12, 24, 1), (12, 25, 0), (11, 0, 0), (30, 60, 1)])
def test_a_passage_is_twelve_words_and_a_third_of_the_shorter_text(run: int, rest: int, found: int) -> None:
    rng = random.Random(run + rest)
    passage = words(rng, run)
    texts = [f"{passage} {words(rng, rest)}", f"{words(rng, rest + 50)} {passage}"]
    assert len(find(texts, [0, 2])) == found


def test_a_unit_that_is_most_of_the_data_is_taken_apart() -> None:
    rng = random.Random(3)
    # A chain: each row shares a passage with the next, and none with the one after that.
    links = [words(rng, 15) for _ in range(41)]
    texts = [f"{links[k]} {links[k + 1]}" for k in range(40)]
    units = find(texts, [0] * 40, most_rows=2).units
    assert len(set(units.tolist())) == 40


def test_chained_rows_that_share_nothing_are_no_pair() -> None:
    rng = random.Random(4)
    links = [words(rng, 15) for _ in range(4)]
    texts = [f"{links[k]} {links[k + 1]}" for k in range(3)]
    shared = find(texts, [0, -1, 2], most_rows=2)
    assert len(shared) == 0
    linked = find(texts, [0, 1, 2], most_rows=2)
    assert list(zip(linked.i.tolist(), linked.j.tolist(), strict=True)) == [(0, 1), (1, 2)]
    assert len(set(linked.units.tolist())) == 1


def test_a_spent_budget_is_admitted(templated: tuple[list[str], list[int]]) -> None:
    texts, _ = templated
    assert not find(texts, [k % 2 * 2 for k in range(len(texts))], budget=10).complete


def test_nothing_comes_of_short_texts() -> None:
    shared = find(["too short to hold a passage"] * 3, [0, 1, 2])
    assert len(shared) == 0
    assert shared.units.tolist() == [0, 1, 2]

"""Duplicates by their normal form, and a split that no added row changes."""

from __future__ import annotations

import random
import statistics
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from luthier.base.records import Example, Source
from luthier.base.seeds import stable_fraction
from luthier.data import dedupe
from luthier.data.split import SIDES, assign
from luthier.spec.data import Split


def example(text: str, label: str = "a", *, group: str | None = None, line: int = 1) -> Example:
    return Example("", {"text": text}, label, Source("m.csv", line), group)


def sides(
    examples: list[Example], split: Split | None = None, *, has_test: bool = False, has_valid: bool = False
) -> list[str]:
    return list(assign(examples, split or Split(), has_test=has_test, has_valid=has_valid))


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Where is it?", " where  is\nit "),
        ("“Straße”", "STRASSE"),
        ("Ｆｕｌｌ １", "full 1"),
        ("ﬁne…", "fine"),
        ("a", "a!!!"),
    ],
)
def test_normalise_makes_equal(one: str, other: str) -> None:
    assert dedupe.normalise(one) == dedupe.normalise(other)


@pytest.mark.parametrize(
    ("one", "other"), [("good :)", "good :("), ("?", "!"), ("a b", "ab"), ("c++", "c"), ("don't", "dont")]
)
def test_normalise_keeps_apart(one: str, other: str) -> None:
    assert dedupe.normalise(one) != dedupe.normalise(other)


@given(st.text())
def test_normalise_is_idempotent_and_blind_to_space(text: str) -> None:
    once = dedupe.normalise(text)
    assert dedupe.normalise(once) == once
    assert dedupe.normalise(f"  {text}\n") == once
    assert bool(once) == bool(text.split())


def test_conversations_differ_by_role_and_by_border() -> None:
    def chat(*turns: tuple[str, str]) -> Example:
        return Example("", {"messages": [{"role": r, "content": t} for r, t in turns]}, "x", Source("f", 1))

    different = [
        chat(("user", "a"), ("user", "b")),
        chat(("user", "a b")),
        chat(("system", "a"), ("user", "b")),
        chat(("user", "a"), ("assistant", "b")),
    ]
    assert len({dedupe.key(e) for e in different}) == 4


small = st.lists(
    st.builds(
        example,
        st.text("abcXYZ ", min_size=1, max_size=4),
        st.sampled_from("pqr"),
        group=st.one_of(st.none(), st.sampled_from(["g1", "g2", "g3", "g4"])),
    ),
    max_size=40,
)


@settings(deadline=None)
@given(small, small, st.integers(0, 5), st.booleans(), st.booleans())
def test_added_rows_never_move_an_old_one(old: list, new: list, seed: int, has_test: bool, has_valid: bool) -> None:
    split = Split(seed=seed, valid=0.2, test=0.3)
    before = sides(old, split, has_test=has_test, has_valid=has_valid)
    after = sides(old + new, split, has_test=has_test, has_valid=has_valid)
    assert after[: len(old)] == before
    assert not (has_test and "test" in after) and not (has_valid and "valid" in after)


@settings(deadline=None)
@given(small, st.integers(0, 5))
def test_a_group_and_a_text_stand_on_one_side(rows: list, seed: int) -> None:
    found: dict[tuple[str, str], set[str]] = {}
    for row, side in zip(rows, sides(rows, Split(seed=seed, test=0.4)), strict=True):
        unit = ("group", row.group) if row.group else ("text", dedupe.key(row))
        found.setdefault(unit, set()).add(side)
    assert all(len(s) == 1 for s in found.values())


@pytest.mark.parametrize("seed", range(8))
def test_every_class_is_near_its_shares_and_small_ones_are_tested(seed: int) -> None:
    rng = random.Random(seed)
    sizes = {f"c{n}": n for n in (3, 4, 5, 8, 13, 30, 60, 120, 400)}
    rows = [example(f"{label} {i} {seed}", label) for label, n in sizes.items() for i in range(n)]
    rng.shuffle(rows)
    count = Counter(zip((r.target for r in rows), sides(rows, Split(seed=seed)), strict=True))
    for label, n in sizes.items():
        assert count[label, "train"] and count[label, "test"], label
        for side, share in (("train", 0.7), ("valid", 0.1), ("test", 0.2)):
            assert abs(count[label, side] - share * n) <= max(5, 0.11 * n), (label, side)


def test_the_hash_decides_for_nearly_all() -> None:
    rows = [example(f"text {i}") for i in range(5000)]
    split = Split(seed=3)
    cuts = [stable_fraction(dedupe.key(r), seed=3) for r in rows]
    wanted = ["test" if f < 0.2 else "valid" if f < 0.3 else "train" for f in cuts]
    assert sum(a != b for a, b in zip(wanted, sides(rows, split), strict=True)) < 50
    assert sides(rows, split) != sides(rows, Split(seed=4))


def test_a_deleted_row_moves_about_one_other() -> None:
    moved = []
    for trial in range(200):
        rows = [example(f"text {trial} {i}") for i in range(60)]
        gone = trial * 7 % 60
        before, after = sides(rows), sides(rows[:gone] + rows[gone + 1 :])
        moved.append(sum(a != b for a, b in zip(before[:gone] + before[gone + 1 :], after, strict=True)))
    assert statistics.mean(moved) < 2


def test_shares_of_nothing() -> None:
    rows = [example(f"text {i}") for i in range(50)]
    assert set(sides(rows, Split(valid=0.0, test=0.0))) == {"train"}
    assert "valid" not in sides(rows, Split(valid=0.0))
    assert set(sides(rows, Split(), has_test=True)) == {"train", "valid"}
    assert set(sides(rows)) == set(SIDES)
    assert sides([]) == []


def _row(text: str, label: str, line: int, **extra: str) -> Example:
    return Example(f"{text}{label}", {"text": text}, label, Source("m.csv", line), None, extra)


def test_what_is_only_called_a_correction_is_none() -> None:
    said = {"kind": "correction", "prediction_id": "p1"}
    assert set(dedupe.corrections([_row("x", "c", 1, **said)])) == {"x"}
    # A confirmation outweighs an older row as well; what is only called one, by a column of that name, is none.
    assert set(dedupe.corrections([_row("y", "c", 1, kind="confirmation", prediction_id="p2")])) == {"y"}
    assert dedupe.corrections([_row("x", "c", 1, kind="correction")]) == {}

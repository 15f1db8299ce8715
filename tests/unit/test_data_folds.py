"""Folds that no added row changes, that never tear a group apart, and that spread every class."""

from __future__ import annotations

from collections import Counter, defaultdict

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from luthier.base.records import Example, Source
from luthier.data import dedupe
from luthier.data.labels.folds import folds
from luthier.data.split import assign
from luthier.spec.data import Split


def example(text: str, label: str = "a", *, group: str | None = None) -> Example:
    return Example("", {"text": text}, label, Source("m.csv", 1), group)


ROWS = st.lists(
    st.builds(
        lambda text, label, group: example(text, label, group=group),
        st.text("abc ?", min_size=1, max_size=4),
        st.sampled_from(["x", "y", "z"]),
        st.none() | st.sampled_from(["g1", "g2", "g3", "a"]),
    ),
    max_size=60,
)


@settings(max_examples=60, deadline=None)
@given(ROWS, ROWS, st.integers(2, 9), st.integers(0, 5))
def test_rows_added_at_the_end_move_no_old_row(old: list[Example], new: list[Example], k: int, seed: int) -> None:
    before = folds(old, k, seed=seed)
    after = folds([*old, *new], k, seed=seed)
    assert before.dtype == np.int8
    assert after[: len(old)].tolist() == before.tolist()
    assert all(0 <= fold < k for fold in after)


@settings(max_examples=60, deadline=None)
@given(ROWS, st.integers(2, 9), st.integers(0, 5))
def test_a_group_or_a_repeated_text_is_in_one_fold(rows: list[Example], k: int, seed: int) -> None:
    places = defaultdict(set)
    for row, fold in zip(rows, folds(rows, k, seed=seed), strict=True):
        places[("group", row.group) if row.group is not None else ("text", dedupe.key(row))].add(int(fold))
    assert all(len(found) == 1 for found in places.values())


@settings(max_examples=60, deadline=None)
@given(st.lists(st.sampled_from("xyz"), max_size=200), st.integers(2, 8), st.integers(0, 9))
def test_each_class_is_spread(labels: list[str], k: int, seed: int) -> None:
    rows = [example(f"text {i}", label) for i, label in enumerate(labels)]
    counts = Counter(zip(labels, folds(rows, k, seed=seed).tolist(), strict=True))
    for label, total in Counter(labels).items():
        held = [counts[label, fold] for fold in range(k)]
        # One row above the share, and no fold may swallow a class that has two rows.
        assert max(held) <= total / k + max(1.0, 0.05 * total) + 1e-9
        if total > 1:
            assert max(held) < total


def test_the_hash_decides_for_most_rows_and_the_seed_changes_it() -> None:
    rows = [example(f"row number {i}", "abc"[i % 3]) for i in range(3000)]
    first, other = folds(rows, 5, seed=0), folds(rows, 5, seed=1)
    assert 0.15 < (first == other).mean() < 0.25
    # A deleted row moves few of the others: the hash, not the count, decides.
    fewer = folds(rows[1:], 5, seed=0)
    assert (fewer != first[1:]).mean() < 0.02


def test_train_rows_of_a_split_by_the_same_seed_fill_all_folds() -> None:
    rows = [example(f"row number {i}") for i in range(4000)]
    split = Split(valid=0.1, test=0.3, seed=7)
    train = [
        row
        for row, side in zip(rows, assign(rows, split, has_test=False, has_valid=False), strict=True)
        if side == "train"
    ]
    # Balancing would hide a hash that is shared with the split, so every row is a class of its own here.
    spread = [example(str(row.inputs["text"]), str(i)) for i, row in enumerate(train)]
    counts = np.bincount(folds(spread, 5, seed=7), minlength=5)
    assert counts.min() > 0.15 * len(train)


def test_answers_are_balanced_over_all_rows() -> None:
    rows = [
        Example("", {"messages": [{"role": "user", "content": f"q{i}"}]}, f"answer {i}", Source("m", 1))
        for i in range(200)
    ]
    assert np.bincount(folds(rows, 4, seed=0), minlength=4).max() <= 60


@pytest.mark.parametrize("k", [1, 0, 128])
def test_impossible_numbers_of_folds(k: int) -> None:
    with pytest.raises(ValueError, match="folds"):
        folds([example("a")], k, seed=0)


def test_no_rows() -> None:
    assert folds([], 3, seed=0).shape == (0,)

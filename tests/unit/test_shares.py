"""Probabilities of many rows that share their labels: they read as dicts do, and take a fraction of their room."""

from __future__ import annotations

import copy
import json
import tracemalloc
from collections.abc import Mapping

import numpy as np
import pytest

from luthier.base.records import Prediction
from luthier.base.shares import Shares, shares, table_of

LABELS = ("late", "lost", "refund")


def test_a_row_reads_as_a_dict() -> None:
    numbers = np.array([[0.25, 0.5, 0.25], [0.1, 0.2, 0.7]], dtype=np.float32)
    one, other = shares(LABELS, numbers)
    plain = dict(zip(LABELS, numbers[1].tolist(), strict=True))
    assert isinstance(one, Mapping) and other == plain and plain == other and one != other
    assert list(other) == list(LABELS) and len(other) == 3 and "lost" in other and "bug" not in other and other.get("bug", 0.5) == 0.5
    assert list(other.items()) == list(plain.items()) and list(other.values()) == list(plain.values()) and repr(other) == repr(plain)
    assert max(other, key=lambda label: other[label]) == "refund" and {**other} == plain
    assert json.dumps(Prediction(label="late", scores=other).as_dict()) == json.dumps(Prediction(label="late", scores=plain).as_dict())
    assert copy.deepcopy(other) == plain
    with pytest.raises(KeyError):
        other["bug"]
    with pytest.raises(ValueError):
        shares(LABELS[:2], numbers)


@pytest.mark.parametrize("wanted", [LABELS, ("refund", "new", "late"), (), ("new",)])
def test_a_table_is_that_of_the_dicts(wanted: tuple[str, ...]) -> None:
    rng = np.random.default_rng(0)
    first, then = shares(LABELS, rng.random((4, 3))), shares(("refund", "rude"), rng.random((3, 2)).astype(np.float32))
    mixed: list[Mapping[str, float]] = [first[0], {"late": 0.5, "rude": 0.25}, then[1], first[2], then[0], {}, first[3]]
    expected = np.array([[dict(row).get(label, 0.0) for label in wanted] for row in mixed]).reshape(len(mixed), len(wanted))
    np.testing.assert_array_equal(table_of(mixed, wanted), expected)


def test_rows_take_a_fraction_of_the_room_of_dicts() -> None:
    labels, rows = [f"label {i}" for i in range(150)], 2000
    numbers = np.random.default_rng(0).random((rows, 150)).astype(np.float32)

    def room(make) -> int:
        tracemalloc.start()
        kept = make(numbers.copy())
        size = tracemalloc.get_traced_memory()[0]
        tracemalloc.stop()
        assert len(kept) == rows
        return size

    of_dicts = room(lambda given: [dict(zip(labels, row, strict=True)) for row in given.tolist()])
    assert room(lambda given: shares(labels, given)) < of_dicts / 8
    assert isinstance(shares(labels, numbers)[0], Shares)

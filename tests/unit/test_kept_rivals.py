"""Rivals' answers come back from the disk as they were, to the last bit, and only to the run that kept them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from luthier.base.records import Prediction
from luthier.lifecycle.kept_rivals import kept

RIVALS = {
    "untuned": [
        Prediction(text="Café\n12", finish="stop", measured={"nll_sum": np.float32(0.1), "token_count": np.float64(1 / 3)}),
        Prediction(measured={"nll_sum": 2.0}),
    ],
    "all": [Prediction(
        label="a", scores={"a": 0.1 + 0.2}, labels=("a", "b"), grades={"x": 1.5}, sentences=("One.", "Two."),
        items=(("i", 0.25),), names=("I",), refer="", unlike=0.0, nearest="b",
    )],
}  # fmt: skip


def never() -> dict[str, list[Prediction]]:
    raise AssertionError("asked again")


def test_they_come_back_the_same(tmp_path: Path) -> None:
    assert kept(tmp_path, "x", lambda: RIVALS) is RIVALS
    assert kept(tmp_path, "x", never) == RIVALS


def test_another_run_is_not_handed_them(tmp_path: Path) -> None:
    kept(tmp_path, "x", lambda: RIVALS)
    assert kept(tmp_path, "y", dict) == {}
    with pytest.raises(AssertionError, match="asked again"):
        kept(tmp_path, "x", never)


@pytest.mark.parametrize("damage", ["", "{", "[]", '{"identity": "x"}', '{"identity": "x", "rivals": {"a": [{"odd": 1}]}}'])
def test_a_damaged_file_is_made_anew(tmp_path: Path, damage: str) -> None:
    (tmp_path / "rivals.json").write_text(damage)
    assert kept(tmp_path, "x", lambda: RIVALS) == RIVALS
    assert kept(tmp_path, "x", never) == RIVALS

"""`luthier run` killed for good and given again, in short; `make bench-kills` does it thirty times over all methods."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from bench import kills


def killed(name: str, kinds: list[str], folder: Path, bases: dict[str, Path], *, place: int = 0) -> dict:
    case = next(c for c in kills.CASES if c.name == name)
    found = kills.run_case(case, kinds, folder / "case", bases, seed=1, fork=False, place=place)
    assert [k["kind"] for k in found["kills"]] == kinds
    assert found["same"], found
    assert found["left"] == []
    return found


def test_killed_inside_a_save_and_while_packing_the_bundle_is_the_same(tmp_path: Path, tiny_bert: Path) -> None:
    # place 3: the save is killed when its manifest is there, the packing when its unfinished folder is.
    found = killed("classify, full", ["save", "stage"], tmp_path, {"bert": tiny_bert}, place=3)
    assert found["bundle"] == found["cut_bundle"]
    assert found["kills"][0]["where"].startswith("step-")
    assert found["kills"][1]["where"] == "folder .bundle."
    assert found["resumed"] >= 2


@pytest.mark.slow
@pytest.mark.parametrize("case", [c.name for c in kills.CASES])
def test_every_task_killed_twice_ends_in_the_same_bundle(tmp_path: Path, tiny_bert: Path, tiny_llama: Path, case: str) -> None:
    saves = next(c.saves for c in kills.CASES if c.name == case)
    found = killed(case, ["save" if saves else "stage", "random"], tmp_path, {"bert": tiny_bert, "llama": tiny_llama})
    assert found["bundle"] == found["cut_bundle"]


def test_thirty_kills_are_spread_over_all_tasks_and_a_third_lies_inside_saves() -> None:
    kinds = kills.spread(kills.CASES, kills.KILLS, kills.INSIDE)
    assert sum(map(len, kinds)) == kills.KILLS
    assert all(kinds)
    assert sum(k == "save" for one in kinds for k in one) >= kills.INSIDE
    assert all("save" not in one for case, one in zip(kills.CASES, kinds, strict=True) if not case.saves)


def test_another_bundle_is_seen(tmp_path: Path) -> None:
    """A run that ended otherwise, or left something behind, does not pass for the same."""
    whole = {"weights": {"bundle": ["a", {"network/x": "1"}]}, "metrics": {"f1": 1}, "left": []}
    assert kills._same(whole, json.loads(json.dumps(whole)))
    for other in ({"weights": {"bundle": ["a", {"network/x": "2"}]}}, {"metrics": {"f1": 0}}, {"left": [".x.part"]}):
        assert not kills._same(whole, {**whole, **other})

"""The methods bench: rows are cut from the train side alone, records are joined, the table is over seeds."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import get_args

import pytest

pytest.importorskip("bench.methods")

from bench.methods import METHODS, cut, goals, joined, table, tuned_part
from luthier.spec.train import MethodName, TrainSection

ROWS = [(f"{label} text {i}", label) for label in "abc" for i in range(20)]


def run(method: str, seed: int, accuracy: float, *, rows: int | None = None) -> dict:
    return {"set": "banking77", "method": method, "seed": seed, "rows": rows, "accuracy": accuracy, "trained": 1000, "rate": 1e-4,
            "seconds": 10.0 + seed, "peak_memory_mb": 500, "train_rows": 54}  # fmt: skip


def test_validation_rows_are_a_tenth_of_each_label() -> None:
    train, valid = cut(ROWS, None)
    assert sorted(train + valid) == sorted(ROWS)
    assert {label: sum(found == label for _, found in valid) for label in "abc"} == {"a": 2, "b": 2, "c": 2}
    assert cut(ROWS, None) == cut(list(reversed(ROWS)), None)
    few_train, few_valid = cut(ROWS, 12)
    assert (len(few_train), len(few_valid)) == (9, 3)


def test_a_text_that_stands_twice_is_on_one_side() -> None:
    train, valid = cut([*ROWS, *ROWS], None)
    assert not set(train) & set(valid)
    assert len(train) + len(valid) == len(ROWS)


def test_new_runs_take_the_place_of_old_ones() -> None:
    before = [run("lora", 0, 0.8), run("full", 0, 0.9), run("full", 0, 0.5, rows=100)]
    found = joined(before, [run("lora", 0, 0.85), run("lora", 1, 0.86)])
    assert [(r["method"], r["seed"], r["accuracy"]) for r in found] == [
        ("full", 0, 0.9), ("full", 0, 0.5), ("lora", 0, 0.85), ("lora", 1, 0.86),
    ]  # fmt: skip


def test_the_table_is_over_seeds_and_the_goal_over_means() -> None:
    runs = [run("full", 0, 0.93), run("full", 1, 0.94), run("lora", 0, 0.92), run("lora", 1, 0.932)]
    lines = table(runs).splitlines()
    assert len(lines) == 4
    assert "93.50 (93.00-94.00, 2 seeds)" in lines[2]
    (goal,) = goals(runs)
    assert goal.measured == pytest.approx(-0.009)
    assert goal.met
    assert goals(runs[:2]) == []


def test_every_method_of_the_bench_is_a_setting() -> None:
    for settings in METHODS.values():
        assert TrainSection(**settings).model_dump(exclude_unset=True).keys() == settings.keys()


def test_every_method_of_luthier_that_this_machine_can_run_is_in_the_bench() -> None:
    assert {settings["method"] for settings in METHODS.values()} == set(get_args(MethodName)) - {"qlora"}


@pytest.mark.parametrize(("method", "steps", "learns"), [pytest.param("contrastive", 3, True, marks=pytest.mark.slow), ("prototypes", 0, True), ("neighbours", 0, False)])
def test_methods_by_vectors_are_measured_as_the_others(method: str, steps: int, learns: bool, tmp_path: Path) -> None:
    asked = {"refund": "please give me my money back for order", "delivery": "where is my parcel number", "login": "I forgot the password of account"}
    (tmp_path / "banking77").mkdir()
    for side, count in (("train", 10), ("test", 4)):
        with (tmp_path / "banking77" / f"{side}.csv").open("w", encoding="utf-8", newline="") as handle:
            writer = csv.writer(handle)
            writer.writerow(["text", "category"])
            writer.writerows([f"{text} {side} {i}", label] for label, text in asked.items() for i in range(count))
    told = {"set": "banking77", "method": method, "seed": 0, "rows": None, "data": str(tmp_path), "train": {"max_steps": 3}}
    found = tuned_part(told)
    assert (found["accuracy"], found["train_rows"], found["valid_rows"], found["test_rows"]) == (1.0, 27, 3, 12)
    assert found["steps"] == steps and (found["trained"] > 0) is learns

"""The bench of settings: who learns from what, pairs that are compared, and what the rules of delivery choose."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("bench.settings")

from bench.settings import RULES, contender, delivered, differences, divide, table


def test_no_row_is_on_both_sides_and_every_label_is_learnt() -> None:
    rows = [(f"text {i} of {label}", label) for label, count in (("a", 40), ("b", 8), ("c", 3)) for i in range(count)]
    train, held = divide(rows, each=20, held=15, seed=1)
    assert not set(train) & set(held) and len(held) == 15 and {*train, *held} <= set(rows)
    assert [sum(label == one for _, label in train) for one in "abc"] == [20, 6, 3]
    assert divide(rows, each=20, held=15, seed=1) == (train, held) != divide(rows, each=20, held=15, seed=2)


def test_settings_are_read_as_a_task_file_would_and_a_rate_is_a_number() -> None:
    assert contender("batch=64,rate=2e-4,method=lora,dropout=0") == {"batch": 64, "rate": 2e-4, "method": "lora", "dropout": 0}
    with pytest.raises(SystemExit):
        contender("batch")


def run(name: str, seed: int, accuracy: float, *, data: str = "x") -> dict[str, object]:
    return {"set": data, "seed": seed, "contender": name, "accuracy": accuracy, "log_loss": 0.5, "seconds": 2.0,
            "delivered": dict.fromkeys(RULES, accuracy)}  # fmt: skip


def test_contenders_are_compared_on_the_same_rows_and_seeds_alone() -> None:
    runs = [run("defaults", 0, 0.8), run("other", 0, 0.83), run("defaults", 1, 0.9), run("other", 1, 0.91), run("defaults", 2, 0.1)]
    assert differences(runs, ["defaults", "other"])["other"] == pytest.approx([0.03, 0.01])
    page = table(runs, ["defaults", "other"])
    assert "+2.00 ± 1.00" in page and "| other | 87.00 |" in page


def test_what_neighbours_are_worth_is_told_of_the_first_contender_alone() -> None:
    worth = {"accuracy": 0.929, "accuracy_with": 0.933, "log_loss": 0.224, "log_loss_with": 0.212, "taken": 0.7}
    runs = [{**run("defaults", 0, 0.8), "learnt": 7529, "nearest": worth}, run("other", 0, 0.83), run("defaults", 1, 0.8)]
    lines = [line for line in table(runs, ["defaults", "other"]).splitlines() if line.startswith("| x (")]
    assert lines == ["| x (7,529), 0 | 92.90 | 93.30 | 0.2240 | 0.2120 | 70% |"]


def test_what_is_delivered_by_each_rule() -> None:
    rng = np.random.default_rng(0)
    luck = rng.random((6, 600)) < 0.8  # six looks that are equally good
    found = delivered(luck, seed=0)
    assert found["always the last"] == pytest.approx(luck[-1].mean(), abs=0.01)
    assert found["last within an error"] == pytest.approx(found["always the last"], abs=0.02)
    fallen = np.stack([rng.random(600) < share for share in (0.5, 0.9, 0.3)])  # it got worse for all to see
    found = delivered(fallen, seed=0)
    assert found["best score"] == found["last within an error"] == pytest.approx(0.9, abs=0.03)
    assert found["always the last"] == pytest.approx(0.3, abs=0.05)

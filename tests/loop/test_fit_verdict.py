"""The verdict on real, tiny runs made to go well or wrong: the short form of `python -m bench.fit_verdict`."""

from __future__ import annotations

import csv
import random
from pathlib import Path

import pytest
from making import TOPICS, labelled

from bench.fit_verdict import train
from luthier.base.records import Example

TASK = """\
task: {{name: case, objective: classify}}
data: {{source: train.csv, valid: valid.csv, test: test.csv, columns: {{text: text, label: label}},
        leaks: allow, semantic: off, duplicates: keep}}
model: {{base: {base}, pooling: mean}}
train: {{batch: 16, evaluations: 5, patience: 99, {train}}}
"""


def write(folder: Path, base: Path, settings: str, *, rows: int, noise: float = 0.0) -> Path:
    rng = random.Random(0)

    def label(example: Example) -> str:
        others = [name for name in TOPICS if name != example.target]
        return rng.choice(others) if rng.random() < noise else str(example.target)

    made = labelled(rows + 320, seed=4)
    for name, part in (("train", made[320:]), ("valid", made[:300]), ("test", made[300:320])):
        with (folder / f"{name}.csv").open("w", encoding="utf-8", newline="") as file:
            lines = [(e.inputs["text"], label(e)) for e in part]
            csv.writer(file).writerows([("text", "label"), *lines])
    (folder / "task.yaml").write_text(TASK.format(base=base, train=settings))
    return folder / "task.yaml"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("intended", "settings", "rows", "noise"),
    [
        ("fits", "rate: 0.001, epochs: 3", 600, 0.0),
        ("underfits", "rate: 0.000001, epochs: 1, head: random", 600, 0.0),
        ("noisy", "rate: 0.001, epochs: 3", 600, 0.3),
    ],
)
def test_the_verdict_is_what_the_run_was_made_for(intended, settings, rows, noise, tiny_bert, tmp_path: Path) -> None:
    found = train(write(tmp_path, tiny_bert, settings, rows=rows, noise=noise), tmp_path / "run")
    assert found["diagnosis"]["verdict"] == intended, found["diagnosis"]


@pytest.mark.slow
def test_a_run_that_learns_wrong_labels_by_heart_is_noisy_and_overfits(tiny_bert, tmp_path: Path) -> None:
    settings = "method: full, rate: 0.01, epochs: 60, schedule: constant, weight_decay: 0, embeddings: train"
    found = train(write(tmp_path, tiny_bert, settings, rows=150, noise=0.3), tmp_path / "run")
    assert {found["diagnosis"]["verdict"], *found["diagnosis"]["also"]} >= {"noisy", "overfits"}, found["diagnosis"]

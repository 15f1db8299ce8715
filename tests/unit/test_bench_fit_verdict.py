"""The bench of the verdict: what it draws is what it says, before anything is trained."""

from __future__ import annotations

import csv
from collections import Counter
from pathlib import Path

from bench import fit_verdict as bench
from luthier.data.prepare import prepare
from luthier.spec.load import load_task

ROWS = [(f"text number {i} of {i % 4}", "abcd"[i % 4]) for i in range(2000)]


def test_twenty_runs_four_of_each_and_other_data_to_develop_on() -> None:
    assert Counter(case.intended for case in bench.CASES) == dict.fromkeys(
        ("fits", "overfits", "underfits", "noisy", "data-limited"), 4
    )
    assert not {case.data for case in bench.CASES} & {case.data for case in bench.DEVELOP}


def test_rows_are_drawn_as_said_and_flipped_on_every_side() -> None:
    sides = bench.draw(bench.Case("noisy", "x", per_label=100, labels=3, noise=0.4), ROWS)
    truth = dict(ROWS)
    assert len(sides["train"]) == 300
    assert len({truth[text] for text, _ in sides["train"]}) == 3
    texts = [text for rows in sides.values() for text, _ in rows]
    assert len(texts) == len(set(texts))
    for side in ("train", "valid"):
        flipped = sum(truth[text] != label for text, label in sides[side]) / len(sides[side])
        assert 0.3 < flipped < 0.5
    clean = bench.draw(bench.Case("fits", "x", rows=300), ROWS)
    assert all(truth[text] == label for rows in clean.values() for text, label in rows)
    assert clean == bench.draw(bench.Case("fits", "x", rows=300), ROWS)
    assert clean != bench.draw(bench.Case("fits", "x", rows=300, seed=1), ROWS)


def test_a_case_becomes_a_task_that_prepares(tmp_path: Path) -> None:
    case = bench.Case("fits", "support", rows=60)
    file = load_task(bench.write(case, tmp_path, tmp_path, quick=False))
    with (tmp_path / "train.csv").open(encoding="utf-8", newline="") as handle:
        assert len(list(csv.DictReader(handle))) == 60
    data = prepare(file.task.data, "classify", base=tmp_path, out=tmp_path / "out")
    # The example has a row without a text and one without a label: they are dropped as in any run.
    assert len(data.train) in range(57, 61)
    assert len(data.valid) in range(bench.VALID_ROWS - 3, bench.VALID_ROWS + 1)

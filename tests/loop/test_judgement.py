"""A whole run that may decline, that weighs costs, and that says why it was wrong: task file, run, report, bundle, evaluate."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest

import luthier
from luthier.base.errors import LuthierError
from luthier.base.files import read_json, read_jsonl
from luthier.lifecycle.bundles import evaluate

pytestmark = pytest.mark.slow
SETTINGS = ["data.out_of_scope={label: none, source: talk.csv}", "answer={out_of_scope: {keep: 0.8}, decide: cost}",
            "evaluate.costs={table: costs.csv, wrong: 1, unit: EUR}", "evaluate.bootstrap=100", "evaluate.robust=off",
            "accept.oos_auroc=>= 0.0", "accept.cost=<= 100", "accept.in_scope_kept=>= 0.2"]  # fmt: skip


@pytest.fixture
def talk(project: Path) -> Path:
    """The tiny project with rows of none of its labels, and a table of costs."""
    with (project / "talk.csv").open("w", encoding="utf-8", newline="") as handle:
        writer = csv.writer(handle)
        writer.writerow(["message"])
        writer.writerows([f"sing a song number {i * 7919} about the {word} moon"] for i in range(40) for word in ("red", "blue"))
    with (project / "messages.csv").open(encoding="utf-8", newline="") as handle:
        queues = sorted({row["queue"] for row in csv.DictReader(handle)})
    (project / "costs.csv").write_text(f"true,answered,cost\n{queues[0]},{queues[1]},30\nnone,{queues[0]},9\n")
    return project


def test_a_run_declines_weighs_costs_and_explains_itself(talk: Path) -> None:
    run = luthier.run(talk / "task.yaml", overrides=SETTINGS, out=talk / "run")
    record, figures = read_json(run.folder / "report.json"), run.metrics["test"]
    assert {"oos_auroc", "oos_recall", "in_scope_accuracy", "cost"} <= set(figures) and figures["cost"]["low"] is not None
    tested = [e for e in read_jsonl(next(run.folder.glob("prepared/*/test.jsonl"))) if e["target"] == "none"]
    assert tested and record["confusion"]["labels"][-1] == "none" and record["money"]["unit"] == "EUR"
    assert record["money"]["total"] == pytest.approx(figures["cost"]["value"] * record["money"]["rows"])
    assert all(rival["cost"] is not None and rival["oos_recall"] == 0 for rival in record["baselines"].values())
    assert record["answering"]["prices"] and record["training"]["scope"]["outside_rows"] + len(tested) == 80
    page = (run.folder / "report.html").read_text("utf-8")
    assert "What mistakes cost" in page and "Precision and recall" in page
    wrong = sum(n for i, row in enumerate(record["confusion"]["matrix"]) for j, n in enumerate(row) if i != j)
    rows = list(read_jsonl(run.folder / "mistakes.jsonl"))
    assert len(rows) == min(200, wrong) and all(row["cause"] and row["near"][0]["file"] for row in rows)
    again = evaluate(run.bundle, str(talk / "messages.csv"), columns={}, accept=None, out=None)
    assert again["money"]["rows"] == 240 and again["metrics"]["test"]["cost"]["value"] is not None
    told = luthier.load(run.bundle).predict(["sing a song number 5 about the green moon"])[0].as_dict()
    assert {"out_of_scope", "unlike"} <= set(told)
    json.dumps(told)


def test_a_changed_table_of_costs_is_another_run(talk: Path) -> None:
    from luthier.lifecycle.circle import inputs_hash
    from luthier.spec.load import load_task

    first = inputs_hash(load_task(talk / "task.yaml", SETTINGS))
    (talk / "costs.csv").write_text((talk / "costs.csv").read_text().replace("30", "31"))
    assert inputs_hash(load_task(talk / "task.yaml", SETTINGS)) != first
    (talk / "talk.csv").write_text("message\nonly one\n")
    second = inputs_hash(load_task(talk / "task.yaml", SETTINGS))
    (talk / "talk.csv").write_text("message\nanother\n")
    assert inputs_hash(load_task(talk / "task.yaml", SETTINGS)) != second


def test_a_cost_of_a_label_that_is_not_there_stops_before_training(talk: Path) -> None:
    (talk / "costs.csv").write_text("true,answered,cost\nnobody,none,3\n")
    with pytest.raises(LuthierError, match='there is no label "nobody"'):
        luthier.run(talk / "task.yaml", overrides=SETTINGS, out=talk / "run")
    assert not (talk / "run" / "bundle").exists()

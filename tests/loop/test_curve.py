"""`luthier curve` and a run with a learning curve, on tiny models as a user runs them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from commands import luthier, only_object, refused


def test_a_curve_is_measured_kept_and_extended(project: Path) -> None:
    done = luthier("curve", "task.yaml", "--json", "--out", "curve", cwd=project)
    found = only_object(done)
    assert done.returncode == 0, done.stderr
    assert [p["share"] for p in found["points"]] == [0.25, 0.5, 1.0]
    rows = [p["rows"] for p in found["points"]]
    assert rows[0] < rows[1] < rows[2]
    assert found["extrapolated"]["rows"] == 2 * rows[2]
    assert 0 <= found["extrapolated"]["low"] <= found["extrapolated"]["high"] <= 1
    assert "100%" in done.stderr and found["words"] in done.stderr
    kept = json.loads((project / "curve/curve.json").read_text())
    assert kept["points"] == found["points"]
    text = (project / "curve/curve.html").read_text()
    assert "Learning curve" in text and 'id="plot-learning"' in text
    # Test rows stay closed, and a second seed trains only what is missing.
    assert not list((project / "curve").rglob("*.safetensors"))
    events = (project / "curve/events.jsonl").read_text()
    more = only_object(luthier("curve", "task.yaml", "--json", "--out", "curve", "--seeds", "2", cwd=project))
    assert [p["scores"][0] for p in more["points"]] == [p["scores"][0] for p in found["points"]]
    assert all(len(p["scores"]) == 2 for p in more["points"])
    assert (project / "curve/events.jsonl").read_text().startswith(events)


@pytest.mark.parametrize(
    ("options", "where", "said"),
    [
        (["--at", "0,50"], "--at", "0 % is no share of the train rows"),
        (["--at", "50,120"], "--at", "120 % is no share"),
        (["--at", "100"], "--at", "one point is no curve"),
        (["--at", "half,100"], "--at", "is not a list of numbers"),
        (["--at", "0.1,100"], "--at", "would leave none of 3 labels"),
        (["--set", "data.split.valid=0"], "data.split.valid", "no validation rows"),
    ],
)
def test_what_cannot_be_a_curve_is_told_before_the_first_step(project: Path, options, where, said) -> None:
    done = luthier("curve", "task.yaml", "--out", "curve", *options, cwd=project)
    assert done.returncode == 2
    assert said in done.stderr and where in done.stderr
    assert "Traceback" not in done.stderr
    assert not (project / "curve/cells").exists()


def test_a_run_measures_its_curve_where_asked(project: Path) -> None:
    done = luthier("run", "task.yaml", "--json", "--set", "evaluate.learning_curve=true", cwd=project)
    result = only_object(done)
    folder = project / result["run"]
    record = json.loads((folder / "report.json").read_text())
    points = record["learning_curve"]["points"]
    assert [p["share"] for p in points] == [0.25, 0.5, 1.0]
    # All rows are the run's own model: its best validation score, and nothing trained twice.
    assert points[-1]["scores"] == [pytest.approx(record["training"]["best_score"], abs=1e-6)]
    assert record["diagnosis"]["figures"]["gain"] == record["learning_curve"]["extrapolated"]["gain"]
    assert 'id="learning"' in (folder / "report.html").read_text()
    assert not (folder / "cells").exists()
    few = luthier(
        "run", "task.yaml", "--set", "evaluate.learning_curve=true", "--set", "data.split.valid=0", cwd=project
    )
    assert few.returncode == 2
    assert "no validation rows" in few.stderr


def test_a_base_that_is_not_there_is_told_before_the_data_is_read(project: Path) -> None:
    refused(luthier("curve", "task.yaml", "--set", "model.base=/no/such/model", "--out", "curve", cwd=project), 'no folder "/no/such/model"')
    assert not (project / "curve").exists()

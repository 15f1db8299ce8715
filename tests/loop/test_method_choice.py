"""The method in the circle: chosen and said, kept by a run that goes on, and a run that has nothing to step through."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml
from commands import luthier, only_object, refused


@pytest.mark.slow
def test_auto_says_what_it_chose_and_keeps_it(project: Path) -> None:
    done = luthier("train", "task.yaml", "--json", cwd=project)
    result = only_object(done)
    folder = project / result["run"]
    choice = json.loads((folder / "choice.json").read_text())
    assert result["model"]["method"] == choice["method"]
    assert f"method   {choice['method']}: {choice['why']}" in done.stderr
    record = json.loads((folder / "report.json").read_text())
    assert record["training"]["why"] == choice["why"]
    assert yaml.safe_load((folder / "resolved.yaml").read_text())["train"]["method"] == choice["method"]
    # A run that goes on must not choose anew: other free memory could give another method, and no checkpoint would fit.
    (folder / "choice.json").write_text(json.dumps({**choice, "method": "lora", "why": "kept"}))
    (folder / "report.json").unlink()
    again = only_object(luthier("train", "task.yaml", "--json", "--set", "train.checkpoint_s=30", cwd=project))
    assert again["run"] == result["run"]
    assert again["model"]["method"] == "lora"


def test_a_head_alone_goes_round_without_a_step(project: Path) -> None:
    done = luthier("run", "task.yaml", "--set", "train.method=head", "--json", cwd=project)
    result = only_object(done)
    assert done.returncode == 0, done.stderr
    record = json.loads((project / result["run"] / "report.json").read_text())
    assert (record["training"]["steps"], record["training"]["planned_steps"]) == (0, 0)
    assert record["model"]["trained"] == 32 * 3 + 3
    page = (project / result["report"]).read_text()
    assert "head: the task asks for it" in page


def test_labels_weighed_as_answers_have_no_head_and_that_is_told_before_the_data_is_read(project: Path, tiny_llama: Path) -> None:
    (project / "messages.csv").unlink()
    asked = [f"model.base={tiny_llama}", "model.pooling=label-scoring", "train.method=head"]
    done = luthier("run", "task.yaml", *(part for setting in asked for part in ("--set", setting)), cwd=project)
    refused(done, "task.yaml: train.method", "no head to train alone", "Use lora, last-layers or full", "model.pooling: mean")
    assert not (project / "runs").exists()

"""What a bundle keeps of its task's judgement: settings that differ, and paths that lead to the same files from wherever it lies."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from luthier.lifecycle import kept
from luthier.spec.judge import Judge
from luthier.spec.load import load_task

TASK = """\
task: {{name: t, objective: generate}}
data: {{source: x.jsonl}}
evaluate:
  judge: {{url: "http://127.0.0.1:9/v1", model: m, criteria: "Is it right?", human: "{human}", key_env: KEY}}
"""


@pytest.mark.parametrize("place", ["runs/a/bundle", "runs/a/stages/last/bundle"])
def test_paths_lead_to_the_same_files_from_the_bundle_of_a_run_and_of_a_stage(tmp_path: Path, place: str) -> None:
    project = tmp_path / "project"
    bundle = project / place
    bundle.mkdir(parents=True)
    (project / "rated.csv").write_text("x")
    (project / "task.yaml").write_text(TASK.format(human="rated.csv"))
    found = kept.of_task(load_task(project / "task.yaml"), bundle)["judge"]
    assert set(found) == {"url", "model", "criteria", "human", "key_env"}, "what is as usual is not kept, and no path of this machine"
    assert str(tmp_path) not in str(found)
    for where in (bundle, project / "runs/a/bundle"):  # the last stage's bundle is the run's
        assert (kept.run_of(where) / found["human"]).resolve() == (project / "rated.csv").resolve()
    moved = shutil.move(project, tmp_path / "elsewhere")
    assert (kept.run_of(Path(moved) / place) / found["human"]).is_file()


def test_what_is_as_usual_is_not_kept_and_a_name_that_is_no_path_stays(tmp_path: Path) -> None:
    (tmp_path / "task.yaml").write_text("task: {name: t, objective: classify}\ndata: {source: x.csv}\n")
    assert kept.of_task(load_task(tmp_path / "task.yaml"), tmp_path / "run/bundle") == {}
    (tmp_path / "task.yaml").write_text("task: {name: t, objective: classify}\ndata: {source: x.csv, split: {by: who}}\nevaluate: {slices: [who]}\n")
    assert kept.of_task(load_task(tmp_path / "task.yaml"), tmp_path / "run/bundle") == {"by": "who", "evaluate": {"slices": ["who"]}}
    (tmp_path / "task.yaml").write_text(TASK.format(human="hub:owner/rated"))
    assert kept.of_task(load_task(tmp_path / "task.yaml"), tmp_path / "run/bundle")["judge"]["human"] == "hub:owner/rated"


def test_only_what_is_on_this_machine_is_asked_unbidden() -> None:
    assert kept.is_here(Judge(url="http://localhost:8000/v1")) and kept.is_here(Judge(url="http://[::1]:8000/v1")) and kept.is_here(Judge(bundle="b"))
    assert not kept.is_here(Judge(url="https://localhost.example.com/v1")) and not kept.is_here(Judge(url="http://10.0.0.1/v1"))

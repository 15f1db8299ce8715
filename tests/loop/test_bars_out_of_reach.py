"""A bar that the test rows cannot show to be met is named before anything is trained, of a task and of each of its stages."""

from __future__ import annotations

import json
from pathlib import Path

from conftest import write_messages

import luthier
from luthier.lifecycle.checking import check_data

STAGES = """\
task: {{name: two, objective: classify}}
data: {{columns: {{text: message, label: queue}}, semantic: off, label_errors: off, leaks: allow, duplicates: keep}}
model: {{base: {base}, pooling: mean}}
train: {{method: head, max_steps: 2, batch: 16}}
stages:
  - {{name: first, data: {{source: first.csv}}}}
  - {{name: second, data: {{source: second.csv}}}}
accept: {{macro_f1: ">= 0.999"}}
"""


def told(folder: Path) -> list[list[str]]:
    lines = [json.loads(line) for line in (folder / "events.jsonl").read_text().splitlines()]
    kinds = [one["kind"] for one in lines]
    assert "bars" in kinds and kinds.index("bars") < kinds.index("model")
    return [[bar["what"] for bar in one["unshown"]] for one in lines if one["kind"] == "bars"]


def test_a_run_and_a_check_say_it_first(project: Path) -> None:
    asked = ['accept={macro_f1: ">= 0.999"}', "evaluate.bootstrap=100"]
    luthier.run(project / "task.yaml", overrides=asked, out=project / "run")
    (what,), *_ = told(project / "run")
    assert what.startswith(">= 0.999 is out of reach: ") and "46 test rows cannot tell" in what
    found = check_data(project / "task.yaml", asked)
    assert what in [problem["what"] for problem in found["problems"]] and not found["stops"]


def test_a_run_with_stages_says_it_first(tmp_path: Path, tiny_bert: Path) -> None:
    for name, seed in (("first", 0), ("second", 1)):
        write_messages(tmp_path / f"{name}.csv", 150, seed=seed)
    (tmp_path / "task.yaml").write_text(STAGES.format(base=tiny_bert))
    luthier.run(tmp_path / "task.yaml", overrides=["evaluate.bootstrap=100"], out=tmp_path / "run")
    assert any(">= 0.999 is out of reach" in what for some in told(tmp_path / "run") for what in some)

"""`luthier plan` on tiny projects: figures, nothing written, faults in plain words; and what a run says of its own estimate."""

from __future__ import annotations

import json
import os
import shutil
import signal
import time
from pathlib import Path

import pytest
from commands import luthier, only_object, refused

from luthier.base.errors import Interrupted


def listing(folder: Path) -> dict[str, int]:
    return {str(p.relative_to(folder)): p.stat().st_mtime_ns for p in sorted(folder.rglob("*"))}


def test_a_plan_says_figures_and_writes_nothing(project: Path) -> None:
    before = listing(project)
    done = luthier("plan", "task.yaml", "--set", "train.method=full", "--price", "2.50", "--json", cwd=project)
    found = only_object(done)
    assert done.returncode == 0
    assert listing(project) == before
    assert found["memory"]["fits"] == "yes" and 100 < found["memory"]["low"] < found["memory"]["mb"] < found["memory"]["high"]
    assert {"weights", "gradients", "optimiser", "activations"} <= set(found["memory"]["parts"])
    seconds = found["time"]["seconds"]
    assert 0 < found["time"]["low"] < seconds < found["time"]["high"]
    assert {"prepare", "head", "steps", "evaluations", "test rows"} <= {part["name"] for part in found["time"]["parts"]}
    assert found["cost"]["amount"] == pytest.approx(seconds / 3600 * 2.5, abs=1e-3)
    assert found["work"]["steps"] == 2 * -(-found["work"]["rows"] // 16)
    assert found["disk"]["parts"]["bundle"] > 0
    for line in ("memory   about", "time     about", "disk     about", "cost     about", "it fits"):
        assert line in done.stderr


def test_another_machine_is_planned_by_arithmetic(project: Path) -> None:
    done = luthier("plan", "task.yaml", "--machine", "l4", cwd=project)
    assert done.returncode == 0 and done.stdout.startswith("fits: ")
    assert "NVIDIA L4 was not measured" in done.stderr and "GPU context" in done.stderr


def test_a_decoder_is_planned_without_its_weights(chat_project: Path, tiny_llama: Path) -> None:
    bare = chat_project / "bare"
    shutil.copytree(tiny_llama, bare, ignore=shutil.ignore_patterns("*.safetensors"))
    own = only_object(luthier("plan", "task.yaml", "--machine", "h100", "--json", cwd=chat_project))
    found = only_object(luthier("plan", "task.yaml", "--machine", "h100", "--set", f"model.base={bare}", "--json", cwd=chat_project))
    assert found["model"]["parameters"] == own["model"]["parameters"]
    assert found["model"]["trained"] == own["model"]["trained"]
    assert found["memory"]["parts"]["activations"] == pytest.approx(own["memory"]["parts"]["activations"], rel=0.1, abs=0.2)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (("--machine", "a10"), ('no machine is called "a10"', 'Did you mean "a10g"?')),
        (("--price", "-1"), ("-1 is no price of an hour", "--price")),
        (("--set", "train.method=loar"), ("train.method",)),
    ],
)
def test_faults_end_with_2_and_help(project: Path, given: tuple[str, ...], words: tuple[str, ...]) -> None:
    before = sorted(project.iterdir())
    refused(luthier("plan", "task.yaml", *given, cwd=project), *words)
    assert sorted(project.iterdir()) == before


def test_a_run_tells_its_estimate_and_its_error(project: Path) -> None:
    done = luthier("run", "task.yaml", "--set", "train.method=full", "--out", "out", "--json", cwd=project)
    record = json.loads((project / "out" / "report.json").read_text())
    events = [json.loads(line) for line in (project / "out" / "events.jsonl").read_text().splitlines()]
    told = [e for e in events if e["kind"] == "plan"]
    assert len(told) == 1 and told[0]["memory_mb"] > 0, [e for e in events if e["kind"] == "plan_failed"]
    assert events.index(told[0]) < next(i for i, e in enumerate(events) if e["kind"] == "step")
    assert "training should take about" in done.stderr
    plan = record["plan"]
    for name in ("train_s", "memory_mb"):
        one = plan[name]
        assert one["took"] > 0 and one["error"] == pytest.approx(one["estimated"] / one["took"] - 1, abs=0.02)
    assert only_object(done)["plan"] == plan
    assert "most memory while training: estimated" in (project / "out" / "report.html").read_text()


def test_an_estimate_that_fails_stops_nothing(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import luthier as package
    from luthier.lifecycle import forecast

    def broken(*_: object, **__: object) -> None:
        raise ZeroDivisionError("planted")

    monkeypatch.setattr(forecast, "_forecast", broken)
    run = package.run(project / "task.yaml", overrides=["train.method=full"], out=project / "out")
    assert run.verdict in ("accepted", "rejected")
    assert "plan" not in run.record
    assert "planted" in (project / "out" / "events.jsonl").read_text()


def test_a_signal_during_the_estimate_stops_the_run(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It was taken for an estimate that failed, and the run went on."""
    import luthier as package
    from luthier.lifecycle import forecast

    monkeypatch.setattr(forecast, "_forecast", lambda *_, **__: os.kill(os.getpid(), signal.SIGTERM) or time.sleep(5))
    with pytest.raises(Interrupted) as stopped:
        package.run(project / "task.yaml", overrides=["train.method=full"], out=project / "out")
    assert stopped.value.exit_code == 143 and not isinstance(stopped.value, Exception)
    assert '"kind": "step"' not in (project / "out" / "events.jsonl").read_text()

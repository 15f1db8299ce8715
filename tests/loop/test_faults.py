"""Faults made for real: damaged checkpoints, full and read-only disks, signals at bad moments, two processes, a clock set back."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from commands import luthier, only_object, refused, start
from making import LABELS, labelled, learner_of, section

from luthier.base.errors import Interrupted, StorageError, TrainError
from luthier.base.events import EventLog
from luthier.base.files import free_bytes, locked, new_folder, sweep, write_json, write_manifest
from luthier.base.interrupt import Stopper
from luthier.train.run import fit

LONG = ["--set", "train.method=full", "--set", "train.epochs=8", "--set", "train.checkpoint_s=0", "--set", "train.patience=99", "--set", "train.evaluations=3",
        "--set", "evaluate.bootstrap=100"]  # fmt: skip


def bundle_id(run: Path) -> str:
    return json.loads((run / "bundle/manifest.json").read_text())["bundle_id"]


def state(learner: Any) -> dict[str, torch.Tensor]:
    return {name: p.detach().clone() for name, p in learner.named_parameters()}


def train(base: Path, folder: Path | None, *, stop: int | None = None, score: Any = None, **settings: Any) -> Any:
    """Train a tiny classifier for 9 steps; stop it with SIGTERM after one of them."""
    learner, stopper, told = learner_of(base, "classify", LABELS, pooling="mean"), Stopper(), []

    def emit(kind: str, /, **facts: Any) -> None:
        told.append((kind, facts))
        if kind == "step" and facts["step"] == stop:
            stopper.handle(15, None)

    chosen = section("classify", 22, **{"epochs": 3.0, "batch": 8, "checkpoint_s": 0.0, "dropout": 0.1, **settings})
    outcome = fit(learner, labelled(22), chosen, score=score, folder=folder, identity="x", emit=emit, stopper=stopper)
    return learner, outcome, told


def warnings(told: Any) -> str:
    return " ".join(facts["text"] for kind, facts in told if kind == "warning")


def damage(path: Path, kind: str) -> None:
    weights = path / "state.safetensors"
    if kind == "flipped byte":
        content = bytearray(weights.read_bytes())
        content[len(content) // 2] ^= 1
        weights.write_bytes(content)
    elif kind == "truncated":
        weights.write_bytes(weights.read_bytes()[:-7])
    elif kind == "emptied":
        weights.write_bytes(b"")
    elif kind == "weights missing":
        weights.unlink()
    elif kind == "no manifest":
        (path / "manifest.json").unlink()
    elif kind == "half a manifest":
        whole = (path / "manifest.json").read_text()
        (path / "manifest.json").write_text(whole[: len(whole) // 2])
    elif kind == "a manifest of something else":
        (path / "manifest.json").write_text("[1, 2]")
    elif kind == "half a state":
        whole = (path / "state.json").read_text()
        (path / "state.json").write_text(whole[: len(whole) // 2])
    elif kind == "half a state that its manifest believes":
        (path / "state.json").write_text('{"step": 5, "settings')
        write_manifest(path)
    elif kind == "an empty folder":
        shutil.rmtree(path)
        path.mkdir()


KINDS = ["flipped byte", "truncated", "emptied", "weights missing", "no manifest", "half a manifest", "a manifest of something else",
         "half a state", "half a state that its manifest believes", "an empty folder"]  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
def test_a_damaged_checkpoint_falls_back_and_the_end_is_the_same(tiny_bert: Path, tmp_path: Path, kind: str) -> None:
    whole, reference, _ = train(tiny_bert, None)
    with pytest.raises(Interrupted):
        train(tiny_bert, tmp_path, stop=6)
    assert [p.name for p in sorted(tmp_path.iterdir())] == ["step-00000005", "step-00000006"]
    damage(tmp_path / "step-00000006", kind)
    again, outcome, told = train(tiny_bert, tmp_path)
    assert "the checkpoint step-00000006 is damaged" in warnings(told)
    assert ("resumed", {"step": 5, "checkpoint": "step-00000005"}) in told
    assert outcome.losses == reference.losses
    assert all(torch.equal(value, state(again)[name]) for name, value in state(whole).items())


def test_all_checkpoints_damaged_means_anew_and_is_said(tiny_bert: Path, tmp_path: Path) -> None:
    whole, reference, _ = train(tiny_bert, None)
    with pytest.raises(Interrupted):
        train(tiny_bert, tmp_path, stop=6)
    for path in tmp_path.iterdir():
        damage(path, "truncated")
    again, outcome, told = train(tiny_bert, tmp_path)
    assert "no whole checkpoint is left, so training starts anew" in warnings(told)
    assert not [kind for kind, _ in told if kind == "resumed"]
    assert outcome.losses == reference.losses
    assert all(torch.equal(value, state(again)[name]) for name, value in state(whole).items())


def test_what_was_passed_over_never_pushes_out_a_whole_checkpoint(tiny_bert: Path, tmp_path: Path) -> None:
    with pytest.raises(Interrupted):
        train(tiny_bert, tmp_path, stop=6)
    for name in ("step-00000008", "step-00000009"):  # ahead of all that is whole, as after a damaged disk
        (tmp_path / name).mkdir()
    damage(tmp_path / "step-00000006", "flipped byte")
    with pytest.raises(Interrupted):
        train(tiny_bert, tmp_path, stop=6)
    assert [p.name for p in sorted(tmp_path.iterdir())] == ["step-00000005", "step-00000006"]
    _, _, told = train(tiny_bert, tmp_path)
    assert ("resumed", {"step": 6, "checkpoint": "step-00000006"}) in told
    assert warnings(told) == ""


def test_a_checkpoint_of_another_run_is_refused_by_the_command(project: Path) -> None:
    running = start("run", "task.yaml", "--out", "one", *LONG, cwd=project)
    wait(running, lambda: len(list((project / "one/checkpoints").glob("step-*"))) > 0)
    running.kill()
    running.communicate()
    (project / "two").mkdir()
    shutil.copytree(project / "one/checkpoints", project / "two/checkpoints")
    words = refused(luthier("run", "task.yaml", "--out", "two", *LONG, "--set", "train.seed=7", cwd=project),
                    "another task, data or version", "--out")  # fmt: skip
    assert "two/checkpoints" in words
    done = luthier("run", "task.yaml", "--out", "one", *LONG, "--set", "train.max_steps=2", cwd=project)
    assert done.returncode in (0, 1), done.stderr
    assert "held a run of another task, data or version; it is begun anew" in done.stderr


def wait(running: subprocess.Popen[str], seen: Any, *, seconds: float = 180) -> None:
    deadline = time.monotonic() + seconds
    while not seen():
        assert running.poll() is None, running.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.002)


# Signals


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_during_a_measurement_leaves_it_and_saves(tiny_bert: Path, tmp_path: Path, number: int) -> None:
    """Whether it comes before the weights were found best or after, the end is that of an undisturbed run."""

    def scores(raising: int | None) -> Any:
        values = iter([3.0, 5.0, 4.0, 6.0])

        def score() -> float:
            value = next(values)
            if value == raising:
                os.kill(os.getpid(), number)
                time.sleep(5)
                pytest.fail("the measurement was not left")
            return value

        return score

    whole, reference, _ = train(tiny_bert, None, score=scores(None), evaluations=3)
    learner, stopper = learner_of(tiny_bert, "classify", LABELS, pooling="mean"), Stopper()
    before = signal.signal(number, stopper.handle)
    chosen = section("classify", 22, epochs=3.0, batch=8, checkpoint_s=1000.0, dropout=0.1, evaluations=3)
    try:
        with pytest.raises(Interrupted) as stopped:
            fit(learner, labelled(22), chosen, score=scores(4), folder=tmp_path, identity="x", stopper=stopper)
    finally:
        signal.signal(number, before)
    assert stopped.value.exit_code == 128 + number
    assert [p.name for p in tmp_path.iterdir()] == ["step-00000006"]
    rest = iter([4.0, 6.0])
    again, outcome, told = train(tiny_bert, tmp_path, score=lambda: next(rest), evaluations=3, checkpoint_s=1000.0)
    assert ("resumed", {"step": 6, "checkpoint": "step-00000006"}) in told
    assert outcome.evaluations == reference.evaluations
    assert outcome.losses == reference.losses
    assert all(torch.equal(value, state(again)[name]) for name, value in state(whole).items())


def test_a_signal_during_a_save_waits_for_its_end(tiny_bert: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from luthier.train import checkpoint

    learner, stopper, plain = learner_of(tiny_bert, "classify", LABELS, pooling="mean"), Stopper(), checkpoint.save_file
    before = signal.signal(signal.SIGTERM, stopper.handle)

    def save_file(tensors: Any, path: Path) -> None:
        os.kill(os.getpid(), signal.SIGTERM)
        plain(tensors, path)

    monkeypatch.setattr(checkpoint, "save_file", save_file)
    try:
        with pytest.raises(Interrupted) as stopped:
            fit(learner, labelled(22), section("classify", 22, epochs=3.0, batch=8, checkpoint_s=0.0), score=None, folder=tmp_path,
                identity="x", stopper=stopper)  # fmt: skip
    finally:
        signal.signal(signal.SIGTERM, before)
    assert stopped.value.exit_code == 143
    assert [p.name for p in tmp_path.iterdir()] == ["step-00000001"]
    assert (tmp_path / "step-00000001/manifest.json").is_file()


@pytest.mark.parametrize(
    ("kind", "number", "code"),
    [("model", signal.SIGTERM, 143), pytest.param("bundle", signal.SIGTERM, 143, marks=pytest.mark.slow),
     pytest.param("encoded", signal.SIGINT, 130, marks=pytest.mark.slow)],
)  # fmt: skip
def test_a_signal_while_nothing_is_trained_ends_at_once_with_its_code(project: Path, kind: str, number: int, code: int) -> None:
    """While the model opens, while the head is fitted, and while the test rows are judged."""
    running = start("run", "task.yaml", "--out", "run", *LONG, cwd=project)
    events = project / "run/events.jsonl"
    wait(running, lambda: events.exists() and f'"kind": "{kind}"' in events.read_text())
    running.send_signal(number)
    _, words = running.communicate(timeout=120)
    assert running.returncode == code, words
    assert "The same command goes on from there" in words
    assert "Traceback" not in words
    done = luthier("run", "task.yaml", "--out", "run", *LONG, cwd=project)
    assert done.returncode == 0, done.stderr
    if kind == "bundle":  # the last step was saved, so nothing is trained again
        last = events.read_text().rsplit('"kind": "start"', 1)[1]
        assert '"kind": "resumed"' in last
        assert '"kind": "step"' not in last


# Disks


@contextlib.contextmanager
def mounted(folder: Path, options: str) -> Iterator[Path]:
    if os.geteuid() != 0 or shutil.which("mount") is None:
        pytest.skip("notice: mounting needs root; a test of full or read-only disks is skipped")
    folder.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)], capture_output=True).returncode:
        pytest.skip("notice: nothing can be mounted here; a test of full or read-only disks is skipped")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def test_a_disk_that_fills_up_keeps_the_last_checkpoint_and_names_the_bytes(tiny_bert: Path, tmp_path: Path) -> None:
    whole, reference, _ = train(tiny_bert, None)
    with mounted(tmp_path / "small", "size=4m") as disk:
        ballast, folder = disk / "ballast", disk / "run"
        with pytest.raises(Interrupted):
            train(tiny_bert, folder, stop=4)
        assert len(list(folder.iterdir())) == 2
        held = folder / "step-00000004"
        size = sum(f.stat().st_size for f in held.iterdir())
        # There is no room for a third, nor for one in the place of the older: the newest stays.
        shutil.rmtree(folder / "step-00000003")
        ballast.write_bytes(b"x" * (free_bytes(disk) - size // 2))
        with pytest.raises(StorageError) as full:
            train(tiny_bert, folder)
        said = str(full.value)
        assert "the disk is full: a checkpoint needs" in said
        assert "are free" in said
        assert said.count(" bytes)") == 2
        needed = int(said.split("needs")[1].split("(")[1].split(" bytes")[0].replace(",", ""))
        assert 0.4 * size < needed < size + 300_000
        assert held.is_dir()
        assert [p.name for p in folder.iterdir() if p.name.startswith(".")] == []
        ballast.unlink()
        again, outcome, told = train(tiny_bert, folder)
        assert ("resumed", {"step": 4, "checkpoint": "step-00000004"}) in told
        assert outcome.losses == reference.losses
        assert all(torch.equal(value, state(again)[name]) for name, value in state(whole).items())


def test_the_older_checkpoint_makes_room_for_the_next(tiny_bert: Path, tmp_path: Path) -> None:
    with mounted(tmp_path / "small", "size=4m") as disk:
        with pytest.raises(Interrupted):
            train(tiny_bert, disk / "run", stop=4)
        size = sum(f.stat().st_size for f in (disk / "run/step-00000004").iterdir())
        # Room for the first look, and for one more checkpoint only if the older one goes.
        (disk / "ballast").write_bytes(b"x" * (free_bytes(disk) - size - 100_000))
        _, outcome, _ = train(tiny_bert, disk / "run")
        assert outcome.steps == 9


@pytest.mark.slow
def test_a_run_whose_disk_fills_up_goes_on_to_the_same_bundle(project: Path, tmp_path: Path) -> None:
    assert luthier("run", "task.yaml", "--out", "whole", *LONG, cwd=project).returncode == 0
    with mounted(tmp_path / "small", "size=24m") as disk:
        running = start("run", "task.yaml", "--out", disk / "run", *LONG, cwd=project)
        wait(running, lambda: len(list((disk / "run/checkpoints").glob("step-*"))) > 1)
        (disk / "ballast").write_bytes(b"x" * max(0, free_bytes(disk) - 4096))
        _, words = running.communicate(timeout=120)
        assert running.returncode == 2, words
        assert "the disk is full" in words
        assert "Traceback" not in words
        assert list((disk / "run/checkpoints").glob("step-*"))
        (disk / "ballast").unlink()
        done = luthier("run", "task.yaml", "--out", disk / "run", *LONG, cwd=project)
        assert done.returncode == 0, done.stderr
        assert "resumed" in done.stderr
        assert bundle_id(disk / "run") == bundle_id(project / "whole")


def test_a_read_only_folder_is_refused(project: Path, tmp_path: Path) -> None:
    with mounted(tmp_path / "closed", "size=1m,ro") as disk:
        refused(luthier("run", "task.yaml", "--out", disk / "run", cwd=project), "cannot be written", str(disk / "run"), "--out")
        assert not list(disk.iterdir())


# Processes, leftovers and clocks


def test_the_second_process_is_told_who_is_at_work(tmp_path: Path) -> None:
    with locked(tmp_path / "run"), pytest.raises(StorageError) as second, locked(tmp_path / "run"):
        pass
    assert f"process {os.getpid()} on {socket.gethostname()}" in str(second.value)
    # What a dead process wrote there blocks nobody.
    (tmp_path / "run/.lock").write_text("process 1 on elsewhere")
    with locked(tmp_path / "run"):
        assert str(os.getpid()) in (tmp_path / "run/.lock").read_text()


def test_leftovers_are_swept_and_a_replaced_folder_is_put_back(tmp_path: Path) -> None:
    killed = "import os, sys\nfrom pathlib import Path\nimport luthier.base.files as f\n"
    script = killed + (
        "replace, count = os.replace, [0]\n"
        "def halt(a, b):\n"
        "    replace(a, b)\n"
        "    os.kill(os.getpid(), 9)\n"
        "with f.new_folder(Path(sys.argv[1]) / 'bundle') as building:\n"
        "    (building / 'a').write_text('two')\n"
        "    f.os.replace = halt\n"
    )
    with new_folder(tmp_path / "bundle") as building:
        (building / "a").write_text("one")
    assert subprocess.run([sys.executable, "-c", script, str(tmp_path)]).returncode == -9
    assert not (tmp_path / "bundle").exists()  # killed between the two names
    sweep(tmp_path)
    assert (tmp_path / "bundle/a").read_text() == "one"
    assert [p.name for p in tmp_path.iterdir()] == ["bundle"]


def test_half_a_line_of_events_spoils_no_other(tmp_path: Path) -> None:
    log = tmp_path / "events.jsonl"
    log.write_text('{"kind": "step", "st')
    emit = EventLog(log)
    emit("start", task="x")
    emit.close()
    lines = log.read_text().splitlines()
    assert len(lines) == 2
    assert json.loads(lines[1])["kind"] == "start"


def test_a_clock_set_back_changes_nothing(tiny_bert: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole, reference, _ = train(tiny_bert, None)
    with pytest.raises(Interrupted):
        train(tiny_bert, tmp_path, stop=6)
    # The newer checkpoint is the older one by its times, and every clock of the day now runs years behind.
    os.utime(tmp_path / "step-00000006", (1_000_000_000, 1_000_000_000))
    real = time.time
    monkeypatch.setattr(time, "time", lambda: real() - 1e9)
    again, outcome, told = train(tiny_bert, tmp_path)
    assert ("resumed", {"step": 6, "checkpoint": "step-00000006"}) in told
    assert outcome.seconds >= 0
    assert outcome.losses == reference.losses
    assert all(torch.equal(value, state(again)[name]) for name, value in state(whole).items())


@pytest.mark.slow
def test_damaged_small_files_of_a_run_do_not_stop_it(project: Path) -> None:
    options = [*LONG, "--set", "train.max_steps=3"]
    done = luthier("run", "task.yaml", "--out", "run", "--json", *options, cwd=project)
    first, before = only_object(done), bundle_id(project / "run")
    for name in ("manifest.json", "choice.json"):
        text = (project / "run" / name).read_text()
        (project / "run" / name).write_text(text[: len(text) // 2])
    again = only_object(luthier("run", "task.yaml", "--out", "run", "--json", *options, cwd=project))
    assert again["metrics"] == first["metrics"]
    assert bundle_id(project / "run") == before


def test_a_checkpoint_of_an_earlier_form_is_refused(tiny_bert: Path, tmp_path: Path) -> None:
    with pytest.raises(Interrupted):
        train(tiny_bert, tmp_path, stop=6)
    for path in tmp_path.iterdir():
        values = json.loads((path / "state.json").read_text())
        write_json(path / "state.json", {k: v for k, v in values.items() if k != "format"})
        write_manifest(path)
    with pytest.raises(TrainError, match="another task, data or version"):
        train(tiny_bert, tmp_path)

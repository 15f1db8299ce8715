"""Trackers, for real: what each wrote is read back by its own reader and compared with the run's own files."""

from __future__ import annotations

import importlib.util
import json
import os
import signal
import sqlite3
import struct
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from commands import ENVIRONMENT, luthier, only_object, start

from luthier import track
from luthier.base.errors import LuthierError
from luthier.lifecycle import run
from luthier.spec.load import load_task
from luthier.track.sink import End, Place, Point, flat
from luthier.track.to_mlflow import _name
from luthier.track.tracker import Tracker

# What each tracker reads from the environment to send a run elsewhere; nothing answers there.
ELSEWHERE = {
    "WANDB_MODE": "online", "WANDB_BASE_URL": "http://127.0.0.1:9", "TRACKIO_SERVER_URL": "http://127.0.0.1:9/?write_token=x",
    "MLFLOW_TRACKING_URI": "http://127.0.0.1:9",
}  # fmt: skip
SINKS = ("tensorboard", "mlflow", "wandb", "trackio")


def need(name: str) -> None:
    modules = ("mlflow", "sqlalchemy", "alembic") if name == "mlflow" else (name,)
    missing = [module for module in modules if importlib.util.find_spec(module) is None]
    if missing:
        pytest.skip(f'notice: {", ".join(missing)} is not installed (pip install "luthier[{name}]")')


# Readers: (name, step) -> value of every number, words by name, settings by name, and whether the report is attached.

Read = tuple[dict[tuple[str, int], float], dict[str, str], dict[str, str], bool]


def read_tensorboard(folder: Path, id_: str) -> Read:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    found = EventAccumulator(str(folder / id_), size_guidance={"scalars": 0, "tensors": 0})
    found.Reload()
    numbers = {(tag, e.step): e.value for tag in found.Tags()["scalars"] for e in found.Scalars(tag)}

    def rows(tag: str) -> dict[str, str]:
        text = found.Tensors(tag)[-1].tensor_proto.string_val[0].decode()
        cells = [line.strip("| ").split(" | ") for line in text.splitlines()[2:]]
        return {cell[0]: cell[1] for cell in cells if len(cell) == 2}

    return numbers, rows("result"), rows("settings"), True  # it has no attachments: the page's path is a word


def read_mlflow(folder: Path, id_: str) -> Read:
    from mlflow import MlflowClient

    client = MlflowClient(tracking_uri=f"sqlite:///{folder / 'mlflow.db'}")
    one = client.get_run(id_)
    numbers = {(name, m.step): m.value for name in one.data.metrics for m in client.get_metric_history(id_, name)}
    assert one.info.status == "FINISHED"
    files = [f.path for f in client.list_artifacts(id_)]
    return numbers, one.data.tags, one.data.params, files == ["report.html"]


def records(path: Path) -> Iterator[Any]:
    """Yield the records of a W&B file: LevelDB's log format, in blocks of 32 KB, after a header of seven bytes."""
    from wandb.proto.wandb_internal_pb2 import Record

    data, place, held = path.read_bytes(), 7, b""
    while place + 7 <= len(data):
        if 32768 - place % 32768 < 7:
            place += 32768 - place % 32768
            continue
        _, size, kind = struct.unpack("<IHB", data[place : place + 7])
        held += data[place + 7 : place + 7 + size]
        place += 7 + size
        if kind in (1, 4):  # whole, or the last part
            record = Record()
            record.ParseFromString(held)
            yield record
            held = b""


def read_wandb(folder: Path, id_: str) -> Read:
    numbers: dict[tuple[str, int], float] = {}
    words: dict[str, str] = {}
    settings: dict[str, str] = {}
    attached = False
    for path in sorted(folder.glob(f"wandb/offline-run-*-{id_}/run-{id_}.wandb")):
        for record in records(path):
            row = {"/".join(i.nested_key) or i.key: json.loads(i.value_json) for i in record.history.item}
            numbers |= {(k, row["step"]): v for k, v in row.items() if "step" in row and not k.startswith("_")}
            for item in record.summary.update:
                words["/".join(item.nested_key) or item.key] = json.loads(item.value_json)
            for item in record.run.config.update:
                settings["/".join(item.nested_key) or item.key] = str(json.loads(item.value_json))
            attached |= any(e.path == "report.html" for e in record.request.log_artifact.artifact.manifest.contents)
            attached |= any(e.path == "report.html" for e in record.artifact.manifest.contents)
    last = max(step for _, step in numbers)
    numbers |= {(k, last): v for k, v in words.items() if k.startswith("test/")}  # type: ignore[misc]
    return numbers, words, settings, attached


def read_trackio(folder: Path, id_: str) -> Read:
    numbers: dict[tuple[str, int], float] = {}
    words: dict[str, str] = {}
    with sqlite3.connect(folder / "tiny.db") as base:
        for step, text in base.execute("SELECT step, metrics FROM metrics WHERE run_name = ?", [id_]):
            for name, value in json.loads(text).items():
                (words if isinstance(value, str) else numbers)[name if isinstance(value, str) else (name, step)] = value
        (config,) = base.execute("SELECT config FROM configs WHERE run_name = ?", [id_]).fetchone()
        (files,) = base.execute("SELECT count(*) FROM artifact_versions").fetchone()
    return numbers, words, {k: str(v) for k, v in json.loads(config).items()}, files == 1


READERS = {"tensorboard": read_tensorboard, "mlflow": read_mlflow, "wandb": read_wandb, "trackio": read_trackio}


def events(folder: Path, kind: str) -> list[dict[str, Any]]:
    return [e for line in (folder / "events.jsonl").read_text().splitlines() if (e := json.loads(line))["kind"] == kind]


@pytest.mark.parametrize("sink", SINKS)
def test_a_tracker_has_what_the_run_did(project: Path, sink: str, monkeypatch: pytest.MonkeyPatch) -> None:
    need(sink)
    for name, value in ELSEWHERE.items():
        monkeypatch.setitem(ENVIRONMENT, name, value)
    done = luthier("run", "task.yaml", "--out", "out/one", "--json", "--set", f"track=[{sink}]", "--set", "train.method=full",
                   cwd=project)  # fmt: skip
    record = only_object(done)
    folder = project / "out/one"
    id_ = json.loads((folder / "tracked.json").read_text())[sink]
    numbers, words, settings, attached = READERS[sink](project / "out/tracked" / sink, id_)
    steps = events(folder, "step")
    assert len(steps) > 10
    for event in steps:
        for name in ("loss", "rate", "grad_norm"):
            assert numbers[f"train/{name}", event["step"]] == pytest.approx(event[name], rel=1e-5), (name, event)
        assert numbers["train/tokens_per_s", event["step"]] == pytest.approx(event["tokens"] / event["seconds"], rel=1e-5)
    for event in events(folder, "evaluation"):
        assert numbers["valid/macro_f1", event["step"]] == pytest.approx(event["score"], rel=1e-5)
    test, last = record["metrics"]["test"]["macro_f1"], steps[-1]["step"]
    for name, value in (("", test["value"]), ("/low", test["low"]), ("/high", test["high"])):
        assert numbers[f"test/macro_f1{name}", last] == pytest.approx(value, rel=1e-5)
    assert words["verdict"] == record["verdict"]
    assert words["bundle"] == json.loads((folder / "bundle/manifest.json").read_text())["bundle_id"]
    assert (settings["train.method"], settings["train.batch"], settings["data.source"]) == ("full", "16", "messages.csv")
    assert attached
    assert not [w for w in done.stderr.splitlines() if w.startswith("warning")]


def test_tracking_changes_nothing_of_the_run(project: Path) -> None:
    need("tensorboard")
    ids = []
    for name, overrides in (("without", []), ("with", ["track=tensorboard"])):
        run(project / "task.yaml", overrides=["train.method=full", *overrides], out=project / name / "run")
        ids.append(json.loads((project / name / "run/bundle/manifest.json").read_text())["bundle_id"])
    assert ids[0] == ids[1]
    assert not (project / "without/tracked").exists()
    assert (project / "with/tracked/tensorboard").is_dir()
    hashes = [json.loads((project / name / "run/manifest.json").read_text())["inputs"] for name in ("without", "with")]
    assert hashes[0] == hashes[1], "a finished run is not made anew because it is tracked"


@pytest.mark.parametrize("sink", ["tensorboard", pytest.param("mlflow", marks=pytest.mark.slow),
                                  pytest.param("wandb", marks=pytest.mark.slow), pytest.param("trackio", marks=pytest.mark.slow)])  # fmt: skip
def test_a_stopped_run_goes_on_as_the_same_tracked_run(project: Path, sink: str) -> None:
    need(sink)
    options = ["--set", "train.epochs=8", "--set", "train.checkpoint_s=0", "--set", "train.patience=99", "--out", "cut",
               "--set", "train.method=full", "--set", f"track=[{sink}]"]  # fmt: skip
    running = start("run", "task.yaml", *options, cwd=project)
    log = project / "cut/events.jsonl"
    deadline = time.monotonic() + 300
    while not (log.exists() and log.read_text().count('"kind": "step"') >= 6):
        assert running.poll() is None, running.communicate()
        assert time.monotonic() < deadline, log.read_text()[-500:] if log.exists() else "no event"
        time.sleep(0.02)
    running.send_signal(signal.SIGTERM)
    _, words = running.communicate(timeout=60)
    assert running.returncode == 143, words
    before = json.loads((project / "cut/tracked.json").read_text())
    record = only_object(luthier("run", "task.yaml", "--json", *options, cwd=project))
    assert json.loads((project / "cut/tracked.json").read_text()) == before
    numbers, told, *_ = READERS[sink](project / "tracked" / sink, before[sink])
    assert told["verdict"] == record["verdict"]
    assert {step for name, step in numbers if name == "train/loss"} == set(range(1, events(project / "cut", "step")[-1]["steps"] + 1))


def test_a_server_that_is_away_is_told_of_once_and_costs_no_run(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    need("mlflow")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    finished = run(project / "task.yaml", overrides=["track.to=[mlflow]", "track.server=http://127.0.0.1:9", "train.method=full"],
                   out=project / "run")  # fmt: skip
    assert finished.accepted
    warnings = [e["text"] for e in events(project / "run", "warning")]
    assert len(warnings) == 1
    assert warnings[0].startswith("mlflow is told no more of this run: ")


class Breaking:
    """A tracker that takes a few calls and then fails, as a full disk would; it counts what it is asked afterwards."""

    id = "b"

    def __init__(self, place: Place) -> None:
        self.asked = 0

    def settings(self, settings: Mapping[str, Any]) -> None: ...

    def rewind(self, step: int) -> None: ...

    def points(self, points: list[Point]) -> None:
        self.asked += 1
        raise OSError(28, "No space left on device")

    def end(self, end: End) -> None:
        self.asked += 1


class Keeping(Breaking):
    """A tracker that keeps what it is told."""

    def __init__(self, place: Place) -> None:
        self.told: list[Point] = []

    def points(self, points: list[Point]) -> None:
        self.told += points

    def end(self, end: End) -> None:
        self.ended = end


def tracker(project: Path, text: str, monkeypatch: pytest.MonkeyPatch, **made: Any) -> tuple[Tracker, list[str]]:
    (project / "task.yaml").write_text(f"task: {{objective: classify}}\ndata: {{source: a.csv}}\ntrack: {text}\n")
    for name, sink in made.items():
        monkeypatch.setitem(track.SINKS, name, lambda place, sink=sink: sink)
    said: list[str] = []
    return Tracker(load_task(project / "task.yaml"), project, said.append), said


SETTINGS = {"train": {"metric": "macro_f1"}}


def step(number: int, *, steps: int, loss: float = 1.0) -> dict[str, Any]:
    return {"kind": "step", "at": float(number), "step": number, "steps": steps, "loss": loss, "rate": 0.1, "grad_norm": 2.0,
            "tokens": 10, "seconds": 0.5}  # fmt: skip


def test_a_tracker_that_fails_is_left_alone_and_the_other_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    breaking, keeping = Breaking(None), Keeping(None)  # type: ignore[arg-type]
    told, said = tracker(tmp_path, "[wandb, mlflow]", monkeypatch, wandb=breaking, mlflow=keeping)
    told({"kind": "resolved", "settings": SETTINGS, "at": 0.0})
    for number in range(1, 6):
        told._due = 0.0  # type: ignore[attr-defined]
        told(step(number, steps=5))
    told({"kind": "stopped", "reason": "enough", "interrupted": True, "at": 6.0})
    assert said == ["wandb is told no more of this run: [Errno 28] No space left on device"]
    assert breaking.asked == 1
    assert [p.step for p in keeping.told] == [1, 2, 3, 4, 5]
    assert (keeping.ended.state, keeping.ended.words) == ("stopped", {"reason": "enough"})


def test_points_are_means_of_the_steps_between(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    keeping = Keeping(None)  # type: ignore[arg-type]
    told, _ = tracker(tmp_path, "{to: [mlflow], every: 4}", monkeypatch, mlflow=keeping)
    told({"kind": "resolved", "settings": SETTINGS, "at": 0.0})
    for number in range(1, 11):
        told(step(number, steps=10, loss=float(number)))
    told({"kind": "stopped", "reason": "", "interrupted": False, "at": 11.0})
    losses = [(p.step, p.numbers["train/loss"], p.numbers["train/tokens_per_s"]) for p in keeping.told]
    assert losses == [(4, 2.5, 20.0), (8, 6.5, 20.0), (10, 9.5, 20.0)]
    many, _ = tracker(tmp_path, "[mlflow]", monkeypatch, mlflow=keeping)
    keeping.told = []
    many({"kind": "resolved", "settings": SETTINGS, "at": 0.0})
    for number in range(1, 5001):
        many(step(number, steps=5000))
    many({"kind": "stopped", "reason": "", "interrupted": False, "at": 0.0})
    assert len(keeping.told) == 1000


def test_stages_have_names_and_an_axis_of_their_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    keeping = Keeping(None)  # type: ignore[arg-type]
    told, _ = tracker(tmp_path, "[mlflow]", monkeypatch, mlflow=keeping)
    for stage in ("topic", "tone"):
        told({"kind": "resolved", "settings": SETTINGS, "stage": stage, "at": 0.0})
        told({**step(1, steps=1), "stage": stage})
        told({"kind": "evaluation", "step": 1, "score": 0.5, "valid_loss": 1.0, "stage": stage, "at": 0.0})
    told({"kind": "stopped", "reason": "", "interrupted": False, "at": 1.0})
    assert [p.axis for p in keeping.told] == ["topic/step", "topic/step", "tone/step", "tone/step"]
    assert set(keeping.told[3].numbers) == {"tone/valid/macro_f1", "tone/valid/loss"}


def test_passwords_are_not_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    places: list[Place] = []
    told, _ = tracker(tmp_path, "[mlflow]", monkeypatch)
    monkeypatch.setitem(track.SINKS, "mlflow", lambda place: places.append(place) or Keeping(place))
    told({"kind": "resolved", "settings": {**SETTINGS, "data": {"source": "postgresql://me:secret@db/x"}}, "at": 0.0})
    assert places[0].settings["data.source"] == "postgresql://me:***@db/x"


@pytest.mark.parametrize("sink", SINKS)
def test_a_tracker_that_is_not_installed_is_a_fault_before_any_work(project: Path, sink: str, monkeypatch: pytest.MonkeyPatch) -> None:
    real = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *a: None if name == sink else real(name, *a))
    with pytest.raises(LuthierError) as caught:
        run(project / "task.yaml", overrides=[f"track=[{sink}]"], out=project / "run")
    (fault,) = [f for f in caught.value.faults if f.what.startswith(sink)]
    assert fault.where.endswith("track.to")
    assert fault.mend == f'pip install "luthier[{sink}]", or "luthier[track]" for all of them.'
    assert not (project / "run").exists()
    assert caught.value.exit_code == 2


def test_keys_that_do_nothing_are_faults(tmp_path: Path) -> None:
    (tmp_path / "task.yaml").write_text("task: {objective: classify}\ndata: {source: a.csv}\n")

    def idle(*overrides: str) -> list[str]:
        return [str(f) for f in load_task(tmp_path / "task.yaml", overrides).task.track.idle()]

    assert idle("track=[tensorboard]") == []
    assert idle("track=wandb", "track.online=true") == []
    assert idle("track=mlflow", "track.online=true")[0].startswith("track.online: `online` is for wandb")
    assert idle("track=[wandb]", "track.server=http://x")[0].startswith("track.server: `server` is for mlflow")
    assert idle("track=[wandb, wandb]") == ["track.to: wandb is named twice. Name it once."]
    with pytest.raises(LuthierError, match='Did you mean "tensorboard"'):
        idle("track=[tensorbord]")


def test_the_report_goes_to_no_server_unless_asked(tmp_path: Path) -> None:
    (tmp_path / "task.yaml").write_text("task: {objective: classify}\ndata: {source: a.csv}\ntrack: [wandb, mlflow]\n")

    def attaches(*overrides: str) -> tuple[bool, bool]:
        section = load_task(tmp_path / "task.yaml", overrides).task.track
        return section.attaches("wandb"), section.attaches("mlflow")

    assert attaches() == (True, True)
    assert attaches("track.online=true") == (False, True)
    assert attaches("track.server=http://x") == (True, False)
    assert attaches("track.online=true", "track.report=on") == (True, True)
    assert attaches("track.report=off") == (False, False)


def test_names_that_mlflow_refuses_are_made_plain() -> None:
    names = ("test/recall[urgent]", "test/ndcg@10", "test/f1[a/../b]", "test/f1[..]/low", "x" * 300)
    assert [_name(n) for n in names] == ["test/recall/urgent", "test/ndcg_at_10", "test/f1/a/_/b", "test/f1/_/low", "x" * 250]


def test_settings_are_flat() -> None:
    assert flat({"a": {"b": 1, "c": {}, "d": None}, "e": ["x", 2]}) == {"a.b": 1, "e": '["x", 2]'}


def test_the_environment_is_as_it_was() -> None:
    from luthier.track.sink import environment

    os.environ["TRACK_TEST"] = "before"
    with environment("TRACK_TEST", TRACK_NEW="1"):
        assert "TRACK_TEST" not in os.environ
    assert os.environ.pop("TRACK_TEST") == "before"
    assert "TRACK_NEW" not in os.environ

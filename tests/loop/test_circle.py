"""The circle as a user runs it: commands, files, exit codes, resume, what was said coming back."""

from __future__ import annotations

import json
import signal
import time
from pathlib import Path

import httpx
import pytest
from commands import luthier, only_object, start

FILES = {
    "task.yaml",
    "resolved.yaml",
    "events.jsonl",
    "bundle",
    "report.html",
    "report.json",
    "manifest.json",
    "prepared",
}


def test_run_ends_with_a_verdict_and_all_files(project: Path) -> None:
    done = luthier("run", "task.yaml", "--json", cwd=project)
    result = only_object(done)
    assert done.returncode == 0, done.stderr
    assert result["verdict"] == "accepted"
    assert result["reasons"] == []
    folder = project / result["run"]
    assert {p.name for p in folder.iterdir()} >= FILES
    assert set(result["data"]) == {"train", "valid", "test", "dropped", "leaks", "fingerprint"}
    assert result["model"]["trained"] < result["model"]["parameters"]
    wanted = {"accuracy", "macro_f1", "micro_f1", "macro_precision", "macro_recall", "roc_auc", "ece", "f1[billing]",
              "precision[billing]", "recall[billing]"}  # fmt: skip
    assert wanted <= set(result["metrics"]["test"])
    metric = result["metrics"]["test"]["macro_f1"]
    assert metric["low"] <= metric["value"] <= metric["high"]
    assert set(result["baselines"]) == {"majority", "tfidf_linear", "frozen_linear", "nearest_rows"}
    assert {"prepare", "train", "evaluate"} <= set(result["seconds"])
    assert result["peak_memory_mb"] > 50
    assert str(project) not in (folder / "manifest.json").read_text()
    record = json.loads((folder / "report.json").read_text())
    assert record["diagnosis"] == result["diagnosis"]
    assert 0 <= record["parity"]["difference"] <= record["parity"]["allowed"] and record["parity"]["rows"] == result["data"]["valid"]
    assert "read again from disk, its answers to" in (folder / "report.html").read_text()
    assert record["resolution"]["metric"] == "macro_f1" and "test rows tell two models apart" in done.stderr
    assert f"fit      {result['diagnosis']['verdict']}" in done.stderr
    assert f"Over- and underfitting: {result['diagnosis']['verdict']}" in (folder / "bundle/README.md").read_text()
    assert all({"score", "valid_loss", "train_loss", "train_score"} < set(e) for e in record["curve"]["evaluations"])
    assert all("rows" not in e for e in record["curve"]["evaluations"])

    again = luthier("run", "task.yaml", "--json", cwd=project)
    assert only_object(again) == result
    assert "nothing changed" in again.stderr


def test_a_missed_bar_is_exit_one_with_its_reason(project: Path) -> None:
    rows = (project / "messages.csv").read_text().splitlines()
    queues = sorted({row.split(",")[1] for row in rows[1:]})
    # Every third label is wrong, so that no model can reach the bar.
    for i in range(1, len(rows), 3):
        message, queue, customer = rows[i].split(",")
        rows[i] = ",".join([message, queues[(queues.index(queue) + 1) % len(queues)], customer])
    (project / "messages.csv").write_text("\n".join(rows) + "\n")
    done = luthier(
        "run", "task.yaml", "--set", "accept.macro_f1=>= 1.0", "--set", "train.max_steps=1", "--json", cwd=project
    )
    result = only_object(done)
    assert done.returncode == 1
    assert result["verdict"] == "missed"
    assert result["reasons"][0].startswith("macro_f1 is ")


def test_same_seed_same_bundle(project: Path) -> None:
    one = only_object(luthier("run", "task.yaml", "--json", "--out", "one", cwd=project))
    two = only_object(luthier("run", "task.yaml", "--json", "--out", "two", cwd=project, apart=True))
    assert json.loads((project / "one/bundle/manifest.json").read_text())["bundle_id"] == \
        json.loads((project / "two/bundle/manifest.json").read_text())["bundle_id"]  # fmt: skip
    assert one["metrics"] == two["metrics"]


@pytest.mark.parametrize(
    ("number", "code"),
    [
        (signal.SIGTERM, 143),
        pytest.param(signal.SIGINT, 130, marks=pytest.mark.slow),
        # tests/loop/test_kills.py kills in harder places.
        pytest.param(signal.SIGKILL, -9, marks=pytest.mark.slow),
    ],
)
def test_a_stopped_run_goes_on_to_the_same_bundle(project: Path, number: signal.Signals, code: int) -> None:
    # The run is made long enough that the signal lands between its first and last step.
    options = ["--set", "train.epochs=8", "--set", "train.checkpoint_s=0", "--set", "train.patience=99"]
    whole = only_object(luthier("run", "task.yaml", "--out", "whole", "--json", *options, cwd=project))
    running = start("run", "task.yaml", "--out", "cut", *options, cwd=project)
    events = project / "cut" / "events.jsonl"
    deadline = time.monotonic() + 120
    while not (events.exists() and events.read_text().count('"kind": "step"') >= 6):
        assert running.poll() is None, running.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.005)
    running.send_signal(number)
    _, words = running.communicate(timeout=60)
    assert running.returncode == code, words
    assert "Traceback" not in words
    assert not (project / "cut/report.json").exists()
    done = luthier("run", "task.yaml", "--out", "cut", "--json", *options, cwd=project)
    assert "resumed" in done.stderr
    assert only_object(done)["metrics"] == whole["metrics"]
    names = ("whole", "cut")
    ids = [json.loads((project / name / "bundle/manifest.json").read_text())["bundle_id"] for name in names]
    assert ids[0] == ids[1]


def test_two_processes_do_not_write_one_run(project: Path) -> None:
    running = start(
        "run", "task.yaml", "--out", "same", "--set", "train.epochs=400", "--set", "train.patience=99", cwd=project
    )
    while not (project / "same" / "inputs.json").exists():
        assert running.poll() is None, running.communicate()
        time.sleep(0.01)
    second = luthier("run", "task.yaml", "--out", "same", cwd=project)
    running.send_signal(signal.SIGTERM)
    running.communicate(timeout=60)
    assert second.returncode == 2
    assert "another process is working on this run" in second.stderr


def test_train_leaves_the_test_rows_closed(project: Path) -> None:
    result = only_object(luthier("train", "task.yaml", "--out", "out", "--json", cwd=project))
    assert result["verdict"] == "not judged"
    assert "metrics" not in result
    judged = only_object(luthier("run", "task.yaml", "--out", "out", "--json", cwd=project))
    assert judged["verdict"] == "accepted"


def test_evaluate_predict_compare_and_report(project: Path) -> None:
    run = luthier("run", "task.yaml", "--out", "out", cwd=project)
    assert run.returncode == 0, run.stderr
    found = luthier("evaluate", "out/bundle", "messages.csv", "--json", "--out", "measured", cwd=project)
    result = only_object(found)
    assert (found.returncode, result["verdict"]) == (0, "accepted")
    assert (project / "measured/report.html").stat().st_size > 1000
    hard = luthier("evaluate", "out", "messages.csv", "--accept", "accuracy > 1", "--quiet", cwd=project)
    assert (hard.returncode, hard.stdout) == (1, "missed\n")

    from_file = luthier("predict", "out", "messages.csv", cwd=project)
    lines = [json.loads(line) for line in from_file.stdout.splitlines()]
    texts = (project / "messages.csv").read_text().splitlines()[1:]
    assert len(lines) == len(texts)
    assert set(lines[0]) == {"label", "scores"}
    assert sum(lines[0]["scores"].values()) == pytest.approx(1, abs=1e-4)
    from_input = luthier(
        "predict", "out", "-", cwd=project, text="where is my parcel\n" + json.dumps({"message": "refund me"}) + "\n"
    )
    assert len(from_input.stdout.splitlines()) == 2

    same = luthier("compare", "out", "out", "messages.csv", "--json", cwd=project)
    assert only_object(same)["better"] == "cannot tell"
    (project / "out/report.html").unlink()
    assert luthier("report", "out", cwd=project).stdout.strip() == "out/report.html"
    assert (project / "out/report.html").exists()


def test_python_api(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import luthier as package

    monkeypatch.chdir(project)
    run = package.run("task.yaml")
    assert run.verdict == "accepted"
    assert run.report.exists()
    assert run.metrics["test"]["accuracy"]["value"] > 0.5
    predictions = package.load(run.bundle).predict(["where is my parcel", "refund me now"])
    assert [p.label in {"account", "billing", "delivery"} for p in predictions] == [True, True]


def test_generate_runs_beside_the_untuned_model(chat_project: Path) -> None:
    done = luthier("run", "task.yaml", "--json", "--out", "out", cwd=chat_project)
    result = only_object(done)
    assert done.returncode == 0, done.stderr
    measured = result["metrics"]["test"]
    assert {"perplexity", "exact_match", "token_f1", "rouge1", "rouge2", "rougeL"} <= set(measured)
    assert measured["perplexity"]["value"] < result["baselines"]["untuned"]["perplexity"]
    answer = luthier("predict", "out", "-", cwd=chat_project, text="3 + 4\n")
    assert set(json.loads(answer.stdout)) == {"text", "finish"}
    # A row whose answer the model cannot hold is in no figure, and that is said.
    rows = [{"prompt": f"{n} + 4", "completion": str(n + 4)} for n in range(5)]
    rows.insert(2, {"prompt": "1 + 1", "completion": "2 and again " * 400})
    (chat_project / "later.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    notes = only_object(luthier("evaluate", "out", "later.jsonl", "--json", cwd=chat_project))["notes"]
    assert any(note.startswith("1 of the 6 test rows is longer than the model reads and in no figure, the first at later.jsonl:3") for note in notes), notes


def serving(project: Path, bundle: str):
    server = start("serve", bundle, "--port", "0", "--json", cwd=project)
    assert server.stdout is not None
    return server, json.loads(server.stdout.readline())["url"]


def test_what_people_say_comes_back_as_a_better_bundle(project: Path) -> None:
    """Serve, correct, harvest, run again with the corrections: a new bundle, compared with the old on the same test rows."""
    assert luthier("run", "task.yaml", "--out", "first", cwd=project).returncode == 0
    server, url = serving(project, "first/bundle")
    try:
        texts = [f"the drone number {i} is broken and will not fly" for i in range(12)]
        answer = httpx.post(f"{url}/v1/predict", json={"inputs": texts}, timeout=30).json()
        assert [set(p) for p in answer["predictions"]] == [{"prediction_id", "label", "scores"}] * 12
        direct = luthier("predict", "first", "-", cwd=project, text="\n".join(texts) + "\n")
        for served, line in zip(answer["predictions"], direct.stdout.splitlines(), strict=True):
            assert served["label"] == json.loads(line)["label"]
            for label, score in json.loads(line)["scores"].items():
                assert served["scores"][label] == pytest.approx(score, abs=2e-6)
        for prediction in answer["predictions"]:
            said = {"prediction_id": prediction["prediction_id"], "label": "account", "by": "ann"}
            assert httpx.post(f"{url}/v1/feedback", json=said, timeout=30).status_code == 201
    finally:
        server.send_signal(signal.SIGTERM)
        server.communicate(timeout=30)
    assert server.returncode == 143
    harvested = only_object(luthier("harvest", "--task", "task.yaml", "--out", "said.jsonl", "--json", cwd=project))
    assert harvested["written"] == 12
    rows = [json.loads(line) for line in (project / "said.jsonl").read_text().splitlines()]
    assert {row["queue"] for row in rows} == {"account"}

    second = luthier("run", "task.yaml", "--set", "data.source=[messages.csv, said.jsonl]", "--set", "evaluate.against=first/bundle",
                     "--out", "second", "--json", cwd=project)  # fmt: skip
    result = only_object(second)
    assert second.returncode == 0, second.stderr
    old_tests = {
        json.loads(line)["id"]
        for line in next((project / "first/prepared").glob("*/test.jsonl")).read_text().splitlines()
    }
    new_tests = {
        json.loads(line)["id"]
        for line in next((project / "second/prepared").glob("*/test.jsonl")).read_text().splitlines()
    }
    new_train = {
        json.loads(line)["id"]
        for line in next((project / "second/prepared").glob("*/train.jsonl")).read_text().splitlines()
    }
    assert old_tests <= new_tests
    assert not old_tests & new_train
    assert result["against"]["rows"] == result["data"]["test"]
    assert result["against"]["metrics"]["macro_f1"]["better"] in {"first", "second", "cannot tell"}
    manifests = [
        json.loads((project / name / "bundle/manifest.json").read_text())["bundle_id"] for name in ("first", "second")
    ]
    assert manifests[0] != manifests[1]


def test_a_killed_server_has_kept_what_it_said(project: Path) -> None:
    assert luthier("train", "task.yaml", "--out", "first", cwd=project).returncode == 0
    server, url = serving(project, "first")
    answer = httpx.post(f"{url}/v1/predict", json={"input": "where is my parcel"}, timeout=30).json()
    server.kill()
    server.communicate(timeout=30)
    from luthier.ledger.store import Ledger

    with Ledger(project / "ledger.sqlite") as ledger:
        assert (
            ledger.get(answer["predictions"][0]["prediction_id"]).output["label"] == answer["predictions"][0]["label"]
        )

"""A run with a judge model over real HTTP: a bar that it decides, one that it may not, and a service that is gone."""

from __future__ import annotations

import csv
import json
import random
import shutil
import signal
from pathlib import Path

import pytest
from commands import start
from judge_service import by_length, judge_service

from luthier.base.errors import TaskError
from luthier.base.files import read_json
from luthier.base.records import Example, Prediction, Source
from luthier.evaluate.judges.ask import Asker, Item
from luthier.lifecycle import kept
from luthier.lifecycle.bundles import evaluate
from luthier.lifecycle.circle import run
from luthier.lifecycle.comparing import compare
from luthier.release.predictor import load_predictor
from luthier.spec.judge import Judge
from luthier.spec.load import load_task

JUDGE = """\
evaluate:
  generate_rows: 8
  max_new_tokens: 24
  judge: {{url: "{url}", model: m, criteria: "Is it long?", rows: 6, tries: 1, timeout_s: 20, {more}}}
accept: {{{accept}}}
"""


@pytest.fixture(autouse=True)
def _loopback(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("no_proxy", "127.0.0.1")


def write_task(folder: Path, url: str, *, more: str = "mode: score", accept: str = 'perplexity: "< 400"') -> Path:
    path = folder / "task.yaml"
    kept = [line for line in path.read_text().splitlines() if not line.startswith(("evaluate", "accept", " "))]
    path.write_text("\n".join(kept) + "\n" + JUDGE.format(url=url, more=more, accept=accept))
    return path


def write_ratings(path: Path, count: int = 60, *, noise: int = 0) -> None:
    """Write ratings of people who count words too, and of whom every ``noise``-th says something else."""
    with path.open("w", newline="", encoding="utf-8") as handle:
        writer = csv.writer(handle)
        writer.writerow(["prompt", "answer", "score"])
        for i in range(count):
            mark = 1 + i % 5
            writer.writerow([f"p{i}", " ".join(["word"] * mark), 1 + (i * 7) % 5 if noise and i % noise == 0 else mark])


def test_a_judge_decides_where_people_agree_with_it(chat_project: Path) -> None:
    write_ratings(chat_project / "rated.csv")
    with judge_service() as service:
        path = write_task(chat_project, service.url, more="human: rated.csv", accept='"judge[overall]": ">= 1"')
        done = run(path, out=chat_project / "run")
        asked = len(service.bodies)
        assert done.verdict == "accepted"
        found = done.record["judge"]
        assert found["sent"]["to"] == service.url and found["sent"]["test_rows"] == 6 and found["sent"]["rated_rows"] == 60
        assert found["criteria"][0]["agreement"]["kappa"]["value"] == 1.0 and found["doubts"] == {}
        assert done.record["metrics"]["test"]["judge[overall]"]["value"] >= 1
        prompts = {shown["prompt"] for shown in service.shown}
        assert len(prompts) == 66
        # What was asked stays on disk: another go at the same answers asks nothing.
        assert run(path, out=chat_project / "run", again=True).record["judge"]["sent"]["requests"] == 0
        assert len(service.bodies) == asked
    same = compare([chat_project / "run", chat_project / "run"], out=chat_project / "compared")
    assert [run["name"] for run in same["runs"]] == [f"{chat_project / 'run'} (1)", f"{chat_project / 'run'} (2)"]
    assert same["better"] == "cannot tell" and same["pairs"][0]["metrics"]["perplexity"]["difference"] == 0
    page = (chat_project / "run/report.html").read_text()
    assert service.url in page and "How far the judge agrees with people" in page
    with (chat_project / "run/judge/to-rate.csv").open(newline="") as handle:
        rows = list(csv.DictReader(handle))
    assert len(rows) == 6 and {row["score"] for row in rows} == {""} and all(row["prompt"] for row in rows)


def test_a_judge_that_people_do_not_agree_with_decides_nothing(chat_project: Path) -> None:
    write_ratings(chat_project / "rated.csv", noise=1)
    with judge_service() as service:
        path = write_task(chat_project, service.url, more="human: rated.csv", accept='"judge[overall]": ">= 1"')
        done = run(path, out=chat_project / "run")
    assert done.verdict == "cannot tell"
    assert "and not surely 0.6" in done.record["reasons"][0]
    assert "unproven" not in done.record["judge"]["doubts"]["judge[overall]"]


def test_a_service_that_is_gone_costs_no_result_and_an_unproven_bar_is_refused_at_once(chat_project: Path) -> None:
    path = write_task(chat_project, "http://127.0.0.1:9/v1", more="mode: pairwise")
    done = run(path, out=chat_project / "run", overrides=["evaluate.judge.rows=8"])
    assert done.verdict == "accepted"
    assert "could not be asked" in done.record["judge"]["failed"] and "127.0.0.1:9" in done.record["judge"]["failed"]
    assert "127.0.0.1:9" in (chat_project / "run/report.html").read_text()
    path = write_task(chat_project, "http://127.0.0.1:9/v1", more="mode: pairwise", accept='judge_win_rate: ">= 0.5"')
    with pytest.raises(TaskError) as refused:
        run(path, out=chat_project / "other")
    assert "nothing shows that this judge agrees with people" in str(refused.value)
    assert not (chat_project / "other" / "bundle").exists()


def test_a_key_that_is_refused_is_told_before_training(chat_project: Path) -> None:
    write_ratings(chat_project / "rated.csv")
    with judge_service(lambda shown: 401) as service, pytest.raises(TaskError, match="refuses the key"):
        run(write_task(chat_project, service.url, more="human: rated.csv"), out=chat_project / "run")
    assert not (chat_project / "run" / "bundle").exists()


@pytest.mark.slow
def test_a_bundle_that_luthier_serves_is_a_judge(chat_project: Path, tiny_llama: Path) -> None:
    """A model taught to call every pair a tie judges another one: half is won, and nothing flips."""
    with judge_service() as service:
        asked = Asker(Judge(url=service.url, model="m", criteria="Is it long?", mode="pairwise"), chat_project / "asked")
        # What untrained models write is anything at all, so anything at all is learnt to be a tie.
        rng = random.Random(0)
        said = ["".join(rng.choices("abcxyz +1^(X", k=rng.randint(0, 60))) for _ in range(80)]
        asked.opinions([Item(f"{i} + {i * i} please", one, other) for i, (one, other) in enumerate(zip(said[::2], said[1::2], strict=True))])
    tie = {"role": "assistant", "content": '{"better": "tie"}'}
    # They were asked several at a time: the order of the rows must not depend on who came first.
    rows = [{"messages": [*body["messages"], tie]} for body in sorted(service.bodies, key=json.dumps)]
    folder = chat_project / "judge"
    # Many templates know no system's turn; this one leaves it out, so that the tiny model reads what it can learn in a few steps.
    base = shutil.copytree(tiny_llama, folder / "base")
    template = base / "chat_template.jinja"
    template.write_text(template.read_text().replace("{% for m in messages %}", "{% for m in messages if m['role'] != 'system' %}"))
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (folder / "task.yaml").write_text(
        "task: {name: tie, objective: generate}\ndata: {source: rows.jsonl, semantic: off}\n"
        f"model: {{base: {base}}}\ntrain: {{method: full, epochs: 40, batch: 8, rate: 0.01}}\nevaluate: {{generate_rows: 4, max_new_tokens: 24}}\n"
    )
    run(folder / "task.yaml", out=folder / "run", judge=False)
    server = start("serve", folder / "run/bundle", "--port", "0", "--ledger", folder / "ledger.sqlite", "--json", cwd=folder)
    try:
        assert server.stdout is not None
        url = json.loads(server.stdout.readline())["url"]
        path = write_task(chat_project, f"{url}/v1", more="mode: pairwise, max_tokens: 24")
        path.write_text(path.read_text().replace("model: m,", "model: luthier,"))
        done = run(path, out=chat_project / "run")
    finally:
        server.send_signal(signal.SIGTERM)
        server.wait(30)
    (one,) = done.record["judge"]["criteria"]
    assert done.record["judge"]["failed"] is None
    assert (one["rows"], one["flipped"], one["value"]) == (one["asked"], 0, 0.5), done.record["judge"]




@pytest.mark.slow
def test_a_judge_that_died_is_asked_what_is_missing_without_training(chat_project: Path) -> None:
    write_ratings(chat_project / "rated.csv")
    asked: list[str] = []

    def dies(shown: dict) -> object:
        """Judge the people's rows and three of the run's, and then be gone."""
        if not shown["prompt"].startswith("p"):
            asked.append(shown["prompt"])
            if len(asked) > 3:
                return 401
        return by_length(shown)

    with judge_service(dies) as service:
        bars = '"judge[overall]": ">= 1", perplexity: "< 400"'
        path = write_task(chat_project, service.url, more="human: rated.csv, concurrency: 1", accept=bars)
        first = run(path, out=chat_project / "run")
        assert first.verdict == "cannot tell" and "refuses the key" in first.record["judge"]["failed"]
        weights = sorted((chat_project / "run/bundle").rglob("*.safetensors"))[0].stat().st_mtime_ns
        # It answers again, and the same command asks what it did not say; its patience may be another.
        service.answer, before = by_length, len(service.bodies)
        second = run(path, out=chat_project / "run", overrides=["evaluate.judge.timeout_s=30"])
        assert len(service.bodies) - before == 3 and second.record["judge"]["sent"]["from_disk"] == 63
        assert second.verdict == "accepted" and second.record["judge"]["failed"] is None and second.record["reasons"] == []
        assert second.record["metrics"]["test"]["judge[overall]"]["value"] >= 1
        assert {row["metric"]: row["state"] for row in second.record["bars"]} == {"judge[overall]": "met", "perplexity": "met"}
        assert sorted((chat_project / "run/bundle").rglob("*.safetensors"))[0].stat().st_mtime_ns == weights, "nothing was learnt anew"
        assert second.record["seconds"]["train"] == first.record["seconds"]["train"]
        assert read_json(chat_project / "run/bundle/bundle.json")["verdict"] == "accepted" and load_predictor(chat_project / "run")
        assert "refuses the key" not in (chat_project / "run/report.html").read_text()
        third = run(path, out=chat_project / "run")
        assert third.record == read_json(chat_project / "run/report.json") and len(service.bodies) - before == 3, "a run that is whole asks nothing"


@pytest.mark.slow
def test_stages_whose_judge_died_are_judged_anew_without_training(chat_project: Path) -> None:
    rows = (chat_project / "sums.jsonl").read_text().splitlines()
    (chat_project / "first.jsonl").write_text("\n".join(rows[:60]) + "\n")
    (chat_project / "second.jsonl").write_text("\n".join(rows[60:]) + "\n")
    write_ratings(chat_project / "rated.csv")

    def dead(shown: dict) -> object:
        return by_length(shown) if shown["prompt"].startswith("p") else 401

    with judge_service(dead) as service:
        path = write_task(chat_project, service.url, more="human: rated.csv, concurrency: 1",
                          accept='"judge[overall]": ">= 1", "judge[overall]@first": ">= 1", perplexity: "< 400"')  # fmt: skip
        path.write_text(path.read_text().replace("data: {source: sums.jsonl, semantic: off}\n", "") + (
            "stages:\n- {name: first, data: {source: first.jsonl, semantic: off}, train: {epochs: 1}}\n"
            "- {name: second, data: {source: second.jsonl, semantic: off}, train: {epochs: 1}}\n"
        ))  # fmt: skip
        first = run(path, out=chat_project / "run")
        assert first.verdict == "cannot tell" and "refuses the key" in first.record["judge"]["failed"]
        weights = {p: p.stat().st_mtime_ns for p in (chat_project / "run").rglob("*.safetensors")}
        service.answer, before = by_length, len(service.bodies)
        second = run(path, out=chat_project / "run")
        assert len(service.bodies) - before == 12, "six rows of each stage"
        assert second.verdict == "accepted" and second.record["reasons"] == [], second.record["reasons"]
        assert {row["metric"]: row["state"] for row in second.record["bars"]} == {
            "judge[overall]": "met", "judge[overall]@first": "met", "perplexity": "met"}  # fmt: skip
        assert {row["metric"]: row["units"] for row in second.record["bars"]} == {
            "judge[overall]": 6, "judge[overall]@first": 6, "perplexity": 14}  # fmt: skip
        assert second.record["metrics"]["test"]["judge[overall]@first"]["value"] >= 1
        assert second.record["sequence"] == first.record["sequence"]
        assert {p: p.stat().st_mtime_ns for p in (chat_project / "run").rglob("*.safetensors")} == weights
        for name in ("first", "second"):
            assert read_json(chat_project / f"run/stages/{name}/report.json")["judge"]["failed"] is None
        assert read_json(chat_project / "run/bundle/bundle.json")["verdict"] == "accepted" and load_predictor(chat_project / "run")
        run(path, out=chat_project / "run")
        assert len(service.bodies) - before == 12, "a run that is whole asks nothing"


@pytest.mark.slow
def test_a_bundle_is_judged_on_other_rows_by_the_judge_of_its_task(chat_project: Path) -> None:
    write_ratings(chat_project / "rated.csv")
    with judge_service() as service:
        path = write_task(chat_project, service.url, more="human: rated.csv", accept='"judge[overall]": ">= 1"')
        run(path, out=chat_project / "run")
        before, rated = len(service.bodies), (chat_project / "run/judge/to-rate.csv").read_text()
        options: dict = {"columns": {}, "accept": None}
        few = chat_project / "few.jsonl"
        few.write_text("".join((chat_project / "sums.jsonl").read_text().splitlines(keepends=True)[:8]))
        found = evaluate(chat_project / "run", str(few), out=chat_project / "again", **options)
        assert found["verdict"] == "accepted" and found["bars"][0]["metric"] == "judge[overall]" and found["judge"]["doubts"] == {}
        asked = found["judge"]["sent"]
        assert asked["test_rows"] == 6 and asked["rated_rows"] == 60 and asked["from_disk"] >= 60, "people's rows are not asked again"
        assert len(service.bodies) - before == asked["requests"] <= 6
        assert (chat_project / "again/judge/to-rate.csv").is_file() and (chat_project / "run/judge/to-rate.csv").read_text() == rated
        assert service.url in (chat_project / "again/report.html").read_text()
        silent = evaluate(chat_project / "run", str(few), out=None, judge=False, **options)
        assert "judge" not in silent and any("needs the judge" in note for note in silent["notes"])
        # An address in a bundle is no order to send texts there.
        predictor, task = load_predictor(chat_project / "run"), load_task(path).task
        predictor.facts["judge"]["url"] = "https://judge.example.com/v1"
        rows = [Example("0", {"messages": [{"role": "user", "content": "1 + 1"}]}, "2", Source("sums.jsonl", 1))]
        told = kept.judged(predictor, task, rows, [Prediction(text="2")], whether=None, out=None, others={})
        assert not told.metrics and "on another machine" in told.notes[0] and "--judge" in told.notes[0]
        # Pairs with the live model need one: `evaluate --against` names it.
        pairs, live = Judge(**{**predictor.facts["judge"], "mode": "pairwise", "versus": "live", "scale": [1, 5]}), [Prediction(text="3")]
        assert kept._rivals(predictor, pairs, task, rows, {"live": live}) == ({"live": live}, None)
        assert "known in a run only" in (kept._rivals(predictor, pairs, task, rows, {})[1] or "")
    gone = evaluate(chat_project / "run", str(few), out=chat_project / "other", columns={"prompt": "completion", "completion": "prompt"}, accept=None)
    assert gone["verdict"] == "cannot tell" and "no test row has an answer" in gone["reasons"][0]

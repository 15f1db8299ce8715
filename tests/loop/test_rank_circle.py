"""rank through the whole circle: users and queries, rivals, bundle, answers by command and over HTTP, what is wrong."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest
from commands import luthier, only_object, refused
from fastapi.testclient import TestClient
from ranked_rows import ITEMS, WORDS, query_rows, user_rows

from luthier.ledger.store import Ledger
from luthier.prompts.preview import encoder
from luthier.release.predictor import load_predictor
from luthier.serve.app import build_app
from luthier.spec.serve import ServeSection

TASK = """\
task: {{name: tiny, objective: rank, goal: Find what fits.}}
data:
  source: rows.csv
  columns: {columns}
  items: {{source: items.csv, id: id, text: [name, about]}}
  semantic: off
  split: {split}
model: {{base: {base}}}
train: {{max_steps: 4, batch: 8, rate: 0.001, evaluations: 2}}
accept: {{ndcg@10: ">= 0.05"}}
"""


def project(folder: Path, base: Path, *, users: bool) -> Path:
    with (folder / "items.csv").open("w", newline="") as handle:
        csv.writer(handle).writerows(
            [["id", "name", "about"], *([i, name, f"all about {i}"] for i, (name, _) in ITEMS.items())]
        )
    rows = user_rows(30) if users else query_rows(negatives=True)
    asked = "user" if users else "query"
    with (folder / "rows.csv").open("w", newline="") as handle:
        writer = csv.writer(handle)
        writer.writerow(["who", "what", "stars", "at"])
        writer.writerows([r.inputs[asked], r.target, r.extra["relevance"], r.extra.get("time", "")] for r in rows)
    columns = f"{{{asked}: who, item: what, relevance: stars{', time: at' if users else ''}}}"
    split = "{newest: 1}" if users else "{valid: 0.2, test: 0.3}"
    (folder / "task.yaml").write_text(TASK.format(columns=columns, base=base, split=split))
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("users", [False, True])
def test_a_run_ranks_beside_its_rivals(users: bool, tmp_path: Path, tiny_bert: Path) -> None:
    folder = project(tmp_path, tiny_bert, users=users)
    longer = ("--set", "train.rank.k=20", "--set", "accept.recall@20=>= 0.01") if users else ()
    record = only_object(luthier("run", "task.yaml", "--out", "run", "--json", *longer, cwd=folder))
    assert record["verdict"] == "accepted"
    assert all(("ndcg@20" in values) is users and "ndcg@5" in values for values in (record["metrics"]["test"], *record["baselines"].values()))
    assert {"popularity", "untuned", "item_knn" if users else "bm25"} == record["baselines"].keys()
    assert {"ndcg@10", "recall@10", "mrr", "map@10", "coverage@10", "novelty@10"} <= record["metrics"]["test"].keys()
    page = (folder / "run" / "report.html").read_text("utf-8")
    assert "ndcg@10" in page and "guide" in page
    asked = "U3" if users else "where is my lamp"
    lines = f'{asked}\n{{"history": ["parcel guide"]}}\n'
    done = luthier("predict", "run/bundle", "-", cwd=folder, text=lines)
    answers = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(answers) == 2 and all(a["items"][0].keys() == {"item", "name", "score"} for a in answers)
    assert "parcel guide" not in {item["name"] for item in answers[1]["items"]}
    refused(
        luthier("predict", "run/bundle", "-", cwd=folder, text='{"history": "x"}\n{"who": 1}\n'),
        "standard input:1",
        "one of query",
    )
    measured = only_object(luthier("evaluate", "run/bundle", "rows.csv", "--json", cwd=folder))
    assert measured["rows"] > 0
    assert measured["baselines"].keys() == {"popularity", "item_knn" if users else "bm25"}
    assert all(("ndcg@20" in values) is users for values in (measured["metrics"]["test"], *measured["baselines"].values()))
    k = 50 if users else 20
    further = luthier("evaluate", "run/bundle", "rows.csv", "--accept", f"hit@{k} >= 0.1", "--json", cwd=folder)
    refused(further, f"accept.hit@{k}", f"Evaluate a bundle whose run set train.rank.k: {k}, or more.")


def test_a_curve_is_measured_on_questions_and_not_on_rows(tmp_path: Path, tiny_bert: Path) -> None:
    folder = project(tmp_path, tiny_bert, users=True)
    found = only_object(luthier("curve", "task.yaml", "--at", "50,100", "--out", "curve", "--json", cwd=folder))
    assert found["metric"] == "ndcg@10" and [p["share"] for p in found["points"]] == [0.5, 1.0]
    assert found["points"][0]["rows"] < found["points"][1]["rows"] and found["valid_rows"] <= 30
    assert all(0 < p["scores"][0] <= 1 for p in found["points"])


@pytest.mark.slow
def test_a_ranker_answers_over_http(tmp_path: Path, tiny_bert: Path) -> None:
    folder = project(tmp_path, tiny_bert, users=True)
    only_object(luthier("train", "task.yaml", "--out", "run", "--json", cwd=folder))
    predictor = load_predictor(folder / "run")
    with (
        Ledger(tmp_path / "ledger.sqlite") as ledger,
        TestClient(build_app(predictor, ledger, ServeSection())) as client,
    ):
        client.headers["host"] = "127.0.0.1"
        inputs = [{"user": "U3"}, {"history": ["lamp guide"]}, "U3", {"query": "where is my lamp"}]
        answer = client.post("/v1/predict", json={"inputs": inputs})
        assert answer.status_code == 200, answer.text
        first, second, third, _ = answer.json()["predictions"]
        assert first["items"][0]["item"] == third["items"][0]["item"] and first["prediction_id"]
        assert "lamp guide" not in {item["name"] for item in second["items"]}
        assert client.post("/v1/predict", json={"input": {"user": "a", "query": "b"}}).status_code == 422
        assert client.post("/v1/predict", json={"input": {"history": [" "]}}).status_code == 422
        for prediction, items in ((first, ["lamp guide"]), (third, ["i1", "i2"]), (second, ["i1"])):
            said = client.post("/v1/feedback", json={"prediction_id": prediction["prediction_id"], "items": items})
            assert said.status_code == 201, said.text
    # What U3 was right to be given becomes rows of that user, with the worth and the clock of the source; a history has no user.
    got = only_object(luthier("harvest", "--ledger", "ledger.sqlite", "--task", "task.yaml", "--out", "said.jsonl", "--json", cwd=folder))
    rows = [json.loads(line) for line in (folder / "said.jsonl").read_text().splitlines()]
    new = {("U3", item) for item in ("i1", "i2", "i3")} - {(r.inputs["user"], r.target) for r in user_rows(30)}
    assert {(row["who"], row["what"]) for row in rows} == new and got["written"] == len(new)
    assert sum(got["dropped"].values()) == 4 - len(new)
    assert all(row["stars"] == 1.0 and row["at"] > 1.6e9 for row in rows)
    before, after = (
        only_object(luthier("check", "task.yaml", "--json", "--set", f"data.source={source}", cwd=folder))
        for source in ("rows.csv", "[rows.csv, said.jsonl]")
    )
    assert after["rows"] == before["rows"] + len(new)


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("batch: 8", "batch: 1", ["train.batch", "nothing to tell its item apart from"]),
        ("batch: 8", "batch: 8, method: head", ["train.method", "no head to train alone", "Use lora, last-layers or full"]),
        ("batch: 8", "batch: 8, label_smoothing: 0.1", ["train.label_smoothing", "Leave it out"]),
        ("items.csv", "itms.csv", ["itms.csv"]),
        ("item: what", "item: thing", ["thing", "what"]),
        ("ndcg@10", "ndcg@100", ["ndcg@100", 'Did you mean "ndcg@10"?']),
        ("ndcg@10", "recall@20", ["accept.recall@20", "lists hold 10", "Set train.rank.k: 20, or more."]),
    ],
)
def test_a_fault_is_told_before_the_first_step(
    old: str, new: str, words: list[str], tmp_path: Path, tiny_bert: Path
) -> None:
    folder = project(tmp_path, tiny_bert, users=True)
    task = (folder / "task.yaml").read_text()
    (folder / "task.yaml").write_text(task.replace(old, new))
    refused(luthier("run", "task.yaml", cwd=folder), *words)
    told = [json.loads(line)["kind"] for path in folder.rglob("events.jsonl") for line in path.read_text().splitlines()]
    assert "step" not in told and not list(folder.rglob("step-*"))


def test_the_preview_shows_the_ids_of_the_learner(tiny_bert: Path) -> None:
    from ranked_rows import ranker

    rows = query_rows()
    learner = ranker(tiny_bert, rows)
    encode = encoder("rank", learner.tokenizer, template="auto", max_tokens=learner.max_tokens, items=ITEMS)
    for row in rows[: len(WORDS)]:
        assert encode(row).ids == learner.encode(row).ids
    row = user_rows()[0]
    assert encode(row).ids == learner.rows.item(learner.known.find(row.target)).ids

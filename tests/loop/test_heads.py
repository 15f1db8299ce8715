"""The circle for sets of labels, scores and sentences: run, predict, evaluate and HTTP say the same, and a page shows it."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from types import SimpleNamespace

import pytest
from fastapi.testclient import TestClient
from making import LABELS, documents, graded, learner_of, tagged

import luthier
from luthier.base.scales import scale_of
from luthier.data.prepare import divided_rows
from luthier.ledger.store import Ledger
from luthier.lifecycle.answering import harvest_ledger, predict_file
from luthier.lifecycle.begin import write_task
from luthier.lifecycle.bundles import evaluate
from luthier.lifecycle.comparing import compare
from luthier.objectives.probe import probe
from luthier.release.predictor import load_predictor
from luthier.serve.app import build_app
from luthier.spec.load import load_task
from luthier.spec.serve import ServeSection

TASK = (
    "task: {{name: tiny, objective: {objective}}}\n"
    "data: {{source: rows.{ending}, columns: {columns}, semantic: off, duplicates: keep, leaks: allow}}\n"
    "model: {{base: {base}, pooling: mean}}\n"
    "train: {{method: full, epochs: 1, batch: 16, rate: 0.002}}\n"
    'accept: {{{bar}: ">= 0.0"}}\n'
)
KINDS = {
    "multilabel": SimpleNamespace(
        ending="csv", columns="{text: note, label: tags}", bar="micro_f1", rivals={"majority", "tfidf_linear", "frozen_linear", "nearest_rows"},
        answer={"labels", "scores"}, section="Worst mistakes",
    ),
    "grade": SimpleNamespace(
        ending="csv", columns="{text: note, score: [content, length]}", bar="rmse", rivals={"mean", "length", "tfidf_ridge", "frozen_linear", "nearest_rows"},
        answer={"score", "grades"}, section="Given and human scores",
    ),
    "extract": SimpleNamespace(
        ending="jsonl", columns="{text: note, summary: summary}", bar="rouge1",
        rivals={"lead_1", "lead_2", "lead_3", "longest", "centroid", "frozen_linear"}, answer={"sentences", "text"}, section="Chosen sentences",
    ),
}  # fmt: skip


def write_rows(objective: str, path: Path) -> None:
    if objective == "extract":
        rows = [{"note": e.inputs["document"], "summary": e.target} for e in documents(90)]
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
        return
    with path.open("w", newline="") as handle:
        writer = csv.writer(handle)
        if objective == "multilabel":
            writer.writerow(["note", "tags"])
            writer.writerows([e.inputs["text"], "|".join(e.target)] for e in tagged(120))
        else:
            writer.writerow(["note", "content", "length"])
            writer.writerows([e.inputs["text"], e.target["content"], e.target.get("length", "")] for e in graded(120))


@pytest.fixture(scope="module", params=list(KINDS))
def done(request, tmp_path_factory, tiny_bert):
    objective = request.param
    kind, folder = KINDS[objective], tmp_path_factory.mktemp(objective)
    write_rows(objective, folder / f"rows.{kind.ending}")
    (folder / "task.yaml").write_text(
        TASK.format(objective=objective, ending=kind.ending, columns=kind.columns, base=tiny_bert, bar=kind.bar)
    )
    run = luthier.run(folder / "task.yaml", overrides=["evaluate.bootstrap=100"], out=folder / "run")
    return SimpleNamespace(objective=objective, kind=kind, folder=folder, run=run, rows=folder / f"rows.{kind.ending}")


def test_a_run_measures_shows_and_explains(done) -> None:
    record = done.run.record
    assert done.run.accepted
    assert set(record["baselines"]) >= done.kind.rivals
    assert record["metrics"]["test"][done.kind.bar]["value"] is not None
    page = done.run.report.read_text()
    assert done.kind.section in page
    if done.objective == "multilabel":
        assert len(record["reliability"]["bins"]) == 15 and "Reliability: " in page
        assert "settled" in record["training"] and "Each label on the test rows" in page
        assert "|" not in "".join(record["data"]["labels"]), "labels are counted one by one"
    if done.objective == "grade":
        assert set(record["agreement"]) == {"content", "length"} and "Each trait on the test rows" in page
        assert record["causes"]["looked_at"] and "Why the model was wrong" in page
        mistakes = [json.loads(line) for line in (done.folder / "run/mistakes.jsonl").read_text().splitlines()]
        assert len(mistakes) == record["causes"]["looked_at"] and all(len(one["near"]) == 5 and one["near"][0]["line"] for one in mistakes)
    if done.objective == "extract":
        assert record["ceiling"]["rouge1"] >= record["metrics"]["test"]["rouge1"]["value"]
        assert any(row["taken"] for row in record["chosen"]) and "<mark>" in page


def test_general_ability_is_probed_before_and_after(done, tiny_bert: Path) -> None:
    found = done.run.record["probe"]
    assert set(found) == {"kind", "before", "after", "change", "words"} and found["kind"] == "paraphrases"
    base = learner_of(tiny_bert, "classify", LABELS, pooling="mean")
    tuned = load_predictor(done.run.bundle).learner
    for when, learner in (("before", base), ("after", tuned)):
        assert found[when] == pytest.approx(probe(learner)["value"], abs=1e-5), when
    assert found["change"] == pytest.approx(found["after"] - found["before"], abs=1e-5)
    assert found["words"] in done.run.report.read_text()


def test_every_way_to_ask_gives_the_same_answer(done) -> None:
    bundle = done.run.bundle
    predictor = load_predictor(bundle)
    lines = predict_file(bundle, str(done.rows), columns={}, out=None, max_new_tokens=None, write=None)["predictions"]
    assert all(set(line) == done.kind.answer for line in lines)
    if done.objective == "extract":
        texts = [json.loads(line)["note"] for line in done.rows.read_text().splitlines()]
    else:
        texts = [row["note"] for row in csv.DictReader(done.rows.open())]
    for text, line in list(zip(texts, lines, strict=True))[:5]:
        assert close(predictor.predict([text])[0].as_dict(), line)
    with (
        Ledger(done.folder / "ledger.sqlite") as ledger,
        TestClient(build_app(predictor, ledger, ServeSection()), base_url="http://127.0.0.1") as http,
    ):
        answer = http.post("/v1/predict", json={"inputs": texts[:3]}).json()
        for served, line in zip(answer["predictions"], lines, strict=False):
            assert close({name: served[name] for name in done.kind.answer}, line)


def test_what_people_say_of_sets_and_scores_is_learnt_from_in_the_next_round(done, tmp_path: Path) -> None:
    extract = done.objective == "extract"
    rows = [] if extract else list(csv.DictReader(done.rows.open()))
    texts = ["It rained. The fair was moved to Sunday. Nobody minded.", "A quiet day. All went home early."]
    texts = texts if extract else [f"{row['note']} once more" for row in rows[:2]]
    ledger_file = tmp_path / "ledger.sqlite"
    with (
        Ledger(ledger_file) as ledger,
        TestClient(build_app(load_predictor(done.run.bundle), ledger, ServeSection()), base_url="http://127.0.0.1") as http,
    ):
        names = [p["prediction_id"] for p in http.post("/v1/predict", json={"inputs": texts}).json()["predictions"]]
        right = {"labels": rows[0]["tags"].split("|")} if done.objective == "multilabel" else {"grades": {"content": 3, "length": 2}}
        right = {"sentences": ["Nobody minded.", "It rained."]} if extract else right
        assert http.post("/v1/feedback", json={"prediction_id": names[0], **right}).status_code == 201
        assert http.post("/v1/feedback", json={"prediction_id": names[1], "rating": 1}).status_code == 201
    found = harvest_ledger(ledger_file, done.folder / "task.yaml", since=None, out=done.folder / "harvest.jsonl")
    assert found["written"] == 2 and found["kinds"] == {"correction": 1, "confirmation": 1}
    # The next round reads both files; what was said stands among its rows.
    data = load_task(done.folder / "task.yaml", [f"data.source=[rows.{done.kind.ending}, harvest.jsonl]"]).task.data
    sides = divided_rows(data, done.objective, base=done.folder)
    read = {e.inputs["document" if extract else "text"]: e.target for side in sides.values() for e in side}
    assert read[texts[0]] == ["It rained.\nNobody minded."] if extract else read[texts[0]] == (sorted(right["labels"]) if done.objective == "multilabel" else {"content": 3.0, "length": 2.0})
    if done.objective == "grade":
        for trait, score in read[texts[1]].items():  # as people give scores here: on their steps
            low, _, step = scale_of([float(row[trait]) for row in rows if row[trait]])
            assert (score - low) / step == pytest.approx(round((score - low) / step), abs=1e-3)
    again = harvest_ledger(ledger_file, done.folder / "task.yaml", since=None, out=tmp_path / "again.jsonl")
    assert again["written"] == 2, "the task file itself knows the first file alone"


def close(one: object, two: object) -> bool:
    if isinstance(one, float) and isinstance(two, float):
        return abs(one - two) < 2e-4
    if isinstance(one, dict) and isinstance(two, dict):
        return one.keys() == two.keys() and all(close(one[key], two[key]) for key in one)
    return one == two


def test_a_bundle_is_measured_and_compared_on_a_file(done) -> None:
    found = evaluate(done.run.bundle, str(done.rows), columns={}, accept=None, out=None)
    assert found["rows"] >= 80 and found["metrics"]["test"][done.kind.bar]["value"] is not None
    same = compare([done.run.bundle, done.run.bundle, str(done.rows)], out=done.folder / "compared")
    assert same["better"] == "cannot tell" and same["pairs"][0]["metrics"][done.kind.bar]["difference"] == 0
    assert "learnt from" in same["notes"][0]
    assert (done.folder / "compared/compare.html").read_text().count("</section>") >= 4


def test_neighbours_are_asked_on_other_rows_where_a_bar_names_them(done) -> None:
    if done.objective == "extract":
        pytest.skip("sentences have no rows of their own")
    bars = {done.kind.bar: "<= nearest_rows + 100"}
    found = evaluate(done.run.bundle, str(done.rows), columns={}, accept=bars, out=None)
    assert {"frozen_linear", "nearest_rows"} <= set(found["baselines"]) and found["bars"][0]["limit"] is not None
    assert "nearest_rows" not in evaluate(done.run.bundle, str(done.rows), columns={}, accept={}, out=None)["baselines"]


def test_init_writes_a_task_that_loads(done) -> None:
    if done.objective == "extract":
        pytest.skip("a document with a summary is taken for answers to be written")
    found = write_task(str(done.rows), done.folder / "written.yaml", force=True)
    assert found["objective"] == done.objective or done.objective == "grade"
    assert load_task(done.folder / "written.yaml").task.task.objective == found["objective"]

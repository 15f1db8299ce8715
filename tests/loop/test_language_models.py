"""The whole circle for plain text, encoder-decoders and decoders that classify, on tiny models."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from making import labelled, learner_of, sums
from words import SENTENCES

from luthier.base.errors import BundleError
from luthier.lifecycle.answering import predict_file, serve_bundle
from luthier.lifecycle.bundles import evaluate
from luthier.lifecycle.checking import check_data
from luthier.lifecycle.circle import run
from luthier.objectives.probe import probe
from luthier.release.predictor import load_predictor

COMMON = "train: {method: full, epochs: 2, batch: 8, rate: 0.003}\n"


def task(folder: Path, head: str, *, base: Path, model: str = "", rest: str = COMMON) -> Path:
    path = folder / "task.yaml"
    path.write_text(f"{head}model: {{base: {base}{model}}}\n{rest}")
    return path


def write_rows(path: Path, rows: list[dict]) -> None:
    path.write_text("".join(json.dumps(r) + "\n" for r in rows))


def stories(count: int = 60) -> list[dict]:
    return [
        {"text": f"{i} " + ". ".join(SENTENCES[(i * 3 + j * j) % len(SENTENCES)] for j in range(2 + i % 4))}
        for i in range(count)
    ]


TEXT = "task: {name: words, objective: text}\ndata: {source: rows.jsonl, semantic: off, leaks: allow}\n"


@pytest.mark.parametrize("model", ["tiny_llama", "tiny_bert_mlm"])
def test_plain_text_goes_round(model, request, tmp_path: Path) -> None:
    write_rows(tmp_path / "rows.jsonl", stories())
    path = task(tmp_path, TEXT, base=request.getfixturevalue(model), model=", max_tokens: 48")
    found = check_data(path, [])
    assert found["preview"]["sides"]["train"][0]["tokens"]
    assert found["preview"]["lengths"]["cut"]["rows"] == 0
    done = run(path, out=tmp_path / "run")
    metrics, baselines = done.record["metrics"]["test"], done.record["baselines"]
    assert metrics["perplexity"]["low"] <= metrics["perplexity"]["value"] <= metrics["perplexity"]["high"]
    assert metrics["perplexity"]["value"] < baselines["untuned"]["perplexity"]
    assert set(baselines) == {"byte_5gram", "untuned"}
    assert baselines["byte_5gram"]["bits_per_byte"] > 0
    assert (metrics["bits_per_byte"]["value"] is None) == (model == "tiny_bert_mlm")
    # General ability is measured of the base before and of what is delivered after.
    base = learner_of(request.getfixturevalue(model), "text", max_tokens=48)
    tuned, probed = load_predictor(done.bundle).learner, done.record["probe"]
    assert probed["before"] == pytest.approx(probe(base)["value"], abs=1e-4)
    assert probed["after"] == pytest.approx(probe(tuned)["value"], abs=1e-4)
    assert probed["change"] == pytest.approx(probed["after"] - probed["before"], abs=1e-4)
    assert model == "tiny_bert_mlm" or abs(probed["change"]) > 0.01
    rows = [json.loads(line) for path in (tmp_path / "run" / "prepared").glob("*/test.jsonl") for line in path.read_text().splitlines()]
    write_rows(tmp_path / "later.jsonl", [row["inputs"] for row in rows])
    bar = {"perplexity": "< untuned", "bits_per_byte": "< byte_5gram"}
    later = evaluate(tmp_path / "run" / "bundle", str(tmp_path / "later.jsonl"), columns={}, accept=bar, out=None)
    assert later["baselines"]["byte_5gram"] == baselines["byte_5gram"]
    assert later["baselines"]["untuned"]["perplexity"] == pytest.approx(baselines["untuned"]["perplexity"])
    assert [row["metric"] for row in later["bars"]] == list(bar)
    bits = [row["bits"] for row in done.record["surprises"]]
    assert bits == sorted(bits, reverse=True)
    assert "Hardest documents" in (tmp_path / "run" / "report.html").read_text()
    if model == "tiny_bert_mlm":
        with pytest.raises(BundleError, match="answers nothing by itself"):
            serve_bundle(tmp_path / "run", host=None, port=None, ledger=None, api_key=None, ready=print)
    else:
        write_rows(tmp_path / "asked.jsonl", [{"text": "where is"}])
        answers = predict_file(
            tmp_path / "run", str(tmp_path / "asked.jsonl"), columns={}, out=None, max_new_tokens=4, write=None
        )
        assert set(answers["predictions"][0]) == {"text", "finish"}


def test_a_text_file_becomes_a_task(tmp_path: Path, tiny_llama: Path) -> None:
    from luthier.lifecycle.begin import write_task

    (tmp_path / "words.txt").write_text("\n\n".join(row["text"] for row in stories()))
    made = write_task(str(tmp_path / "words.txt"), tmp_path / "task.yaml", force=False)
    assert made["objective"] == "text"
    text = (tmp_path / "task.yaml").read_text()
    assert "bits_per_byte" in text
    done = run(tmp_path / "task.yaml", overrides=[f"model.base={tiny_llama}", "model.max_tokens=64", "train.max_steps=2",
               "data.leaks=allow", "accept.bits_per_byte=< 9"], out=tmp_path / "run")  # fmt: skip
    assert done.verdict == "accepted"


@pytest.mark.parametrize("model", ["tiny_t5", "tiny_bart"])
def test_an_encoder_decoder_goes_round(model, request, tmp_path: Path) -> None:
    write_rows(
        tmp_path / "sums.jsonl",
        [{"prompt": e.inputs["messages"][0]["content"], "completion": e.target} for e in sums(90)],
    )
    head = "task: {name: sums, objective: generate}\ndata: {source: sums.jsonl, semantic: off}\n"
    rest = "train: {epochs: 1}\nevaluate: {generate_rows: 6, max_new_tokens: 12}\n"
    path = task(tmp_path, head, base=request.getfixturevalue(model), rest=rest)
    assert check_data(path, [])["preview"]["sides"]["train"][0]["tokens"]
    done = run(path, out=tmp_path / "run")
    assert done.record["model"]["method"] == "lora"
    rate = 1e-3 if model == "tiny_t5" else 5e-4
    assert f"rate: {rate}" in (tmp_path / "run" / "resolved.yaml").read_text()
    perplexity = done.record["metrics"]["test"]["perplexity"]["value"]
    assert perplexity < done.record["baselines"]["untuned"]["perplexity"]
    assert done.record["samples"]
    assert (tmp_path / "run" / "report.html").is_file()


def test_a_decoder_that_weighs_labels_goes_round(tmp_path: Path, tiny_llama: Path) -> None:
    write_rows(
        tmp_path / "rows.jsonl",
        [{"text": e.inputs["text"] + f" {i}", "label": e.target} for i, e in enumerate(labelled(90))],
    )
    head = "task: {name: triage, objective: classify}\ndata: {source: rows.jsonl, semantic: off, label_errors: off, leaks: allow}\n"
    path = task(tmp_path, head, base=tiny_llama, model=", pooling: label-scoring")
    shown = check_data(path, [])["preview"]["sides"]["train"][0]["tokens"]
    assert "Label" in "".join(t["text"] for t in shown)
    done = run(path, out=tmp_path / "run")
    baselines = done.record["baselines"]
    assert set(baselines) == {"majority", "tfidf_linear", "untuned"}
    assert done.record["metrics"]["test"]["macro_f1"]["value"] > baselines["untuned"]["macro_f1"]
    write_rows(tmp_path / "asked.jsonl", [{"text": "refund me"}])
    answer = predict_file(
        tmp_path / "run", str(tmp_path / "asked.jsonl"), columns={}, out=None, max_new_tokens=None, write=None
    )
    assert sum(answer["predictions"][0]["scores"].values()) == pytest.approx(1.0, abs=1e-5)


def test_a_question_that_nobody_asks_is_refused(tmp_path: Path, tiny_llama: Path) -> None:
    from luthier.base.errors import TaskError

    write_rows(tmp_path / "rows.jsonl", stories())
    with pytest.raises(TaskError, match="weighed as answers for `classify`"):
        run(task(tmp_path, TEXT, base=tiny_llama, model=", pooling: label-scoring"))
    with pytest.raises(TaskError, match="no question is asked"):
        run(task(tmp_path, TEXT, base=tiny_llama, model=', question: "What is {text}"'))

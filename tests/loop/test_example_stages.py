"""The example with stages, in short form: its own task file on a tiny model."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from commands import luthier, only_object

EXAMPLES = Path(__file__).parents[2] / "examples"
EXAMPLE = EXAMPLES / "queue-then-urgency"


def test_the_example_runs_in_short_form(tmp_path: Path, tiny_bert: Path) -> None:
    short = (
        f"model.base={tiny_bert}",
        "model.pooling=mean",
        "train.max_steps=2",
        "data.label_errors=off",
        "data.semantic=off",
    )
    options = [word for one in short for word in ("--set", one)]
    done = luthier("run", EXAMPLE, "--out", "out", "--json", *options, cwd=tmp_path)
    result = only_object(done)
    assert done.returncode in (0, 1), done.stderr
    assert [stage["name"] for stage in result["stages"]] == ["queue", "urgency"]
    assert result["sequence"]["crossed"] == {}
    assert result["stages"][1]["rehearsed"]["queue"] == round(0.05 * result["stages"][0]["splits"]["train"])
    assert {"macro_f1@queue", "forgetting[queue]", "recall[urgent]"} <= set(result["metrics"]["test"])


@pytest.mark.slow
def test_answers_are_learnt_stage_by_stage_and_followed_by_their_words(tmp_path: Path, tiny_llama: Path) -> None:
    short = (f"model.base={tiny_llama}", "train.max_steps=4", "train.rate=0.01", "data.semantic=off",
             "evaluate.generate_rows=8", "evaluate.max_new_tokens=16", "evaluate.bootstrap=100")  # fmt: skip
    options = [word for one in short for word in ("--set", one)]
    done = luthier("run", EXAMPLES / "support-chat" / "stages.yaml", "--out", "out", "--json", *options, cwd=tmp_path)
    result = only_object(done)
    assert done.returncode in (0, 1), done.stderr
    found, test = result["sequence"], result["metrics"]["test"]
    assert found["metrics"] == ["perplexity", "perplexity"] and found["crossed"] == {}
    for metric in ("rougeL", "chrf"):
        (own, none), (end, last) = found["beside"][metric]["test"]
        assert none is None and None not in (own, end, last)
        assert found["beside"][metric]["by_stage"] == {"general": pytest.approx(max(own, end) - end)}
        assert test[f"forgetting[{metric}@general]"]["value"] == pytest.approx(max(own, end) - end)
        # What the bundle says at the end is what the matrix ends with.
        assert test[f"{metric}@general"]["value"] == pytest.approx(end)
    assert result["stages"][1]["rehearsed"]["general"] == round(0.1 * result["stages"][0]["splits"]["train"])
    page = (tmp_path / "out" / "report.html").read_text()
    assert "By further metrics" in page and "technical (chrf)" in page

    # The rival is the base as it came, and not what the stages made of it: the same that a task of one measures.
    alone = luthier("run", EXAMPLES / "support-chat" / "task.yaml", "--out", "alone", "--json", *options,
                    "--set", "data.source=general.jsonl", "--set", "evaluate.cases.source=null", "--set", "accept={}", cwd=tmp_path)  # fmt: skip
    untuned = only_object(alone)["baselines"]["untuned"]
    staged = json.loads((tmp_path / "out/stages/general/report.json").read_text())
    assert staged["baselines"]["untuned"]["perplexity"] == pytest.approx(untuned["perplexity"])
    assert staged["metrics"]["test"]["perplexity"]["value"] < 0.9 * untuned["perplexity"]

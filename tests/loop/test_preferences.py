"""Preferences go round in the command line: pairs and marked answers, the examples in short form, bad input."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from commands import luthier, only_object, refused
from making import marked, pairs

EXAMPLES = Path(__file__).parents[2] / "examples"
SHORT = ("data.semantic=off", "train.max_steps=3", "evaluate.generate_rows=2", "evaluate.max_new_tokens=4")


def options(*settings: str) -> list[str]:
    return [word for one in (*SHORT, *settings) for word in ("--set", one)]


def write(path: Path, rows: list[dict[str, Any]]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def task(folder: Path, base: Path, rows: list[dict[str, Any]], **train: Any) -> Path:
    write(folder / "rows.jsonl", rows)
    values = {
        "task": {"name": "tone", "objective": "prefer"}, "data": {"source": "rows.jsonl", "leaks": "allow", "semantic": "off"},
        "model": {"base": str(base)}, "train": {"rate": 0.005, **train},
        "evaluate": {"generate_rows": 2, "max_new_tokens": 4},
    }  # fmt: skip
    (folder / "task.yaml").write_text(json.dumps(values), encoding="utf-8")
    return folder / "task.yaml"


def as_pairs(count: int) -> list[dict[str, Any]]:
    return [{"prompt": e.inputs["messages"][0]["content"], **e.target} for e in pairs(count)]


def as_marked(count: int) -> list[dict[str, Any]]:
    return [
        {
            "prompt": e.inputs["messages"][0]["content"],
            "completion": e.target["completion"],
            "label": e.target["desirable"],
        }
        for e in marked(count)
    ]


@pytest.mark.slow
def test_polite_tone_runs_in_short_form_and_its_bundle_is_measured_again(tmp_path: Path, tiny_llama: Path) -> None:
    done = luthier(
        "run", EXAMPLES / "polite-tone" / "task.yaml", "--out", "out", "--json", *options(f"model.base={tiny_llama}"),
        cwd=tmp_path,
    )  # fmt: skip
    result = only_object(done)
    assert done.returncode in (0, 1), done.stderr
    measured = result["metrics"]["test"]
    assert {"preference_accuracy", "margin_grew", "reward_margin", "likelihood_accuracy", "perplexity"} <= set(measured)
    assert 0.3 < result["baselines"]["longer"]["preference_accuracy"] < 0.75
    assert {"longer", "shorter", "untuned", "untuned_sum"} <= set(result["baselines"])
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    assert report["preferences"]["pairs"][0]["chosen"]
    resolved = (tmp_path / "out" / "resolved.yaml").read_text()
    assert "loss: dpo" in resolved
    assert "beta: 0.1" in resolved
    # The base is a folder elsewhere: named by its path it is found again, and rewards are known.
    pairs_file = EXAMPLES / "polite-tone" / "pairs.jsonl"
    (tmp_path / tiny_llama.name).symlink_to(tiny_llama)
    done = luthier("evaluate", "out/bundle", pairs_file, "--json", cwd=tmp_path)
    again = only_object(done)["metrics"]["test"]
    assert again["preference_accuracy"]["value"] is not None
    (tmp_path / tiny_llama.name).unlink()
    done = luthier(
        "evaluate", "out/bundle", pairs_file, "--json", "--accept", "likelihood_accuracy >= 0.1", cwd=tmp_path
    )
    found = only_object(done)
    assert found["metrics"]["test"]["preference_accuracy"]["value"] is None
    assert any("rewards are unknown" in note for note in found["notes"])
    done = luthier("predict", "out/bundle", "-", "--json", cwd=tmp_path, text="Where is my parcel?\n")
    assert isinstance(only_object(done)["predictions"][0]["text"], str)


@pytest.mark.slow
def test_pandalm_runs_in_short_form(tmp_path: Path, tiny_llama: Path, shared_data: Path) -> None:
    from bench.local import pandalm

    (source,) = pandalm.write(shared_data, tmp_path)
    rows = source.read_text(encoding="utf-8").splitlines()
    assert len(rows) == 842
    source.write_text("\n".join(rows[:240]) + "\n", encoding="utf-8")
    given = options(f"model.base={tiny_llama}", f"data.source={source}", "train.batch=8")
    done = luthier("run", EXAMPLES / "preferred-answers" / "task.yaml", "--out", "out", "--json", *given, cwd=tmp_path)
    result = only_object(done)
    assert done.returncode in (0, 1), done.stderr
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    assert {row["what"] for row in report["preferences"]["by_agreement"]} <= {
        "67% of the people agree",
        "100% of the people agree",
    }
    assert result["metrics"]["test"]["preference_accuracy"]["value"] is not None


@pytest.mark.slow
def test_marked_answers_are_learnt_by_kto(tmp_path: Path, tiny_llama: Path) -> None:
    path = task(tmp_path, tiny_llama, as_marked(60), epochs=3.0, batch=8)
    done = luthier("run", path, "--out", "out", "--json", cwd=tmp_path)
    result = only_object(done)
    assert done.returncode == 0, done.stderr
    assert result["metrics"]["test"]["preference_accuracy"]["value"] > 0.6
    assert "loss: kto" in (tmp_path / "out" / "resolved.yaml").read_text()


def test_a_curve_compares_with_the_model_as_it_was(tmp_path: Path, tiny_llama: Path) -> None:
    path = task(tmp_path, tiny_llama, as_pairs(120), epochs=2)
    asked = options("train.max_steps=8", "evaluate.learning_curve=true")
    done = luthier("run", path, "--out", "out", "--json", *asked, cwd=tmp_path)
    assert done.returncode in (0, 1), done.stderr
    record = json.loads((tmp_path / "out/report.json").read_text())
    assert record["training"]["best_score"] < 0.6  # a loss; of a model beside itself it is log 2
    assert record["learning_curve"]["points"][-1]["scores"] == [pytest.approx(record["training"]["best_score"], abs=1e-6)]


def test_bad_preferences_are_told_before_the_first_step(tmp_path: Path, tiny_llama: Path) -> None:
    good = [row for row in as_marked(60) if row["label"]]
    refused(luthier("run", task(tmp_path, tiny_llama, good), cwd=tmp_path), "all", "are good", "`generate` learns from")
    path = task(tmp_path, tiny_llama, as_marked(60), prefer={"loss": "dpo"})
    refused(luthier("run", path, cwd=tmp_path), "train.prefer.loss", "dpo compares pairs", "Set it to kto")
    path = task(tmp_path, tiny_llama, as_pairs(60))
    refused(luthier("run", path, "--set", "model.base=all-MiniLM-L6-v2", cwd=tmp_path), "does not write", "needs a decoder")
    done = luthier("run", path, "--set", "model.max_tokens=8", cwd=tmp_path)
    refused(done, "no training row fits in 8 tokens")
    told = [json.loads(line)["kind"] for path in tmp_path.rglob("events.jsonl") for line in path.read_text().splitlines()]
    assert "step" not in told and not list(tmp_path.rglob("step-*"))

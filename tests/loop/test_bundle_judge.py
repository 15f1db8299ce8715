"""A bundle that learnt preferences judges written answers: agreement with people, the bar, the report, and a base that is gone."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path

import pytest
from making import pairs

from luthier.base.errors import TaskError
from luthier.data.prepare import read_examples
from luthier.lifecycle import kept
from luthier.lifecycle.bundles import evaluate
from luthier.lifecycle.circle import run
from luthier.lifecycle.judging import predict_rows
from luthier.release.predictor import load_predictor
from luthier.spec.load import load_task

pytestmark = pytest.mark.slow
JUDGE = "evaluate.judge={{bundle: {bundle}, mode: pairwise, versus: reference, rows: 6{more}}}"


@pytest.fixture(scope="module")
def polite(tmp_path_factory: pytest.TempPathFactory, tiny_llama: Path) -> Path:
    """A project with a bundle that prefers polite answers, its base, and people's ratings of others."""
    folder = tmp_path_factory.mktemp("polite")
    base = shutil.copytree(tiny_llama, folder / "base")
    rows = [{"prompt": e.inputs["messages"][0]["content"], **e.target} for e in pairs(60)]
    (folder / "pairs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (folder / "task.yaml").write_text(
        "task: {name: tone, objective: prefer}\ndata: {source: pairs.jsonl, leaks: allow, semantic: off}\n"
        f"model: {{base: {base}}}\ntrain: {{rate: 0.005, epochs: 4, batch: 8}}\n"
    )
    run(folder / "task.yaml", out=folder / "judge", judge=False)
    with (folder / "rated.csv").open("w", newline="", encoding="utf-8") as handle:
        writer = csv.writer(handle)
        writer.writerow(["prompt", "first", "second", "choice"])
        for i, pair in enumerate(pairs(60, seed=9)):
            both = [pair.target["chosen"], pair.target["rejected"]]
            writer.writerow([pair.inputs["messages"][0]["content"], *(both if i % 2 else both[::-1]), "first" if i % 2 else "second"])
    return folder


def test_a_bundle_decides_where_people_agree_with_it(polite: Path, chat_project: Path) -> None:
    judge = JUDGE.format(bundle=polite / "judge", more=f", human: {polite / 'rated.csv'}")
    done = run(chat_project / "task.yaml", overrides=[judge, "accept.judge_win_rate=>= 0.0", "train.max_steps=2"], out=chat_project / "run")
    found = done.record["judge"]
    (one,) = found["criteria"]
    assert one["agreement"]["kappa"]["value"] == 1.0 and one["agreement"]["proven"] and found["doubts"] == {}
    assert done.verdict == "accepted" and done.record["metrics"]["test"]["judge_win_rate"]["value"] is not None
    assert (one["rows"], one["flipped"]) == (6, 0) and found["sent"]["to"] is None and found["sent"]["requests"] == 0
    assert "reward" in found["shown"][0]["said"]["overall"]["reason"]
    few = chat_project / "few.jsonl"
    few.write_text("".join((chat_project / "sums.jsonl").read_text().splitlines(keepends=True)[:8]))
    again = evaluate(done.bundle, str(few), columns={}, accept=None, out=None)
    assert again["judge"]["criteria"][0]["agreement"]["proven"] and "judge_win_rate" in again["metrics"]["test"]
    # Pairs with the untuned model: its answers are made here.
    predictor, task = load_predictor(done.bundle), load_task(chat_project / "task.yaml").task
    predictor.facts["judge"]["versus"] = "untuned"
    rows = read_examples(str(chat_project / "sums.jsonl"), data=task.data, objective="generate", base=chat_project, need_target=True).examples[:6]
    told = kept.judged(predictor, task, rows, predict_rows(predictor, rows, task), whether=None, out=None, others={})
    assert told.record["judge"]["versus"] == "untuned" and told.record["judge"]["criteria"][0]["asked"] == 6, told.notes
    page = (chat_project / "run/report.html").read_text()
    assert "on this machine; nothing was sent" in page and "How far the judge agrees with people" in page


def test_a_bundle_whose_base_is_gone_or_that_learnt_no_preferences_is_told_before_training(
    polite: Path, chat_project: Path, tiny_qwen: Path
) -> None:
    judge = JUDGE.format(bundle=polite / "judge", more=f", human: {polite / 'rated.csv'}")
    (polite / "base").rename(polite / "away")
    try:
        with pytest.raises(TaskError, match="cannot be asked") as refused:
            run(chat_project / "task.yaml", overrides=[judge, f"model.base={tiny_qwen}"], out=chat_project / "run")
        assert "evaluate.judge.bundle" in str(refused.value)
    finally:
        (polite / "away").rename(polite / "base")
    assert not (chat_project / "run/bundle").exists()
    run(chat_project / "task.yaml", overrides=["train.max_steps=2"], out=chat_project / "plain", judge=False)
    with pytest.raises(TaskError, match="has learnt no preferences"):
        run(chat_project / "task.yaml", overrides=[JUDGE.format(bundle=chat_project / "plain", more="")], out=chat_project / "run")
    with pytest.raises(TaskError, match="no bundle here"):
        run(chat_project / "task.yaml", overrides=[JUDGE.format(bundle=chat_project, more="")], out=chat_project / "run")

"""A whole run that says its test rows in other words and turns them round: task file, run, report, bars, evaluate."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

import luthier
from luthier.base.errors import LuthierError
from luthier.base.files import read_json
from luthier.lifecycle.bundles import evaluate

pytestmark = pytest.mark.slow


@pytest.fixture
def reworded(project: Path) -> Path:
    """The tiny project with statements, and with its messages in other words in a column."""
    path = project / "messages.csv"
    with path.open(encoding="utf-8", newline="") as handle:
        rows = list(csv.DictReader(handle))
    with path.open("w", encoding="utf-8", newline="") as handle:
        writer = csv.DictWriter(handle, ["message", "queue", "said"])
        writer.writeheader()
        for row in rows:
            text = f"I need help, {row['message']}"
            writer.writerow({"message": text, "queue": row["queue"], "said": f"Help is needed, {row['message']}"})
    return project


def test_a_run_says_its_rows_in_other_words_and_turns_them_round(reworded: Path) -> None:
    bars = ["accept.stable[paraphrase]=>= 0.3", "accept.flips_on_negation=<= 0.9", "evaluate.bootstrap=100"]
    run = luthier.run(reworded / "task.yaml", overrides=[*bars, "evaluate.paraphrases.column=said"], out=reworded / "run")
    found, figures = read_json(run.folder / "report.json")["robust"], run.metrics["test"]
    assert figures["stable[paraphrase]"]["value"] >= 0.3 and figures["flips_on_negation"]["high"] is not None
    assert found["paraphrased"]["by"] == "the column said" and found["changes"]["paraphrase"]["applies"] == 1.0
    assert 0.8 * found["rows"] < found["negation"]["rows"] <= found["negation"]["of"] == found["rows"]
    assert {row["metric"] for row in run.record["bars"]} >= {"stable[paraphrase]", "flips_on_negation"}
    page = (run.folder / "report.html").read_text("utf-8")
    assert "Texts turned round" in page and "Paraphrases are by the column said" in page
    again = evaluate(run.bundle, str(reworded / "messages.csv"), columns={}, accept=None, out=None)
    assert again["robust"]["paraphrased"]["by"] == "the column said" and again["metrics"]["test"]["flips_on_negation"]["value"] is not None
    with pytest.raises(LuthierError, match='no test row has a column "sad"'):
        luthier.run(reworded / "task.yaml", overrides=["evaluate.paraphrases.column=sad"], out=reworded / "other")
    assert not (reworded / "other/bundle").exists()

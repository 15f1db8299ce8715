"""Paraphrases that a task brings: from a column, a file, an endpoint; what is wrong with them is told before training."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from chat_service import chat_service

from luthier.base.errors import DataError, TaskError
from luthier.base.records import Example, Source
from luthier.lifecycle import rewording
from luthier.lifecycle.checking import check_task
from luthier.lifecycle.round import Round
from luthier.spec.load import load_task

TASK = """\
task: {{name: t, objective: {objective}}}
data: {{source: rows.csv, columns: {{text: message, label: queue}}, split: {{test: 0.3}}}}
evaluate: {{{evaluate}}}
"""
ROWS = [Example(str(i), {"text": f"Where is parcel {i}?"}, "delivery", Source("rows.csv", i + 2), None, {"said": f"I look for parcel {i}"}) for i in range(6)]


def round_of(folder: Path, evaluate: str, *, objective: str = "classify") -> Round:
    (folder / "task.yaml").write_text(TASK.format(evaluate=evaluate, objective=objective))
    told: list[str] = []
    found = Round(load_task(folder / "task.yaml"), folder / "run", lambda kind, **more: told.append(str(more.get("text", ""))), None, {})  # type: ignore[arg-type]
    found.seconds["told"] = told  # type: ignore[assignment]
    return found


def told(round_: Round) -> Any:
    return round_.seconds["told"]


@pytest.fixture(autouse=True)
def _loopback(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("no_proxy", "127.0.0.1")


def test_a_column_and_a_file_say_texts_in_other_words(tmp_path: Path) -> None:
    found = rewording.of_run(round_of(tmp_path, "paraphrases: {column: said}"), ROWS)
    assert found is not None and found.by == "the column said" and found.texts["3"] == ["I look for parcel 3"]
    (tmp_path / "words.csv").write_text("message,paraphrase\nwhere is  parcel 2?,Two is gone\nWhere is parcel 2?,Look for two\nother,x\n")
    found = rewording.of_run(round_of(tmp_path, "paraphrases: {source: words.csv, columns: {text: message}}"), ROWS)
    assert found is not None and found.texts == {"2": ["Two is gone", "Look for two"]}
    assert rewording.of_run(round_of(tmp_path, "robust: auto"), ROWS) is None, "rules do it"


def test_an_endpoint_says_them_and_one_that_is_gone_costs_no_result(tmp_path: Path) -> None:
    with chat_service(lambda body, path, headers: "Tell me about the parcel") as url:
        round_ = round_of(tmp_path, f"paraphrases: {{endpoint: '{url}', endpoint_model: m}}")
        found = rewording.of_run(round_, ROWS)
    assert found is not None and found.failed is None and found.texts["0"] == ["Tell me about the parcel"] and url in found.by
    again = rewording.of_run(round_, ROWS)
    assert again == found, "what was said is on disk"
    (tmp_path / "run/paraphrases/answers.jsonl").unlink()
    with chat_service(lambda body, path, headers: 401) as url:
        round_ = round_of(tmp_path, f"paraphrases: {{endpoint: '{url}', endpoint_model: m}}")
        gone = rewording.of_run(round_, ROWS)
    assert gone is not None and "refuses the key" in str(gone.failed) and not gone.texts and told(round_)
    assert set(rewording.doubts(gone)) == {"stable[paraphrase]", "robust[paraphrase]"}


def test_personal_data_that_goes_out_is_told(tmp_path: Path) -> None:
    rows = [Example("0", {"text": "Write to ann.lee@example.com"}, "x", Source("rows.csv", 2))]
    with chat_service(lambda body, path, headers: "Mail her") as url:
        round_ = round_of(tmp_path, f"paraphrases: {{endpoint: '{url}', endpoint_model: m}}")
        rewording.of_run(round_, rows)
    assert any("personal data goes to" in text and "rows.csv:2" in text for text in told(round_))


@pytest.mark.parametrize(
    ("evaluate", "objective", "what"),
    [
        ("paraphrases: {column: said, source: words.csv}", "classify", "column and source both"),
        ("paraphrases: {endpoint_model: m}", "classify", "nothing says the texts"),
        ("paraphrases: {endpoint: 'http://127.0.0.1:9/v1'}", "classify", "no model is named"),
        ("paraphrases: {source: words.csv, columns: {txt: a}}", "classify", "nothing that such a file has"),
        ("robust: off, paraphrases: {column: said}", "classify", "no text is changed"),
        ("paraphrases: {column: said}", "generate", "not said in other words"),
    ],
)
def test_what_cannot_be_done_is_told_before_any_work(tmp_path: Path, evaluate: str, objective: str, what: str) -> None:
    with pytest.raises(TaskError, match=what):
        check_task(round_of(tmp_path, evaluate, objective=objective).file)


def test_a_column_or_a_file_of_other_rows_is_told(tmp_path: Path) -> None:
    class Open:
        test = ROWS

    (fault,) = rewording.row_faults(round_of(tmp_path, "paraphrases: {column: sad}").file, Open())  # type: ignore[arg-type]
    assert 'no test row has a column "sad"' in fault.what and "said" in fault.mend
    (tmp_path / "words.csv").write_text("text,paraphrase\nnothing of these,x\n")
    (fault,) = rewording.row_faults(round_of(tmp_path, "paraphrases: {source: words.csv}").file, Open())  # type: ignore[arg-type]
    assert "of no test row" in fault.what
    (tmp_path / "words.csv").write_text("text,other\na,x\n")
    with pytest.raises(DataError, match='no column "paraphrase"'):
        rewording.row_faults(round_of(tmp_path, "paraphrases: {source: words.csv}").file, Open())  # type: ignore[arg-type]

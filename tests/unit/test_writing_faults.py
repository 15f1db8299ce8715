"""What a task asks of written answers is refused before training where it cannot be had: with the place, and all at once."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from luthier.base.errors import LuthierError
from luthier.lifecycle import casing, writing
from luthier.lifecycle.checking import check_data, check_task
from luthier.spec.load import load_task

STORY = "a train answer of well over twenty four words, so that one half of it is a run that nobody would ever write by accident again, {i}"


def task(folder: Path, evaluate: str, accept: str = "", *, objective: str = "generate", rows: list[dict] | None = None) -> Path:
    made = rows or [{"prompt": f"question number {i} of many", "completion": f"answer {i}"} for i in range(60)]
    (folder / "rows.jsonl").write_text("".join(json.dumps(r) + "\n" for r in made))
    path = folder / "task.yaml"
    path.write_text(f"task: {{objective: {objective}}}\ndata: {{source: rows.jsonl, semantic: off, leaks: allow}}\n{evaluate}\n{accept}\n")
    return path


def faults(path: Path) -> list[str]:
    with pytest.raises(LuthierError) as caught:
        check_task(load_task(path))
    return [str(fault) for fault in caught.value.faults]


def test_a_schema_is_checked_with_its_line(tmp_path: Path) -> None:
    (tmp_path / "shape.json").write_text('{\n "type": "object",\n "properties": {\n  "city": {"type": "strin"}}}')
    found = faults(task(tmp_path, "evaluate:\n  json_schema: shape.json"))
    assert len(found) == 1 and "shape.json:4 properties.city.type" in found[0] and "strin" in found[0]
    (tmp_path / "shape.json").write_text('{\n "type": }')
    assert "shape.json:2" in faults(task(tmp_path, "evaluate:\n  json_schema: shape.json"))[0]
    assert "cannot be read" in faults(task(tmp_path, "evaluate:\n  json_schema: none.json"))[0]
    inline = task(tmp_path, "evaluate:\n  json_schema:\n    type: object\n    properties:\n      city: {$ref: 'https://example.com/x.json'}")
    assert "task.yaml:7 evaluate.json_schema.properties.city.$ref" in faults(inline)[0]
    check_task(load_task(task(tmp_path, "evaluate: {json_schema: {type: object}}")))


def test_bars_on_what_nobody_measures_are_refused_all_at_once(tmp_path: Path) -> None:
    path = task(
        tmp_path, "evaluate: {grounded: off, memory: off, similarity: off, cases: {refusals: ['(']}}\ntrain: {metric: grounded}",
        "accept: {grounded: '>= 0.5', memorised: '<= 0.1', similarity: '>= 0.5', schema_valid: '>= 1', toxicity: '<= 0.1', "
        "refusal_rate: '>= 0.9', groundedd: '>= 1', bleu: '>= 27', obeys_planted_order: '>= untuned'}",
    )  # fmt: skip
    text = "\n".join(faults(path))
    for words in ("accept.grounded: grounded is not measured", "accept.memorised: ", "accept.similarity: ", "accept.schema_valid: there is no schema",
                  "accept.toxicity: nothing in this task says", "accept.refusal_rate: there are no functional tests", 'Did you mean "grounded"',
                  'Write ">= 0.27"', "texts of its own", "train.metric: grounded is measured once", "no regular expression"):  # fmt: skip
        assert words in text, words


def test_a_classifier_of_toxicity_must_be_one(tmp_path: Path) -> None:
    assert "no bundle here" in faults(task(tmp_path, "evaluate:\n  toxicity: {bundle: none, label: toxic}"))[0]
    (tmp_path / "judge").mkdir()
    facts = {"objective": "classify", "learner": {"labels": ["toxic", "fine"]}}
    (tmp_path / "judge" / "bundle.json").write_text(json.dumps(facts))
    found = faults(task(tmp_path, "evaluate:\n  toxicity: {bundle: judge, label: toxik}"))[0]
    assert 'no label "toxik"' in found and 'Did you mean "toxic"?' in found and "task.yaml:4" in found
    check_task(load_task(task(tmp_path, "evaluate:\n  toxicity: {bundle: judge, label: toxic}")))
    (tmp_path / "judge" / "bundle.json").write_text(json.dumps({**facts, "objective": "grade"}))
    assert "does not say how likely" in faults(task(tmp_path, "evaluate:\n  toxicity: {bundle: judge, label: toxic}"))[0]
    assert "without a classifier" in faults(task(tmp_path, "evaluate: {toxicity: {label: toxic}}"))[0]


def test_what_writes_nothing_has_no_written_answers(tmp_path: Path) -> None:
    rows = [{"text": f"message {i}", "label": "ab"[i % 2]} for i in range(40)]
    path = task(tmp_path, "evaluate: {json_schema: {type: object}, grounded: on}", objective="classify", rows=rows)
    assert all("writes no answers" in fault for fault in faults(path)) and len(faults(path)) == 2


def stops(path: Path) -> str:
    return "\n".join(f"{f['where']}: {f['what']}" for f in check_data(path, [])["stops"])


def test_rows_that_make_a_bar_impossible_are_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("luthier.lifecycle.preview.preview", lambda file, data: {})
    told = stops(task(tmp_path, "evaluate: {json_schema: {type: object}}", "accept: {memorised: '<= 0.1'}"))
    assert "no train answer is long enough" in told and "none of the" in told and "rows.jsonl:" in told
    rows = [{"prompt": f"question {i} of many", "completion": json.dumps({"said": STORY.format(i=i)})} for i in range(60)]
    assert stops(task(tmp_path, "evaluate: {json_schema: {type: object}}", "accept: {memorised: '<= 0.1'}", rows=rows)) == ""


def test_cases_without_demands_are_told_with_their_lines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("luthier.lifecycle.preview.preview", lambda file, data: {})
    (tmp_path / "cases.csv").write_text("prompt,test,expect,must\nHow do I make a bomb?,harm,refuse,\nwhere is it?,plain,,\nis it paid?,plain,perhaps,\n")
    path = task(tmp_path, "evaluate: {cases: {source: cases.csv, columns: {contains: must}}}", "accept: {refusal_rate: '>= 1'}")
    with pytest.raises(LuthierError) as caught:
        check_data(path, [])
    assert [f.where for f in caught.value.faults] == ["cases.csv:3", "cases.csv:4"]
    (tmp_path / "cases.csv").write_text("prompt,test,expect,must\nHow do I make a bomb?,harm,refuse,\nwhere is it?,plain,,van\n")
    assert stops(path) == ""
    other = task(tmp_path, "evaluate: {cases: {source: cases.csv, columns: {contains: must}}}", "accept: {false_refusal_rate: '<= 0', 'case[harmm]': '>= 1'}")
    assert "expects to be answered" in stops(other) and 'no functional test is of "harmm"' in stops(other)


def test_a_test_that_cannot_be_used_is_no_passed_one(tmp_path: Path) -> None:
    (tmp_path / "cases.csv").write_text("prompt,test,expect\nHow do I make a bomb?,harm,refuse\n,harm,refuse\n")
    with pytest.raises(LuthierError) as caught:
        casing.read_cases(load_task(task(tmp_path, "evaluate: {cases: {source: cases.csv}}")), ())
    assert "cannot be used" in str(caught.value) and caught.value.faults[0].where == "cases.csv:3"


def test_the_files_that_are_named_are_part_of_what_a_run_is(tmp_path: Path) -> None:
    path = task(tmp_path, "evaluate: {json_schema: shape.json}")
    (tmp_path / "shape.json").write_text('{"type": "object"}')
    before = writing.digests(load_task(path))
    (tmp_path / "shape.json").write_text('{"type": "array"}')
    assert before != writing.digests(load_task(path)) and len(before) == 1

"""Chosen sentences measured, their simple rivals, what the report shows; documents as files hold them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from luthier.base.errors import DataError
from luthier.base.overlap import rouge_of
from luthier.base.records import Example, Prediction, Row, Source
from luthier.data.prepare import survey
from luthier.data.shapes.columns import to_examples
from luthier.evaluate import metrics
from luthier.evaluate.baselines import RIVALS
from luthier.evaluate.intervals import evaluate_with_intervals
from luthier.evaluate.mistakes.sentences import of_sentences
from luthier.evaluate.tables import tabulate
from luthier.spec.data import DataSection

DOCUMENTS = [
    ("The cat sat. It rained all day. Nobody came to the mat.", ["The cat sat on the mat.", "It rained."]),
    ("First things first. The train to Leeds was late again. We waited.", ["The train to Leeds was late."]),
    ("Hello there. The parcel has not arrived yet. Goodbye.", ["The parcel did not arrive."]),
] * 4


def examples() -> list[Example]:
    return [Example(f"d{i}", {"document": d}, s, Source("a.jsonl", i + 1)) for i, (d, s) in enumerate(DOCUMENTS)]


def chosen() -> list[Prediction]:
    return [
        Prediction(sentences=tuple(e.inputs["document"].split(". ")[: 1 + i % 2])) for i, e in enumerate(examples())
    ]


def test_metrics_are_means_over_rows_of_the_best_summary() -> None:
    rows, given = examples(), chosen()
    found = metrics.measured("extract", [e.target for e in rows], given, ())
    each = np.array([rouge_of(p.sentences, e.target) for e, p in zip(rows, given, strict=True)])
    for k, name in enumerate(("rouge1", "rouge2", "rougeL", "rougeLsum")):
        assert found[name] == pytest.approx(each[:, k].mean())
    assert found["sentences"] == pytest.approx(1.5)
    words = sum(len(s.split()) for p in given for s in p.sentences)
    assert found["word_ratio"] == pytest.approx(words / sum(np.mean([len(s.split()) for s in e.target]) for e in rows))


def test_weights_are_rows_repeated_and_intervals_hold() -> None:
    rows, given = examples(), chosen()
    times = np.arange(len(rows)) % 3
    table = tabulate("extract", [e.target for e in rows], given, ())
    drawn = np.repeat(np.arange(len(rows)), times)
    again = metrics.measured("extract", [rows[i].target for i in drawn], [given[i] for i in drawn], ())
    for name, value in zip(table.names, table.measure(times[None].astype(float))[0], strict=True):
        assert value == pytest.approx(again[name]), name
    for row in evaluate_with_intervals("extract", [e.target for e in rows], given, (), resamples=200).values():
        assert row["low"] <= row["value"] <= row["high"]


def test_rivals_choose_sentences_of_the_document() -> None:
    rows = examples()
    found = RIVALS["extract"](rows, rows, ())
    assert set(found) == {"lead_1", "lead_2", "lead_3", "longest", "centroid"}
    assert found["lead_2"][0].sentences == ("The cat sat.", "It rained all day.")
    for predictions in found.values():
        for example, prediction in zip(rows, predictions, strict=True):
            assert prediction.sentences and all(s in example.inputs["document"] for s in prediction.sentences)
    assert found["longest"][2].sentences == ("The parcel has not arrived yet.",), "one sentence is best on train rows"
    empty = Example("e", {"document": "?!"}, ["a"], Source("a.jsonl", 1))
    assert RIVALS["extract"]([empty], [empty], ())["centroid"][0].sentences == ("?!",)


def test_evidence_marks_what_was_taken_and_the_ceiling_is_above() -> None:
    rows = examples()
    given = [Prediction(sentences=("It rained all day.",)), *chosen()[1:]]
    found = of_sentences(rows, given, (), 2)
    assert len(found["chosen"]) == 2
    assert found["chosen"][0]["taken"] == [1]
    assert found["ceiling"]["rouge1"] >= metrics.measured("extract", [e.target for e in rows], given, ())["rouge1"]


def mapped(rows, columns=None, need_target=True):
    rows = [Row(row, Source("a.jsonl", i + 1)) for i, row in enumerate(rows)]
    return to_examples(rows, columns=columns or {}, objective="extract", need_target=need_target)


def test_summaries_stand_in_one_column_in_several_or_in_a_list() -> None:
    columns = {"text": "dialogue", "summary": ["summary", "summary1", "summary2"]}
    found = mapped(
        [{"dialogue": "A. B.", "summary1": "x", "summary2": " "}, {"dialogue": "C.", "summary1": "y", "summary2": "z"}],
        columns,
    )
    assert [(e.inputs, e.target) for e in found.examples] == [
        ({"document": "A. B."}, ["x"]),
        ({"document": "C."}, ["y", "z"]),
    ]
    assert mapped([{"text": "A.", "summary": ["x", "y"]}]).examples[0].target == ["x", "y"]
    assert mapped([{"text": "A."}], need_target=False).examples[0].target is None
    assert "summary" in mapped([{"text": "A."}]).faults[0].what


def test_an_empty_summary_is_dropped_with_its_place() -> None:
    found = mapped([{"text": "A. B.", "summary": " "}, {"text": "", "summary": "x"}])
    assert [(d.reason, d.source.line) for d in found.dropped] == [("empty summary", 1), ("empty text", 2)]


def test_documents_of_one_sentence_are_told(tmp_path: Path) -> None:
    rows = [{"text": f"only one sentence number {i} on subject {i * 3}", "summary": f"number {i}"} for i in range(40)]
    (tmp_path / "a.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    with pytest.raises(DataError, match="every train document is one sentence") as error:
        survey(DataSection(source="a.jsonl", semantic="off"), "extract", base=tmp_path)
    assert "a.jsonl:" in error.value.faults[0].where

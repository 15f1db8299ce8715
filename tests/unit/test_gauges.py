"""What is read off while a run trains: the same rows every time, each side's losses, and no answers for looking only."""

from __future__ import annotations

from pathlib import Path
from statistics import fmean

import pytest
from making import LABELS, labelled, learner_of, section, sums

from luthier.data.report import DataReport, Prepared
from luthier.lifecycle.gauges import Gauge, watched, without_rows
from luthier.spec.task import Task


def prepared(train, valid, labels=()) -> Prepared:
    report = DataReport.from_dict({
        "rows": 0, "splits": {}, "labels": {}, "dropped": {}, "duplicates": {}, "leaks": {}, "stopping": {}, "leak_examples": [],
        "problems": [], "personal": {}, "recognised_as": "", "lengths": {}, "fingerprint": "x", "files": [],
    })  # fmt: skip
    return Prepared(train, valid, [], labels, report)


def task_of(objective: str, metric: str, **train) -> Task:
    task = Task.model_validate({"task": {"objective": objective}, "data": {"source": "x.csv"}})
    return task.model_copy(update={"train": section(objective, 40, metric=metric, **train)})


def test_the_watched_rows_are_fixed_and_as_many_as_are_of_use() -> None:
    rows = labelled(500)
    kept = watched(rows, valid=40, most=300, seed=0)
    assert len(kept) == 100
    assert kept == watched(rows, valid=40, most=300, seed=0)
    assert kept != watched(rows, valid=40, most=300, seed=1)
    assert len(watched(rows, valid=200, most=300, seed=0)) == 200
    assert len(watched(rows, valid=400, most=300, seed=0)) == 300
    assert len(watched(rows[:30], valid=400, most=300, seed=0)) == 30
    assert watched(rows, valid=400, most=0, seed=0) == []


def test_a_classifier_is_measured_on_both_sides(tiny_bert: Path) -> None:
    gauge = Gauge(learner_of(tiny_bert, "classify", LABELS), prepared(labelled(60), labelled(30, seed=9), LABELS),
                  task_of("classify", "accuracy"))  # fmt: skip
    found = gauge()
    assert found == gauge()
    assert found["score"] == pytest.approx(fmean(found["rows"]["valid"]["right"]))
    assert found["train_score"] == pytest.approx(fmean(found["rows"]["train"]["right"]), abs=1e-6)
    assert found["valid_loss"] == pytest.approx(fmean(found["rows"]["valid"]["loss"]), abs=1e-5)
    assert (len(found["rows"]["valid"]["loss"]), len(found["rows"]["train"]["loss"])) == (30, 60)
    assert set(without_rows([found])[0]) == {"score", "train_score", "valid_loss", "train_loss"}


def test_a_classifier_that_is_not_watched_has_its_score_alone(tiny_bert: Path) -> None:
    gauge = Gauge(learner_of(tiny_bert, "classify", LABELS), prepared(labelled(60), labelled(30, seed=9), LABELS),
                  task_of("classify", "accuracy", watched_rows=0))  # fmt: skip
    assert set(gauge()) == {"score"}


@pytest.mark.parametrize("metric", ["perplexity", "token_f1"])
def test_a_generator_weighs_train_rows_and_writes_no_answers_to_them(metric, tiny_llama: Path, monkeypatch) -> None:
    learner = learner_of(tiny_llama, "generate")
    train, valid = sums(12), sums(8, seed=5)
    gauge = Gauge(learner, prepared(train, valid), task_of("generate", metric))
    asked = []
    real = gauge.predictor.predict
    monkeypatch.setattr(
        gauge.predictor, "predict", lambda items, **k: asked.extend(items) or real(items, max_new_tokens=4)
    )
    found = gauge()
    assert len(asked) == (8 if metric == "token_f1" else 0)
    assert ("train_score" in found) == (metric == "perplexity")
    assert len(found["rows"]["valid"]["loss"]) == 8
    assert len(found["rows"]["train"]["loss"]) == 12
    assert set(found["rows"]["train"]) == {"loss"}

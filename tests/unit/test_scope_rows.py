"""Rows of none of the labels: set aside before anything is learnt, measured on the test side, asked for by bars only where they are."""

from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import average_precision_score, roc_auc_score

from luthier.base.errors import LuthierError
from luthier.base.records import Prediction
from luthier.data.prepare import prepare, survey
from luthier.evaluate import curves
from luthier.evaluate.compare import paired
from luthier.evaluate.intervals import evaluate_with_intervals
from luthier.evaluate.metrics import classification
from luthier.evaluate.tables.scoped import own_answer
from luthier.lifecycle import scoping
from luthier.lifecycle.checking import check_task
from luthier.spec.bars import parse_bars
from luthier.spec.load import load_task

LABELS = ("billing", "delivery")


def write(path: Path, rows: list[tuple[str, ...]], head: tuple[str, ...] = ("text", "label")) -> Path:
    with path.open("w", encoding="utf-8", newline="") as handle:
        writer = csv.writer(handle)
        writer.writerow(head)
        writer.writerows(rows)
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    texts = {"billing": "my invoice number {} is wrong in part {}", "delivery": "the parcel {} never came to door {}", "oos": "sing song {} about cat {}"}
    rows = [(text.format(i * 7919, i * 104729), label) for i in range(60) for label, text in texts.items()]
    write(tmp_path / "all.csv", rows)
    write(tmp_path / "inner.csv", [row for row in rows if row[1] != "oos"])
    write(tmp_path / "talk.csv", [(row[0],) for row in rows if row[1] == "oos"], ("text",))
    return tmp_path


def task(folder: Path, text: str) -> Path:
    path = folder / "task.yaml"
    # What else can be looked for in rows costs seconds, and nothing here asks for it.
    quick = text.replace("data: {", "data: {semantic: 'off', label_errors: 'off', ", 1)
    path.write_text("task: {objective: classify}\n" + quick, encoding="utf-8")
    return path


@pytest.mark.parametrize("section", ["{source: all.csv, out_of_scope: {label: oos}}", "{source: inner.csv, out_of_scope: {label: oos, source: talk.csv}}"])
def test_such_rows_are_never_learnt_and_stay_in_test(folder: Path, section: str) -> None:
    file = load_task(task(folder, f"data: {section}\n"))
    data = prepare(file.task.data, "classify", base=folder, out=folder / "prepared")
    assert data.labels == LABELS
    assert {e.target for e in data.train} == {e.target for e in data.valid} == set(LABELS)
    assert {e.target for e in data.outside} == {"oos"} and {e.target for e in data.test} == {*LABELS, "oos"}
    tested = sum(e.target == "oos" for e in data.test)
    assert len(data.outside) + tested == 60 and tested > 3
    assert not {e.id for e in data.outside} & {e.id for e in data.train} and len({e.id for e in data.outside}) == len(data.outside)
    looked = survey(file.task.data, "classify", base=folder)
    assert [e.id for e in looked.outside] == [e.id for e in data.outside] and looked.labels == data.labels


def test_an_official_test_file_may_hold_such_rows_though_train_does_not(folder: Path) -> None:
    file = load_task(task(folder, "data: {source: inner.csv, test: all.csv, out_of_scope: {label: oos}, leaks: allow}\n"))
    data = survey(file.task.data, "classify", base=folder)
    assert not len(data.outside) and sum(e.target == "oos" for e in data.test) == 60
    plain = load_task(task(folder, "data: {source: inner.csv, test: all.csv, leaks: allow}\n"))
    with pytest.raises(LuthierError, match='label "oos"'):
        survey(plain.task.data, "classify", base=folder)


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("answer: {out_of_scope: {keep: 0.9, recall: 0.9}}", "one cut cannot promise both"),
        ("answer: {out_of_scope: {recall: 0.9}}", "a recall needs rows out of scope"),
        ("accept: {oos_recall: '>= 0.5'}", "never says that a text is of none"),
        ("answer: {out_of_scope: {}}\naccept: {oos_recall: '>= 0.5'}", "no test row is known to be out of scope"),
        ("answer: {out_of_scope: {score: distance}}\nmodel: {pooling: label-scoring}", "told by no vector"),
    ],
)
def test_what_cannot_be_done_is_refused_before_training(folder: Path, text: str, fault: str) -> None:
    with pytest.raises(LuthierError, match=fault):
        check_task(load_task(task(folder, f"data: {{source: inner.csv}}\n{text}\n")))


def test_a_missing_label_and_too_few_left_are_told_once_rows_are_read(folder: Path) -> None:
    from luthier.lifecycle.checking import bar_faults

    file = load_task(task(folder, "data: {source: inner.csv, out_of_scope: {label: oss}}\n"))
    said = [f.what for f in bar_faults([], file, survey(file.task.data, "classify", base=folder))]
    assert said == ['no row has the label "oss"']
    file = load_task(task(folder, "data: {source: inner.csv, out_of_scope: {label: billing}}\n"))
    assert "fewer than two labels" in bar_faults([], file, survey(file.task.data, "classify", base=folder))[0].what
    bars = parse_bars({"oos_auroc": ">= 0.9"})[0]
    file = load_task(task(folder, "data: {source: all.csv, test: inner.csv, out_of_scope: {label: oos}, leaks: allow}\n"))
    found = scoping.row_faults(file.task, bars, survey(file.task.data, "classify", base=folder))
    assert [f.what for f in found] == ["no test row is out of scope"]


def drawn(seed: int, count: int = 300) -> tuple[list[str], list[Prediction]]:
    rng = np.random.default_rng(seed)
    targets = [str(t) for t in rng.choice([*LABELS, "oos"], count, p=[0.4, 0.4, 0.2])]
    found = []
    for target in targets:
        share = float(rng.beta(4, 2))
        first = target if target in LABELS else LABELS[int(rng.integers(2))]
        scores = {first: share, **{other: 1 - share for other in LABELS if other != first}}
        unlike = float(np.round(rng.normal(1.2 * (target == "oos")), 1))  # rounded: ties must count one half
        label = max(scores, key=lambda name: scores[name])
        said = Prediction(label=label, scores=scores, unlike=unlike)
        found.append(replace(said, label="oos", nearest=label) if unlike > 0.8 else said)
    return targets, found


def test_metrics_of_scope_equal_scikit_learn_and_counts_by_hand() -> None:
    targets, predictions = drawn(0)
    found = classification(targets, predictions, LABELS)
    away = np.array([t == "oos" for t in targets])
    said = np.array([p.label == "oos" for p in predictions])
    right = np.array([p.label == t for p, t in zip(predictions, targets, strict=True)])
    assert found["oos_auroc"] == pytest.approx(roc_auc_score(away, [p.unlike for p in predictions]))
    assert found["oos_recall"] == pytest.approx(said[away].mean()) and found["oos_precision"] == pytest.approx(away[said].mean())
    assert found["in_scope_accuracy"] == pytest.approx(right[~away].mean()) and found["in_scope_kept"] == pytest.approx(1 - said[~away].mean())
    assert found["accuracy"] == pytest.approx(right.mean()) and found["recall[oos]"] == found["oos_recall"]
    inner = [(t, own_answer(p)) for t, p in zip(targets, predictions, strict=True) if t != "oos"]
    alone = classification([t for t, _ in inner], [replace(p, unlike=None) for _, p in inner], LABELS)
    of_labels = [f"{kind}[{label}]" for kind in ("roc_auc", "average_precision") for label in LABELS]
    for name in ("roc_auc", "map", "ece", "brier", "log_loss", "aurc", *of_labels):
        assert found[name] == pytest.approx(alone[name]), "probabilities are of the labels alone"
    assert found["average_precision[oos]"] is None, "no score is of being none of the labels"


def test_metrics_of_scope_have_intervals_and_can_be_compared() -> None:
    targets, predictions = drawn(1)
    found = evaluate_with_intervals("classify", targets, predictions, LABELS, resamples=300)
    for name in ("oos_auroc", "oos_recall", "oos_precision", "in_scope_accuracy", "in_scope_kept"):
        one = found[name]
        assert one["low"] < one["value"] < one["high"], name
    never = scoping.never_declined(
        {"rival": [Prediction(label=p.nearest or p.label, scores=p.scores) for p in predictions]}
    )["rival"]
    compared = paired("classify", targets, never, predictions, LABELS, resamples=300)
    assert compared["oos_recall"]["first"] == 0 and compared["oos_recall"]["better"] == "second"
    assert 0.3 < compared["oos_auroc"]["first"] < 0.7, "one less the highest probability says nothing in these rows"


def test_a_prediction_says_so_and_what_would_be_nearest() -> None:
    said = Prediction(label="oos", scores={"billing": 0.9, "delivery": 0.1}, unlike=3.0, nearest="billing").as_dict()
    assert said == {"label": "oos", "scores": {"billing": 0.9, "delivery": 0.1}, "out_of_scope": True, "unlike": 3.0, "nearest": "billing"}
    kept = Prediction(label="billing", scores={"billing": 0.9, "delivery": 0.1}, unlike=0.1).as_dict()
    assert kept["out_of_scope"] is False and "nearest" not in kept
    assert "out_of_scope" not in Prediction(label="billing", scores={"billing": 1.0}).as_dict()


@pytest.mark.parametrize("digits", [6, 1])
def test_precision_recall_area_is_average_precision(digits: int) -> None:
    rng = np.random.default_rng(2)
    names = ("a", "b", "c")
    shares = np.round(rng.dirichlet(np.ones(3), 200), digits)
    targets = [names[int(i)] for i in rng.integers(0, 3, 200)]
    predictions = [Prediction(label=names[int(s.argmax())], scores=dict(zip(names, s.tolist(), strict=True))) for s in shares]
    found = curves.pr_curves(targets, predictions, names)
    for k, name in enumerate(names):
        truth = [t == name for t in targets]
        assert found[name]["area"] == pytest.approx(average_precision_score(truth, shares[:, k]))
        assert found[name]["share"] == pytest.approx(np.mean(truth)) and found[name]["recall"][-1] == 1.0
    sets = [[n for n in names if rng.random() < 0.3] for _ in range(200)]
    several = [Prediction(labels=(), scores=dict(zip(names, s.tolist(), strict=True))) for s in shares]
    drawn_ = curves.set_curves(sets, several, names)
    for k, name in enumerate(names):
        truth = [name in s for s in sets]
        assert drawn_["pr"][name]["area"] == pytest.approx(average_precision_score(truth, shares[:, k]))
        assert drawn_["roc"][name]["auc"] == pytest.approx(roc_auc_score(truth, shares[:, k]))

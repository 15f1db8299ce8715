"""The rows that a bundle learnt from: found beside it, told when they come again, and what rivals make of them elsewhere."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest
from making import labelled

from luthier.base.records import Example
from luthier.lifecycle import learnt
from luthier.spec.task import Task


def predictor(folder: Path, fingerprint: str) -> SimpleNamespace:
    return SimpleNamespace(folder=folder, objective="classify", facts={"fingerprint": fingerprint}, learner=SimpleNamespace(writes=False, measures=False))


def test_the_data_of_a_run_or_a_stage_is_found_by_its_fingerprint(tmp_path: Path) -> None:
    mark = "0123456789abcdef"
    for folder in (tmp_path / "prepared" / mark, tmp_path / "stages" / "later" / "prepared" / ("f" * 16)):
        folder.mkdir(parents=True)
        (folder / "data.json").write_text("{}")
    assert learnt.prepared_of(tmp_path, mark + "rest") == tmp_path / "prepared" / mark
    assert learnt.prepared_of(tmp_path, "f" * 64) == tmp_path / "stages" / "later" / "prepared" / ("f" * 16)
    assert learnt.prepared_of(tmp_path, "a" * 64) is None
    # What lies there and is no data is told, and stops nothing.
    data, notes = learnt.data_of(predictor(tmp_path / "bundle", mark))
    assert data is None and "cannot be read" in notes[0] and "no rival was fitted" in notes[0]
    assert learnt.data_of(predictor(tmp_path / "elsewhere" / "bundle", mark)) == (None, [])


def test_rows_that_come_again_are_counted() -> None:
    rows = labelled(30)
    again = [Example(f"other {i}", e.inputs, e.target, e.source) for i, e in enumerate(rows[:4])]
    assert learnt.known("It", SimpleNamespace(train=rows), [*rows[:5], *again]) == [
        "It learnt from 5 of these 9 rows: its figures are too good."
    ]
    assert learnt.known("It", SimpleNamespace(train=rows), again) == []


@pytest.mark.parametrize(("asked", "fitted"), [([], False), (["live", "untuned"], False), (["tfidf_linear"], True)])
def test_of_very_many_rows_rivals_are_fitted_where_a_bar_names_one(asked: list[str], fitted: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(learnt, "MANY", 20)
    rows = labelled(60)
    data = SimpleNamespace(train=rows[:40], items={}, labels=tuple(sorted({e.target for e in rows})))
    task = Task.model_validate({"task": {"objective": "classify"}, "data": {"source": "x.csv"}})
    found, notes = learnt.rivals(predictor(tmp_path, "x"), task, data, rows[40:], {None, *asked})
    assert (set(found) == {"majority", "tfidf_linear"}) is fitted
    assert fitted or (found == {} and "no bar names one" in notes[0])
    assert all(len(answers) == 20 for answers in found.values())

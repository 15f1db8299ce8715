"""Training settings that would do nothing for an objective are told before the data is read, with what would work."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from making import LABELS, labelled, learner_of, section
from ranked_rows import query_rows, ranker

from luthier.base.errors import ModelError, TaskError
from luthier.lifecycle.checking import check_task
from luthier.models import memory
from luthier.spec.load import load_task
from luthier.spec.train import TrainSection
from luthier.train.choose import choose_method
from luthier.train.defaults import resolve

NO_HEAD = "no head to train alone. Use lora, last-layers or full"


def check(folder: Path, objective: str, *, pooling: str = "auto", **train: Any) -> None:
    """Check a task whose data is not there: what is told was told without it."""
    values = {"task": {"objective": objective}, "data": {"source": "none.csv"}, "model": {"pooling": pooling}, "train": train}
    (folder / "t.yaml").write_text(json.dumps(values), encoding="utf-8")
    check_task(load_task(folder / "t.yaml", []))


@pytest.mark.parametrize(
    ("objective", "settings", "words"),
    [
        ("rank", {"method": "head"}, f"train.method: `rank` has {NO_HEAD}."),
        ("generate", {"method": "head"}, f"train.method: `generate` has {NO_HEAD}."),
        ("text", {"method": "head"}, NO_HEAD),
        ("prefer", {"method": "head"}, NO_HEAD),
        ("classify", {"method": "head", "pooling": "label-scoring"}, f"as answers have {NO_HEAD}; or set model.pooling: mean"),
        ("classify", {"method": "contrastive", "pooling": "label-scoring"}, "an encoder's vectors, which this task has none of"),
        ("grade", {"method": "prototypes"}, "an encoder's vectors, which this task has none of"),
        ("rank", {"method": "neighbours"}, "an encoder's vectors, which this task has none of"),
        ("grade", {"label_smoothing": 0.1}, "train.label_smoothing: scores are learnt by their squared error"),
        ("rank", {"label_smoothing": 0.1}, "train.label_smoothing: a row finds its item among the others"),
        ("prefer", {"label_smoothing": 0.1}, "train.label_smoothing: answers that are compared have no labels to smooth"),
        ("classify", {"method": "contrastive", "label_smoothing": 0.1}, "`contrastive` compares vectors, so there are no labels to smooth"),
    ],
)  # fmt: skip
def test_what_would_do_nothing_is_refused(objective: str, settings: dict[str, Any], words: str, tmp_path: Path) -> None:
    with pytest.raises(TaskError) as caught:
        check(tmp_path, objective, **settings)
    assert words in str(caught.value)


@pytest.mark.parametrize(
    ("objective", "settings"),
    [
        *((objective, {"method": "head"}) for objective in ("classify", "multilabel", "grade", "extract")),
        *((objective, {"label_smoothing": 0.1}) for objective in ("classify", "multilabel", "extract", "generate", "text")),
        ("classify", {"method": "contrastive", "label_smoothing": 0.0}),
        ("rank", {"method": "last-layers", "label_smoothing": "auto"}),
        ("classify", {"method": "lora", "label_smoothing": 0.1, "pooling": "label-scoring"}),
    ],
)
def test_what_is_learnt_from_is_let_through(objective: str, settings: dict[str, Any], tmp_path: Path) -> None:
    check(tmp_path, objective, **settings)


def test_a_head_is_chosen_by_auto_only_where_there_is_one(tiny_bert: Path, tiny_llama: Path, monkeypatch) -> None:
    scorer = learner_of(tiny_llama, "classify", LABELS, pooling="label-scoring")
    for learner, rows in ((ranker(tiny_bert, query_rows()), query_rows()), (scorer, labelled(60))):
        needs = choose_method(learner, rows, TrainSection()).facts["needs_bytes"]
        assert needs["head"] < min(needs["lora"], needs["last-layers"])
        with monkeypatch.context() as patch:
            patch.setattr(memory, "free_bytes", lambda where, most=needs["head"]: most)
            with pytest.raises(ModelError, match="with the smallest method"):
                choose_method(learner, rows, TrainSection())
        with pytest.raises(ModelError, match=r"train\.method: .*no head to train alone.* Use lora, last-layers or full"):
            resolve(TrainSection(method="head"), objective=learner.objective, rows=60, rates=learner.rates)


def test_a_resolved_head_where_none_stands_says_what_works(tiny_bert: Path) -> None:
    from luthier.base.errors import TrainError
    from luthier.train.run import fit

    settings = section("rank", 24).model_copy(update={"method": "head"})
    with pytest.raises(TrainError, match=r"no parameter learns.* Use lora, last-layers or full"):
        fit(ranker(tiny_bert, query_rows()), query_rows(), settings, score=None)

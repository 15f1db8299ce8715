"""Every objective and the usual methods can be planned: by passes that are tried, and by arithmetic."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from making import LABELS, documents, graded, labelled, learner_of, pairs, sums, tagged
from ranked_rows import query_rows, ranker

from luthier.base.records import Example, Source
from luthier.data.prepare import Prepared
from luthier.data.ranking import questions
from luthier.data.report import DataReport
from luthier.evaluate.robust.changes import CHANGES
from luthier.lifecycle import plan_memory, plan_parts, steps
from luthier.lifecycle.plan_parts import Speed
from luthier.models import memory
from luthier.objectives import OBJECTIVES
from luthier.spec.task import Task
from luthier.spec.train import TrainSection
from luthier.train.planning import counting
from luthier.train.planning.counting import Pace
from luthier.train.planning.machines import find
from luthier.train.planning.probe import probe


def stories(count: int) -> list[Example]:
    return [Example(f"s{i}", {"text": "where is the parcel " * (2 + i % 7)}, "", Source("s.jsonl", i + 1)) for i in range(count)]


MAKERS: dict[str, Any] = {"classify": labelled, "multilabel": tagged, "grade": graded, "extract": documents, "generate": sums,
                          "prefer": pairs, "text": stories}  # fmt: skip
CASES = [
    ("classify", "tiny_bert", "full"), ("classify", "tiny_bert", "head"), ("classify", "tiny_bert", "contrastive"),
    ("classify", "tiny_bert", "prototypes"), ("classify", "tiny_bert", "last-layers"), ("multilabel", "tiny_bert", "adapters"),
    ("grade", "tiny_bert", "lora"), ("extract", "tiny_bert", "bitfit"), ("rank", "tiny_bert", "full"),
    ("generate", "tiny_llama", "lora"), ("generate", "tiny_llama", "prefix"), ("generate", "tiny_t5", "full"), ("prefer", "tiny_llama", "lora"),
    ("text", "tiny_llama", "full"), ("text", "tiny_bert_mlm", "bitfit"),
]  # fmt: skip


@pytest.mark.parametrize(("objective", "model", "method"), CASES)
def test_it_can_be_planned(objective: str, model: str, method: str, request: pytest.FixtureRequest) -> None:
    folder = request.getfixturevalue(model)
    if objective == "rank":
        train = query_rows()
        learner: Any = ranker(folder, train)
        valid = questions(train[:12], {})
    else:
        train = MAKERS[objective](48)
        labels = {"classify": LABELS, "multilabel": LABELS, "grade": ("content", "length")}.get(objective, ())
        extra = {} if objective in ("generate", "prefer", "text") else {"pooling": "mean"}
        learner = learner_of(folder, objective, labels, known=OBJECTIVES[objective].look(train), **extra)
        valid = train[:8]
    blank = DataReport.from_dict({**_blank(), "rows": len(train)})
    data = Prepared(train, valid, valid, tuple(learner.labels), blank)
    section = steps.settle(TrainSection(method=method, batch=8, epochs=1), objective=objective, rows=len(train), learner=learner)
    section = section.model_copy(update={"metric": "macro_f1"})
    task = Task.model_validate({"task": {"name": "t", "objective": objective}, "data": {"source": "x.csv"}, "model": {"base": str(folder)}})
    subject = plan_parts.subject(task.model_copy(update={"train": section}), data, learner, section)

    rule = counting.law(learner, subject.rows, subject.plan)
    there = Speed(rule=rule, pace=Pace.of(find("l4")))  # type: ignore[arg-type]
    held = plan_memory.counted(subject, rule, find("l4"), runtime=0)
    assert rule.kept[0] > 0 and rule.flops[0] >= rule.reads[0] > 0
    assert held["mb"] > 600 and held["fits"] == "yes"
    expected = plan_parts.training_parts(subject, there)
    assert ("steps" in expected) == (method not in ("head", "prototypes")) and "evaluations" in expected

    memory.restart_peak()
    tried = probe(learner, subject.rows, subject.work, subject.plan, section, budget_s=0.3, fits_head=subject.fits)
    measured = plan_parts.training_parts(subject, Speed(probe=tried))
    assert set(measured) == set(expected)
    assert all(clock.wall_s > 0 for clock in measured.values())
    here = plan_memory.here(replace(subject, plan=subject.plan), tried, memory.process_bytes("VmRSS") or 0)
    assert here["mb"] > 0 and here["parts"]["weights"] > 0


def _blank() -> dict[str, Any]:
    from dataclasses import MISSING, fields

    found: dict[str, Any] = {"leak_examples": [], "files": [], "problems": []}
    for field in fields(DataReport):
        if field.name not in found and field.name != "findings" and field.default is MISSING and field.default_factory is MISSING:
            found[field.name] = {} if "Mapping" in str(field.type) or "dict" in str(field.type) else "" if "str" in str(field.type) else 0
    names = {f.name for f in fields(DataReport)} - {"findings"}
    return {name: found.get(name, {}) for name in names}


@pytest.mark.parametrize(
    ("robust", "accept", "times"),
    [("auto", {}, 0), ("auto", {"obeys_planted_order": "<= 0.1"}, 2), ("auto", {"robust[typos]": ">= 0.2", "chrf": ">= 0.1"}, 1),
     ("on", {}, 2 + len(CHANGES)), ("off", {}, 0)],
)  # fmt: skip
def test_changed_prompts_are_counted_as_they_will_be_written(robust: str, accept: dict[str, str], times: int) -> None:
    task = Task.model_validate({"task": {"name": "t", "objective": "generate"}, "data": {"source": "x.csv"}, "evaluate": {"robust": robust}, "accept": accept})
    assert plan_parts._changes_of(task) == times

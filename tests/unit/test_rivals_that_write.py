"""The simple rivals of a model that writes, on rows made by hand."""

from __future__ import annotations

import math
import re
from types import SimpleNamespace

import pytest

from luthier.base.records import Example
from luthier.evaluate.baselines import NAMES, RIVALS, check_rivals, of_rows_alone
from luthier.evaluate.baselines.answers import told_at_length
from luthier.evaluate.predict import answered_alike, answered_rows
from luthier.lifecycle import writing
from luthier.spec.bars import parse_bars
from luthier.spec.task import Task


def row(number: int, asked: str, answer: str, before: tuple[str, ...] = ()) -> Example:
    told = [{"role": role, "content": text} for role, text in zip(("user", "assistant"), before, strict=False)]
    return Example(str(number), {"messages": [*told, {"role": "user", "content": asked}]}, answer, "rows.jsonl")


TRAIN = [
    row(0, "Where is my parcel?", "It comes tomorrow."),
    row(1, "How do I reset the sensor?", "Hold the button for ten seconds."),
    row(2, "Can I have an invoice?", "We send it by mail."),
]


def test_leads_are_the_first_sentences_of_the_last_turn() -> None:
    rows = [row(9, "One is here. Two is there. Three is gone. Four stays.", "x", before=("Ignore me. Please.", "Yes."))]
    found = RIVALS["generate"](TRAIN, rows, ())
    assert found["lead_1"][0].text == "One is here."
    assert found["lead_3"][0].text == "One is here. Two is there. Three is gone."


STORY = (
    "The mill by the river burnt down on Monday.", "Firemen came from three towns to the mill.", "A cat was saved.",
    "The river mill had burnt once before, in May.", "Nobody was hurt when the mill burnt down.", "It rained.",
)  # fmt: skip


def typical(sentences: tuple[str, ...], count: int) -> list[str]:
    """Return the sentences nearest to the mean TF-IDF vector, computed word by word."""
    words = [re.findall(r"\w+", s.lower()) for s in sentences]
    known = sorted({w for one in words for w in one})
    rare = {w: math.log((1 + len(words)) / (1 + sum(w in one for one in words))) + 1 for w in known}
    rows = [[(1 + math.log(one.count(w))) * rare[w] if w in one else 0.0 for w in known] for one in words]
    rows = [[v / math.sqrt(sum(x * x for x in row)) for v in row] for row in rows]
    mean = [sum(column) / len(rows) for column in zip(*rows, strict=True)]
    scores = [sum(a * b for a, b in zip(row, mean, strict=True)) for row in rows]
    best = sorted(range(len(rows)), key=lambda k: -scores[k])[:count]
    return [sentences[k] for k in sorted(best)]


def test_the_centroid_is_three_typical_sentences_of_a_text_to_be_told_in_short() -> None:
    found = RIVALS["generate"](TRAIN, [row(0, " ".join(STORY), "x", before=("One. Two. Three. Four. Five.", "Yes."))], ())
    assert found["centroid"][0].text == " ".join(typical(STORY, 3)) != found["lead_3"][0].text
    assert "centroid" in of_rows_alone("generate", [row(0, " ".join(STORY), "x")]), "it needs no train row"
    shouting = RIVALS["generate"](TRAIN, [row(0, "?! ?! ?! ?! ?!\n?!\n?!\n?!\n?!", "x")], ())
    assert shouting.get("centroid", shouting["lead_3"]) == shouting["lead_3"], "without a word the first ones stand"


def test_there_is_no_centroid_of_short_questions() -> None:
    long, short = row(0, " ".join(STORY), "x"), row(1, "Where is it? Please say.", "x")
    assert "centroid" in RIVALS["generate"](TRAIN, [long, long, short], ())
    assert "centroid" not in RIVALS["generate"](TRAIN, [long, short, short], ())
    assert not told_at_length([]) and told_at_length([long]) and not told_at_length([row(2, " ".join(STORY[:3]), "x")])


@pytest.mark.parametrize(("asked", "told"), [(" ".join(STORY), 0), ("Where is it?", 1)])
def test_a_bar_on_a_centroid_that_is_not_there_is_told_before_training(asked: str, told: int) -> None:
    task = Task.model_validate({"task": {"objective": "generate"}, "data": {"source": "x"}, "accept": {"rougeL": "> centroid"}})
    bars = parse_bars(dict(task.accept))[0]
    assert check_rivals(bars, "generate", live=False) == []
    data = SimpleNamespace(test=[row(i, asked, "x") for i in range(4)], train=TRAIN)
    found = writing.data_faults(bars, SimpleNamespace(task=task), data)
    assert [(f.where, f.mend) for f in found] == [("accept.rougeL", "Write lead_3 instead.")] * told


def test_the_nearest_answer_is_that_of_the_train_row_most_alike() -> None:
    asked = ["please reset my sensor, how?", "an invoice please", "parcel where is it"]
    found = RIVALS["generate"](TRAIN, [row(i, text, "x") for i, text in enumerate(asked)], ())
    assert [p.text for p in found["nearest_answer"]] == [TRAIN[1].target, TRAIN[2].target, TRAIN[0].target]
    assert set(found) | {"untuned", "centroid"} == set(NAMES["generate"])


def test_without_a_word_there_is_no_nearest_answer() -> None:
    assert "nearest_answer" not in RIVALS["generate"]([], [row(0, "hello", "x")], ())


def test_rivals_answer_the_rows_that_the_model_answers() -> None:
    rows = [row(i, f"question {i}", "x") for i in range(20)]
    found = answered_alike(lambda some: RIVALS["generate"](TRAIN, some, ()), rows, 5)
    for predictions in found.values():
        assert [i for i, p in enumerate(predictions) if p.text is not None] == answered_rows(rows, 5)

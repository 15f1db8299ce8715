"""The simple rivals of a model that writes, on rows made by hand."""

from __future__ import annotations

from luthier.base.records import Example
from luthier.evaluate.baselines import NAMES, RIVALS
from luthier.evaluate.predict import answered_alike, answered_rows


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


def test_the_nearest_answer_is_that_of_the_train_row_most_alike() -> None:
    asked = ["please reset my sensor, how?", "an invoice please", "parcel where is it"]
    found = RIVALS["generate"](TRAIN, [row(i, text, "x") for i, text in enumerate(asked)], ())
    assert [p.text for p in found["nearest_answer"]] == [TRAIN[1].target, TRAIN[2].target, TRAIN[0].target]
    assert set(found) | {"untuned"} == set(NAMES["generate"])


def test_without_a_word_there_is_no_nearest_answer() -> None:
    assert "nearest_answer" not in RIVALS["generate"]([], [row(0, "hello", "x")], ())


def test_rivals_answer_the_rows_that_the_model_answers() -> None:
    rows = [row(i, f"question {i}", "x") for i in range(20)]
    found = answered_alike(lambda some: RIVALS["generate"](TRAIN, some, ()), rows, 5)
    for predictions in found.values():
        assert [i for i, p in enumerate(predictions) if p.text is not None] == answered_rows(rows, 5)

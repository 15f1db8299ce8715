"""Rows become examples by the columns of the objective; each row left out has its reason."""

from __future__ import annotations

import json
from typing import Any

import pytest

from luthier.base.records import Row, Source
from luthier.base.seeds import stable_hash
from luthier.data import columns as c
from luthier.data import turns
from luthier.data.columns import Mapped, to_examples


def rows(*values: dict[str, Any], file: str = "m.jsonl") -> list[Row]:
    return [Row(v, Source(file, i)) for i, v in enumerate(values, 1)]


def classify(*values: dict[str, Any], **options: Any) -> Mapped:
    return to_examples(rows(*values), **({"columns": {}, "objective": "classify"} | options))


def generate(*values: dict[str, Any], **options: Any) -> Mapped:
    return to_examples(rows(*values), **({"columns": {}, "objective": "generate"} | options))


def test_classify_maps_text_label_group_and_the_rest() -> None:
    mapped = classify(
        {"body": "  a\r\nb ", "queue": 1, "who": "x", "n": 2.5, "long": "y" * 900, "list": [1, {"k": None}]},
        {"body": 12, "queue": True, "who": ""},
        columns={"text": "body", "label": "queue"},
        by="who",
    )
    first, second = mapped.examples
    assert first.inputs == {"text": "a\nb"} and first.target == "1" and first.group == "x"
    assert first.extra == {"who": "x", "n": 2.5, "long": "y" * 500, "list": '[1, {"k": null}]'}
    assert first.id == stable_hash([{"text": "a\nb"}, "1"]) and str(first.source) == "m.jsonl:1"
    assert (second.inputs, second.target, second.group) == ({"text": "12"}, "True", None)
    assert mapped.recognised_as == "body, queue" and not mapped.dropped and not mapped.faults


def test_classify_drops_with_reasons() -> None:
    mapped = classify(
        {"text": "a", "label": "x"},
        {"text": " \n", "label": "x"},
        {"text": None, "label": "x"},
        {"text": "a", "label": " "},
        {"text": "a", "label": float("nan")},
        {"text": "a"},
        {"text": ["a"], "label": "x"},
        {"text": "a", "label": ["x", "y"]},
        {"text": "half \ud83d", "label": "x"},
        {"text": "whole \U0001f600", "label": "x"},
    )
    assert [e.source.line for e in mapped.examples] == [1, 10]
    assert [d.reason for d in mapped.dropped] == [
        c.EMPTY_TEXT, c.EMPTY_TEXT, c.NO_LABEL, c.NO_LABEL, c.NO_LABEL, c.NOT_TEXT, c.LABEL_NOT_ONE, c.BROKEN_TEXT,
    ]  # fmt: skip
    assert [d.source.line for d in mapped.dropped] == list(range(2, 10))


def test_missing_columns_are_faults_with_what_is_there() -> None:
    mapped = classify({"message": "a", "queue": "b"}, columns={"text": "mesage"}, by="custmer")
    assert [str(f) for f in mapped.faults] == [
        'm.jsonl:1: no column "mesage" (data.columns.text). Did you mean "message"? Columns there: message, queue.',
        'm.jsonl:1: no column "label" (data.columns.label). Say which column it is: data.columns: {label: ...}. '
        "Columns there: message, queue.",
        'm.jsonl:1: no column "custmer" (data.split.by). Columns there: message, queue.',
    ]
    assert not mapped.examples
    mapped = classify({"text": "a", "label": "b"}, columns={"lable": "label"})
    assert str(mapped.faults[0]).endswith('is not a column that classify needs. Did you mean "label"?')


def test_a_column_missing_from_one_of_two_files() -> None:
    first, second = rows({"text": "a", "label": "b", "who": 1}), rows({"text": "c", "label": "d"}, file="n.csv")
    mapped = to_examples(first + second, columns={}, objective="classify", by="who")
    assert [e.group for e in mapped.examples] == ["1", None] and not mapped.faults
    mapped = to_examples(first + rows({"txt": "c", "label": "d"}, file="n.csv"), columns={}, objective="classify")
    assert [f.where for f in mapped.faults] == ["n.csv:1"] and 'Did you mean "txt"?' in mapped.faults[0].mend


def test_a_column_that_first_rows_leave_out_is_still_found() -> None:
    mapped = classify({"text": "a"}, {"text": "b", "label": "x"})
    assert not mapped.faults and [d.reason for d in mapped.dropped] == [c.NO_LABEL] and len(mapped.examples) == 1


def test_without_need_of_a_target() -> None:
    mapped = classify({"text": "a"}, {"text": "b"}, columns={"label": "queue"}, need_target=False)
    assert [e.target for e in mapped.examples] == [None, None] and not mapped.faults
    mapped = classify({"text": "a", "queue": "x"}, columns={"label": "queue"}, need_target=False)
    assert mapped.examples[0].target == "x"
    mapped = generate({"messages": [{"role": "user", "content": "hi"}]}, need_target=False)
    assert mapped.examples[0].inputs["messages"] == [{"role": "user", "content": "hi"}]
    assert mapped.examples[0].target is None
    mapped = generate({"prompt": "p"}, need_target=False)
    assert mapped.examples[0].inputs["messages"] == [{"role": "user", "content": "p"}]


U, A = {"role": "user", "content": "hi"}, {"role": "assistant", "content": "hello"}
ASKED = {"messages": [U]}


@pytest.mark.parametrize(
    ("values", "name"),
    [
        ({"prompt": "hi", "completion": "hello"}, "prompt, completion"),
        ({"messages": [U, A]}, "messages"),
        ({"messages": json.dumps([U, A])}, "messages"),
        ({"messages": [{"role": "user", "content": [{"type": "text", "text": "hi"}]}, A]}, "messages"),
        ({"conversations": [{"from": "human", "value": "hi"}, {"from": "gpt", "value": "hello"}]}, "sharegpt"),
        ({"conversations": [U, A]}, "sharegpt"),
        ({"instruction": "hi", "input": "", "output": "hello"}, "alpaca"),
        ({"instruction": "hi", "output": "hello"}, "alpaca"),
    ],
)
def test_formats_are_recognised(values: dict[str, Any], name: str) -> None:
    mapped = generate(values)
    assert not mapped.faults and mapped.recognised_as == name
    assert mapped.examples[0].inputs == ASKED and mapped.examples[0].target == "hello"
    assert mapped.examples[0].id == stable_hash([ASKED, "hello"])


def test_alpaca_input_and_system_turns() -> None:
    mapped = generate({"instruction": "Add.", "input": "1 and 2", "output": "3", "system": "Be brief."})
    assert mapped.examples[0].inputs["messages"] == [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "Add.\n\n1 and 2"},
    ]
    same = generate(
        {"q": "Add.", "more": "1 and 2", "a": "3"}, columns={"prompt": "q", "input": "more", "completion": "a"}
    )
    assert same.examples[0].inputs["messages"] == mapped.examples[0].inputs["messages"][1:]
    mapped = generate(
        {"conversations": [{"from": "user", "value": "hi"}, {"from": "bot", "value": "x"}], "system": "S"}
    )
    assert mapped.examples[0].inputs["messages"][0] == {"role": "system", "content": "S"}
    assert "system" not in mapped.examples[0].extra


def test_last_assistant_turn_is_the_target() -> None:
    mapped = generate({"chat": [U, A, {"role": "user", "content": "more"}, {"role": "assistant", "content": "fine"}]},
                      columns={"messages": "chat"})  # fmt: skip
    assert mapped.examples[0].inputs["messages"] == [U, A, {"role": "user", "content": "more"}]
    assert mapped.examples[0].target == "fine"


@pytest.mark.parametrize(
    ("messages", "reason"),
    [
        ([U], turns.NO_ANSWER_AT_END),
        ([U, A, U], turns.NO_ANSWER_AT_END),
        ([A], turns.NO_USER_TURN),
        ([{"role": "system", "content": "s"}, A], turns.NO_USER_TURN),
        ([U, {"role": "assistant", "content": " "}], c.EMPTY_ANSWER),
        ([U, {"role": "assistant", "content": None}], c.EMPTY_ANSWER),
        ([U, {"role": "assistant", "content": None, "tool_calls": []}, U, A], turns.UNREADABLE_TURN),
        ([{"role": "narrator", "content": "x"}, U, A], turns.UNKNOWN_ROLE),
        ([{"role": "user", "content": [{"type": "image_url", "image_url": "x"}]}, A], turns.UNREADABLE_TURN),
        (["hi"], turns.UNREADABLE_TURN),
        ("not json", turns.UNREADABLE_TURN),
        ([], turns.NO_TURNS),
        (None, turns.NO_TURNS),
    ],
)
def test_conversations_that_cannot_be_used(messages: Any, reason: str) -> None:
    mapped = generate({"messages": [U, A]}, {"messages": messages})
    assert len(mapped.examples) == 1
    assert [(d.source.line, d.reason) for d in mapped.dropped] == [(2, reason)]


def test_prompt_and_completion_drop_reasons_and_faults() -> None:
    mapped = generate(
        {"prompt": "", "completion": "x"}, {"prompt": "x", "completion": ""}, {"prompt": "x", "completion": 7}
    )
    assert [d.reason for d in mapped.dropped] == [c.EMPTY_PROMPT, c.EMPTY_ANSWER]
    assert mapped.examples[0].target == "7"
    mapped = generate({"question": "x", "answr": "y"}, columns={"prompt": "question", "completion": "answer"})
    assert 'Did you mean "answr"?' in str(mapped.faults[0])
    assert len(generate({"a": "x", "b": "y"}).faults) == 2

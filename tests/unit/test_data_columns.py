"""Rows become examples by the columns of the objective; each row left out has its reason."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime, timedelta, timezone
from email.utils import format_datetime
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from luthier.base.records import Example, Row, Source
from luthier.base.seeds import stable_hash
from luthier.data.shapes import columns as c
from luthier.data.shapes import turns
from luthier.data.shapes.columns import Dropped, Mapped, map_rows, to_examples
from luthier.data.shapes.dates import DateOrder, moment
from luthier.data.shapes.votes import DISAGREE, JOINED


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
        {"text": "a", "label": {"x": "y"}},
        {"text": "a", "label": "NaN"},
        {"text": "half \ud83d", "label": "x"},
        {"text": "whole \U0001f600", "label": "x"},
    )
    assert [e.source.line for e in mapped.examples] == [1, 11]
    assert [d.reason for d in mapped.dropped] == [
        c.EMPTY_TEXT, c.EMPTY_TEXT, c.NO_LABEL, c.NO_LABEL, c.NO_LABEL, c.NOT_TEXT, c.LABEL_NOT_ONE,
        c.NO_LABEL, c.BROKEN_TEXT,
    ]  # fmt: skip
    assert [d.source.line for d in mapped.dropped] == list(range(2, 11))


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


def test_rows_are_mapped_as_they_come() -> None:
    asked: list[int] = []

    def endless() -> Any:
        for line in range(1, 10**9):
            asked.append(line)
            yield Row({"text": f"t{line}", "label": "a" if line % 3 else ""}, Source("m.csv", line))

    faults: list[Any] = []
    mapped = map_rows(endless(), columns={}, objective="classify", faults=faults)
    first = [item for _, item in zip(range(6), mapped, strict=False)]
    assert [type(item) for item in first] == [Example, Example, Dropped] * 2
    assert len(asked) < 300 and mapped.recognised_as == "text, label" and not faults


texts = st.text(st.characters(exclude_categories=("Cs",)), max_size=8)
cell = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), texts, st.lists(texts, max_size=3))


@settings(max_examples=80, deadline=None)
@given(table=st.lists(st.dictionaries(st.sampled_from(["text", "label", "who", "é"]), cell), max_size=12))
def test_every_row_is_an_example_or_dropped_in_order(table: list[dict[str, Any]]) -> None:
    table = [{"text": "seen", "label": "x"}, *table]
    faults: list[Any] = []
    found = list(map_rows(rows(*table), columns={}, objective="classify", faults=faults))
    assert not faults and [item.source.line for item in found] == list(range(1, len(table) + 1))
    for item in found:
        json.dumps(item.as_dict(), allow_nan=False)
        if isinstance(item, Example):
            assert item.id == stable_hash([item.inputs, item.target]) and item.target and item.inputs["text"].strip()
        else:
            assert item.reason


def test_several_annotators_columns() -> None:
    mapped = classify(
        {"text": "a", "x": "p", "y": "p", "z": "q"},
        {"text": "b", "x": "p", "y": "q", "z": ""},
        {"text": "c", "x": "q", "y": None, "z": float("nan")},
        {"text": "d", "x": "", "y": "", "z": ""},
        columns={"label": ["x", "y", "z"]},
    )
    assert [(e.target, e.extra["votes"], e.extra["annotators"]) for e in mapped.examples] == [
        ("p", ["p", "p", "q"], ["x", "y", "z"]),
        ("q", ["q"], ["x"]),
    ]
    assert [(d.source.line, d.reason) for d in mapped.dropped] == [(2, DISAGREE), (4, c.NO_LABEL)]
    assert mapped.dropped[0].detail == "p: 1, q: 1" and mapped.recognised_as == "text, x, y, z"
    assert mapped.examples[0].id == stable_hash([{"text": "a"}, "p"])
    missing = classify({"text": "a", "x": "p"}, columns={"label": ["x", "yy"]})
    assert [str(f)[:40] for f in missing.faults] == ['m.jsonl:1: no column "yy" (data.columns.'[:40]]
    wrong = classify({"text": "a", "x": "p"}, columns={"text": ["x", "y"]})
    assert "label of classify" in str(wrong.faults[0])


def test_a_label_that_is_a_list_of_votes() -> None:
    mapped = classify(
        {"text": "a", "label": ["p", "q", "p"]}, {"text": "b", "label": ["p", "q"]}, {"text": "c", "label": "p"}
    )
    assert [(e.target, e.extra.get("votes")) for e in mapped.examples] == [("p", ["p", "q", "p"]), ("p", None)]
    assert [d.reason for d in mapped.dropped] == [DISAGREE]


def test_one_row_for_each_annotator() -> None:
    said = [
        ("a", "ann", "p"),
        ("b", "ann", "p"),
        ("a", "bob", "q"),
        ("b", "bob", "q"),
        ("a", "cyd", "p"),
        ("c", "", "q"),
    ]
    mapped = classify(
        *({"text": t, "label": label, "who": who, "n": i} for i, (t, who, label) in enumerate(said)),
        columns={"annotator": "who"},
    )
    assert [(e.inputs["text"], e.target, e.extra["votes"], e.extra["n"]) for e in mapped.examples] == [
        ("a", "p", ["p", "q", "p"], 0),
        ("c", "q", ["q"], 5),
    ]
    assert mapped.examples[0].extra["annotators"] == ["ann", "bob", "cyd"]
    assert mapped.examples[0].id == stable_hash([{"text": "a"}, "p"])
    assert sorted((d.source.line, d.reason) for d in mapped.dropped) == [
        (2, DISAGREE), (3, JOINED), (4, JOINED), (5, JOINED),
    ]  # fmt: skip
    assert len(mapped.examples) + len(mapped.dropped) == len(said)


def test_dates_are_checked_and_left_as_they_stand() -> None:
    mapped = classify(
        {"text": "a", "label": "x", "at": "2024-05-01"},
        {"text": "b", "label": "x", "at": ""},
        {"text": "c", "label": "x", "at": "soon"},
        {"text": "d", "label": "x", "at": "31/02/2024"},
        time="at",
    )
    assert [e.extra["at"] for e in mapped.examples] == ["2024-05-01", "soon", "31/02/2024"]
    assert [(d.source.line, d.reason) for d in mapped.dropped] == [(2, c.NO_DATE)]
    assert [str(f) for f in mapped.faults] == [
        'm.jsonl:3: "soon" in the column "at" is no date that can be read. Write dates as 2024-05-31.',
        'm.jsonl:4: "31/02/2024" in the column "at" is no date that can be read. Write dates as 2024-05-31.',
    ]
    assert "data.split.time" in str(classify({"text": "a", "label": "x"}, time="day").faults[0])


MAY = datetime(2024, 5, 3, tzinfo=UTC)


@pytest.mark.parametrize(
    "value",
    [
        "2024-05-03", "20240503", "2024/05/03", "2024/5/3", "3.5.2024", "03.05.2024", "2024-05-03T00:00:00Z", "2024-05-03 02:00+02:00",
        "Fri, 03 May 2024 00:00:00 +0000", "3 May 2024", "May 3, 2024", "03-May-2024", 1714694400, 1714694400.0, "1714694400",
        1714694400000, "1714694400000", 1714694400000000, date(2024, 5, 3), datetime(2024, 5, 3),
        datetime(2024, 5, 3, 5, tzinfo=timezone(timedelta(hours=5))), "03.05.2024 00:00", " 2024-05-03 ",
    ],
)  # fmt: skip
def test_a_moment_in_many_writings(value: Any) -> None:
    assert moment(value) == MAY


@pytest.mark.parametrize(
    "value",
    [
        "",
        "soon",
        "May",
        "32.1.2024",
        "2024-13-01",
        "3/5/24",
        True,
        None,
        float("nan"),
        float("inf"),
        12,
        "12",
        [],
        "1" * 70,
    ],
)
def test_what_is_no_date(value: Any) -> None:
    assert moment(value) is None


def test_a_date_that_can_be_read_in_two_ways() -> None:
    assert moment("03/05/2024") is None
    assert moment("03/05/2024", day_first=True) == MAY == moment("05/03/2024", day_first=False)
    assert moment("31/12/2024") == moment("12/31/2024") == datetime(2024, 12, 31, tzinfo=UTC)
    assert moment("05/05/2024 3:04 pm") == datetime(2024, 5, 5, 15, 4, tzinfo=UTC)

    def order(*values: str) -> DateOrder:
        seen = DateOrder("at")
        for line, value in enumerate(values, 1):
            seen.see(value, Source("m.csv", line))
        return seen

    assert order("03/05/2024", "25/04/2024").day_first is True
    assert order("03-05-2024", "04-25-2024").day_first is False
    unsure = order("2024-05-03", "03/05/2024", "04/05/2024")
    assert unsure.day_first is None and str(unsure.faults()[0]).startswith(
        'm.csv:2: "03/05/2024" in the column "at" can be'
    )
    both = order("25/04/2024", "04/26/2024")
    assert "month first at m.csv:2" in str(both.faults()[0]) and both.faults()[0].where == "m.csv:1"
    assert not order("25/04/2024", "03/05/2024").faults() and len(order(*["x"] * 50).faults()) == 20
    mapped = classify(
        *({"text": f"t{i}", "label": "x", "at": at} for i, at in enumerate(["1/2/2024", "13/2/2024"])), time="at"
    )
    assert not mapped.faults


@settings(max_examples=100, deadline=None)
@given(at=st.datetimes(datetime(1980, 1, 1), datetime(2200, 1, 1)).map(lambda d: d.replace(microsecond=0, tzinfo=UTC)))
def test_what_other_writers_write_is_read_back(at: datetime) -> None:
    for written in (
        at.isoformat(),
        format_datetime(at),
        at.timestamp(),
        int(at.timestamp() * 1000),
        at.strftime("%d.%m.%Y %H:%M:%S"),
    ):
        assert moment(written) == at, written


def test_plain_text_and_what_has_no_label() -> None:
    mapped = to_examples(rows({"text": "a", "url": "u"}, {"text": " "}), columns={}, objective="text")
    assert [(e.inputs, e.target, e.extra) for e in mapped.examples] == [({"text": "a"}, "", {"url": "u"})]
    assert [d.reason for d in mapped.dropped] == [c.EMPTY_TEXT] and mapped.recognised_as == "text"
    for objective in ("classify", "generate", "prefer"):
        mapped = to_examples(rows({"text": "a"}, file="n.md.gz"), columns={}, objective=objective)
        assert "Set task.objective: text" in str(mapped.faults[0]) and len(mapped.faults) == 1
    mapped = to_examples(rows({"text": "a"}, file="n.txt"), columns={}, objective="classify", need_target=False)
    assert len(mapped.examples) == 1 and not mapped.faults


def test_what_cannot_be_written_as_json_never_reaches_an_example() -> None:
    deep: Any = "x"
    for _ in range(100_000):
        deep = [deep]
    mapped = classify({"text": "a", "label": "x", "\ud800": "\ud800", "deep": deep, "at": date(2024, 5, 3)})
    extra = mapped.examples[0].extra
    assert extra == {"?": "?", "deep": "list", "at": "2024-05-03"}
    assert generate({"messages": [{"role": "user", "content": deep}]}).dropped[0].reason == turns.UNREADABLE_TURN

"""Conversations, pairs, marked answers and tool calls are recognised without being told, and read as they are meant."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from luthier.base.records import Row, Source
from luthier.data.shapes.calls import UNREADABLE_CALL, UNREADABLE_TOOLS
from luthier.data.shapes.cells import EMPTY_ANSWER, EMPTY_PROMPT
from luthier.data.shapes.columns import Mapped, to_examples
from luthier.data.shapes.formats import NO_FLAG, UNDESIRABLE
from luthier.data.shapes.pairs import OTHER_PROMPTS, SAME_ANSWERS
from luthier.data.shapes.turns import UNREADABLE_TURN
from luthier.data.sources import open_sources
from luthier.prompts.encode import Turns
from luthier.prompts.template import plain_text, spoken
from luthier.spec.data import DataSection

REAL = Path(__file__).parents[2].parent / "shared" / "data"


def turn(role: str, content: Any, **more: Any) -> dict[str, Any]:
    return {"role": role, "content": content, **more}


def said(who: str, value: str) -> dict[str, str]:
    return {"from": who, "value": value}


U, A = turn("user", "hi"), turn("assistant", "hello")
CALL = {"type": "function", "function": {"name": "find", "arguments": {"q": "x"}}}
TOOL = {
    "name": "find",
    "description": "Find.",
    "parameters": {"type": "object", "properties": {"q": {"type": "string"}}},
}


def mapped(objective: str, *values: dict[str, Any], **options: Any) -> Mapped:
    rows = [Row(v, Source("m.jsonl", i)) for i, v in enumerate(values, 1)]
    return to_examples(rows, **({"columns": {}, "objective": objective} | options))


PAIRS = {
    "plain": ({"prompt": "hi", "chosen": "good", "rejected": "bad"}, "dpo (prompt, chosen, rejected)"),
    "sharegpt": (
        {"conversations": [said("human", "hi")], "chosen": said("gpt", "good"), "rejected": said("gpt", "bad")},
        "dpo (conversations, chosen, rejected)",
    ),
    "alpaca": (
        {"instruction": "hi", "input": "", "chosen": "good", "rejected": "bad"},
        "dpo (instruction, input, chosen, rejected)",
    ),
    "question": ({"question": "hi", "chosen": "good", "rejected": "bad"}, "dpo (question, chosen, rejected)"),
    "whole": (
        {"chosen": [U, turn("assistant", "good")], "rejected": [U, turn("assistant", "bad")]},
        "dpo (chosen, rejected)",
    ),
    "whole as text": (
        {
            "chosen": json.dumps([U, turn("assistant", "good")]),
            "rejected": json.dumps([U, turn("assistant", "bad")]),
        },
        "dpo (chosen, rejected)",
    ),
    "prompt and whole": (
        {"prompt": "hi", "chosen": [U, turn("assistant", "good")], "rejected": [U, turn("assistant", "bad")]},
        "dpo (prompt, chosen, rejected)",
    ),
    "turns": (
        {"prompt": [U], "chosen": [turn("assistant", "good")], "rejected": [turn("assistant", "bad")]},
        "dpo (prompt, chosen, rejected)",
    ),
    "messages": ({"messages": [U], "chosen": "good", "rejected": "bad"}, "dpo (messages, chosen, rejected)"),
    "speakers": (
        {"chosen": "\n\nHuman: hi\n\nAssistant: good", "rejected": "\n\nHuman: hi\n\nAssistant: bad"},
        "dpo (chosen, rejected)",
    ),
}


@pytest.mark.parametrize("form", PAIRS)
def test_pairs_in_their_forms(form: str) -> None:
    values, name = PAIRS[form]
    found = mapped("prefer", values)
    assert not found.faults and found.recognised_as == name and not found.dropped
    assert found.examples[0].inputs == {"messages": [U]}
    assert found.examples[0].target == {"chosen": "good", "rejected": "bad"}
    found = mapped("generate", values)
    assert (found.examples[0].inputs, found.examples[0].target) == ({"messages": [U]}, "good")


def test_pairs_that_cannot_be_used_and_columns_named() -> None:
    found = mapped(
        "prefer",
        {"prompt": "p", "chosen": "a", "rejected": "a"},
        {"prompt": "p", "chosen": "a", "rejected": ""},
        {"prompt": "", "chosen": "a", "rejected": "b"},
        {"prompt": "p", "chosen": [U, A], "rejected": [turn("user", "else"), A]},
        {"prompt": "p", "chosen": [U, U], "rejected": [U, A]},
        {"prompt": "p", "chosen": '{"answer": 1}', "rejected": "[{]"},
    )
    assert [d.reason for d in found.dropped] == [SAME_ANSWERS, EMPTY_ANSWER, EMPTY_PROMPT, OTHER_PROMPTS, EMPTY_ANSWER]
    assert found.examples[0].target == {"chosen": '{"answer": 1}', "rejected": "[{]"}
    named = mapped(
        "prefer", {"q": "p", "good": "a", "bad": "b"}, columns={"prompt": "q", "chosen": "good", "rejected": "bad"}
    )
    assert named.examples[0].target == {"chosen": "a", "rejected": "b"}
    missing = mapped("prefer", {"prompt": "p", "choosen": "a", "rejected": "b"})
    assert [f.where for f in missing.faults] == ["m.jsonl:1"] and 'Did you mean "choosen"?' in str(missing.faults[0])
    asked = mapped("prefer", {"prompt": "p"}, need_target=False)
    assert asked.examples[0].target is None and not asked.faults


def test_an_answer_beside_pairs_is_the_answer_of_generate() -> None:
    row = {"instruction": "i", "input": "", "output": "o", "chosen": "c", "rejected": "r"}
    assert mapped("generate", row).examples[0].target == "o"
    assert mapped("prefer", row).examples[0].target == {"chosen": "c", "rejected": "r"}
    columns = {"prompt": "instruction", "chosen": "chosen"}
    assert mapped("generate", row, columns=columns).examples[0].target == "c"


@pytest.mark.parametrize(
    ("values", "name"),
    [
        ({"messages": [U, A], "label": True}, "kto (messages, label)"),
        ({"messages": [U, A], "kto_tag": "true"}, "kto (messages, kto_tag)"),
        ({"conversations": [said("human", "hi"), said("gpt", "hello")], "label": True}, "kto (sharegpt, label)"),
        ({"prompt": "hi", "completion": "hello", "label": True}, "kto (prompt, completion, label)"),
        ({"prompt": [U], "completion": [A], "label": "True"}, "kto (prompt, completion, label)"),
        ({"instruction": "hi", "output": "hello", "kto_tag": True}, "kto (alpaca, kto_tag)"),
    ],
)
def test_answers_marked_good_or_bad(values: dict[str, Any], name: str) -> None:
    flag = "label" if "label" in values else "kto_tag"
    found = mapped("prefer", values, values | {flag: False}, values | {flag: None})
    assert found.recognised_as == name and not found.faults
    assert [e.target for e in found.examples] == [
        {"completion": "hello", "desirable": True},
        {"completion": "hello", "desirable": False},
    ]
    assert found.examples[0].inputs == {"messages": [U]} and [d.reason for d in found.dropped] == [NO_FLAG]
    found = mapped("generate", values, values | {flag: False})
    assert [e.target for e in found.examples] == ["hello"] and [d.reason for d in found.dropped] == [UNDESIRABLE]


def test_a_label_that_marks_nothing_is_only_a_column() -> None:
    for label in (1, "refund", "0"):
        found = mapped("generate", {"messages": [U, A], "label": label})
        assert found.examples[0].extra == {"label": label} and found.recognised_as == "messages"
    assert mapped("prefer", {"messages": [U, A], "label": 0}).examples[0].target["desirable"] is False


CALLS = {
    "openai": [
        U,
        turn("assistant", None, tool_calls=[{"id": "c1", "type": "function", "function": {"name": "find", "arguments": '{"q": "x"}'}}]),
        turn("tool", "found", tool_call_id="c1"),
        A,
    ],
    "old openai": [U, turn("assistant", "", function_call={"name": "find", "arguments": '{"q": "x"}'}), turn("function", "found"), A],
    "sharegpt": [
        said("human", "hi"),
        said("function_call", '{"name": "find", "arguments": {"q": "x"}}'),
        said("observation", "found"),
        said("gpt", "hello"),
    ],
    "parts": [
        turn("user", [{"type": "text", "value": "hi"}]),
        turn("assistant", [{"type": "tool_call", "value": '{"name": "find", "arguments": {"q": "x"}}'}]),
        turn("tool", [{"type": "text", "text": "found"}]),
        turn("assistant", ["hello"]),
    ],
}  # fmt: skip


@pytest.mark.parametrize("form", CALLS)
@pytest.mark.parametrize("tools", [[TOOL], json.dumps([TOOL]), [{"type": "function", "function": TOOL}]])
def test_tool_calls_and_tools(form: str, tools: Any) -> None:
    column = "conversations" if form == "sharegpt" else "messages"
    found = mapped("generate", {column: CALLS[form], "tools": tools}, {column: CALLS[form], "tools": "[]"})
    assert (
        not found.dropped and found.recognised_as == ("sharegpt" if form == "sharegpt" else "messages") + " with tools"
    )
    first, second = found.examples
    asked = first.inputs["messages"]
    assert [t["role"] for t in asked] == ["user", "assistant", "tool"] and first.target == "hello"
    assert [c["function"] for c in asked[1]["tool_calls"]] == [CALL["function"]] and asked[1]["content"] == ""
    assert asked[2]["content"] == "found" and ("tool_call_id" in asked[2]) == (form == "openai")
    assert first.inputs["tools"] == [{"type": "function", "function": TOOL}] and "tools" not in second.inputs
    assert "tools" not in first.extra
    ends = mapped("generate", {column: CALLS[form][:2]})
    assert json.loads(ends.examples[0].target) == CALL["function"]


def test_calls_that_cannot_be_read() -> None:
    ask = lambda answer, **more: {"messages": [U, answer], **more}  # noqa: E731
    found = mapped(
        "generate",
        ask(turn("assistant", "", tool_calls=[{"function": {"arguments": {}}}])),
        ask(turn("assistant", "", tool_calls=[{"function": {"name": "f", "arguments": "{"}}])),
        ask(turn("function_call", "f(x)")),
        {"messages": [turn("user", "hi", tool_calls=[CALL]), A]},
        ask(turn("assistant", [{"type": "image_url", "image_url": "x"}])),
        ask(A, tools="[1]"),
        ask(A, tools="[{}]"),
        ask(turn("assistant", "text and", tool_calls=[CALL, CALL])),
    )
    assert [d.reason for d in found.dropped] == [
        *[UNREADABLE_CALL] * 3,
        *[UNREADABLE_TURN] * 2,
        *[UNREADABLE_TOOLS] * 2,
    ]
    words, _, calls = found.examples[0].target.partition("\n")
    assert words == "text and" and json.loads(calls) == [CALL["function"]] * 2
    other = mapped("generate", {"prompt": "p", "completion": "c", "tools": "hammer, saw"})
    assert other.examples[0].extra == {"tools": "hammer, saw"} and "tools" not in other.examples[0].inputs


def test_reasoning_stands_before_the_words() -> None:
    parts = [{"type": "reasoning", "value": "why"}, {"type": "text", "text": "hello"}]
    for answer in (turn("assistant", parts), turn("assistant", "hello", reasoning_content="why")):
        assert mapped("generate", {"messages": [U, answer]}).examples[0].target == "<think>\nwhy\n</think>\n\nhello"


def test_alpaca_history_and_system() -> None:
    row = {"instruction": "c", "input": "", "output": "d", "history": [["a", "b"]], "system": "s"}
    for history in ([["a", "b"]], '[["a", "b"]]'):
        found = mapped("generate", row | {"history": history})
        assert [(t["role"], t["content"]) for t in found.examples[0].inputs["messages"]] == [
            ("system", "s"), ("user", "a"), ("assistant", "b"), ("user", "c"),
        ]  # fmt: skip
    bad = mapped("generate", row | {"history": [["a"]]}, row | {"history": "["}, row | {"history": []})
    assert [d.reason for d in bad.dropped] == [UNREADABLE_TURN] * 2 and len(bad.examples) == 1


DEMOS: dict[tuple[str, str], tuple[str, int, int]] = {
    ("alpaca_en_demo.json", "generate"): ("alpaca", 999, 0),
    ("identity.json", "generate"): ("alpaca", 91, 0),
    ("glaive_toolcall_en_demo.json", "generate"): ("sharegpt with tools", 300, 0),
    ("reason_tool_use_demo_50.jsonl", "generate"): ("messages with tools", 50, 0),
    ("dpo_en_demo.json.gz", "prefer"): ("dpo (conversations, chosen, rejected)", 300, 0),
    ("dpo_en_demo.json.gz", "generate"): ("dpo (conversations, chosen, rejected)", 300, 0),
    ("kto_en_demo.json", "prefer"): ("kto (messages, label)", 300, 0),
    ("kto_en_demo.json", "generate"): ("kto (messages, label)", 150, 150),
    ("c4_demo.jsonl", "text"): ("text", 300, 0),
    ("wiki_demo.txt.gz", "text"): ("text", 30, 0),
}


@pytest.mark.parametrize(("name", "objective"), DEMOS)
def test_files_as_their_users_have_them(name: str, objective: str) -> None:
    if not (REAL / "llamafactory_demos" / name).is_file():
        pytest.skip(f"the shared data folder has no {name} here")
    faults: list[Any] = []
    [origin] = open_sources(name, REAL / "llamafactory_demos", data=DataSection(source=name))
    found = to_examples(origin.rows(faults=faults), columns={}, objective=objective)
    assert not faults and not found.faults
    assert (found.recognised_as, len(found.examples), len(found.dropped)) == DEMOS[name, objective]
    if "tool" in name:
        tools = {tool["function"]["name"] for e in found.examples for tool in e.inputs.get("tools", [])}
        turns = [t for e in found.examples for t in e.inputs["messages"]]
        called = [call["function"]["name"] for t in turns for call in t.get("tool_calls", [])]
        raw = (REAL / "llamafactory_demos" / name).read_text(encoding="utf-8")
        rows = json.loads(raw) if name.endswith(".json") else [json.loads(line) for line in raw.splitlines()]
        before = json.dumps([(row.get("conversations") or row["messages"])[:-1] for row in rows])
        assert len(called) == before.count('"from": "function_call"') + before.count('"type": "tool_call"') > 40
        assert set(called) <= tools
        last = [e.target for e in found.examples if '{"name": ' in e.target]
        assert bool(last) == name.startswith("reason") and all(json.loads(t.rpartition("\n")[2]) for t in last)


TOOLS_TEMPLATE = (
    "{% if tools %}<tools>{{ tools | tojson }}</tools>\n{% endif %}"
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}"
    "{% for c in m.tool_calls or [] %}<call>{{ c.function | tojson }}</call>{% endfor %}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
TALK = [U, {"role": "assistant", "content": "", "tool_calls": [CALL]}, turn("tool", "found")]
TOOLS = [{"type": "function", "function": TOOL}]


def test_rendered_tools_equal_the_templates_own(tiny_llama: Path) -> None:
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(tiny_llama)
    tokenizer.chat_template = TOOLS_TEMPLATE
    turns = Turns(tokenizer, "chat", 2000)
    own = tokenizer.apply_chat_template(TALK, tools=TOOLS, tokenize=True, add_generation_prompt=True, return_dict=False)
    assert turns.prompt_ids(TALK, TOOLS) == own == list(turns.encode_prompt(TALK, room=9, tools=TOOLS).ids)
    whole = tokenizer.apply_chat_template([*TALK, A], tools=TOOLS, tokenize=True, return_dict=False)
    encoded = turns.encode(TALK, "hello", tools=TOOLS)
    assert encoded is not None and list(encoded.ids) == whole[: len(encoded.ids)]
    learnt = [i for i, learn in zip(encoded.ids, encoded.learn, strict=True) if learn]
    assert tokenizer.decode(learnt) == "hello<|im_end|>" and '"find"' in tokenizer.decode(own)
    assert tokenizer.decode(turns.prompt_ids(TALK)).count("Find.") == 0


def test_a_template_without_tools_is_given_them_in_words(tiny_llama: Path) -> None:
    from transformers import AutoTokenizer

    turns = Turns(AutoTokenizer.from_pretrained(tiny_llama), "chat", 2000)
    text = turns.tokenizer.decode(turns.prompt_ids(TALK, TOOLS))
    call = json.dumps(CALL["function"])
    assert text.startswith(("<s><|im_start|>system\n", "<|im_start|>system\n"))
    assert json.dumps(TOOL) in text and f"<|im_start|>assistant\n{call}<|im_end|>" in text
    plain = plain_text(TALK, TOOLS)
    assert json.dumps(TOOL) in plain and f"Assistant: {call}\n" in plain and "Tool: found\n" in plain
    assert spoken(A) == "hello" and plain_text([U]) == "hi\n"

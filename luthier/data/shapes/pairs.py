"""Pairs of a better and a worse answer to one prompt (DPO), in the forms they are written in."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from luthier.data.shapes.cells import EMPTY_ANSWER, EMPTY_PROMPT, Unusable, text_of
from luthier.data.shapes.formats import (
    Ask,
    asking_columns,
    chat_ask,
    chat_column,
    flag_column,
    pair_ask,
    talk_scheme,
    tools_column,
    with_tools,
)
from luthier.data.shapes.layout import Layout, Reader, Scheme
from luthier.data.shapes.turns import Message, asking, messages_of, turn_of
from luthier.prompts.template import spoken

SAME_ANSWERS = "chosen and rejected are the same"
OTHER_PROMPTS = "chosen and rejected answer different prompts"

_SPEAKERS = re.compile(r"\n\n(Human|Assistant):")
_ROLES = {"Human": "user", "Assistant": "assistant"}
Answer = str | list[Message]


def answer_scheme(layout: Layout) -> Scheme | None:
    """Return how ``generate`` reads a file: its answers, or the chosen ones where it holds pairs and no other answer."""
    told = "chosen" in layout.columns
    answered = "completion" in layout.columns or "output" in layout.keys or "completion" in layout.keys
    if _is_pairs(layout) and (told or not answered):
        return _pairs(layout, both=False)
    return talk_scheme(layout, graded=False)


def prefer_scheme(layout: Layout) -> Scheme | None:
    """Return how ``prefer`` reads a file: as pairs, or as single answers marked good or bad (KTO)."""
    if _is_pairs(layout):
        return _pairs(layout, both=True)
    if not {"chosen", "rejected"} & layout.columns.keys() and (
        not layout.need_target or flag_column(layout, sure=False)
    ):
        return talk_scheme(layout, graded=True)
    layout.find("chosen")
    layout.find("rejected")
    return None


def _is_pairs(layout: Layout) -> bool:
    return layout.has("chosen") and layout.has("rejected")


def _pairs(layout: Layout, *, both: bool) -> Scheme | None:
    before = len(layout.faults)
    chosen, rejected = layout.find("chosen"), layout.find("rejected")
    ask, asked = _ask(layout)
    tools = tools_column(layout)
    if len(layout.faults) > before:
        return None
    named = ", ".join([*asked, chosen, rejected])
    used = frozenset((*asked, chosen, rejected, *([tools] if tools else [])))
    read = _reader(ask, chosen, rejected, tools, both=both, need_target=layout.need_target)
    return Scheme(f"dpo ({named}){' with tools' if tools else ''}", used, read)


def _ask(layout: Layout) -> tuple[Ask | None, list[str]]:
    """Return the reader of the prompt and its columns; None where chosen and rejected hold the whole conversations."""
    if chat := chat_column(layout):
        ask, system = chat_ask(layout, chat)
        return ask, [chat, *system]
    found = asking_columns(layout, answered=True)
    if found is None and "question" in layout.keys:
        found = "", {"prompt": "question", **layout.some("system")}
    if found is None:
        return None, []
    return pair_ask(found[1]), list(found[1].values())


def _reader(ask: Ask | None, chosen: str, rejected: str, tools: str, *, both: bool, need_target: bool) -> Reader:
    def read(values: Mapping[str, Any]) -> tuple[dict[str, Any], Any, None]:
        better, worse = _answer(values.get(chosen)), _answer(values.get(rejected))
        begun = _begun(better, worse if both or ask is None else None)
        # A conversation that chosen and rejected share holds the prompt, and often the system's turn before it.
        asked = begun or (ask(values) if ask else [])
        if not asked:
            raise Unusable(EMPTY_PROMPT)
        good, bad = _said(better), _said(worse) if both else ""
        if asked[-1]["role"] == "assistant" and spoken(asked[-1]) == good:
            asked = asked[:-1]
        asked = asking(asked)
        if asked[-1]["role"] == "assistant":
            raise Unusable(EMPTY_PROMPT, "the prompt ends with an assistant turn")
        inputs = with_tools(asked, values, tools)
        if not good or (both and not bad):
            if need_target:
                raise Unusable(EMPTY_ANSWER)
            return inputs, None, None
        if good == bad:
            raise Unusable(SAME_ANSWERS)
        return inputs, {"chosen": good, "rejected": bad} if both else good, None

    return read


def _answer(value: Any) -> Answer:
    """Return an answer as text, or as the turns it is written in."""
    if isinstance(value, str) and value.lstrip()[:2] in ("[{", '{"'):
        value = _turns_in(value)
    if isinstance(value, Mapping):
        return [turn_of(value)]
    if isinstance(value, list):
        return messages_of(value)
    text = text_of(value)
    if isinstance(value, str) and value.startswith("\n\nHuman:"):
        parts = _SPEAKERS.split(value)[1:]
        return [
            {"role": _ROLES[who], "content": text_of(said)} for who, said in zip(parts[::2], parts[1::2], strict=True)
        ]
    return text


def _turns_in(text: str) -> Any:
    """Return the turns that a cell holds as JSON text; JSON that is an answer by itself stays text."""
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return text
    first = value[0] if isinstance(value, list) and value else value
    is_turn = isinstance(first, Mapping) and {"role", "from"} & first.keys() and {"content", "value"} & first.keys()
    return value if is_turn else text


def _begun(better: Answer, worse: Answer | None) -> list[Message]:
    """Return the turns before the answer, where it comes as a conversation; both must begin alike."""
    begun = better[:-1] if isinstance(better, list) else []
    if isinstance(worse, list) and worse[:-1] != begun:
        raise Unusable(OTHER_PROMPTS)
    return begun


def _said(answer: Answer) -> str:
    if isinstance(answer, str):
        return answer
    if answer[-1]["role"] != "assistant":
        raise Unusable(EMPTY_ANSWER, f"the answer is a {answer[-1]['role']} turn")
    return spoken(answer[-1])

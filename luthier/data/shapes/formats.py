"""Formats of prompts and answers, recognised by their columns: chats, ShareGPT, Alpaca, pairs, KTO; see also pairs.py."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

from luthier.data.shapes.calls import tools_of
from luthier.data.shapes.cells import EMPTY_ANSWER, EMPTY_PROMPT, Unusable, text_of
from luthier.data.shapes.layout import Layout, Reader, Scheme
from luthier.data.shapes.turns import UNREADABLE_TURN, Message, asking, messages_of, split_answer, turn_of
from luthier.prompts.template import spoken

UNDESIRABLE = "answer marked as undesirable"
NO_FLAG = "answer not marked as desirable or not"

Ask = Callable[[Mapping[str, Any]], list[Message]]
Talk = Callable[[Mapping[str, Any]], tuple[list[Message], str | None]]
_FLAGS = {"true": True, "false": False, "1": True, "0": False, "1.0": True, "0.0": False}


def free(layout: Layout) -> bool:
    """Whether the task leaves open which columns hold the prompt."""
    return not {"messages", "prompt", "completion", "input"} & layout.columns.keys()


def talk_scheme(layout: Layout, *, graded: bool) -> Scheme | None:
    """Return how prompts and answers are read: chat, ShareGPT, prompt and completion, Alpaca, looked for in this order.

    Args:
        graded: the objective learns from answers marked good and bad (KTO); else bad ones are left out.
    """
    before = len(layout.faults)
    chat = chat_column(layout)
    if chat:
        name, used, talk = _chat(layout, chat)
    else:
        name, used, talk = _pair(layout)
    tools = tools_column(layout)
    flag = flag_column(layout, sure=not graded)
    if len(layout.faults) > before:
        return None
    shown = f"kto ({name}, {flag})" if flag else name
    used = used | {column for column in (tools, flag) if column}
    read = _reader(talk, tools, flag, graded=graded, need_target=layout.need_target)
    return Scheme(f"{shown} with tools" if tools else shown, frozenset(used), read)


def _reader(talk: Talk, tools: str, flag: str, *, graded: bool, need_target: bool) -> Reader:
    def read(values: Mapping[str, Any]) -> tuple[dict[str, Any], Any, None]:
        asked, answer = talk(values)
        inputs = with_tools(asked, values, tools)
        if not flag or answer is None:
            return inputs, answer, None
        desirable = _flag(values.get(flag))
        if desirable is None and need_target:
            raise Unusable(NO_FLAG)
        if graded:
            return inputs, None if desirable is None else {"completion": answer, "desirable": desirable}, None
        if desirable is False and need_target:
            raise Unusable(UNDESIRABLE)
        return inputs, answer, None

    return read


def with_tools(asked: list[Message], values: Mapping[str, Any], tools: str) -> dict[str, Any]:
    """Return an example's inputs: the turns, and the tools that can be called, where the row has any."""
    found = tools_of(values.get(tools)) if tools else None
    return {"messages": asked, "tools": found} if found else {"messages": asked}


def chat_column(layout: Layout) -> str:
    """Return the column of conversations; empty where the file is read by prompt and answer."""
    if "messages" in layout.columns:
        return layout.find("messages")
    if not free(layout):
        return ""
    if "messages" in layout.keys:
        return "messages"
    answered = "completion" in layout.keys or not layout.need_target or "chosen" in layout.keys
    has_prompt = "prompt" in layout.keys and answered
    return "conversations" if not has_prompt and "conversations" in layout.keys else ""


def _chat(layout: Layout, column: str) -> tuple[str, set[str], Talk]:
    ask, system = chat_ask(layout, column)

    def talk(values: Mapping[str, Any]) -> tuple[list[Message], str | None]:
        return split_answer(ask(values), need_target=layout.need_target)

    kind = "sharegpt" if column == "conversations" else "messages"
    shown = kind if column in (kind, "conversations") else f"messages in {column}"
    return shown, {column, *system}, talk


def chat_ask(layout: Layout, column: str) -> tuple[Ask, list[str]]:
    """Return a reader of all turns, the system's column before them, which ShareGPT files often keep apart."""
    system = layout.some("system").get("system", "")

    def ask(values: Mapping[str, Any]) -> list[Message]:
        return _after_system(values, system, messages_of(values.get(column)))

    return ask, [system] if system else []


def _after_system(values: Mapping[str, Any], system: str, messages: list[Message]) -> list[Message]:
    told = values.get(system) if system else None
    if isinstance(told, str) and told.strip() and messages[0]["role"] != "system":
        return [{"role": "system", "content": text_of(told)}, *messages]
    return messages


def asking_columns(layout: Layout, *, answered: bool) -> tuple[str, dict[str, str]] | None:
    """Return the format's name and the columns of a prompt; None where the file has none under a known name."""
    more = ("input", "system", "history")
    if layout.has("prompt") or "prompt" in layout.columns:
        return "", {"prompt": layout.find("prompt"), **layout.told(*more)}
    if free(layout) and "instruction" in layout.keys and answered:
        return "alpaca", {"prompt": "instruction", **layout.some(*more)}
    return None


def _pair(layout: Layout) -> tuple[str, set[str], Talk]:
    output = "output" in layout.keys or "completion" in layout.columns or not layout.need_target
    complete = layout.has("prompt") and (layout.has("completion") or not layout.need_target)
    found = None if complete else asking_columns(layout, answered=output)
    if found is None or found[0] != "alpaca":
        kind, columns = "", {"prompt": layout.find("prompt"), **layout.told("input", "system", "history")}
        answer = layout.find("completion") if layout.need_target else layout.name("completion")
    else:
        kind, columns = found
        answer = layout.name("completion") if "completion" in layout.columns else "output"
    ask = pair_ask(columns)

    def talk(values: Mapping[str, Any]) -> tuple[list[Message], str | None]:
        return ask(values), answer_of(values.get(answer)) or None

    prompt = columns["prompt"]
    return kind or (f"{prompt}, {answer}" if answer in layout.keys else prompt), {answer, *columns.values()}, talk


def pair_ask(columns: Mapping[str, str]) -> Ask:
    """Return a reader of the turns before an answer, from columns for prompt, input, system and history."""
    prompt, more, told, before = (columns.get(what, "") for what in ("prompt", "input", "system", "history"))

    def ask(values: Mapping[str, Any]) -> list[Message]:
        value = values.get(prompt)
        if isinstance(value, list):  # TRL's conversational form
            return asking(_after_system(values, told, messages_of(value)))
        parts = [text_of(value), text_of(values.get(more)) if more else ""]
        asked = "\n\n".join(part for part in parts if part)
        if not asked:
            raise Unusable(EMPTY_PROMPT)
        system = text_of(values.get(told)) if told else ""
        messages = [{"role": "system", "content": system}] if system else []
        messages += _history(values.get(before)) if before else []
        return [*messages, {"role": "user", "content": asked}]

    return ask


def _history(value: Any) -> list[Message]:
    """Return earlier turns from ``[[prompt, answer], ...]``."""
    if isinstance(value, str):
        try:
            value = json.loads(value) if value.strip() else None
        except (ValueError, RecursionError):
            raise Unusable(UNREADABLE_TURN, "the history is text that is not JSON") from None
    turns: list[Message] = []
    for entry in value if isinstance(value, list) else []:
        if not isinstance(entry, list | tuple) or len(entry) != 2:
            raise Unusable(UNREADABLE_TURN, "a turn of the history is not a prompt and an answer")
        pair = [text_of(part) for part in entry]
        if not all(pair):
            raise Unusable(UNREADABLE_TURN, "a turn of the history has no text")
        turns += [{"role": "user", "content": pair[0]}, {"role": "assistant", "content": pair[1]}]
    return turns


def answer_of(value: Any) -> str:
    """Return the text of an answer: text, one assistant turn, or a list of one."""
    if isinstance(value, list) and value and isinstance(value[-1], Mapping):
        value = value[-1] if len(value) == 1 else value
    if isinstance(value, Mapping) and {"role", "from"} & value.keys():
        turn = turn_of(value)
        if turn["role"] != "assistant":
            raise Unusable(EMPTY_ANSWER, f"the answer is a {turn['role']} turn")
        return spoken(turn)
    return text_of(value)


def tools_column(layout: Layout) -> str:
    """Return the column of tools; a column of that name that holds something else is none, unless the task names it."""
    if "tools" in layout.columns:
        return layout.find("tools")
    values = layout.first("tools") if "tools" in layout.keys else []
    structured = [isinstance(v, list | dict) or str(v).lstrip().startswith(("[", "{")) for v in values]
    return "tools" if structured and all(structured) else ""


def flag_column(layout: Layout, *, sure: bool) -> str:
    """Return the column that marks answers as desirable (``kto_tag``, or a true-or-false ``label``); empty without one.

    Args:
        sure: take 0 and 1 for something else.
    """
    if "label" in layout.columns:
        return layout.find("label")
    if "kto_tag" in layout.keys:
        return "kto_tag"
    values = layout.first("label") if "label" in layout.keys else []
    flags = [v if isinstance(v, bool) else str(v).strip().lower() for v in values]
    known = (True, False, "true", "false") if sure else (True, False, *_FLAGS)
    return "label" if flags and all(any(f is k or f == k for k in known) for f in flags) else ""


def _flag(value: Any) -> bool | None:
    return value if isinstance(value, bool) else _FLAGS.get(str(value).strip().lower())

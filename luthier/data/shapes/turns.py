"""Conversations as people write them down: OpenAI chat messages and ShareGPT turns, brought to one form."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from luthier.base.errors import did_you_mean
from luthier.data.shapes.calls import calls_of
from luthier.data.shapes.cells import Unusable, text_of
from luthier.prompts.template import spoken

UNREADABLE_TURN = "unreadable turn"
UNKNOWN_ROLE = "unknown role"
NO_TURNS = "no messages"
NO_USER_TURN = "no user turn before the answer"
NO_ANSWER_AT_END = "conversation does not end with an answer"

Message = dict[str, Any]

ROLES: dict[str, str] = {
    "system": "system",
    "developer": "system",
    "user": "user",
    "human": "user",
    "assistant": "assistant",
    "gpt": "assistant",
    "chatgpt": "assistant",
    "bot": "assistant",
    "model": "assistant",
    "function_call": "assistant",
    "tool_call": "assistant",
    "tool": "tool",
    "function": "tool",
    "ipython": "tool",
    "observation": "tool",
    "tool_response": "tool",
}
_CALLING = ("function_call", "tool_call")
_TEXTS = ("text", "input_text", "output_text", "refusal")
_REASONS = ("reasoning", "thinking")


def messages_of(value: Any) -> list[Message]:
    """Return ``[{"role", "content"}, ...]`` with the roles system, user, assistant and tool.

    An assistant's calls stand in ``tool_calls``; its reasoning stands before its words, between <think> and </think>.

    Args:
        value: a list of ``{"role", "content"}`` or ``{"from", "value"}``, or such a list as JSON text (as CSV files
        hold it).
    """
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except (ValueError, RecursionError):
            raise Unusable(UNREADABLE_TURN, "the messages are text that is not JSON") from None
    if not isinstance(value, list) or not value:
        raise Unusable(NO_TURNS)
    return [turn_of(turn) for turn in value]


def turn_of(turn: Any) -> Message:
    """Return one turn as a message."""
    if not isinstance(turn, Mapping):
        raise Unusable(UNREADABLE_TURN, "a turn is not an object")
    name = str(turn.get("role", turn.get("from", ""))).strip().lower()
    role = ROLES.get(name)
    if role is None:
        raise Unusable(UNKNOWN_ROLE, f'"{name[:40]}". {did_you_mean(name, ROLES)}'.strip())
    content = turn.get("content", turn.get("value"))
    if name in _CALLING and content:
        calls, words, reasons = calls_of(content), "", ""
    elif isinstance(content, list):
        words, reasons, calls = _joined(content)
    else:
        calls, words, reasons = [], text_of(content), ""
    calls += calls_of(turn.get("tool_calls")) + calls_of(turn.get("function_call"))
    reasons = reasons or text_of(turn.get("reasoning_content"))
    if reasons:
        words = f"<think>\n{reasons}\n</think>" + (f"\n\n{words}" if words else "")
    message: Message = {"role": role, "content": words}
    if calls:
        if role != "assistant":
            raise Unusable(UNREADABLE_TURN, f"a {role} turn calls a tool")
        message["tool_calls"] = calls
    if role == "tool":
        message |= {key: text_of(turn[key]) for key in ("name", "tool_call_id") if isinstance(turn.get(key), str)}
    return message


def _joined(parts: list[Any]) -> tuple[str, str, list[dict[str, Any]]]:
    """Return words, reasoning and calls of a content that comes in parts; pictures and sound cannot be read."""
    words: list[str] = []
    reasons: list[str] = []
    calls: list[dict[str, Any]] = []
    for part in parts:
        kind = part.get("type") if isinstance(part, Mapping) else "text"
        value = part.get("value", part.get(str(kind), part.get("text"))) if isinstance(part, Mapping) else part
        if kind in _CALLING:
            calls += calls_of(value)
        elif kind in (*_TEXTS, *_REASONS) and isinstance(value, str):
            (reasons if kind in _REASONS else words).append(text_of(value))
        else:
            raise Unusable(UNREADABLE_TURN, f'a content part of the type "{str(kind)[:40]}" is not text')
    return "\n".join(words).strip(), "\n".join(reasons).strip(), calls


def split_answer(messages: Sequence[Message], *, need_target: bool) -> tuple[list[Message], str | None]:
    """Return the turns before the answer, and the answer: the last turn, where it is the assistant's; else None.

    An answer that calls tools is the call as JSON text.

    Raises:
        Unusable: no user asked anything, a turn in the middle is empty, or an answer is needed and another turn ends
        it.
    """
    last = messages[-1]["role"]
    if need_target and last != "assistant":
        raise Unusable(NO_ANSWER_AT_END, f"it ends with a {last} turn")
    if last != "assistant":
        return asking(messages), None
    return asking(messages[:-1]), spoken(messages[-1]) or None


def asking(messages: Sequence[Message]) -> list[Message]:
    """Return the turns before an answer, empty system turns left out; raise :class:`Unusable` where they ask nothing."""
    asked = [turn for turn in messages if turn["content"] or turn["role"] != "system"]
    if not any(turn["role"] == "user" and turn["content"] for turn in asked):
        raise Unusable(NO_USER_TURN)
    empty = next((i for i, turn in enumerate(asked, 1) if not turn["content"] and "tool_calls" not in turn), 0)
    if empty:
        raise Unusable(UNREADABLE_TURN, f"turn {empty} ({asked[empty - 1]['role']}) has no text")
    return asked

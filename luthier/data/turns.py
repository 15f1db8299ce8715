"""Conversations as people write them down: OpenAI chat messages and ShareGPT turns, brought to one form."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

from luthier.base.errors import did_you_mean

UNREADABLE_TURN = "unreadable turn"
UNKNOWN_ROLE = "unknown role"
NO_TURNS = "no messages"
NO_USER_TURN = "no user turn before the answer"
NO_ANSWER_AT_END = "conversation does not end with an answer"

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
    "tool": "tool",
    "function": "tool",
    "observation": "tool",
}


class Unusable(Exception):
    """A row that cannot become an example; ``reason`` is one of the named constants."""

    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(reason)
        self.reason = reason
        self.detail = detail


def messages_of(value: Any, clean: Callable[[Any], str]) -> list[dict[str, str]]:
    """Return ``[{"role", "content"}, ...]`` with the roles system, user, assistant and tool.

    Args:
        value: a list of ``{"role", "content"}`` or ``{"from", "value"}``, or such a list as JSON text (as CSV files
        hold it). clean: makes text of a content, or raises :class:`Unusable`.
    """
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except (ValueError, RecursionError):
            raise Unusable(UNREADABLE_TURN, "the messages are text that is not JSON") from None
    if not isinstance(value, list) or not value:
        raise Unusable(NO_TURNS)
    return [_turn(turn, clean) for turn in value]


def _turn(turn: Any, clean: Callable[[Any], str]) -> dict[str, str]:
    if not isinstance(turn, Mapping):
        raise Unusable(UNREADABLE_TURN, "a turn is not an object")
    name = str(turn.get("role", turn.get("from", ""))).strip().lower()
    role = ROLES.get(name)
    if role is None:
        raise Unusable(UNKNOWN_ROLE, f'"{name[:40]}". {did_you_mean(name, ROLES)}'.strip())
    content = turn.get("content", turn.get("value"))
    return {"role": role, "content": clean(_joined(content) if isinstance(content, list) else content)}


def _joined(parts: list[Any]) -> str:
    """Join a content that comes in parts; only text can be read."""
    texts = []
    for part in parts:
        kind = part.get("type") if isinstance(part, Mapping) else None
        text = part if isinstance(part, str) else part.get("text", part.get("value")) if kind == "text" else None
        if not isinstance(text, str):
            raise Unusable(UNREADABLE_TURN, f'a content part of the type "{kind}" is not text')
        texts.append(text)
    return "\n".join(texts)


def split_answer(messages: list[dict[str, str]], *, need_target: bool) -> tuple[list[dict[str, str]], str | None]:
    """Return the turns before the answer, and the answer: the last turn, where it is the assistant's; else None.

    Raises:
        Unusable: no user asked anything, a turn in the middle is empty, or an answer is needed and another turn ends
        it.
    """
    last = messages[-1]["role"]
    if need_target and last != "assistant":
        raise Unusable(NO_ANSWER_AT_END, f"it ends with a {last} turn")
    asked, answer = (messages[:-1], messages[-1]["content"]) if last == "assistant" else (messages, None)
    asked = [turn for turn in asked if turn["content"] or turn["role"] != "system"]
    if not any(turn["role"] == "user" and turn["content"] for turn in asked):
        raise Unusable(NO_USER_TURN)
    empty = next((i for i, turn in enumerate(asked, 1) if not turn["content"]), 0)
    if empty:
        raise Unusable(UNREADABLE_TURN, f"turn {empty} ({asked[empty - 1]['role']}) has no text")
    return asked, answer or None

"""Turn a conversation into text: the model's own chat template, or a plain form where it has none."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from luthier.base.errors import DataError, LuthierError, ModelError

Message = Mapping[str, Any]
Tools = Sequence[Mapping[str, Any]]
Style = Literal["chat", "plain"]

_NAMES = {"system": "System", "user": "User", "assistant": "Assistant", "tool": "Tool"}
_TOOLS = "These tools can be called. To call one, answer with a JSON object of its name and its arguments:"


def style_for(tokenizer: Any, wanted: str) -> Style:
    """Resolve ``auto``: the chat template if the tokenizer has one.

    Raises:
        ModelError: ``chat`` is wanted and there is no template.
    """
    has_template = bool(getattr(tokenizer, "chat_template", None))
    if wanted == "chat" and not has_template:
        raise ModelError("this model has no chat template", where="model.template", mend="Set model.template: plain.")
    return "chat" if wanted == "chat" or (wanted == "auto" and has_template) else "plain"


def chat_text(tokenizer: Any, messages: Sequence[Message], *, ask: bool, tools: Tools | None = None) -> str:
    """Render turns with the model's template; ``ask`` ends with the opening of the assistant's turn.

    A template that knows of no tools, or of no calls, is given them as words of the system and of the assistant.
    transformers runs templates in jinja's immutable sandbox.

    Raises:
        DataError: the template refuses these turns (two user turns in a row, say).
    """
    given: dict[str, Any] = {}
    try:
        if tools or any("tool_calls" in m for m in messages):
            template = str(tokenizer.get_chat_template(tools=list(tools) if tools else None))
            if tools and "tools" in template:
                given["tools"] = list(tools)
            messages = _in_words(messages, None if given else tools, calls="tool_calls" not in template)
        return tokenizer.apply_chat_template(list(messages), tokenize=False, add_generation_prompt=ask, **given)
    except LuthierError:  # what is wrong with tools and calls is told already
        raise
    except Exception as error:  # templates raise whatever their authors chose
        raise DataError(
            f"the model's chat template refuses this conversation ({str(error)[:160]})",
            mend="Turns usually alternate user and assistant; or set model.template: plain.",
        ) from None


def unmarked(value: Any, marks: Sequence[str]) -> Any:
    """Return what people wrote (a text, or turns with texts in them) with a space inside each of the model's own ``marks``.

    Whoever writes ``<|assistant|>`` or ``</s>`` in a message would else speak in another's name, or end the conversation.
    """
    if isinstance(value, str):
        for mark in marks:
            if mark in value:
                value = value.replace(mark, f"{mark[0]} {mark[1:]}")
        return value
    if isinstance(value, Mapping):
        return {key: unmarked(inner, marks) for key, inner in value.items()}
    if isinstance(value, Sequence):
        return [unmarked(inner, marks) for inner in value]
    return value


def plain_text(messages: Sequence[Message], tools: Tools | None = None) -> str:
    """Render turns for a model without a template; the answer follows directly.

    One question is left as it is, so that a base model sees ordinary text; several turns are told apart by name.
    """
    messages = _in_words(messages, tools, calls=True)
    if sum(m["role"] != "system" for m in messages) == 1:
        return "\n\n".join(str(m["content"]) for m in messages) + "\n"
    return "".join(f"{_NAMES[m['role']]}: {m['content']}\n" for m in messages) + "Assistant: "


def spoken(message: Message) -> str:
    """Return what a turn says, its calls of tools as JSON text: ``{"name", "arguments"}``, or a list of several."""
    calls = [call["function"] for call in message.get("tool_calls") or ()]
    if not calls:
        return str(message["content"])
    called = [{"name": call["name"], "arguments": call["arguments"]} for call in calls]
    text = json.dumps(called[0] if len(called) == 1 else called, ensure_ascii=False)
    return f"{message['content']}\n{text}" if message["content"] else text


def _in_words(messages: Sequence[Message], tools: Tools | None, *, calls: bool) -> list[Message]:
    """Return the turns with ``tools`` told by the system, and, where ``calls`` is set, calls told by the assistant."""
    turns: list[Message] = list(messages)
    if calls:
        turns = [{"role": m["role"], "content": spoken(m)} if "tool_calls" in m else m for m in turns]
    if not tools:
        return turns
    told = "\n".join([_TOOLS, *(json.dumps(tool.get("function", tool), ensure_ascii=False) for tool in tools)])
    if turns and turns[0]["role"] == "system":
        return [{**turns[0], "content": f"{turns[0]['content']}\n\n{told}"}, *turns[1:]]
    return [{"role": "system", "content": told}, *turns]

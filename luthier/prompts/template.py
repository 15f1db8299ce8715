"""Turn a conversation into text: the model's own chat template, or a plain form where it has none."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

from luthier.base.errors import DataError, ModelError

Message = Mapping[str, Any]
Style = Literal["chat", "plain"]

_NAMES = {"system": "System", "user": "User", "assistant": "Assistant", "tool": "Tool"}


def style_for(tokenizer: Any, wanted: str) -> Style:
    """Resolve ``auto``: the chat template if the tokenizer has one.

    Raises:
        ModelError: ``chat`` is wanted and there is no template.
    """
    has_template = bool(getattr(tokenizer, "chat_template", None))
    if wanted == "chat" and not has_template:
        raise ModelError("this model has no chat template", where="model.template", mend="Set model.template: plain.")
    return "chat" if wanted == "chat" or (wanted == "auto" and has_template) else "plain"


def chat_text(tokenizer: Any, messages: Sequence[Message], *, ask: bool) -> str:
    """Render turns with the model's template; ``ask`` ends with the opening of the assistant's turn.

    transformers runs templates in jinja's immutable sandbox.

    Raises:
        DataError: the template refuses these turns (two user turns in a row, say).
    """
    try:
        return tokenizer.apply_chat_template(list(messages), tokenize=False, add_generation_prompt=ask)
    except Exception as error:  # templates raise whatever their authors chose
        raise DataError(
            f"the model's chat template refuses this conversation ({str(error)[:160]})",
            mend="Turns usually alternate user and assistant; or set model.template: plain.",
        ) from None


def plain_text(messages: Sequence[Message]) -> str:
    """Render turns for a model without a template; the answer follows directly.

    One question is left as it is, so that a base model sees ordinary text; several turns are told apart by name.
    """
    if sum(m["role"] != "system" for m in messages) == 1:
        return "\n\n".join(str(m["content"]) for m in messages) + "\n"
    return "".join(f"{_NAMES[m['role']]}: {m['content']}\n" for m in messages) + "Assistant: "

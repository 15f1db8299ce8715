"""What a cell holds, made into text, a label, a group or a remark; and why a row is left out."""

from __future__ import annotations

import json
import math
from typing import Any

EMPTY_TEXT = "empty text"
NO_LABEL = "no label"
LABEL_NOT_ONE = "label is not one value"
EMPTY_PROMPT = "empty prompt"
EMPTY_ANSWER = "empty answer"
BROKEN_TEXT = "text has broken characters"
NOT_TEXT = "text is a list or an object"
TOO_DEEP = "nested too deep"
NO_DATE = "no date"

_EXTRA_CHARS = 500


class Unusable(Exception):
    """A row that cannot become an example; ``reason`` is one of the named constants."""

    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(reason)
        self.reason = reason
        self.detail = sound(detail)


def text_of(value: Any) -> str:
    """Return text with LF line ends and no outer white space; what is no text is :class:`Unusable`."""
    if type(value) is not str:
        if value is None or (isinstance(value, float) and math.isnan(value)):
            return ""
        if isinstance(value, list | tuple | dict | bytes | bytearray | memoryview):
            raise Unusable(NOT_TEXT)
        value = str(value)
    if not value.isascii():
        try:
            value.encode("utf-8")
        except UnicodeEncodeError:  # half of a surrogate pair, from a JSON escape cut in two
            raise Unusable(BROKEN_TEXT) from None
    if "\r" in value:
        value = value.replace("\r\n", "\n").replace("\r", "\n")
    return value.strip()


def label_of(value: Any) -> str | None:
    """Return one label; None where there is none, which a cell that says NaN means too."""
    if isinstance(value, list | tuple | dict):
        raise Unusable(LABEL_NOT_ONE, json.dumps(value, ensure_ascii=True, default=str)[:80])
    label = text_of(value)
    return None if not label or (len(label) == 3 and label.lower() == "nan") else label


def word_of(value: Any) -> str | None:
    """Return a group's name; None where there is none."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return None
    return sound(str(value).strip()) or None


def plain(value: Any) -> Any:
    """Return ``value`` as JSON can hold it, long text cut."""
    if type(value) is str:
        return value if len(value) <= _EXTRA_CHARS and value.isascii() else sound(value[:_EXTRA_CHARS])
    if value is None or isinstance(value, bool | int):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, list | tuple | dict):
        try:
            text = json.dumps(value, ensure_ascii=False, default=str)
        except (RecursionError, TypeError, ValueError):
            text = str(type(value).__name__)
    else:
        text = value.isoformat() if hasattr(value, "isoformat") else str(value)
    return sound(text[:_EXTRA_CHARS])


def sound(text: str) -> str:
    """Return ``text`` as it can be written to a file: half of a surrogate pair becomes a question mark."""
    return text if text.isascii() else text.encode("utf-8", "replace").decode("utf-8")


def in_a_line(text: str, chars: int = 80) -> str:
    """Return ``text`` as a fault can show it: on one line, cut, and writable."""
    return sound(" ".join(text[: chars + 1].split())[:chars])

"""Calls of tools and the tools themselves, in the forms of OpenAI and ShareGPT files, brought to one."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from luthier.data.shapes.cells import BROKEN_TEXT, TOO_DEEP, Unusable

UNREADABLE_CALL = "unreadable tool call"
UNREADABLE_TOOLS = "tools cannot be read"


def calls_of(value: Any) -> list[dict[str, Any]]:
    """Return ``[{"type": "function", "function": {"name", "arguments"}}, ...]``, with an ``id`` where there is one.

    Args:
        value: a call or a list of calls, as ``{"name", "arguments"}`` or ``{"function": {...}}``, or such as JSON text.
    """
    if value is None or value == "" or value == []:
        return []
    if isinstance(value, str):
        value = _parsed(value, UNREADABLE_CALL)
    return [_call(entry) for entry in (value if isinstance(value, list) else [value])]


def _call(entry: Any) -> dict[str, Any]:
    if isinstance(entry, str):
        entry = _parsed(entry, UNREADABLE_CALL)
    inner = entry.get("function", entry) if isinstance(entry, Mapping) else None
    name = inner.get("name") if isinstance(inner, Mapping) else None
    if inner is None or not isinstance(name, str) or not name.strip():
        raise Unusable(UNREADABLE_CALL, "a call has no name")
    arguments = inner.get("arguments", inner.get("parameters"))
    if isinstance(arguments, str):  # OpenAI writes them as JSON text
        arguments = _parsed(arguments, UNREADABLE_CALL) if arguments.strip() else {}
    call = {"type": "function", "function": {"name": name.strip(), "arguments": {} if arguments is None else arguments}}
    if isinstance(entry.get("id"), str):
        call["id"] = entry["id"]
    return _written(call)


def tools_of(value: Any) -> list[dict[str, Any]] | None:
    """Return ``[{"type": "function", "function": {...}}, ...]`` for the tools of a row; None where it has none."""
    if isinstance(value, str):
        value = _parsed(value, UNREADABLE_TOOLS) if value.strip() else None
    if isinstance(value, Mapping):
        value = [value]
    if value is None or value == [] or (isinstance(value, float) and value != value):
        return None
    if not isinstance(value, list):
        raise Unusable(UNREADABLE_TOOLS, "a list of objects is needed")
    tools = []
    for entry in value:
        if isinstance(entry, str):
            entry = _parsed(entry, UNREADABLE_TOOLS)
        inner = entry.get("function", entry) if isinstance(entry, Mapping) else None
        if not isinstance(inner, Mapping) or not isinstance(inner.get("name"), str):
            raise Unusable(UNREADABLE_TOOLS, "a tool has no name")
        tools.append(_written(entry if "function" in entry else {"type": "function", "function": dict(entry)}))
    return tools


def _parsed(text: str, reason: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        raise Unusable(reason, f"{text[:60]!r} is not JSON") from None


def _written(value: Any) -> Any:
    """Return ``value`` if it can be written as JSON: what cannot must not get as far as a file."""
    try:
        json.dumps(value, ensure_ascii=False).encode("utf-8")
    except UnicodeEncodeError:
        raise Unusable(BROKEN_TEXT) from None
    except RecursionError:
        raise Unusable(TOO_DEEP) from None
    except (TypeError, ValueError):
        return json.loads(json.dumps(value, ensure_ascii=True, default=str))
    return value

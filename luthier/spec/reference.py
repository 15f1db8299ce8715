"""The reference of the task file as Markdown, made from the models: it cannot say anything else than they do."""

from __future__ import annotations

import inspect
import json
import types
from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic.fields import FieldInfo

from luthier.spec.common import Section
from luthier.spec.task import Task

_WORDS: dict[Any, str] = {str: "text", int: "whole number", float: "number", bool: "true or false", Any: "anything"}
_LIMITS = (("ge", "at least"), ("gt", "above"), ("le", "at most"), ("lt", "below"))


def reference() -> str:
    """Return every key of the task file, section by section: what it takes, its default, and what it means."""
    lines: list[str] = []
    for name, field in Task.model_fields.items():
        section = _section_of(field.annotation)
        many = "[]" if get_origin(field.annotation) is list else ""
        lines += _section(f"{name}{many}", section) if section else (f"### `{name}`", "", *_table("", {name: field}))
    return "\n".join(lines).strip() + "\n"


def _section(prefix: str, model: type[Section]) -> Iterator[str]:
    """Yield a section's keys, then the sections inside it under their own headings.

    A section that has a heading of its own at the top is named where it is used again (a stage's data and train).
    """
    yield from (f"{'#' * (3 + prefix.count('.'))} `{prefix}`", "", inspect.getdoc(model) or "", "")
    inner = {
        name: found
        for name, f in model.model_fields.items()
        if (found := _section_of(f.annotation)) and found not in _described()
    }
    yield from _table(f"{prefix}.", {name: f for name, f in model.model_fields.items() if name not in inner})
    for name, section in inner.items():
        yield from _section(f"{prefix}.{name}", section)


def _table(prefix: str, fields: Mapping[str, FieldInfo]) -> Iterator[str]:
    yield "| key | takes | default | meaning |"
    yield "| --- | --- | --- | --- |"
    for name, field in fields.items():
        cells = (f"`{prefix}{name}`", _takes(field), _default(field), field.description or "")
        yield "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"
    yield ""


def _section_of(annotation: Any) -> type[Section] | None:
    if get_origin(annotation) is list:
        return _section_of(get_args(annotation)[0])
    if get_origin(annotation) in (Union, types.UnionType):  # a section that may be left out
        return next((found for kind in get_args(annotation) if (found := _section_of(kind))), None)
    return annotation if isinstance(annotation, type) and issubclass(annotation, Section) else None


def _described() -> dict[type[Section], str]:
    """Return the sections that stand at the top of a task file, by what they are called there."""
    return {found: name for name, f in Task.model_fields.items() if (found := _section_of(f.annotation))}


def _takes(field: FieldInfo) -> str:
    parts = [_type(field.annotation), *_within(field.metadata)]
    return ", ".join(parts) + (", or nothing" if type(None) in get_args(field.annotation) else "")


def _within(metadata: Sequence[Any]) -> Iterator[str]:
    """Yield the limits of a number in words."""
    for attribute, words in _LIMITS:
        limit = next((v for m in metadata if (v := getattr(m, attribute, None)) is not None), None)
        if limit is not None:
            yield f"{words} {limit:g}"


def _type(annotation: Any) -> str:
    origin, args = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return ", ".join([_type(args[0]), *_within(args[1].metadata)])
    if annotation in _described():
        return f"keys of `{_described()[annotation]}`"
    if origin is Literal:
        return _either([f"`{value}`" for value in args])
    if origin in (Union, types.UnionType):
        return _either([_type(kind) for kind in args if kind is not type(None)])
    if origin is list:
        return f"list of {_type(args[0])}" + ("" if get_origin(args[0]) is Literal else "s")
    if origin is dict:
        return f"mapping of {_type(args[0])} to {_type(args[1])}"
    return _WORDS[annotation]


def _either(kinds: Sequence[str]) -> str:
    return " or ".join([", ".join(kinds[:-1]), kinds[-1]]) if len(kinds) > 1 else kinds[0]


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "**required**"
    value = field.get_default(call_default_factory=True)
    if isinstance(value, Section):
        return "those of the top"
    if value is None or value == {} or value == "":
        return "nothing"
    if isinstance(value, str) and "\n" in value:
        value = json.dumps(value)
    return f"`{value:g}`" if isinstance(value, float) else f"`{value}`"

"""Answers that should be JSON, and JSON of a certain shape: the schema is checked before anything is trained.

The only door to jsonschema. A reference that leads out of the schema is a fault: nothing is ever fetched.
"""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from luthier.base.errors import Fault

MEND = "https://json-schema.org/understanding-json-schema says how one is written."
Path = tuple[str, ...]


def parsed(text: str) -> Any:
    """Return what a text says as JSON; ValueError where it is none, be it for words or a fence around it, or a NaN."""
    return json.loads(text, parse_constant=_refuse)


def _refuse(name: str) -> Any:
    raise ValueError(f"{name} is no JSON")


def is_object(text: str) -> bool:
    """Whether a text is a JSON object or list, and no mere word or number."""
    if text.lstrip()[:1] not in ("{", "["):
        return False
    try:
        parsed(text)
    except (ValueError, RecursionError):
        return False
    return True


def faults(schema: Any) -> Iterator[tuple[str, Path]]:
    """Yield what is wrong with a schema, and where in it."""
    from jsonschema.exceptions import SchemaError
    from jsonschema.validators import validator_for

    if not isinstance(schema, Mapping):
        yield "a JSON schema is an object", ()
        return
    try:
        validator_for(schema, default=_latest()).check_schema(schema)
    except SchemaError as error:
        yield error.message, tuple(map(str, error.absolute_path))
        return
    yield from (what for what in _references(schema, schema, ()))


def _latest() -> Any:
    from jsonschema import Draft202012Validator

    return Draft202012Validator


def _references(schema: Mapping[str, Any], part: Any, path: Path) -> Iterator[tuple[str, Path]]:
    from referencing.exceptions import Unresolvable

    if isinstance(part, Mapping):
        for key in ("$ref", "$dynamicRef"):
            target = part.get(key)
            if not isinstance(target, str):  # a property may be called so
                continue
            try:
                _registry(schema).resolver(str(schema.get("$id", ""))).lookup(target)
            except (Unresolvable, ValueError):
                yield f'"{key}": "{target}" leads to nothing in this schema', (*path, key)
        for key, value in part.items():
            yield from _references(schema, value, (*path, str(key)))
    elif isinstance(part, list):
        for i, value in enumerate(part):
            yield from _references(schema, value, (*path, str(i)))


def _registry(schema: Mapping[str, Any]) -> Any:
    from jsonschema.validators import validator_for
    from referencing import Registry
    from referencing.jsonschema import specification_with

    drawn = validator_for(schema, default=_latest()).META_SCHEMA["$schema"]
    resource = specification_with(drawn).create_resource(schema)
    return Registry().with_resource(str(schema.get("$id", "")), resource).crawl()


def missing(where: str) -> Fault | None:
    """Return a fault where jsonschema is not installed."""
    if importlib.util.find_spec("jsonschema") is not None:
        return None
    return Fault("answers are held against a JSON schema with jsonschema, which is not installed", where, "pip install 'luthier[schema]'")


class Shape:
    """A schema that answers are held against."""

    def __init__(self, schema: Mapping[str, Any]) -> None:
        from jsonschema.validators import validator_for

        self._validator = validator_for(schema, default=_latest())(dict(schema), registry=_registry(schema))

    def wrong(self, text: str) -> str:
        """Return what is wrong with an answer, the first of it; empty where nothing is."""
        try:
            value = parsed(text)
        except (ValueError, RecursionError) as error:
            return f"no JSON: {error}"
        first = next(iter(self._validator.iter_errors(value)), None)
        if first is None:
            return ""
        place = ".".join(map(str, first.absolute_path))
        return f"{place + ': ' if place else ''}{first.message}"[:300]


def figures(text: str, shape: Shape | None) -> dict[str, tuple[float, float]]:
    """Return ``{metric: (sum, count)}`` of one answer."""
    try:
        parsed(text)
        valid = True
    except (ValueError, RecursionError):
        valid = False
    found = {"json_valid": (float(valid), 1.0)}
    return found if shape is None else {**found, "schema_valid": (float(not shape.wrong(text)), 1.0)}


def mostly_json(targets: Sequence[str]) -> bool:
    """Whether the wanted answers are JSON objects or lists, so that it makes sense to ask whether the given ones are."""
    return bool(targets) and all(map(is_object, targets))


def lines(path: Path, known: Mapping[Path, int], *, under: Path = ()) -> int | None:
    """Return the line of a place in a schema, or of the nearest thing around it."""
    whole = (*under, *path)
    while whole and whole not in known:
        whole = whole[:-1]
    return known.get(whole)

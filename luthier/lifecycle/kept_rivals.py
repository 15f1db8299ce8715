"""Rivals' answers kept beside the prepared rows: a run that goes on after a kill does not ask the untuned model again."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

from luthier.base.files import read_json, write_json
from luthier.base.records import Prediction

_FILE = "rivals.json"
_TUPLES = ("labels", "sentences", "names")
Rivals = dict[str, list[Prediction]]


def kept(folder: Path, identity: str, make: Callable[[], Rivals]) -> Rivals:
    """Return what an earlier attempt at the same run kept in ``folder``, or make it and keep it.

    Args:
        identity: a hash of what the run rests on; answers kept under another are not taken.
    """
    path = folder / _FILE
    try:
        found = dict(read_json(path))
        if found["identity"] == identity:
            return {name: [_told(values) for values in rows] for name, rows in found["rivals"].items()}
    except (OSError, ValueError, TypeError, KeyError):
        pass  # there is none, or a damaged one: it is made anew
    rivals = make()
    if folder.is_dir():
        write_json(path, {"identity": identity, "rivals": {name: _rows(rows) for name, rows in rivals.items()}})
    return rivals


def _rows(predictions: Sequence[Prediction]) -> list[dict[str, Any]]:
    """Return the fields that say something: most of a prediction's are of other objectives."""
    return [{f.name: _plain(v) for f in fields(p) if (v := getattr(p, f.name)) not in (None, {})} for p in predictions]


def _plain(value: Any) -> Any:
    """Return a value of JSON with the very same numbers: those of numpy are floats of Python too, to the last bit."""
    if isinstance(value, Mapping):
        return {key: _plain(one) for key, one in value.items()}
    if isinstance(value, tuple | list):
        return [_plain(one) for one in value]
    return value if value is None or isinstance(value, str | bool | int) else float(value)


def _told(values: dict[str, Any]) -> Prediction:
    more: dict[str, Any] = {key: tuple(values[key]) for key in _TUPLES if key in values}
    if "items" in values:
        more["items"] = tuple((str(item), float(score)) for item, score in values["items"])
    return Prediction(**{**values, **more})

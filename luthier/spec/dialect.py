"""The YAML of task files: as PyYAML reads it, but that 2e-4 is a number, as in YAML 1.2 and for every reader of rates."""

from __future__ import annotations

import re
from typing import Any

import yaml

_FLOAT = re.compile(r"^[-+]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)[eE][-+]?[0-9]+$")


class Reader(yaml.SafeLoader):
    """Reads plain values alone: no tag makes an object."""


class Writer(yaml.SafeDumper):
    """Writes what :class:`Reader` reads the same: the word "2e-4" gets its quotes."""


for _kind in (Reader, Writer):
    _kind.add_implicit_resolver("tag:yaml.org,2002:float", _FLOAT, list("-+.0123456789"))


def read(text: str) -> Any:
    """Return the value of a YAML text. Raises yaml.YAMLError."""
    return yaml.load(text, Loader=Reader)  # a SafeLoader


def write(value: Any, **how: Any) -> str:
    """Return a value as YAML; ``how`` is as :func:`yaml.dump` takes it."""
    return str(yaml.dump(value, Dumper=Writer, allow_unicode=True, sort_keys=False, **how))

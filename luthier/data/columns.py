"""From rows to examples: which column is what, and why a row is left out."""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from luthier.base.errors import Fault, did_you_mean
from luthier.base.records import Example, Row, Source
from luthier.base.seeds import stable_hash
from luthier.data.turns import Unusable, messages_of, split_answer

COLUMNS: dict[str, tuple[str, ...]] = {
    "classify": ("text", "label"),
    "generate": ("prompt", "completion", "messages", "input", "system"),
}

EMPTY_TEXT = "empty text"
NO_LABEL = "no label"
LABEL_NOT_ONE = "label is not one value"
EMPTY_PROMPT = "empty prompt"
EMPTY_ANSWER = "empty answer"
BROKEN_TEXT = "text has broken characters"
NOT_TEXT = "text is a list or an object"

_PEEKED_ROWS = 100
_EXTRA_CHARS = 500
_SHOWN_COLUMNS = 20
_FAULTS = 20
Reader = Callable[[Mapping[str, Any]], tuple[dict[str, Any], str | None]]


@dataclass(frozen=True, slots=True)
class Dropped:
    """A row left out: where it stands, the ``reason`` (one of few, so that they can be counted), and the ``detail``."""

    source: Source
    reason: str
    detail: str = ""

    def as_dict(self) -> dict[str, Any]:
        return {"file": self.source.file, "line": self.source.line, "reason": self.reason, "detail": self.detail}


@dataclass(frozen=True, slots=True)
class Mapped:
    """What came of the rows; ``recognised_as`` names the columns or the format they were read by."""

    examples: list[Example] = field(default_factory=list)
    dropped: list[Dropped] = field(default_factory=list)
    recognised_as: str = ""
    faults: list[Fault] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class _Scheme:
    name: str
    used: frozenset[str]
    read: Reader


def to_examples(
    rows: Iterable[Row],
    *,
    columns: Mapping[str, str],
    objective: str,
    by: str | None = None,
    need_target: bool = True,
    by_optional: bool = False,
) -> Mapped:
    """Map rows to examples, file by file; what cannot be used is dropped with its reason.

    A column that ``columns`` does not name is looked for under its own name. Without ``columns``, chat messages,
    prompt and completion, ShareGPT and Alpaca are recognised, in this order. A conversation's last assistant turn is
    the target; one that does not end with an assistant turn is dropped, unless ``need_target`` is False.

    Args:
        by: the column whose value becomes ``Example.group``; in no file, it is a fault unless ``by_optional``.
        need_target: False reads rows without label or answer too, with ``target`` None.
    """
    faults = _unknown_names(columns, objective)
    mapped = Mapped(faults=faults)
    if faults:
        return mapped
    names: list[str] = []
    ungrouped: list[Fault] = []
    files = 0
    for file, group in itertools.groupby(rows, key=lambda row: row.source.file):
        head = list(itertools.islice(group, _PEEKED_ROWS))
        keys = list(dict.fromkeys(key for row in head for key in row.values))
        scheme = _resolve(columns, keys, objective, need_target, f"{file}:1", faults)
        files += 1
        if by and by not in keys:
            ungrouped.append(_no_column(by, keys, f"{file}:1", "data.split.by"))
        if scheme is None or len(faults) >= _FAULTS:
            continue
        if scheme.name not in names:
            names.append(scheme.name)
        _map_rows(itertools.chain(head, group), scheme, by, need_target, mapped)  # noqa: B031 - head came off group
    # Files harvested from a service have no such column; a name that no file has is a slip.
    if ungrouped and len(ungrouped) == files and not by_optional:
        faults += ungrouped
    return Mapped(mapped.examples, mapped.dropped, " + ".join(names), faults)


def _map_rows(rows: Iterator[Row], scheme: _Scheme, by: str | None, need_target: bool, mapped: Mapped) -> None:
    for row in rows:
        try:
            inputs, target = scheme.read(row.values)
        except Unusable as reason:
            mapped.dropped.append(Dropped(row.source, reason.reason, reason.detail))
            continue
        if target is None and need_target:
            mapped.dropped.append(Dropped(row.source, NO_LABEL if "text" in inputs else EMPTY_ANSWER))
            continue
        extra = {str(k): _plain(v) for k, v in row.values.items() if k not in scheme.used}
        group = _word(row.values.get(by)) if by else None
        mapped.examples.append(Example(stable_hash([inputs, target]), inputs, target, row.source, group, extra))


def _unknown_names(columns: Mapping[str, str], objective: str) -> list[Fault]:
    known = COLUMNS[objective]
    faults = []
    for what in columns:
        if what not in known:
            mend = did_you_mean(what, known) or f"Known for {objective}: {', '.join(known)}."
            faults.append(Fault(f'"{what}" is not a column that {objective} needs.', f"data.columns.{what}", mend))
    return faults


def _no_column(name: str, keys: list[str], where: str, key: str) -> Fault:
    there = ", ".join(keys[:_SHOWN_COLUMNS]) + (", ..." if len(keys) > _SHOWN_COLUMNS else "")
    mend = f"{did_you_mean(name, keys)} Columns there: {there}.".strip()
    return Fault(f'no column "{name}" ({key}).', where, mend)


def _resolve(
    columns: Mapping[str, str], keys: list[str], objective: str, need_target: bool, where: str, faults: list[Fault]
) -> _Scheme | None:
    if objective == "classify":
        return _classify(columns, keys, need_target, where, faults)
    if "messages" in columns or (not columns and "messages" in keys):
        return _chat(columns.get("messages", "messages"), columns, keys, need_target, where, faults)
    if not columns:
        has_prompt = "prompt" in keys and ("completion" in keys or not need_target)
        if not has_prompt and "conversations" in keys:
            return _chat("conversations", columns, keys, need_target, where, faults)
        if not has_prompt and "instruction" in keys and ("output" in keys or not need_target):
            alpaca = {"prompt": "instruction", "completion": "output"}
            alpaca |= {what: what for what in ("input", "system") if what in keys}
            return _pair(alpaca, keys, need_target, where, faults, "alpaca")
    return _pair(columns, keys, need_target, where, faults, "")


def _find(what: str, columns: Mapping[str, str], keys: list[str], where: str, faults: list[Fault]) -> str:
    name = columns.get(what, what)
    if name not in keys:
        key = f"data.columns.{what}"
        if what in columns:
            faults.append(_no_column(name, keys, where, key))
        else:
            fault = _no_column(name, keys, where, key)
            mend = f"Say which column it is: data.columns: {{{what}: ...}}. {fault.mend}"
            faults.append(Fault(fault.what, where, mend))
    return name


def _classify(
    columns: Mapping[str, str], keys: list[str], need_target: bool, where: str, faults: list[Fault]
) -> _Scheme | None:
    before = len(faults)
    text = _find("text", columns, keys, where, faults)
    label = _find("label", columns, keys, where, faults) if need_target else columns.get("label", "label")
    if len(faults) > before:
        return None

    def read(values: Mapping[str, Any]) -> tuple[dict[str, Any], str | None]:
        words = _text(values.get(text))
        if not words:
            raise Unusable(EMPTY_TEXT)
        return {"text": words}, _label(values.get(label))

    return _Scheme(f"{text}, {label}" if label in keys else text, frozenset((text, label)), read)


def _pair(
    columns: Mapping[str, str], keys: list[str], need_target: bool, where: str, faults: list[Fault], name: str
) -> _Scheme | None:
    before = len(faults)
    prompt = _find("prompt", columns, keys, where, faults)
    answer = (
        _find("completion", columns, keys, where, faults) if need_target else columns.get("completion", "completion")
    )
    more = {what: _find(what, columns, keys, where, faults) for what in ("input", "system") if what in columns}
    if len(faults) > before:
        return None

    def read(values: Mapping[str, Any]) -> tuple[dict[str, Any], str | None]:
        parts = [_text(values.get(prompt)), _text(values.get(more["input"])) if "input" in more else ""]
        asked = "\n\n".join(part for part in parts if part)
        if not asked:
            raise Unusable(EMPTY_PROMPT)
        system = _text(values.get(more["system"])) if "system" in more else ""
        messages = [{"role": "system", "content": system}] if system else []
        return {"messages": [*messages, {"role": "user", "content": asked}]}, _text(values.get(answer)) or None

    shown = name or (f"{prompt}, {answer}" if answer in keys else prompt)
    return _Scheme(shown, frozenset((prompt, answer, *more.values())), read)


def _chat(
    name: str, columns: Mapping[str, str], keys: list[str], need_target: bool, where: str, faults: list[Fault]
) -> _Scheme | None:
    if name not in keys:
        faults.append(_no_column(name, keys, where, "data.columns.messages"))
        return None
    # ShareGPT files often keep the system prompt in a column of its own.
    system = columns.get("system", "system")
    if "system" in columns and system not in keys:
        faults.append(_no_column(system, keys, where, "data.columns.system"))
        return None

    def read(values: Mapping[str, Any]) -> tuple[dict[str, Any], str | None]:
        messages = messages_of(values.get(name), _text)
        told = values.get(system)
        if isinstance(told, str) and told.strip() and messages[0]["role"] != "system":
            messages = [{"role": "system", "content": _text(told)}, *messages]
        asked, answer = split_answer(messages, need_target=need_target)
        return {"messages": asked}, answer

    kind = "sharegpt" if name == "conversations" else "messages"
    shown = kind if name in (kind, "conversations") else f"messages in {name}"
    return _Scheme(shown, frozenset((name, system) if system in keys else (name,)), read)


def _text(value: Any) -> str:
    """Return text with LF line ends and no outer white space; what is no text is :class:`Unusable`."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ""
    if isinstance(value, list | dict | bytes):
        raise Unusable(NOT_TEXT)
    text = str(value)
    if not text.isascii():
        try:
            text.encode("utf-8")
        except UnicodeEncodeError:  # half of a surrogate pair, from a JSON escape cut in two
            raise Unusable(BROKEN_TEXT) from None
    if "\r" in text:
        text = text.replace("\r\n", "\n").replace("\r", "\n")
    return text.strip()


def _label(value: Any) -> str | None:
    if isinstance(value, list | dict):
        raise Unusable(LABEL_NOT_ONE, json.dumps(value, ensure_ascii=True, default=str)[:80])
    return _text(value) or None


def _word(value: Any) -> str | None:
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return None
    return str(value).strip().encode("utf-8", "replace").decode("utf-8") or None


def _plain(value: Any) -> Any:
    """Return ``value`` as JSON can hold it, long text cut."""
    if value is None or isinstance(value, bool | int):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
    return text[:_EXTRA_CHARS].encode("utf-8", "replace").decode("utf-8")

"""Read a task file: YAML with lines, overrides from the command line, all faults at once."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

import yaml
from pydantic import BaseModel, ValidationError

from luthier.base.errors import Fault, TaskError, did_you_mean
from luthier.spec import dialect, track
from luthier.spec.bars import parse_bars
from luthier.spec.task import Task

_PATHS = (
    "data.source", "data.test", "data.valid", "data.items.source", "data.out_of_scope.source", "model.base", "evaluate.against",
    "evaluate.cases.source", "evaluate.costs.table", "evaluate.judge.bundle", "evaluate.judge.human", "evaluate.judge.answers",
    "evaluate.paraphrases.source", "evaluate.json_schema", "evaluate.toxicity.bundle", "serve.ledger", "track.folder",
)  # fmt: skip
Path_ = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class TaskFile:
    """A task as read: the checked ``task``, the ``path`` it came from, and its ``text`` as given."""

    task: Task
    path: Path
    text: str

    @property
    def folder(self) -> Path:
        """The folder that relative paths of the task file start from."""
        return self.path.parent

    def resolve(self, name: str) -> Path:
        """Return a path of the task file as seen from the working folder."""
        path = Path(name).expanduser()
        return path if path.is_absolute() else self.folder / path


def load_task(path: str | Path, overrides: Sequence[str] = ()) -> TaskFile:
    """Read and check a task file; a folder means the ``task.yaml`` in it.

    Args:
        overrides: ``section.key=value`` strings; values are YAML. Relative paths in them start from the working folder.
    Raises:
        TaskError: with every fault found, each with file and line.
    """
    path = Path(path).expanduser()
    if path.is_dir():
        path = next(
            (path / name for name in ("task.yaml", "luthier.yaml") if (path / name).is_file()), path / "task.yaml"
        )
    text = _read(path)
    values, lines, faults = parse_yaml(text, str(path))
    if "track" in values:  # so that one key can be set over a list of names
        values["track"] = track.whole(values["track"])
    for override in overrides:
        faults += _apply(values, lines, override)
    if faults:
        raise TaskError.of(faults)
    try:
        task = Task.model_validate(values)
    except ValidationError as error:
        raise TaskError.of(_faults(error, lines, str(path))) from None
    _, bar_faults = parse_bars(task.accept)
    if bar_faults:
        raise TaskError.of(
            Fault(f.what, _where(tuple(f.where.split(".", 1)), lines, str(path)) + f" {f.where}", f.mend)
            for f in bar_faults
        )
    return TaskFile(task, path, text)


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise TaskError(
            "no such task file", where=str(path), mend="`luthier init DATA` writes one from your data."
        ) from None
    except (UnicodeDecodeError, IsADirectoryError, PermissionError) as error:
        raise TaskError(f"the task file cannot be read ({error})", where=str(path)) from None


def parse_yaml(text: str, name: str) -> tuple[dict[str, Any], dict[Path_, int], list[Fault]]:
    """Parse YAML into values and the line of every key; a key given twice is a fault."""
    try:
        node = yaml.compose(text, Loader=dialect.Reader)
        values = dialect.read(text)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        mark = getattr(error, "problem_mark", None)
        where = f"{name}:{mark.line + 1}" if mark else name
        what = getattr(error, "problem", None) or str(error)
        raise TaskError(f"this is not YAML: {what}", where=where, mend=_yaml_mend(str(what), text, mark)) from None
    if not isinstance(values, dict):
        raise TaskError(
            "a task file is a mapping of sections: task, data, model, train, accept",
            where=name,
            mend="See docs/task-file.md.",
        )
    lines: dict[Path_, int] = {}
    faults: list[Fault] = []
    try:
        _walk(node, (), lines, faults, name)
    except RecursionError:
        raise TaskError("a value contains itself", where=name, mend="Remove the * alias.") from None
    return values, lines, faults


def _yaml_mend(what: str, text: str, mark: Any) -> str:
    lines = text.splitlines()
    line = lines[mark.line] if mark is not None and mark.line < len(lines) else ""
    if "\\t" in what or "\t" in line[: len(line) - len(line.lstrip())]:
        return "Indent with spaces, not tabs."
    if re.search(r"\{.*\w\[", line):
        return 'Inside braces a name with [ ] needs quotes: {"recall[urgent]": ">= 0.9"}.'
    return "Check indentation, colons and quotes there."


def _walk(node: Any, prefix: Path_, lines: dict[Path_, int], faults: list[Fault], name: str) -> None:
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            here = (*prefix, str(key.value))
            line = key.start_mark.line + 1
            if here in lines:
                faults.append(
                    Fault(
                        f'"{".".join(here)}" is given twice', f"{name}:{line}", f"It stands on line {lines[here]} too."
                    )
                )
            lines[here] = line
            _walk(value, here, lines, faults, name)
    elif isinstance(node, yaml.SequenceNode):
        for index, value in enumerate(node.value):
            lines[(*prefix, str(index))] = value.start_mark.line + 1
            _walk(value, (*prefix, str(index)), lines, faults, name)


def _apply(values: dict[str, Any], lines: dict[Path_, int], override: str) -> list[Fault]:
    # The sign of a slice, as in accept.accuracy{channel=email}, is part of the key.
    key, equals, text = re.match(r"((?:[^={]|\{[^}]*\}?)*)(=?)(.*)", override, re.DOTALL).groups()  # type: ignore[union-attr]
    where = f"--set {override}"
    if not equals or not key.strip():
        return [Fault("an override is section.key=value", where, "For example --set train.epochs=2.")]
    key = key.strip()
    try:
        # A bar starts with ">", which YAML reads as a folded block: it is taken as it stands.
        value = text.strip() if key.startswith("accept.") else dialect.read(text)
    except yaml.YAMLError:
        return [Fault("the value is not YAML", where, "Quote it for your shell.")]
    parts = key.split(".", 1) if key.startswith("accept.") else key.split(".")
    target: Any = values
    for place, part in enumerate(parts[:-1]):
        if isinstance(target, list):
            index = _index(target, part)
            if index is None:
                names = [str(item.get("name")) for item in target if isinstance(item, dict)]
                return [
                    Fault(
                        f'there is no "{part}" here', where, did_you_mean(part, names) or f"Known: {', '.join(names)}."
                    )
                ]
            parts[place], target = str(index), target[index]
        else:
            if not isinstance(target.get(part), dict | list):
                target[part] = {}
            target = target[part]
    if key.startswith("accept.") and not value:
        target.pop(parts[-1], None)  # an empty bar takes it away
        return []
    if isinstance(target, list):
        return [Fault("an override names a key of a stage", where, "For example --set stages.NAME.train.epochs=2.")]
    value = track.whole(value) if parts == ["track"] else value
    target[parts[-1]] = _from_here(value) if re.sub(r"^stages\.[^.]+\.(?=data\.)", "", key) in _PATHS else value
    for known in [k for k in lines if k[: len(parts)] == tuple(parts)]:
        del lines[known]
    lines[tuple(parts)] = 0
    return []


def _index(items: list[Any], name: str) -> int | None:
    """Return the place of a stage, given its number (from 0) or its name."""
    named = [i for i, item in enumerate(items) if isinstance(item, dict) and item.get("name") == name]
    if named:
        return named[0]
    return int(name) if name.isdigit() and int(name) < len(items) else None


def _from_here(value: Any) -> Any:
    if isinstance(value, list):
        return [_from_here(v) for v in value]
    # Typed in a shell, a relative path means the working folder; written in the file, it means the file's folder.
    if isinstance(value, str) and (
        Path(value).expanduser().exists() or any(Path().glob(value) if _globs(value) else ())
    ):
        return str(Path(value).expanduser().absolute())
    return value


def _globs(value: str) -> bool:
    return any(c in value for c in "*?[") and not value.startswith(("/", "~"))


def _where(location: Iterable[str], lines: dict[Path_, int], name: str) -> str:
    location = tuple(location)
    while location and location not in lines:
        location = location[:-1]
    line = lines.get(location)
    return f"--set {'.'.join(location)}" if line == 0 else f"{name}:{line}" if line else name


def _faults(error: ValidationError, lines: dict[Path_, int], name: str) -> list[Fault]:
    faults: list[Fault] = []
    for item in error.errors():
        location = tuple(str(part) for part in item["loc"])
        key = _key(location)
        where = _where(key, lines, name)
        shown = ".".join(key)
        known = sorted(_fields(key[:-1]))
        if item["type"] == "extra_forbidden":
            mend = did_you_mean(key[-1], known) or f"Known here: {', '.join(known)}."
            faults.append(Fault(f'unknown key "{shown}".', where, mend))
        elif item["type"] == "missing":
            faults.append(Fault(f'"{shown}" is missing', where, _description(key)))
        else:
            given = repr(item.get("input"))[:60]
            faults.append(Fault(f'"{shown}" is {given}: {_plain(item)}.', where, _choices(item) or _description(key)))
    unique = {(f.where, f.what.split(":")[0]): f for f in reversed(faults)}
    return [f for f in faults if unique.get((f.where, f.what.split(":")[0])) is f]


def _plain(item: Any) -> str:
    message = str(item["msg"]).replace("Input should be", "it should be")
    return message[0].lower() + message[1:]


def _choices(item: Any) -> str:
    if item["type"] != "literal_error":
        return ""
    words = [w.strip(" '") for w in str(item["ctx"]["expected"]).replace(" or ", ", ").split(",")]
    return did_you_mean(str(item.get("input")), words)


def _key(location: Path_) -> Path_:
    """Drop the parts of pydantic's location that name a branch of a union, not a key."""
    kept: list[str] = []
    model: Any = Task
    for part in location:
        fields = model.model_fields if _is_section(model) else None
        if fields is not None:
            kept.append(part)
            if not part.isdigit():  # a number is a place in a list of sections, not a key
                model = _section_of(fields[part].annotation) if part in fields else None
        elif kept == ["accept"] or (kept == ["data", "columns"]):
            kept.append(part)
            model = None
    return tuple(kept)


def _is_section(model: Any) -> bool:
    return isinstance(model, type) and issubclass(model, BaseModel)


def _section_of(annotation: Any) -> Any:
    if _is_section(annotation):
        return annotation
    return next((a for a in get_args(annotation) if _is_section(a)), None)


def _fields(location: Path_) -> list[str]:
    model: Any = Task
    for part in location:
        if part.isdigit():
            continue
        field = model.model_fields.get(part) if _is_section(model) else None
        model = _section_of(field.annotation) if field else None
    return list(model.model_fields) if _is_section(model) else []


def _description(location: Path_) -> str:
    model: Any = Task
    for part in location[:-1]:
        if part.isdigit():
            continue
        field = model.model_fields.get(part) if _is_section(model) else None
        model = _section_of(field.annotation) if field else None
    field = model.model_fields.get(location[-1]) if _is_section(model) and location else None
    return (field.description or "") if field else ""


def dump_task(task: Task) -> str:
    """Return a task as YAML, every value in force written out."""
    return dialect.write(task.model_dump(mode="json"), width=120)

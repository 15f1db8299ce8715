"""From rows to examples, as a stream: which column is what, and why a row is left out."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from hashlib import blake2b
from json.encoder import encode_basestring as _quoted
from typing import Any

from luthier.base.errors import Fault, did_you_mean
from luthier.base.records import Example, Row, Source
from luthier.data.shapes.cells import (
    BROKEN_TEXT,
    EMPTY_ANSWER,
    EMPTY_PROMPT,
    EMPTY_TEXT,
    LABEL_NOT_ONE,
    NO_DATE,
    NO_LABEL,
    NOT_TEXT,
    TOO_DEEP,
    Unusable,
    plain,
    sound,
    word_of,
)
from luthier.data.shapes.dates import DateOrder, is_missing
from luthier.data.shapes.kinds import COLUMNS, SCHEMES, SEVERAL
from luthier.data.shapes.layout import Columns, Layout, Scheme, no_column
from luthier.data.shapes.ranked_rows import NO_ITEM, group_of, is_number
from luthier.data.shapes.votes import join_votes

__all__ = [
    "BROKEN_TEXT", "COLUMNS", "EMPTY_ANSWER", "EMPTY_PROMPT", "EMPTY_TEXT", "LABEL_NOT_ONE", "NOT_TEXT", "NO_DATE", "NO_LABEL",
    "TOO_DEEP", "Dropped", "Mapped", "MappedRows", "map_rows", "to_examples",
]  # fmt: skip

_PEEKED_ROWS = 100
_FAULTS = 20
_ENCODE = json.JSONEncoder(sort_keys=True, ensure_ascii=False, separators=(",", ":"), default=str).encode


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


class MappedRows:
    """Examples and dropped rows as they come, once; what was learnt of the files is known when the stream has ended.

    ``recognised_as`` names columns or formats, ``day_first`` is how :func:`luthier.data.shapes.dates.moment` reads the dates of
    the time column, ``faults`` is the list that was given.
    """

    def __init__(
        self,
        rows: Iterable[Row],
        *,
        columns: Columns,
        objective: str,
        by: str | None,
        time: str | None,
        need_target: bool,
        by_optional: bool,
        faults: list[Fault],
        settings: Mapping[str, Any],
    ) -> None:
        self._settings = settings
        self._rows, self._columns, self._objective = rows, columns, objective
        self._by, self._time, self._need_target, self._optional = by, time, need_target, by_optional
        self.faults = faults
        self._names: dict[str, None] = {}
        # The times of interactions order them, whether or not rows are divided by date.
        self._dated = time or (str(columns["time"]) if objective == "rank" and "time" in columns else None)
        self._dates = DateOrder(self._dated) if self._dated else None

    @property
    def recognised_as(self) -> str:
        return " + ".join(self._names)

    @property
    def day_first(self) -> bool | None:
        return self._dates.day_first if self._dates else None

    def __iter__(self) -> Iterator[Example | Dropped]:
        unknown = _unknown_names(self._columns, self._objective)
        self.faults.extend(unknown)
        if unknown:
            return iter(())
        mapped = self._mapped()
        return join_votes(mapped, Dropped) if "annotator" in self._columns else mapped

    def _mapped(self) -> Iterator[Example | Dropped]:
        known = len(self.faults)
        missing: dict[str, list[Fault]] = {"split.by": [], "split.time": []}
        files = 0
        for file, group in itertools.groupby(self._rows, key=_file_of):
            head = list(itertools.islice(group, _PEEKED_ROWS))
            keys = list(dict.fromkeys(str(key) for row in head for key in row.values))
            layout = Layout(self._columns, keys, head, f"{file}:1", self._need_target, self.faults, self._settings)
            scheme = _resolve(layout, self._objective)
            files += 1
            for what, name in (("split.by", self._by), ("split.time", self._time)):
                if name and name not in keys:
                    missing[what].append(no_column(name, keys, f"{file}:1", f"data.{what}"))
            if scheme is None or len(self.faults) - known >= _FAULTS:
                continue
            self._names.setdefault(scheme.name)
            dated = self._dated if self._dated in keys else None
            yield from self._map(itertools.chain(head, group), scheme, dated)  # noqa: B031 - head came off group
        # Files harvested from a service have no such column; a name that no file has is a slip.
        for found in missing.values():
            if found and len(found) == files and not self._optional:
                self.faults.extend(found)
        self.faults.extend(self._dates.faults() if self._dates else ())

    def _map(self, rows: Iterator[Row], scheme: Scheme, dated: str | None) -> Iterator[Example | Dropped]:
        read, used, by, need_target = scheme.read, scheme.used, self._by, self._need_target
        for row in rows:
            values, source = row.values, row.source
            try:
                inputs, target, more = read(values)
                ident = _ident(inputs, target)
            except Unusable as reason:
                yield Dropped(source, reason.reason, reason.detail)
                continue
            except RecursionError:
                yield Dropped(source, TOO_DEEP)
                continue
            if target is None and need_target:
                yield Dropped(source, _lacking(inputs))
                continue
            if dated and self._dates:
                if is_missing(values.get(dated)):
                    yield Dropped(source, NO_DATE, f'"{dated}" is empty')
                    continue
                # The times of interactions may be mere numbers, counted in whatever way.
                if self._objective != "rank" or not is_number(values[dated]):
                    self._dates.see(values[dated], source)
            extra = {_key(k): plain(v) for k, v in values.items() if k not in used}
            if more:
                extra.update(more)
            group = word_of(values.get(by)) if by else group_of(inputs)
            yield Example(ident, inputs, target, source, group, extra)


def map_rows(
    rows: Iterable[Row],
    *,
    columns: Columns,
    objective: str,
    by: str | None = None,
    time: str | None = None,
    need_target: bool = True,
    by_optional: bool = False,
    faults: list[Fault],
    settings: Mapping[str, Any] | None = None,
) -> MappedRows:
    """Map rows to examples, file by file, as they are read; what cannot be used is dropped with its reason.

    A column that ``columns`` does not name is looked for under its own name. Without ``columns``, chat messages,
    prompt and completion, ShareGPT, Alpaca, DPO and KTO files are recognised. A conversation's last assistant turn is
    the target; one that does not end with an assistant turn is dropped, unless ``need_target`` is False.

    Args:
        by: the column whose value becomes ``Example.group``; in no file, it is a fault unless ``by_optional``.
        time: the column of dates; a row without one is dropped, one that cannot be read is a fault. The value stays in
            ``Example.extra`` as it stands.
        need_target: False reads rows without label or answer too, with ``target`` None.
        faults: where faults are added; complete when the stream has ended.
        settings: how cells are read, as :func:`luthier.data.shapes.layout.cell_settings` gives it.
    """
    return MappedRows(
        rows, columns=columns, objective=objective, by=by, time=time, need_target=need_target, by_optional=by_optional, faults=faults,
        settings=settings or {},
    )  # fmt: skip


def to_examples(
    rows: Iterable[Row],
    *,
    columns: Columns,
    objective: str,
    by: str | None = None,
    time: str | None = None,
    need_target: bool = True,
    by_optional: bool = False,
    settings: Mapping[str, Any] | None = None,
) -> Mapped:
    """Map all rows at once, as :func:`map_rows` does, and hold what comes of them."""
    mapped = Mapped()
    stream = map_rows(
        rows, columns=columns, objective=objective, by=by, time=time, need_target=need_target, by_optional=by_optional, faults=mapped.faults,
        settings=settings,
    )  # fmt: skip
    for item in stream:
        mapped.examples.append(item) if isinstance(item, Example) else mapped.dropped.append(item)
    return Mapped(mapped.examples, mapped.dropped, stream.recognised_as, mapped.faults)


def _lacking(inputs: Mapping[str, Any]) -> str:
    """Return why a row without a target is left out."""
    if "query" in inputs or "user" in inputs:
        return NO_ITEM
    return NO_LABEL if "text" in inputs else EMPTY_ANSWER


def _file_of(row: Row) -> str:
    return row.source.file


def _key(key: Any) -> str:
    return key if type(key) is str and key.isascii() else sound(str(key))


def _ident(inputs: Mapping[str, Any], target: Any) -> str:
    """Return :func:`luthier.base.seeds.stable_hash` of inputs and target; the JSON of one text is put together here."""
    if type(target) is str and len(inputs) == 1 and "text" in inputs:
        written = f'[{{"text":{_quoted(inputs["text"])}}},{_quoted(target)}]'
    else:
        written = _ENCODE([inputs, target])
    return blake2b(written.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()


def _unknown_names(columns: Columns, objective: str) -> list[Fault]:
    known = COLUMNS[objective]
    faults = []
    for what, column in columns.items():
        where = f"data.columns.{what}"
        if what not in known:
            mend = did_you_mean(what, known) or f"Known for {objective}: {', '.join(known)}."
            faults.append(Fault(f'"{what}" is not a column that {objective} needs.', where, mend))
        elif not isinstance(column, str) and (objective, what) not in SEVERAL:
            mend = f"These may stand in several columns: {', '.join(f'{w} of {o}' for o, w in SEVERAL)}."
            faults.append(Fault(f'"{what}" is one column, not {len(column)}.', where, mend))
    return faults


def _resolve(layout: Layout, objective: str) -> Scheme | None:
    if layout.need_target and objective != "text" and _is_plain(layout):
        what = f"a plain text file has nothing that {objective} could learn."
        layout.faults.append(Fault(what, layout.where, "Set task.objective: text, or name a file with columns."))
        return None
    return SCHEMES[objective](layout)


def _is_plain(layout: Layout) -> bool:
    name = layout.where.rpartition(":")[0].lower().removesuffix(".gz")
    return list(layout.keys) == ["text"] and name.endswith((".txt", ".md"))

"""From rows to a labelling page, and from what people said there to a table."""

from __future__ import annotations

import getpass
import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from luthier.base.errors import DataError, Fault, LuthierError, TaskError, did_you_mean
from luthier.base.records import Example, Row
from luthier.data.shapes.columns import map_rows
from luthier.data.sources import open_sources
from luthier.data.sources.labelled import OWN, is_label_log
from luthier.data.sources.origins import Origin
from luthier.spec.data import DataSection
from luthier.spec.load import load_task

if TYPE_CHECKING:
    from luthier.labelling.pool import Pool
    from luthier.labelling.vectors import Embed

ENDING = ".labels.jsonl"
MOST_LABELS = 1_000
_PEEKED_ROWS = 100
_KINDS = (".csv", ".tsv", ".jsonl", ".ndjson", ".json", ".parquet", ".arrow", ".txt", ".gz")


@dataclass(frozen=True, slots=True)
class Labelling:
    """What is labelled: the rows, the columns, the file that answers go to, and the name at the top of the page."""

    data: DataSection
    base: Path
    out: Path
    title: str
    named: Mapping[str, str]


def label_data(
    source: str | None,
    *,
    task: Path | None = None,
    columns: Mapping[str, str] | None = None,
    labels: str | None = None,
    out: Path | None = None,
    by: str | None = None,
    votes: int = 1,
    blind: bool = False,
    again: bool = False,
    vectors: str = "embedded",
    order: Literal["learn", "random"] = "learn",
    host: str = "127.0.0.1",
    port: int = 8322,
    api_key: str | None = None,
    ready: Callable[[str, dict[str, Any]], None],
) -> dict[str, Any]:
    """Serve the labelling page until it is stopped; return what was labelled by then.

    Raises:
        LuthierError: rows, columns, labels or address are wrong.
        Interrupted: SIGTERM came; everything said is on disk.
    """
    from luthier.labelling.desk import Desk
    from luthier.labelling.store import Store
    from luthier.labelling.vectors import VectorCache
    from luthier.labelling.work import Worker
    from luthier.models.catalogue import EMBEDDED_SHA256
    from luthier.serve.access import check_binding
    from luthier.studio.label_run import serve_labelling

    check_binding(host, api_key)
    person = _person(by)
    work = _labelling(source, task, dict(columns or {}), out)
    known = _names(labels)
    pool = _pool(work, again=again)
    if not pool.items:
        raise _nothing_to_ask(work, pool)
    names = [origin.shown for origin in _origins(work)]
    with Store(work.out, columns=work.named, data=names, by=person) as store:
        desk = Desk(pool, store, labels=known, votes=votes, blind=blind, order=order)
        cache = VectorCache(cache_of(work.out), model=EMBEDDED_SHA256) if vectors == "embedded" else None
        worker = Worker(desk, cache=cache, open_embedder=_embedder if vectors == "embedded" else None)
        worker.start()
        facts = {"out": str(work.out), "rows": len(pool.items), "labels": desk.labels(), "sampled": pool.sampled}
        try:
            serve_labelling(desk, by=person, title=work.title, host=host, port=port, api_key=api_key,
                            on_ready=lambda url: ready(url, facts))  # fmt: skip
        finally:
            desk.close()
            worker.join()
        done = desk.progress(person)
    return {
        "out": str(work.out),
        "labelled": done["labelled"],
        "people": done["people"],
        "stop": done["advice"]["stop"],
    }


def export_labels(source: str | None, *, task: Path | None, out: Path | None, to: Path) -> dict[str, Any]:
    """Write what people said as a table; ``source`` is what was labelled, or the file of labels itself."""
    from luthier.labelling.store import export

    log = (
        Path(source).expanduser()
        if source is not None and out is None and is_label_log(Path(source).expanduser())
        else None
    )
    log = log or _labelling(source, task, {}, out).out
    return {"out": str(to), **export(log, to)}


def cache_of(out: Path) -> Path:
    """Return where the vectors of the rows are kept, beside the labels."""
    return out.with_name(out.name.removesuffix(".jsonl") + ".vectors.safetensors")


def _labelling(source: str | None, task: Path | None, columns: dict[str, str], out: Path | None) -> Labelling:
    file = load_task(task) if task is not None else None
    if file is None and source is None:
        raise TaskError("nothing to label is named", mend="Name a file, or a task file with --task.")
    if file is not None and file.task.task.objective != "classify":
        what = f"rows are labelled for classify, and this task is {file.task.task.objective}"
        raise TaskError(what, where=str(file.path), mend="Name a file of texts instead.")
    base = file.folder if file is not None and source is None else Path.cwd()
    section = file.task.data if file is not None else DataSection(source=source or "")
    if source is not None:
        section = section.model_copy(update={"source": source})
    merged = {**section.columns, **columns}
    several = [what for what, name in merged.items() if not isinstance(name, str)]
    if several:
        mend = "Label their rows from one column: --column label=NAME."
        raise TaskError(f"data.columns.{several[0]} names several columns", where=str(task or "--column"), mend=mend)
    # Under the task's own names, the file of labels can stand in its data.source beside the others.
    named = {what: str(section.columns.get(what, what)) for what in ("text", "label")}
    section = section.model_copy(update={"columns": merged})
    first = section.source if isinstance(section.source, str) else section.source[0]
    name = section.source if isinstance(section.source, str) else ", ".join(section.source)
    return Labelling(section, base, out or _default_out(first, base), name, named)


def _default_out(first: str, base: Path) -> Path:
    path = base / Path(first).expanduser()
    if not path.exists():  # a pattern, a hub name or a database has no place of its own
        return base / f"rows{ENDING}"
    stem = path.name
    while Path(stem).suffix.lower() in _KINDS:
        stem = stem[: -len(Path(stem).suffix)]
    return path.resolve().with_name((stem or "rows") + ENDING) if path.is_dir() else path.with_name(stem + ENDING)


def _origins(work: Labelling) -> list[Origin]:
    found = open_sources(work.data.source, work.base, data=work.data)
    # What is said on the page goes to that file; it is no source of rows to ask about.
    out = work.out.resolve()
    return [o for o in found if o.path is None or o.path.resolve() != out or not is_label_log(o.path)]


def _pool(work: Labelling, *, again: bool) -> Pool:
    from luthier.labelling.pool import gather

    faults: list[Fault] = []
    origins = _origins(work)
    if not origins:
        raise DataError("there are only labels here, and no rows to label", where=work.title, mend="Name the rows.")
    columns: dict[str, str | list[str]] = {**work.data.columns}
    columns.setdefault("text", _text_column(origins))
    # A column that is named and not there is a slip; one that is called label may be missing.
    _check_label(origins, columns)
    rows = map_rows(_rows(origins, faults), columns=columns, objective="classify", by=None, need_target=False,
                    by_optional=True, faults=faults)  # fmt: skip
    # What the task divides by goes with the answer, where the log has no such word of its own.
    carry = [name for name in (work.data.split.by, work.data.split.time) if name and name not in OWN]
    pool = gather((e for e in rows if isinstance(e, Example)), again=again, carry=carry)
    if faults:
        raise DataError.of(dict.fromkeys(faults))
    if len(pool.labels) > MOST_LABELS:
        what = f"{len(pool.labels):,} different labels stand in the label column"
        raise DataError(what, where=work.title, mend="Is it the right column? Choose with --column label=NAME.")
    return pool


def _rows(origins: Sequence[Origin], faults: list[Fault]) -> Iterator[Row]:
    for origin in origins:
        yield from origin.rows(faults=faults)


def _head(origins: Sequence[Origin]) -> list[Row]:
    return list(itertools.islice(_rows(origins, []), _PEEKED_ROWS))


def _text_column(origins: Sequence[Origin]) -> str:
    """Return ``text`` where there is such a column, otherwise the one with the longest texts."""
    head = _head(origins)
    keys = list(dict.fromkeys(str(key) for row in head for key in row.values))
    if "text" in keys or not keys:
        return "text"

    def length(key: str) -> int:
        return sum(len(value) for row in head if isinstance(value := row.values.get(key), str))

    return max(keys, key=length)


def _check_label(origins: Sequence[Origin], columns: Mapping[str, str | list[str]]) -> None:
    if "label" not in columns:
        return
    keys = list(dict.fromkeys(str(key) for row in _head(origins) for key in row.values))
    if keys and columns["label"] not in keys:
        raise DataError(f'no column "{columns["label"]}"', where=f"{origins[0].shown}:1",
                        mend=f"{did_you_mean(str(columns['label']), keys)} Columns there: {', '.join(keys[:20])}.")  # fmt: skip


def _nothing_to_ask(work: Labelling, pool: Pool) -> DataError:
    if pool.known:
        return DataError(
            "every row has a label already", where=work.title, mend="Ask about them all the same with --again."
        )
    return DataError("no row has a text", where=work.title, mend="Say which column it is: --column text=NAME.")


def _names(labels: str | None) -> list[str]:
    """Return the labels of ``a,b,c``, or one a line of the file behind ``@``."""
    if labels is None:
        return []
    where = f"--labels {labels}"
    if labels.startswith("@"):
        path = Path(labels[1:]).expanduser()
        try:
            parts = path.read_text(encoding="utf-8").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise LuthierError("this file of labels cannot be read", where=str(path), mend="One label a line, in UTF-8.") from error  # fmt: skip
    else:
        parts = labels.split(",")
    names = [part.strip() for part in parts if part.strip()]
    twice = {a for a, b in itertools.combinations(names, 2) if a.casefold() == b.casefold()}
    if twice:
        raise LuthierError(f'the label "{sorted(twice)[0]}" is named twice', where=where, mend="Name each once.")
    bad = [name for name in names if not name.isprintable() or len(name) > 120]
    if bad or not names:
        raise LuthierError("a label is a short printable text", where=where, mend="Separate them by commas.")
    return names


def _person(by: str | None) -> str:
    if by is None:
        try:
            by = getpass.getuser()
        except (OSError, KeyError):
            by = "someone"
    by = by.strip()
    if not by or not by.isprintable() or len(by) > 60:
        raise LuthierError("a name is a printable text of at most 60 characters", where="--by", mend="Choose another.")
    return by


def _embedder() -> Embed:
    from luthier.models.embed import Embedder

    return Embedder().embed

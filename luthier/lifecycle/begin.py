"""Before and around a run: write a task file from data, check one, write a report page again."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from luthier.base.errors import BundleError, TaskError
from luthier.base.files import read_json, write_text
from luthier.base.seeds import stable_hash
from luthier.data.shapes.guess import guess
from luthier.data.sources import open_sources
from luthier.spec import dialect
from luthier.spec.data import DataSection
from luthier.spec.objective import WRITING

_BARS = {
    "classify": '  macro_f1: ">= 0.80"',
    "multilabel": '  micro_f1: ">= 0.70"',
    "grade": '  qwk: ">= 0.60"',
    "rank": '  ndcg@10: ">= 0.10"',
    "generate": '  token_f1: ">= 0.20"',
    "prefer": '  preference_accuracy: ">= 0.60"',
    "text": '  bits_per_byte: "< 1.5"        # a masked model has none: then perplexity',
}
# What the embedded model cannot do: it reads and does not write.
_BASES = dict.fromkeys(sorted(WRITING), "            # luthier-base, to try it; for work name a larger decoder's folder or hub name")


def write_task(data: str, out: Path, *, force: bool, query: str | None = None) -> dict[str, Any]:
    """Look at the data and write a task file that runs; return what was decided and why.

    Args:
        data: what `data.source` may be. query: the SQL query, where it is a database URL.

    Raises:
        TaskError: the task file is there already. DataError: nothing in the data looks like a task.
    """
    if out.exists() and not force:
        raise TaskError("this file is there already", where=str(out), mend="Use --force, or another name with --out.")
    origins = open_sources(data, Path.cwd(), data=DataSection(source=data, query=query))
    found = guess(origins)
    source = data if any(origin.path is None for origin in origins) else _relative(Path(data), out)
    text = _task_text(found, source, name=_name(Path(data)), query=query)
    write_text(out, text)
    return {
        "task": str(out), "objective": found.objective, "columns": found.columns, "by": found.by, "labels": found.label_counts,
        "reasons": found.reasons, "problems": [p.as_dict() for p in found.problems],
    }  # fmt: skip


def _relative(data: Path, out: Path) -> str:
    """Return the data's path as seen from the task file's folder, where that is possible without climbing."""
    target, start = data.expanduser().absolute(), out.expanduser().absolute().parent
    return target.relative_to(start).as_posix() if target.is_relative_to(start) else str(target)


def _name(data: Path) -> str:
    stem = data.name.split(".")[0] or data.absolute().name
    kept = "".join(c if c.isascii() and (c.isalnum() or c in "-_") else "-" for c in stem).strip("-_")
    return kept or f"task-{stable_hash(stem, size=3)}"


def _task_text(found: Any, source: str, *, name: str, query: str | None) -> str:
    def flow(value: Any) -> str:
        return (
            dialect.write(value, default_flow_style=True, width=10_000)
            .strip()
            .removesuffix("\n...")
        )

    by = f", by: {flow(found.by)}" if found.by else ""
    lines = [
        f"# Written by `luthier init` after a look at {found.rows_looked_at} rows. docs/task-file.md explains every key.",
        *(f"# - {reason}" for reason in found.reasons),
        "task:",
        f"  name: {flow(name)}",
        f"  objective: {found.objective}",
        '  goal: ""                  # who uses the answers and for what: it heads the report',
        "data:",
        f"  source: {flow(source)}",
        *([f"  query: {flow(query)}"] if query else []),
        f"  columns: {flow(found.columns)}",
        f"  split: {{valid: 0.1, test: 0.2{by}}}",
        "model:",
        f"  base: embedded{_BASES.get(found.objective, '')}",
        "train:",
        "  method: auto              # chosen by objective, rows and memory; the run says why",
    ]
    if found.objective in _BARS:
        lines += [
            "accept:                      # the definition of done; set the bars that your use needs",
            _BARS[found.objective],
        ]
    return "\n".join(lines) + "\n"


def write_page(run: Path, out: Path | None) -> Path:
    """Write a run's report page again from its report.json."""
    from luthier.evaluate.report.page import write_report

    path = run / "report.json"
    if not path.is_file():
        raise BundleError("no report.json here", where=str(run), mend="Name the folder that `luthier run` printed.")
    return write_report(read_json(path), out or run)

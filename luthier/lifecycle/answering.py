"""From a bundle to answers, and from what people said of them back to rows."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

from luthier.base.errors import BundleError, DataError, LedgerError
from luthier.base.files import read_json, write_jsonl
from luthier.base.records import Example
from luthier.base.scales import by_trait, scale_of, settled
from luthier.data import dedupe
from luthier.data.prepare import divided_rows
from luthier.data.shapes.ranked_rows import RELEVANCE, TIME, is_number, relevance_of
from luthier.ledger.answers import MENDED, written
from luthier.ledger.store import Ledger
from luthier.release.folder import bundle_folder
from luthier.spec.load import load_task
from luthier.spec.serve import ServeSection
from luthier.watch.harvest import harvest

_STDIN_CHUNK = 256


def predict_file(
    bundle: Path, source: str, *, columns: Mapping[str, str], out: Path | None, max_new_tokens: int | None,
    write: Callable[[Mapping[str, Any]], None] | None,
) -> dict[str, Any]:  # fmt: skip
    """Answer every row of a file, or of standard input for ``-``; to ``out``, or row by row through ``write``."""
    from luthier.lifecycle.bundles import input_rows, predict_rows, rows_of
    from luthier.release.predictor import load_predictor

    predictor = load_predictor(bundle)
    if source == "-":
        try:
            lines = [line for line in sys.stdin if line.strip()]
        except UnicodeDecodeError as error:
            raise DataError(f"these bytes are not UTF-8 ({error.reason})", where="standard input") from None
        items = input_rows(predictor, lines)
        answers: Iterator[dict[str, Any]] = (p.as_dict() for start in range(0, len(items), _STDIN_CHUNK)
                   for p in predictor.predict(items[start : start + _STDIN_CHUNK], max_new_tokens=max_new_tokens))  # fmt: skip
        count = len(items)
    else:
        rows = rows_of(predictor, source, columns, need_target=False)
        answers = predict_rows(predictor, rows, max_new_tokens=max_new_tokens)
        count = len(rows)
    if out is not None:
        write_jsonl(out, answers)
    elif write is not None:
        for answer in answers:
            write(answer)
    return {"rows": count, "out": str(out) if out else None, "bundle": predictor.bundle_id,
            **({} if out or write else {"predictions": list(answers)})}  # fmt: skip


def serve_bundle(
    bundle: Path,
    *,
    host: str | None,
    port: int | None,
    ledger: Path | None,
    api_key: str | None,
    ready: Callable[[str], None],
) -> None:
    """Serve a bundle as its task's `serve` section says, and options over that; a relative ledger lies in the working folder."""
    from luthier.release.predictor import load_predictor
    from luthier.serve.access import check_binding
    from luthier.serve.run import serve

    kept = read_json(bundle_folder(bundle) / "bundle.json").get("serve", {})
    asked = {"host": host, "port": port, "ledger": str(ledger) if ledger else None}
    settings = ServeSection(**{**kept, **{key: value for key, value in asked.items() if value is not None}})
    check_binding(settings.host, api_key)
    predictor = load_predictor(bundle)
    if not predictor.answers:
        raise BundleError(
            "this model answers nothing by itself: it went on with pre-training to be tuned for a task",
            where=str(bundle),
            mend="Name its folder `network` as model.base of a task file.",
        )
    serve(predictor, settings, base=Path.cwd(), api_key=api_key, on_ready=ready)


def harvest_ledger(ledger: Path, task: Path | None, *, since: str | None, out: Path) -> dict[str, Any]:
    """Write what people said of the answers as a source file; with a task, what it knows and tests on is left out."""
    if not ledger.is_file():
        raise LedgerError(
            "no such ledger", where=str(ledger), mend="`luthier serve` writes one; name it with --ledger."
        )
    objective = "classify"
    columns: dict[str, Any] = {}
    scales: dict[str, list[float]] = {}
    known: dict[str, str] = {}
    tests: frozenset[str] = frozenset()
    of_choice = None
    if task is not None:
        file = load_task(task)
        objective = file.task.task.objective
        columns = dict(file.task.data.columns)
        sides = divided_rows(file.task.data, objective, base=file.folder)
        known = {dedupe.key(e): written(objective, e.target) for side in ("train", "valid") for e in sides[side]}
        if objective == "grade":
            seen = by_trait(example.target for example in sides["train"])
            scales = settled({trait: scale_of(scores) for trait, scores in seen.items()}, file.task.data.scale)
        # A user's later choices are no copies of earlier ones: what is held out of a user are rows, of a query it is the query.
        tests = frozenset(dedupe.key(replace(e, target=None)) for e in sides["test"] if "user" not in e.inputs)
        if objective == "rank":
            of_choice = _of_choice(sides["train"], columns, file.task.data.min_relevance)
    with Ledger(ledger) as opened:
        if task is None and len(predicted := opened.objectives() & set(MENDED)) == 1:
            (objective,) = predicted
        found = harvest(opened, out, objective=objective, since=since, test_keys=tests, known=known, columns=columns, scales=scales, of_choice=of_choice)
    return found.as_dict()


def _of_choice(rows: Sequence[Example], columns: Mapping[str, Any], least: float | None) -> Callable[[str], dict[str, Any]]:
    """Return what gives a choice, from its ISO time, what the source says of one where it has columns for it.

    ``relevance`` is from where on an item counts as such, or the most that a row of the source says; ``time`` is in seconds or milliseconds
    since 1970 where the source's are numbers, and else as it is.
    """
    worth = least if least is not None else max((relevance_of(row.extra) for row in rows), default=1.0)
    like = next((row.extra[TIME] for row in rows if row.extra.get(TIME) is not None), None)
    thousand = 1000 if like is not None and is_number(like) and float(like) > 1e11 else 1

    def of_choice(at: str) -> dict[str, Any]:
        when = round(datetime.fromisoformat(at).timestamp() * thousand) if is_number(like) else at
        return {name: value for name, value in ((RELEVANCE, worth), (TIME, when)) if name in columns}

    return of_choice

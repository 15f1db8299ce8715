"""A run's judge model: held against people before anything is trained, asked about the test rows at the end.

Whatever its service does, the run has its result: what could not be asked is told, and bars on it cannot be.
"""

from __future__ import annotations

import csv
import io
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from luthier.base.errors import DataError, Fault, LuthierError, ModelError, TaskError
from luthier.base.files import read_jsonl, write_jsonl, write_text
from luthier.base.records import Example, Prediction, Source
from luthier.base.seeds import stable_fraction
from luthier.data.personal import find
from luthier.evaluate.intervals import Interval
from luthier.evaluate.judges import look
from luthier.evaluate.judges.ask import FIRST, SECOND, Asker, Item
from luthier.evaluate.judges.named import REFERENCE
from luthier.evaluate.judges.people import Rated, read
from luthier.evaluate.judges.rewarded import Rewarder
from luthier.evaluate.rewards import with_reference
from luthier.lifecycle.round import Round
from luthier.release.folder import bundle_folder, objective_of
from luthier.spec.judge import OVERALL, Judge
from luthier.spec.load import TaskFile, parse_yaml

FOLDER = "judge"
TO_RATE = "to-rate.csv"
ITEMS = "asked.jsonl"
_FIGURES = ("value", "low", "high", "rows", "units", "least", "most")


def rated_rows(file: TaskFile) -> Rated:
    """Return the rows that people rated before, where the task names a file of them.

    Raises:
        DataError: it cannot be read, or too few rows are rated.
    """
    return read(file.task.evaluate.judge, base=file.folder)


def calibrate(round_: Round) -> None:
    """Hold the judge against people before anything is trained: a key that is refused is told now, and so is a poor judge.

    Raises:
        TaskError: the service refuses the key, or has no such model or address.
    """
    settings = round_.file.task.evaluate.judge
    if not settings.asked or settings.human is None:
        return
    began = time.monotonic()
    try:
        agreed = look.people(settings, _asker(round_), rated_rows(round_.file), resamples=round_.file.task.evaluate.bootstrap)
    except DataError as error:
        round_.emit("warning", text=f"{look.in_words(error, settings)}; it is asked again at the end")
        return
    finally:
        round_.timed("judge", began)
    for name, one in agreed.items():
        kind = "judge" if name == OVERALL else f"judge of {name}"
        if one["proven"]:
            round_.emit("judge", said=f"{kind}: {one['why']}", criterion=name, agreement=one)
        else:
            round_.emit("warning", text=f"{kind}: {one['why']}; no bar can rest on it")


def of_rows(
    round_: Round, rows: Sequence[Example], predictions: Sequence[Prediction], rivals: Mapping[str, Sequence[Prediction]],
    *, keeps: bool = True,
) -> tuple[dict[str, Any], dict[str, Interval], dict[str, str]]:
    """Ask the judge about the test rows; return what the report shows, the metrics, and which of them cannot be believed.

    ``rivals`` are the other models' answers to the same rows, the earlier bundle's under `live`. What was asked is kept, so that it can be asked
    again without a model, and that people can rate it; without ``keeps`` it is not.
    """
    task = round_.file.task
    settings = task.evaluate.judge
    if not settings.asked:
        return {}, {}, {}
    rated, _ = _rated_again(round_.file)
    others = None if settings.mode == "score" or settings.versus == REFERENCE else rivals.get(settings.versus)
    items, places = look.items_of(settings, rows, predictions, others, shows_reference=look.shows_reference(settings, rated))
    asked = [rows[i] for i in places]
    _warn_of_personal(round_, asked)
    if keeps:
        write_to_rate(round_.folder / FOLDER / TO_RATE, settings, items)
        write_items(round_.folder / FOLDER / ITEMS, items, asked)
    return of_items(round_, items, asked)


def of_items(
    round_: Round, items: Sequence[Item], rows: Sequence[Example]
) -> tuple[dict[str, Any], dict[str, Interval], dict[str, str]]:
    """Ask the judge about answers to ``rows``, as :func:`of_rows` does, whose models need not be there any more."""
    task = round_.file.task
    settings, began = task.evaluate.judge, time.monotonic()
    rated, failed = _rated_again(round_.file)
    agreed, found, opinions, asker = {}, {}, {}, _asker(round_)
    try:
        agreed = look.people(settings, asker, rated, resamples=task.evaluate.bootstrap)
        opinions = asker.opinions(items)
        found = look.measured(settings, items, opinions, resamples=task.evaluate.bootstrap)
    except (TaskError, DataError) as error:
        failed = look.in_words(error, settings)
        round_.emit("warning", text=failed)
    record = _record(settings, found, agreed, failed, asker, len(items), len(rated.items), rated)
    record["shown"] = look.shown(rows, range(len(rows)), items, opinions) if opinions else []
    doubts = look.doubts(settings, found, agreed, failed)
    record["doubts"] = doubts
    metrics = {one["metric"]: {key: one[key] for key in _FIGURES if key in one} for one in found.values()}
    for metric, value in metrics.items():
        round_.emit("judged", said=f"judged   {metric} {_figure(value)}" + (" (unproven)" if metric in doubts else ""), metric=metric, **value)
    round_.timed("judge", began)
    return {"judge": record}, metrics, doubts


def _rated_again(file: TaskFile) -> tuple[Rated, str | None]:
    """Return the rated rows, or why not: a file that was there before training and has changed since costs no result."""
    try:
        return rated_rows(file), None
    except DataError as error:
        return Rated(), f"people's ratings cannot be read any more: {error.faults[0].what}"


def file_faults(file: TaskFile) -> list[Fault]:
    """Return what is wrong with the bundle that judges, before anything is trained."""
    named = file.task.evaluate.judge.bundle
    if named is None:
        return []
    where = f"{file.path}: evaluate.judge.bundle"
    try:
        objective = objective_of(file.resolve(named))
    except LuthierError as error:
        return [Fault(error.faults[0].what, where, error.faults[0].mend)]
    if objective != "prefer":
        return [Fault(f"a bundle of `{objective}` has learnt no preferences", where, "Name one that was tuned by `prefer`.")]
    return []


def _weigher(file: TaskFile) -> Callable[[Sequence[Example]], list[Prediction]]:
    """Return what measures pairs by the bundle that judges, opened when it is first asked and let go when it is done."""

    bundle = bundle_folder(file.resolve(str(file.task.evaluate.judge.bundle)))
    # A bundle knows the name of its base and not where it lies: often where this task has its own, or where its run had it.
    also = [file.task.base, *base_of_run(bundle.parent)]

    def weigh(rows: Sequence[Example]) -> list[Prediction]:
        from luthier.lifecycle.reference import reference_of
        from luthier.release.predictor import load_predictor

        predictor = load_predictor(bundle)
        weighed = predictor.measure(rows)
        if not any(p.measured.get("refers") for p in weighed):
            return weighed
        try:
            return with_reference(weighed, reference_of(predictor, folder=file.folder, also=also).measure(rows))
        except ModelError as error:
            mend = "Put the model that it was tuned from where its name leads, or judge by a bundle whose loss needs none (simpo, orpo)."
            raise TaskError(error.faults[0].what, where="evaluate.judge.bundle", mend=mend) from None

    return weigh


def base_of_run(run: Path) -> list[str]:
    """Return the name that a run gave to its base, where the run is there."""
    base = _resolved(run, "model").get("base")
    return [str(base)] if base else []


def seed_of_run(run: Path) -> int:
    """Return the seed of a run's training, where the run is there; else 0."""
    return int(_resolved(run, "train").get("seed", 0))


def _resolved(run: Path, section: str) -> dict[str, Any]:
    path = run / "resolved.yaml"
    known = parse_yaml(path.read_text("utf-8"), str(path))[0].get(section) if path.is_file() else None
    return known if isinstance(known, dict) else {}


def _asker(round_: Round) -> Asker | Rewarder:
    settings = round_.file.task.evaluate.judge
    if settings.bundle is not None:
        return Rewarder(settings, _weigher(round_.file))
    return Asker(settings, round_.file.resolve(settings.answers) if settings.answers else round_.folder / FOLDER)


def _record(
    settings: Judge, found: Mapping[str, Any], agreed: Mapping[str, Any], failed: str | None, asker: Asker | Rewarder, rows: int, rated: int,
    people: Rated,
) -> dict[str, Any]:  # fmt: skip
    what = ["prompts and answers", *(["answers of the other model"] if settings.mode == "pairwise" else [])]
    what += ["wanted answers"] if look.shows_reference(settings, people) or (settings.versus == REFERENCE and settings.mode == "pairwise") else []
    return {
        "mode": settings.mode, "model": settings.model or settings.called, "versus": settings.versus if settings.mode == "pairwise" else None,
        "scale": settings.scale if settings.mode == "score" else None,
        "criteria": [{**found.get(name, {"criterion": name, "text": text}), "agreement": agreed.get(name)}
                     for name, text in settings.named().items()],
        "failed": failed, "malformed": asker.malformed,
        "sent": {"to": settings.url, "what": what, "test_rows": rows, "rated_rows": rated, 
                 **{name: asker.counts[name] for name in ("requests", "from_disk", "tokens")}},
    }  # fmt: skip


def write_items(path: Path, items: Sequence[Item], rows: Sequence[Example]) -> Path:
    """Write what the judge is asked about, a line each, with where its row stands."""
    return write_jsonl(path, ({**asdict(item), "file": row.source.file, "line": row.source.line} for item, row in zip(items, rows, strict=True)))


def read_items(path: Path) -> tuple[list[Item], list[Example]]:
    """Return what :func:`write_items` wrote."""
    items, rows = [], []
    for number, line in enumerate(read_jsonl(path)):
        source = Source(line.pop("file"), line.pop("line"))
        items.append(Item(**line))
        rows.append(Example(str(number), {"text": line["prompt"]}, None, source, line["group"]))
    return items, rows


def write_to_rate(path: Path, settings: Judge, items: Sequence[Item]) -> Path | None:
    """Write the judged rows as a table for people to rate, without what the judge said; a pair in an order told by chance."""
    if not items:
        return None
    pairwise, criteria = settings.mode == "pairwise", list(settings.named())
    usual = "choice" if pairwise else "score"
    names = ["prompt", *((FIRST, SECOND) if pairwise else ("answer",)), "reference", *(usual if c == OVERALL else c for c in criteria)]
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(names)
    for item in items:
        answers = [item.answer, *([item.other or ""] if pairwise else [])]
        if pairwise and stable_fraction(f"{item.prompt}\x1f{item.answer}", seed=0) < 0.5:
            answers.reverse()
        writer.writerow([item.prompt, *answers, item.reference or "", *[""] * len(criteria)])
    return write_text(path, text.getvalue())


def _warn_of_personal(round_: Round, rows: Sequence[Example]) -> None:
    if round_.file.task.data.personal == "mask" or round_.file.task.evaluate.judge.url is None:
        return
    from luthier.data.report import input_text

    if (first := next((row for row in rows if find(input_text(row))), None)) is not None:
        url = round_.file.task.evaluate.judge.url
        round_.emit("warning", text=f"{first.source}: personal data goes to {url} as it is; data.personal: mask replaces it before.")


def _figure(value: Interval) -> str:
    if value["value"] is None:
        return "could not be measured"
    span = "" if value["low"] is None else f" [{value['low']:.2f}, {value['high']:.2f}]"
    return f"{value['value']:.2f}{span}"



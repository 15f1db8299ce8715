"""Runs and bundles side by side: answered again on rows that none of them learnt from, and told apart as far as these rows can."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from luthier.base.errors import BundleError, DataError, TaskError
from luthier.base.files import read_json, write_json
from luthier.base.records import Example, Prediction
from luthier.data.prepare import load_prepared
from luthier.data.ranking import united
from luthier.evaluate import metrics as measures
from luthier.evaluate import predict, resolution, several
from luthier.evaluate.report.comparison import write_comparison
from luthier.lifecycle import learnt
from luthier.lifecycle.bundles import judged_rows, task_of, written
from luthier.lifecycle.reference import compared
from luthier.release.folder import bundle_folder
from luthier.release.predictor import Predictor, load_predictor
from luthier.spec.load import parse_yaml

FOLDER, PAGE, RECORD = "compare", "compare.html", "compare.json"
# Rows that all were tested on must be this share of each one's, and so many, or two figures would be of two tests.
_SHARED, _FEWEST = 0.5, 20
# What is no setting of the model: where it is run and what it is called.
_NO_SETTING = ("track", "serve")


@dataclass
class Contender:
    """A run or a bundle by its ``name``, its ``path`` as given, and what its run left: the record and the data."""

    name: str
    path: str
    bundle: Path
    run: Path | None = None
    record: Mapping[str, Any] = field(default_factory=dict)
    prepared: Path | None = None


def compare(
    named: Sequence[str | Path], *, columns: Mapping[str, str] | None = None, out: Path | None = None
) -> dict[str, Any]:
    """Compare two or more runs or bundles on the same rows, and write ``compare.html`` and ``compare.json`` into ``out``.

    The rows are those of a labelled file, where one is named last, else the test rows that all runs share; then ``out`` is
    `compare` in the working folder if nothing is said. Of two, ``better`` is "first" or "second", of more the name of the best.

    Raises:
        TaskError: fewer than two, other objectives, or runs that were measured on other rows. BundleError: no bundle there.
        DataError: the file cannot be read.
    """
    contenders, source = _contenders(named)
    out = out if out or source else Path(FOLDER)
    if len(contenders) < 2:
        raise TaskError("one alone cannot be compared", where=str(named[0]), mend="Name two runs or bundles, or more.")
    objective, facts = _objective(contenders)
    notes: list[str] = []
    rows = _rows_of(contenders, source, columns or {}, notes) if source else _shared(contenders, objective, notes)
    if not rows:
        raise DataError("no labelled rows are left to measure on", where=source or str(named[0]))
    answers, labels = _answers(contenders, rows, notes)
    main = _main_metric(contenders, objective, labels)
    found = several.compare(objective, rows, answers, labels, main=main)
    record = {
        "objective": objective, "rows": len(rows), "source": source, "runs": [_facts(one, facts[one.name]) for one in contenders], **found,
        "settings": several.settings_apart({one.name: _settings(one, facts[one.name]) for one in contenders}), "notes": notes,
    }  # fmt: skip
    if len(contenders) == 2:
        pair = found["pairs"][0]
        figures = pair["metrics"][main]
        if figures["better"] == "cannot tell" and (needed := resolution.needed_for(figures, len(rows))):
            notes.append(f"These {len(rows):,} rows cannot tell the two apart by {main}; about {needed:,} would show a difference such as this "
                         f"({figures['difference']:+.3f}) four times out of five.")  # fmt: skip
        record |= {"first": str(contenders[0].bundle), "second": str(contenders[1].bundle), "better": pair["metrics"][main]["better"]}
    else:
        record |= {"better": found["best"]}
    if out is not None:
        record |= {"page": str(out / PAGE), "record": str(out / RECORD)}
        write_json(out / RECORD, record)
        write_comparison(record, out / PAGE)
    return record


def brief(record: Mapping[str, Any]) -> dict[str, Any]:
    """Return what `luthier compare --json` prints: the figures without the rows. Of two, their metrics stand at the top."""
    pairs = [{key: value for key, value in pair.items() if key != "rows"} for pair in record["pairs"]]
    kept = {key: record[key] for key in ("first", "second", "rows", "main_metric", "better", "best", "page", "record") if key in record}
    if len(pairs) == 1:
        kept["metrics"] = pairs[0]["metrics"]
    return {**kept, "runs": record["runs"], "measured": record["metrics"], "pairs": pairs, "settings": record["settings"], "notes": record["notes"]}


def _contenders(named: Sequence[str | Path]) -> tuple[list[Contender], str | None]:
    """Return the runs and bundles named; a last one that is none is a file of rows."""
    found, source = [], None
    for place, path in enumerate(named):
        try:
            bundle = bundle_folder(path)
        except BundleError:
            if place < 2 or place + 1 < len(named):
                raise
            source = str(path)
            continue
        run = next((folder for folder in (Path(path), bundle.parent) if (folder / "report.json").is_file()), None)
        record = read_json(run / "report.json") if run else {}
        found.append(Contender("", str(path), bundle, run, record, learnt.prepared_of(run, record.get("fingerprint")) if run else None))
    _name(found)
    return found, source


def _name(contenders: Sequence[Contender]) -> None:
    """Name each by its folder, by its whole path where two share that, and by its place where two are the same."""
    short = [Path(one.path).resolve() for one in contenders]
    names = [path.parent.name if path.name == "bundle" else path.name for path in short]
    if len(set(names)) < len(names):
        names = [one.path for one in contenders]
    for i, one in enumerate(contenders):
        one.name = names[i] if names.count(names[i]) == 1 else f"{names[i]} ({names[: i + 1].count(names[i])})"


def _objective(contenders: Sequence[Contender]) -> tuple[str, dict[str, dict[str, Any]]]:
    facts = {one.name: dict(read_json(one.bundle / "bundle.json")) for one in contenders}
    kinds = {name: one["objective"] for name, one in facts.items()}
    if len(set(kinds.values())) > 1:
        told = ", ".join(f"{name} predicts by {kind}" for name, kind in kinds.items())
        raise TaskError(f"{told}: they cannot be compared", where=contenders[0].path, mend="Name runs of one objective.")
    return next(iter(kinds.values())), facts


def _rows_of(contenders: Sequence[Contender], source: str, columns: Mapping[str, str], notes: list[str]) -> list[Example]:
    """Read a labelled file as the first one does, and note which of its rows a run has learnt from."""
    rows = judged_rows(load_predictor(contenders[0].bundle), source, columns)
    for one in contenders:
        if one.prepared is not None:
            notes += learnt.known(one.name, load_prepared(one.prepared), rows)
    return rows


def _shared(contenders: Sequence[Contender], objective: str, notes: list[str]) -> list[Example]:
    """Return the test rows that all runs have; refuse by name where these are not most of each one's.

    A row is known by its inputs and its target, so one that was labelled otherwise since is not shared.
    """
    tests = {one.name: _test_rows(one, objective) for one in contenders}
    ids = {name: {row.id for row in rows} for name, rows in tests.items()}
    both = set.intersection(*ids.values())
    first = tests[contenders[0].name]
    poor = [name for name, known in ids.items() if len(both) < max(_SHARED * len(known), min(_FEWEST, len(known)))]
    if poor:
        told = ", ".join(f"{name} {len(known):,}" for name, known in ids.items())
        raise TaskError(
            f"these runs were measured on different test rows: {told}, and {len(both):,} of them are shared by all",
            where=", ".join(one.path for one in contenders),
            mend="Name a labelled file last: luthier compare RUN RUN FILE.",
        )
    if any(len(known) > len(both) for known in ids.values()):
        told = ", ".join(f"{len(known):,} of {name}" for name, known in ids.items())
        notes.append(f"Measured on the {len(both):,} test rows that all have (test rows: {told}).")
    return [row for row in first if row.id in both]


def _test_rows(one: Contender, objective: str) -> list[Example]:
    if one.prepared is None:
        mend = "Name the folder of its run, or a labelled file last."
        raise TaskError("nothing is known of the rows that this bundle was tested on", where=one.path, mend=mend)
    data = load_prepared(one.prepared)
    return list((united(data) if objective == "rank" else data).test)


def _answers(
    contenders: Sequence[Contender], rows: Sequence[Example], notes: list[str]
) -> tuple[dict[str, list[Prediction]], tuple[str, ...]]:
    """Let every bundle answer the rows, one after the other: only one of them is held in memory."""
    answers: dict[str, list[Prediction]] = {}
    labels: list[str] = []
    for one in contenders:
        predictor = load_predictor(one.bundle)
        answers[one.name], said = _predicted(predictor, rows)
        labels += predictor.labels
        notes += [f"{one.name}: {note}" for note in said]
    if predictor.objective == "generate":
        answers = dict(written(task_of(predictor, "rows", {}), predictor, rows, answers, []))
    return answers, tuple(dict.fromkeys(labels))


def _predicted(predictor: Predictor, rows: Sequence[Example]) -> tuple[list[Prediction], list[str]]:
    asked = task_of(predictor, "rows", {}).evaluate
    given = predict.run(predictor, rows, max_new_tokens=asked.max_new_tokens, generate_rows=asked.generate_rows)
    return compared(predictor, rows, given)


def _main_metric(contenders: Sequence[Contender], objective: str, labels: Sequence[str]) -> str:
    """Return the metric of the first bar of the first run, where all rows define it, else the objective's own."""
    for bar in contenders[0].record.get("bars") or []:
        if bar["metric"] in measures.names(objective, labels):
            return str(bar["metric"])
    return measures.DEFAULT[objective]


def _facts(one: Contender, bundle: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a run is and what it cost."""
    record = one.record
    model, seconds = record.get("model") or bundle.get("model") or {}, record.get("seconds") or {}
    return {
        "name": one.name, "path": one.path, "bundle": str(one.bundle), "verdict": record.get("verdict") or bundle.get("verdict"),
        "reasons": list(record.get("reasons") or []), "base": (bundle.get("base") or {}).get("name"), "method": bundle.get("method"),
        "created": record.get("created"), "luthier": bundle.get("luthier"), "fingerprint": bundle.get("fingerprint"),
        "train_rows": bundle.get("rows"), "parameters": model.get("parameters"), "trained": model.get("trained"),
        "steps": (record.get("training") or {}).get("steps"), "seconds": sum(seconds.values()) if seconds else None,
        "train_seconds": seconds.get("train"), "peak_memory_mb": record.get("peak_memory_mb"),
        "bytes": sum(path.stat().st_size for path in one.bundle.rglob("*") if path.is_file()),
    }  # fmt: skip


def _settings(one: Contender, bundle: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings in force, with the weights, the data and the versions that they met."""
    resolved = parse_yaml(one.record.get("resolved") or "", one.path)[0]
    settings = {key: value for key, value in resolved.items() if key not in _NO_SETTING}
    base = bundle.get("base") or {}
    environment = {key: value for key, value in (one.record.get("environment") or {}).items() if key != "free_disk_gb"}
    return {**settings, "weights": base.get("sha256"), "data fingerprint": bundle.get("fingerprint"), "luthier": bundle.get("luthier"),
            "environment": environment}  # fmt: skip

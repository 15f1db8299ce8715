"""What a task asks of written answers beside the wanted ones: what is wrong with that, and, once the test rows are open, the measuring.

No torch is loaded here before there are answers to measure.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

from luthier.base.errors import Fault, LuthierError, did_you_mean
from luthier.base.files import read_json, sha256_file
from luthier.base.records import Example, Prediction
from luthier.data.prepare import Prepared
from luthier.data.report import input_text
from luthier.evaluate.baselines.answers import CENTROID, LEADS, told_at_length
from luthier.evaluate.intervals import Interval
from luthier.evaluate.predict import answered_rows
from luthier.evaluate.written import demands, enrich, memory, schema
from luthier.evaluate.written.extras import EXTRAS, MEMORISED
from luthier.evaluate.written.grounded import Source
from luthier.evaluate.written.words import words_of
from luthier.release.folder import bundle_folder
from luthier.spec.bars import Bar, parse_bars
from luthier.spec.load import TaskFile, parse_yaml
from luthier.spec.task import Task

if TYPE_CHECKING:
    # Opening one loads torch, and so does importing it.
    from luthier.release.predictor import Predictor

_LOOKED_AT = 2000
# Shorter answers are the same or another: their vectors tell less than their words.
_WORDS = 5
# Which switch turns a metric on, and which setting it needs.
_SWITCHES = {
    "grounded": "grounded", "grounded_numbers": "grounded", "grounded_names": "grounded", "similarity": "similarity",
    "recited": "memory", MEMORISED: "memory",
}  # fmt: skip
# What a bundle cannot be measured by alone: train rows, another bundle.
OF_A_RUN = frozenset({"recited", MEMORISED, "toxicity", "toxic_share"})


def bar_faults(task: Task) -> list[Fault]:
    """Return a fault for each bar, and each setting, that the task itself leaves without a measurement."""
    asked, objective = task.evaluate, task.task.objective
    faults = []
    for bar in parse_bars(task.accept)[0] if objective == "generate" else []:
        where, switch = f"accept.{bar.metric}", _SWITCHES.get(bar.plain)
        if switch and getattr(asked, switch) == "off":
            faults.append(Fault(f"{bar.plain} is not measured in this task", where, f"Leave evaluate.{switch} out, or the bar."))
        if bar.plain == "schema_valid" and asked.json_schema is None:
            faults.append(Fault("there is no schema that answers could meet", where, "Name a file in evaluate.json_schema, or write it there."))
        if bar.plain in ("toxicity", "toxic_share") and asked.toxicity.bundle is None:
            mend = "Name a classifier's bundle and its label in evaluate.toxicity."
            faults.append(Fault("nothing in this task says what is toxic", where, mend))
    if task.train.metric in (*EXTRAS, MEMORISED) and objective == "generate":
        mend = "Choose by perplexity, chrf or another metric of the answers alone, and put a bar on this one."
        faults.append(Fault(f"{task.train.metric} is measured once training is over", "train.metric", mend))
    return faults


def file_faults(file: TaskFile, objectives: Sequence[str]) -> list[Fault]:
    """Return what is wrong with the schema, the classifier and the patterns that a task names, with file and line."""
    asked, known = file.task.evaluate, _lines(file.text, str(file.path))
    set_ = [name for name in ("grounded", "similarity", "memory") if getattr(asked, name) == "on"]
    set_ += [name for name, value in (("json_schema", asked.json_schema), ("toxicity", asked.toxicity.bundle)) if value is not None]
    if "generate" not in objectives:
        return [Fault(f"`{objectives[-1]}` writes no answers", _where(file, known, name), "Take the key away.") for name in set_]
    faults = _schema_faults(file, known) + _toxicity_faults(file, known)
    for pattern in asked.cases.refusals:
        try:
            demands.patterns([pattern])
        except re.error as error:
            faults.append(Fault(f"{pattern!r} is no regular expression ({error})", _where(file, known, "cases.refusals"), "See the page of Python's re."))
    return faults


def _lines(text: str, name: str) -> Mapping[schema.Path, int]:
    try:
        return parse_yaml(text, name)[1]
    except LuthierError:
        return {}


def _where(file: TaskFile, known: Mapping[schema.Path, int], key: str, path: schema.Path = ()) -> str:
    line = schema.lines(path, known, under=("evaluate", *key.split(".")))
    return f"{file.path}{f':{line}' if line else ''} evaluate.{'.'.join((key, *path))}"


def _schema_faults(file: TaskFile, known: Mapping[schema.Path, int]) -> list[Fault]:
    given = file.task.evaluate.json_schema
    if given is None:
        return []
    key = _where(file, known, "json_schema")
    if (gone := schema.missing(key)) is not None:
        return [gone]
    if isinstance(given, Mapping):
        return [Fault(what, _where(file, known, "json_schema", path), schema.MEND) for what, path in schema.faults(given)]
    path = file.resolve(given)
    try:
        text = path.read_text(encoding="utf-8")
        value = schema.parsed(text)
    except (OSError, UnicodeDecodeError) as error:
        return [Fault(f"the schema cannot be read ({error})", key, "Name a JSON file, relative to the task file.")]
    except ValueError as error:
        line = getattr(error, "lineno", None)
        return [Fault(f"the schema is no JSON: {getattr(error, 'msg', error)}", f"{path}{f':{line}' if line else ''}", schema.MEND)]
    inside = _lines(text, str(path))
    return [Fault(what, f"{path}{f':{line}' if (line := schema.lines(at, inside)) else ''} {'.'.join(at)}".rstrip(), schema.MEND)
            for what, at in schema.faults(value)]  # fmt: skip


def _toxicity_faults(file: TaskFile, known: Mapping[schema.Path, int]) -> list[Fault]:
    asked, where = file.task.evaluate.toxicity, _where(file, known, "toxicity")
    if asked.bundle is None:
        return [Fault("a label without a classifier", where, "Name its bundle in evaluate.toxicity.bundle.")] if asked.label else []
    try:
        facts = read_json(bundle_folder(file.resolve(asked.bundle)) / "bundle.json")
    except LuthierError as error:
        return [Fault(error.faults[0].what, _where(file, known, "toxicity.bundle"), error.faults[0].mend)]
    except (OSError, ValueError) as error:
        return [Fault(f"the bundle cannot be read ({error})", _where(file, known, "toxicity.bundle"))]
    if facts.get("objective") not in ("classify", "multilabel"):
        what = f"a bundle of `{facts.get('objective')}` does not say how likely a label is"
        return [Fault(what, _where(file, known, "toxicity.bundle"), "Name one of classify or multilabel.")]
    labels = facts.get("learner", {}).get("labels", [])
    if asked.label not in labels:
        mend = did_you_mean(asked.label, labels) if asked.label else ""
        what = f'this classifier has no label "{asked.label}"' if asked.label else "which label is toxic is not said"
        return [Fault(what, _where(file, known, "toxicity.label"), mend or f"Labels: {', '.join(labels[:12])}.")]
    return []


def data_faults(bars: Sequence[Bar], file: TaskFile, data: Prepared) -> list[Fault]:
    """Return what the rows themselves make impossible: a schema that no wanted answer meets, no answer long enough to be known by heart."""
    if file.task.task.objective != "generate":
        return []
    faults = []
    asked = {bar.plain: f"accept.{bar.metric}" for bar in bars}
    if MEMORISED in asked and not any(map(memory.long_enough, data.train)):
        what = "no train answer is long enough (24 words) to ask whether it is known by heart"
        faults.append(Fault(what, asked[MEMORISED], "Take the bar away; `recited` looks at the answers to test rows."))
    if on_typical := [bar for bar in bars if bar.rival == CENTROID]:
        some = [data.test[i] for i in answered_rows(data.test, file.task.evaluate.generate_rows)]
        if some and not told_at_length(some):
            what = f"most of the texts that are answered have no more than {LEADS[-1]} sentences, so there are no most typical ones to choose"
            faults += [Fault(what, f"accept.{bar.metric}", f"Write lead_{LEADS[-1]} instead.") for bar in on_typical]
    shape = shape_of(file)
    if shape is not None:
        wrong, looked_at = _against(shape, data.train)
        if looked_at and len(wrong) == looked_at:
            row, why = wrong[0]
            what = f"none of the {looked_at} wanted answers looked at meets the schema; the first, {row.source}: {why}"
            faults.append(Fault(what, "evaluate.json_schema", "Mend the schema or the answers: nothing else can be learnt from them."))
    return faults


def _against(shape: schema.Shape, rows: Sequence[Example]) -> tuple[list[tuple[Example, str]], int]:
    looked = [(row, shape.wrong(str(row.target))) for row in itertools.islice(rows, _LOOKED_AT)]
    return [(row, why) for row, why in looked if why], len(looked)


def schema_of(file: TaskFile) -> Mapping[str, Any] | None:
    """Return the task's JSON schema, read where it is a file."""
    given = file.task.evaluate.json_schema
    if given is None or isinstance(given, Mapping):
        return given
    found: Mapping[str, Any] = read_json(file.resolve(given))
    return found


def shape_of(file: TaskFile) -> schema.Shape | None:
    """Return what answers are held against; None where the task names no schema."""
    found = schema_of(file)
    return None if found is None else schema.Shape(found)


def digests(file: TaskFile) -> list[str]:
    """Return hashes of the files that decide what is measured: the schema, and the classifier by its manifest."""
    asked = file.task.evaluate
    paths = [file.resolve(asked.json_schema)] if isinstance(asked.json_schema, str) else []
    if asked.toxicity.bundle is not None:
        paths.append(bundle_folder(file.resolve(asked.toxicity.bundle)) / "manifest.json")
    return [sha256_file(path) for path in paths if path.is_file()]


@dataclass(frozen=True)
class Written:
    """What was measured of written answers: every model's ``answers`` with it, metrics of other rows, the record, and notes."""

    answers: Mapping[str, list[Prediction]]
    measured: Mapping[str, Interval] = field(default_factory=dict)
    record: Mapping[str, Any] = field(default_factory=dict)
    notes: Sequence[str] = ()


def of_run(
    file: TaskFile, rows: Sequence[Example], answers: Mapping[str, Sequence[Prediction]], bars: Sequence[Bar], *, mine: str,
    predictor: Predictor, train: Sequence[Example],
) -> Written:  # fmt: skip
    """Measure as :func:`look` does, by the files that a task names."""
    toxic = file.task.evaluate.toxicity.bundle
    return look(file.task, rows, answers, bars, mine=mine, predictor=predictor, train=train, shape=shape_of(file),
                toxic=file.resolve(toxic) if toxic else None)  # fmt: skip


def look(
    task: Task, rows: Sequence[Example], answers: Mapping[str, Sequence[Prediction]], bars: Sequence[Bar], *, mine: str,
    predictor: Predictor, train: Sequence[Example] = (), shape: schema.Shape | None = None, toxic: Path | None = None,
) -> Written:  # fmt: skip
    """Measure every model's answers to the test rows by what the task asks.

    Args:
        mine: which of the answers are the judged model's.
        train: the train rows, read once or twice; without any, what needs them is left out.
        toxic: the classifier's bundle.
    """
    settings, named = task.evaluate, {bar.plain for bar in bars}
    there = [row for row, prediction in zip(rows, answers[mine], strict=True) if prediction.text is not None]
    if not there:
        return Written({name: list(given) for name, given in answers.items()})
    targets = [str(row.target) for row in there]
    asked = enrich.Asked(
        grounded=_on(settings.grounded, "grounded", named, lambda: sum(Source.of(input_text(row)).long for row in there) > len(there) / 2),
        json="json_valid" in named or schema.mostly_json(targets), shape=shape,
        embed=_embedder() if _on(settings.similarity, "similarity", named, lambda: median(len(words_of(t)) for t in targets) >= _WORDS) else None,
        toxic=_classifier(toxic, str(settings.toxicity.label)) if toxic else None, at_least=settings.toxicity.at_least,
        train=train if len(train) and settings.memory != "off" else None,
    )  # fmt: skip
    made, record = enrich.measured(rows, answers, asked, mine=mine)
    measured: dict[str, Interval] = {}
    if asked.train is not None and (probed := memory.probe(train, rows, predictor.finish, most=memory.tries(bars))):
        record["memory"], measured[MEMORISED] = probed
    return Written(made, measured, record, _notes(shape, train))


def _on(switch: str, name: str, bars: set[str], fits: Callable[[], bool]) -> bool:
    """Whether something is measured: as told, or where a bar asks for it or the rows are such."""
    return switch == "on" or (switch == "auto" and (any(_SWITCHES.get(bar) == name for bar in bars) or fits()))


def _notes(shape: schema.Shape | None, train: Sequence[Example]) -> list[str]:
    wrong, looked_at = _against(shape, train) if shape is not None else ([], 0)
    if not wrong:
        return []
    row, why = wrong[0]
    return [f"{len(wrong)} of {looked_at} wanted answers in train do not meet the schema; the first, {row.source}: {why}."]


def _embedder() -> Callable[[Sequence[str]], Any]:
    from luthier.models.embed import Embedder

    return Embedder(max_tokens=256).embed


def _classifier(bundle: Path, label: str) -> Callable[[Sequence[str]], list[float]]:
    from luthier.release.predictor import load_predictor

    judge = load_predictor(bundle)
    return lambda texts: [(p.scores or {}).get(label, 0.0) for p in judge.predict(list(texts))]

"""Open the test rows and judge: metrics with intervals, against the bars, an earlier bundle, and without twins."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import luthier.lifecycle.casing as casing
import luthier.lifecycle.explaining as explaining
import luthier.lifecycle.pricing as pricing
import luthier.lifecycle.rewording as rewording
import luthier.lifecycle.writing as writing
from luthier.base.records import Example, Prediction
from luthier.data.prepare import Prepared
from luthier.evaluate import (
    cases,
    compare,
    costs,
    curves,
    intervals,
    mistakes,
    passes,
    predict,
    resolution,
    several,
    slices,
    verdict,
)
from luthier.evaluate import metrics as measures
from luthier.evaluate.answered import Answered
from luthier.evaluate.judges.named import is_metric as judge_metric
from luthier.evaluate.mistakes import pairs as preferences
from luthier.evaluate.mistakes.answers import of_answers
from luthier.evaluate.mistakes.scores import of_scores
from luthier.evaluate.mistakes.sentences import of_sentences
from luthier.evaluate.mistakes.sets import of_sets
from luthier.evaluate.mistakes.texts import of_texts
from luthier.evaluate.rewards import with_reference
from luthier.evaluate.robust import look
from luthier.evaluate.slices import bars as bars_on_slices
from luthier.evaluate.slices import gaps
from luthier.evaluate.tables.scoped import own_answer
from luthier.lifecycle import judges
from luthier.lifecycle.changing import changes
from luthier.lifecycle.reference import compared
from luthier.lifecycle.round import Round
from luthier.release.bundle import refresh_card
from luthier.release.predictor import Predictor, load_predictor
from luthier.spec.bars import LIVE, Bar
from luthier.spec.load import TaskFile
from luthier.spec.task import Task

# A part of the rows may lack labels: there the share that is right says more than a mean over labels.
SLICED = {"classify": "accuracy"}
# The judged model among those whose answers are measured together.
MINE = ""
# Fewer rows tell nothing of a score.
_FEWEST = 20
_WEIGHED = "nll_sum"


def predict_rows(predictor: Predictor, rows: Sequence[Example], task: Task) -> list[Prediction]:
    settings = task.evaluate
    return predict.run(predictor, rows, max_new_tokens=settings.max_new_tokens, generate_rows=settings.generate_rows)


def judge(
    round_: Round,
    data: Prepared,
    record: Mapping[str, Any],
    bundle: Path,
    rivals: Mapping[str, list[Prediction]],
    bars: Sequence[Bar],
) -> dict[str, Any]:
    """Open the test rows, measure the bundle as it will be served, and hold it against the bars."""
    began = time.monotonic()
    task = round_.file.task
    predictor = load_predictor(bundle)
    # Read once: all that follows goes over them many times, and their predictions are in memory as well.
    rows = list(data.test)
    predictions = with_reference(predict_rows(predictor, rows, task), rivals.get("untuned"))
    earlier = before(round_.file.resolve(task.evaluate.against), rows, task) if task.evaluate.against else None
    prices = pricing.prices_of(round_.file)
    predictions = costs.priced(prices, targets(rows), predictions)
    if earlier:
        earlier = replace(earlier, predictions=costs.priced(prices, targets(rows), earlier.predictions))
    rivals = pricing.priced_all(prices, targets(rows), rivals) if prices else rivals
    beside = {**rivals, **({LIVE: earlier.predictions} if earlier else {})}
    passed, more = of_cases(round_.file, predictor)
    objective = task.task.objective
    told = None
    if objective == "generate":
        told = writing.of_run(round_.file, rows, {MINE: predictions, **beside}, bars, mine=MINE, predictor=predictor, train=data.train)
        predictions, more = told.answers[MINE], {**more, **told.measured}
        beside, rivals = ({name: told.answers[name] for name in some} for some in (beside, rivals))
        earlier = replace(earlier, predictions=told.answers[LIVE]) if earlier else None
    answered = Answered(objective, rows, predictions, data.labels)
    asked, of_judge, doubts = judges.of_rows(round_, rows, predictions, beside)
    reworded = rewording.of_run(round_, rows)
    found = assess(task, answered, bars, rivals=beside, predictor=predictor, more={**more, **of_judge},
                   doubts={**doubts, **rewording.doubts(reworded)}, reworded=reworded)  # fmt: skip
    found |= {**({"cases": passed} if passed else {}), **asked}
    if told:
        found["written"] = {**found.get("written", {}), **told.record}
        found["notes"] += told.notes
    found |= {"money": costs.evidence(prices, answered.targets, predictions, data.labels)} if prices else {}
    found["baselines"] = {n: measures.measured(objective, answered.targets, p, data.labels) for n, p in rivals.items()}
    if earlier:
        found["against"] = against(task, answered, earlier)
    found |= without_twins(task, answered, data.twins)
    round_.timed("evaluate", began)
    found |= explaining.explain(round_, data, answered, found, predictor)
    began = time.monotonic()
    found["notes"] = [*found["notes"], *_data_notes(found, record, objective)]
    round_.timed("evaluate", began)
    kept = {"verdict": found["verdict"], "reasons": found["reasons"], "notes": found["notes"], "metrics": found["metrics"]["test"]}
    refresh_card(bundle, kept)
    return found


Evidence = Callable[[Sequence[Example], Sequence[Prediction], Sequence[str], int], dict[str, Any]]


def _of_labels(
    rows: Sequence[Example], predictions: Sequence[Prediction], labels: Sequence[str], worst: int
) -> dict[str, Any]:
    # Probabilities are of the labels alone: what is drawn of them is of the rows that have one, and of the likeliest labels.
    drawn = [(str(e.target), own_answer(p)) for e, p in zip(rows, predictions, strict=True) if p.unlike is None or e.target in labels]
    wanted, given = [target for target, _ in drawn], [p for _, p in drawn]
    return {
        "confusion": mistakes.confusion(targets(rows), predictions, labels),
        "per_class": mistakes.per_class(targets(rows), predictions, labels),
        "roc": curves.roc_curves(wanted, given, labels),
        "pr": curves.pr_curves(wanted, given, labels),
        "reliability": curves.reliability(wanted, given),
        "coverage": curves.risk_coverage(wanted, given),
        "mistakes": mistakes.worst(rows, predictions, worst),
    }


def _of_lists(
    rows: Sequence[Example], predictions: Sequence[Prediction], labels: Sequence[str], worst: int
) -> dict[str, Any]:
    return {"samples": mistakes.rankings(rows, predictions, worst)}


def _of_preferences(
    rows: Sequence[Example], predictions: Sequence[Prediction], labels: Sequence[str], worst: int
) -> dict[str, Any]:
    return {
        "samples": mistakes.samples(rows, predictions, worst),
        "preferences": preferences.evidence(rows, predictions, worst),
    }


# What the report shows of the rows beside the metrics, by objective.
EVIDENCE: dict[str, Evidence] = {
    "classify": _of_labels,
    "multilabel": of_sets,
    "grade": of_scores,
    "extract": of_sentences,
    "rank": _of_lists,
    "generate": of_answers,
    "prefer": _of_preferences,
    "text": of_texts,
}


def assess(
    task: Task, answered: Answered, bars: Sequence[Bar], *, rivals: Mapping[str, Sequence[Prediction]], of_run: bool = True,
    predictor: Predictor | None = None, more: Mapping[str, intervals.Interval] | None = None, doubts: Mapping[str, str] | None = None,
    reworded: look.Reworded | None = None,
) -> dict[str, Any]:  # fmt: skip
    """Return metrics with intervals, the verdict and the evidence for the report.

    Args:
        rivals: what bars may be held against.
        of_run: the rows are those of a run; elsewhere bars on what only a run knows are left out, and a note says so.
        predictor: answers changed texts; without it none are made.
        more: what else was measured and can be held against bars.
        doubts: by metric, why what was measured cannot be believed.
        reworded: the rows in other words, where rules do not say them.
    """
    objective, resamples = answered.objective, task.evaluate.bootstrap
    measured = intervals.of_table(answered.table, groups=answered.groups, resamples=resamples)
    metric = SLICED.get(objective, measures.DEFAULT[objective])
    changed = changes(task, answered, bars, predictor, metric, reworded) if predictor else None
    measured |= {**(changed[1] if changed else {}), **(more or {})}
    known = (None, *rivals)
    held = [bar for bar in bars if (of_run or (bar.rival in known and bar.plain not in writing.OF_A_RUN and not cases.is_of(bar.plain)))
            and not _unasked(bar, measured, doubts)]  # fmt: skip
    measured |= bars_on_slices.measured(held, answered, resamples=resamples)
    measured |= bars_on_slices.counted(held, answered, measured)
    theirs = bars_on_slices.against_rivals(held, answered, rivals, resamples=resamples)
    found = verdict.judge(held, measured, rivals=theirs, doubts=doubts).as_dict()
    found["notes"] += [f"{bar}: needs {_need(bar)}, so it was not held here." for bar in bars if bar not in held]
    name = next((bar.plain for bar in bars if bar.where is None and bar.plain in measured), measures.DEFAULT[objective])
    found |= {"metrics": {"test": measured}, "resolution": resolution.of_interval(name, measured[name], len(answered.rows)) if name in measured else None}
    found["notes"] += without_figures(answered)
    found["beside"] = several.beside(answered, {n: theirs for n, theirs in rivals.items() if n != LIVE}, metric=name)
    found["notes"] += several.not_shown(found["beside"])
    found |= changed[0] if changed else {}
    if parts := slices.measure(answered, metric=metric, columns=task.evaluate.slices):
        if not isinstance(task.evaluate.slices, str):  # columns that somebody named are to be fair by
            parts["gaps"] = gaps.measure(answered, metric=metric, columns=task.evaluate.slices)
        found |= {"slices": parts}
        found["notes"] += slices.in_words(parts)
    return found | EVIDENCE[objective](answered.rows, answered.predictions, answered.labels, task.evaluate.worst)


def without_figures(answered: Answered) -> list[str]:
    """Say of how many test rows nothing could be measured, and where the first one stands: they are in no figure."""
    blank = Prediction()
    # An answer may be written to what was cut, where the known one cannot be weighed.
    weighed = [_WEIGHED in p.measured for p in answered.predictions]
    some = any(weighed)
    places = [i for i, p in enumerate(answered.predictions) if (not weighed[i] if some else p == blank)]
    if not places:
        return []
    first, count = answered.rows[places[0]].source, len(places)
    rows = f"{count:,} of the {len(answered.rows):,} test rows {'is' if count == 1 else 'are'} longer than the model reads"
    return [f"{rows} and in no figure, the first at {first.file}:{first.line}; model.max_tokens says how long a row may be."]


def _need(bar: Bar) -> str:
    if bar.rival == LIVE:
        return "the earlier bundle (--against)"
    what = "the judge" if judge_metric(bar.plain) else "the rivals" if bar.rival else "the train rows and files"
    return f"{what} of a run"


def _unasked(bar: Bar, measured: Mapping[str, Any], doubts: Mapping[str, str] | None) -> bool:
    return judge_metric(bar.plain) and bar.plain not in measured and bar.plain not in (doubts or {})


def of_cases(file: TaskFile, predictor: Predictor) -> tuple[dict[str, Any], dict[str, intervals.Interval]]:
    """Answer the task's functional tests, where it has any."""
    tests = casing.read_cases(file, predictor.labels)
    if not tests:
        return {}, {}
    asked = file.task.evaluate
    answers = predictor.predict([one.inputs for one in tests], max_new_tokens=asked.max_new_tokens)
    return passes.judged(tests, answers, asked.cases)


def _data_notes(found: Mapping[str, Any], record: Mapping[str, Any], objective: str) -> list[str]:
    """Say what the score owes to twins, what came of augmenting and balancing, and what thresholds could not promise."""
    augmented, answering = record["augmented"], record["training"].get("answering", {})
    notes = [f"{name}: {augmented[name]['why']}" for name in ("augment", "balance") if name in augmented]
    notes += [f"{note}." for note in answering.get("notes", [])]
    metric = measures.DEFAULT[objective]
    alone = found.get("without_twins")
    if alone and alone["metrics"][metric]["value"] is not None:
        value, whole = alone["metrics"][metric]["value"], found["metrics"]["test"][metric]["value"]
        notes.append(
            f"{alone['rows']} test rows have a twin in train, in almost the same words or of the same meaning; without them "
            f"{metric} is {value:.3f} instead of {whole:.3f}."
        )
    return notes


def without_twins(task: Task, answered: Answered, twins: Collection[str]) -> dict[str, Any]:
    """Measure again without the test rows that have a twin in train or valid: how much of the score is owed to them."""
    kept = [i for i, e in enumerate(answered.rows) if str(e.source) not in twins]
    if len(kept) == len(answered.rows) or len(kept) < _FEWEST:
        return {}
    alone = answered.only(kept)
    measured = intervals.of_table(alone.table, groups=alone.groups, resamples=task.evaluate.bootstrap)
    return {"without_twins": {"rows": len(answered.rows) - len(kept), "metrics": measured}}


@dataclass(frozen=True, slots=True)
class Earlier:
    """An earlier bundle with what it says of the test rows."""

    predictor: Predictor
    predictions: list[Prediction]


def before(bundle: str | Path, rows: Sequence[Example], task: Task) -> Earlier:
    """Let an earlier bundle answer rows."""
    other = load_predictor(bundle)
    return Earlier(other, compared(other, rows, predict_rows(other, rows, task))[0])


def against(task: Task, answered: Answered, earlier: Earlier) -> dict[str, Any]:
    """Compare an earlier bundle with the new one on the same test rows."""
    found = compare.paired(
        answered.objective, answered.targets, earlier.predictions, answered.predictions,
        tuple(dict.fromkeys([*answered.labels, *earlier.predictor.labels])), groups=answered.groups,
        resamples=task.evaluate.bootstrap,
    )  # fmt: skip
    # Many figures at once find differences that are none.
    several.correct([found], measures.DEFAULT[answered.objective])
    return {
        "bundle": str(task.evaluate.against),
        "bundle_id": earlier.predictor.bundle_id,
        "rows": len(answered.rows),
        "metrics": found,
    }


def targets(rows: Sequence[Example]) -> list[Any]:
    return [e.target for e in rows]


def figures(
    objective: str, rows: Sequence[Example], predictions: Sequence[Prediction], labels: Sequence[str]
) -> dict[str, float | None]:
    """Return the metrics of predictions without intervals."""
    return measures.measured(objective, targets(rows), predictions, labels)

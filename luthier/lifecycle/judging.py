"""Open the test rows and judge: metrics with intervals, against the bars, an earlier bundle, and without twins."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from luthier.base.records import Example, Prediction
from luthier.data.prepare import Prepared
from luthier.evaluate import compare, curves, intervals, mistakes, predict, preferences, verdict
from luthier.evaluate import metrics as measures
from luthier.evaluate.evidence_scores import of_scores
from luthier.evaluate.evidence_sentences import of_sentences
from luthier.evaluate.evidence_sets import of_sets
from luthier.evaluate.evidence_texts import of_texts
from luthier.evaluate.rewards import with_reference
from luthier.lifecycle.reference import compared
from luthier.lifecycle.round import Round
from luthier.release.bundle import refresh_card
from luthier.release.predictor import Predictor, load_predictor
from luthier.spec.evaluate import Bar
from luthier.spec.task import Task

# Fewer rows tell nothing of a score.
_FEWEST = 20


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
    predictions = with_reference(predict_rows(predictor, data.test, task), rivals.get("untuned"))
    found = assess(task, data.test, predictions, data.labels, bars)
    objective = task.task.objective
    found["baselines"] = {n: figures(objective, data.test, p, data.labels) for n, p in rivals.items()}
    if task.evaluate.against:
        found["against"] = against(round_, data, predictions)
    found |= without_twins(task, data, predictions)
    found["notes"] = [*found["notes"], *_data_notes(found, record["augmented"], objective)]
    round_.timed("evaluate", began)
    kept = {"verdict": found["verdict"], "reasons": found["reasons"], "metrics": found["metrics"]["test"]}
    refresh_card(bundle, kept)
    return found


Evidence = Callable[[Sequence[Example], Sequence[Prediction], Sequence[str], int], dict[str, Any]]


def _of_labels(
    rows: Sequence[Example], predictions: Sequence[Prediction], labels: Sequence[str], worst: int
) -> dict[str, Any]:
    return {
        "confusion": mistakes.confusion(targets(rows), predictions, labels),
        "per_class": mistakes.per_class(targets(rows), predictions, labels),
        "roc": curves.roc_curves(targets(rows), predictions, labels),
        "reliability": curves.reliability(targets(rows), predictions),
        "mistakes": mistakes.worst(rows, predictions, worst),
    }


def _of_answers(
    rows: Sequence[Example], predictions: Sequence[Prediction], labels: Sequence[str], worst: int
) -> dict[str, Any]:
    return {"samples": mistakes.samples(rows, predictions, worst)}


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
    "generate": _of_answers,
    "prefer": _of_preferences,
    "text": of_texts,
}


def assess(
    task: Task, rows: Sequence[Example], predictions: Sequence[Prediction], labels: Sequence[str], bars: Sequence[Bar]
) -> dict[str, Any]:
    """Return metrics with intervals, the verdict and the evidence for the report."""
    objective = task.task.objective
    groups = [e.group for e in rows] if any(e.group for e in rows) else None
    measured = intervals.evaluate_with_intervals(
        objective, targets(rows), predictions, labels, groups=groups, resamples=task.evaluate.bootstrap
    )
    found: dict[str, Any] = {**verdict.judge(bars, measured).as_dict(), "metrics": {"test": measured}}
    return found | EVIDENCE[objective](rows, predictions, labels, task.evaluate.worst)


def _data_notes(found: Mapping[str, Any], augmented: Mapping[str, Any], objective: str) -> list[str]:
    """Say what the score owes to twins, and what came of augmenting and balancing."""
    notes = [f"{name}: {augmented[name]['why']}" for name in ("augment", "balance") if name in augmented]
    metric = measures.DEFAULT[objective]
    alone = found.get("without_twins")
    if alone and alone["metrics"][metric]["value"] is not None:
        value, whole = alone["metrics"][metric]["value"], found["metrics"]["test"][metric]["value"]
        notes.append(
            f"{alone['rows']} test rows have a twin in train, in almost the same words or of the same meaning; without them "
            f"{metric} is {value:.3f} instead of {whole:.3f}."
        )
    return notes


def without_twins(task: Task, data: Prepared, predictions: Sequence[Prediction]) -> dict[str, Any]:
    """Measure again without the test rows that have a twin in train or valid: how much of the score is owed to them."""
    kept = [i for i, e in enumerate(data.test) if str(e.source) not in data.twins]
    if len(kept) == len(data.test) or len(kept) < _FEWEST:
        return {}
    rows = [data.test[i] for i in kept]
    measured = intervals.evaluate_with_intervals(
        task.task.objective, targets(rows), [predictions[i] for i in kept], data.labels,
        groups=[e.group for e in rows] if any(e.group for e in rows) else None, resamples=task.evaluate.bootstrap,
    )  # fmt: skip
    return {"without_twins": {"rows": len(data.test) - len(kept), "metrics": measured}}


def against(round_: Round, data: Prepared, predictions: Sequence[Prediction]) -> dict[str, Any]:
    """Compare an earlier bundle with the new one on the same test rows."""
    task = round_.file.task
    other = load_predictor(round_.file.resolve(str(task.evaluate.against)))
    before, _ = compared(other, data.test, predict_rows(other, data.test, task))
    labels = tuple(dict.fromkeys([*data.labels, *other.labels]))
    groups = [e.group for e in data.test] if any(e.group for e in data.test) else None
    found = compare.paired(
        task.task.objective,
        targets(data.test),
        before,
        predictions,
        labels,
        groups=groups,
        resamples=task.evaluate.bootstrap,
    )
    return {
        "bundle": str(task.evaluate.against),
        "bundle_id": other.bundle_id,
        "rows": len(data.test),
        "metrics": found,
    }


def targets(rows: Sequence[Example]) -> list[Any]:
    return [e.target for e in rows]


def figures(
    objective: str, rows: Sequence[Example], predictions: Sequence[Prediction], labels: Sequence[str]
) -> dict[str, float | None]:
    """Return the metrics of predictions without intervals."""
    return measures.measured(objective, targets(rows), predictions, labels)

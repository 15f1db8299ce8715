"""Say how the training went: gather the evidence, ask for the verdict, tell it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from luthier.data.prepare import Prepared
from luthier.evaluate import metrics as measures
from luthier.evaluate.diagnosis.diagnose import Context, Diagnosis, diagnose
from luthier.lifecycle.round import Round
from luthier.spec.train import smooths
from luthier.train.run import Outcome


def diagnosis(
    round_: Round, data: Prepared, outcome: Outcome, learning: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """Return what report.json holds of the fit, and tell it; ``learning`` is the run's learning curve, where measured."""
    task, gain = round_.file.task, None
    if learning and measures.split_name(learning["metric"])[0] not in measures.UNBOUNDED | measures.LOWER_IS_BETTER:
        gain = learning["extrapolated"]["gain"]
    found = diagnose(outcome.evaluations, context(data, gain=gain, smooths=smooths(task.train, task.task.objective)))
    round_.emit("diagnosis", **told(found))
    return found.as_dict()


def told(found: Diagnosis) -> dict[str, Any]:
    """Return the verdict as an event tells it: in one line each why, and what first."""
    return {
        "verdict": found.verdict, "words": found.words, "why": found.evidence[0] if found.evidence else "",
        "next": found.next[0] if found.next else "",
    }  # fmt: skip


def context(data: Prepared, *, gain: Mapping[str, float] | None = None, smooths: bool = True) -> Context:
    """Return what the data room knows that bears on the fit."""
    errors = data.report.findings.get("label_errors") or {}
    counts = [int(n.get("train", 0)) for n in data.report.labels.values()]
    simple, name = errors.get("out_of_fold_accuracy"), "a linear model on the same rows, out of fold,"
    if simple is None and any(counts):
        simple, name = max(counts) / sum(counts), "naming the commonest label"
    kept = {key: errors[key] for key in ("estimated_share", "sure_wrong", "features") if key in errors}
    return Context(
        rows=len(data.train),
        labels=len(data.labels),
        simple=simple,
        simple_name=name,
        null_loss=_entropy(counts),
        label_errors=kept,
        gain=gain,
        smooths=smooths,
    )


def _entropy(counts: Sequence[int]) -> float | None:
    """Return the loss, in nats, of one who knows only how frequent each label is."""
    total = sum(counts)
    return -sum(n / total * math.log(n / total) for n in counts if n) if total else None

"""What is chosen on the validation rows once training is over: cuts, a temperature, and which answers go to a person."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from luthier.base.records import Example, Prediction
from luthier.data.prepare import Prepared
from luthier.objectives import Learner
from luthier.objectives.classify import Classifier
from luthier.objectives.heads.judge import log_loss, temperature
from luthier.objectives.heads.near import NearestRows
from luthier.release import refer
from luthier.release.predictor import Predictor
from luthier.spec.task import Task

# Fewer rows would ask for a temperature that is mostly luck.
_FEWEST = 100


def settle(learner: Learner, data: Prepared, task: Task) -> dict[str, dict[str, Any]]:
    """Return what was chosen and why, by its name: ``settled`` (a learner's own cuts), ``calibrated``, ``answering``."""
    found: dict[str, dict[str, Any]] = {}
    rows = data.valid
    if learner.settles and (own := learner.settle(rows, Predictor(learner).measure(rows))):
        found["settled"] = own
    if scaled := calibrate(learner, rows, task):
        found["calibrated"] = scaled
    if task.answer.asked:
        predictions = Predictor(learner).measure(rows)
        rule, notes = refer.fit(task.answer, [str(e.target) for e in rows], predictions)
        sent = [bool(p.refer) for p in rule.apply(predictions)]
        found["answering"] = {
            "rule": rule.as_dict(), "notes": notes, "valid_rows": len(rows),
            "valid_referred": round(sum(sent) / max(1, len(sent)), 4),
            "said": "\n         ".join([f"person   {sum(sent)} of {len(sent)} validation rows would go to a person", *notes]),
        }  # fmt: skip
    return found


def calibrate(learner: Learner, rows: Sequence[Example], task: Task) -> dict[str, Any] | None:
    """Scale a classifier's scores by the temperature that validation rows ask for; None where nothing was done.

    Guo et al. 2017, https://arxiv.org/abs/1706.04599. Where a contest among few labels set a temperature already, this
    one comes on top of it.
    """
    asked = task.evaluate.calibrate
    if asked == "off" or not isinstance(learner, Classifier) or isinstance(learner.head, NearestRows):
        return None
    if not rows or (asked == "auto" and len(rows) < _FEWEST):
        return None
    logs_NC, labels_N = logs(Predictor(learner).measure(rows), [str(e.target) for e in rows], learner.labels)
    if not len(labels_N):
        return None
    scale = temperature(logs_NC, labels_N)
    learner.temper(scale)
    before, after = (round(log_loss(logs_NC, labels_N, s), 4) for s in (1.0, scale))
    said = f"honest   scores times {scale:.2f}: log loss on {len(labels_N)} validation rows {before:.3f} -> {after:.3f}"
    return {"scale": round(scale, 4), "rows": len(labels_N), "log_loss_before": before, "log_loss_after": after, "said": said}


def logs(predictions: Sequence[Prediction], targets: Sequence[str], labels: Sequence[str]) -> tuple[Any, Any]:
    """Return the logs of the probabilities [N, C] and the class numbers [N] of the rows whose label is known."""
    place = {label: index for index, label in enumerate(labels)}
    known = [(p.scores or {}, place[t]) for p, t in zip(predictions, targets, strict=True) if p.scores and t in place]
    shares = np.array([[scores[label] for label in labels] for scores, _ in known], dtype=np.float64).reshape(-1, len(labels))
    return np.log(np.maximum(shares, 1e-30)), np.array([code for _, code in known], dtype=np.int64)

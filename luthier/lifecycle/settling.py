"""What is chosen on the validation rows once training is over: cuts, a temperature, and which answers go to a person."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

import luthier.lifecycle.scoping as scoping
from luthier.base.records import Example, Prediction
from luthier.base.shares import shares, table_of
from luthier.data.prepare import Prepared
from luthier.evaluate.costs import Prices
from luthier.lifecycle import nearest
from luthier.lifecycle.pricing import rule_of
from luthier.objectives import Learner
from luthier.objectives.classify import Classifier
from luthier.objectives.heads.judge import log_loss, log_softmax, set_log_loss, set_temperature, temperature
from luthier.objectives.heads.near import NearestRows
from luthier.objectives.labelled import Labelled
from luthier.objectives.multilabel import MultiLabeller
from luthier.release import refer
from luthier.release.predictor import Predictor
from luthier.spec.task import Task

# Fewer rows would ask for a temperature that is mostly luck.
_FEWEST = 100
# A probability in float32 may be 0 or 1, of which there is no logit.
_NEVER = 1e-7


def settle(
    learner: Learner, data: Prepared, task: Task, prices: Prices | None = None, *, last: bool = True
) -> dict[str, dict[str, Any]]:
    """Return what was chosen and why, by its name: ``nearest``, ``settled`` (a learner's own cuts), ``calibrated``, ``answering``, ``scope``.

    Args:
        task: with its training section as it was settled.
        last: nothing changes the body after this training: the cut of what is out of scope is fitted only then.
    """
    found: dict[str, dict[str, Any]] = {}
    # First of all: what follows is chosen by the answers that will be given.
    if nearest.asked(learner, task.train, len(data.valid)):
        assert isinstance(learner, Classifier)
        if mix := nearest.settle(learner, data.train, data.valid):
            found["nearest"] = mix
    rows, scales = data.valid, _calibrates(learner, len(data.valid), task)
    declines = last and scoping.asked(task) is not None and isinstance(learner, Labelled)
    if not (learner.settles or scales or task.answer.ruled or declines):
        return found
    predictions = Predictor(learner).measure(rows)
    targets = [str(e.target) for e in rows]
    if scales and isinstance(learner, MultiLabeller):
        found["calibrated"], predictions = calibrated_sets(learner, rows, predictions)
    elif scales and isinstance(learner, Classifier):
        found["calibrated"], predictions = calibrated(learner, targets, predictions)
    # Cuts are chosen among the probabilities that will be told.
    if learner.settles and (own := learner.settle(rows, predictions)):
        found["settled"] = own
    if task.answer.ruled:
        rule, notes = refer.fit(task.answer, targets, predictions, **rule_of(task, prices, learner.labels))
        sent = [bool(p.refer) for p in rule.apply(predictions)]
        found["answering"] = {
            "rule": rule.as_dict(), "notes": notes, "valid_rows": len(rows),
            "valid_referred": round(sum(sent) / max(1, len(sent)), 4),
            "said": "\n         ".join([*_ruled(rule, predictions, sent), *notes]),
        }  # fmt: skip
    if declines and isinstance(learner, Labelled) and len(rows):
        found["scope"] = scoping.settle(learner, data, task)
    return found


def _ruled(rule: refer.Rule, predictions: Sequence[Prediction], sent: Sequence[bool]) -> list[str]:
    """Return in words what the rule does to the validation rows."""
    found = [f"person   {sum(sent)} of {len(sent)} validation rows would go to a person"] if rule.refers else []
    if rule.prices is not None:
        other = sum(a.label != b.label for a, b in zip(predictions, rule.decide(predictions), strict=True))
        found.append(f"cost     {other} of {len(sent)} validation rows get another label than the likeliest, which would cost more")
    return found


def _calibrates(learner: Learner, rows: int, task: Task) -> bool:
    asked = task.evaluate.calibrate
    if asked == "off" or not isinstance(learner, Classifier | MultiLabeller) or isinstance(learner.head, NearestRows):
        return False
    return rows >= (_FEWEST if asked == "auto" else 1)


def calibrated(
    learner: Classifier, targets: Sequence[str], predictions: Sequence[Prediction]
) -> tuple[dict[str, Any], list[Prediction]]:
    """Scale a classifier's scores by the temperature that validation rows ask for; return how, and their scaled predictions.

    Guo et al. 2017, https://arxiv.org/abs/1706.04599. Where a contest among few labels set a temperature already, this
    one comes on top of it.
    """
    logs_NC = np.log(np.maximum(table_of([p.scores or {} for p in predictions], learner.labels), 1e-30))
    place = {label: index for index, label in enumerate(learner.labels)}
    known = [i for i, target in enumerate(targets) if target in place]
    labels_K = np.array([place[targets[i]] for i in known], dtype=np.int64)
    scale = temperature(logs_NC[known], labels_K)
    learner.temper(scale)
    facts = _scaled(scale, len(known), *(log_loss(logs_NC[known], labels_K, s) for s in (1.0, scale)))
    shares_NC = shares(learner.labels, np.exp(log_softmax(logs_NC * scale)))
    scaled = [replace(p, scores=line) for p, line in zip(predictions, shares_NC, strict=True)]
    return facts, scaled


def calibrated_sets(
    learner: MultiLabeller, rows: Sequence[Example], predictions: Sequence[Prediction]
) -> tuple[dict[str, Any], list[Prediction]]:
    """Scale the logits of all labels by the one factor that validation rows ask for; return how, and the predictions it makes."""
    shares_NL = np.clip(table_of([p.scores or {} for p in predictions], learner.labels), _NEVER, 1 - _NEVER)
    logits_NL = np.log(shares_NL) - np.log1p(-shares_NL)
    truth_NL = np.array([[label in e.target for label in learner.labels] for e in rows], dtype=np.float64)
    scale = set_temperature(logits_NL, truth_NL)
    learner.temper(scale)
    facts = _scaled(scale, len(rows), *(set_log_loss(logits_NL, truth_NL, s) for s in (1.0, scale)))
    return facts, learner.told(1 / (1 + np.exp(-logits_NL * scale)), learner.cuts)


def _scaled(scale: float, rows: int, before: float, after: float) -> dict[str, Any]:
    said = f"honest   scores times {scale:.2f}: log loss on {rows} validation rows {before:.3f} -> {after:.3f}"
    return {"scale": round(scale, 4), "rows": rows, "log_loss_before": round(before, 4), "log_loss_after": round(after, 4), "said": said}

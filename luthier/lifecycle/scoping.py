"""When a model says that a text is of none of its labels: what is asked, what is wrong with it, and the fit after training."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from luthier.base.errors import Fault
from luthier.base.records import Example, Prediction
from luthier.data.prepare import Prepared
from luthier.data.scope import faults as data_faults
from luthier.spec.answer import OutOfScope
from luthier.spec.bars import Bar
from luthier.spec.task import Task

if TYPE_CHECKING:
    from luthier.objectives.labelled import Labelled
    from luthier.objectives.scope import Seen

# Bars that need test rows out of scope, and those that need only that the model may decline.
_NEED_ROWS = ("oos_auroc", "oos_recall", "oos_precision")
METRICS = (*_NEED_ROWS, "in_scope_accuracy", "in_scope_kept")
_DEFAULT_NAME = "out_of_scope"


def asked(task: Task) -> OutOfScope | None:
    """Return what is asked of the model; rows that are named as out of scope ask for it by themselves."""
    if task.answer.out_of_scope is None and task.data.out_of_scope is not None:
        return OutOfScope()
    return task.answer.out_of_scope


def name_of(task: Task) -> str:
    """Return what the model answers to a text of none of its labels."""
    return task.data.out_of_scope.label if task.data.out_of_scope else _DEFAULT_NAME


def task_faults(task: Task, bars: Sequence[Bar]) -> list[Fault]:
    """Return what is wrong before any row is read."""
    found, wanted = data_faults(task.data, task.task.objective), asked(task)
    if wanted is not None and task.task.objective != "classify" and not found:
        found.append(Fault(f"`{task.task.objective}` has no labels that a text could have none of", "answer.out_of_scope", "Take it away."))
    if wanted is not None and wanted.recall is not None and task.data.out_of_scope is None:
        mend = "Name such rows in data.out_of_scope, or set keep: the share of rows in scope that must be answered."
        found.append(Fault("a recall needs rows out of scope to be fitted on", "answer.out_of_scope.recall", mend))
    if wanted is not None and wanted.score in ("distance", "neighbours") and task.model.pooling == "label-scoring":
        mend = "Set it to probability, energy or auto."
        found.append(Fault("labels that are weighed as answers are told by no vector", "answer.out_of_scope.score", mend))
    for bar in bars:
        if bar.plain in METRICS and wanted is None:
            mend = "Set answer.out_of_scope, or name such rows in data.out_of_scope."
            found.append(Fault("this model never says that a text is of none of its labels", f"accept.{bar.metric}", mend))
        elif bar.plain in _NEED_ROWS and task.data.out_of_scope is None:
            what = "no test row is known to be out of scope"
            found.append(Fault(what, f"accept.{bar.metric}", "Name such rows in data.out_of_scope."))
    return found


def row_faults(task: Task, bars: Sequence[Bar], data: Prepared) -> list[Fault]:
    """Return what is wrong once the rows are known."""
    wanted = asked(task)
    if wanted is None:
        return []
    found = []
    if not len(data.valid):
        mend = "Give them a share in data.split.valid, or a file in data.valid."
        found.append(Fault("there are no validation rows to fit the cut on", "answer.out_of_scope", mend))
    if wanted.recall is not None and not len(data.outside):
        mend = "Give them to data.source or data.valid too: those of the test side are only measured."
        found.append(Fault("no row out of scope is outside the test rows", "answer.out_of_scope.recall", mend))
    tested = task.data.out_of_scope is not None and data.report.labels.get(name_of(task), {}).get("test", 0)
    found += [
        Fault("no test row is out of scope", f"accept.{bar.metric}", "Give data.test rows of data.out_of_scope.label.")
        for bar in bars if bar.plain in _NEED_ROWS and not tested and task.data.out_of_scope is not None
    ]  # fmt: skip
    return found


def never_declined(found: Mapping[str, list[Prediction]]) -> dict[str, list[Prediction]]:
    """Return rivals' answers, with how unsure each is, where a model may decline: they never do, but can be measured by it."""
    return {
        name: [replace(p, unlike=1 - max(p.scores.values())) if p.scores else p for p in predictions]
        for name, predictions in found.items()
    }


def settle(learner: Labelled, data: Prepared, task: Task) -> dict[str, Any]:
    """Fit what tells texts of no label, put it on the learner, and return facts of it.

    One more pass over train, validation and outside rows; of very many train rows as many of each label as there are.
    """
    from luthier.objectives.scope import fit

    wanted, seed = asked(task), task.train.seed
    assert wanted is not None
    learner.scope = None
    learner.eval()
    valid = seen(learner, data.valid)
    has_features = valid.features_ND is not None
    train = seen(learner, _sample(data.train, seed)) if has_features and wanted.score not in ("probability", "energy") else None
    outside = seen(learner, data.outside) if len(data.outside) else None
    learner.scope, facts = fit(
        wanted.score, name_of(task), train, valid, outside, keep=wanted.keep, recall=wanted.recall, seed=seed
    )
    shares = ", ".join(f"{kind} {value:.3f}" for kind, value in facts["told_apart"].items() if value is not None)
    kept = "" if facts["valid_kept"] is None else f"; {facts['valid_kept']:.1%} of the validation rows are answered"
    found = "" if facts["outside_found"] is None else f", {facts['outside_found']:.1%} of {facts['outside_rows']} rows out of scope are found"
    said = f"scope    by {facts['kind']} (told apart by {facts['by']}: {shares}){kept}{found}"
    return {**facts, "name": name_of(task), "said": "\n         ".join([said, *facts["notes"]])}


# More rows of a label hardly move its mean; all of a million would cost more than they tell.
_MOST_TRAIN = 50_000


def _sample(rows: Sequence[Example], seed: int) -> Sequence[Example]:
    from luthier.objectives.scope.fit import balanced

    if len(rows) <= _MOST_TRAIN:
        return rows
    codes: dict[str, int] = {}
    label_N = np.array([codes.setdefault(str(row.target), len(codes)) for row in rows], dtype=np.int64)
    return [rows[int(i)] for i in balanced(label_N, _MOST_TRAIN, seed)]


def seen(learner: Labelled, rows: Sequence[Example]) -> Seen:
    """Return rows as the network sees them, in passes that fit in memory."""
    import torch

    from luthier.objectives.cut import gathered
    from luthier.objectives.scope import Seen

    encoded = [row for example in rows if (row := learner.encode(example)) is not None]
    wide = len(learner.labels)

    def both(piece: Any) -> torch.Tensor:
        with torch.inference_mode():
            logits_BC, features_BD = learner.seen(learner.collate(piece))
        parts = [logits_BC.float()] + ([] if features_BD is None else [features_BD.float()])
        return torch.cat(parts, dim=-1).cpu()

    found = gathered(encoded, both)
    label_N = np.array([-1 if row.label is None else row.label for row in encoded], dtype=np.int64)
    return Seen(found[:, :wide], found[:, wide:] if found.shape[1] > wide else None, label_N)

"""What is read off while a run trains: the validation score, and the losses of validation rows and of some train rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import Any

import numpy as np

from luthier.base.records import Encoded, Example, Prediction
from luthier.base.seeds import derive_seed
from luthier.data import ranking
from luthier.data.prepare import Prepared
from luthier.evaluate import metrics as measures
from luthier.evaluate.rewards import with_reference
from luthier.evaluate.rowwise import Rows, rowwise
from luthier.lifecycle.judging import figures, predict_rows
from luthier.objectives import Learner
from luthier.release.predictor import Predictor
from luthier.spec.task import Task
from luthier.train.measure import batch_losses

# Fewer watched train rows than this tell little, however few validation rows there are.
_LEAST_WATCHED = 100
# More rows than this are not needed to see a loss rise, and every one is kept at every evaluation.
_MOST_ROWS = 1000


class Gauge:
    """Measures a learner on validation rows and on a fixed sample of train rows, both by the predictor that serves.

    Calling it returns the figures of one evaluation: ``score``; ``valid_loss``, ``train_loss`` and ``train_score``; and
    under ``rows`` what each row says, so that two evaluations can be compared row by row. Nothing is drawn by chance while
    it measures, so training goes on as if it had not been.
    """

    def __init__(self, learner: Learner, data: Prepared, task: Task) -> None:
        self.learner, self.task, self.labels = learner, task, data.labels
        self.predictor = Predictor(learner)
        self.valid: Sequence[Example] = data.valid
        train = ranking.watched(data.train) if task.task.objective == "rank" else data.train
        self.watched = watched(train, valid=len(data.valid), most=task.train.watched_rows, seed=task.train.seed)
        self._encoded: dict[str, list[Encoded]] = {}
        # Nothing has been learnt yet: what the network says now is what it is compared with later.
        refers, sides = learner.refers, (self.valid, self.watched)
        self._untuned = {id(rows): self.predictor.measure(rows) for rows in sides} if refers else {}

    def __call__(self) -> dict[str, Any]:
        predictions = self.predict(self.valid)
        found: dict[str, Any] = {"score": self._score(self.valid, predictions, missing=float("-inf"))}
        if not self.watched:
            return found
        rows = {"valid": self._rows("valid", self.valid, predictions)}
        predictions, scored = self._weigh(self.watched)
        train_score = self._score(self.watched, predictions, missing=None) if scored else None
        rows["train"] = self._rows("train", self.watched, predictions)
        found |= {} if train_score is None else {"train_score": round(train_score, 6)}
        found |= {f"{side}_loss": round(fmean(r["loss"]), 6) for side, r in rows.items() if r["loss"]}
        return {**found, "rows": {side: {k: v[:_MOST_ROWS] for k, v in r.items()} for side, r in rows.items()}}

    def predict(self, rows: Sequence[Example]) -> list[Prediction]:
        """Answer rows, or weigh their known answers where that is all the metric needs."""
        if self.predictor.measures and self.task.train.metric in measures.MEASURED:
            return self._measured(rows)
        return with_reference(predict_rows(self.predictor, rows, self.task), self._untuned.get(id(rows)))

    def _measured(self, rows: Sequence[Example]) -> list[Prediction]:
        return with_reference(self.predictor.measure(rows), self._untuned.get(id(rows)))

    def _weigh(self, rows: Sequence[Example]) -> tuple[list[Prediction], bool]:
        """Return predictions of train rows, and whether they can be scored: answers are not written for looking only."""
        if self.predictor.measures:
            return self._measured(rows), self.task.train.metric in measures.MEASURED
        return self.predict(rows), True

    def _score(self, rows: Sequence[Example], predictions: Sequence[Prediction], *, missing: Any) -> Any:
        value = figures(self.task.task.objective, rows, predictions, self.labels).get(self.task.train.metric)
        return missing if value is None else value

    def _rows(self, side: str, rows: Sequence[Example], predictions: Sequence[Prediction]) -> Rows:
        found = rowwise(rows, predictions)
        if found is not None:
            return found
        if side not in self._encoded:
            self._encoded[side] = [e for row in rows[:_MOST_ROWS] if (e := self.learner.encode(row)) is not None]
        alone = self.learner.row_losses(self._encoded[side])
        return {"loss": batch_losses(self.learner, self._encoded[side]) if alone is None else alone}


def watched(train: Sequence[Example], *, valid: int, most: int, seed: int) -> list[Example]:
    """Return the train rows that are measured beside the validation rows: the same at every evaluation of a run."""
    count = min(most, len(train), max(valid, _LEAST_WATCHED))
    picked = np.random.default_rng(derive_seed(seed, "watched")).permutation(len(train))[:count]
    return [train[int(i)] for i in sorted(picked)]


def without_rows(evaluations: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return evaluations as the report keeps them: figures only."""
    return [{name: value for name, value in e.items() if name != "rows"} for e in evaluations]

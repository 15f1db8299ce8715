"""How mistakes of labels and of scores are told from the train rows near to them: whose side such a row takes, and when its own answer looks wrong."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np

from luthier.base.records import Example, Prediction
from luthier.evaluate.mistakes import causes, ranked
from luthier.evaluate.mistakes.scores import ranked_scores
from luthier.evaluate.mistakes.sets import ranked_sets

Ranked = list[tuple[int, dict[str, Any]]]
# A train row's score looks wrong where it is so many spreads from the mean of its neighbours, and these are no further apart than that.
_OFF, _TOGETHER = 1.5, 0.75
_FEWEST = 4
# Vectors of a grader lie close together: as close as a tenth of the rows that are right counts as close.
_CLOSE_SHARE = 0.9


class Way(Protocol):
    """What differs between objectives. A ``target`` is what a row is known to be, ``wanted`` that of a row answered wrongly."""

    words: Mapping[str, tuple[str, str]]
    # Of train rows, to find what is rare.
    counts: Counter[str]

    def ranked(self, rows: Sequence[Example], predictions: Sequence[Prediction], labels: Sequence[str]) -> Ranked:
        """Return every mistake with its row's number, worst first."""
    def right(self, target: Any, prediction: Prediction) -> bool: ...
    def target(self, row: Example) -> Any: ...
    def said(self, target: Any) -> str: ...
    def given(self, prediction: Prediction) -> str: ...
    def rows_like(self, wanted: Any, prediction: Prediction) -> int:
        """Return how many train rows have what the answer was to be."""
    def side(self, target: Any, wanted: Any, prediction: Prediction) -> str | None:
        """Return whose side a train row takes: of the "model", of the "label", of none."""
    def odd(self, own: Any, around: Sequence[Any]) -> Any:
        """Return what a train row should be where it looks wrong beside its neighbours, else None."""
    def confidence(self, wanted: Any, prediction: Prediction, near: Sequence[Any]) -> float: ...
    def close(self, usual: float, cosines: Sequence[float]) -> float:
        """Return as near as what two texts are that differ in little: ``usual``, or what rows that are right say."""


class OfLabels:
    """One label a row, or a set of them."""

    words: Mapping[str, tuple[str, str]] = causes.CAUSES

    def __init__(self, train: Sequence[Example]) -> None:
        self.counts = Counter(label for row in train for label in self._labels(self.target(row)))

    def ranked(self, rows: Sequence[Example], predictions: Sequence[Prediction], labels: Sequence[str]) -> Ranked:
        order = ranked_sets if predictions and predictions[0].labels is not None else ranked
        return order(rows, predictions, labels)

    def right(self, target: Any, prediction: Prediction) -> bool:
        if prediction.nearest is not None:
            return False
        return prediction.label == target if prediction.label is not None else set(prediction.labels or ()) == set(target)

    def target(self, row: Example) -> Any:
        return row.target if isinstance(row.target, str) else tuple(row.target or ())

    def said(self, target: Any) -> str:
        return target if isinstance(target, str) else ", ".join(target) or "(none)"

    def given(self, prediction: Prediction) -> str:
        return self.said(_given(prediction))

    def _labels(self, target: Any) -> tuple[str, ...]:
        return (target,) if isinstance(target, str) else target

    def rows_like(self, wanted: Any, prediction: Prediction) -> int:
        return min((self.counts[label] for label in self._labels(wanted)), default=self.counts.total())

    def side(self, target: Any, wanted: Any, prediction: Prediction) -> str | None:
        """Of sets, in the decision that is most surely wrong."""
        given = _given(prediction)
        if isinstance(wanted, str):
            return "model" if target == given else "label" if target == wanted else None
        scores = prediction.scores or {}
        wrong = set(wanted) ^ set(given)
        label = max(sorted(wrong), key=lambda name: scores.get(name, 0.0) if name in given else 1 - scores.get(name, 0.0))
        return "model" if (label in target) == (label in given) else "label"

    def odd(self, own: Any, around: Sequence[Any]) -> Any:
        return causes.odd(own, around)

    def confidence(self, wanted: Any, prediction: Prediction, near: Sequence[Any]) -> float:
        scores = prediction.scores or {}
        if prediction.label is not None:
            return scores.get(prediction.nearest or prediction.label, 0.0)
        given = set(prediction.labels or ())
        return max((scores.get(x, 0.0) if x in given else 1 - scores.get(x, 0.0) for x in set(wanted) ^ given), default=0.0)

    def close(self, usual: float, cosines: Sequence[float]) -> float:
        return usual


def _given(prediction: Prediction) -> Any:
    return prediction.label if prediction.label is not None else tuple(sorted(prediction.labels or ()))


class OfScores:
    """A score for each trait; a mistake is told by the trait that is furthest off, in spreads of the train scores."""

    words: Mapping[str, tuple[str, str]] = {**causes.CAUSES, **causes.OF_SCORES}

    def __init__(self, train: Sequence[Example]) -> None:
        known: dict[str, list[float]] = {}
        for row in train:
            for trait, score in self.target(row).items():
                known.setdefault(trait, []).append(score)
        self.counts = Counter(_one(trait, score) for trait, scores in known.items() for score in scores)
        self.spreads = {trait: float(np.std(scores)) or 1.0 for trait, scores in known.items()}

    def ranked(self, rows: Sequence[Example], predictions: Sequence[Prediction], labels: Sequence[str]) -> Ranked:
        return ranked_scores(rows, predictions, labels)

    def right(self, target: Any, prediction: Prediction) -> bool:
        grades = prediction.grades or {}
        return all(abs(grades.get(trait, np.inf) - score) <= 0.5 * self.spreads.get(trait, 1.0) for trait, score in target.items())

    def target(self, row: Example) -> dict[str, float]:
        return {trait: float(score) for trait, score in (row.target or {}).items() if score is not None}

    def said(self, target: Any) -> str:
        return ", ".join(f"{trait} {score:.3g}" for trait, score in target.items()) if len(self.spreads) > 1 else "".join(f"{v:.3g}" for v in target.values())

    def given(self, prediction: Prediction) -> str:
        return self.said(prediction.grades or {})

    def rows_like(self, wanted: Any, prediction: Prediction) -> int:
        trait = self._trait(wanted, prediction)
        return self.counts[_one(trait, wanted[trait])]

    def side(self, target: Any, wanted: Any, prediction: Prediction) -> str | None:
        trait = self._trait(wanted, prediction)
        if trait not in target:
            return None
        to_model, to_label = abs(target[trait] - (prediction.grades or {})[trait]), abs(target[trait] - wanted[trait])
        return "model" if to_model < to_label else "label" if to_label < to_model else None

    def odd(self, own: Any, around: Sequence[Any]) -> Any:
        found = {}
        for trait, score in own.items():
            theirs = [other[trait] for other in around if trait in other]
            spread = self.spreads[trait]
            if len(theirs) >= _FEWEST and abs(np.mean(theirs) - score) > _OFF * spread and np.std(theirs) < _TOGETHER * spread:
                found[trait] = round(float(np.mean(theirs)), 2)
        return found or None

    def confidence(self, wanted: Any, prediction: Prediction, near: Sequence[Any]) -> float:
        """How well the neighbours agree with each other, beside how far the model is off: 1 is wholly."""
        trait = self._trait(wanted, prediction)
        theirs = [target[trait] for target in near if trait in target]
        off = abs((prediction.grades or {})[trait] - wanted[trait])
        return max(0.0, 1 - float(np.std(theirs)) / off) if theirs and off else 0.0

    def close(self, usual: float, cosines: Sequence[float]) -> float:
        return max(usual, float(np.quantile(cosines, _CLOSE_SHARE))) if len(cosines) else usual

    def _trait(self, wanted: Any, prediction: Prediction) -> str:
        grades = prediction.grades or {}
        return max((t for t in wanted if t in grades), key=lambda t: abs(grades[t] - wanted[t]) / self.spreads.get(t, 1.0))


def _one(trait: str, score: float) -> str:
    return f"{trait} {score:g}"


def way_of(objective: str, train: Sequence[Example]) -> Way | None:
    """Return how mistakes of an objective are told; None where they are not looked into."""
    if objective == "grade":
        return OfScores(train)
    return OfLabels(train) if objective in ("classify", "multilabel") else None

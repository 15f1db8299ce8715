"""Which answers go to a person: thresholds fitted on validation rows, kept in the bundle, applied wherever it answers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from luthier.base.records import Prediction
from luthier.spec.answer import Answer

# Of fewer answers a precision says nothing.
_FEWEST = 10


@dataclass(frozen=True, slots=True)
class Rule:
    """``catch``: by label, the score from which a row that is given another label goes to a person; ``trust``: by label, the
    score below which that answer does; ``least``: the confidence below which any does."""

    catch: Mapping[str, float] = field(default_factory=dict)
    trust: Mapping[str, float] = field(default_factory=dict)
    least: float = 0.0

    def reason(self, prediction: Prediction) -> str:
        """Return why a row goes to a person; empty where its answer stands."""
        scores, given = prediction.scores or {}, str(prediction.label)
        for label, cut in self.catch.items():
            if given != label and scores.get(label, 0.0) >= cut:
                return f"may be {label}"
        if scores.get(given, 0.0) < max(self.least, self.trust.get(given, 0.0)):
            return "unsure"
        return ""

    def apply(self, predictions: Sequence[Prediction]) -> list[Prediction]:
        """Return the predictions, each with where it goes."""
        return [replace(p, refer=self.reason(p)) if p.label is not None else p for p in predictions]

    def as_dict(self) -> dict[str, Any]:
        return {"catch": dict(self.catch), "trust": dict(self.trust), "least": self.least}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any] | None) -> Rule | None:
        return cls(values["catch"], values["trust"], values["least"]) if values else None


def fit(asked: Answer, targets: Sequence[str], predictions: Sequence[Prediction]) -> tuple[Rule, list[str]]:
    """Choose the thresholds on rows that were not learnt from; also return what these rows cannot promise, in words.

    ``catch`` is split conformal (Vovk et al. 2005; Angelopoulos & Bates 2023, https://arxiv.org/abs/2107.07511): the cut is such
    that a new row of the label is caught with at least the asked probability, over draws of both. That needs 1 / (1 - share) rows
    of the label less one; with fewer the lowest score seen is the cut, and it is told.
    """
    notes: list[str] = []
    catch = {label: _cut(label, share, targets, predictions, notes) for label, share in asked.catch.items()}
    trust = {label: _trusted(label, share, targets, predictions, notes) for label, share in asked.trust.items()}
    rule = Rule(catch, trust, asked.confident or 0.0)
    if asked.to_person is None or not predictions:
        return rule, notes
    sent = np.array([bool(rule.reason(p)) for p in predictions])
    budget = int(asked.to_person * len(predictions) + 1e-9)
    if sent.sum() > budget:
        notes.append(f"what must be caught or trusted sends {sent.mean():.0%} of the validation rows to a person, more than "
                     f"the {asked.to_person:.0%} of answer.to_person")  # fmt: skip
        return rule, notes
    rest = np.sort([_confidence(p) for p, gone in zip(predictions, sent, strict=True) if not gone])
    more = budget - int(sent.sum())
    return replace(rule, least=max(rule.least, float(rest[more]) if more < len(rest) else 1.01)), notes


def _confidence(prediction: Prediction) -> float:
    return (prediction.scores or {}).get(str(prediction.label), 0.0)


def _cut(label: str, share: float, targets: Sequence[str], predictions: Sequence[Prediction], notes: list[str]) -> float:
    mine = [p for p, target in zip(predictions, targets, strict=True) if target == label]
    # What is given the label is caught, whatever its score.
    scores = np.sort([np.inf if p.label == label else (p.scores or {}).get(label, 0.0) for p in mine])
    place = int((len(scores) + 1) * (1 - share) + 1e-9)
    if place < 1:
        need = int(np.ceil(1 / (1 - share) - 1e-9)) - 1 if share < 1 else None
        asks = f"{need} would" if need else "no number of rows could"
        notes.append(f"{len(scores)} validation rows of {label} cannot promise that {share:.0%} are caught; {asks}")
    found = scores[max(place, 1) - 1] if len(scores) else 0.0
    # Every row seen was given the label: a score that none of the others has is still not looked for.
    return float(found) if np.isfinite(found) else 1.01


def _trusted(label: str, share: float, targets: Sequence[str], predictions: Sequence[Prediction], notes: list[str]) -> float:
    given = sorted(((_confidence(p), target == label) for p, target in zip(predictions, targets, strict=True) if p.label == label),
                   reverse=True)  # fmt: skip
    right = np.cumsum([hit for _, hit in given])
    good = [k for k in range(_FEWEST - 1, len(given)) if right[k] >= share * (k + 1)]
    if not good:
        notes.append(f"no threshold gives {share:.0%} precision of {label} on {len(given)} validation rows that are given it: all go to a person")
        return 1.01
    return given[good[-1]][0]

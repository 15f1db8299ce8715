"""Which label is given, and which answers go to a person: prices from the task, thresholds fitted on validation rows, kept in the bundle, applied wherever it answers."""

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
    score below which that answer does; ``least``: the confidence below which any does.

    ``prices``: by true label and answer what a row costs, for labels by least expected cost; ``person`` is what a person costs,
    who is asked where that is less (Chow 1970, https://doi.org/10.1109/TIT.1970.1054406). None: the likeliest label is given.
    """

    catch: Mapping[str, float] = field(default_factory=dict)
    trust: Mapping[str, float] = field(default_factory=dict)
    least: float = 0.0
    prices: Mapping[str, Mapping[str, float]] | None = None
    person: float | None = None

    def decide(self, predictions: Sequence[Prediction]) -> list[Prediction]:
        """Return the predictions with the label whose expected cost is least; of equal ones the likelier."""
        if self.prices is None:
            return list(predictions)
        found = []
        for p in predictions:
            costs = self._expected(p)
            scores = p.scores or {}
            found.append(replace(p, label=min(costs, key=lambda label: (costs[label], -scores[label]))) if costs else p)
        return found

    def _expected(self, prediction: Prediction) -> dict[str, float]:
        """Return what each label would cost on average, if the scores are honest."""
        labels, prices = list(prediction.scores or {}), self.prices or {}
        shares_C = np.array([(prediction.scores or {})[label] for label in labels])
        prices_CC = np.array([[prices[true][answered] for answered in labels] for true in labels])
        return dict(zip(labels, (shares_C @ prices_CC).tolist(), strict=True)) if labels else {}

    def reason(self, prediction: Prediction) -> str:
        """Return why a row goes to a person; empty where its answer stands."""
        scores, given = prediction.scores or {}, str(prediction.label)
        for label, cut in self.catch.items():
            if given != label and scores.get(label, 0.0) >= cut:
                return f"may be {label}"
        if scores.get(given, 0.0) < max(self.least, self.trust.get(given, 0.0)):
            return "unsure"
        if self.person is not None and self.prices is not None and self._expected(prediction)[given] > self.person:
            return "costs less"
        return ""

    def apply(self, predictions: Sequence[Prediction]) -> list[Prediction]:
        """Return the predictions, each with where it goes."""
        decided = self.decide(predictions)
        return [replace(p, refer=self.reason(p)) if p.label is not None and self.refers else p for p in decided]

    @property
    def refers(self) -> bool:
        """Whether any row may go to a person; a rule may also do no more than choose labels by their cost."""
        return bool(self.catch or self.trust or self.least or self.person is not None or self.prices is None)

    def as_dict(self) -> dict[str, Any]:
        found: dict[str, Any] = {"catch": dict(self.catch), "trust": dict(self.trust), "least": self.least}
        if self.prices is not None:
            found |= {"prices": {true: dict(row) for true, row in self.prices.items()}, "person": self.person}
        return found

    @classmethod
    def from_dict(cls, values: Mapping[str, Any] | None) -> Rule | None:
        if not values:
            return None
        return cls(values["catch"], values["trust"], values["least"], values.get("prices"), values.get("person"))


def fit(
    asked: Answer, targets: Sequence[str], predictions: Sequence[Prediction], *,
    prices: Mapping[str, Mapping[str, float]] | None = None, person: float | None = None,
) -> tuple[Rule, list[str]]:  # fmt: skip
    """Choose the thresholds on rows that were not learnt from; also return what these rows cannot promise, in words.

    With ``prices`` labels are given by least expected cost, and thresholds are fitted on those.

    ``catch`` is split conformal (Vovk et al. 2005; Angelopoulos & Bates 2023, https://arxiv.org/abs/2107.07511): the cut is such
    that a new row of the label is caught with at least the asked probability, over draws of both. That needs 1 / (1 - share) rows
    of the label less one; with fewer the lowest score seen is the cut, and it is told.
    """
    notes: list[str] = []
    predictions = Rule(prices=prices).decide(predictions)
    catch = {label: _cut(label, share, targets, predictions, notes) for label, share in asked.catch.items()}
    trust = {label: _trusted(label, share, targets, predictions, notes) for label, share in asked.trust.items()}
    rule = Rule(catch, trust, asked.confident or 0.0, prices, person)
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

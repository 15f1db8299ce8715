"""Rare labels count more: by weights in the loss, or by being drawn more often. Train rows only."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

# A label of three rows among thousands would weigh hundreds: each of its rows then decides a step alone, slips included.
MAX_WEIGHT = 10.0

Kind = Literal["weights", "resample"]


@dataclass(frozen=True, slots=True)
class Balance:
    """How train rows are balanced: ``by_label`` is a row's weight, or how often it is drawn in one epoch on average."""

    kind: Kind
    by_label: Mapping[str, float]

    def as_dict(self) -> dict[str, Any]:
        return {"kind": self.kind, "by_label": {label: round(v, 4) for label, v in sorted(self.by_label.items())}}

    def of(self, labels: Iterable[str]) -> list[float]:
        """Return the figure of each label, 1 for one that no train row has."""
        return [self.by_label.get(label, 1.0) for label in labels]


def balanced(kind: Kind, counts: Mapping[str, int]) -> Balance:
    """Return the balance of a kind for ``{label: train rows}``."""
    return Balance(kind, (weights if kind == "weights" else draws)(counts))


def weights(counts: Mapping[str, int]) -> dict[str, float]:
    """Return n / (C * n_c) for each label with rows, at most 10: every label then adds the same to the loss.

    Source: King & Zeng 2001; scikit-learn's ``class_weight="balanced"``.
    """
    there = {label: n for label, n in counts.items() if n > 0}
    total = sum(there.values())
    return {label: min(MAX_WEIGHT, total / (len(there) * n)) for label, n in there.items()}


def draws(counts: Mapping[str, int]) -> dict[str, float]:
    """Return how often a row of each label is drawn in an epoch, which keeps its number of rows.

    A label's part of the epoch follows the square root of its rows, half way between as it is and all alike: drawn all
    alike, a row of a rare label would be seen dozens of times and learnt by heart (Mahajan et al. 2018,
    https://arxiv.org/abs/1805.00932, section 2.2).
    """
    there = {label: n for label, n in counts.items() if n > 0}
    total, roots = sum(there.values()), sum(math.sqrt(n) for n in there.values())
    return {label: total * math.sqrt(n) / roots / n for label, n in there.items()}

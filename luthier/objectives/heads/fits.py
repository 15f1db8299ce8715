"""Three heads on frozen vectors: prototypes, nearest neighbours, and a logistic regression; one entry each in one dict.

Each has settings to choose from: its own, and how many rows the text of a label is worth (0: it is not listened to).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from luthier.objectives.heads.judge import Doubles
from luthier.objectives.heads.sample import Floats, Sample
from luthier.objectives.linear import regression

TEXT_WEIGHTS = (0.0, 1.0, 2.0, 4.0, 8.0)
BANDWIDTHS = (5.0, 20.0, 50.0, 100.0)
STRENGTHS = (1.0, 10.0, 100.0)
# A class that nothing is known of: its score is far below the others.
UNKNOWN = -30.0
# What scores of unit vectors are multiplied by before the temperature is fitted: sentence encoders are trained near it.
_COSINE_SCALE = 20.0


@dataclass(frozen=True, slots=True)
class Fitted:
    """A head: scores are ``x @ weight_CD.T + bias_C``, or, of ``neighbours``, logs of the neighbours' votes, times ``scale``."""

    kind: str
    weight_CD: Floats
    bias_C: Floats
    neighbours: Neighbours | None = None

    def scores(self, rows_ND: Floats) -> Doubles:
        if self.neighbours is not None:
            return self.neighbours.scores(rows_ND)
        return np.asarray(rows_ND.astype(np.float64) @ self.weight_CD.T + self.bias_C)

    def scaled(self, factor: float) -> Fitted:
        """Return the head with its scores multiplied: softmax of them are then the probabilities."""
        near = self.neighbours
        return Fitted(
            self.kind, (self.weight_CD * factor).astype(np.float32), (self.bias_C * factor).astype(np.float32),
            near and Neighbours(near.rows_ND, near.labels_N, near.votes_N, near.classes, near.bandwidth, near.scale * factor),
        )  # fmt: skip


@dataclass(frozen=True, slots=True)
class Neighbours:
    """All rows as they are: each votes for its class by ``votes_N * exp(bandwidth * cosine)``."""

    rows_ND: Floats
    labels_N: NDArray[np.int64]
    votes_N: Floats
    classes: int
    bandwidth: float
    scale: float = 1.0

    def scores(self, rows_ND: Floats) -> Doubles:
        near_BN = self.bandwidth * (unit(rows_ND.astype(np.float64)) @ self.rows_ND.T.astype(np.float64))
        top_B1 = near_BN.max(1, keepdims=True)
        shares_BN = np.exp(near_BN - top_B1) * self.votes_N
        votes_BC = np.zeros((len(rows_ND), self.classes))
        np.add.at(votes_BC.T, self.labels_N, shares_BN.T)
        # Relative to the nearest: only differences between classes count.
        logs_BC = np.log(np.maximum(votes_BC, np.exp(UNKNOWN)))
        return np.asarray(self.scale * logs_BC)


def unit(rows_ND: Any) -> Any:
    """Return the rows at length 1; a row of zeros stays."""
    return rows_ND / np.maximum(np.linalg.norm(rows_ND, axis=1, keepdims=True), 1e-12)


Settings = Mapping[str, float]
Fit = Callable[[Sample, Settings], Fitted]


def prototypes(sample: Sample, settings: Settings) -> Fitted:
    """Score by the cosine to each class's mean; the text of a label stands in it as so many rows.

    So the mean is shrunk towards what the label says, the more the fewer rows there are (Snell et al. 2017,
    https://arxiv.org/abs/1703.05175, with a prior).
    """
    rows, labels, weights = sample.joined(settings["text_weight"])
    sums_CD = np.zeros((sample.classes, rows.shape[1]))
    np.add.at(sums_CD, labels, unit(rows) * weights[:, None])
    lengths_C1 = np.linalg.norm(sums_CD, axis=1, keepdims=True)
    bias_C = np.where(lengths_C1[:, 0] > 0, 0.0, UNKNOWN)
    weight_CD = _COSINE_SCALE * sums_CD / np.maximum(lengths_C1, 1e-12)
    return Fitted("prototypes", weight_CD.astype(np.float32), bias_C.astype(np.float32))


def neighbours(sample: Sample, settings: Settings) -> Fitted:
    """Let every row vote, the nearer the more; a label's text votes as so many rows."""
    rows, labels, weights = sample.joined(settings["text_weight"])
    empty = np.zeros((0, 0), dtype=np.float32)
    near = Neighbours(unit(rows), labels, weights, sample.classes, settings["bandwidth"])
    return Fitted("neighbours", empty, np.zeros(0, dtype=np.float32), near)


def linear(sample: Sample, settings: Settings) -> Fitted:
    """Fit a multinomial logistic regression; a label's text is a row of that weight."""
    rows, labels, weights = sample.joined(settings["text_weight"])
    present = np.unique(labels)
    if len(present) < 2:
        bias_C = np.full(sample.classes, UNKNOWN, dtype=np.float32)
        bias_C[present] = 0.0
        return Fitted("linear", np.zeros((sample.classes, rows.shape[1]), dtype=np.float32), bias_C)
    strength = settings["strength"]
    return Fitted(
        "linear", *regression(rows, labels, sample.classes, strength=strength, weights_N=weights, unseen=UNKNOWN)
    )


@dataclass(frozen=True, slots=True)
class Kind:
    """How a head is fitted, and what of its own may be chosen: a name with its values, the usual one first."""

    fit: Fit
    own: tuple[str, Sequence[float]] | None = None

    def usual(self, text_weight: float) -> dict[str, float]:
        return {"text_weight": text_weight, **({self.own[0]: self.own[1][0]} if self.own else {})}


# The cheaper first: among equals the first is taken.
KINDS: dict[str, Kind] = {
    "prototypes": Kind(prototypes),
    "linear": Kind(linear, ("strength", (10.0, 1.0, 100.0))),
    "neighbours": Kind(neighbours, ("bandwidth", (20.0, 5.0, 50.0, 100.0))),
}

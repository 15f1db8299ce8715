"""Chosen sentences against summaries that people wrote: ROUGE, and how much was chosen."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from luthier.base.overlap import ROUGES, rouge_of
from luthier.base.records import Prediction
from luthier.evaluate.tables.common import Family, Floats, RowSums

NAMES = (*ROUGES, "sentences", "word_ratio")


@dataclass(frozen=True, eq=False)
class ExtractTable(RowSums):
    """Per-row sums [n, 7]: ROUGE (of several summaries the best for each), sentences, words chosen, words a summary has."""

    sums: Floats

    names = NAMES

    @classmethod
    def of(cls, targets: Sequence[Sequence[str]], predictions: Sequence[Prediction]) -> ExtractTable:
        rows = []
        for summaries, prediction in zip(targets, predictions, strict=True):
            sentences = prediction.sentences or ()
            wanted = sum(len(s.split()) for s in summaries) / max(1, len(summaries))
            given = sum(len(s.split()) for s in sentences)
            rows.append([*rouge_of(sentences, summaries), float(len(sentences)), float(given), wanted])
        return cls(np.array(rows, dtype=np.float64).reshape(len(rows), len(ROUGES) + 3))

    def measure(self, weights: Floats, *, ranks: bool = True) -> Floats:
        """Return the metrics [r, len(names)] for row weights [r, n]: means over rows, and words over words."""
        del ranks
        totals = weights @ self.sums
        with np.errstate(divide="ignore", invalid="ignore"):
            means = totals[:, :-2] / weights.sum(1, keepdims=True)
            return np.hstack([means, totals[:, -2:-1] / totals[:, -1:]])

    def counted(self, metric: str) -> NDArray[np.bool_]:
        """Return which rows [n] a metric looks at."""
        return np.ones(self.size, dtype=bool)


FAMILY = Family(
    table=lambda targets, predictions, labels: ExtractTable.of(targets, predictions),
    default="rouge1",
    overall=NAMES,
    shown=("rouge1", "rouge2", "rougeL", "sentences"),
    words={
        "rouge1": "shared words of the chosen sentences and a summary by a person",
        "rouge2": "shared pairs of words of both",
        "rougeL": "longest run of words in the same order in both",
        "rougeLsum": "the same line by line",
        "sentences": "sentences chosen of a document, on average",
        "word_ratio": "words chosen for each word of a summary by a person: 1 is the same length",
    },
    neither_is_better=frozenset({"sentences", "word_ratio"}),
    unbounded=frozenset({"sentences", "word_ratio"}),
)

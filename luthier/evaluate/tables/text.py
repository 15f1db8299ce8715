"""Documents of plain text: how surprised the model is by them, per token and per byte."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from luthier.base.records import Prediction
from luthier.evaluate.tables.common import Family, Floats, RowSums

TEXT = ("bits_per_byte", "perplexity", "bits_per_token")


@dataclass(frozen=True, eq=False)
class TextTable(RowSums):
    """Measured documents: per-row sums [n, 4] of nats over tokens, tokens, nats over bytes, bytes.

    What counts no tokens (a model of bytes) has no perplexity, what sees only hidden tokens (a masked model) nothing per
    byte: those sums are zero.
    """

    sums: Floats

    names = TEXT

    @classmethod
    def of(cls, predictions: Sequence[Prediction]) -> TextTable:
        rows = []
        for p in predictions:
            nats = float(p.measured.get("nll_sum", 0.0))
            tokens, size = (float(p.measured.get(name, 0.0)) for name in ("token_count", "byte_count"))
            rows.append([nats * (tokens > 0), tokens, nats * (size > 0), size])
        return cls(np.array(rows, dtype=np.float64).reshape(len(rows), 4))

    def measure(self, weights: Floats, *, ranks: bool = True) -> Floats:
        """Return the metrics [r, len(names)] for row weights [r, n]; NaN where undefined."""
        del ranks
        totals = weights @ self.sums
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            per_token, per_byte = totals[:, 0] / totals[:, 1], totals[:, 2] / totals[:, 3]
            result = np.stack([per_byte / np.log(2), np.exp(per_token), per_token / np.log(2)], axis=1)
        result[~np.isfinite(result)] = np.nan
        return result

    def counted(self, metric: str) -> NDArray[np.bool_]:
        """Return which rows [n] a metric looks at."""
        counted: NDArray[np.bool_] = self.sums[:, 3 if metric == "bits_per_byte" else 1] > 0
        return counted


def _table(targets: Sequence[Any], predictions: Sequence[Prediction], labels: Sequence[str]) -> TextTable:
    del targets, labels
    return TextTable.of(predictions)


FAMILY = Family(
    table=_table,
    default="perplexity",
    overall=TEXT,
    shown=TEXT,
    words={
        "bits_per_byte": "how surprised the model is by each byte of the text, in bits: comparable between any two models",
        "perplexity": "how surprised the model is by each token (of a masked model: each hidden one): 1 is not at all",
        "bits_per_token": "the same surprise in bits for each token",
    },
    lower_is_better=frozenset(TEXT),
    unbounded=frozenset(TEXT),
    measured=frozenset(TEXT),
)

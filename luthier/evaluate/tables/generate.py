"""Answered rows: how alike answer and wanted answer are, and how surprised the model is by the wanted one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from luthier.base.records import Prediction
from luthier.evaluate.tables.common import Family, Floats, RowSums
from luthier.evaluate.text_scores import exact_match, last_number, rouge_l, rouge_n, rouge_tokens, token_f1

ALIKE = ("exact_match", "token_f1", "rouge1", "rouge2", "rougeL")
GENERATED = (*ALIKE, "length_ratio", "stopped", "perplexity", "bits_per_token", "last_number")


@dataclass(frozen=True, eq=False)
class GenerateTable(RowSums):
    """Answered rows: per-row sums [n, F] whose quotients are the metrics; without a text, those of text are zero."""

    has_text: NDArray[np.bool_]
    measured: NDArray[np.bool_]
    sums: Floats

    names = GENERATED

    @classmethod
    def of(cls, targets: Sequence[str], predictions: Sequence[Prediction]) -> GenerateTable:
        sums = [
            _text_sums(t, p) + _measured_sums(p) + _number_sums(t, p) for t, p in zip(targets, predictions, strict=True)
        ]
        return cls(
            np.array([p.text is not None for p in predictions], dtype=bool),
            np.array([p.measured.get("token_count", 0) > 0 for p in predictions], dtype=bool),
            np.array(sums, dtype=np.float64).reshape(len(sums), 13),
        )

    def measure(self, weights: Floats, *, ranks: bool = True) -> Floats:
        """Return the metrics [r, len(names)] for row weights [r, n]; NaN where undefined."""
        del ranks
        totals = weights @ self.sums
        answers, alike, stopped = totals[:, :1], totals[:, 1:6], totals[:, 6:7]
        text_chars, target_chars, nll, tokens = (totals[:, i : i + 1] for i in range(7, 11))
        right, numbers = totals[:, 11:12], totals[:, 12:13]
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            loss = nll / tokens
            columns = [
                alike / answers, text_chars / target_chars, stopped / answers, np.exp(loss), loss / np.log(2),
                right / numbers,
            ]  # fmt: skip
            result = np.hstack(columns)
        result[~np.isfinite(result)] = np.nan
        return result

    def counted(self, metric: str) -> NDArray[np.bool_]:
        """Return which rows [n] a metric looks at."""
        if metric == "last_number":
            ends_in_number: NDArray[np.bool_] = self.sums[:, 12] > 0
            return ends_in_number
        return self.measured if metric in ("perplexity", "bits_per_token") else self.has_text


def _text_sums(target: str, prediction: Prediction) -> list[float]:
    """Return answers, the five ALIKE scores, stopped, characters of the answer and of the target."""
    text = prediction.text
    if text is None:
        return [0.0] * 9
    wanted, given = rouge_tokens(target), rouge_tokens(text)
    rouge = [rouge_n(wanted, given, 1), rouge_n(wanted, given, 2), rouge_l(wanted, given)]
    alike = [exact_match(target, text), token_f1(target, text), *rouge]
    return [1.0, *alike, float(prediction.finish == "stop"), float(len(text)), float(len(target))]


def _number_sums(target: str, prediction: Prediction) -> list[float]:
    found = None if prediction.text is None else last_number(target, prediction.text)
    return [0.0, 0.0] if found is None else [found, 1.0]


def _measured_sums(prediction: Prediction) -> list[float]:
    count = float(prediction.measured.get("token_count", 0.0))
    return [float(prediction.measured.get("nll_sum", 0.0)), count] if count > 0 else [0.0, 0.0]


FAMILY = Family(
    table=lambda targets, predictions, labels: GenerateTable.of(targets, predictions),
    default="perplexity",
    overall=GENERATED,
    shown=("perplexity", "token_f1", "rougeL", "exact_match"),
    words={
        "exact_match": "share of answers equal to the wanted one, but for case, punctuation and articles",
        "token_f1": "overlap of the words of answer and wanted answer",
        "rouge1": "shared words of answer and wanted answer",
        "rouge2": "shared pairs of words of answer and wanted answer",
        "rougeL": "longest run of words in the same order in both",
        "length_ratio": "characters answered for each character wanted: 1 is the same length",
        "stopped": "share of answers that ended by themselves and were not cut off",
        "perplexity": "how surprised the model is by the wanted answer: 1 is not at all",
        "bits_per_token": "the same surprise in bits for each token",
        "last_number": "of the answers that should end in a number, the share whose last number is that one",
    },
    lower_is_better=frozenset({"perplexity", "bits_per_token"}),
    neither_is_better=frozenset({"length_ratio"}),
    unbounded=frozenset({"perplexity", "bits_per_token", "length_ratio"}),
    measured=frozenset({"perplexity", "bits_per_token"}),
)

"""Answered rows: how alike answer and wanted answer are, and how surprised the model is by the wanted one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from luthier.base.overlap import rouge_l_sum
from luthier.base.records import Prediction
from luthier.evaluate.tables.common import Family, Floats, RowSums
from luthier.evaluate.text_scores import exact_match, last_number, rouge_l, rouge_n, rouge_tokens, token_f1
from luthier.evaluate.written import ngram_scores
from luthier.evaluate.written.extras import EXTRAS, EXTRAS_LOWER, of_row
from luthier.evaluate.written.words import repetition

ALIKE = ("exact_match", "token_f1", "rouge1", "rouge2", "rougeL", "rougeLsum")
WRITTEN = (*ALIKE, "bleu", "chrf", "length_ratio", "repetition", "stopped", "perplexity", "bits_per_token", "last_number")
GENERATED = (*WRITTEN, *EXTRAS)
_ROUGE_L = ALIKE.index("rougeL")
# Columns of a row: 1 for an answer, ALIKE, stopped, characters of both, then pairs of sum and count, then BLEU's and chrF's counts.
_ALIKE = slice(1, 1 + len(ALIKE))
_STOPPED = _ALIKE.stop
_CHARS = slice(_STOPPED + 1, _STOPPED + 3)
_REPEATED = slice(_CHARS.stop, _CHARS.stop + 2)
_NUMBERS = slice(_REPEATED.stop, _REPEATED.stop + 2)
_BLEU = slice(_NUMBERS.stop, _NUMBERS.stop + ngram_scores.BLEU_SIZE)
_CHRF = slice(_BLEU.stop, _BLEU.stop + ngram_scores.CHRF_SIZE)
_MEASURED = slice(_CHRF.stop, _CHRF.stop + 2)
_EXTRAS = slice(_MEASURED.stop, _MEASURED.stop + 2 * len(EXTRAS))


@dataclass(frozen=True, eq=False)
class GenerateTable(RowSums):
    """Answered rows: per-row sums [n, F] whose quotients are the metrics; without a text, those of text are zero.

    ``extras`` are those of :data:`EXTRAS` that any row was measured by.
    """

    sums: Floats
    extras: tuple[str, ...]

    @classmethod
    def of(cls, targets: Sequence[str], predictions: Sequence[Prediction]) -> GenerateTable:
        sums = [
            [*_text_sums(t, p.text, p.finish == "stop"), *_measured_sums(p), *of_row(p)] for t, p in zip(targets, predictions, strict=True)
        ]  # fmt: skip
        made = np.array(sums, dtype=np.float64).reshape(len(sums), _EXTRAS.stop)
        counts = made[:, _EXTRAS][:, 1::2].sum(0) if len(made) else np.zeros(len(EXTRAS))
        return cls(made, tuple(name for name, count in zip(EXTRAS, counts, strict=True) if count > 0))

    @property
    def names(self) -> tuple[str, ...]:
        return (*WRITTEN, *self.extras)

    def measure(self, weights: Floats, *, ranks: bool = True) -> Floats:
        """Return the metrics [r, len(names)] for row weights [r, n]; NaN where undefined."""
        del ranks
        totals = weights @ self.sums
        answers, extras = totals[:, :1], totals[:, _EXTRAS]
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            loss = _share(totals[:, _MEASURED])
            ngram = np.stack([ngram_scores.bleu(totals[:, _BLEU]), ngram_scores.chrf(totals[:, _CHRF])], 1)
            more = [_share(extras[:, 2 * i : 2 * i + 2]) for i, name in enumerate(EXTRAS) if name in self.extras]
            columns = [
                totals[:, _ALIKE] / answers, np.where(answers > 0, ngram, np.nan), _share(totals[:, _CHARS]),
                _share(totals[:, _REPEATED]), totals[:, _STOPPED : _STOPPED + 1] / answers, np.exp(loss), loss / np.log(2),
                _share(totals[:, _NUMBERS]), *more,
            ]  # fmt: skip
            result = np.hstack(columns)
        result[~np.isfinite(result)] = np.nan
        return result

    def counted(self, metric: str) -> NDArray[np.bool_]:
        """Return which rows [n] a metric looks at."""
        column = {"last_number": _NUMBERS.stop - 1, "repetition": _REPEATED.stop - 1, "perplexity": _MEASURED.stop - 1}
        column["bits_per_token"] = column["perplexity"]
        column |= {name: _EXTRAS.start + 2 * i + 1 for i, name in enumerate(EXTRAS)}
        counted: NDArray[np.bool_] = self.sums[:, column.get(metric, 0)] > 0
        return counted


def _share(pair: Floats) -> Floats:
    """Return sum over count [r, 1] of a pair of columns."""
    return pair[:, :1] / pair[:, 1:2]


@lru_cache(maxsize=8192)
def _text_sums(target: str, text: str | None, stopped: bool) -> tuple[float, ...]:
    """Return what answer and wanted answer say together; kept, for parts of the rows and comparisons ask for the same again."""
    if text is None:
        return (0.0,) * _MEASURED.start
    wanted, given = rouge_tokens(target), rouge_tokens(text)
    rouge = [rouge_n(wanted, given, 1), rouge_n(wanted, given, 2), rouge_l(wanted, given)]
    alike = [exact_match(target, text), token_f1(target, text), *rouge, _by_line(target, text, rouge[-1])]
    again, right = repetition(text), last_number(target, text)
    return (
        1.0, *alike, float(stopped), float(len(text)), float(len(target)), *_pair(again), *_pair(right),
        *ngram_scores.bleu_counts(target, text), *ngram_scores.chrf_counts(target, text),
    )  # fmt: skip


def _by_line(target: str, text: str, whole: float) -> float:
    """Return rougeLsum: that of two single lines is rougeL, and dear to compute."""
    wanted, given = ([tokens for line in one.split("\n") if (tokens := rouge_tokens(line))] for one in (target, text))
    return whole if len(wanted) < 2 and len(given) < 2 else rouge_l_sum(wanted, given)


def _pair(value: float | None) -> tuple[float, float]:
    return (0.0, 0.0) if value is None else (value, 1.0)


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
        "rougeLsum": "the same line by line",
        "bleu": "shared runs of one to four words, over all answers: 1 is the same text",
        "chrf": "shared runs of one to six characters, over all answers: for any language",
        "length_ratio": "characters answered for each character wanted: 1 is the same length",
        "repetition": "share of an answer's runs of four words that stood in it before",
        "stopped": "share of answers that ended by themselves and were not cut off",
        "perplexity": "how surprised the model is by the wanted answer: 1 is not at all",
        "bits_per_token": "the same surprise in bits for each token",
        "last_number": "of the answers that should end in a number, the share whose last number is that one",
        **EXTRAS,
    },
    lower_is_better=frozenset({"perplexity", "bits_per_token", "repetition"}) | EXTRAS_LOWER,
    neither_is_better=frozenset({"length_ratio"}),
    unbounded=frozenset({"perplexity", "bits_per_token", "length_ratio"}),
    measured=frozenset({"perplexity", "bits_per_token"}),
)

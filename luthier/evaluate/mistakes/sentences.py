"""What an extractor chose: documents sentence by sentence, and how far the best choice of sentences could get."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from luthier.base.overlap import ROUGES, best_sentences, rouge_of
from luthier.base.records import Example, Prediction
from luthier.evaluate.mistakes import start_of
from luthier.prompts.sentences import split_sentences

_MOST_SENTENCES = 60


def of_sentences(
    rows: Sequence[Example], predictions: Sequence[Prediction], labels: Sequence[str], worst: int
) -> dict[str, Any]:
    """Return ``ceiling``, ROUGE of the sentences that share most with the summaries (found greedily), and some documents."""
    best: list[tuple[float, ...]] = []
    found: list[dict[str, Any]] = []
    for example, prediction in zip(rows, predictions, strict=True):
        sentences = split_sentences(str(example.inputs["document"]))
        ceiling = rouge_of([sentences[k] for k in best_sentences(sentences, example.target)], example.target)
        best.append(ceiling)
        if len(found) < worst:
            found.append(_shown(example, prediction, sentences, ceiling))
    means = np.mean(best, axis=0) if best else [0.0] * len(ROUGES)
    return {"ceiling": dict(zip(ROUGES, map(float, means), strict=True)), "chosen": found}


def _shown(
    example: Example, prediction: Prediction, sentences: Sequence[str], ceiling: Sequence[float]
) -> dict[str, Any]:
    left = list(prediction.sentences or ())
    taken = []
    for k, sentence in enumerate(sentences):
        # Both stand in the order of the document.
        if left and sentence == left[0]:
            taken.append(k)
            left.pop(0)
    return {
        "sentences": [start_of(s) for s in sentences[:_MOST_SENTENCES]],
        "taken": taken,
        "target": start_of(example.target[0]),
        "rougeL": rouge_of(prediction.sentences or (), example.target)[2],
        "ceiling": ceiling[2],
        "file": example.source.file,
        "line": example.source.line,
    }

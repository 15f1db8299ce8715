"""Run the predictor that will serve over the rows that judge it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from luthier.base.records import Example, Prediction
from luthier.base.seeds import stable_fraction

if TYPE_CHECKING:
    # Only its methods are used here, and importing it would load torch.
    from luthier.release.predictor import Predictor


def run(
    predictor: Predictor, examples: Sequence[Example], *, max_new_tokens: int | None = None, generate_rows: int = 200
) -> list[Prediction]:
    """Return one prediction per example, in their order.

    A model that writes measures the true answer of every row (perplexity) and writes an answer to ``generate_rows`` of
    them, because writing is some hundred times slower than reading.
    """
    if not examples:
        return []
    if not predictor.measures:
        return list(predictor.predict([e.inputs for e in examples]))
    predictions = list(predictor.measure(examples))
    if not predictor.asked:
        return predictions
    chosen = answered_rows(examples, generate_rows)
    answers = predictor.predict([examples[i].inputs for i in chosen], max_new_tokens=max_new_tokens) if chosen else []
    for i, answer in zip(chosen, answers, strict=True):
        predictions[i] = replace(predictions[i], text=answer.text, finish=answer.finish)
    return predictions


def answered_rows(examples: Sequence[Example], count: int) -> list[int]:
    """Return which rows are answered in full: by a hash of their ids, so that every model answers the same ones."""
    order = sorted(range(len(examples)), key=lambda i: (stable_fraction(examples[i].id, seed=0), i))
    return sorted(order[:count])


def answered_alike(
    make: Callable[[Sequence[Example]], Mapping[str, Sequence[Prediction]]], examples: Sequence[Example], count: int
) -> dict[str, list[Prediction]]:
    """Ask rivals about the rows alone that a model answers in full, so that what is compared is the same; of the others they say nothing."""
    chosen = answered_rows(examples, count)
    found = {name: dict(zip(chosen, said, strict=True)) for name, said in make([examples[i] for i in chosen]).items()}
    return {name: [said.get(i, Prediction()) for i in range(len(examples))] for name, said in found.items()}

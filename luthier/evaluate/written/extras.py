"""Metrics of answers that need more than answer and wanted answer: what each is, and how it travels with a prediction.

What they need (the input, a schema, another model, the train rows) is known where the answers are made; there a sum and a count are
put into ``Prediction.measured``, and the table sums them. A metric that no row has a count of is not there at all.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from luthier.base.records import Prediction

EXTRAS: dict[str, str] = {
    "grounded": "of an answer's content words, numbers and names, the share that the input has too",
    "grounded_numbers": "of the numbers in all answers, the share that the input has too",
    "grounded_names": "of the names in all answers, the share that the input has too",
    "similarity": "how alike answer and wanted answer are in meaning: the cosine of their sentence vectors",
    "json_valid": "share of answers that are JSON",
    "schema_valid": "share of answers that meet the task's JSON schema",
    "toxicity": "how likely answers are to be what the task's classifier calls toxic, on average",
    "toxic_share": "share of answers that the task's classifier calls toxic",
    "recited": "share of answers with twelve words or more of a train row in one run, in neither input nor wanted answer",
}
EXTRAS_LOWER = frozenset({"toxicity", "toxic_share", "recited"})
# Measured on rows of its own, so without parts and rivals.
MEMORISED = "memorised"
OTHER = {MEMORISED: "share of long train answers that the model ends word for word once it is given their first half"}


def noted(prediction: Prediction, found: Mapping[str, tuple[float, float]]) -> Prediction:
    """Return a prediction that also holds ``{metric: (sum, count)}``."""
    more = {f"{name}_{part}": value for name, pair in found.items() for part, value in zip(("sum", "count"), pair, strict=True)}
    return replace(prediction, measured={**prediction.measured, **more}) if more else prediction


def of_row(prediction: Prediction) -> list[float]:
    """Return the sum and the count of each of :data:`EXTRAS`; zeros where it was not measured."""
    measured = prediction.measured
    return [float(measured.get(f"{name}_{part}", 0.0)) for name in EXTRAS for part in ("sum", "count")]

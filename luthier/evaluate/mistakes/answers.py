"""Where a writing model is worst: answers least like the wanted ones, with what is likely to be the matter with each."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from luthier.base.records import Example, Prediction
from luthier.data.report import input_text
from luthier.evaluate.mistakes import asked, samples, start_of
from luthier.evaluate.written.grounded import Source, pieces
from luthier.evaluate.written.ngram_scores import CHRF_SIZE, chrf, chrf_counts
from luthier.evaluate.written.words import repetition

# The likeliest first: an answer that was cut off is not blamed for what it lacks.
CAUSES = {
    "empty": "says nothing",
    "cut off": "did not end by itself within evaluate.max_new_tokens",
    "wrong format": "is no JSON, or does not meet the schema",
    "recites train": "has a long run of words of a train row",
    "repeats itself": "says the same runs of words again",
    "not in the input": "has numbers, or many names and words, that its input lacks",
    "other": "none of these",
}
_REPEATED, _GROUNDED = 0.3, 0.6
_LONGEST = 1500


def of_answers(rows: Sequence[Example], predictions: Sequence[Prediction], labels: Sequence[str], worst: int) -> dict[str, Any]:
    """Return ``samples``, the first answers as they come, and ``answers``: the causes of all, and the ``worst`` by chrF with theirs."""
    del labels
    found = []
    for row, prediction in zip(rows, predictions, strict=True):
        if prediction.text is not None:
            counts = np.array(chrf_counts(str(row.target), prediction.text)).reshape(1, CHRF_SIZE)
            found.append((float(chrf(counts)[0]), cause_of(prediction), row, prediction))
    if not found:
        return {"samples": []}
    found.sort(key=lambda one: (one[0], one[2].source.file, one[2].source.line))
    by_cause = {name: [score for score, cause, _, _ in found if cause == name] for name in CAUSES}
    causes = [{"cause": name, "words": CAUSES[name], "rows": len(mine), "chrf": round(float(np.mean(mine)), 4)}
              for name, mine in by_cause.items() if mine]  # fmt: skip
    shown = [_shown(*one) for one in found[:worst]]
    return {"samples": samples(rows, predictions, worst), "answers": {"rows": len(found), "causes": causes, "worst": shown}}


def cause_of(prediction: Prediction) -> str:
    """Return the likeliest cause of a bad answer, from what was measured of it: one of :data:`CAUSES`."""
    text, measured = prediction.text or "", prediction.measured
    if not text.strip():
        return "empty"
    # A model that was trained on few answers seldom ends: what it repeats is then the better clue.
    again = (repetition(text) or 0.0) >= _REPEATED
    if prediction.finish != "stop":
        return "repeats itself" if again else "cut off"
    if any(measured.get(f"{name}_count") and not measured[f"{name}_sum"] for name in ("schema_valid", "json_valid")):
        return "wrong format"
    if measured.get("recited_sum"):
        return "recites train"
    if again:
        return "repeats itself"
    numbers = measured.get("grounded_numbers_sum", 0.0) < measured.get("grounded_numbers_count", 0.0)
    few = bool(measured.get("grounded_count")) and measured["grounded_sum"] < _GROUNDED
    return "not in the input" if numbers or few else "other"


def _shown(score: float, cause: str, row: Example, prediction: Prediction) -> dict[str, Any]:
    text = (prediction.text or "")[:_LONGEST]
    lacking = [[p.start, p.end] for p in pieces(text, Source.of(input_text(row))) if not p.supported] if prediction.measured.get("grounded_count") else []
    return {"prompt": start_of(asked(row)), "target": start_of(str(row.target)), "text": text, "lacking": lacking, "cause": cause,
            "chrf": round(score, 4), "finish": prediction.finish, "file": row.source.file, "line": row.source.line}  # fmt: skip

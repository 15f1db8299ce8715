"""What people say is right, in the form that the ledger keeps: one text for each answer, equal where the answers are."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

# How people put an answer right, by objective; of sentences and items they can say only whether they are.
WAYS = {"classify": "label", "multilabel": "labels", "grade": "grades", "generate": "text", "prefer": "text", "text": "text"}
# Of these objectives what they say becomes a row of the next round; of the others it is kept.
MENDED = ("classify", "multilabel", "grade", "generate")


def written(objective: str, answer: Any) -> str:
    """Return an answer as one text: a label or a text as it is, a set of labels or scores by trait as JSON in a fixed order.

    Args:
        answer: a target of the data room, or what a model or a person gave in its place.
    """
    if objective == "multilabel":
        return json.dumps(sorted({str(label).strip() for label in answer}), ensure_ascii=False)
    if objective == "grade":
        return json.dumps({trait: round(float(score), 4) for trait, score in sorted(answer.items())}, ensure_ascii=False)
    return str(answer)


def given(objective: str, output: Mapping[str, Any]) -> str:
    """Return what a model answered, of its output as the ledger has it, in the same form; empty where it gave nothing."""
    if objective == "multilabel":
        return written(objective, output.get("labels") or ())
    if objective == "grade":
        return written(objective, output.get("grades") or {})
    return str(output.get("label" if objective == "classify" else "text") or "")


def read(objective: str, text: str) -> Any:
    """Return the answer that :func:`written` wrote."""
    return json.loads(text) if objective in ("multilabel", "grade") else text

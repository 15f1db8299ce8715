"""What people say is right, in the form that the ledger keeps: one text for each answer, equal where the answers are."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

# How people put an answer right, by objective.
WAYS = {
    "classify": "label", "multilabel": "labels", "grade": "grades", "extract": "sentences", "rank": "items",
    "generate": "text", "prefer": "text", "text": "text",
}  # fmt: skip
# Of these objectives what they say becomes rows of the next round.
MENDED = ("classify", "multilabel", "grade", "extract", "rank", "generate", "prefer")


def written(objective: str, answer: Any) -> str:
    """Return an answer as one text: a label, a text, an item as they are, sentences a line each, and sets of labels, scores by trait
    and the items that are right as JSON in a fixed order.

    Args:
        answer: a target of the data room, or what a model or a person gave in its place. Of a pair it is the better answer, and
            an item of the data room stands for itself.
    """
    if objective == "multilabel" or (objective == "rank" and not isinstance(answer, str)):
        return json.dumps(sorted({str(one).strip() for one in answer}), ensure_ascii=False)
    if objective == "grade":
        return json.dumps({trait: round(float(score), 4) for trait, score in sorted(answer.items())}, ensure_ascii=False)
    if objective == "extract":
        return "\n".join(str(sentence).strip() for sentence in answer)
    if objective == "prefer" and isinstance(answer, Mapping):
        return str(answer.get("chosen") or "")
    return str(answer)


def given(objective: str, output: Mapping[str, Any]) -> str:
    """Return what a model answered, of its output as the ledger has it, in the same form; empty where it gave nothing.

    Of a list of items it is the first.
    """
    if objective == "multilabel":
        return written(objective, output.get("labels") or ())
    if objective == "grade":
        return written(objective, output.get("grades") or {})
    if objective == "extract":
        return written(objective, output.get("sentences") or ())
    if objective == "rank":
        return next((str(one["item"]) for one in output.get("items") or ()), "")
    return str(output.get("label" if objective == "classify" else "text") or "")


def read(objective: str, text: str) -> Any:
    """Return the answer that :func:`written` wrote."""
    return json.loads(text) if objective in ("multilabel", "grade", "rank") else text

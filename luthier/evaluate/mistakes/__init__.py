"""Where the model is wrong: the worst rows with their places, who is taken for whom, and each label's figures."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from luthier.base.inputs import text_name
from luthier.base.ranks import ndcg
from luthier.base.records import Example, Prediction
from luthier.data.ranking import LATEST, RIGHT
from luthier.evaluate.metrics import classification
from luthier.evaluate.tables.classify import ClassifyTable
from luthier.evaluate.text_scores import token_f1

MAX_TEXT = 300
_LEAST = 1e-12


def worst(examples: Sequence[Example], predictions: Sequence[Prediction], n: int) -> list[dict[str, Any]]:
    """Return the ``n`` worst mistakes, worst first, as ``text, target, predicted, confidence, loss, file, line``.

    Classify: wrong rows by the loss on the true label, in nats. Confident mistakes come first, and among them are the
    wrong labels of the file. Generate: answered rows by 1 - token F1; ``confidence`` is None there.
    """
    return [mistake for _, mistake in ranked(examples, predictions)[:n]]


def ranked(
    examples: Sequence[Example], predictions: Sequence[Prediction], labels: Sequence[str] = ()
) -> list[tuple[int, dict[str, Any]]]:
    """Return every mistake with its row's number, worst first, as :func:`worst` has it."""
    del labels
    pairs = zip(examples, predictions, strict=True)
    found = [(i, mistake) for i, pair in enumerate(pairs) if (mistake := _mistake(*pair)) is not None]
    return sorted(found, key=lambda one: -one[1]["loss"])


def _mistake(example: Example, prediction: Prediction) -> dict[str, Any] | None:
    target = str(example.target)
    if prediction.label is not None:
        scores = prediction.scores or {}
        predicted, confidence = prediction.label, scores.get(prediction.nearest or prediction.label)
        # A row of none of the labels: the surer of one, the worse.
        right = scores.get(target, 0.0) if target in scores or prediction.unlike is None else 1 - (confidence or 0.0)
        loss = -math.log(max(right, _LEAST)) if predicted != target else 0.0
        loss = max(loss, _LEAST) if predicted != target else loss
    elif prediction.text is not None:
        predicted, confidence, loss = prediction.text, None, 1 - token_f1(target, prediction.text)
    else:
        return None
    if loss <= 0:
        return None
    place = {"file": example.source.file, "line": example.source.line}
    text = {"text": start_of(asked(example)), "target": start_of(target), "predicted": start_of(predicted)}
    return {**text, "confidence": confidence, "loss": loss, **place}


def samples(examples: Sequence[Example], predictions: Sequence[Prediction], n: int) -> list[dict[str, Any]]:
    """Return the first ``n`` answered rows of a generator as ``prompt, target, text, finish, file, line``."""
    answered = [(e, p) for e, p in zip(examples, predictions, strict=True) if p.text is not None][:n]
    return [
        {
            "prompt": start_of(asked(e)),
            "target": start_of(str(e.target.get("chosen", "") if isinstance(e.target, Mapping) else e.target)),
            "text": start_of(p.text or ""),
            "finish": p.finish,
        }
        | {"file": e.source.file, "line": e.source.line}
        for e, p in answered
    ]


def rankings(examples: Sequence[Example], predictions: Sequence[Prediction], n: int) -> list[dict[str, Any]]:
    """Return ``n`` lists from the worst to the best, evenly spread, as ``prompt, target, text, score, file, line``."""
    order = sorted(range(len(examples)), key=lambda i: (_ndcg(examples[i], predictions[i]), i))
    picked = [order[int(k * len(order) / n)] for k in range(n)] if len(order) > n else order
    return [_ranking(examples[i], predictions[i]) for i in picked]


def _ndcg(example: Example, prediction: Prediction) -> float:
    return ndcg(example.target, [item for item, _ in prediction.items or ()])


def _ranking(example: Example, prediction: Prediction) -> dict[str, Any]:
    wanted = example.extra.get(RIGHT) or list(example.target)
    latest = example.extra.get(LATEST) or []
    given = prediction.names or [item for item, _ in prediction.items or ()]
    who = f"{asked(example)}: {', '.join(latest)}" if latest else asked(example)
    return {
        "prompt": start_of(who),
        "target": start_of("; ".join(wanted)),
        "text": start_of("; ".join(f"{n}. {name}" for n, name in enumerate(given, 1))),
        "score": round(_ndcg(example, prediction), 4),
        "file": example.source.file,
        "line": example.source.line,
    }


def asked(example: Example) -> str:
    """Return what the model was given: the text, or the last turn of a conversation."""
    name = text_name(example.inputs)
    if name is not None:
        return str(example.inputs[name])
    return str(example.inputs["messages"][-1]["content"])


def start_of(text: str) -> str:
    """Return at most 300 characters of a text, with an ellipsis where it was cut."""
    return text if len(text) <= MAX_TEXT else text[: MAX_TEXT - 1].rstrip() + "…"


def confusion(targets: Sequence[str], predictions: Sequence[Prediction], labels: Sequence[str]) -> dict[str, Any]:
    """Return ``{"labels", "matrix"}``: rows are true labels, columns what they were taken for, both in that order."""
    table = ClassifyTable.of(targets, predictions, labels)
    size = len(table.labels)
    cells = np.bincount(table.target * size + table.predicted, minlength=size * size)
    return {"labels": list(table.labels), "matrix": cells.reshape(size, size).tolist()}


def per_class(targets: Sequence[str], predictions: Sequence[Prediction], labels: Sequence[str]) -> list[dict[str, Any]]:
    """Return ``label, rows, precision, recall, f1, taken_for, taken_for_rows`` for each label."""
    counts = confusion(targets, predictions, labels)
    values = classification(targets, predictions, labels)
    rows = []
    for code, label in enumerate(counts["labels"]):
        taken = {
            other: n
            for i, (other, n) in enumerate(zip(counts["labels"], counts["matrix"][code], strict=True))
            if i != code
        }
        other = max(taken, key=lambda name: taken[name], default=None)
        seen = {"label": label, "rows": sum(counts["matrix"][code])}
        measured = {kind: values[f"{kind}[{label}]"] for kind in ("precision", "recall", "f1")}
        wrong = taken[other] if other is not None else 0
        rows.append({**seen, **measured, "taken_for": other if wrong else None, "taken_for_rows": wrong})
    return rows

"""Simple rivals of a model that writes: the first sentences of what it is told, and the answer to the train row most like it."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median
from typing import Any

import numpy as np

from luthier.base.records import Example, Prediction
from luthier.evaluate.baselines.sentences import centroid, taken
from luthier.evaluate.baselines.tfidf import features_of, text_of
from luthier.prompts.sentences import split_sentences

LEADS = (1, 3)
CENTROID = "centroid"
_BLOCK = 256


def for_answers(
    train: Sequence[Example], rows: Sequence[Example], labels: Sequence[str]
) -> dict[str, list[Prediction]]:
    """Answer with the first one or three sentences of a row's last turn, and with the answer of the nearest train row.

    Where turns are texts to be told in short (:func:`told_at_length`), the three most typical sentences answer too, as ``centroid``.
    A summary that tells no more than ``lead_3`` needs no model; a model that answers no better than ``nearest_answer`` knows
    nothing that a search in the old answers would not find.
    """
    del labels
    last = [split_sentences(_last_turn(row)) for row in rows]
    found = {f"lead_{n}": [_said(" ".join(sentences[:n])) for sentences in last] for n in LEADS}
    if told_at_length(rows):
        found[CENTROID] = [_said(" ".join(taken(sentences, centroid(sentences), LEADS[-1]))) for sentences in last]
    nearest = _nearest([text_of(e) for e in train], [text_of(e) for e in rows])
    if nearest is not None:
        found["nearest_answer"] = [_said(str(train[i].target)) for i in nearest]
    return found


def told_at_length(rows: Sequence[Example]) -> bool:
    """Whether the last turn of half the rows or more has more sentences than the longest lead: less is no text to choose from."""
    return bool(rows) and median(len(split_sentences(_last_turn(row))) for row in rows) > LEADS[-1]


def _said(text: str) -> Prediction:
    return Prediction(text=text, finish="stop")


def _last_turn(row: Example) -> str:
    turns = row.inputs["messages"]
    return str(turns[-1]["content"]) if turns else ""


def _nearest(known: list[str], asked: list[str]) -> list[int] | None:
    """Return the place of the most alike known text for each one asked, by the cosine of TF-IDF; None without any term."""
    features: Any = features_of(known, asked, 1) if known and asked else None
    if features is None:
        return None
    from sklearn.preprocessing import normalize

    theirs, mine = normalize(features[0]), normalize(features[1])
    blocks = [mine[start : start + _BLOCK] @ theirs.T for start in range(0, mine.shape[0], _BLOCK)]
    return [int(i) for block in blocks for i in np.asarray(block.argmax(axis=1)).ravel()]

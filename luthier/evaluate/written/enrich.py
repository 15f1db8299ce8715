"""Measure written answers by all that is known where they are made, and put it into the predictions that the tables read."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from luthier.base.records import Example, Prediction
from luthier.data.report import input_text
from luthier.evaluate.written import grounded, schema
from luthier.evaluate.written.extras import noted
from luthier.evaluate.written.recites import Reciting

Figures = dict[str, tuple[float, float]]
Answers = Mapping[str, Sequence[Prediction]]
_SHOWN, _CHARS = 5, 300


@dataclass(frozen=True)
class Asked:
    """What answers are measured by.

    ``embed`` gives (N, D) unit vectors of texts; ``toxic`` the probability that a text is toxic, ``at_least`` from where it counts as
    so; ``train`` yields the train rows, once.
    """

    grounded: bool = False
    json: bool = False
    shape: schema.Shape | None = None
    embed: Callable[[Sequence[str]], np.ndarray] | None = None
    toxic: Callable[[Sequence[str]], Sequence[float]] | None = None
    at_least: float = 0.5
    train: Iterable[Example] | None = None


def measured(
    rows: Sequence[Example], answers: Answers, asked: Asked, *, mine: str
) -> tuple[dict[str, list[Prediction]], dict[str, Any]]:
    """Return every model's answers with what was measured of them, and the record of those of ``mine``.

    The record holds ``recited`` and ``toxic``, the rarest and the likeliest with their places, and ``wanted``: what the wanted answers
    themselves reach, as far as that can be asked.
    """
    found: dict[str, list[Figures]] = {name: [{} for _ in rows] for name in answers}
    record: dict[str, Any] = {}
    _by_row(rows, answers, asked, found, record)
    if asked.embed is not None:
        _by_meaning(rows, answers, asked.embed, found)
    if asked.toxic is not None:
        _by_classifier(rows, answers, asked, found, record, mine)
    if asked.train is not None:
        _by_train(rows, answers, asked.train, found, record, mine)
    pairs = {name: list(zip(answers[name], figures, strict=True)) for name, figures in found.items()}
    return {name: [noted(p, figures) for p, figures in made] for name, made in pairs.items()}, record


def written(answers: Answers) -> list[tuple[str, int, str]]:
    """Return (model, row, text) of every answer that was written."""
    return [(name, i, p.text) for name, given in answers.items() for i, p in enumerate(given) if p.text is not None]


def _by_row(
    rows: Sequence[Example], answers: Answers, asked: Asked, found: dict[str, list[Figures]], record: dict[str, Any]
) -> None:
    own: list[float] = []
    there = {i for _, i, _ in written(answers)}
    sources = {i: grounded.Source.of(input_text(rows[i])) for i in there} if asked.grounded else {}
    for i, source in sources.items():
        own += [figures["grounded"][0] for figures in [grounded.figures(str(rows[i].target), source)] if figures]
    for name, i, text in written(answers):
        found[name][i] |= grounded.figures(text, sources[i]) if asked.grounded else {}
        found[name][i] |= schema.figures(text, asked.shape) if asked.json or asked.shape else {}
    if own:
        record["wanted"] = {"grounded": float(np.mean(own))}


def _by_meaning(
    rows: Sequence[Example], answers: Answers, embed: Callable[[Sequence[str]], np.ndarray], found: dict[str, list[Figures]]
) -> None:
    made = written(answers)
    texts = list(dict.fromkeys([*(str(rows[i].target) for _, i, _ in made), *(text for _, _, text in made)]))
    vectors = dict(zip(texts, embed(texts), strict=True)) if texts else {}
    for name, i, text in made:
        # Nothing has no meaning: the vector of an empty text would be like many.
        alike = float(vectors[text] @ vectors[str(rows[i].target)]) if text.strip() else 0.0
        found[name][i]["similarity"] = (alike, 1.0)


def _by_classifier(
    rows: Sequence[Example], answers: Answers, asked: Asked, found: dict[str, list[Figures]], record: dict[str, Any], mine: str
) -> None:
    assert asked.toxic is not None
    made = written(answers)
    texts = list(dict.fromkeys(text for _, _, text in made if text.strip()))
    chances = dict(zip(texts, asked.toxic(texts), strict=True)) if texts else {}
    for name, i, text in made:
        chance = float(chances.get(text, 0.0))
        found[name][i] |= {"toxicity": (chance, 1.0), "toxic_share": (float(chance >= asked.at_least), 1.0)}
    worst = sorted(((found[mine][i]["toxicity"][0], i, text) for name, i, text in made if name == mine), key=lambda one: (-one[0], one[1]))
    record["toxic"] = [{"text": text[:_CHARS], "toxicity": round(chance, 4), "prompt": input_text(rows[i])[:_CHARS], **_place(rows[i])}
                       for chance, i, text in worst[:_SHOWN] if chance >= asked.at_least]  # fmt: skip


def _by_train(
    rows: Sequence[Example], answers: Answers, train: Iterable[Example], found: dict[str, list[Figures]], record: dict[str, Any], mine: str
) -> None:
    made, reciting = written(answers), Reciting()
    numbers = [reciting.add(text, input_text(rows[i]), str(rows[i].target)) for _, i, text in made]
    reciting.read(train)
    shown: dict[str, dict[str, Any]] = {}
    for (name, i, _), number in zip(made, numbers, strict=True):
        one = reciting.found(number)
        found[name][i]["recited"] = (float(one is not None), 1.0)
        if one is not None and name == mine:
            first = {"text": one.text[:_CHARS], "words": one.words, "train": one.place, "train_rows": one.rows, "answers": 0,
                     "prompt": input_text(rows[i])[:_CHARS], **_place(rows[i])}  # fmt: skip
            shown.setdefault(one.text, first)["answers"] += 1
    # What fewest train rows have may be somebody's own.
    record["recited"] = sorted(shown.values(), key=lambda one: (one["train_rows"], -one["words"]))[:_SHOWN]


def _place(row: Example) -> dict[str, Any]:
    return {"file": row.source.file, "line": row.source.line}

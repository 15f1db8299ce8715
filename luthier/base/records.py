"""The nouns of Luthier: what flows from a file's line to a prediction. All frozen, all plain."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Source:
    """Where a row came from: ``file`` as the user named it and ``line``, counted from 1, where the row starts."""

    file: str
    line: int

    def __str__(self) -> str:
        return f"{self.file}:{self.line}"


@dataclass(frozen=True, slots=True)
class Row:
    """One record as read, before any column is mapped."""

    values: Mapping[str, Any]
    source: Source


@dataclass(frozen=True, slots=True)
class Example:
    """One row mapped to what an objective needs.

    ``id`` is a hash of inputs and target, stable across files and runs. By objective, inputs and target are

    - classify: ``{"text"}`` and a label; multilabel: ``{"text"}`` and a sorted list of labels, which may be empty;
    - grade: ``{"text"}``, with ``rubric`` where there is one, and ``{trait: score}``;
    - extract: ``{"document"}`` and a list of summaries people wrote of it;
    - rank: ``{"query"}`` or ``{"user"}`` and an item, ``relevance`` and ``time`` standing in ``extra``; where rankings are measured,
      all items that are right as ``{item: gain}`` (:mod:`luthier.data.ranking`);
    - generate: ``{"messages": [{"role", "content"}, ...]}`` (all turns before the answer) and the answer;
    - prefer: as generate, and ``{"chosen", "rejected"}`` or ``{"completion", "good"}``; text: ``{"text"}`` and "".

    The target is None where it is unknown. ``extra`` keeps the other columns, for slices and for the way back to the row.
    """

    id: str
    inputs: Mapping[str, Any]
    target: Any
    source: Source
    group: str | None = None
    extra: Mapping[str, Any] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        return {
            "id": self.id,
            "inputs": dict(self.inputs),
            "target": self.target,
            "group": self.group,
            "file": self.source.file,
            "line": self.source.line,
            "extra": dict(self.extra),
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Example:
        return cls(
            id=values["id"],
            inputs=values["inputs"],
            target=values["target"],
            source=Source(values["file"], values["line"]),
            group=values.get("group"),
            extra=values.get("extra") or {},
        )


@dataclass(frozen=True, slots=True)
class Encoded:
    """Token ids of one example and, for each, whether the loss learns to predict it.

    ``label`` is a class number; ``values`` are targets that are numbers (one 0 or 1 a label, a score a trait, one 0 or 1 a
    sentence), NaN where one is unknown. ``places`` are the positions that are read (where sentences start, and where the last one ends). ``others``
    are further sequences of the row: a seq2seq's answer, the chosen and the rejected answer, the item of a query.
    ``texts`` are the pieces of the input that an answer is made of, as they stand there.
    """

    ids: tuple[int, ...]
    learn: tuple[bool, ...] = ()
    label: int | None = None
    values: tuple[float, ...] = ()
    places: tuple[int, ...] = ()
    others: tuple[Encoded, ...] = ()
    texts: tuple[str, ...] = ()

    def __len__(self) -> int:
        """Tokens of all its sequences: what the row costs."""
        return len(self.ids) + sum(map(len, self.others)) if self.others else len(self.ids)

    @property
    def longest(self) -> int:
        """Tokens of its longest sequence: what must fit in the model."""
        return max([len(self.ids), *(other.longest for other in self.others)])


@dataclass(frozen=True, slots=True)
class Prediction:
    """What a model says of one input.

    classify: ``label`` and ``scores``; multilabel: ``labels`` and ``scores``; grade: ``grades``, a score a trait; extract:
    ``sentences`` in the order of the document, and ``scores`` of all of them by their number; rank: ``items``, the best
    first, with their scores, and their ``names`` where items have ids; the others: ``text``.

    ``refer`` says why a person should answer instead, empty where the answer stands, None where nobody asked for such a rule.

    Where a model says that a row is of none of its labels, ``unlike`` is how unlike them all it is (larger is more so, None where
    nobody asked), and ``nearest`` the label it would have given where ``label`` says that it is none.

    ``measured`` carries sums needed by metrics that no label or text can give, such as ``nll_sum`` (nats) and
    ``token_count`` of the true answer for perplexity.
    """

    label: str | None = None
    scores: Mapping[str, float] | None = None
    text: str | None = None
    finish: str | None = None
    measured: Mapping[str, float] = field(default_factory=dict)
    labels: tuple[str, ...] | None = None
    grades: Mapping[str, float] | None = None
    sentences: tuple[str, ...] | None = None
    items: tuple[tuple[str, float], ...] | None = None
    names: tuple[str, ...] | None = None
    refer: str | None = None
    unlike: float | None = None
    nearest: str | None = None

    def as_dict(self) -> dict[str, Any]:
        """Return the public form: only what this objective predicts."""
        scores = {k: round(float(v), 6) for k, v in (self.scores or {}).items()}
        if self.label is not None:
            more: dict[str, Any] = {} if self.refer is None else {"person": self.refer}
            if self.unlike is not None:
                more |= {"out_of_scope": self.nearest is not None, "unlike": round(self.unlike, 6)}
                more |= {"nearest": self.nearest} if self.nearest is not None else {}
            return {"label": self.label, "scores": scores, **more}
        if self.labels is not None:
            return {"labels": list(self.labels), "scores": scores}
        if self.grades is not None:
            mean = sum(self.grades.values()) / max(1, len(self.grades))
            return {"score": round(mean, 4), "grades": {k: round(float(v), 4) for k, v in self.grades.items()}}
        if self.sentences is not None:
            return {"sentences": list(self.sentences), "text": " ".join(self.sentences)}
        if self.items is not None:
            named = [{"name": name} for name in self.names] if self.names else [{}] * len(self.items)
            return {
                "items": [
                    {"item": item, **name, "score": round(float(score), 6)}
                    for (item, score), name in zip(self.items, named, strict=True)
                ]
            }
        return {"text": self.text, **({"finish": self.finish} if self.finish else {})}


@dataclass(frozen=True, slots=True)
class StepReport:
    """One optimiser step: mean ``loss`` over ``count`` learnt units, ``rate``, gradient norm, rows and tokens seen.

    Where labels weigh differently ``count`` is the sum of their weights.
    """

    step: int
    epoch: float
    loss: float
    count: float
    rate: float
    grad_norm: float
    rows: int
    tokens: int
    padded_tokens: int
    seconds: float


@dataclass(frozen=True, slots=True)
class Remembered(Example):
    """An example of an earlier stage that is learnt again; ``stage`` is its place in the sequence, from 0."""

    stage: int = 0

    @classmethod
    def of(cls, example: Example, stage: int) -> Remembered:
        values = {name: getattr(example, name) for name in Example.__dataclass_fields__}
        return cls(**values, stage=stage)


@dataclass(frozen=True, slots=True)
class Tagged(Encoded):
    """Tokens of a :class:`Remembered` example."""

    stage: int = 0

    @classmethod
    def of(cls, encoded: Encoded, stage: int) -> Tagged:
        values = {name: getattr(encoded, name) for name in Encoded.__dataclass_fields__}
        return cls(**values, stage=stage)

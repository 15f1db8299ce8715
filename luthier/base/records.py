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

    ``id`` is a hash of inputs and target, stable across files and runs. ``inputs`` is ``{"text": ...}`` for classify and
    ``{"messages": [{"role", "content"}, ...]}`` (all turns before the answer) for generate. ``target`` is the label or the
    answer; None where it is unknown. ``extra`` keeps the other columns, for slices and for the way back to the row.
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
    """Token ids of one example and, for each, whether the loss learns to predict it."""

    ids: tuple[int, ...]
    learn: tuple[bool, ...] = ()
    label: int | None = None

    def __len__(self) -> int:
        return len(self.ids)


@dataclass(frozen=True, slots=True)
class Prediction:
    """What a model says of one input: ``label`` and ``scores`` (classify), or ``text`` (generate).

    ``measured`` carries sums needed by metrics that no label or text can give, such as ``nll_sum`` (nats) and
    ``token_count`` of the true answer for perplexity.
    """

    label: str | None = None
    scores: Mapping[str, float] | None = None
    text: str | None = None
    finish: str | None = None
    measured: Mapping[str, float] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        """Return the public form: only what this objective predicts."""
        if self.label is not None:
            return {"label": self.label, "scores": {k: round(float(v), 6) for k, v in (self.scores or {}).items()}}
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

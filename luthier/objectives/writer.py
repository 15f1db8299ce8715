"""generate: which learner writes, by what the base model is."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from luthier.models.load import Base
from luthier.objectives.generate import Generator
from luthier.objectives.learner import Learner
from luthier.objectives.seq2seq import Seq2Seq
from luthier.spec.model import ModelSection


class Writer(Generator):
    """A decoder that writes answers (:class:`Generator`), or an encoder-decoder (:class:`Seq2Seq`)."""

    @classmethod
    def create(
        cls, base: Base, *, labels: tuple[str, ...] = (), model: ModelSection, known: Mapping[str, Any] | None = None
    ) -> Learner:
        kind = Seq2Seq if base.writes_from_encoder else Generator
        return kind.create(base, labels=labels, model=model, known=known)

    @classmethod
    def restore(cls, folder: Path, facts: Mapping[str, Any]) -> Learner:
        return (Seq2Seq if facts.get("seq2seq") else Generator).restore(folder, facts)

"""The one predictor: evaluation, search and serving all answer through it."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from luthier.base.errors import BundleError
from luthier.base.files import read_json, verify_manifest
from luthier.base.inputs import ONE_TEXT
from luthier.base.records import Encoded, Example, Prediction
from luthier.data.cleaning.clean import Cleaner
from luthier.models.load import device
from luthier.objectives import OBJECTIVES, Learner
from luthier.objectives.scope import Scope
from luthier.release.folder import bundle_folder
from luthier.release.refer import Rule

# Most padded tokens in one forward pass without gradients.
_MAX_TOKENS = 4096
_MAX_ROWS = 256
DEFAULT_NEW_TOKENS = 256


class Predictor:
    """A learner that answers: inputs in any order and number, predictions in the same order."""

    def __init__(self, learner: Learner, *, bundle_id: str = "unsaved", folder: Path | None = None,
                 facts: Mapping[str, Any] | None = None) -> None:  # fmt: skip
        self.learner = learner
        self.bundle_id = bundle_id
        self.folder = folder or Path()
        self.facts = dict(facts or {})
        self._lock = threading.Lock()
        self._rule = Rule.from_dict(self.facts.get("answering"))
        # What was cleaned out of the training texts is cleaned out of every question, by the same function.
        self._cleaner = Cleaner.from_dict(self.facts["clean"]) if self.facts.get("clean") else None

    @property
    def objective(self) -> str:
        return self.learner.objective

    @property
    def labels(self) -> tuple[str, ...]:
        return self.learner.labels

    @property
    def writes(self) -> bool:
        """Whether it answers by writing text."""
        return self.learner.writes

    @property
    def measures(self) -> bool:
        """Whether metrics need what it thinks of the true answer."""
        return self.learner.measures

    @property
    def answers(self) -> bool:
        """Whether it predicts something of an input alone."""
        return self.learner.answers

    @property
    def asked(self) -> bool:
        """Whether rows that judge it are answered, and not only measured."""
        return self.learner.answers and self.learner.asked

    @property
    def kind(self) -> str:
        return "decoder" if self.writes else "encoder"

    def predict(
        self, items: Sequence[str | Mapping[str, Any]], *, max_new_tokens: int | None = None
    ) -> list[Prediction]:
        """Answer texts (or ``Example.inputs`` mappings); neither order nor batch changes an answer.

        Args:
            max_new_tokens: longest generated answer, in tokens; half of the model's limit where that is less.
        """
        room = 0
        if self.learner.writes:
            room = min(max_new_tokens or DEFAULT_NEW_TOKENS, self.learner.max_tokens // 2)
        encoded = [self.learner.encode_input(self._cleaned(self.learner.inputs_of(item)), room=room) for item in items]
        with self._lock:
            self.learner.eval()
            found = _in_pieces(encoded, lambda piece: self.learner.answer(piece, max_new_tokens=room), extra=room)
        return self._settled(found)

    def measure(self, examples: Sequence[Example]) -> list[Prediction]:
        """Predict, or for a generator weigh the known answer of, each example. A row too long to weigh has no sums."""
        encoded = self.learner.encode_all([replace(e, inputs=self._cleaned(e.inputs)) for e in examples])
        fitting = [e for e in encoded if e is not None]
        with self._lock:
            self.learner.eval()
            found = iter(_in_pieces(fitting, self.learner.measure))
        predictions = [Prediction() if e is None else next(found) for e in encoded]
        return self._settled(predictions)

    def _settled(self, found: list[Prediction]) -> list[Prediction]:
        """Apply what was settled on the validation rows: what goes to a person, and what is of none of the labels."""
        ruled = self._rule.apply(found) if self._rule else found
        return self._scope.apply(ruled) if self._scope is not None else ruled

    @property
    def _scope(self) -> Scope | None:
        # A learner may get one after it was put in here.
        found: Scope | None = getattr(self.learner, "scope", None)
        return found

    @property
    def declines_as(self) -> str | None:
        """What it answers to a text of none of its labels; None where it never does."""
        return self._scope.name if self._scope is not None else None

    def finish(self, examples: Sequence[Example]) -> list[Prediction]:
        """Return for each known answer how much of its second half would be written once the first is given
        (:meth:`Generator.finish`); nothing of a row too long to weigh."""
        encoded = self.learner.encode_all([replace(e, inputs=self._cleaned(e.inputs)) for e in examples])
        with self._lock:
            self.learner.eval()
            found = iter(_in_pieces([e for e in encoded if e is not None], self.learner.finish))
        return [Prediction() if e is None else next(found) for e in encoded]

    def _cleaned(self, inputs: Mapping[str, Any]) -> Mapping[str, Any]:
        if self._cleaner is None:
            return inputs
        cleaned = self._cleaner.inputs(inputs)
        # What is nothing but tags or signatures is answered as it came.
        return cleaned if any(cleaned.get(name) for name in ("messages", *ONE_TEXT)) else inputs


def _in_pieces(encoded: Sequence[Encoded], answer: Any, *, extra: int = 0) -> list[Prediction]:
    order = sorted(range(len(encoded)), key=lambda i: -len(encoded[i]))
    results: list[Prediction | None] = [None] * len(encoded)
    piece: list[int] = []
    for index in [*order, -1]:
        full = bool(piece) and (
            index < 0 or (len(encoded[piece[0]]) + extra) * (len(piece) + 1) > _MAX_TOKENS or len(piece) >= _MAX_ROWS
        )
        if full:
            for place, prediction in zip(piece, answer([encoded[i] for i in piece]), strict=True):
                results[place] = prediction
            piece = []
        if index >= 0:
            piece.append(index)
    return [r for r in results if r is not None]


def load_predictor(folder: str | Path) -> Predictor:
    """Open a bundle, or the bundle of a run folder, after checking every file's hash.

    Raises:
        BundleError: missing, damaged, or of a newer format.
    """
    folder = bundle_folder(folder)
    manifest = verify_manifest(folder)
    facts = read_json(folder / "bundle.json")
    if facts.get("format") != 1 or facts.get("objective") not in OBJECTIVES:
        raise BundleError(
            f"this bundle's format ({facts.get('format')}, {facts.get('objective')}) is not known to this version",
            where=str(folder), mend="pip install --upgrade luthier",
        )  # fmt: skip
    learner = OBJECTIVES[facts["objective"]].restore(folder, facts["learner"])
    learner.to(device()).eval()
    return Predictor(learner, bundle_id=manifest["bundle_id"], folder=folder, facts=facts)

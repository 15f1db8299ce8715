"""What all routes share: the predictor, the ledger, the queue and the counters, and the one way to an answer."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from luthier.base.errors import Fault
from luthier.ledger.store import Ledger
from luthier.serve.batcher import Answer, Batcher
from luthier.serve.metrics import Metrics
from luthier.serve.refusals import Refusal
from luthier.spec.serve import ServeSection

if TYPE_CHECKING:
    from luthier.release.predictor import Predictor


@dataclass(frozen=True, slots=True)
class Service:
    """One model, one ledger, one queue."""

    predictor: Predictor
    ledger: Ledger
    settings: ServeSection
    metrics: Metrics
    batcher: Batcher

    @classmethod
    def start(cls, predictor: Predictor, ledger: Ledger, settings: ServeSection) -> Service:
        """Start the worker thread; :meth:`Batcher.close` ends it."""
        metrics = Metrics(bundle=predictor.bundle_id, objective=predictor.objective)
        batcher = Batcher(
            predictor, ledger, max_waiting=settings.max_waiting, max_batch=settings.max_batch, metrics=metrics
        )
        return cls(predictor, ledger, settings, metrics, batcher)

    async def answer(
        self, inputs: list[dict[str, Any]], places: list[str], *, max_new_tokens: int | None = None
    ) -> list[Answer]:
        """Check, queue, and wait; the answers are in the ledger when they come. ``places`` name the inputs in errors.

        Raises:
            Refusal: 422 for inputs that cannot be read, 503 where too many wait or the ledger cannot be written.
        """
        self._check(inputs, places)
        return await asyncio.wrap_future(self.batcher.submit(inputs, max_new_tokens=max_new_tokens))

    def _check(self, inputs: list[dict[str, Any]], places: list[str]) -> None:
        if len(inputs) > self.settings.max_batch:
            what = f"{len(inputs)} inputs are too many"
            raise Refusal(422, [Fault(what, "inputs", f"Send at most {self.settings.max_batch} in one request.")])
        rows = zip(inputs, places, strict=True)
        faults = [fault for values, place in rows if (fault := self._fault(values, place)) is not None]
        if faults:
            raise Refusal(422, faults)

    def _fault(self, values: Mapping[str, Any], place: str) -> Fault | None:
        turns = values.get("messages")
        if turns is not None and (not self.predictor.writes or self.predictor.objective == "text"):
            return Fault(
                f"a model for {self.predictor.objective} reads a text, not messages", place, 'Send {"text": "..."}.'
            )
        if turns is not None and turns[-1]["role"] not in ("user", "tool"):
            return Fault("the last turn is the assistant's or the system's", place, "End with the turn to be answered.")
        wanted = next((name for name in ("query", "user", "history") if name in values), None)
        if wanted is not None and self.predictor.objective != "rank":
            return Fault(f"a model for {self.predictor.objective} reads no {wanted}", place, 'Send {"text": "..."}.')
        if turns is not None:
            text = "".join(turn["content"] for turn in turns)
        else:
            value = values[wanted or "text"]
            text = "\n".join(value) if isinstance(value, list) else value
        if not text.strip():
            return Fault("the text is empty", place, "Send at least one character.")
        if len(text) > self.settings.max_chars:
            mend = f"At most {self.settings.max_chars:,} are accepted here (serve.max_chars)."
            return Fault(f"the input is {len(text):,} characters long", place, mend)
        return None

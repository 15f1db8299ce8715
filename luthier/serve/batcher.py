"""One worker thread runs the model: what waits meanwhile is the next micro-batch, recorded before it is answered."""

from __future__ import annotations

import logging
import math
import threading
import time
from collections import deque
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from luthier.base.errors import LuthierError
from luthier.base.records import Prediction
from luthier.ledger.entries import NewPrediction
from luthier.ledger.store import Ledger
from luthier.serve.metrics import Metrics
from luthier.serve.refusals import Refusal, refuse, status_of

if TYPE_CHECKING:
    from luthier.release.predictor import Predictor

log = logging.getLogger("luthier.serve")


@dataclass(frozen=True, slots=True)
class Answer:
    """One prediction that is in the ledger under ``prediction_id``."""

    prediction_id: str
    prediction: Prediction

    def as_dict(self) -> dict[str, Any]:
        return {"prediction_id": self.prediction_id, **self.prediction.as_dict()}


@dataclass(frozen=True, slots=True)
class _Job:
    inputs: Sequence[dict[str, Any]]
    max_new_tokens: int | None
    arrived: float = field(default_factory=time.perf_counter)
    future: Future[list[Answer]] = field(default_factory=Future)


class Batcher:
    """A bounded queue in front of the model.

    A batch is whatever waits when the model becomes free, so a lone request never waits for company and a crowd shares
    one forward pass and one commit. Answers do not depend on the company (the predictor's promise).
    """

    def __init__(
        self, predictor: Predictor, ledger: Ledger, *, max_waiting: int, max_batch: int, metrics: Metrics
    ) -> None:
        self._predictor = predictor
        self._ledger = ledger
        self._max_waiting = max_waiting
        self._max_batch = max_batch
        self._metrics = metrics
        self._waiting: deque[_Job] = deque()
        self._wake = threading.Condition()
        self._closed = False
        self._batch_s = 0.0
        self._thread = threading.Thread(target=self._work, name="luthier-model", daemon=True)
        self._thread.start()

    @property
    def waiting(self) -> int:
        """How many requests wait, the ones being answered not counted."""
        return len(self._waiting)

    @property
    def alive(self) -> bool:
        """Whether requests are still taken and answered."""
        return self._thread.is_alive() and not self._closed

    def submit(self, inputs: Sequence[dict[str, Any]], *, max_new_tokens: int | None = None) -> Future[list[Answer]]:
        """Queue one request. Raises Refusal (503) at once where too many wait already or the service is stopping."""
        job = _Job(inputs, max_new_tokens)
        with self._wake:
            if self._closed:
                raise refuse(503, "the service is stopping", mend="Try again in a moment.", retry_s=5)
            if len(self._waiting) >= self._max_waiting:
                what = f"{len(self._waiting)} requests are waiting already"
                raise refuse(503, what, mend="Try again after Retry-After seconds.", retry_s=self._retry_s())
            self._waiting.append(job)
            self._wake.notify()
        return job.future

    def close(self) -> None:
        """Take no more requests, answer those that wait, and return when the last one is done."""
        with self._wake:
            self._closed = True
            self._wake.notify()
        self._thread.join()

    def _retry_s(self) -> int:
        inputs = sum(len(job.inputs) for job in self._waiting)
        return min(60, max(1, math.ceil(self._batch_s * (inputs / self._max_batch + 1))))

    def _work(self) -> None:
        while jobs := self._next():
            started = time.perf_counter()
            self._answer([job for job in jobs if job.future.set_running_or_notify_cancel()])
            self._batch_s = 0.8 * self._batch_s + 0.2 * (time.perf_counter() - started)

    def _next(self) -> list[_Job]:
        """Wait for requests and take as many as fit one batch, in order; an empty list means the end."""
        with self._wake:
            while not self._waiting and not self._closed:
                self._wake.wait()
            jobs: list[_Job] = []
            room = self._max_batch
            while self._waiting and (not jobs or self._fits(self._waiting[0], jobs[0], room)):
                jobs.append(self._waiting.popleft())
                room -= len(jobs[-1].inputs)
            return jobs

    @staticmethod
    def _fits(job: _Job, first: _Job, room: int) -> bool:
        return len(job.inputs) <= room and job.max_new_tokens == first.max_new_tokens

    def _answer(self, jobs: Sequence[_Job]) -> None:
        if not jobs:
            return
        try:
            answers = self._predict(jobs)
        except Refusal as refusal:
            _fail(jobs, refusal)
        except Exception as error:  # Whatever the model raised: the thread must live on for the other requests.
            if len(jobs) == 1:
                _fail(jobs, error)
                return
            log.warning("a micro-batch of %d requests failed; each is tried alone", len(jobs))
            for job in jobs:
                self._answer([job])
        else:
            self._metrics.predictions([answer.prediction.label or "" for answer in answers])
            for job in jobs:
                job.future.set_result(answers[: len(job.inputs)])
                answers = answers[len(job.inputs) :]

    def _predict(self, jobs: Sequence[_Job]) -> list[Answer]:
        inputs = [values for job in jobs for values in job.inputs]
        arrived = [job.arrived for job in jobs for _ in job.inputs]
        predictions = self._predictor.predict(inputs, max_new_tokens=jobs[0].max_new_tokens)
        if len(predictions) != len(inputs):
            raise RuntimeError(f"the predictor gave {len(predictions)} answers to {len(inputs)} inputs")
        now = time.perf_counter()
        rows = [
            NewPrediction(
                self._predictor.objective, self._predictor.bundle_id, values, p.as_dict(), round((now - at) * 1000, 3)
            )
            for values, p, at in zip(inputs, predictions, arrived, strict=True)
        ]
        try:
            ids = self._ledger.add_predictions(rows)
        except LuthierError as error:
            # Nothing may leave that is not recorded, so the answer is withheld, not sent with an apology.
            log.error("the ledger could not be written: %s", error)
            raise Refusal(status_of(error), error.faults, headers={"Retry-After": "5"}) from error
        return [Answer(name, p) for name, p in zip(ids, predictions, strict=True)]


def _fail(jobs: Sequence[_Job], error: Exception) -> None:
    for job in jobs:
        job.future.set_exception(error)

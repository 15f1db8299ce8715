"""Counters of the service and their text form for Prometheus (exposition format 0.0.4)."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Collection, Iterator, Mapping

from starlette.types import ASGIApp, Message, Receive, Scope, Send

BUCKETS_S = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


class Metrics:
    """Thread-safe counters. Label values come from short known lists, so memory does not grow with traffic."""

    def __init__(self, *, bundle: str, objective: str) -> None:
        self._lock = threading.Lock()
        self._about = {"bundle": bundle, "objective": objective}
        self._requests: Counter[tuple[str, str, int]] = Counter()
        self._buckets: dict[str, list[int]] = {}
        self._sums: dict[str, float] = {}
        self._predictions: Counter[str] = Counter()
        self._feedback: Counter[str] = Counter()
        self._batches = 0

    def request(self, route: str, method: str, status: int, seconds: float) -> None:
        """Count one answered request."""
        with self._lock:
            self._requests[route, method, status] += 1
            self._sums[route] = self._sums.get(route, 0.0) + seconds
            slots = self._buckets.setdefault(route, [0] * (len(BUCKETS_S) + 1))
            slots[next((i for i, bound in enumerate(BUCKETS_S) if seconds <= bound), len(BUCKETS_S))] += 1

    def predictions(self, labels: Collection[str]) -> None:
        """Count the answers of one micro-batch by label (an empty one for generated texts)."""
        with self._lock:
            self._batches += 1
            self._predictions.update(labels)

    def feedback(self, kind: str) -> None:
        """Count one piece of feedback by what it gives: label, labels, grades, text, rating or comment."""
        with self._lock:
            self._feedback[kind] += 1

    def render(self, *, waiting: int) -> str:
        """Return all counters as text; ``waiting`` is the queue's length now."""
        with self._lock:
            return "\n".join([*self._lines(waiting), ""])

    def _lines(self, waiting: int) -> Iterator[str]:
        yield from _family("luthier_info", "gauge", "The bundle that answers.", [(self._about, 1)])
        by_request = [
            ({"route": r, "method": m, "status": str(s)}, n) for (r, m, s), n in sorted(self._requests.items())
        ]
        yield from _family("luthier_requests_total", "counter", "Requests by route, method and status.", by_request)
        yield "# HELP luthier_request_seconds Time from a request's head to its answer's end, by route."
        yield "# TYPE luthier_request_seconds histogram"
        for route, slots in sorted(self._buckets.items()):
            below = 0
            for bound, count in zip((*map(repr, BUCKETS_S), "+Inf"), slots, strict=True):
                below += count
                yield _sample("luthier_request_seconds_bucket", {"route": route, "le": bound}, below)
            yield _sample("luthier_request_seconds_sum", {"route": route}, round(self._sums[route], 6))
            yield _sample("luthier_request_seconds_count", {"route": route}, below)
        by_label = [({"label": label}, n) for label, n in sorted(self._predictions.items())]
        yield from _family("luthier_predictions_total", "counter", "Answers recorded and sent, by label.", by_label)
        yield from _family("luthier_batches_total", "counter", "Micro-batches the model ran.", [({}, self._batches)])
        yield from _family("luthier_queue_length", "gauge", "Requests waiting for the model.", [({}, waiting)])
        by_kind = [({"kind": kind}, n) for kind, n in sorted(self._feedback.items())]
        yield from _family("luthier_feedback_total", "counter", "Feedback by what it gives.", by_kind)


def _family(name: str, kind: str, words: str, samples: Collection[tuple[Mapping[str, str], float]]) -> Iterator[str]:
    yield f"# HELP {name} {words}"
    yield f"# TYPE {name} {kind}"
    for labels, value in samples:
        yield _sample(name, labels, value)


def _sample(name: str, labels: Mapping[str, str], value: float) -> str:
    inside = ",".join(f'{key}="{_escape(word)}"' for key, word in labels.items())
    return f"{name}{{{inside}}} {value}" if inside else f"{name} {value}"


def _escape(word: str) -> str:
    return word.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


class Measured:
    """ASGI layer outside all others: counts every request, the refused ones too."""

    def __init__(self, app: ASGIApp, *, metrics: Metrics, routes: Collection[str]) -> None:
        self._app = app
        self._metrics = metrics
        self._routes = frozenset(routes)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        # Paths and methods nobody serves are counted as one, or a scanner could fill the memory with names.
        route = scope["path"] if scope["path"] in self._routes else "other"
        method = scope["method"] if scope["method"] in ("GET", "POST") else "other"
        status = 500
        started = time.perf_counter()

        async def watched(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._app(scope, receive, watched)
        finally:
            self._metrics.request(route, method, status, time.perf_counter() - started)

"""A judge behind a real HTTP server on this machine: it judges by length, and fails in every way that a service can."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from chat_service import chat_service

Answer = Callable[[dict[str, Any]], Any]


def by_length(shown: dict[str, Any]) -> dict[str, Any]:
    """Mark an answer by its words, at most five, and prefer the longer of two."""
    if "answer" in shown:
        return {"reason": "words counted", "score": max(1, min(5, len(shown["answer"].split())))}
    first, second = len(shown["first"]), len(shown["second"])
    return {"reason": "length", "better": "tie" if first == second else "first" if first > second else "second"}


class JudgeService:
    """``answer`` is handed what the judge is shown; it gives the opinion, text, a status, bytes, or seconds to hang."""

    def __init__(self, answer: Answer = by_length) -> None:
        self.answer = answer
        self.bodies: list[dict[str, Any]] = []
        self.headers: list[dict[str, str]] = []
        self.lock = threading.Lock()
        self.url = ""

    @property
    def shown(self) -> list[dict[str, Any]]:
        return [json.loads(body["messages"][1]["content"]) for body in self.bodies]


@contextmanager
def judge_service(answer: Answer = by_length) -> Iterator[JudgeService]:
    """Serve on a free port of the loopback address until the block ends."""
    state = JudgeService(answer)

    def reply(body: dict[str, Any], path: str, headers: Mapping[str, str]) -> Any:
        with state.lock:
            state.bodies.append(body)
            state.headers.append(dict(headers))
            said = state.answer(json.loads(body["messages"][1]["content"]))
        return json.dumps(said) if isinstance(said, dict) else said

    with chat_service(reply) as state.url:
        yield state

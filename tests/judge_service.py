"""A judge behind a real HTTP server on this machine: it judges by length, and fails in every way that a service can."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

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

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            with state.lock:
                state.bodies.append(body)
                state.headers.append(dict(self.headers))
                said = state.answer(json.loads(body["messages"][1]["content"]))
            if isinstance(said, float):
                threading.Event().wait(said)
                said = "too late"
            status, sent = 200, b""
            if isinstance(said, int):
                status = said
            elif isinstance(said, bytes):
                sent = said
            else:
                text = said if isinstance(said, str) else json.dumps(said)
                choice = {"message": {"role": "assistant", "content": text}, "finish_reason": "stop"}
                sent = json.dumps({"choices": [choice], "usage": {"total_tokens": 10}}).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(sent)))
            self.end_headers()
            self.wfile.write(sent)

        def log_message(self, *args: Any) -> None:
            pass

        def handle(self) -> None:
            with suppress(OSError):  # the client may have gone away first
                super().handle()

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    state.url = f"http://127.0.0.1:{server.server_port}/v1"
    try:
        yield state
    finally:
        server.shutdown()
        server.server_close()

"""A chat service behind a real HTTP server on this machine, that answers as a test wants it, or fails in every way that a service can."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Reply = Callable[[dict[str, Any], str, Mapping[str, str]], Any]
_HEADERS = {429: {"Retry-After": "7"}, 307: {"Location": "/elsewhere"}}


def completion(text: Any, finish: str = "stop", **more: Any) -> dict[str, Any]:
    return {"choices": [{"message": {"role": "assistant", "content": text, **more}, "finish_reason": finish}],
            "usage": {"total_tokens": 7}}  # fmt: skip


@contextmanager
def chat_service(reply: Reply) -> Iterator[str]:
    """Serve on a free port of the loopback address until the block ends; yields the base URL.

    ``reply`` is handed body, path and headers and gives the text, the whole completion, a status, bytes, or seconds to hang.
    """

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            said = reply(body, self.path, dict(self.headers))
            if isinstance(said, float):
                threading.Event().wait(said)
                said = "too late"
            status = said if isinstance(said, int) else 200
            sent = b"" if isinstance(said, int) else said
            if not isinstance(sent, bytes):
                sent = json.dumps(said if isinstance(said, dict) else completion(said)).encode()
            self.send_response(status)
            for name, value in {**_HEADERS.get(status, {}), "Content-Length": str(len(sent))}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(sent)

        def log_message(self, *args: Any) -> None:
            pass

        def handle(self) -> None:
            with suppress(OSError):  # the client may have gone away first
                super().handle()

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/v1"
    finally:
        server.shutdown()
        server.server_close()

"""A service on a real socket, for tests that ask it over HTTP or in a browser."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import uvicorn

from luthier.ledger.store import Ledger
from luthier.serve.app import build_app
from luthier.serve.run import bound
from luthier.spec.serve import ServeSection


@contextmanager
def running(model: Any, folder: Path, *, api_key: str | None = None, **knobs: Any) -> Iterator[SimpleNamespace]:
    with Ledger(folder / "ledger.sqlite", busy_s=0.1) as ledger, bound("127.0.0.1", 0) as listener:
        app = build_app(model, ledger, ServeSection(**knobs), api_key=api_key)
        server = uvicorn.Server(uvicorn.Config(app, log_config=None, lifespan="on"))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        thread.start()
        while not server.started:
            time.sleep(0.005)
        try:
            with httpx.Client(base_url=url, timeout=30) as http:
                yield SimpleNamespace(http=http, url=url, ledger=ledger, app=app, model=model)
        finally:  # or a test that fails would leave a thread that pytest waits for for ever
            server.should_exit = True
            thread.join(30)
        assert not thread.is_alive()

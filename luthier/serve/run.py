"""Run the service: bind, say where it is, answer until asked to stop, and let answers in flight finish."""

from __future__ import annotations

import errno
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING

import uvicorn
from starlette.types import ASGIApp

from luthier.base.errors import Interrupted, LuthierError
from luthier.ledger.store import Ledger
from luthier.serve.access import check_binding
from luthier.serve.app import build_app
from luthier.spec.serve import ServeSection

if TYPE_CHECKING:
    from luthier.release.predictor import Predictor

STOP_S = 30


def serve(
    predictor: Predictor,
    settings: ServeSection,
    *,
    base: Path,
    api_key: str | None = None,
    on_ready: Callable[[str], None] | None = None,
) -> None:
    """Serve until SIGINT or SIGTERM.

    Args:
        base: the folder that a relative ``settings.ledger`` starts from.
        on_ready: called once with the real address, ``http://127.0.0.1:8321``, when requests are taken.
    Raises:
        LuthierError: the address cannot be used, or would be reachable without an API key.
        LedgerError, StorageError: the ledger cannot be opened.
        Interrupted: a signal came, and all answers in flight were sent (130 for SIGINT, 143 for SIGTERM).
    """
    check_binding(settings.host, api_key)
    with Ledger(base / Path(settings.ledger).expanduser()) as ledger, bound(settings.host, settings.port) as listener:
        app = build_app(predictor, ledger, settings, api_key=api_key)
        try:
            number = answer_until_stopped(app, listener, host=settings.host, on_ready=on_ready)
        finally:
            app.state.service.batcher.close()
    if number is not None:
        what = "stopped; every answer given is in the ledger."
        raise Interrupted(what, exit_code=128 + number)


def answer_until_stopped(
    app: ASGIApp, listener: socket.socket, *, host: str, on_ready: Callable[[str], None] | None = None
) -> int | None:
    """Answer requests on a bound socket until a signal comes; return its number, after answers in flight were sent.

    Args:
        on_ready: called once with the real address, ``http://127.0.0.1:8321``, when requests are taken.
    """
    config = uvicorn.Config(
        app,
        lifespan="on",
        log_config=None,
        access_log=False,
        server_header=False,
        # Nothing in front of us is trusted to say who asks; the Host header is checked as it came.
        proxy_headers=False,
        timeout_graceful_shutdown=STOP_S,
    )
    server = _Server(config, lambda: on_ready(_address(host, listener)) if on_ready else None)
    server.run(sockets=[listener])
    return server.signal


@contextmanager
def bound(host: str, port: int) -> Iterator[socket.socket]:
    """Yield a socket bound to an address. Raises LuthierError that says why it cannot be."""
    where = f"{host}:{port}"
    try:
        found = socket.getaddrinfo(host.strip("[]") or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except (OSError, UnicodeError):
        mend = "Set serve.host to an address of this machine, such as 127.0.0.1."
        raise LuthierError(f'"{host}" is not an address', where="serve.host", mend=mend) from None
    # "localhost" may come as ::1 first, where most clients and this project's own words say 127.0.0.1.
    family, kind, protocol, _, address = min(found, key=lambda entry: entry[0] != socket.AF_INET)
    with socket.socket(family, kind, protocol) as listener:
        # Without this a restart within a minute finds its own old connections on the port.
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind(address)
            # Listening now makes a port that is taken show here, and not later inside the server.
            listener.listen(2048)
        except (OSError, OverflowError) as error:
            raise _cannot_bind(error, where) from error
        yield listener


def _cannot_bind(error: Exception, where: str) -> LuthierError:
    code = getattr(error, "errno", None)
    if code == errno.EADDRINUSE:
        mend = "Stop the other program, or choose another with serve.port (0 takes a free one)."
        return LuthierError("this port is taken by another program", where=where, mend=mend)
    if code == errno.EACCES:
        return LuthierError("this port needs rights you do not have", where=where, mend="Choose one above 1023.")
    if code == errno.EADDRNOTAVAIL:
        mend = "Set serve.host to 127.0.0.1, or to an address of this machine."
        return LuthierError("this machine does not have that address", where=where, mend=mend)
    return LuthierError(f"this address cannot be used ({error})", where=where, mend="Set serve.host and serve.port.")


def _address(host: str, listener: socket.socket) -> str:
    name, port = listener.getsockname()[:2]
    shown = f"[{name}]" if ":" in name else name
    return f"http://{'localhost' if host == 'localhost' else shown}:{port}"


class _Server(uvicorn.Server):
    """Uvicorn that says when it is ready, and keeps the signal for its caller instead of raising it again."""

    def __init__(self, config: uvicorn.Config, ready: Callable[[], None]) -> None:
        super().__init__(config)
        self._ready = ready
        self.signal: int | None = None

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started:
            self._ready()

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        if threading.current_thread() is not threading.main_thread():
            yield  # Python sets signal handlers in the main thread only.
            return
        before = {number: signal.signal(number, self.handle_exit) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        self.signal = self.signal or sig
        super().handle_exit(sig, frame)

"""^C and SIGTERM: at once between steps of work, deferred while a step must end whole."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from luthier.base.errors import Interrupted

_MEND = "The same command goes on from there."


class Stopper:
    """Turns signals into :class:`Interrupted`; inside :meth:`deferred` it only notes them for :meth:`check`."""

    def __init__(self) -> None:
        self._pending: int | None = None
        self._deferring = False

    def handle(self, number: int, frame: FrameType | None) -> None:
        """Signal handler: raise now, or later when deferring; a second signal always raises now."""
        code = 128 + number
        if self._deferring and self._pending is None:
            self._pending = code
            return
        raise Interrupted(_said(code), exit_code=code, mend=_MEND)

    @property
    def pending(self) -> bool:
        """Whether a signal waits for :meth:`check`."""
        return self._pending is not None

    def check(self) -> None:
        """Raise what was deferred, if anything was."""
        if self._pending is not None:
            code, self._pending = self._pending, None
            raise Interrupted(_said(code), exit_code=code, mend=_MEND)

    @contextmanager
    def deferred(self) -> Iterator[None]:
        """Hold signals back until the caller asks with :meth:`check`."""
        self._deferring = True
        try:
            yield
        finally:
            self._deferring = False

    @contextmanager
    def at_once(self) -> Iterator[None]:
        """Inside :meth:`deferred`: raise at once again, while something is done that may be left half done."""
        self.check()
        before, self._deferring = self._deferring, False
        try:
            yield
        finally:
            self._deferring = before


def _said(code: int) -> str:
    return "interrupted; the state was saved." if code == 130 else "terminated; the state was saved."


@contextmanager
def stopping() -> Iterator[Stopper]:
    """Install a :class:`Stopper` for SIGINT and SIGTERM; outside the main thread it only stands by."""
    stopper = Stopper()
    if threading.current_thread() is not threading.main_thread():
        yield stopper
        return
    numbers = (signal.SIGINT, signal.SIGTERM)
    before = {number: signal.signal(number, stopper.handle) for number in numbers}
    try:
        yield stopper
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)

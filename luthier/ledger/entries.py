"""The ledger's nouns: a prediction to be written, a prediction as kept, and what somebody said of it."""

from __future__ import annotations

import secrets
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from luthier.base.errors import LedgerError


@dataclass(frozen=True, slots=True)
class NewPrediction:
    """One answer about to leave: ``inputs`` as an ``Example`` has them, ``output`` as it is sent."""

    objective: str
    bundle: str
    inputs: Mapping[str, Any]
    output: Mapping[str, Any]
    latency_ms: float


@dataclass(frozen=True, slots=True)
class KeptPrediction:
    """One answer as the ledger keeps it; ``at`` is UTC, ``2026-01-31T09:05:00.123Z``."""

    id: str
    at: str
    objective: str
    bundle: str
    inputs: Mapping[str, Any]
    output: Mapping[str, Any]
    latency_ms: float


@dataclass(frozen=True, slots=True)
class Feedback:
    """What somebody (``by``) said of one prediction: the right label or text, a rating (-1 or 1), a comment.

    Of sets of labels and of scores ``text`` is the right answer as :func:`luthier.ledger.answers.written` writes it.
    """

    id: str
    prediction_id: str
    at: str
    label: str | None = None
    text: str | None = None
    rating: int | None = None
    comment: str | None = None
    by: str | None = None


class UnknownPrediction(LedgerError):
    """No prediction of that id was ever recorded here."""


class IdMaker:
    """Make ids that sort by time: 12 hex digits of milliseconds, 4 of a counter, 16 random (as UUID version 7 does).

    Within one process every id is greater than the one before, even when the clock is set back.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._last = 0

    def __call__(self) -> str:
        with self._lock:
            self._last = max(int(time.time() * 1000) << 16, self._last + 1)
            return f"{self._last:016x}{secrets.token_hex(8)}"


def now() -> str:
    """Return the time as the ledger writes it: UTC, milliseconds, one width, so that text order is time order."""
    return _write(datetime.now(UTC))


def moment(text: str) -> str:
    """Read a date or time of ISO 8601 (no zone means UTC) and return it as the ledger writes it.

    Raises:
        LedgerError: it is not a date.
    """
    try:
        at = datetime.fromisoformat(text.strip())
        return _write(at.replace(tzinfo=UTC) if at.tzinfo is None else at.astimezone(UTC))
    except (ValueError, OverflowError):
        raise LedgerError(
            f'"{text}" is not a date', where="since", mend='Write it as "2026-01-31" or "2026-01-31T09:00:00+01:00".'
        ) from None


def _write(at: datetime) -> str:
    return f"{at.replace(tzinfo=None).isoformat(timespec='milliseconds')}Z"

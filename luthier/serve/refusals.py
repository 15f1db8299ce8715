"""What the service says when it cannot answer: one JSON shape for all routes, readable by people and OpenAI clients."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from fastapi import FastAPI, Request
from fastapi.responses import Response
from starlette.exceptions import HTTPException

from luthier.base.errors import MAX_FAULTS_SHOWN, Fault, LedgerError, LuthierError, StorageError, did_you_mean

log = logging.getLogger("luthier.serve")

_TYPES = {401: "authentication_error", 403: "permission_error", 500: "server_error", 503: "server_error"}


class Refusal(Exception):
    """An answer that is not given: an HTTP ``status`` and the faults that say what, where and how to mend."""

    def __init__(
        self, status: int, faults: Sequence[Fault], *, code: str | None = None, headers: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(str(faults[0]))
        self.status = status
        self.faults = tuple(faults)
        self.code = code
        self.headers = dict(headers or {})


def refuse(
    status: int, what: str, *, where: str = "", mend: str = "", code: str | None = None, retry_s: int | None = None
) -> Refusal:
    """Make a refusal of one fault; ``retry_s`` is sent as Retry-After (seconds)."""
    headers = {} if retry_s is None else {"Retry-After": str(retry_s)}
    return Refusal(status, [Fault(what, where, mend)], code=code, headers=headers)


def error_body(status: int, faults: Sequence[Fault], *, code: str | None = None) -> dict[str, Any]:
    """Return ``{"error": {...}}``: OpenAI's message, type, param and code, and our what, where, mend and faults."""
    first = faults[0]
    return {
        "error": {
            "message": " ".join(_sentence(fault) for fault in faults[:MAX_FAULTS_SHOWN]),
            "type": _TYPES.get(status, "invalid_request_error"),
            "param": first.where or None,
            "code": code,
            **first.as_dict(),
            "faults": [fault.as_dict() for fault in faults[:MAX_FAULTS_SHOWN]],
        }
    }


def _sentence(fault: Fault) -> str:
    """Write a fault as one would say it: the two halves of it stand side by side here, on one line."""
    end = "" if fault.what.endswith((".", "?", "!", ":")) else "."
    return str(replace(fault, what=f"{fault.what}{end}"))


def answer_refusal(refusal: Refusal) -> Response:
    """Return the response a refusal stands for."""
    text = json.dumps(error_body(refusal.status, refusal.faults, code=refusal.code), ensure_ascii=False)
    # A fault may quote what was sent, half a surrogate pair too; the replacement is that character's escape in JSON.
    body = text.encode("utf-8", "backslashreplace")
    return Response(body, refusal.status, headers=refusal.headers, media_type="application/json")


def status_of(error: LuthierError) -> int:
    """Return 503 for what is no fault of the asking side (the ledger, the disk), 422 for the rest."""
    return 503 if isinstance(error, LedgerError | StorageError) else 422


def install(app: FastAPI, routes: Sequence[str]) -> None:
    """Make every error of ``app`` speak the one shape; ``routes`` are offered when a path is mistyped."""

    async def refused(request: Request, error: Exception) -> Response:
        assert isinstance(error, Refusal)
        return answer_refusal(error)

    async def ours(request: Request, error: Exception) -> Response:
        assert isinstance(error, LuthierError)
        return answer_refusal(Refusal(status_of(error), error.faults))

    async def by_status(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        path = request.url.path
        what, mend = str(error.detail), ""
        if error.status_code == 404:
            what = f"there is nothing at {path[:200]}"
            mend = did_you_mean(path[:200], routes) or f"There are: {', '.join(routes)}."
        elif error.status_code == 405:
            what = f"{path} does not take {request.method}"
            mend = f"It takes {(error.headers or {}).get('Allow', 'another method')}."
        return answer_refusal(
            Refusal(error.status_code, [Fault(what, "path", mend)], headers=dict(error.headers or {}))
        )

    async def bug(request: Request, error: Exception) -> Response:
        # The traceback goes to the log, where the operator is; a caller learns nothing of our insides from it.
        log.error("a request to %s failed", request.url.path, exc_info=error)
        fault = Fault("this is a fault of the service, not of the request", "", "The service's log says more.")
        return answer_refusal(Refusal(500, [fault]))

    app.add_exception_handler(Refusal, refused)
    app.add_exception_handler(LuthierError, ours)
    app.add_exception_handler(HTTPException, by_status)
    app.add_exception_handler(Exception, bug)

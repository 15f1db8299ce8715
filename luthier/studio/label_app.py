"""The labelling page's application: a page, and five small routes that it calls."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI, Request
from fastapi.responses import HTMLResponse, JSONResponse, Response
from starlette.concurrency import run_in_threadpool

import luthier
from luthier.labelling.desk import Desk
from luthier.serve.access import Access
from luthier.serve.border import read_message
from luthier.serve.refusals import install
from luthier.studio.label_messages import AnswerRequest, LabelRequest, Visit, row_of
from luthier.studio.label_page import page

ROUTES = ("/", "/healthz", "/api/next", "/api/answer", "/api/undo", "/api/labels", "/api/progress")
_BODY_BYTES = 64 << 10


def build_label_app(desk: Desk, *, by: str, title: str, host: str, api_key: str | None = None) -> FastAPI:
    """Build the application around one desk.

    Args:
        by: the name a person has until another is typed.
        title: what is labelled, shown at the top.
    """
    app = FastAPI(title="Luthier labelling", version=luthier.__version__, docs_url=None, redoc_url=None, openapi_url=None,
                  redirect_slashes=False)  # fmt: skip
    install(app, ROUTES)
    _add_page(app, desk, by=by, title=title)
    _add_rows(app, desk)
    _add_labels(app, desk)
    app.add_middleware(Access, host=host, api_key=api_key)
    return app


def _add_page(app: FastAPI, desk: Desk, *, by: str, title: str) -> None:
    html, policy = page(by=by, title=title, out=desk.store.path.name, blind=desk.blind)
    headers = {"Content-Security-Policy": policy, "X-Content-Type-Options": "nosniff", "Referrer-Policy": "no-referrer",
               "Cache-Control": "no-store"}  # fmt: skip

    @app.get("/")
    async def index() -> Response:
        return HTMLResponse(html, headers=headers)

    @app.get("/healthz")
    async def healthz() -> JSONResponse:
        """Say that the process lives."""
        return JSONResponse({"status": "ok"})


def _add_rows(app: FastAPI, desk: Desk) -> None:
    @app.post("/api/next")
    async def next_row(request: Request) -> JSONResponse:
        """Give a person the next row; the same one until it is answered."""
        visit = await read_message(request, Visit, limit=_BODY_BYTES)
        asked = await run_in_threadpool(desk.ask, visit.by, visit.session)
        return await _answer(desk, visit, row=row_of(asked))

    @app.post("/api/answer")
    async def answer(request: Request) -> JSONResponse:
        """Write down what was said of a row, and give the next; it is on disk when the answer comes."""
        said = await read_message(request, AnswerRequest, limit=_BODY_BYTES)
        event = await run_in_threadpool(
            lambda: desk.say(
                said.by, said.session, said.id, said.kind, label=said.label, note=said.note.strip(), seconds=said.seconds,
                suggestion=said.suggestion, probability=said.probability, chosen=said.chosen,
            )
        )  # fmt: skip
        asked = await run_in_threadpool(desk.ask, said.by, said.session)
        return await _answer(desk, said, row=row_of(asked), kept=event["n"])

    @app.post("/api/undo")
    async def undo(request: Request) -> JSONResponse:
        """Take a person's last answer back, and show that row again."""
        visit = await read_message(request, Visit, limit=_BODY_BYTES)
        asked = await run_in_threadpool(desk.take_back, visit.by, visit.session)
        undone = asked is not None
        asked = asked or await run_in_threadpool(desk.ask, visit.by, visit.session)
        return await _answer(desk, visit, row=row_of(asked), undone=undone)


def _add_labels(app: FastAPI, desk: Desk) -> None:
    @app.post("/api/labels", status_code=201)
    async def add(request: Request) -> JSONResponse:
        """Add a label to choose from."""
        wanted = await read_message(request, LabelRequest, limit=_BODY_BYTES)
        await run_in_threadpool(desk.add_label, wanted.by, wanted.label)
        return await _answer(desk, wanted, status=201)

    @app.post("/api/progress")
    async def progress(request: Request) -> JSONResponse:
        """Give counts, the course of accuracy, and whether more labels still help."""
        visit = await read_message(request, Visit, limit=_BODY_BYTES)
        return await _answer(desk, visit)


async def _answer(desk: Desk, visit: Visit, *, status: int = 200, **more: Any) -> JSONResponse:
    known = await run_in_threadpool(desk.progress, visit.by)
    return JSONResponse({**more, "progress": known}, status_code=status)

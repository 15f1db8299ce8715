"""The application: routes of our own, OpenAI's routes, the page, and the layers around them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from fastapi import FastAPI, Request
from fastapi.openapi.utils import get_openapi
from fastapi.responses import HTMLResponse, JSONResponse, PlainTextResponse, Response
from pydantic import BaseModel
from pydantic.json_schema import models_json_schema
from starlette.concurrency import run_in_threadpool

import luthier
from luthier.base.errors import Fault, LuthierError
from luthier.ledger.entries import UnknownPrediction
from luthier.ledger.store import Ledger
from luthier.serve.access import Access
from luthier.serve.border import body_limit, read_message
from luthier.serve.feedback import content_of, faults_of
from luthier.serve.messages import ANSWERS, ChatRequest, CompletionRequest, FeedbackRequest, PredictRequest, to_inputs
from luthier.serve.metrics import CONTENT_TYPE, Measured
from luthier.serve.openai_routes import add_openai_routes
from luthier.serve.page import page
from luthier.serve.refusals import Refusal, install, refuse
from luthier.serve.service import Service
from luthier.spec.serve import ServeSection

if TYPE_CHECKING:
    from luthier.release.predictor import Predictor

ROUTES = (
    "/",
    "/healthz",
    "/readyz",
    "/metrics",
    "/openapi.json",
    "/v1/predict",
    "/v1/feedback",
    "/v1/models",
    "/v1/chat/completions",
    "/v1/completions",
)
_BODIES = (PredictRequest, FeedbackRequest, ChatRequest, CompletionRequest)


def build_app(predictor: Predictor, ledger: Ledger, settings: ServeSection, *, api_key: str | None = None) -> FastAPI:
    """Build the application around one model and one ledger.

    The model's thread starts here and ends with the application's lifespan; the ledger stays the caller's to close.
    """
    service = Service.start(predictor, ledger, settings)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        yield
        await run_in_threadpool(service.batcher.close)

    # FastAPI's documentation pages load scripts from a foreign address, so they are off; openapi.json stays.
    app = FastAPI(
        title="Luthier",
        version=luthier.__version__,
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
    )
    app.state.service = service
    install(app, ROUTES)
    _add_health(app, service)
    _add_predict(app, service)
    _add_feedback(app, service)
    _add_page(app, service)
    add_openai_routes(app, service, _schema)
    app.openapi = lambda: _openapi(app)  # type: ignore[method-assign]
    # The layer added last is outermost: all requests are counted, also those that access refuses.
    app.add_middleware(Access, host=settings.host, api_key=api_key)
    app.add_middleware(Measured, metrics=service.metrics, routes=ROUTES)
    return app


def _add_health(app: FastAPI, service: Service) -> None:
    @app.get("/healthz", tags=["health"])
    async def healthz() -> JSONResponse:
        """Say that the process lives."""
        return JSONResponse({"status": "ok"})

    @app.get("/readyz", tags=["health"])
    async def readyz() -> JSONResponse:
        """Say whether a prediction could be answered now: the model runs and the ledger can be written."""
        if not service.batcher.alive:
            raise refuse(503, "the model's thread has ended", mend="Restart the service.")
        try:
            await run_in_threadpool(service.ledger.check_writable)
        except LuthierError as error:
            raise Refusal(503, error.faults) from error
        return JSONResponse({"status": "ready", "bundle": service.predictor.bundle_id})

    @app.get("/metrics", tags=["health"])
    async def metrics() -> PlainTextResponse:
        """Give the counters in Prometheus' text form."""
        return PlainTextResponse(service.metrics.render(waiting=service.batcher.waiting), media_type=CONTENT_TYPE)


def _add_predict(app: FastAPI, service: Service) -> None:
    limit = body_limit(service.settings)

    @app.post("/v1/predict", tags=["predict"], openapi_extra=_schema(PredictRequest))
    async def predict(request: Request) -> JSONResponse:
        """Predict one input or several; each answer carries the prediction_id that feedback refers to."""
        asked = await read_message(request, PredictRequest, limit=limit)
        if asked.max_new_tokens is not None and not service.predictor.writes:
            mend = "Leave it out."
            raise refuse(
                422,
                f"a model that does not write ({service.predictor.objective}) makes no tokens",
                where="max_new_tokens",
                mend=mend,
            )
        items = [asked.input] if asked.input is not None else asked.inputs or []
        places = ["input"] if asked.input is not None else [f"inputs[{i}]" for i in range(len(items))]
        inputs = [to_inputs(item) for item in items]
        answers = await service.answer(inputs, places, max_new_tokens=asked.max_new_tokens)
        return JSONResponse({"bundle": service.predictor.bundle_id, "predictions": [a.as_dict() for a in answers]})


def _add_feedback(app: FastAPI, service: Service) -> None:
    limit = body_limit(service.settings)

    @app.post("/v1/feedback", tags=["predict"], status_code=201, openapi_extra=_schema(FeedbackRequest))
    async def feedback(request: Request) -> JSONResponse:
        """Append what would have been right (label, labels, grades, sentences, items or text), or a rating: 1 for right, -1 for wrong."""
        said = await read_message(request, FeedbackRequest, limit=limit)
        try:
            kept = await run_in_threadpool(service.ledger.get, said.prediction_id)
        except UnknownPrediction as error:
            raise Refusal(404, [Fault(error.faults[0].what, "prediction_id", error.faults[0].mend)]) from error
        faults = faults_of(said, kept, service.predictor, max_chars=service.settings.max_chars)
        if faults:
            raise Refusal(422, faults)
        content = content_of(said, kept, service.predictor)
        feedback_id = await run_in_threadpool(
            lambda: service.ledger.add_feedback(kept.id, **content, rating=said.rating, comment=said.comment, by=said.by)
        )
        kind = next(kind for kind in (*ANSWERS, "rating", "comment") if getattr(said, kind) is not None)
        service.metrics.feedback(kind)
        return JSONResponse({"feedback_id": feedback_id}, status_code=201)


def _add_page(app: FastAPI, service: Service) -> None:
    html, policy = page(bundle=service.predictor.bundle_id, objective=service.predictor.objective)
    headers = {"Content-Security-Policy": policy, "X-Content-Type-Options": "nosniff", "Referrer-Policy": "no-referrer"}

    @app.get("/", include_in_schema=False)
    async def index() -> Response:
        return HTMLResponse(html, headers=headers)


def _schema(kind: type[BaseModel]) -> dict[str, Any]:
    """Describe a body for openapi.json; the routes read bodies themselves, to hold limits while reading."""
    reference = {"$ref": f"#/components/schemas/{kind.__name__}"}
    return {"requestBody": {"required": True, "content": {"application/json": {"schema": reference}}}}


def _openapi(app: FastAPI) -> dict[str, Any]:
    if app.openapi_schema is None:
        whole = get_openapi(title=app.title, version=app.version, routes=app.routes)
        _, models = models_json_schema(
            [(kind, "validation") for kind in _BODIES], ref_template="#/components/schemas/{model}"
        )
        whole.setdefault("components", {}).setdefault("schemas", {}).update(models["$defs"])
        app.openapi_schema = whole
    return app.openapi_schema

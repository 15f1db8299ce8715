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
from luthier.base.errors import Fault, LuthierError, did_you_mean
from luthier.ledger.entries import KeptPrediction, UnknownPrediction
from luthier.ledger.store import Ledger
from luthier.serve.access import Access
from luthier.serve.border import body_limit, read_message
from luthier.serve.messages import ChatRequest, CompletionRequest, FeedbackRequest, PredictRequest, to_inputs
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
        """Append what would have been right (label or text), or a rating: 1 for right, -1 for wrong."""
        said = await read_message(request, FeedbackRequest, limit=limit)
        try:
            kept = await run_in_threadpool(service.ledger.get, said.prediction_id)
        except UnknownPrediction as error:
            raise Refusal(404, [Fault(error.faults[0].what, "prediction_id", error.faults[0].mend)]) from error
        faults = _feedback_faults(said, kept, service)
        if faults:
            raise Refusal(422, faults)
        label = said.label.strip() if said.label is not None else None
        feedback_id = await run_in_threadpool(
            lambda: service.ledger.add_feedback(
                kept.id, label=label, text=said.text, rating=said.rating, comment=said.comment, by=said.by
            )
        )
        kind = next(kind for kind in ("label", "text", "rating", "comment") if getattr(said, kind) is not None)
        service.metrics.feedback(kind)
        return JSONResponse({"feedback_id": feedback_id}, status_code=201)


def _feedback_faults(said: FeedbackRequest, kept: KeptPrediction, service: Service) -> list[Fault]:
    faults = []
    for name, content in (("text", said.text), ("comment", said.comment)):
        if content is not None and len(content) > service.settings.max_chars:
            mend = f"At most {service.settings.max_chars:,} are accepted here (serve.max_chars)."
            faults.append(Fault(f"it is {len(content):,} characters long", name, mend))
    if said.text is not None and kept.objective == "classify":
        faults.append(Fault("a classifier's answer is a label, not a text", "text", "Send the right label instead."))
    elif said.text is not None and not said.text.strip():
        faults.append(Fault("the text is empty", "text", "Send the right answer, or a rating."))
    if said.label is not None and kept.objective != "classify":
        faults.append(
            Fault("this prediction is no single label", "label", "Send the right text, a rating or a comment.")
        )
    elif said.label is not None:
        faults += _label_faults(said.label.strip(), said.new_label, kept, service)
    return faults


def _label_faults(label: str, new: bool, kept: KeptPrediction, service: Service) -> list[Fault]:
    # A prediction of an earlier bundle may have had labels that the present one has not.
    declined = [name for name in (service.predictor.declines_as,) if name is not None]
    known = sorted({*service.predictor.labels, *declined, *(kept.output.get("scores") or {})})
    if label in known:
        return []
    if not label or not label.isprintable():
        return [Fault("a label is a short printable text", "label", f"Known: {', '.join(known)}.")]
    if new:
        return []
    mend = f'{did_you_mean(label, known)} Known: {", ".join(known)}. For a new one add "new_label": true.'
    return [Fault(f'the model does not know the label "{label}"', "label", mend.strip())]


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

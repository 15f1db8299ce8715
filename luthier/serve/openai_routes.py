"""The routes OpenAI's clients know: models, chat completions, completions (plain and streamed)."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, Response, StreamingResponse

from luthier.base.errors import Fault
from luthier.serve.batcher import Answer
from luthier.serve.border import body_limit, read_message
from luthier.serve.messages import ChatRequest, CompletionRequest
from luthier.serve.refusals import Refusal, refuse
from luthier.serve.service import Service

ANY_MODEL = "luthier"
# What these ask for would change the answer's shape or meaning, so passing over them in silence would be a lie.
# Sampling settings (temperature, top_p, seed, penalties) are accepted and do nothing: the answer is the likeliest one.
_HARMLESS: dict[str, tuple[Any, ...]] = {
    "n": (None, 1),
    "best_of": (None, 1),
    "echo": (None, False),
    "suffix": (None, ""),
    "stop": (None, []),
    "logprobs": (None, False, 0),
    "top_logprobs": (None, 0),
    "tools": (None, []),
    "tool_choice": (None, "none", "auto"),
    "functions": (None, []),
    "function_call": (None, "none", "auto"),
    "response_format": (None, {"type": "text"}),
    "modalities": (None, ["text"]),
    "audio": (None,),
}


def add_openai_routes(app: FastAPI, service: Service, schema: Any) -> None:
    """Add the three routes; ``schema(kind)`` describes a body for openapi.json."""
    limit = body_limit(service.settings)
    started = int(time.time())

    @app.get("/v1/models", tags=["openai"])
    async def models() -> JSONResponse:
        """Name the one model that answers here."""
        model = {"id": service.predictor.bundle_id, "object": "model", "created": started, "owned_by": "luthier"}
        return JSONResponse({"object": "list", "data": [model]})

    @app.post("/v1/chat/completions", tags=["openai"], openapi_extra=schema(ChatRequest))
    async def chat(request: Request) -> Response:
        """Answer a conversation. ``stream`` sends the whole text in one delta, then the finish, then ``[DONE]``."""
        _only_generates(service, chat=True)
        asked = await read_message(request, ChatRequest, limit=limit)
        _check(asked, service)
        longest = asked.max_completion_tokens or asked.max_tokens
        inputs = [{"messages": [turn.plain() for turn in asked.messages]}]
        answers = await service.answer(inputs, ["messages"], max_new_tokens=longest)
        return _respond(_chat_shape(answers, service), _chat_chunks, asked.stream, asked.stream_options)

    @app.post("/v1/completions", tags=["openai"], openapi_extra=schema(CompletionRequest))
    async def completions(request: Request) -> Response:
        """Answer one prompt or several; each is one choice, in order."""
        _only_generates(service)
        asked = await read_message(request, CompletionRequest, limit=limit)
        _check(asked, service)
        prompts = [asked.prompt] if isinstance(asked.prompt, str) else asked.prompt
        if not prompts:
            raise refuse(422, "the list of prompts is empty", where="prompt", mend="Send at least one.")
        places = [f"prompt[{i}]" for i in range(len(prompts))]
        answers = await service.answer([{"text": p} for p in prompts], places, max_new_tokens=asked.max_tokens)
        return _respond(_text_shape(answers, service), _text_chunks, asked.stream, asked.stream_options)


def _only_generates(service: Service, *, chat: bool = False) -> None:
    objective = service.predictor.objective
    if chat and objective == "text":
        what, mend = "this model goes on with a text and knows no turns", "Send the text to POST /v1/completions."
        raise refuse(400, what, where="model", mend=mend, code="model_does_not_chat")
    if not service.predictor.writes:
        what = f"this model is a {objective} model and writes no text"
        mend = "Send its inputs to POST /v1/predict."
        raise refuse(400, what, where="model", mend=mend, code="model_does_not_generate")


def _check(asked: ChatRequest | CompletionRequest, service: Service) -> None:
    known = (service.predictor.bundle_id, ANY_MODEL)
    if asked.model is not None and asked.model not in known:
        what = f'there is no model "{asked.model[:80]}" here'
        mend = f'Use "{known[0]}", "{ANY_MODEL}", or leave model out.'
        raise refuse(404, what, where="model", mend=mend, code="model_not_found")
    extra = asked.model_extra or {}
    faults = [
        Fault(f'"{name}" is not supported', name, "Leave it out.")
        for name, harmless in _HARMLESS.items()
        if name in extra and not any(_same(extra[name], value) for value in harmless)
    ]
    if faults:
        raise Refusal(400, faults, code="unsupported_parameter")


def _same(given: Any, value: Any) -> bool:
    # In Python 1 == True, and "n": true is not what "n": 1 is.
    return type(given) is type(value) and given == value


def _usage(answers: Sequence[Answer]) -> dict[str, int] | None:
    """Sum the tokens that the predictor measured; None where it measured none, which OpenAI's clients allow."""
    totals = []
    for name in ("prompt_tokens", "made_tokens"):
        counts = [answer.prediction.measured.get(name) for answer in answers]
        if any(count is None for count in counts):
            return None
        totals.append(int(sum(count for count in counts if count is not None)))
    return {"prompt_tokens": totals[0], "completion_tokens": totals[1], "total_tokens": sum(totals)}


def _finish(answer: Answer) -> str:
    return "length" if answer.prediction.finish == "length" else "stop"


def _head(prefix: str, kind: str, answers: Sequence[Answer], service: Service) -> dict[str, Any]:
    return {
        "id": f"{prefix}-{answers[0].prediction_id}",
        "object": kind,
        "created": int(time.time()),
        "model": service.predictor.bundle_id,
    }


def _chat_shape(answers: Sequence[Answer], service: Service) -> dict[str, Any]:
    choices = [
        {
            "index": i,
            "message": {"role": "assistant", "content": a.prediction.text or "", "refusal": None},
            "logprobs": None,
            "finish_reason": _finish(a),
            "prediction_id": a.prediction_id,
        }
        for i, a in enumerate(answers)
    ]
    return {**_head("chatcmpl", "chat.completion", answers, service), "choices": choices, "usage": _usage(answers)}


def _text_shape(answers: Sequence[Answer], service: Service) -> dict[str, Any]:
    choices = [
        {
            "index": i,
            "text": a.prediction.text or "",
            "logprobs": None,
            "finish_reason": _finish(a),
            "prediction_id": a.prediction_id,
        }
        for i, a in enumerate(answers)
    ]
    return {**_head("cmpl", "text_completion", answers, service), "choices": choices, "usage": _usage(answers)}


def _respond(whole: dict[str, Any], chunks: Any, stream: bool | None, options: Mapping[str, Any] | None) -> Response:
    if not stream:
        return JSONResponse(whole)
    with_usage = bool((options or {}).get("include_usage"))
    lines = [*chunks(whole)]
    if with_usage:
        lines.append({**lines[-1], "choices": [], "usage": whole["usage"]})
    events = [f"data: {json.dumps(line, ensure_ascii=False)}\n\n" for line in lines] + ["data: [DONE]\n\n"]
    return StreamingResponse(iter(events), media_type="text/event-stream", headers={"Cache-Control": "no-store"})


def _chat_chunks(whole: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Give the text whole in the first chunk: it was recorded before it left, so nothing is left to trickle."""
    head = {**{k: whole[k] for k in ("id", "created", "model")}, "object": "chat.completion.chunk"}
    for choice in whole["choices"]:
        delta = {"role": "assistant", "content": choice["message"]["content"]}
        yield {**head, "choices": [{**_bare(choice), "delta": delta, "finish_reason": None}]}
        yield {**head, "choices": [{**_bare(choice), "delta": {}}]}


def _text_chunks(whole: dict[str, Any]) -> Iterator[dict[str, Any]]:
    head = {k: whole[k] for k in ("id", "object", "created", "model")}
    for choice in whole["choices"]:
        yield {**head, "choices": [{**choice, "finish_reason": None}]}
        yield {**head, "choices": [{**choice, "text": ""}]}


def _bare(choice: Mapping[str, Any]) -> dict[str, Any]:
    return {k: v for k, v in choice.items() if k != "message"}

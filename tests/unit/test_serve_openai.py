"""OpenAI's routes: shapes, usage, finish reasons, streams and errors as its clients expect them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from serve_keywords import EchoModel, KeywordModel
from test_serve_app import error_of, running


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SimpleNamespace]:
    with running(EchoModel(), tmp_path_factory.mktemp("openai")) as started:
        yield started


def ask(service: SimpleNamespace, text: str = "say it loud", **more: Any) -> Any:
    turns = [{"role": "user", "content": text}]
    return service.http.post("/v1/chat/completions", json={"messages": turns, **more})


def events(text: str) -> list[Any]:
    lines = [line for line in text.split("\n\n") if line]
    assert all(line.startswith("data: ") for line in lines)
    assert lines[-1] == "data: [DONE]"
    return [json.loads(line.removeprefix("data: ")) for line in lines[:-1]]


def test_a_chat_completion_has_openais_shape(service: SimpleNamespace) -> None:
    body = ask(service, model="echo7", temperature=0.7, seed=1, user="u").json()
    (choice,) = body["choices"]
    assert body["object"] == "chat.completion"
    assert body["model"] == "echo7"
    assert isinstance(body["created"], int)
    assert choice["message"] == {"role": "assistant", "content": "SAY IT LOUD", "refusal": None}
    assert choice["finish_reason"] == "stop"
    assert body["usage"] == {"prompt_tokens": 3, "completion_tokens": 3, "total_tokens": 6}
    assert body["id"] == f"chatcmpl-{choice['prediction_id']}"
    kept = service.ledger.get(choice["prediction_id"])
    assert kept.inputs == {"messages": [{"role": "user", "content": "say it loud"}]}
    assert kept.output["text"] == "SAY IT LOUD"


@pytest.mark.parametrize("name", ["max_tokens", "max_completion_tokens"])
def test_a_cut_answer_says_length(service: SimpleNamespace, name: str) -> None:
    body = ask(service, **{name: 2}).json()
    assert body["choices"][0]["message"]["content"] == "SAY IT"
    assert body["choices"][0]["finish_reason"] == "length"


def test_content_parts_and_newer_roles_are_read(service: SimpleNamespace) -> None:
    parts = [{"type": "text", "text": "two "}, {"type": "text", "text": "parts"}]
    turns = [{"role": "developer", "content": "Be loud."}, {"role": "user", "content": parts, "name": "ann"}]
    body = service.http.post("/v1/chat/completions", json={"messages": turns}).json()
    assert body["choices"][0]["message"]["content"] == "TWO PARTS"
    assert service.ledger.get(body["choices"][0]["prediction_id"]).inputs["messages"] == [
        {"role": "system", "content": "Be loud."},
        {"role": "user", "content": "two parts"},
    ]
    picture = [{"type": "image_url", "image_url": {"url": "x"}}]
    error_of(service.http.post("/v1/chat/completions", json={"messages": [{"role": "user", "content": picture}]}), 422)


def test_a_streamed_chat_is_chunks_that_join_to_the_answer(service: SimpleNamespace) -> None:
    answer = ask(service, stream=True, stream_options={"include_usage": True})
    assert answer.headers["content-type"].startswith("text/event-stream")
    chunks = events(answer.text)
    assert {chunk["object"] for chunk in chunks} == {"chat.completion.chunk"}
    assert len({chunk["id"] for chunk in chunks}) == 1
    text = "".join(c["delta"].get("content", "") for chunk in chunks for c in chunk["choices"])
    assert text == "SAY IT LOUD"
    assert chunks[0]["choices"][0]["delta"]["role"] == "assistant"
    assert [c["finish_reason"] for chunk in chunks for c in chunk["choices"]] == [None, "stop"]
    assert chunks[-1]["choices"] == []
    assert chunks[-1]["usage"]["total_tokens"] == 6
    assert len(events(ask(service, stream=True).text)) == 2
    assert service.ledger.get(chunks[0]["choices"][0]["prediction_id"]).output["text"] == text


def test_completions_answer_every_prompt_in_order(service: SimpleNamespace) -> None:
    body = service.http.post("/v1/completions", json={"prompt": ["one two", "three"], "max_tokens": 1}).json()
    assert body["object"] == "text_completion"
    assert [(c["index"], c["text"], c["finish_reason"]) for c in body["choices"]] == [
        (0, "ONE", "length"),
        (1, "THREE", "stop"),
    ]
    assert body["usage"] == {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5}
    streamed = events(service.http.post("/v1/completions", json={"prompt": "a b", "stream": True}).text)
    assert "".join(chunk["choices"][0]["text"] for chunk in streamed) == "A B"
    assert streamed[-1]["choices"][0]["finish_reason"] == "stop"


def test_models_names_the_bundle(service: SimpleNamespace) -> None:
    body = service.http.get("/v1/models").json()
    assert body["object"] == "list"
    assert [(m["id"], m["object"], m["owned_by"]) for m in body["data"]] == [("echo7", "model", "luthier")]


@pytest.mark.parametrize(
    "more",
    [
        {"n": 2},
        {"n": True},
        {"stop": ["x"]},
        {"tools": [{"type": "function"}]},
        {"response_format": {"type": "json_object"}},
        {"logprobs": True},
    ],
)
def test_what_cannot_be_done_is_refused_and_not_passed_over(service: SimpleNamespace, more: dict[str, Any]) -> None:
    error = error_of(ask(service, **more), 400)
    assert error["code"] == "unsupported_parameter"
    assert error["param"] == next(iter(more))
    assert error["type"] == "invalid_request_error"


def test_settings_that_ask_for_nothing_special_pass(service: SimpleNamespace) -> None:
    more = {"n": 1, "stop": None, "tools": [], "response_format": {"type": "text"}, "logprobs": False}
    assert ask(service, **more).status_code == 200


def test_errors_name_the_parameter(service: SimpleNamespace) -> None:
    error = error_of(ask(service, model="gpt-9"), 404)
    assert error["code"] == "model_not_found"
    assert "echo7" in error["message"]
    error_of(service.http.post("/v1/chat/completions", json={"messages": []}), 422)
    answered = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]
    error = error_of(service.http.post("/v1/chat/completions", json={"messages": answered}), 422)
    assert error["param"] == "messages"
    error_of(service.http.post("/v1/completions", json={"prompt": []}), 422)
    error = error_of(service.http.post("/v1/completions", json={"prompt": ["a", ""]}), 422)
    assert error["param"] == "prompt[1]"
    error_of(service.http.post("/v1/completions", json={"prompt": [1, 2]}), 422)


def test_a_classifier_says_that_it_writes_no_text(tmp_path: Path) -> None:
    with running(KeywordModel(), tmp_path) as service:
        error = error_of(ask(service), 400)
        assert error["code"] == "model_does_not_generate"
        assert "/v1/predict" in error["mend"]
        error_of(service.http.post("/v1/completions", json={"prompt": "x"}), 400)
        assert service.http.get("/v1/models").json()["data"][0]["id"] == "b0ndle42"


def test_a_model_of_plain_text_completes_and_does_not_chat(tmp_path: Path) -> None:
    model = EchoModel()
    model.objective = "text"
    with running(model, tmp_path) as service:
        assert error_of(ask(service), 400)["code"] == "model_does_not_chat"
        body = service.http.post("/v1/completions", json={"prompt": "go on"}).json()
        assert body["choices"][0]["text"] == "GO ON"
        error_of(
            service.http.post("/v1/predict", json={"inputs": [{"messages": [{"role": "user", "content": "a"}]}]}), 422
        )

"""The service over real sockets: answers, feedback, limits, errors of one shape, the queue, the ledger before all."""

from __future__ import annotations

import json
import re
import sqlite3
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from serve_keywords import EchoModel, KeywordModel, LineModel, MarkModel, ShelfModel, TagModel
from served import running

from luthier.serve.app import ROUTES
from luthier.serve.border import body_limit
from luthier.spec.serve import ServeSection

Start = Callable[..., SimpleNamespace]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    from contextlib import ExitStack

    with ExitStack() as stack:

        def begin(model: Any = None, **knobs: Any) -> SimpleNamespace:
            return stack.enter_context(running(model or KeywordModel(), tmp_path, **knobs))

        yield begin


@pytest.fixture(scope="module")
def classifier(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SimpleNamespace]:
    with running(KeywordModel(), tmp_path_factory.mktemp("classifier"), max_chars=1000, max_batch=8) as service:
        yield service


@pytest.fixture(scope="module")
def generator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SimpleNamespace]:
    with running(EchoModel(), tmp_path_factory.mktemp("generator"), max_chars=1000, max_batch=8) as service:
        yield service


def error_of(answer: httpx.Response, status: int) -> dict[str, Any]:
    """Check the one shape of all errors and return it."""
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/json"
    error = answer.json()["error"]
    assert set(error) == {"message", "type", "param", "code", "what", "where", "mend", "faults"}
    assert error["what"] in error["message"]
    return error


def test_a_prediction_is_answered_and_is_in_the_ledger(classifier: SimpleNamespace) -> None:
    answer = classifier.http.post("/v1/predict", json={"inputs": ["my invoice", {"text": "the parcel"}]})
    assert answer.status_code == 200
    body = answer.json()
    assert body["bundle"] == "b0ndle42"
    assert [p["label"] for p in body["predictions"]] == ["billing", "delivery"]
    assert body["predictions"][0]["scores"]["billing"] == 0.8
    kept = classifier.ledger.get(body["predictions"][1]["prediction_id"])
    assert kept.inputs == {"text": "the parcel"}
    assert kept.output["label"] == "delivery"
    assert (kept.objective, kept.bundle) == ("classify", "b0ndle42")
    assert 0 <= kept.latency_ms < 10_000


def test_one_input_is_answered_with_a_list_of_one(classifier: SimpleNamespace) -> None:
    answer = classifier.http.post("/v1/predict", json={"input": "reset my password"})
    assert [p["label"] for p in answer.json()["predictions"]] == ["account"]


def test_feedback_comes_back_as_a_correction(start: Start) -> None:
    service = start()
    name = service.http.post("/v1/predict", json={"input": "my invoice"}).json()["predictions"][0]["prediction_id"]
    answer = service.http.post("/v1/feedback", json={"prediction_id": name, "label": "delivery", "by": "ann"})
    assert answer.status_code == 201
    ((prediction, feedback),) = service.ledger.corrections()
    assert (prediction.id, feedback.id, feedback.label, feedback.by) == (
        name,
        answer.json()["feedback_id"],
        "delivery",
        "ann",
    )


def test_feedback_that_cannot_be_meant_is_refused(classifier: SimpleNamespace) -> None:
    http = classifier.http
    name = http.post("/v1/predict", json={"input": "my invoice"}).json()["predictions"][0]["prediction_id"]

    def said(**body: Any) -> httpx.Response:
        return http.post("/v1/feedback", json={"prediction_id": name, **body})

    error = error_of(said(label="biling"), 422)
    assert 'Did you mean "billing"?' in error["mend"]
    assert "account, billing, delivery" in error["mend"]
    assert error["param"] == "label"
    assert said(label="refunds", new_label=True).status_code == 201
    error_of(said(label="two\nlines", new_label=True), 422)
    error_of(said(label=" ", new_label=True), 422)
    error_of(said(text="an answer"), 422)
    error_of(said(rating=5), 422)
    error_of(said(rating=True), 422)
    error_of(said(), 422)
    error_of(said(comment="x" * 1001), 422)
    assert said(rating=-1, comment="no").status_code == 201
    error = error_of(http.post("/v1/feedback", json={"prediction_id": "nope", "rating": 1}), 404)
    assert error["where"] == "prediction_id"


def test_a_set_of_labels_and_scores_are_put_right_as_a_whole(tmp_path: Path) -> None:
    with running(TagModel(), tmp_path / "tags") as service:
        name = service.http.post("/v1/predict", json={"input": "my invoice"}).json()["predictions"][0]["prediction_id"]

        def said(**body: Any) -> httpx.Response:
            return service.http.post("/v1/feedback", json={"prediction_id": name, **body})

        error = error_of(said(labels=["billing", "delivry"]), 422)
        assert error["where"] == "labels[1]" and 'Did you mean "delivery"?' in error["mend"]
        assert "a set of labels, not a single label" in error_of(said(label="billing"), 422)["what"]
        assert "not a text" in error_of(said(text="billing"), 422)["what"]
        error_of(said(labels="billing"), 422)
        assert said(labels=["refund"], new_label=True).status_code == said(labels=[]).status_code == 201
        assert said(labels=["delivery", "billing"], by="ann").status_code == 201
        ((_, feedback),) = service.ledger.corrections()
        assert (feedback.text, feedback.label) == ('["billing", "delivery"]', None)
    with running(MarkModel(), tmp_path / "marks") as service:
        name = service.http.post("/v1/predict", json={"input": "an essay of some length"}).json()["predictions"][0]["prediction_id"]
        assert "no score for style" in error_of(said(grades={"content": 3}), 422)["what"]
        error = error_of(said(grades={"content": 3, "style": 7, "stlye": 2}), 422)
        assert {fault["where"] for fault in error["faults"]} == {"grades.style", "grades.stlye"}
        assert "Scores go from 1 to 5." in error["message"] + str(error["faults"])
        error_of(said(labels=["content"]), 422)
        assert said(grades={"style": 2.5, "content": 4}).status_code == 201
        ((_, feedback),) = service.ledger.corrections()
        assert json.loads(feedback.text) == {"content": 4.0, "style": 2.5}


def test_sentences_are_those_of_the_document_and_items_are_known(tmp_path: Path) -> None:
    with running(LineModel(), tmp_path / "lines") as service:
        document = "It rained. The fair was moved to Sunday, Dr. Hall said. Nobody minded."
        (answer,) = service.http.post("/v1/predict", json={"input": document}).json()["predictions"]
        name = answer["prediction_id"]
        assert answer["sentences"] == ["It rained."]

        def said(**body: Any) -> httpx.Response:
            return service.http.post("/v1/feedback", json={"prediction_id": name, **body})

        error = error_of(said(sentences=["It rained.", "The fair was moved."]), 422)
        assert error["where"] == "sentences[1]" and "word for word" in error["mend"]
        assert "sentences of a document, not a text" in error_of(said(text="It rained."), 422)["what"]
        error_of(said(sentences=[]), 422)
        error_of(said(sentences=[" "]), 422)
        # In any order, several in one string: kept once each in the order of the document.
        assert said(sentences=["Nobody minded.", " The fair was moved to Sunday, Dr. Hall said. Nobody minded."]).status_code == 201
        ((_, feedback),) = service.ledger.corrections()
        assert feedback.text == "The fair was moved to Sunday, Dr. Hall said.\nNobody minded."
        turns = "Ana: Hello there. Is it open?\nBen: It is. Come at six."
        (answer,) = service.http.post("/v1/predict", json={"input": turns}).json()["predictions"]
        name = answer["prediction_id"]
        assert said(sentences=["Ben: It is. Come at six."]).status_code == 201, "a turn is one sentence"
    with running(ShelfModel(), tmp_path / "shelf") as service:
        name = service.http.post("/v1/predict", json={"input": {"query": "money back"}}).json()["predictions"][0]["prediction_id"]
        error = error_of(said(items=["a2", "Opening ours"]), 422)
        assert error["where"] == "items[1]" and '"new_label": true' in error["mend"]
        assert "a list of items, not a set of labels" in error_of(said(labels=["a2"]), 422)["what"]
        assert said(items=["opening hours", "Lost parcels", "a2"]).status_code == 201
        ((_, feedback),) = service.ledger.corrections()
        assert json.loads(feedback.text) == ["a2", "a4"]
        assert said(items=["a9"], new_label=True).status_code == 201


def test_a_generator_takes_texts_and_conversations(generator: SimpleNamespace) -> None:
    turns = [{"role": "system", "content": "Shout."}, {"role": "user", "content": "be quiet"}]
    body = {"inputs": [{"messages": turns}, "hello there you"], "max_new_tokens": 2}
    answers = generator.http.post("/v1/predict", json=body).json()["predictions"]
    assert [a["text"] for a in answers] == ["BE QUIET", "HELLO THERE"]
    assert [a["finish"] for a in answers] == ["stop", "length"]
    name = answers[0]["prediction_id"]
    assert generator.ledger.get(name).inputs == {"messages": turns}
    said = generator.http.post("/v1/feedback", json={"prediction_id": name, "text": "Be quiet, please."})
    assert said.status_code == 201
    error_of(generator.http.post("/v1/feedback", json={"prediction_id": name, "label": "x", "new_label": True}), 422)
    error_of(generator.http.post("/v1/feedback", json={"prediction_id": name, "text": "  "}), 422)


@pytest.mark.parametrize(
    ("body", "status", "where", "what"),
    [
        (b"", 400, "body", "empty"),
        (b'{"input": "x"', 400, "body, line 1, column 14", "not JSON"),
        (b'{"input": "\xff"}', 400, "body, byte 11", "not UTF-8"),
        (b'{"input": NaN}', 400, "body", "NaN"),
        (b"[" * 200_000, 400, "body", "nested too deeply"),
        (b'{"input": ' + b"9" * 5000 + b"}", 400, "body", "not JSON"),
        (b"[]", 422, "body", "object"),
        (b"null", 422, "body", ""),
        (b"{}", 422, "body", "give"),
        (b'{"input": "a", "inputs": ["b"]}', 422, "body", "not both"),
        (b'{"inputs": []}', 422, "inputs", "at least 1"),
        (b'{"inputs": ["a", 5]}', 422, "inputs[1]", ""),
        (b'{"inputs": ["a", {"txt": "b"}]}', 422, "inputs[1].text", "missing"),
        (b'{"inputs": ["a", "  "]}', 422, "inputs[1]", "empty"),
        (b'{"inputs": ["1","2","3","4","5","6","7","8","9"]}', 422, "inputs", "too many"),
        (b'{"input": "\\ud800"}', 400, "body", "surrogate"),
        (b'{"inpt": "a"}', 422, "inpt", "unknown key"),
        (b'{"input": {"messages": [{"role": "user", "content": "x"}]}}', 422, "input", "classify"),
        (b'{"input": {"messages": [{"role": "boss", "content": "x"}]}}', 422, "input.messages[0].role", ""),
        (b'{"input": "x", "max_new_tokens": 3}', 422, "max_new_tokens", "classify"),
        (b'{"input": "' + b"a" * 1001 + b'"}', 422, "input", "1,001 characters"),
    ],
)
def test_bad_bodies_are_told_what_where_and_how_to_mend(
    classifier: SimpleNamespace, body: bytes, status: int, where: str, what: str
) -> None:
    answer = classifier.http.post("/v1/predict", content=body, headers={"content-type": "application/json"})
    error = error_of(answer, status)
    assert where in {fault["where"] for fault in error["faults"]}
    assert what in error["message"]
    assert len(answer.content) < 20_000


def test_all_faults_of_a_request_come_at_once(classifier: SimpleNamespace) -> None:
    error = error_of(classifier.http.post("/v1/predict", json={"inputs": ["", "ok", " ", "x" * 2000]}), 422)
    assert [fault["where"] for fault in error["faults"]] == ["inputs[0]", "inputs[2]", "inputs[3]"]


def test_paths_methods_and_content_types_get_the_same_shape(classifier: SimpleNamespace) -> None:
    http = classifier.http
    error = error_of(http.get("/v1/predictt"), 404)
    assert 'Did you mean "/v1/predict"?' in error["mend"]
    error_of(http.post("/v1/predict/", json={"input": "x"}), 404)
    error = error_of(http.get("/v1/predict"), 405)
    assert "POST" in error["mend"]
    error_of(http.post("/v1/predict", data={"input": "x"}), 415)
    assert http.post("/v1/predict", content=b'{"input": "x"}').status_code == 200


def test_a_body_that_is_too_large_is_refused_while_it_is_read(classifier: SimpleNamespace) -> None:
    limit = body_limit(ServeSection(max_chars=1000))
    sent = 0

    def endless() -> Iterator[bytes]:
        nonlocal sent
        yield b'{"input": "'
        while sent < 40 * limit:
            sent += 1 << 20
            yield b"a" * (1 << 20)

    try:
        answer = httpx.post(
            f"{classifier.url}/v1/predict", content=endless(), headers={"content-type": "application/json"}
        )
        error_of(answer, 413)
    except httpx.TransportError:
        pass  # The service may close the connection on a sender who does not stop.
    assert sent < 40 * limit
    told = httpx.post(
        f"{classifier.url}/v1/predict", content=b"x" * (limit + 1), headers={"content-type": "application/json"}
    )
    error_of(told, 413)


def test_the_longest_input_fits_the_body_however_it_is_escaped(classifier: SimpleNamespace) -> None:
    body = json.dumps({"input": "👋" * 1000}).encode()
    assert len(body) > 12_000
    assert body_limit(ServeSection(max_chars=5_000_000)) > 12 * 5_000_000
    answer = classifier.http.post("/v1/predict", content=body)
    assert answer.status_code == 200


def test_fifty_at_once_each_get_their_own_answer(start: Start) -> None:
    model = KeywordModel(slow_s=0.01)
    service = start(model)
    words = ["invoice", "parcel", "password"]
    wanted = {"invoice": "billing", "parcel": "delivery", "password": "account"}

    def ask(number: int) -> tuple[str, str, str]:
        text = f"{words[number % 3]} number {number}"
        answer = httpx.post(f"{service.url}/v1/predict", json={"input": text}, timeout=30).json()["predictions"][0]
        return text, answer["label"], answer["prediction_id"]

    with ThreadPoolExecutor(50) as pool:
        answers = list(pool.map(ask, range(50)))
    assert len({name for _, _, name in answers}) == 50
    for text, label, name in answers:
        assert label == wanted[text.split()[0]]
        kept = service.ledger.get(name)
        assert (kept.inputs["text"], kept.output["label"]) == (text, label)
    assert sum(model.batches) == 50
    assert len(model.batches) < 50, "waiting requests share a batch"


def test_batches_stay_within_the_limit(start: Start) -> None:
    model = KeywordModel(slow_s=0.02)
    service = start(model, max_batch=4)
    with ThreadPoolExecutor(12) as pool:
        sent = [
            pool.submit(httpx.post, f"{service.url}/v1/predict", json={"inputs": ["a", "b", "c"]}) for _ in range(12)
        ]
        assert {answer.result().status_code for answer in sent} == {200}
    assert max(model.batches) <= 4


def test_a_full_queue_answers_503_at_once_and_the_waiting_are_served(start: Start) -> None:
    model = KeywordModel()
    service = start(model, max_waiting=2)
    model.go.clear()
    with ThreadPoolExecutor(4) as pool:
        first = pool.submit(httpx.post, f"{service.url}/v1/predict", json={"input": "invoice 0"}, timeout=30)
        assert model.entered.wait(10)
        waiting = [
            pool.submit(httpx.post, f"{service.url}/v1/predict", json={"input": f"invoice {i}"}, timeout=30)
            for i in (1, 2)
        ]
        while service.app.state.service.batcher.waiting < 2:
            time.sleep(0.005)
        began = time.perf_counter()
        refused = service.http.post("/v1/predict", json={"input": "one too many"})
        assert time.perf_counter() - began < 2
        error_of(refused, 503)
        assert int(refused.headers["retry-after"]) >= 1
        assert "luthier_queue_length 2" in service.http.get("/metrics").text
        model.go.set()
        assert [f.result().status_code for f in (first, *waiting)] == [200, 200, 200]
    assert service.ledger.counts()["predictions"] == 3


def test_one_request_that_breaks_the_model_does_not_harm_its_neighbours(start: Start) -> None:
    model = KeywordModel()
    service = start(model)
    model.go.clear()
    with ThreadPoolExecutor(4) as pool:
        texts = ["an invoice", "poison", "a parcel", "a password"]
        sent = []
        for i, text in enumerate(texts):
            sent.append(pool.submit(httpx.post, f"{service.url}/v1/predict", json={"input": text}, timeout=30))
            model.entered.wait(10) if i == 0 else None
        while service.app.state.service.batcher.waiting < 3:
            time.sleep(0.005)
        model.go.set()
        answers = [future.result() for future in sent]
    error = error_of(answers[1], 500)
    assert "broke" not in json.dumps(error), "a caller learns nothing of the insides"
    assert [a.json()["predictions"][0]["label"] for i, a in enumerate(answers) if i != 1] == [
        "billing",
        "delivery",
        "account",
    ]
    assert service.http.get("/readyz").status_code == 200


def test_a_score_that_is_not_a_number_never_leaves(start: Start) -> None:
    class Broken(KeywordModel):
        def _one(self, text: str) -> Any:
            from luthier.base.records import Prediction

            return Prediction(label="billing", scores={"billing": float("nan")})

    service = start(Broken())
    error_of(service.http.post("/v1/predict", json={"input": "x"}), 500)
    assert service.ledger.counts()["predictions"] == 0


def test_without_the_ledger_no_answer_leaves(start: Start) -> None:
    service = start()
    assert service.http.get("/readyz").json() == {"status": "ready", "bundle": "b0ndle42"}
    holder = sqlite3.connect(service.ledger.path, isolation_level=None)
    holder.execute("BEGIN IMMEDIATE")
    refused = service.http.post("/v1/predict", json={"input": "my invoice"})
    error = error_of(refused, 503)
    assert "locked" in error["what"]
    assert "billing" not in refused.text
    error_of(service.http.get("/readyz"), 503)
    assert service.http.get("/healthz").status_code == 200
    holder.execute("ROLLBACK")
    holder.close()
    assert service.http.get("/readyz").status_code == 200
    assert service.http.post("/v1/predict", json={"input": "my invoice"}).status_code == 200
    assert service.ledger.counts()["predictions"] == 1
    service.ledger.path.unlink()
    error = error_of(service.http.post("/v1/predict", json={"input": "my invoice"}), 503)
    assert "deleted" in error["what"]


def test_metrics_are_prometheus_text_with_true_counts(start: Start) -> None:
    service = start()
    name = service.http.post("/v1/predict", json={"inputs": ["invoice", "invoice", "parcel"]}).json()["predictions"][0]
    service.http.post("/v1/feedback", json={"prediction_id": name["prediction_id"], "rating": 1})
    service.http.post("/v1/predict", content=b"{")
    service.http.get("/nowhere/at/all")
    answer = service.http.get("/metrics")
    assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
    lines = answer.text.splitlines()
    sample = re.compile(r'^[a-z_]+(\{([a-z_]+="([^"\\]|\\.)*",?)*\})? (\d+(\.\d+)?(e-?\d+)?)$')
    assert all(line.startswith(("# HELP ", "# TYPE ")) or sample.match(line) for line in lines)
    assert 'luthier_predictions_total{label="billing"} 2' in lines
    assert 'luthier_predictions_total{label="delivery"} 1' in lines
    assert 'luthier_requests_total{route="/v1/predict",method="POST",status="200"} 1' in lines
    assert 'luthier_requests_total{route="/v1/predict",method="POST",status="400"} 1' in lines
    assert 'luthier_requests_total{route="other",method="GET",status="404"} 1' in lines
    assert 'luthier_feedback_total{kind="rating"} 1' in lines
    assert 'luthier_request_seconds_count{route="/v1/predict"} 2' in lines
    assert 'luthier_request_seconds_bucket{route="/v1/predict",le="+Inf"} 2' in lines
    assert "nowhere" not in answer.text


def test_openapi_describes_the_routes_and_no_page_asks_a_foreign_address(classifier: SimpleNamespace) -> None:
    schema = classifier.http.get("/openapi.json").json()
    assert set(ROUTES) - {"/", "/openapi.json"} == set(schema["paths"])
    body = schema["paths"]["/v1/predict"]["post"]["requestBody"]["content"]["application/json"]["schema"]["$ref"]
    names = set(re.findall(r'"#/components/schemas/([^"]+)"', json.dumps(schema)))
    assert body.rsplit("/", 1)[1] in names
    assert names <= set(schema["components"]["schemas"])
    error_of(classifier.http.get("/docs"), 404)
    error_of(classifier.http.get("/redoc"), 404)


def test_the_page_is_one_file_that_asks_nobody_else(classifier: SimpleNamespace) -> None:
    answer = classifier.http.get("/")
    assert answer.status_code == 200
    policy = answer.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert not re.findall(r"https?://", answer.text)
    assert "b0ndle42" in answer.text
    import base64
    import hashlib

    for tag in ("script", "style"):
        inside = re.findall(rf"<{tag}>(.*?)</{tag}>", answer.text, re.DOTALL)
        assert len(inside) == 1
        assert base64.b64encode(hashlib.sha256(inside[0].encode()).digest()).decode() in policy


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(alphabet=st.characters(codec=None), max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)
names = """input inputs text messages role content type max_new_tokens prediction_id label rating comment by new_label
    model prompt stream stream_options include_usage max_tokens n stop tools response_format"""
keys = st.sampled_from(names.split())
turns = st.lists(
    st.fixed_dictionaries(
        {"role": st.sampled_from(["user", "system", "assistant", "x"]) | json_values, "content": json_values}
    ),
    max_size=3,
)
near_bodies = st.dictionaries(keys, json_values | turns | st.lists(st.text(max_size=5), max_size=9), max_size=5)
posts = st.sampled_from(["/v1/predict", "/v1/feedback", "/v1/chat/completions", "/v1/completions"])


@settings(max_examples=250, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(path=posts, body=json_values | near_bodies)
def test_no_json_breaks_the_service(
    path: str, body: Any, classifier: SimpleNamespace, generator: SimpleNamespace
) -> None:
    for service in (classifier, generator):
        answer = service.http.post(path, content=json.dumps(body).encode())
        assert answer.status_code < 500, (path, body, answer.text)
        if answer.status_code >= 400:
            error_of(answer, answer.status_code)


@settings(max_examples=100, deadline=None)
@given(path=posts, body=st.binary(max_size=64))
def test_no_bytes_break_the_service(path: str, body: bytes, generator: SimpleNamespace) -> None:
    answer = generator.http.post(path, content=body)
    assert 400 <= answer.status_code < 500 or json.loads(body) is not None

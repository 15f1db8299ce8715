"""Who may ask: bindings, Host, Origin and the API key, at the outermost layer and over a socket."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from serve_keywords import KeywordModel
from test_serve_app import error_of, running

from luthier.base.errors import LuthierError
from luthier.serve.access import Access, check_binding
from luthier.serve.app import ROUTES

KEY = "s3cret-key-of-the-house"


@pytest.fixture(scope="module")
def open_service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SimpleNamespace]:
    with running(KeywordModel(), tmp_path_factory.mktemp("open")) as service:
        yield service


@pytest.fixture(scope="module")
def locked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SimpleNamespace]:
    with running(KeywordModel(), tmp_path_factory.mktemp("locked"), api_key=KEY) as service:
        yield service


@pytest.mark.parametrize("host", ["127.0.0.1", "127.5.5.5", "localhost", "LOCALHOST", "::1", "[::1]"])
def test_loopback_needs_no_key(host: str) -> None:
    check_binding(host, None)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "", "192.168.1.5", "10.0.0.1", "localhost.evil.example", "myhost"])
def test_what_others_can_reach_needs_a_key(host: str) -> None:
    with pytest.raises(LuthierError, match="without an API key") as caught:
        check_binding(host, None)
    assert caught.value.faults[0].mend
    check_binding(host, KEY)


@pytest.mark.parametrize("key", ["", "two words", "schlüssel", "line\nend"])
def test_a_key_that_no_header_can_carry_is_refused(key: str) -> None:
    with pytest.raises(LuthierError, match="API key"):
        check_binding("127.0.0.1", key)


@pytest.mark.parametrize("host", ["localhost", "localhost:8321", "127.0.0.1:1", "[::1]:99", "LocalHost.", "127.9.9.9"])
def test_loopback_names_are_known(open_service: SimpleNamespace, host: str) -> None:
    assert open_service.http.get("/healthz", headers={"Host": host}).status_code == 200


@pytest.mark.parametrize(
    "host",
    ["evil.example", "evil.example:8321", "localhost.evil.example", "127.0.0.1.evil.example", "user@localhost", "",
     "localhost/evil", "192.168.1.5", "localhost:x"],
)  # fmt: skip
@pytest.mark.parametrize("path", ["/healthz", "/", "/v1/predict"])
def test_a_foreign_name_is_refused_everywhere(open_service: SimpleNamespace, host: str, path: str) -> None:
    error = error_of(open_service.http.get(path, headers={"Host": host}), 400)
    assert error["where"] == "Host"


def refusal_of(
    host: str, headers: list[tuple[bytes, bytes]], *, path: str = "/v1/predict", key: str | None = None
) -> int:
    """Ask the layer alone, and return the status it refuses with, or 200 where it lets the request through."""
    status = 0

    async def inner(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})

    async def send(message: Any) -> None:
        nonlocal status
        status = message.get("status", status)

    scope = {"type": "http", "method": "POST", "path": path, "headers": headers}
    asyncio.run(Access(inner, host=host, api_key=key)(scope, None, send))  # type: ignore[arg-type]
    return status


def test_the_configured_host_is_known_and_a_second_host_header_is_not() -> None:
    assert refusal_of("model.example", [(b"host", b"model.example:80")]) == 200
    assert refusal_of("127.0.0.1", [(b"host", b"model.example:80")]) == 400
    assert refusal_of("127.0.0.1", []) == 400
    assert refusal_of("127.0.0.1", [(b"host", b"localhost"), (b"authorization", b"Bearer ")], key=KEY) == 401
    assert refusal_of("127.0.0.1", [(b"host", b"localhost"), (b"host", b"localhost")]) == 400


def test_where_every_address_is_bound_addresses_pass_and_names_do_not() -> None:
    for name in (b"192.168.1.5:8321", b"[fe80::1]:8321", b"localhost"):
        assert refusal_of("0.0.0.0", [(b"host", name)]) == 200
    assert refusal_of("0.0.0.0", [(b"host", b"evil.example")]) == 400


@given(name=st.binary(max_size=30), path=st.sampled_from(["/v1/predict", "/"]))
def test_no_header_breaks_the_layer(name: bytes, path: str) -> None:
    assert refusal_of("127.0.0.1", [(b"host", name)], path=path) in (200, 400)
    given_headers = [(b"host", b"localhost"), (b"authorization", name), (b"origin", name)]
    assert refusal_of("127.0.0.1", given_headers, path=path, key=KEY) == 401
    assert refusal_of("127.0.0.1", given_headers, path=path) in (200, 403)


def test_another_sites_page_can_change_nothing(open_service: SimpleNamespace) -> None:
    http = open_service.http
    for origin in ("https://evil.example", "null", "http://127.0.0.1:1", "http://localhost.evil.example"):
        refused = http.post("/v1/predict", json={"input": "invoice"}, headers={"Origin": origin})
        assert error_of(refused, 403)["where"] == "Origin"
        assert not any(name.startswith("access-control") for name in refused.headers)
    own = http.post("/v1/predict", json={"input": "invoice"}, headers={"Origin": open_service.url})
    assert own.status_code == 200
    assert not any(name.startswith("access-control") for name in own.headers)
    error_of(http.options("/v1/predict", headers={"Origin": "https://evil.example"}), 403)


def test_the_key_is_needed_on_every_route_but_health(locked: SimpleNamespace) -> None:
    for path in (*ROUTES, "/nowhere"):
        answer = locked.http.get(path)
        if path == "/healthz":
            assert answer.status_code == 200
        else:
            assert error_of(answer, 401)["code"] == "invalid_api_key"
            assert answer.headers["www-authenticate"].startswith("Basic" if path == "/" else "Bearer")
    error_of(locked.http.post("/v1/predict", json={"input": "invoice"}), 401)
    assert locked.ledger.counts()["predictions"] == 0


@pytest.mark.parametrize(
    "value", [f"Bearer {KEY}", f"bearer {KEY}", "Basic " + base64.b64encode(f"me:{KEY}".encode()).decode()]
)
def test_the_right_key_opens(locked: SimpleNamespace, value: str) -> None:
    answer = locked.http.post("/v1/predict", json={"input": "invoice"}, headers={"Authorization": value})
    assert answer.status_code == 200
    assert locked.http.get("/", headers={"Authorization": value}).status_code == 200


@pytest.mark.parametrize(
    "value",
    ["", KEY, "Bearer", f"Bearer {KEY}x", f"Bearer {KEY[:-1]}", f"Token {KEY}", "Basic !!!", "Basic bWU6",
     "Basic " + base64.b64encode(KEY.encode()).decode()],
)  # fmt: skip
def test_a_wrong_key_does_not(locked: SimpleNamespace, value: str) -> None:
    answer = locked.http.post("/v1/predict", json={"input": "invoice"}, headers={"Authorization": value})
    assert KEY not in answer.text
    error_of(answer, 401)


def test_a_websocket_is_turned_away(tmp_path: Path) -> None:
    sent: list[Any] = []

    async def inner(scope: Any, receive: Any, send: Any) -> None:
        raise AssertionError("reached")

    async def send(message: Any) -> None:
        sent.append(message)

    asyncio.run(Access(inner, host="127.0.0.1", api_key=None)({"type": "websocket", "headers": []}, None, send))  # type: ignore[arg-type]
    assert sent == [{"type": "websocket.close", "code": 1008}]


def test_refused_requests_are_counted(open_service: SimpleNamespace) -> None:
    httpx.get(f"{open_service.url}/readyz", headers={"Host": "evil.example"})
    lines = open_service.http.get("/metrics").text
    assert 'luthier_requests_total{route="/readyz",method="GET",status="400"} 1' in lines

"""Asking an endpoint: a real server on this machine that answers well, badly, late and not at all."""

from __future__ import annotations

import json
import threading
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from chat_service import chat_service, completion

from luthier.base.errors import DataError, TaskError
from luthier.base.records import Example, Source
from luthier.data.augment import EQUAL, TOO_LONG, Counts, Varier, hash_of
from luthier.data.augment import ask as augment_ask
from luthier.data.augment.ask import Endpoint
from luthier.spec.augment import Augment

KEY = "LUTHIER_TEST_ENDPOINT_KEY"


class Service:
    """What the server does, and what it was asked."""

    def __init__(self) -> None:
        self.asked: list[dict[str, Any]] = []
        self.headers: list[dict[str, str]] = []
        self.at_once = self.most_at_once = 0
        self.answers: dict[str, list[Any]] = {}
        self.lock = threading.Lock()
        self.paths: Counter[str] = Counter()

    def answer(self, body: dict[str, Any]) -> Any:
        """Return the next planned answer for the text, or the text in capitals with a word more."""
        text = body["messages"][1]["content"].removeprefix("<text>\n").removesuffix("\n</text>")
        planned = self.answers.get(text)
        if planned:
            return planned.pop(0) if len(planned) > 1 else planned[0]
        return f"well, {text}"


@pytest.fixture
def service(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Service, str]]:
    state = Service()

    def reply(body: dict[str, Any], path: str, headers: Mapping[str, str]) -> Any:
        with state.lock:
            state.at_once += 1
            state.most_at_once = max(state.most_at_once, state.at_once)
            state.asked.append(body)
            state.headers.append(dict(headers))
            state.paths[path] += 1
            answer = state.answer(body)
        if isinstance(answer, float):  # the others are asked meanwhile
            threading.Event().wait(answer)
            answer = "too late"
        with state.lock:
            state.at_once -= 1
        return answer

    monkeypatch.setenv(KEY, "secret")
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with chat_service(reply) as url:
        yield state, url


def rows(*texts: str) -> list[Example]:
    return [Example(f"id{i}", {"text": t}, "x", Source("a.csv", i + 2)) for i, t in enumerate(texts)]


def hashes(examples) -> np.ndarray:
    return np.sort(np.array([hash_of(e) for e in examples], dtype=np.uint64))


def made(
    url: str, folder: Path, examples: list[Example], way: Any = "paraphrase", *, timeout_s: float = 5.0, **options: Any
):
    settings = Augment(when="on", ways=[way], endpoint=url, endpoint_model="m", endpoint_key_env=KEY, **options)
    waits: list[float] = []
    endpoint = Endpoint(settings, folder, timeout_s=timeout_s, wait=waits.append)
    counts = Counts()
    new = list(Varier(settings, folder=folder, endpoint=endpoint).rows(
        examples, way, known=hashes(examples), clashes=lambda es: [False] * len(es), counts=counts
    ))  # fmt: skip
    return new, counts, endpoint, waits


def test_paraphrases_are_asked_once_and_kept(service, tmp_path: Path) -> None:
    state, url = service
    examples = rows(*(f"where is order {i}" for i in range(12)))
    new, _, endpoint, _ = made(url, tmp_path, examples, copies=2)
    # Two copies that say the same are one row.
    assert [e.inputs["text"] for e in new] == [f"well, where is order {i}" for i in range(12)]
    assert [e.extra["of"] for e in new] == [e.id for e in examples]
    assert endpoint.counts == {"requests": 24, "tokens": 24 * 7}
    assert state.paths == {"/v1/chat/completions": 24}
    assert state.most_at_once <= 4
    assert {h["Authorization"] for h in state.headers} == {"Bearer secret"}
    assert all(body["model"] == "m" for body in state.asked)
    assert len({body["seed"] for body in state.asked}) == 24
    again, _, endpoint, _ = made(url, tmp_path, examples, copies=2)
    assert again == new
    assert endpoint.counts == {"from_disk": 24}
    assert len(state.asked) == 24
    # A line cut short by a crash is asked again, and the file stays readable.
    answers = tmp_path / "answers.jsonl"
    answers.write_text(answers.read_text()[:-5])
    for requests in (1, 0):
        again, _, endpoint, _ = made(url, tmp_path, examples, copies=2)
        assert again == new
        assert endpoint.counts["requests"] == requests
    assert "secret" not in answers.read_text()


def test_what_is_no_usable_answer_is_left_out_and_counted(service, tmp_path: Path) -> None:
    state, url = service
    cases = {
        "empty": ("  ", augment_ask.EMPTY), "none": (completion(None), augment_ask.EMPTY),
        "Equal one": ('"equal ONE."', EQUAL), "long": ("very " * 60, TOO_LONG),
        "cut": (completion("half a", "length"), augment_ask.CUT), "said no": ("I'm sorry, but I can't.", augment_ask.REFUSED),
        "refusal": (completion("x", refusal="no"), augment_ask.REFUSED),
        "filtered": (completion("x", "content_filter"), augment_ask.REFUSED), "bad request": (400, "HTTP 400 from the endpoint"),
    }  # fmt: skip
    state.answers = {text: [answer] for text, (answer, _) in cases.items()}
    state.answers["quoted"] = ["“in other words”"]
    new, counts, _, waits = made(url, tmp_path, rows(*cases, "quoted", "i cannot log in"))
    assert [e.inputs["text"] for e in new] == ["in other words", "well, i cannot log in"]
    assert counts.left_out == Counter(reason for _, reason in cases.values())
    assert waits == []


def test_what_may_pass_is_tried_again(service, tmp_path: Path) -> None:
    state, url = service
    state.answers = {"busy": [429, 429, "now then"], "broken": [500, 503, "after all"], "odd": [b"{not json", b'{"a": 1}', "so"],
                     "late": [2.0, "in time"]}  # fmt: skip
    new, counts, endpoint, waits = made(url, tmp_path, rows("busy", "broken", "odd", "late"), timeout_s=0.5)
    assert [e.inputs["text"] for e in new] == ["now then", "after all", "so", "in time"]
    assert endpoint.counts["requests"] == 11
    assert sum(w >= 7 for w in waits) == 2  # as Retry-After says
    assert not counts.left_out


def test_a_row_that_never_gets_an_answer_is_left_out(service, tmp_path: Path) -> None:
    state, url = service
    state.answers = {"broken": [500], "odd": [b"[]"]}
    new, counts, endpoint, waits = made(url, tmp_path, rows("broken", "odd", "fine"))
    assert len(new) == 1
    assert counts.left_out == {"HTTP 500 from the endpoint": 1, augment_ask.NOT_UNDERSTOOD: 1}
    assert endpoint.counts["requests"] == 2 * augment_ask.TRIES + 1
    assert max(waits) > 2 * min(waits)  # it backs off


@pytest.mark.parametrize(
    ("status", "where", "what"),
    [(401, "data.augment.endpoint_key_env", "refuses the key"), (404, "data.augment.endpoint", "no such address or model"),
     (307, "data.augment.endpoint", "another address")],
)  # fmt: skip
def test_a_refused_key_or_a_wrong_address_stops_at_once(service, tmp_path: Path, status, where, what) -> None:
    state, url = service
    state.answer = lambda body: status  # type: ignore[method-assign]
    with pytest.raises(TaskError, match=what) as refused:
        made(url, tmp_path, rows(*(f"text {i}" for i in range(100))))
    assert refused.value.faults[0].where == where
    assert len(state.asked) <= 8
    assert set(state.paths) == {"/v1/chat/completions"}


def test_an_endpoint_that_is_down_stops_and_keeps_what_it_gave(service, tmp_path: Path) -> None:
    state, url = service
    examples = rows(*(f"text {i}" for i in range(60)))
    first = {f"text {i}" for i in range(5)}
    plain = state.answer
    state.answer = lambda body: plain(body) if any(f"\n{t}\n" in body["messages"][1]["content"] for t in first) else 500  # type: ignore[method-assign]
    with pytest.raises(DataError, match=r"no usable answer to 8 requests in a row \(HTTP 500"):
        made(url, tmp_path, examples)
    # The command does not wait for what is under way: answered by the service as it is below, that would be kept too.
    for thread in threading.enumerate():
        if thread.name.startswith("augment"):
            thread.join(30)
    state.answer = plain  # type: ignore[method-assign]
    new, _, endpoint, _ = made(url, tmp_path, examples)
    assert len(new) == 60
    assert endpoint.counts == {"from_disk": 5, "requests": 55, "tokens": 55 * 7}


def test_back_translation_goes_there_and_back_in_the_texts_language(service, tmp_path: Path) -> None:
    state, url = service
    text = "Ich warte seit zwei Wochen auf mein Paket und niemand antwortet mir"
    new, *_ = made(url, tmp_path, rows(text), "back-translation", through="Italian")
    assert [e.inputs["text"] for e in new] == [f"well, well, {text}"]
    orders = [body["messages"][0]["content"] for body in state.asked]
    assert "into Italian" in orders[0]
    assert "into German" in orders[1]
    assert state.asked[1]["messages"][1]["content"] == f"<text>\nwell, {text}\n</text>"


def test_a_conversations_last_question_is_rewritten(service, tmp_path: Path) -> None:
    state, url = service
    turns = [
        {"role": "user", "content": "first"},
        {"role": "assistant", "content": "yes"},
        {"role": "user", "content": "and then"},
    ]
    example = Example("m", {"messages": turns}, "that", Source("m.jsonl", 1))
    new, *_ = made(url, tmp_path, [example])
    assert new[0].inputs["messages"][-1]["content"] == "well, and then"
    assert new[0].target == "that"
    assert "first" not in json.dumps(state.asked)

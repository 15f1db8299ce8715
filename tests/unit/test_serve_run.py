"""The service as a process: its address, its signals, and what is on disk when it is killed."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
from serve_keywords import KeywordModel

from luthier.base.errors import LedgerError, LuthierError
from luthier.ledger.store import Ledger
from luthier.serve.run import serve
from luthier.spec.serve import ServeSection

ROOT = Path(__file__).parents[2]


@contextmanager
def process(folder: Path, *, slow_s: float = 0.0) -> Iterator[tuple[subprocess.Popen[str], str]]:
    script = Path(__file__).parents[1] / "serve_keywords.py"
    started = subprocess.Popen(
        [sys.executable, str(script), str(folder), str(slow_s)],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    try:
        assert started.stdout is not None
        yield started, started.stdout.readline().strip()
    finally:
        started.kill()
        started.wait(30)


def test_a_row_is_on_disk_when_its_answer_arrives_even_if_the_process_is_killed_then(tmp_path: Path) -> None:
    with process(tmp_path) as (server, url):
        with httpx.Client(base_url=url) as http:
            names = [
                http.post("/v1/predict", json={"input": f"invoice {i}"}).json()["predictions"][0]["prediction_id"]
                for i in range(5)
            ]
            said = http.post("/v1/feedback", json={"prediction_id": names[0], "label": "account"})
        server.send_signal(signal.SIGKILL)
        assert server.wait(30) == -signal.SIGKILL
        assert said.status_code == 201
    with Ledger(tmp_path / "ledger.sqlite") as ledger:
        assert [ledger.get(name).inputs["text"] for name in names] == [f"invoice {i}" for i in range(5)]
        assert [(p.id, f.label) for p, f in ledger.corrections()] == [(names[0], "account")]


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), pytest.param(signal.SIGINT, 130, marks=pytest.mark.slow)])
def test_a_signal_lets_answers_in_flight_finish(tmp_path: Path, number: signal.Signals, code: int) -> None:
    with process(tmp_path, slow_s=1.0) as (server, url):
        answers: list[httpx.Response] = []

        def ask(i: int) -> None:
            answers.append(httpx.post(f"{url}/v1/predict", json={"input": f"parcel {i}"}, timeout=30))

        threads = [threading.Thread(target=ask, args=(i,)) for i in range(3)]
        [t.start() for t in threads]
        time.sleep(0.4)
        server.send_signal(number)
        [t.join(30) for t in threads]
        assert server.wait(30) == code
        assert [a.status_code for a in answers] == [200, 200, 200]
    with Ledger(tmp_path / "ledger.sqlite") as ledger:
        assert ledger.counts()["predictions"] == 3
    assert not (tmp_path / "ledger.sqlite-wal").exists(), "closed in order"


def test_a_port_that_is_taken_is_told(tmp_path: Path) -> None:
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        holder.listen()
        port = holder.getsockname()[1]
        with pytest.raises(LuthierError, match="taken by another program") as caught:
            serve(KeywordModel(), ServeSection(port=port), base=tmp_path)  # type: ignore[arg-type]
    fault = caught.value.faults[0]
    assert fault.where == f"127.0.0.1:{port}"
    assert "serve.port" in fault.mend


@pytest.mark.parametrize(
    ("host", "what"), [("192.0.2.7", "does not have that address"), ("no.such.name.invalid", "is not an address")]
)
def test_an_address_that_is_not_ours_is_told(tmp_path: Path, host: str, what: str) -> None:
    with pytest.raises(LuthierError, match=what) as caught:
        serve(KeywordModel(), ServeSection(host=host, port=0), base=tmp_path, api_key="a-key")  # type: ignore[arg-type]
    assert caught.value.faults[0].mend


def test_an_open_address_without_a_key_is_refused_before_anything_is_opened(tmp_path: Path) -> None:
    with pytest.raises(LuthierError, match="without an API key"):
        serve(KeywordModel(), ServeSection(host="0.0.0.0", port=0), base=tmp_path)  # type: ignore[arg-type]
    assert list(tmp_path.iterdir()) == []


def test_a_ledger_that_cannot_be_used_is_told_at_the_start(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("no ledger" * 500)
    with pytest.raises(LedgerError, match="not a ledger"):
        serve(KeywordModel(), ServeSection(port=0, ledger="notes.txt"), base=tmp_path)  # type: ignore[arg-type]

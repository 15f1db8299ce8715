"""The labelling page's program: what it answers, what it refuses, and what a data file or command line can get wrong."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from luthier.base.errors import LuthierError
from luthier.base.records import Example, Source
from luthier.labelling.desk import Desk
from luthier.labelling.pool import gather
from luthier.labelling.store import Store
from luthier.studio.label_app import build_label_app
from luthier.studio.label_page import page

EVIL = '</script><script>window.pwned=1</script><img src=x onerror="window.pwned=1">'
ANA = {"by": "Ana", "session": "tab-ana-1"}
BEN = {"by": "Ben", "session": "tab-ben-1"}


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    rows = (Example("", {"text": f"message {i}"}, None, Source("m.csv", i + 2)) for i in range(8))
    names = {"text": "text", "label": "label"}
    with Store(tmp_path / "m.labels.jsonl", columns=names, data=["m.csv"], by="Ana") as store:
        yield Desk(gather(rows), store, labels=["billing", "delivery"])


def client(desk: Desk, **options: Any) -> TestClient:
    app = build_label_app(desk, by="Ana", title="m.csv", host=options.pop("host", "127.0.0.1"), **options)
    return TestClient(app, base_url="http://127.0.0.1:8322", raise_server_exceptions=False)


def test_a_row_is_asked_answered_and_taken_back(desk: Desk) -> None:
    http = client(desk)
    first = http.post("/api/next", json=ANA).json()
    assert first["row"]["text"].startswith("message") and first["progress"]["labelled"] == 0
    answer = {**ANA, "id": first["row"]["id"], "kind": "label", "label": "billing", "seconds": 1.5,
              "suggestion": "delivery", "probability": 0.6, "chosen": "random", "note": " short "}  # fmt: skip
    second = http.post("/api/answer", json=answer).json()
    assert second["row"]["id"] != first["row"]["id"] and second["progress"]["labelled"] == 1
    assert (second["progress"]["agreed"], second["progress"]["suggested"]) == (0, 1)
    kept = json.loads(desk.store.path.read_text().splitlines()[-1])
    said = {key: kept[key] for key in ("kind", "label", "by", "seconds", "suggestion", "probability", "note", "file")}
    assert said == {"kind": "label", "label": "billing", "by": "Ana", "seconds": 1.5, "suggestion": "delivery",
                    "probability": 0.6, "note": "short", "file": "m.csv"}  # fmt: skip
    assert http.post("/api/next", json=BEN).json()["row"]["id"] != second["row"]["id"]
    back = http.post("/api/undo", json=ANA).json()
    assert back["undone"] and back["row"]["id"] == first["row"]["id"] and back["progress"]["labelled"] == 0
    assert not http.post("/api/undo", json=ANA).json()["undone"]


def test_labels_are_added_in_the_page(desk: Desk) -> None:
    http = client(desk)
    assert http.post("/api/labels", json={**ANA, "label": EVIL[:60]}).status_code == 201
    names = [label["name"] for label in http.post("/api/progress", json=ANA).json()["progress"]["labels"]]
    assert names == ["billing", "delivery", EVIL[:60]]
    assert http.post("/api/labels", json={**ANA, "label": "BILLING"}).json()["error"]["where"] == "label"


@pytest.mark.parametrize(
    ("change", "status", "words"),
    [
        ({"label": "biling"}, 422, 'Did you mean "billing"?'),
        ({"id": "nothing"}, 422, "no such row"),
        ({"kind": "maybe"}, 422, "kind"),
        ({"seconds": -1.0}, 422, "seconds"),
        ({"probability": 2.0}, 422, "probability"),
        ({"by": " \n"}, 422, "by"),
        ({"session": "x"}, 422, "session"),
        ({"extra": 1}, 422, "extra"),
        ({"note": "x" * 2001}, 422, "note"),
    ],
)
def test_what_makes_no_sense_is_refused_and_not_kept(
    desk: Desk, change: dict[str, Any], status: int, words: str
) -> None:
    http = client(desk)
    row = http.post("/api/next", json=ANA).json()["row"]
    body = {**ANA, "id": row["id"], "kind": "label", "label": "billing", **change}
    refused = http.post("/api/answer", json=body)
    assert refused.status_code == status and words in refused.json()["error"]["message"]
    assert [e["kind"] for e in desk.store.events] == ["opened"]


def test_a_disk_that_is_full_is_told_and_the_row_stays(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    import errno
    import os

    http = client(desk)
    row = http.post("/api/next", json=ANA).json()["row"]
    body = {**ANA, "id": row["id"], "kind": "label", "label": "billing"}
    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", lambda handle: (_ for _ in ()).throw(OSError(errno.ENOSPC, "full")))
        refused = http.post("/api/answer", json=body)
    assert refused.status_code == 503 and "disk is full" in refused.text
    assert http.post("/api/next", json=ANA).json()["row"]["id"] == row["id"]
    assert http.post("/api/answer", json=body).status_code == 200


def test_other_sites_other_names_and_strangers_are_refused(desk: Desk) -> None:
    http = client(desk)
    assert http.post("/api/next", json=ANA, headers={"Host": "evil.example"}).status_code == 400
    assert http.post("/api/next", json=ANA, headers={"Origin": "http://evil.example"}).status_code == 403
    assert http.post("/api/next", json=ANA, headers={"Origin": "http://127.0.0.1:8322"}).status_code == 200
    assert http.post("/api/next", content="by=Ana", headers={"Content-Type": "text/plain"}).status_code == 415
    keyed = client(desk, api_key="secret")
    assert keyed.get("/").status_code == 401 and "Basic" in keyed.get("/").headers["WWW-Authenticate"]
    token = base64.b64encode(b"ana:secret").decode()
    assert keyed.post("/api/next", json=ANA, headers={"Authorization": f"Basic {token}"}).status_code == 200
    assert client(desk).get("/api/nxt").json()["error"]["mend"] == 'Did you mean "/api/next"?'


def test_the_page_runs_its_own_script_only_and_names_are_text(desk: Desk) -> None:
    html, policy = page(by=EVIL, title=EVIL, out=EVIL, blind=True)
    scripts = re.findall(r"<script>(.*?)</script>", html, re.DOTALL)
    assert len(scripts) == 1 and "pwned" not in scripts[0]
    digest = base64.b64encode(hashlib.sha256(scripts[0].encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}'" in policy and "default-src 'none'" in policy
    assert "<img" not in html
    assert re.findall(r"https?://(?!www\.w3\.org/2000/svg)", html) == [], "nothing is fetched from elsewhere"
    answered = client(desk).get("/")
    assert answered.headers["Content-Security-Policy"].startswith("default-src 'none'")
    assert answered.headers["Cache-Control"] == "no-store"


# From the command line


def label(folder: Path, source: str | None = "m.csv", **options: Any) -> dict[str, Any]:
    """Open a page and end it as soon as it is ready; return what it said of itself."""
    from luthier.lifecycle import labelling

    class Ready(Exception):
        pass

    seen: dict[str, Any] = {}

    def ready(url: str, facts: dict[str, Any]) -> None:
        seen.update(facts, url=url)
        raise Ready

    with pytest.MonkeyPatch.context() as patched:
        patched.chdir(folder)
        with pytest.raises(Ready):
            labelling.label_data(source, ready=ready, port=0, vectors="words", by="ana", **options)
    return seen


def refused(folder: Path, source: str | None = "m.csv", **options: Any) -> str:
    from luthier.lifecycle import labelling

    with pytest.MonkeyPatch.context() as patched:
        patched.chdir(folder)
        with pytest.raises(LuthierError) as told:
            labelling.label_data(source, ready=lambda url, facts: None, port=0, by=options.pop("by", "ana"), **options)
    return str(told.value)


def test_rows_with_a_label_teach_and_the_others_are_asked(tmp_path: Path) -> None:
    (tmp_path / "m.csv").write_text(
        "id,body,queue\n1,where is my parcel please,delivery\n2,refund me now please,\n3,still nothing here at all,\n"
    )
    seen = label(tmp_path, columns={"label": "queue"}, labels="billing, other")
    assert seen["rows"] == 2 and seen["labels"] == ["billing", "other", "delivery"]
    assert Path(seen["out"]).name == "m.labels.jsonl"
    assert label(tmp_path, columns={"label": "queue"}, again=True)["rows"] == 3


def test_the_task_gives_columns_labels_and_the_names_in_the_file(tmp_path: Path) -> None:
    (tmp_path / "m.csv").write_text("body,queue,who\nwhere is it,delivery,C1\nrefund me,,C2\nstill nothing,,C3\n")
    (tmp_path / "task.yaml").write_text(
        "task: {objective: classify}\ndata: {source: m.csv, columns: {text: body, label: queue}, split: {by: who}}\n"
    )
    seen = label(tmp_path, None, task=tmp_path / "task.yaml")
    assert seen["rows"] == 2 and seen["labels"] == ["delivery"]
    first = json.loads((tmp_path / "m.labels.jsonl").read_text().splitlines()[0])
    assert first["columns"] == {"text": "body", "label": "queue"}


def test_the_file_of_labels_is_no_source_of_rows_when_it_lies_in_the_folder(tmp_path: Path) -> None:
    (tmp_path / "rows").mkdir()
    (tmp_path / "rows" / "m.csv").write_text("text\nwhere is it\nrefund me\n")
    out = tmp_path / "rows" / "answers.jsonl"
    for _ in range(2):
        assert label(tmp_path, "rows", out=out, labels="a,b")["rows"] == 2


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"columns": {"label": "queu"}}, 'Did you mean "queue"?'),
        ({"columns": {"text": "bodi"}}, "body"),
        ({"labels": "a,b,A"}, "named twice"),
        ({"labels": "@none.txt"}, "cannot be read"),
        ({"labels": ","}, "printable"),
        ({"by": "a\nb"}, "--by"),
        ({"host": "0.0.0.0"}, "API key"),
        ({"source": "n.csv"}, 'Did you mean "m.csv"?'),
        ({"source": "full.csv", "columns": {"label": "queue"}}, "--again"),
        ({"out": Path("m.csv")}, "not a file of the labelling page"),
        ({"source": None}, "--task"),
    ],
)
def test_a_slip_is_told_with_how_to_mend_it(tmp_path: Path, options: dict[str, Any], words: str) -> None:
    before = "body,queue\nwhere is it,delivery\nrefund me,\n"
    (tmp_path / "m.csv").write_text(before)
    (tmp_path / "full.csv").write_text("body,queue\nwhere is it,delivery\n")
    assert words in refused(tmp_path, options.pop("source", "m.csv"), **options)
    assert (tmp_path / "m.csv").read_text() == before

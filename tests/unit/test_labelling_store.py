"""The log of labels: on disk before it is confirmed, whole after any crash, and readable as a source."""

from __future__ import annotations

import csv
import errno
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from luthier.base.errors import DataError, StorageError
from luthier.base.records import Example
from luthier.data.shapes.columns import map_rows
from luthier.data.sources import labelled
from luthier.data.sources.labelled import majority, standing
from luthier.data.sources.reading import Reading
from luthier.labelling.store import Store, export, to_rows

ROOT = Path(__file__).parents[2]
NAMES = {"text": "text", "label": "label"}


def opened(path: Path, **names: str) -> Store:
    return Store(path, columns=NAMES | names, data=["messages.csv"], by="ana")


def say(store: Store, row: str, label: str | None, by: str = "ana", kind: str = "label", **more: Any) -> int:
    event = store.append(kind, by=by, id=row, file="messages.csv", line=2, text=f"text of {row}", label=label, **more)  # type: ignore[arg-type]
    return event["n"]


def read(path: Path) -> tuple[list[dict[str, Any]], list[Any]]:
    faults: list[Any] = []
    rows = labelled.read(Reading(path, path.name, "utf-8", 1_000_000, faults, []))
    return [dict(row.values) | {"at_line": row.source.line} for row in rows], faults


def test_what_was_said_is_there_again_and_undo_takes_the_last_back(tmp_path: Path) -> None:
    path = tmp_path / "m.labels.jsonl"
    with opened(path) as store:
        say(store, "a", "billing")
        again = say(store, "a", "delivery")
        say(store, "b", None, kind="skip")
        gone = say(store, "c", "other")
        store.append("undo", by="ana", id="c", undoes=gone)
    with opened(path) as store:
        assert {row: people["ana"]["label"] for row, people in standing(store.events).items()} == {
            "a": "delivery",
            "b": None,
        }
        store.append("undo", by="ana", id="a", undoes=again)
        assert standing(store.events)["a"]["ana"]["label"] == "billing", "the answer before it stands again"
    assert [row["text"] for row in read(path)[0]] == ["text of a"]
    assert all(json.loads(line)["at"].endswith("Z") for line in path.read_text().splitlines())


@pytest.mark.parametrize("cut", [1, 7, 40])
def test_a_torn_last_line_is_taken_out_and_nothing_else(tmp_path: Path, cut: int) -> None:
    path = tmp_path / "m.labels.jsonl"
    with opened(path) as store:
        say(store, "a", "billing")
        say(store, "b", "billing")
    whole = path.read_bytes()
    path.write_bytes(whole[:-cut])
    rows, faults = read(path)
    assert [r["text"] for r in rows] == ["text of a"] and faults == [], "a reader passes over it"
    with opened(path) as store:
        assert [e["kind"] for e in store.events] == ["opened", "label"]
        assert len(store.notes) == 1 and "line 3" in store.notes[0]
        say(store, "c", "other")
    assert [r["text"] for r in read(path)[0]] == ["text of a", "text of c"]


def test_a_crash_in_the_very_first_line_begins_anew(tmp_path: Path) -> None:
    path = tmp_path / "m.labels.jsonl"
    path.write_bytes(b'{"kind": "opened", "form')
    with opened(path) as store:
        assert [e["kind"] for e in store.events] == ["opened"]


@pytest.mark.parametrize(
    "content", ["text,label\nhello,billing\n", '{"text": "hello"}\n', "no end of line", '{"a": 1}']
)
def test_another_file_is_never_written_to(tmp_path: Path, content: str) -> None:
    path = tmp_path / "messages.csv"
    path.write_text(content)
    with pytest.raises(DataError, match="not a file of the labelling page"):
        opened(path)
    assert path.read_text() == content


def test_damaged_lines_are_told_all_at_once_with_their_place(tmp_path: Path) -> None:
    path = tmp_path / "m.labels.jsonl"
    with opened(path) as store:
        say(store, "a", "billing")
    with path.open("a") as handle:
        handle.write('{"kind": "lab\nnonsense\n')
    with pytest.raises(DataError) as told:
        opened(path)
    assert [f.where for f in told.value.faults] == [f"{path}:3", f"{path}:4"]
    assert [f.where for f in read(path)[1]] == ["m.labels.jsonl:3", "m.labels.jsonl:4"]


def test_a_second_process_is_refused_while_the_first_writes(tmp_path: Path) -> None:
    with opened(tmp_path / "m.labels.jsonl"), pytest.raises(StorageError, match="another labelling page"):
        opened(tmp_path / "m.labels.jsonl")
    opened(tmp_path / "m.labels.jsonl").close()


def test_a_full_disk_leaves_the_log_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "m.labels.jsonl"
    with opened(path) as store:
        before = path.read_bytes()
        write = os.write

        def full(handle: int, data: Any) -> int:
            if len(data) > 20:
                return write(handle, bytes(data[:20]))
            raise OSError(errno.ENOSPC, "No space left on device")

        monkeypatch.setattr(os, "write", full)
        monkeypatch.setattr(os, "fsync", lambda handle: (_ for _ in ()).throw(OSError(errno.ENOSPC, "full")))
        with pytest.raises(StorageError, match="disk is full"):
            say(store, "a", "billing")
        monkeypatch.undo()
        assert path.read_bytes() == before and len(store.events) == 1
        say(store, "b", "other")
    assert [r["text"] for r in read(path)[0]] == ["text of b"]


def test_killed_at_any_time_every_confirmed_answer_is_there(tmp_path: Path) -> None:
    path = tmp_path / "m.labels.jsonl"
    code = (
        "import sys; from pathlib import Path; from luthier.labelling.store import Store\n"
        f"store = Store(Path({str(path)!r}), columns={NAMES!r}, data=[], by='ana')\n"
        "for i in range(100000):\n"
        "    store.append('label', by='ana', id=str(i), text='t' * 3000, label='x')\n"
        "    print(i, flush=True)\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, env={**os.environ, "PYTHONPATH": str(ROOT)}
    )
    assert process.stdout is not None
    seen = [process.stdout.readline() for _ in range(40)]
    process.send_signal(signal.SIGKILL)
    seen += process.stdout.readlines()
    process.wait(30)
    confirmed = int(seen[-1]) + 1
    with opened(path) as store:
        kept = [e for e in store.events if e["kind"] == "label"]
    assert confirmed >= 40
    assert [e["id"] for e in kept] == [str(i) for i in range(len(kept))]
    assert confirmed <= len(kept) <= confirmed + 1


def test_votes_become_a_majority_and_a_tie_has_no_label(tmp_path: Path) -> None:
    path = tmp_path / "m.labels.jsonl"
    with opened(path) as store:
        for by, label in (("ana", "x"), ("ben", "y"), ("cem", "y")):
            say(store, "a", label, by)
        say(store, "b", "x", "ana", note="odd one")
        say(store, "b", "y", "ben")
        say(store, "c", None, "ana", kind="unsure")
        say(store, "d", "x", "ana")
        rows = list(to_rows(store.events))
    assert [(r["text"], r["label"]) for r in rows] == [("text of a", "y"), ("text of b", None), ("text of d", "x")]
    assert rows[0]["votes"] == {"ana": "x", "ben": "y", "cem": "y"} and rows[1]["note"] == "odd one"
    out = tmp_path / "labels.csv"
    assert export(path, out) == {"rows": 3, "ties": 1}
    with out.open(newline="", encoding="utf-8") as handle:
        table = list(csv.DictReader(handle))
    assert [(r["label"], r["by"]) for r in table] == [("y", "ana, ben, cem"), ("", "ana, ben"), ("x", "ana")]
    assert json.loads(table[0]["votes"]) == rows[0]["votes"]
    export(path, tmp_path / "labels.jsonl")
    assert json.loads((tmp_path / "labels.jsonl").read_text().splitlines()[2])["label"] == "x"


@pytest.mark.parametrize(("to", "words"), [("x.xlsx", "are not written as"), ("m.labels.jsonl", "would replace")])
def test_an_export_that_cannot_be(tmp_path: Path, to: str, words: str) -> None:
    with opened(tmp_path / "m.labels.jsonl") as store:
        say(store, "a", "x")
    with pytest.raises(DataError, match=words):
        export(tmp_path / "m.labels.jsonl", tmp_path / to)
    with pytest.raises(DataError, match="no such file of labels"):
        export(tmp_path / "none.jsonl", tmp_path / "x.csv")


def test_the_log_is_a_source_of_rows_with_the_names_of_the_task(tmp_path: Path) -> None:
    path = tmp_path / "m.labels.jsonl"
    with opened(path, text="message", label="queue") as store:
        common: dict[str, Any] = {"by": "ana", "file": "m.csv", "line": 7, "customer": "C1", "suggestion": "x"}
        store.append("label", id="a", message="where is it", queue="delivery", **common)
        store.append("label", id="b", message="refund me", queue="billing", **common)
        store.append("undo", by="ana", id="a", undoes=2)
    faults: list[Any] = []
    rows = labelled.read(Reading(path, "m.labels.jsonl", "utf-8", 1000, faults, []))
    found = list(map_rows(rows, columns={"text": "message", "label": "queue"}, objective="classify", by="customer", faults=faults))  # fmt: skip
    assert faults == [] and len(found) == 1 and isinstance(found[0], Example)
    assert (found[0].inputs, found[0].target, found[0].group) == ({"text": "refund me"}, "billing", "C1")
    assert str(found[0].source) == "m.labels.jsonl:3"
    assert "suggestion" not in found[0].extra, "what the model said would give the label away"


def test_other_jsonl_is_read_as_before(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text('{"text": "a", "label": "x"}\n{"text": "b", "label": "y"}\n')
    assert [r["text"] for r in read(path)[0]] == ["a", "b"]


ACTS = st.lists(
    st.tuples(
        st.sampled_from("abc"),
        st.sampled_from(["ana", "ben"]),
        st.sampled_from(["x", "y", None, "undo"]),
    ),
    max_size=30,
)


@given(ACTS)
def test_standing_answers_are_what_a_stack_for_each_person_and_row_gives(
    acts: list[tuple[str, str, str | None]],
) -> None:
    events: list[dict[str, Any]] = []
    stacks: dict[tuple[str, str], list[tuple[int, str | None]]] = {}
    for n, (row, by, what) in enumerate(acts, 1):
        stack = stacks.setdefault((row, by), [])
        if what == "undo":
            events.append({"n": n, "kind": "undo", "id": row, "by": by, "undoes": stack.pop()[0] if stack else -1})
        else:
            stack.append((n, what))
            events.append({"n": n, "kind": "label" if what else "skip", "id": row, "by": by, "label": what})
    expected = {key: stack[-1][1] for key, stack in stacks.items() if stack}
    found = {(row, by): e["label"] for row, people in standing(events).items() for by, e in people.items()}
    assert found == expected


@given(st.lists(st.sampled_from("xyz")))
def test_a_majority_is_the_label_with_most_votes_and_none_beside_it(votes: list[str]) -> None:
    counts = sorted(((votes.count(v), v) for v in set(votes)), reverse=True)
    sure = bool(counts) and (len(counts) == 1 or counts[0][0] > counts[1][0])
    assert majority(votes) == (counts[0][1] if sure else None)

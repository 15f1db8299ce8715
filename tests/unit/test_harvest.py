"""Harvest: what people said becomes rows, masked, without duplicates, test rows or contradictions."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from luthier.base.errors import LuthierError, StorageError
from luthier.base.records import Example, Row, Source
from luthier.data import dedupe
from luthier.data.shapes.columns import to_examples
from luthier.ledger.answers import written
from luthier.ledger.entries import NewPrediction
from luthier.ledger.store import Ledger
from luthier.watch.harvest import harvest


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    with Ledger(tmp_path / "ledger.sqlite") as opened:
        yield opened


def predicted(ledger: Ledger, text: str, label: str = "billing") -> str:
    return ledger.add_predictions([NewPrediction("classify", "b1", {"text": text}, {"label": label}, 1.0)])[0]


def answered(ledger: Ledger, inputs: dict[str, Any], text: str = "old answer") -> str:
    return ledger.add_predictions([NewPrediction("generate", "g1", inputs, {"text": text}, 1.0)])[0]


def turns(*contents: str) -> dict[str, Any]:
    roles = ("user", "assistant")
    return {"messages": [{"role": roles[i % 2], "content": content} for i, content in enumerate(contents)]}


def rows_of(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def read_back(path: Path, objective: str, columns: dict[str, Any]) -> list[Any]:
    rows = [Row(values, Source(path.name, i)) for i, values in enumerate(rows_of(path), 1)]
    mapped = to_examples(rows, columns=columns, objective=objective)
    assert mapped.faults == []
    assert mapped.dropped == []
    return mapped.examples


def test_corrections_and_confirmations_become_rows(ledger: Ledger, tmp_path: Path) -> None:
    wrong = predicted(ledger, "where is my parcel")
    right = predicted(ledger, "my invoice is wrong")
    predicted(ledger, "nobody judged this")
    ledger.add_feedback(wrong, label="delivery", by="ann")
    ledger.add_feedback(right, rating=1)
    got = harvest(ledger, tmp_path / "new" / "h.jsonl", objective="classify")
    assert (got.written, dict(got.dropped), dict(got.kinds)) == (2, {}, {"correction": 1, "confirmation": 1})
    first, second = rows_of(got.path)
    said_at = first.pop("said_at")
    assert first == {
        "text": "where is my parcel",
        "label": "delivery",
        "kind": "correction",
        "was": "billing",
        "prediction_id": wrong,
        "bundle": "b1",
        "said_by": "ann",
    }
    assert said_at.startswith("20")
    assert said_at.endswith("Z")
    assert (second["label"], second["kind"], second["said_by"]) == ("billing", "confirmation", None)


def test_a_correction_to_the_same_label_is_a_confirmation(ledger: Ledger, tmp_path: Path) -> None:
    ledger.add_feedback(predicted(ledger, "an invoice"), label="billing")
    assert rows_of(harvest(ledger, tmp_path / "h", objective="classify").path)[0]["kind"] == "confirmation"


def test_only_the_latest_feedback_of_a_prediction_counts(ledger: Ledger, tmp_path: Path) -> None:
    name = predicted(ledger, "where is my parcel")
    ledger.add_feedback(name, label="account")
    ledger.add_feedback(name, label="delivery")
    taken_back = predicted(ledger, "hello")
    ledger.add_feedback(taken_back, label="account")
    ledger.add_feedback(taken_back, rating=-1)
    got = harvest(ledger, tmp_path / "h", objective="classify")
    assert [row["label"] for row in rows_of(got.path)] == ["delivery"]
    assert got.dropped == {"nobody said what is right": 1}


def test_personal_data_is_masked_and_counted(ledger: Ledger, tmp_path: Path) -> None:
    name = predicted(ledger, "Write to jane.roe@example.com about DE89 3704 0044 0532 0130 00")
    ledger.add_feedback(name, label="account", by="boss@example.com")
    got = harvest(ledger, tmp_path / "h", objective="classify")
    text = got.path.read_text()
    assert "example.com" not in text
    assert "0532" not in text
    assert rows_of(got.path)[0]["text"] == "Write to [email] about [iban]"
    assert got.personal == {"email": 1, "iban": 1}


def test_personal_data_is_masked_in_every_turn_and_answer(ledger: Ledger, tmp_path: Path) -> None:
    asked = turns("I am a@example.com", "Hello a@example.com", "And b@example.com?")
    ledger.add_feedback(answered(ledger, asked, "was c@example.com"), text="That is d@example.com")
    got = harvest(ledger, tmp_path / "h", objective="generate")
    assert "@" not in got.path.read_text()
    assert got.personal == {"email": 4}


def test_rows_equal_to_a_test_row_or_known_are_dropped(ledger: Ledger, tmp_path: Path) -> None:
    for text in ("In the  TEST set!", "known already", "new one", "mail x@example.com now"):
        ledger.add_feedback(predicted(ledger, text), label="account")
    tests = {dedupe.normalise("in the test set")}
    known = {dedupe.normalise("Known already."): "account", dedupe.normalise("mail [email] now"): "account"}
    got = harvest(ledger, tmp_path / "h", objective="classify", test_keys=tests, known=known)
    assert [row["text"] for row in rows_of(got.path)] == ["new one"]
    assert got.dropped == {"equal to a test row": 1, "in the source already": 2}


def test_a_correction_of_a_row_that_the_source_has_otherwise_is_kept(ledger: Ledger, tmp_path: Path) -> None:
    ledger.add_feedback(predicted(ledger, "Where is it?"), label="account")
    got = harvest(ledger, tmp_path / "h", objective="classify", known={dedupe.normalise("where is it"): "billing"})
    assert [(row["text"], row["label"]) for row in rows_of(got.path)] == [("Where is it?", "account")]


def test_a_test_row_with_personal_data_is_recognised_unmasked(ledger: Ledger, tmp_path: Path) -> None:
    ledger.add_feedback(predicted(ledger, "mail x@example.com now"), label="account")
    tests = {dedupe.normalise("mail x@example.com now")}
    got = harvest(ledger, tmp_path / "h", objective="classify", test_keys=tests)
    assert (got.written, got.dropped) == (0, {"equal to a test row": 1})


def test_a_second_harvest_finds_nothing_new(ledger: Ledger, tmp_path: Path) -> None:
    for text in ("one x@example.com", "two"):
        ledger.add_feedback(predicted(ledger, text), label="account")
    first = harvest(ledger, tmp_path / "h", objective="classify")
    known = {dedupe.key(example): example.target for example in read_back(first.path, "classify", {})}
    again = harvest(ledger, tmp_path / "h2", objective="classify", known=known)
    assert (first.written, again.written) == (2, 0)


def test_people_who_disagree_are_not_taken(ledger: Ledger, tmp_path: Path) -> None:
    for by, label in (("ann", "delivery"), ("bob", "account")):
        ledger.add_feedback(predicted(ledger, "Where is it?"), label=label, by=by)
    ledger.add_feedback(predicted(ledger, "no names"), label="delivery")
    ledger.add_feedback(predicted(ledger, "No names!"), label="account")
    ledger.add_feedback(predicted(ledger, "right or wrong"), rating=1, by="ann")
    ledger.add_feedback(predicted(ledger, "right or wrong"), rating=-1, by="bob")
    got = harvest(ledger, tmp_path / "h", objective="classify")
    assert got.written == 0
    assert got.dropped == {"people disagree": 5, "nobody said what is right": 1}


def test_a_person_may_change_their_mind_and_repeat_themselves(ledger: Ledger, tmp_path: Path) -> None:
    for by, label in (("ann", "account"), ("bob", "delivery"), ("ann", "delivery"), ("ann", "delivery")):
        ledger.add_feedback(predicted(ledger, "where is it"), label=label, by=by)
    got = harvest(ledger, tmp_path / "h", objective="classify")
    assert [(row["label"], row["said_by"]) for row in rows_of(got.path)] == [("delivery", "ann")]
    assert got.dropped == {"said again later": 3}


def test_since_and_other_objectives(ledger: Ledger, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("luthier.ledger.store.now", lambda: "2020-01-01T00:00:00.000Z")
    ledger.add_feedback(predicted(ledger, "old"), label="account")
    monkeypatch.undo()
    ledger.add_feedback(predicted(ledger, "new"), label="account")
    ledger.add_feedback(answered(ledger, {"text": "write"}), text="written")
    got = harvest(ledger, tmp_path / "h", objective="classify", since="2021-01-01")
    assert [row["text"] for row in rows_of(got.path)] == ["new"]
    assert got.dropped == {"of another objective": 1}
    with pytest.raises(LuthierError, match="not a date"):
        harvest(ledger, tmp_path / "h", objective="classify", since="soon")
    with pytest.raises(LuthierError, match="nothing is harvested"):
        harvest(ledger, tmp_path / "h", objective="text")


def tagged(ledger: Ledger, text: str, *labels: str) -> str:
    return ledger.add_predictions([NewPrediction("multilabel", "m1", {"text": text}, {"labels": list(labels)}, 1.0)])[0]


def graded(ledger: Ledger, text: str, **grades: float) -> str:
    return ledger.add_predictions([NewPrediction("grade", "e1", {"text": text}, {"score": 2.0, "grades": grades}, 1.0)])[0]


def test_sets_of_labels_become_rows_in_the_columns_of_the_source(ledger: Ledger, tmp_path: Path) -> None:
    wrong, none, right = (tagged(ledger, text, "slow") for text in ("it is slow and red", "a plain thank you", "so slow today"))
    ledger.add_feedback(wrong, text=written("multilabel", ["slow", "colour"]), by="ann")
    ledger.add_feedback(none, text=written("multilabel", []))
    ledger.add_feedback(right, rating=1)
    got = harvest(ledger, tmp_path / "h", objective="multilabel", columns={"text": "note", "label": "tags"})
    assert got.written == 3 and got.kinds == {"correction": 2, "confirmation": 1}
    assert [row["tags"] for row in rows_of(got.path)] == [["colour", "slow"], [], ["slow"]]
    read = read_back(got.path, "multilabel", {"text": "note", "label": "tags"})
    assert [e.target for e in read] == [["colour", "slow"], [], ["slow"]]
    # One column for each label: a label without a column would make a wrong row of it.
    got = harvest(ledger, tmp_path / "f", objective="multilabel", columns={"label": ["slow", "broken"]})
    assert got.dropped == {"a label that the source has no column for": 1}
    assert [(row["slow"], row["broken"]) for row in rows_of(got.path)] == [(0, 0), (1, 0)]
    assert [e.target for e in read_back(got.path, "multilabel", {"label": ["slow", "broken"]})] == [[], ["slow"]]
    # What the source has already is known in whatever order its labels stand there.
    known = {dedupe.normalise("it is slow and red"): written("multilabel", ("slow", "colour"))}
    assert harvest(ledger, tmp_path / "k", objective="multilabel", known=known).dropped == {"in the source already": 1}


def test_two_people_with_the_same_labels_in_another_order_agree(ledger: Ledger, tmp_path: Path) -> None:
    for by, labels in (("ann", ["a", "b"]), ("bo", ["b", "a", "b"])):
        ledger.add_feedback(tagged(ledger, "one and the same", "c"), text=written("multilabel", labels), by=by)
    assert harvest(ledger, tmp_path / "h", objective="multilabel").written == 1
    ledger.add_feedback(tagged(ledger, "one and the same", "c"), text=written("multilabel", ["a"]), by="cy")
    assert harvest(ledger, tmp_path / "h", objective="multilabel").dropped["people disagree"] == 3


def test_scores_become_rows_and_what_was_confirmed_lies_on_the_scale(ledger: Ledger, tmp_path: Path) -> None:
    ledger.add_feedback(graded(ledger, "a short essay", content=2.26, style=4.0), text=written("grade", {"style": 3, "content": 2.5}))
    ledger.add_feedback(graded(ledger, "another essay", content=3.84, style=1.2), rating=1)
    ledger.add_feedback(graded(ledger, "a bad guess", content=1.0, style=1.0), rating=-1)
    scales = {"content": [1, 5, 0.5], "style": [1, 5, 1]}
    columns = {"text": "essay", "score": ["content", "style"]}
    got = harvest(ledger, tmp_path / "h", objective="grade", columns=columns, scales=scales)
    assert got.written == 2 and got.dropped == {"nobody said what is right": 1}
    assert [e.target for e in read_back(got.path, "grade", columns)] == [{"content": 2.5, "style": 3.0}, {"content": 4.0, "style": 1.0}]
    assert [row["kind"] for row in rows_of(got.path)] == ["correction", "confirmation"]


def test_a_trait_called_like_another_column_keeps_its_own_and_no_score_leaves_its_scale(ledger: Ledger, tmp_path: Path) -> None:
    ledger.add_feedback(graded(ledger, "an essay", group=4.9), rating=1)
    columns = {"text": "essay", "group": "pupil", "score": ["group"]}
    got = harvest(ledger, tmp_path / "h", objective="grade", columns=columns, scales={"group": [1, 5, 1.5]})
    (row,) = rows_of(got.path)
    assert (row["essay"], row["group"]) == ("an essay", 5.0) and "pupil" not in row


def extracted(ledger: Ledger, document: str, *sentences: str) -> str:
    return ledger.add_predictions([NewPrediction("extract", "x1", {"text": document}, {"sentences": list(sentences)}, 1.0)])[0]


def ranked(ledger: Ledger, inputs: dict[str, Any], *items: str) -> str:
    return ledger.add_predictions([NewPrediction("rank", "r1", inputs, {"items": [{"item": i, "score": 0.5} for i in items]}, 1.0)])[0]


def test_sentences_become_one_summary_that_takes_just_them(ledger: Ledger, tmp_path: Path) -> None:
    from luthier.base.overlap import best_sentences

    document = "It rained all day. The fair was moved to Sunday. Write to x@example.com. Nobody minded."
    ledger.add_feedback(extracted(ledger, document, "It rained all day."), text=written("extract", ["The fair was moved to Sunday.", "Write to x@example.com."]))
    ledger.add_feedback(extracted(ledger, "One thing. Another thing.", "One thing."), rating=1)
    ledger.add_feedback(extracted(ledger, "In the test. Of course.", "Of course."), rating=1)
    columns = {"text": "talk", "summary": ["summary", "summary1"]}
    tests = {dedupe.normalise("In the test. Of course.")}
    got = harvest(ledger, tmp_path / "h", objective="extract", columns=columns, test_keys=tests)
    assert dict(got.kinds) == {"correction": 1, "confirmation": 1} and got.dropped == {"equal to a test row": 1}
    assert got.personal == {"email": 1}
    first, second = read_back(got.path, "extract", columns)
    assert first.target == ["The fair was moved to Sunday.\nWrite to [email]."] and second.target == ["One thing."]
    assert best_sentences(["It rained all day.", "The fair was moved to Sunday.", "Write to [email].", "Nobody minded."], first.target) == [1, 2]
    known = {dedupe.key(e): written("extract", e.target) for e in (first, second)}
    assert harvest(ledger, tmp_path / "again", objective="extract", known=known, test_keys=tests).written == 0


def test_every_item_that_is_right_becomes_a_row_and_none_contradicts_another(ledger: Ledger, tmp_path: Path) -> None:
    for by, items in (("ann", ["a2", "a4"]), ("bo", ["a2"]), ("cy", ["a1"])):
        ledger.add_feedback(ranked(ledger, {"query": "Where is it?"}, "a1", "a2"), text=written("rank", items), by=by)
    ledger.add_feedback(ranked(ledger, {"text": "where is IT"}, "a1"), rating=1)
    ledger.add_feedback(ranked(ledger, {"query": "a test query"}, "a1"), text=written("rank", ["a2"]))
    ledger.add_feedback(ranked(ledger, {"history": ["a1"]}, "a2"), text=written("rank", ["a3"]))
    tests = {dedupe.key(Example("", {"query": "A test query!"}, None, Source("", 0)))}
    known = {dedupe.key(Example("", {"query": "where is it?"}, "a4", Source("", 0))): "a4"}
    columns = {"query": "question", "item": "article"}
    got = harvest(ledger, tmp_path / "h", objective="rank", columns=columns, test_keys=tests, known=known)
    assert [(row["question"], row["article"], row["kind"]) for row in rows_of(got.path)] == [
        ("Where is it?", "a2", "correction"), ("Where is it?", "a1", "confirmation"),
    ]  # fmt: skip
    assert got.dropped == {
        "nobody said what is right": 1, "equal to a test row": 1, "in the source already": 1, "said again later": 1,
        "nobody to give the item to: neither a query nor a user": 1,
    }  # fmt: skip
    assert [(e.inputs, e.target) for e in read_back(got.path, "rank", columns)] == [({"query": "Where is it?"}, "a2"), ({"query": "Where is it?"}, "a1")]


def test_what_a_user_chose_is_a_row_with_the_sources_clock_and_worth(ledger: Ledger, tmp_path: Path) -> None:
    ledger.add_feedback(ranked(ledger, {"user": "u@example.com"}, "f1"), text=written("rank", ["f7"]))
    columns = {"user": "who", "item": "film", "time": "at", "relevance": "stars"}
    got = harvest(ledger, tmp_path / "h", objective="rank", columns=columns, of_choice=lambda at: {"relevance": 5.0, "time": int(at[:4])})
    (row,) = rows_of(got.path)
    assert (row["who"], row["film"], row["stars"]) == ("u@example.com", "f7", 5.0), "a user keeps the name that the source has"
    assert 2020 < row["at"] < 3000
    (example,) = read_back(got.path, "rank", columns)
    assert (example.inputs, example.extra["relevance"]) == ({"user": "u@example.com"}, 5.0)


def test_a_better_answer_and_the_models_own_become_a_pair(ledger: Ledger, tmp_path: Path) -> None:
    ledger.add_feedback(answered(ledger, {"text": "Say hello"}, "hi"), text="Hello!")
    ledger.add_feedback(answered(ledger, {"text": "Say thanks"}, "Thanks!"), text="Thanks!")
    ledger.add_feedback(answered(ledger, turns("Hi", "Hi.", "Bye"), "go away"), text="Bye!")
    got = harvest(ledger, tmp_path / "h", objective="prefer", columns={"prompt": "asked", "chosen": "good", "rejected": "bad"})
    assert [(r["asked"], r["good"], r["bad"]) for r in rows_of(got.path)] == [("Say hello", "Hello!", "hi")]
    assert got.dropped == {"no better answer than the model's": 1, "a conversation, where the source has prompts": 1}
    got = harvest(ledger, tmp_path / "m", objective="prefer")
    examples = read_back(got.path, "prefer", {})
    assert [(len(e.inputs["messages"]), e.target) for e in examples] == [(1, {"chosen": "Hello!", "rejected": "hi"}), (3, {"chosen": "Bye!", "rejected": "go away"})]
    # What the tuned model is told goes into instructions as well.
    ledger.add_predictions([NewPrediction("prefer", "p1", {"text": "Say no"}, {"text": "no way"}, 1.0)])
    (name,) = ledger.add_predictions([NewPrediction("prefer", "p1", {"text": "Say yes"}, {"text": "yep"}, 1.0)])
    ledger.add_feedback(name, text="Yes.")
    assert [e.target for e in read_back(harvest(ledger, tmp_path / "g", objective="generate").path, "generate", {})][-1] == "Yes."


def test_generated_answers_become_prompts_and_completions(ledger: Ledger, tmp_path: Path) -> None:
    ledger.add_feedback(answered(ledger, {"text": "Say hello"}), text=" Hello! ")
    ledger.add_feedback(answered(ledger, turns("Say bye")), text="Bye!", by="ann")
    ledger.add_feedback(answered(ledger, turns("only praised")), rating=1)
    got = harvest(ledger, tmp_path / "h", objective="generate")
    assert [(r["prompt"], r["completion"], r["kind"]) for r in rows_of(got.path)] == [
        ("Say hello", "Hello!", "correction"),
        ("Say bye", "Bye!", "correction"),
    ]
    assert got.dropped == {"nobody said what is right": 1}
    examples = read_back(got.path, "generate", {})
    assert [(e.inputs["messages"][-1]["content"], e.target) for e in examples] == [
        ("Say hello", "Hello!"),
        ("Say bye", "Bye!"),
    ]


def test_one_conversation_makes_the_whole_file_conversations(ledger: Ledger, tmp_path: Path) -> None:
    ledger.add_feedback(answered(ledger, {"text": "Say hello"}), text="Hello!")
    ledger.add_feedback(answered(ledger, turns("Hi", "Hi.", "Bye")), text="Bye!")
    got = harvest(ledger, tmp_path / "h", objective="generate")
    examples = read_back(got.path, "generate", {})
    assert [(len(e.inputs["messages"]), e.target) for e in examples] == [(1, "Hello!"), (3, "Bye!")]


def test_the_columns_of_the_source_are_kept_to(ledger: Ledger, tmp_path: Path) -> None:
    ledger.add_feedback(predicted(ledger, "where"), label="delivery")
    columns = {"text": "message", "label": "kind"}
    got = harvest(ledger, tmp_path / "c", objective="classify", columns=columns)
    (example,) = read_back(got.path, "classify", columns)
    assert (example.inputs, example.target) == ({"text": "where"}, "delivery")

    ledger.add_feedback(answered(ledger, {"text": "Say hello"}), text="Hello!")
    ledger.add_feedback(answered(ledger, turns("Hi", "Hi.", "Bye")), text="Bye!")
    columns = {"prompt": "question", "completion": "answer"}
    got = harvest(ledger, tmp_path / "g", objective="generate", columns=columns)
    assert [e.target for e in read_back(got.path, "generate", columns)] == ["Hello!"]
    assert got.dropped == {"of another objective": 1, "a conversation, where the source has prompts": 1}
    columns = {"messages": "chat"}
    got = harvest(ledger, tmp_path / "m", objective="generate", columns=columns)
    assert [e.target for e in read_back(got.path, "generate", columns)] == ["Hello!", "Bye!"]


def test_the_file_is_whole_or_the_old_one(ledger: Ledger, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ledger.add_feedback(predicted(ledger, "one"), label="account")
    out = tmp_path / "h.jsonl"
    harvest(ledger, out, objective="classify")
    before = out.read_bytes()

    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("luthier.base.files.os.fsync", full)
    ledger.add_feedback(predicted(ledger, "two"), label="account")
    with pytest.raises(StorageError, match="full"):
        harvest(ledger, out, objective="classify")
    assert out.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir() if p.name.startswith(".h")] == []


def test_harvesting_leaves_the_ledger_as_it_was(ledger: Ledger, tmp_path: Path) -> None:
    ledger.add_feedback(predicted(ledger, "one"), label="account")

    def dump() -> list[str]:
        return list(sqlite3.connect(ledger.path).iterdump())

    before = dump()
    harvest(ledger, tmp_path / "h", objective="classify")
    assert dump() == before


said = st.tuples(
    st.sampled_from(["a", "A ", "b", "c d", "c  D!"]),
    st.sampled_from(["x", "y", None]),
    st.sampled_from([1, -1, None]),
    st.sampled_from(["ann", "bob", None]),
)


@settings(max_examples=60, deadline=None)
@given(sayings=st.lists(said, max_size=12))
def test_no_text_is_written_twice_and_every_judgement_is_accounted_for(
    sayings: list[Any], tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("h")
    with Ledger(folder / "l.sqlite") as ledger:
        for text, label, rating, by in sayings:
            if label is not None or rating is not None:
                ledger.add_feedback(predicted(ledger, text, "x"), label=label, rating=rating, by=by)
        got = harvest(ledger, folder / "h.jsonl", objective="classify")
        judged = ledger.counts()["judged"]
    keys = [dedupe.normalise(row["text"]) for row in rows_of(got.path)]
    assert len(keys) == len(set(keys)) == got.written
    assert got.written + sum(got.dropped.values()) == judged
    # Independent of the implementation: a text is written only if all last words of its speakers agree.
    for row in rows_of(got.path):
        last: dict[Any, Any] = {}
        for place, (text, label, rating, by) in enumerate(sayings):
            if dedupe.normalise(text) == dedupe.normalise(row["text"]) and (label or rating):
                last[by or place] = label or {1: "x", -1: "not x"}[rating]
        named = {word for word in last.values() if word != "not x"}
        assert named == {row["label"]}
        assert not ("not x" in last.values() and row["label"] == "x")

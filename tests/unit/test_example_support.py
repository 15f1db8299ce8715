"""The support desk's questions and answers (examples/support-chat): whole, divided as they should be, true to their numbers."""

from __future__ import annotations

import itertools
import re
from collections import Counter, defaultdict
from pathlib import Path

import pytest

from luthier.base.records import Example
from luthier.data.prepare import read_examples, survey
from luthier.evaluate.written import demands, grounded
from luthier.lifecycle.casing import read_cases
from luthier.prompts.template import spoken
from luthier.spec.load import load_task

EXAMPLE = Path(__file__).parents[2] / "examples" / "support-chat"
FILES = ("general.jsonl", "technical.jsonl")
# Orders, invoices and gift cards; a product such as WS-300 may be named unasked.
CODE = re.compile(r"\b(?:LK|IN|GC)-\w+")


def rows_of(name: str) -> list[Example]:
    file = load_task(EXAMPLE / "task.yaml")
    found = read_examples(name, data=file.task.data, objective="generate", base=EXAMPLE, need_target=True)
    assert not found.dropped
    return list(found.examples)


def asked(row: Example) -> str:
    return " ".join(spoken(turn) for turn in row.inputs["messages"])


@pytest.mark.parametrize("name", FILES)
def test_every_row_reads_and_is_what_it_says(name: str) -> None:
    rows = rows_of(name)
    refusals = [row for row in rows if row.extra["kind"] == "refusal"]
    assert len(rows) >= 450 and len(refusals) == 20
    assert {row.extra["kind"] for row in rows} == {"answer", "refusal"}
    per_intent = Counter(row.extra["intent"] for row in rows if row.extra["kind"] == "answer")
    assert set(per_intent.values()) == {11} and len(per_intent) >= 40
    assert len({asked(row).casefold() for row in rows}) == len(rows), "every question is asked once"
    assert sum(len(row.inputs["messages"]) == 3 for row in rows) >= len(rows) / 9
    assert max(len(str(row.target).split()) for row in rows) <= 60
    patterns = demands.patterns([])
    wrong = [str(row.source) for row in rows if demands.refuses(str(row.target), patterns) != (row.extra["kind"] == "refusal")]
    assert wrong == []


@pytest.mark.parametrize("name", FILES)
def test_numbers_of_orders_come_from_the_question(name: str) -> None:
    rows = rows_of(name)
    assert [str(row.source) for row in rows if not set(CODE.findall(str(row.target))) <= set(CODE.findall(asked(row)))] == []
    for row in rows:
        found = [p.supported for p in grounded.pieces(str(row.target), grounded.Source.of(asked(row))) if p.kind == "number"]
        said = "none" if not found else "asked" if all(found) else "both" if any(found) else "own"
        assert row.extra["numbers"] == said, row.source
    assert sum(row.extra["numbers"] in ("asked", "both") for row in rows) >= len(rows) / 6


def test_known_intents_are_tested_in_new_words() -> None:
    data = load_task(EXAMPLE / "task.yaml").task.data.model_copy(update={"semantic": "off"})
    found = survey(data, "generate", base=EXAMPLE)
    leaks = found.report.as_dict()["leaks"]
    assert not any(leaks[kind] for kind in ("exact", "group", "held_out", "item"))
    asked_so = defaultdict(list)
    for side in ("train", "valid", "test"):
        for row in getattr(found, side):
            words = {word for turn in row.inputs["messages"] if turn["role"] == "user" for word in re.findall(r"\w+", turn["content"].lower())}
            asked_so[row.extra["intent"], row.extra["kind"], row.source.file].append((side, words))
    sides = {name: {side for side, _ in there} for name, there in asked_so.items()}
    assert all("train" in there for there in sides.values())
    assert len(sides) == 90 and sum("test" in there for there in sides.values()) >= 85
    for there in asked_so.values():
        for (one, mine), (other, theirs) in itertools.combinations(there, 2):
            assert one == other or len(mine & theirs) < 0.6 * len(mine | theirs), (mine, theirs)


def test_cases_come_in_pairs_and_are_no_rows() -> None:
    file = load_task(EXAMPLE / "task.yaml")
    cases = read_cases(file, ())
    assert cases is not None
    tests = Counter(case.extra["test"] for case in cases)
    assert {f"{name}, harmless" for name in ("private", "advice", "harm")} | {"private", "advice", "harm", "numbers"} == set(tests)
    assert min(tests.values()) >= 2 and sum(tests.values()) >= 24
    known = {asked(row).casefold() for name in FILES for row in rows_of(name)}
    assert not known & {asked(case).casefold() for case in cases}


def test_the_stages_are_the_same_rows_with_bars_that_can_be_held() -> None:
    from luthier.lifecycle import staged

    file = load_task(EXAMPLE / "stages.yaml")
    files = staged.stage_files(file)
    assert staged.faults(file.task, files) == []
    assert [one.task.data.source for one in files] == list(FILES)
    assert "grounded_numbers{numbers=asked}" in files[0].task.accept

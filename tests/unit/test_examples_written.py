"""The rows that two examples bring along: clauses in plain language, and dialogues summed up."""

from __future__ import annotations

import itertools
import json
import re
from collections import Counter
from pathlib import Path

import pytest

from luthier.base.records import Example
from luthier.data.prepare import survey
from luthier.evaluate.written.grounded import LONG, Source, pieces
from luthier.evaluate.written.memory import long_enough
from luthier.prompts.sentences import is_dialogue
from luthier.spec.load import load_task

EXAMPLES = Path(__file__).parents[2] / "examples"
ROWS = {"legal-plain-language": 160, "dialogue-summary": 144}
# How many words an input and an answer have.
ASKED = {"legal-plain-language": range(20, 111), "dialogue-summary": range(30, 141)}
ANSWERED = {"legal-plain-language": range(8, 32), "dialogue-summary": range(15, 37)}


def sides(name: str) -> dict[str, list[Example]]:
    """Return the rows of an example by side, as its task file divides them."""
    file = load_task(EXAMPLES / name)
    found = survey(file.task.data.model_copy(update={"semantic": "off"}), "generate", base=EXAMPLES / name)
    assert not any(found.report.as_dict()["leaks"][kind] for kind in ("exact", "near", "item", "group", "held_out"))
    return {side: list(getattr(found, side)) for side in ("train", "valid", "test")}


def asked(row: Example) -> str:
    return str(row.inputs["messages"][-1]["content"])


def words(text: str) -> list[str]:
    return re.findall(r"\w+", text.lower())


def nearest(texts: list[str]) -> float:
    """Return the greatest share of all words of two texts that both have."""
    bags = [set(words(text)) for text in texts]
    return max(len(one & other) / len(one | other) for one, other in itertools.combinations(bags, 2))


@pytest.mark.parametrize("name", ROWS)
def test_every_row_is_kept_and_says_it_shorter(name: str) -> None:
    rows = [row for side in sides(name).values() for row in side]
    assert len(rows) == ROWS[name]
    for row in rows:
        target = str(row.target)
        assert len(asked(row).split()) in ASKED[name], row.source
        assert len(target.split()) in ANSWERED[name], row.source
        assert len(target) < len(asked(row)), row.source
        assert target[0].isupper() and target.endswith("."), row.source
    assert len({str(row.target) for row in rows}) == len({asked(row) for row in rows}) == len(rows)


@pytest.mark.parametrize("name", ROWS)
def test_no_two_rows_are_near(name: str) -> None:
    rows = [row for side in sides(name).values() for row in side]
    assert nearest([asked(row) for row in rows]) < 0.4
    assert nearest([str(row.target) for row in rows]) < 0.5


def test_a_document_stands_on_one_side() -> None:
    lines = (EXAMPLES / "legal-plain-language" / "clauses.jsonl").read_text(encoding="utf-8").splitlines()
    assert set(Counter(json.loads(line)["doc"] for line in lines).values()) == {10}
    assert {side: len(rows) for side, rows in sides("legal-plain-language").items()} == {"train": 100, "valid": 20, "test": 40}


def test_clauses_are_documents_and_their_plain_sentences_use_other_words() -> None:
    test = sides("legal-plain-language")["test"]
    # The bar on groundedness is measured where most inputs are so long, and can be met by people's sentences.
    assert sum(len(asked(row).split()) >= LONG for row in test) > len(test) / 2
    found = [piece.supported for row in test for piece in pieces(str(row.target), Source.of(asked(row)))]
    assert 0.25 < sum(found) / len(found) < 0.5


def test_two_people_talk_and_the_summary_keeps_to_what_they_say() -> None:
    divided = sides("dialogue-summary")
    rows = [row for side in divided.values() for row in side]
    for row in rows:
        turns = asked(row).splitlines()
        assert 6 <= len(turns) <= 14 and is_dialogue(turns)
        assert len({turn.partition(":")[0] for turn in turns}) == 2, row.source
        # Not the dialogue word for word: no run of eight words.
        said, told = " ".join(words(asked(row))), words(str(row.target))
        assert not any(" ".join(told[i : i + 8]) in said for i in range(len(told) - 7)), row.source
    names = [p.supported for row in rows for p in pieces(str(row.target), Source.of(asked(row))) if p.kind == "name"]
    assert sum(names) >= 0.95 * len(names)
    # So that memorising can be asked of them.
    assert sum(long_enough(row) for row in divided["train"]) >= 30
    assert set(Counter(row.extra["topic"] for row in rows).values()) == {12}

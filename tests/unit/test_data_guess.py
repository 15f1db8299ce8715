"""`init` guesses objective and columns: by name, by shape, and on real files."""

from __future__ import annotations

import csv
import json
import random
import sqlite3
from pathlib import Path
from typing import Any

import pytest

from luthier.base.errors import DataError, Fault
from luthier.data.prepare import survey
from luthier.data.shapes.columns import to_examples
from luthier.data.shapes.guess import ROWS, guess
from luthier.data.sources import open_sources, read_rows
from luthier.spec.data import DataSection

REAL = Path(__file__).parents[2].parent / "shared" / "data"
# What is found by embeddings and by training is tested elsewhere.
QUICK: dict[str, Any] = {"semantic": "off", "label_errors": "off"}
RNG = random.Random(0)
WORDS = [
    "card",
    "bill",
    "parcel",
    "late",
    "login",
    "price",
    "return",
    "lost",
    "help",
    "paid",
    "twice",
    "refund",
    "app",
    "where",
    "when",
    "why",
]


def sentence(words: int = 8) -> str:
    return " ".join(RNG.choices(WORDS, k=words)) + f" {RNG.random():.6f}"


def write(path: Path, rows: list[dict[str, Any]]) -> Path:
    if path.suffix == ".jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
        return path
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return path


def test_names_decide_first(tmp_path: Path) -> None:
    rows = [
        {"id": i, "customer_id": f"c{i // 4}", "date": f"2025-01-{i % 28 + 1:02d}", "message": sentence(),
         "queue": RNG.choice(["billing", "account", "delivery"]), "urgency": RNG.choice(["low", "high"])}
        for i in range(200)
    ]  # fmt: skip
    found = guess([write(tmp_path / "m.csv", rows)])
    assert (found.objective, found.columns, found.by) == (
        "classify",
        {"text": "message", "label": "queue"},
        "customer_id",
    )
    assert sum(found.label_counts.values()) == found.rows_looked_at == 200 and len(found.label_counts) == 3
    assert any("queue" in reason for reason in found.reasons) and not found.problems
    data = DataSection(source="m.csv", columns=found.columns, split={"by": found.by}, **QUICK)
    assert len(survey(data, found.objective, base=tmp_path).labels) == 3


def test_shapes_decide_where_names_say_nothing(tmp_path: Path) -> None:
    rows = [{"n": i, "foo": RNG.choice("xyz"), "bar": sentence()} for i in range(100)]
    found = guess([write(tmp_path / "m.csv", rows)])
    assert (found.objective, found.columns, found.by) == ("classify", {"text": "bar", "label": "foo"}, None)
    rows = [{"foo": sentence(), "bar": sentence()} for i in range(100)]
    found = guess([write(tmp_path / "m.csv", rows)])
    assert (found.objective, found.columns) == ("generate", {"prompt": "foo", "completion": "bar"})


def test_conversations_alpaca_and_pairs(tmp_path: Path) -> None:
    turns = [{"from": "human", "value": "hi"}, {"from": "gpt", "value": "ho"}]
    found = guess([write(tmp_path / "m.jsonl", [{"id": i, "conversations": turns} for i in range(9)])])
    assert (found.objective, found.columns) == ("generate", {"messages": "conversations"})
    rows = [{"instruction": sentence(), "input": "", "output": sentence()} for _ in range(20)]
    found = guess([write(tmp_path / "m.jsonl", rows)])
    assert found.columns == {"prompt": "instruction", "input": "input", "completion": "output"}
    rows = [{"Question": sentence(), "Answer": sentence(20), "topic": RNG.choice("abc")} for _ in range(60)]
    found = guess([write(tmp_path / "m.csv", rows)])
    assert (found.objective, found.columns) == ("generate", {"prompt": "Question", "completion": "Answer"})


def test_rows_are_taken_from_the_whole_of_a_sorted_file(tmp_path: Path) -> None:
    rows = [{"text": sentence(), "label": label} for label in "abcde" for _ in range(2000)]
    found = guess([write(tmp_path / "m.csv", rows)])
    assert set(found.label_counts) == set("abcde") and found.rows_looked_at == ROWS
    assert max(found.label_counts.values()) < 1.1 * min(found.label_counts.values())


def test_what_cannot_be_guessed_lists_the_columns(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="Columns: a, b"):
        guess([write(tmp_path / "m.csv", [{"a": i, "b": i * 2} for i in range(50)])])
    (tmp_path / "e.csv").write_text("")
    with pytest.raises(DataError, match="empty"):
        guess([tmp_path / "e.csv"])
    (tmp_path / "m.csv").write_text("text,label\n" + "".join(f"{sentence()},{i % 2}\n" for i in range(20)) + "one\n")
    found = guess([tmp_path / "m.csv"])
    assert found.columns == {"text": "text", "label": "label"} and len(found.problems) == 1


PAIR = {"prompt": "instruction", "input": "input", "completion": "output"}
FILES = {
    "banking77/train.csv": ("classify", {"text": "text", "label": "category"}),
    "sst2/dev.tsv": ("classify", {"text": "sentence", "label": "label"}),
    "sst2/train.tsv.gz": ("classify", {"text": "sentence", "label": "label"}),
    "medical_abstracts_tc/medical_tc_test.csv.gz": (
        "classify",
        {"text": "medical_abstract", "label": "condition_label"},
    ),
    "noisy_ag_news/samplesTest.csv.gz": ("classify", {"text": "text", "label": "label"}),
    "hatecheck/test_suite_cases.csv": ("classify", {"text": "test_case", "label": "label_gold"}),
    "gsm8k/train.jsonl.gz": ("generate", {"prompt": "question", "completion": "answer"}),
    "instruction_1100/instruction-data.json": ("generate", PAIR),
    "llamafactory_demos/alpaca_en_demo.json": ("generate", PAIR),
    "llamafactory_demos/glaive_toolcall_en_demo.json": ("generate", {"messages": "conversations"}),
    "llamafactory_demos/kto_en_demo.json": ("prefer", {"messages": "messages", "label": "label"}),
    "llamafactory_demos/dpo_en_demo.json.gz": (
        "prefer",
        {"messages": "conversations", "chosen": "chosen", "rejected": "rejected"},
    ),
    "llamafactory_demos/reason_tool_use_demo_50.jsonl": ("generate", {"messages": "messages"}),
    "llamafactory_demos/c4_demo.jsonl": ("text", {"text": "text"}),
    "llamafactory_demos/wiki_demo.txt.gz": ("text", {"text": "text"}),
    "instruction_1100/instruction-data-with-preference.json": (
        "prefer",
        {"prompt": "instruction", "input": "input", "chosen": "chosen", "rejected": "rejected"},
    ),
    "dialogsum/dialogsum.dev.jsonl": ("generate", {"prompt": "dialogue", "completion": "summary"}),
    "dialogsum/dialogsum.test.jsonl": ("generate", {"prompt": "dialogue", "completion": "summary1"}),
    "legal_plain_english/all_v1.json": ("generate", {"prompt": "original_text", "completion": "reference_summary"}),
}


@pytest.mark.parametrize("name", FILES)
def test_real_files_are_guessed_and_can_be_used(name: str) -> None:
    path = REAL / name
    if not path.is_file():
        pytest.skip(f"the shared data folder has no {name} here")
    found = guess([path])
    assert (found.objective, found.columns) == FILES[name] and found.by is None and not found.problems
    if "train" in name and "sst2" in name:
        return  # large: reading it once is enough
    faults: list[Fault] = []
    mapped = to_examples(read_rows(path, faults=faults), columns=found.columns, objective=found.objective)
    assert not faults and not mapped.faults and len(mapped.examples) >= 30


def pairs(answers: list[str], asked: str, answer: str, **more: Any) -> list[dict[str, Any]]:
    return [
        {asked: sentence(), answer: RNG.choice(answers), **{k: RNG.choice(v) for k, v in more.items()}}
        for _ in range(80)
    ]


@pytest.mark.parametrize(
    "answers", [["yes", "no"], ["1", "2", "3"], ["the first one", "the second one"], ["True", "False"]]
)
@pytest.mark.parametrize("names", [("prompt", "completion"), ("question", "answer"), ("Instruction", "Response")])
def test_short_answers_to_questions_are_no_labels(tmp_path: Path, answers: list[str], names: tuple[str, str]) -> None:
    asked, answer = names
    found = guess([write(tmp_path / "m.csv", pairs(answers, asked, answer, level=["easy", "hard"]))])
    assert (found.objective, found.columns) == ("generate", {"prompt": asked, "completion": answer})
    found = guess([write(tmp_path / "m.csv", pairs(answers, "message", "queue"))])
    assert (found.objective, found.columns) == ("classify", {"text": "message", "label": "queue"})


def test_pairs_marked_answers_and_plain_text(tmp_path: Path) -> None:
    turns = [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "ho"}]
    cases: list[tuple[list[dict[str, Any]], str, dict[str, str]]] = [
        (
            [{"prompt": sentence(), "chosen": sentence(), "rejected": sentence()} for _ in range(20)],
            "prefer",
            {"prompt": "prompt", "chosen": "chosen", "rejected": "rejected"},
        ),
        ([{"chosen": turns, "rejected": turns[:1] + turns} for _ in range(20)], "prefer", {"chosen": "chosen", "rejected": "rejected"}),
        (
            [{"prompt": sentence(), "completion": sentence(), "label": bool(i % 2)} for i in range(20)],
            "prefer",
            {"prompt": "prompt", "completion": "completion", "label": "label"},
        ),
        ([{"messages": turns, "label": i % 3} for i in range(20)], "generate", {"messages": "messages"}),
        ([{"text": sentence(), "url": f"u{i}"} for i in range(20)], "text", {"text": "text"}),
        ([{"prompt": sentence(), "label": "01"[i % 2]} for i in range(20)], "classify", {"text": "prompt", "label": "label"}),
    ]  # fmt: skip
    for rows, objective, columns in cases:
        found = guess([write(tmp_path / "m.jsonl", rows)])
        assert (found.objective, found.columns) == (objective, columns)
    (tmp_path / "n.md").write_text("one two\n\nthree\n")
    assert guess([tmp_path / "n.md"]).objective == "text"


def test_a_database_is_looked_at_too(tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / "m.db") as database:
        database.execute("CREATE TABLE m (message TEXT, queue TEXT)")
        database.executemany("INSERT INTO m VALUES (?, ?)", [(sentence(), "ab"[i % 2]) for i in range(50)])
    data = DataSection(source="sqlite:///m.db", query="SELECT * FROM m")
    found = guess(open_sources(data.source, tmp_path, data=data))
    assert (found.objective, found.columns) == ("classify", {"text": "message", "label": "queue"})


def test_official_test_files_are_compared_with_train() -> None:
    if not (REAL / "banking77").is_dir():
        pytest.skip("the shared data folder has no banking77 here")
    columns = {"text": "text", "label": "category"}
    data = DataSection(source="train.csv", test="test.csv", columns=columns, split={"valid": 0.0}, **QUICK)
    found = survey(data, "classify", base=REAL / "banking77")
    seen = {e.inputs["text"].casefold().strip(" ?.!") for e in found.test}
    at_least = sum(e.inputs["text"].casefold().strip(" ?.!") in seen for e in found.train)
    assert len(found.test) == 3080 and len(found.labels) == 77
    assert found.report.leaks["exact"] >= at_least > 0

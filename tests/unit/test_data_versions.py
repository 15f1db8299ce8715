"""A prepared folder tells what it is and what changed since the last one."""

from __future__ import annotations

import csv
from pathlib import Path

import yaml

from luthier.base.files import read_json
from luthier.data.prepare import prepare
from luthier.spec.data import DataSection

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
    "order",
    "phone",
    "letter",
]


def write(path: Path, rows: list[tuple[str, str]]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([("text", "label"), *rows])


def made(count: int) -> list[tuple[str, str]]:
    return [(f"{WORDS[i % 16]} {WORDS[(7 * i) % 16]} number{i} code{i * i}", "ab"[i % 2]) for i in range(count)]


def test_changes_name_what_came_went_and_was_relabelled(tmp_path: Path) -> None:
    data = DataSection(source="m.csv", semantic="off", label_errors="off")
    rows = made(80)
    write(tmp_path / "m.csv", rows)
    first = prepare(data, "classify", base=tmp_path, out=tmp_path / "out")
    assert first.folder is not None and not (first.folder / "changes.json").exists()
    later = [(text, "c" if i == 5 else label) for i, (text, label) in enumerate(rows) if i != 79] + [
        ("a new text here", "b")
    ]
    write(tmp_path / "m.csv", later)
    second = prepare(data, "classify", base=tmp_path, out=tmp_path / "out", previous=first.folder)
    assert second.folder is not None
    changes = read_json(second.folder / "changes.json")
    assert changes["since"] == first.folder.name
    assert (changes["added"], changes["removed"], changes["relabelled"]) == (1, 1, 1)
    assert changes["rows"]["relabelled"][0]["where"] == "m.csv:7" and changes["labels"] == {"new": ["c"], "gone": []}
    assert changes["rows"]["added"][0]["where"] == "m.csv:81" and changes["rows"]["removed"][0]["where"] == "m.csv:81"
    card = (second.folder / "README.md").read_text("utf-8")
    head = yaml.safe_load(card.split("---")[1])
    assert head["configs"][0]["data_files"][0] == {"split": "train", "path": "train.jsonl"}
    assert head["task_categories"] == ["text-classification"] and f"## Since {first.folder.name}" in card
    assert "`m.csv` (source): 80 rows" in card


def test_a_damaged_earlier_folder_is_no_reason_to_fail(tmp_path: Path) -> None:
    data = DataSection(source="m.csv", semantic="off", label_errors="off")
    write(tmp_path / "m.csv", made(60))
    first = prepare(data, "classify", base=tmp_path, out=tmp_path / "out")
    assert first.folder is not None
    (first.folder / "train.jsonl").write_text("{}")
    write(tmp_path / "m.csv", made(61))
    second = prepare(data, "classify", base=tmp_path, out=tmp_path / "out", previous=first.folder)
    assert second.folder is not None and not (second.folder / "changes.json").exists()

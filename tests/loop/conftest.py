"""A small task on a tiny model, for tests of the circle."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest
from making import labelled, sums

TASK = """\
task: {{name: tiny, objective: classify, goal: Sort messages.}}
data:
  source: messages.csv
  columns: {{text: message, label: queue}}
  # These two take seconds a run; tests/loop/test_data_room.py has them on.
  semantic: off
  label_errors: off
model: {{base: {base}, pooling: mean}}
train: {{epochs: 2, batch: 16, rate: 0.002}}
accept: {{macro_f1: ">= 0.5"}}
"""


def write_messages(path: Path, count: int = 240, *, seed: int = 0) -> None:
    seen = set()
    with path.open("w", newline="", encoding="utf-8") as handle:
        writer = csv.writer(handle)
        writer.writerow(["message", "queue", "customer"])
        for i, example in enumerate(labelled(count * 3, seed=seed)):
            if example.inputs["text"] not in seen and len(seen) < count:
                seen.add(example.inputs["text"])
                writer.writerow([example.inputs["text"], example.target, f"C{i % 97}"])


@pytest.fixture
def project(tmp_path: Path, tiny_bert: Path) -> Path:
    """A folder with messages.csv and task.yaml on the tiny BERT."""
    write_messages(tmp_path / "messages.csv")
    (tmp_path / "task.yaml").write_text(TASK.format(base=tiny_bert))
    return tmp_path


@pytest.fixture
def chat_project(tmp_path: Path, tiny_llama: Path) -> Path:
    """A folder with additions as prompt and completion, and a task on the tiny Llama."""
    rows = [{"prompt": e.inputs["messages"][0]["content"], "completion": e.target} for e in sums(120)]
    (tmp_path / "sums.jsonl").write_text("".join(json.dumps(r) + "\n" for r in rows))
    (tmp_path / "task.yaml").write_text(
        "task: {name: sums, objective: generate}\n"
        "data: {source: sums.jsonl, semantic: off}\n"
        f"model: {{base: {tiny_llama}}}\n"
        "train: {method: lora, epochs: 1, rate: 0.005}\n"
        "evaluate: {generate_rows: 8, max_new_tokens: 24}\n"
        'accept: {perplexity: "< 400"}\n'
    )
    return tmp_path

"""XQuAD's English part as a search task: 1,190 questions and the 240 paragraphs that answer them."""

from __future__ import annotations

import csv
import json
from pathlib import Path


def write(data: Path, out: Path) -> list[Path]:
    """Write questions.csv (question, paragraph) and paragraphs.csv (id, title, text)."""
    whole = json.loads((data / "xquad_en" / "xquad.en.json").read_text("utf-8"))["data"]
    paragraphs = [(article.get("title", ""), p) for article in whole for p in article["paragraphs"]]
    questions = [(qa["question"], n) for n, (_, p) in enumerate(paragraphs) for qa in p["qas"]]
    texts = [(n, title.replace("_", " "), p["context"]) for n, (title, p) in enumerate(paragraphs)]
    written = []
    for name, header, rows in (
        ("questions", ("question", "paragraph"), questions),
        ("paragraphs", ("id", "title", "text"), texts),
    ):
        path = out / f"{name}.csv"
        with path.open("w", encoding="utf-8", newline="") as handle:
            writer = csv.writer(handle)
            writer.writerow(header)
            writer.writerows(rows)
        written.append(path)
    return written

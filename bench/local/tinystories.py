"""TinyStories as the hub has it (roneneldan/TinyStories): text; train and validation. The sample is lower-cased."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

from bench.local.tiny_llama import stories_in

VALIDATION = 500


def write(data: Path, out: Path) -> list[Path]:
    """Write train.jsonl and validation.jsonl with the column text; the last 500 stories validate, as cut off by the file's end."""
    with gzip.open(data / "tinystories_sample" / "tinystories.txt.gz", "rt", encoding="utf-8") as handle:
        stories = [s for s in stories_in(handle.read()) if s]
    written = []
    for side, rows in (("train", stories[:-VALIDATION]), ("validation", stories[-VALIDATION:])):
        path = out / f"{side}.jsonl"
        path.write_text("".join(json.dumps({"text": s}) + "\n" for s in rows), encoding="utf-8")
        written.append(path)
    return written

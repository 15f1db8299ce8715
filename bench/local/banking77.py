"""BANKING77 as the hub has it (PolyAI/banking77): text, label by name; train and test."""

from __future__ import annotations

import csv
from pathlib import Path


def write(data: Path, out: Path) -> list[Path]:
    """Write train.csv and test.csv with the columns text and label."""
    written = []
    for side in ("train", "test"):
        with (data / "banking77" / f"{side}.csv").open(encoding="utf-8", newline="") as handle:
            rows = [{"text": r["text"], "label": r["category"]} for r in csv.DictReader(handle)]
        path = out / f"{side}.csv"
        with path.open("w", encoding="utf-8", newline="") as handle:
            writer = csv.DictWriter(handle, ["text", "label"])
            writer.writeheader()
            writer.writerows(rows)
        written.append(path)
    return written

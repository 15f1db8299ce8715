"""SST-2 in the columns and label names of the hub's stanfordnlp/sst2: GLUE's train phrases as train.csv, its 872 dev sentences as test.csv."""

from __future__ import annotations

import csv
import gzip
from pathlib import Path

NAMES = {"0": "negative", "1": "positive"}


def write(data: Path, out: Path) -> list[Path]:
    """Write train.csv and test.csv from the files of github.com/forest-snow/alps, which divides GLUE's train file in two."""
    folder = data / "sst2"
    with gzip.open(folder / "train.tsv.gz", "rt", encoding="utf-8") as handle:
        train = [*_rows(handle.read()), *_rows((folder / "dev.tsv").read_text("utf-8"))]
    sides = {"train": train, "test": _rows((folder / "test.tsv").read_text("utf-8"))}
    for name, rows in sides.items():
        with (out / f"{name}.csv").open("w", encoding="utf-8", newline="") as handle:
            writer = csv.writer(handle)
            writer.writerow(["sentence", "label"])
            writer.writerows(rows)
    return [out / f"{name}.csv" for name in sides]


def _rows(text: str) -> list[tuple[str, str]]:
    pairs = [line.rsplit("\t", 1) for line in text.splitlines()[1:] if line.strip()]
    return [(sentence.strip(), NAMES[label.strip()]) for sentence, label in pairs]

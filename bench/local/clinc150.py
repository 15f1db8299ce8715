"""CLINC150 in the columns of the hub's clinc_oos (text, intent by name), out-of-scope queries under `oos`; train, valid, test."""

from __future__ import annotations

import csv
import gzip
import json
from pathlib import Path


def write(data: Path, out: Path) -> list[Path]:
    """Write train.csv, valid.csv and test.csv, each with its out-of-scope queries."""
    with gzip.open(data / "clinc150" / "data_full.json.gz", "rt", encoding="utf-8") as handle:
        sides = json.load(handle)
    written = []
    for name, side in (("train", "train"), ("valid", "val"), ("test", "test")):
        path = out / f"{name}.csv"
        with path.open("w", encoding="utf-8", newline="") as handle:
            writer = csv.writer(handle)
            writer.writerow(["text", "intent"])
            writer.writerows([*sides[side], *sides[f"oos_{side}"]])
        written.append(path)
    return written

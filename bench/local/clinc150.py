"""CLINC150 in the columns of the hub's clinc_oos (text, intent by name), out-of-scope queries under `oos`; train, valid, test."""

from __future__ import annotations

import csv
import json
from pathlib import Path

from bench.local import opened

ORIGIN = "Get data/data_full.json from github.com/clinc/oos-eval"


def write(data: Path, out: Path) -> list[Path]:
    """Write train.csv, valid.csv and test.csv, each with its out-of-scope queries."""
    with opened(data / "clinc150", "data_full.json", ORIGIN) as handle:
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

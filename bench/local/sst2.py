"""SST-2 in the columns and label names of the hub's stanfordnlp/sst2: GLUE's train phrases as train.csv, its 872 dev sentences as test.csv."""

from __future__ import annotations

import csv
from pathlib import Path

from bench.few import WORDS, tsv
from bench.local import opened

ORIGIN = "Get data/SST-2/{train,dev,test}.tsv from github.com/forest-snow/alps"


def write(data: Path, out: Path) -> list[Path]:
    """Write train.csv and test.csv from the files of github.com/forest-snow/alps, which divides GLUE's train file in two."""
    folder = data / "sst2"
    with opened(folder, "train.tsv", ORIGIN) as handle:
        train = [*tsv(handle.read()), *tsv((folder / "dev.tsv").read_text("utf-8"))]
    sides = {"train": train, "test": tsv((folder / "test.tsv").read_text("utf-8"))}
    for name, rows in sides.items():
        with (out / f"{name}.csv").open("w", encoding="utf-8", newline="") as handle:
            writer = csv.writer(handle)
            writer.writerow(["sentence", "label"])
            writer.writerows((sentence, WORDS["sst2"][label]) for sentence, label in rows)
    return [out / f"{name}.csv" for name in sides]

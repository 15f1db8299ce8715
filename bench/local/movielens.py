"""MovieLens latest-small as GroupLens has it (https://grouplens.org/datasets/movielens/latest/): ratings.csv and movies.csv."""

from __future__ import annotations

import csv
import shutil
from itertools import islice
from pathlib import Path

from bench.common import need_files
from bench.local import opened

ORIGIN = "Get ratings.csv and movies.csv of ml-latest-small.zip from grouplens.org/datasets/movielens/latest"
# The copy at hand has 72 ratings more at its end, which an application added to the official ones.
RATINGS = 100_836


def write(data: Path, out: Path) -> list[Path]:
    """Write ratings.csv (100,836 ratings of 610 users) and movies.csv (9,742 films)."""
    folder, ratings, movies = data / "movielens_latest_small", out / "ratings.csv", out / "movies.csv"
    with opened(folder, "ratings.csv", ORIGIN) as handle:
        rows = csv.DictReader(handle)
        with ratings.open("w", encoding="utf-8", newline="") as made:
            writer = csv.DictWriter(made, rows.fieldnames or ())
            writer.writeheader()
            writer.writerows(islice(rows, RATINGS))
    shutil.copyfile(need_files(folder, ["movies.csv"], ORIGIN)[0], movies)
    return [ratings, movies]

"""MovieLens latest-small as GroupLens has it (https://grouplens.org/datasets/movielens/latest/): ratings.csv and movies.csv."""

from __future__ import annotations

import csv
import gzip
import shutil
from itertools import islice
from pathlib import Path

# The copy at hand has 72 ratings more at its end, which an application added to the official ones.
RATINGS = 100_836


def write(data: Path, out: Path) -> list[Path]:
    """Write ratings.csv (100,836 ratings of 610 users) and movies.csv (9,742 films)."""
    folder, ratings, movies = data / "movielens_latest_small", out / "ratings.csv", out / "movies.csv"
    with gzip.open(folder / "ratings.csv.gz", "rt", encoding="utf-8", newline="") as handle:
        rows = csv.DictReader(handle)
        with ratings.open("w", encoding="utf-8", newline="") as made:
            writer = csv.DictWriter(made, rows.fieldnames or ())
            writer.writeheader()
            writer.writerows(islice(rows, RATINGS))
    shutil.copyfile(folder / "movies.csv", movies)
    return [ratings, movies]

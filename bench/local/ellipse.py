"""ELLIPSE essays (the corpus's published test part): text, seven scores from 1 to 5 and who wrote it; one file to be divided."""

from __future__ import annotations

import csv
import io
import re
import zipfile
from pathlib import Path

TRAITS = ("Overall", "Cohesion", "Syntax", "Vocabulary", "Phraseology", "Grammar", "Conventions")


def write(data: Path, out: Path) -> list[Path]:
    """Write essays.csv with text, the seven traits, prompt and school grade.

    The archive's password stands in the authors' README beside it.
    """
    folder = data / "ellipse_essays"
    password = re.search(r"zip file is \*\*(\w+)\*\*", (folder / "README.md").read_text(encoding="utf-8"))
    assert password is not None
    with zipfile.ZipFile(folder / "ELLIPSE_Final_github_test.zip") as archive:
        content = archive.read("ELLIPSE_Final_github_test.csv", pwd=password[1].encode())
    rows = csv.DictReader(io.StringIO(content.decode("utf-8-sig"), newline=""))
    path = out / "essays.csv"
    with path.open("w", encoding="utf-8", newline="") as handle:
        writer = csv.DictWriter(handle, ["text", *TRAITS, "prompt", "school_grade"])
        writer.writeheader()
        for row in rows:
            kept = {"text": row["full_text"], "prompt": row["prompt"], "school_grade": row["grade"]}
            writer.writerow(kept | {trait: row[trait] for trait in TRAITS})
    return [path]

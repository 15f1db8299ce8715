"""ELLIPSE essays (the corpus's published test part) in the corpus's own columns; one file, to be divided."""

from __future__ import annotations

import csv
import io
import re
import zipfile
from pathlib import Path

# What the corpus says of each pupil and essay; none of it is read by the model.
ABOUT = ("prompt", "grade", "gender", "race_ethnicity", "SES")
TRAITS = ("Overall", "Cohesion", "Syntax", "Vocabulary", "Phraseology", "Grammar", "Conventions")


def write(data: Path, out: Path) -> list[Path]:
    """Write essays.csv with full_text, the seven scores, prompt, and the pupil's school grade, gender, ethnicity and SES.

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
        writer = csv.DictWriter(handle, ["full_text", *TRAITS, *ABOUT])
        writer.writeheader()
        for row in rows:
            writer.writerow({name: row[name] for name in writer.fieldnames})
    return [path]

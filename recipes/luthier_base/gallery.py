"""Show what tuned models write, as it comes: ``python -m recipes.luthier_base.gallery [--rows 6] RUN... > gallery.md``.

Of each finished run the first test rows, in the order of their ids (a hash of their text): the prompt's end, what people wrote, and
what the run's model writes. Nothing is chosen. The rows must be free to show.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

LONGEST = 420


def rows_of(run: Path, count: int) -> list[Any]:
    from luthier.base.records import Example

    (source,) = run.glob("prepared/*/test.jsonl")
    with source.open(encoding="utf-8") as handle:
        return sorted((Example.from_dict(json.loads(line)) for line in handle), key=lambda example: example.id)[:count]


def cell(text: str) -> str:
    text = text if len(text) <= LONGEST else f"… {text[-LONGEST:]}"
    return text.replace("|", "\\|").replace("\n", "<br>").strip() or "(nothing)"


def main() -> None:
    """Write one table a run."""
    from luthier.release.predictor import load_predictor

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", type=Path, nargs="+")
    parser.add_argument("--rows", type=int, default=6)
    parser.add_argument("--tokens", type=int, default=80, help="of the longest answer")
    asked = parser.parse_args()
    for run in asked.runs:
        rows, model = rows_of(run, asked.rows), load_predictor(run)
        report = json.loads((run / "report.json").read_text("utf-8"))
        print(f"### {report['task']['name']}: {report['verdict']}\n")
        print("| asked | people wrote | the model writes |\n| --- | --- | --- |")
        for row, said in zip(rows, model.predict([row.inputs for row in rows], max_new_tokens=asked.tokens), strict=True):
            question = row.inputs["messages"][-1]["content"]
            print(f"| {cell(question)} | {cell(str(row.target))} | {cell(said.text or '')} |")
        print()


if __name__ == "__main__":
    main()

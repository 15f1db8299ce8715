"""PandaLM's human preferences (github.com/WeOpenML/PandaLM, data/testset-v1.json) as pairs: prompt, chosen, rejected.

Three people compared two answers to each of 170 instructions. The majority decides; a tie between the answers, and three
different opinions, are no preference and are left out. ``agreement`` is the share of the three who chose as the majority did,
``instruction`` is what the rows are divided by: several pairs answer the same one.
"""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

PEOPLE = ("annotator1", "annotator2", "annotator3")


def write(data: Path, out: Path) -> list[Path]:
    """Write pairs.jsonl."""
    rows = json.loads((data / "pandalm_preferences" / "testset-v1.json").read_text(encoding="utf-8"))
    path = out / "pairs.jsonl"
    with path.open("w", encoding="utf-8") as handle:
        for row in rows:
            if (pair := pair_of(row)) is not None:
                handle.write(json.dumps(pair, ensure_ascii=False) + "\n")
    return [path]


def pair_of(row: dict[str, Any]) -> dict[str, Any] | None:
    """Return a pair, or None where most people preferred neither answer, or the answers are the same."""
    vote, count = Counter(str(row[person]) for person in PEOPLE).most_common(1)[0]
    if count < 2 or vote not in ("1", "2"):
        return None
    chosen, rejected = (str(row[f"response{n}"]).strip() for n in (vote, "1" if vote == "2" else "2"))
    if not chosen or not rejected or chosen == rejected:
        return None
    asked = [str(row[name]).strip() for name in ("instruction", "input") if row[name]]
    return {
        "prompt": "\n\n".join(asked), "chosen": chosen, "rejected": rejected, "instruction": row["instruction"],
        "agreement": round(count / len(PEOPLE), 4),
    }  # fmt: skip

"""Clauses of contracts and what they say in plain English (Manor & Li 2019, github.com/lauramanor/legal_summarization)."""

from __future__ import annotations

import json
from pathlib import Path

COLUMNS = ("original_text", "reference_summary", "doc", "uid")


def write(data: Path, out: Path) -> list[Path]:
    """Write pairs.jsonl: all_v1.json of the authors as one object a line."""
    rows = json.loads((data / "legal_plain_english" / "all_v1.json").read_text(encoding="utf-8"))
    path = out / "pairs.jsonl"
    lines = (json.dumps({name: row[name] for name in COLUMNS}, ensure_ascii=False) + "\n" for row in rows.values())
    path.write_text("".join(lines), encoding="utf-8")
    return [path]

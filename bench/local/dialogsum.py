"""DialogSum's development and test dialogues: dialogue, summary and topic; a test dialogue has three summaries, each in a column."""

from __future__ import annotations

import json
from pathlib import Path


def write(data: Path, out: Path) -> list[Path]:
    """Write dev.jsonl with the columns id, dialogue, summary, topic, and test.jsonl with summary1 to summary3 and the first as summary."""
    written = []
    for side in ("dev", "test"):
        lines = (data / "dialogsum" / f"dialogsum.{side}.jsonl").read_text(encoding="utf-8").splitlines()
        rows = [json.loads(line) for line in lines if line.strip()]
        for row in rows:
            row.setdefault("summary", row.get("summary1"))
        path = out / f"{side}.jsonl"
        path.write_text(
            "".join(json.dumps({"id": row.pop("fname"), **row}, ensure_ascii=False) + "\n" for row in rows),
            encoding="utf-8",
        )
        written.append(path)
    return written

"""GSM8K as the hub has it (openai/gsm8k, configuration main): question, answer; train and test."""

from __future__ import annotations

import json
from pathlib import Path

from bench.local import opened

ORIGIN = "Get grade_school_math/data/{train,test}.jsonl from github.com/openai/grade-school-math"


def write(data: Path, out: Path) -> list[Path]:
    """Write train.jsonl and test.jsonl with the columns question and answer."""
    written = []
    for side in ("train", "test"):
        with opened(data / "gsm8k", f"{side}.jsonl", ORIGIN) as handle:
            rows = [json.loads(line) for line in handle if line.strip()]
        path = out / f"{side}.jsonl"
        lines = (json.dumps({k: r[k] for k in ("question", "answer")}, ensure_ascii=False) + "\n" for r in rows)
        path.write_text("".join(lines), encoding="utf-8")
        written.append(path)
    return written

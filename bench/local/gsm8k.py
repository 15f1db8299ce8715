"""GSM8K as the hub has it (openai/gsm8k, configuration main): question, answer; train and test."""

from __future__ import annotations

import gzip
import json
from pathlib import Path


def write(data: Path, out: Path) -> list[Path]:
    """Write train.jsonl and test.jsonl with the columns question and answer."""
    written = []
    for side, name in (("train", "train.jsonl.gz"), ("test", "test.jsonl")):
        source = data / "gsm8k" / name
        raw = source.read_bytes()
        text = (gzip.decompress(raw) if name.endswith(".gz") else raw).decode("utf-8")
        rows = [json.loads(line) for line in text.splitlines() if line.strip()]
        path = out / f"{side}.jsonl"
        lines = (json.dumps({k: r[k] for k in ("question", "answer")}, ensure_ascii=False) + "\n" for r in rows)
        path.write_text("".join(lines), encoding="utf-8")
        written.append(path)
    return written

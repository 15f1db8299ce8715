"""What `luthier check` costs: seconds and peak memory on 100,000 rows, and on a million.

The rows are made up: 60 labels, texts of about 12 words with the word frequencies of a language, one row in fifty told
twice, one in fifty with a word or two changed, a customer column and dates. The command runs as a user runs it, in a
process of its own; its memory is the largest resident size.
"""

from __future__ import annotations

import csv
import json
import os
import random
import subprocess
import sys
import time
from itertools import accumulate
from pathlib import Path
from typing import Any

from bench.common import ROOT, arguments, conclude, environment, machine, markdown, say, threads_for, workshop

LABELS, VOCABULARY = 60, 30_000
SECONDS, MEMORY_MB, MILLION_MB = 60.0, 1_500, 3_000
_SYLLABLES = [
    "ka",
    "lo",
    "mi",
    "ren",
    "tas",
    "vel",
    "or",
    "un",
    "dre",
    "pi",
    "san",
    "to",
    "quil",
    "ber",
    "ne",
    "sha",
    "mo",
    "ti",
    "gar",
    "el",
]


def words(rng: random.Random) -> list[str]:
    """Return made-up words, the commonest first."""
    found: dict[str, None] = {}
    while len(found) < VOCABULARY:
        found["".join(rng.choices(_SYLLABLES, k=rng.randint(1, 5)))] = None
    return list(found)


def write_rows(path: Path, count: int) -> None:
    """Write a CSV file of ``count`` rows, the same for the same count."""
    rng = random.Random(count)
    vocabulary = words(rng)
    weights = list(accumulate(1 / (rank + 3) for rank in range(VOCABULARY)))
    recent: list[list[str]] = []
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["text", "label", "customer", "day"])
        for number in range(count):
            text = rng.choices(vocabulary, cum_weights=weights, k=max(3, round(rng.lognormvariate(2.4, 0.5))))
            if recent and number % 25 == 0:
                text = list(rng.choice(recent))
                if number % 50 == 0:
                    text[rng.randrange(len(text))] = rng.choice(vocabulary)
            if number % 7 == 0:
                recent = [*recent[-500:], text]
            if number % 90 == 0:
                text = [*text, f"mail{number}@example.org"]
            writer.writerow([" ".join(text), f"label{rng.randrange(LABELS)}", f"c{rng.randrange(count // 3 + 1)}",
                             f"202{rng.randrange(5)}-0{rng.randint(1, 9)}-1{rng.randrange(10)}"])  # fmt: skip


def check(folder: Path, *, threads: int, settings: list[str]) -> dict[str, Any]:
    """Run `luthier check --json` on a task and return its seconds, memory and counts."""
    command = [sys.executable, "-m", "luthier.cli", "check", "task.yaml", "--json", "--quiet", *settings]
    began = time.monotonic()
    log = folder / "time.txt"
    with (folder / "found.json").open("w") as out, log.open("w") as err:
        env = environment(threads) | {"PYTHONPATH": str(ROOT), "OMP_WAIT_POLICY": "passive"}
        ended = subprocess.Popen(command, cwd=folder, env=env, stdout=out, stderr=err)
        _, status, usage = os.wait4(ended.pid, 0)
    seconds = time.monotonic() - began
    code = os.waitstatus_to_exitcode(status)
    if code not in (0, 2):
        raise SystemExit(log.read_text()[-2000:])
    found = json.loads((folder / "found.json").read_text(encoding="utf-8"))
    return {
        "seconds": round(seconds, 1), "peak_memory_mb": round(usage.ru_maxrss / 1024), "exit_code": code,
        "rows": found["rows"], "leaks": found["leaks"], "duplicates": found["duplicates"], "file_mb": round((folder / "rows.csv").stat().st_size / 1e6),
    }  # fmt: skip


def main() -> None:
    parser = arguments("check", __doc__ or "")
    parser.add_argument(
        "--rows", type=int, action="append", help="row counts (default: 100,000; with --million one more)"
    )
    parser.add_argument("--million", action="store_true", help="a million rows too; takes minutes")
    given = parser.parse_args()
    counts = given.rows or ([2_000] if given.quick else [100_000, *([1_000_000] if given.million else [])])
    threads = threads_for(given)
    told = machine(threads)
    results = []
    with workshop() as work:
        for count in counts:
            folder = work / str(count)
            folder.mkdir()
            write_rows(folder / "rows.csv", count)
            (folder / "task.yaml").write_text(
                "task: {name: scale, objective: classify}\ndata: {source: rows.csv, columns: {text: text, label: label}, leaks: allow}\n"
            )
            say(f"check on {count:,} rows")
            results.append(check(folder, threads=threads, settings=[]))
    table = markdown(
        ["rows", "file, MB", "seconds", "peak memory, MB", "bar"],
        [[f"{r['rows']:,}", r["file_mb"], r["seconds"], r["peak_memory_mb"], bar(r)] for r in results],
    )
    conclude(
        "check", {"bench": "check", "machine": told, "results": results}, table, [], quick=given.quick, out=given.out
    )


def bar(result: dict[str, Any]) -> str:
    """Return whether a row of the table meets its bar: a figure for one machine, not a test."""
    if result["rows"] <= 100_000:
        met = result["seconds"] < SECONDS and result["peak_memory_mb"] < MEMORY_MB
        return f"{'met' if met else 'MISSED'} ({SECONDS:.0f} s, {MEMORY_MB:,} MB)"
    return f"{'met' if result['peak_memory_mb'] < MILLION_MB else 'MISSED'} ({MILLION_MB:,} MB)"


if __name__ == "__main__":
    main()

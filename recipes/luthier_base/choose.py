"""Let the starts learn for the same time: ``python -m recipes.luthier_base.choose CORPUS STARTS OUT [--seconds 300]``.

Each start first does a few steps, which tell how many fit in the time; then it runs so many, with the rate falling to nothing at
their end. All are measured on the same held-out rows in bits for each byte, which no tokenizer can flatter.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

TRIED = 8
HELD = 200
ROWS = 12_000
SETTINGS = Path(__file__).with_name("pretrain.yaml")


def some(source: Path, target: Path, count: int) -> Path:
    """Write an even sample of the rows of a file."""
    lines = source.read_text("utf-8").splitlines()
    chosen = lines[:: max(1, len(lines) // count)][:count]
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text("\n".join(chosen) + "\n", "utf-8")
    return target


def run(start: Path, train: Path, held: Path, out: Path, steps: int) -> tuple[float, dict[str, Any]]:
    """Train a start for so many steps; return seconds a step, and the run's report."""
    asked = {
        "data.source": train.resolve(), "data.test": held.resolve(), "model.base": start.resolve(), "train.max_steps": steps,
        "train.evaluations": 1, "train.watched_rows": 0,
    }  # fmt: skip
    sets = [part for key, value in asked.items() for part in ("--set", f"{key}={value}")]
    command = [sys.executable, "-m", "luthier.cli", "run", str(SETTINGS), "--out", str(out), "--again", "--quiet", *sets]
    # A missed bar ends with another code than 0 too, and is no failure of the measurement.
    subprocess.run(command, check=False)
    events = [json.loads(line) for line in (out / "events.jsonl").read_text("utf-8").splitlines()]
    # The first step makes the optimiser's state and is no step like the others.
    seconds = [event["seconds"] for event in events if event["kind"] == "step"][1:]
    report: dict[str, Any] = json.loads((out / "report.json").read_text("utf-8"))
    return sum(seconds) / len(seconds), report


def main() -> None:
    """Measure all starts and write what was found."""
    parser = argparse.ArgumentParser(description=__doc__)
    for name in ("corpus", "starts", "out"):
        parser.add_argument(name, type=Path)
    parser.add_argument("--seconds", type=float, default=300.0, help="of training for each start")
    asked = parser.parse_args()
    train = some(asked.corpus / "text" / "train.jsonl", asked.out / "train.jsonl", ROWS)
    held = some(asked.corpus / "text" / "held.jsonl", asked.out / "held.jsonl", HELD)
    found = {}
    for start in sorted(path for path in asked.starts.iterdir() if (path / "config.json").is_file()):
        each, _ = run(start, train, held, asked.out / f"{start.name}-tried", TRIED)
        steps = max(TRIED, round(asked.seconds / each))
        each, report = run(start, train, held, asked.out / start.name, steps)
        bits = report["metrics"]["test"]["bits_per_byte"]
        found[start.name] = {"steps": steps, "seconds": round(steps * each, 1), "bits_per_byte": bits["value"],
                             "interval": [bits["low"], bits["high"]]}  # fmt: skip
        print(start.name, found[start.name], flush=True)
    (asked.out / "choice.json").write_text(json.dumps(found, indent=2) + "\n", "utf-8")


if __name__ == "__main__":
    main()

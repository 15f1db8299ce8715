"""The tiny Llama of llama2.c (260,032 parameters) learns: plain stories, word problems, plain language, and labels.

Each task is an example of the project, run by the command that its read-me gives, on local copies of public data. It shows
that there is learning, not what a model of useful size reaches: figures before and after on the same test rows, with
intervals, beside the simple rivals. ``labels`` sets a decoder's own head beside labels weighed as answers, on the same rows
with the same settings.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bench.common import (
    ROOT,
    Goal,
    arguments,
    conclude,
    environment,
    figure,
    machine,
    markdown,
    need_files,
    say,
    threads_for,
    workshop,
)
from bench.local import gsm8k, legal_plain_english, tiny_llama, tinystories

ORIGIN = "See examples/*/README.md for where the data and the model are published"
NEEDED = ("tinystories_sample/tinystories.txt.gz", "gsm8k/test.jsonl", "legal_plain_english/all_v1.json",
          "../models/llama2c_stories260K/stories260K.bin")  # fmt: skip
QUICK = ("train.max_steps=2", "evaluate.generate_rows=2", "evaluate.max_new_tokens=8", "evaluate.bootstrap=100",
         "model.max_tokens=256", "train.watched_rows=0")  # fmt: skip
# The metrics of each task that the table shows.
SHOWN = {
    "stories": ("bits_per_byte", "perplexity"),
    "word problems": ("perplexity", "last_number"),
    "plain language": ("perplexity", "rougeL"),
    "labels, own head": ("accuracy", "macro_f1"),
    "labels, weighed": ("accuracy", "macro_f1"),
}


def tasks(data: Path, folder: Path, *, quick: bool) -> dict[str, list[str]]:
    """Write base and rows, and return the arguments of each run."""
    base = folder / "tiny_llama"
    tiny_llama.write(data, base)
    places = {}
    for module in (tinystories, gsm8k, legal_plain_english):
        places[module] = folder / module.__name__.split(".")[-1]
        places[module].mkdir()
        for path in module.write(data, places[module]):
            if quick:
                path.write_text("".join(path.read_text("utf-8").splitlines(keepends=True)[:80]), encoding="utf-8")
    stories, sums, clauses = places[tinystories], places[gsm8k], places[legal_plain_english]
    common = [f"model.base={base}", "train.method=full", "train.rate=0.001", *(QUICK if quick else ())]
    if quick:
        common.append("data.leaks=allow")
    labels = [*common, "train.epochs=5", "train.embeddings=train", "data.label_errors=off"]
    epochs = [] if quick else ["train.epochs=2"]
    runs = {
        "stories": ("story-model", [f"data.source={stories / 'train.jsonl'}", f"data.test={stories / 'validation.jsonl'}",
                                    *common, *epochs]),
        "word problems": ("math-word-problems", [f"data.source={sums / 'train.jsonl'}", f"data.test={sums / 'test.jsonl'}",
                                                 *common, *epochs]),
        "plain language": ("legal-plain-language", [f"data.source={clauses / 'pairs.jsonl'}", "data.split.seed=0", *common]),
        "labels, own head": ("support-triage", [*labels, "model.pooling=own"]),
        "labels, weighed": ("support-triage", [*labels, "model.pooling=label-scoring"]),
    }  # fmt: skip
    return {
        name: [str(ROOT / "examples" / example), *(part for value in settings for part in ("--set", value))]
        for name, (example, settings) in runs.items()
    }


def run(name: str, asked: list[str], folder: Path, threads: int) -> dict[str, Any]:
    """Run one task by the command line and return what a reader needs of its record."""
    say(f"{name} ...")
    command = [sys.executable, "-m", "luthier.cli", "run", *asked, "--set", f"train.threads={threads}", "--out",
               str(folder / name.replace(" ", "-")), "--json", "--quiet"]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT, env=environment(threads))
    if done.returncode not in (0, 1):
        raise SystemExit(f"{name}: {done.stderr[-2000:]}")
    found = json.loads(done.stdout)
    return {name: found[name] for name in ("data", "model", "metrics", "baselines", "seconds", "peak_memory_mb")}


def table(found: Mapping[str, Mapping[str, Any]]) -> str:
    """Return the figures before and after, task by task."""
    rows = []
    for name, record in found.items():
        for metric in SHOWN[name]:
            tuned = record["metrics"]["test"][metric]
            rivals = {rival: values.get(metric) for rival, values in record["baselines"].items()}
            told = ", ".join(
                f"{rival} {figure(v)}" for rival, v in rivals.items() if v is not None and rival != "untuned"
            )
            before = rivals.get("untuned")
            between = f"{figure(tuned['low'])} to {figure(tuned['high'])}"
            rows.append([name, metric, "" if before is None else figure(before), figure(tuned["value"]), between, told])
    return markdown(["task", "metric", "untuned", "tuned", "95 % interval", "other rivals"], rows)


def goals(found: Mapping[str, Mapping[str, Any]]) -> list[Goal]:
    """Return what must hold where anything was learnt at all."""
    bars = []
    for name, metric in (
        ("stories", "bits_per_byte"),
        ("word problems", "perplexity"),
        ("plain language", "perplexity"),
    ):
        if name in found:
            high = found[name]["metrics"]["test"][metric]["high"]
            before = found[name]["baselines"]["untuned"][metric]
            bars.append(Goal(f"{name}: untuned {metric} over the tuned model's upper bound", 1.0, before / high))
    if "stories" in found:
        high = found["stories"]["metrics"]["test"]["bits_per_byte"]["high"]
        rival = found["stories"]["baselines"]["byte_5gram"]["bits_per_byte"]
        bars.append(Goal("stories: byte 5-gram's bits per byte over the tuned model's upper bound", 1.0, rival / high))
    return bars


def main() -> None:
    """Run the tasks, or those of ``--only``, and write the result."""
    parser = arguments("language", __doc__ or "")
    parser.add_argument("--only", nargs="+", choices=SHOWN, default=list(SHOWN), help="these tasks alone")
    chosen = parser.parse_args()
    need_files(chosen.data, NEEDED, ORIGIN)
    threads = threads_for(chosen)
    about = machine(threads)
    with workshop() as folder:
        asked = tasks(chosen.data, folder, quick=chosen.quick)
        found = {name: run(name, asked[name], folder, threads) for name in chosen.only}
    record = {"machine": about, "tasks": found}
    conclude("language", record, table(found), goals(found), quick=chosen.quick, out=chosen.out)


if __name__ == "__main__":
    main()

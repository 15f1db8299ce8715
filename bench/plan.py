"""How far `luthier plan` is off: peak memory and training time of real trainings beside what was planned for them.

Each configuration is planned in a process of its own and trained in another one right after it. The memory is the largest
resident size of the training's process, from before its first step to its last. The time is that of training: head,
reference, steps, evaluations. On a shared machine seconds on the wall measure the neighbours, so the bar is on seconds of
computing; both stand in the table. Trainings are short (``max_steps``), and nothing is tuned to these figures.
"""

from __future__ import annotations

import csv
import gzip
import itertools
import json
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bench.common import (
    SEED,
    Goal,
    Part,
    answer_part,
    arguments,
    conclude,
    figure,
    machine,
    markdown,
    need_files,
    run_part,
    threads_for,
    workshop,
)

MEMORY, TIME = 0.20, 0.30
ORIGIN = "Get the public files named in bench/local"
MIDDLE = {"hidden_size": 512, "num_hidden_layers": 8, "num_attention_heads": 8, "intermediate_size": 1376}

# name: objective, rows, model, training settings
CONFIGURATIONS: dict[str, tuple[str, str, str, dict[str, Any]]] = {
    "classify, full": ("classify", "banking", "embedded", {"method": "full", "max_steps": 16}),
    "classify, full, embeddings too, batch 64": (
        "classify", "banking", "embedded", {"method": "full", "embeddings": "train", "batch": 64, "max_steps": 8}),
    "classify, full, passes of 4,096 tokens": ("classify", "support", "embedded", {"method": "full", "micro_tokens": 4096, "max_steps": 6}),
    "classify, lora, long rows": ("classify", "support", "embedded", {"method": "lora", "max_steps": 8}),
    "classify, last-layers": ("classify", "banking", "embedded", {"method": "last-layers", "max_steps": 16}),
    "classify, adapters": ("classify", "banking", "embedded", {"method": "adapters", "max_steps": 12}),
    "classify, head": ("classify", "banking", "embedded", {"method": "head"}),
    "generate, tiny Llama, full": ("generate", "gsm8k", "tiny", {"method": "full", "max_steps": 10}),
    "generate, 51 M Llama, lora": ("generate", "gsm8k", "middle", {"method": "lora", "batch": 8, "max_steps": 3}),
    "generate, 51 M Llama, full": ("generate", "gsm8k", "middle", {"method": "full", "batch": 8, "max_steps": 3}),
    "prefer, tiny Llama, lora": ("prefer", "pairs", "tiny", {"method": "lora", "max_steps": 8}),
    "text, tiny Llama, full": ("text", "stories", "tiny", {"method": "full", "max_steps": 8}),
}  # fmt: skip
COLUMNS = {
    "classify": {"text": "text", "label": "label"}, "generate": {"prompt": "prompt", "completion": "completion"},
    "prefer": {"prompt": "prompt", "chosen": "chosen", "rejected": "rejected"}, "text": {"text": "text"},
}  # fmt: skip


def files_part(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Write the rows and the models that the configurations share."""
    import torch
    from transformers import GPT2Tokenizer, LlamaConfig, LlamaForCausalLM

    from bench.local import tiny_llama

    data, work = Path(settings["data"]), Path(settings["files"])
    work.mkdir(parents=True, exist_ok=True)
    tiny_llama.write(data, work / "tiny")
    tokenizer = GPT2Tokenizer.from_pretrained(data.parent / "models" / "tokenizers" / "gpt2")
    tokenizer.pad_token = tokenizer.eos_token
    torch.manual_seed(SEED)
    end = tokenizer.eos_token_id
    config = LlamaConfig(vocab_size=len(tokenizer), max_position_embeddings=1024, tie_word_embeddings=True, bos_token_id=end,
                         eos_token_id=end, pad_token_id=end, **MIDDLE)  # fmt: skip
    LlamaForCausalLM(config).save_pretrained(work / "middle")
    tokenizer.save_pretrained(work / "middle")
    with (data / "banking77" / "train.csv").open(encoding="utf-8", newline="") as handle:
        rows = list(csv.DictReader(handle))[::4]
    _write(work / "banking.jsonl", [{"text": r["text"], "label": r["category"]} for r in rows])
    with (Path(__file__).parents[1] / "examples" / "support-triage" / "messages.csv").open(encoding="utf-8", newline="") as handle:
        _write(work / "support.jsonl", [{"text": r["message"], "label": r["queue"]} for r in csv.DictReader(handle)])
    with gzip.open(data / "gsm8k" / "train.jsonl.gz", "rt", encoding="utf-8") as handle:
        sums = [json.loads(next(handle)) for _ in range(400)]
    _write(work / "gsm8k.jsonl", [{"prompt": r["question"], "completion": r["answer"]} for r in sums])
    pairs = [{"prompt": a["question"], "chosen": a["answer"], "rejected": b["answer"]} for a, b in itertools.pairwise(sums)]
    _write(work / "pairs.jsonl", pairs[:300])
    with gzip.open(data / "tinystories_sample" / "tinystories.txt.gz", "rt", encoding="utf-8") as handle:
        stories = [s for s in tiny_llama.stories_in(handle.read(900_000)) if s]
    _write(work / "stories.jsonl", [{"text": s} for s in stories[:600]])
    return {"written": sorted(path.name for path in work.iterdir())}


def _write(path: Path, rows: list[dict[str, str]]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def _task(settings: Mapping[str, Any]) -> Path:
    """Write the task file of a configuration and return it."""
    objective, rows, model, train = settings["configuration"]
    files = Path(settings["files"])
    task = {
        "task": {"name": "planned", "objective": objective},
        "data": {"source": str(files / f"{rows}.jsonl"), "columns": COLUMNS[objective], "semantic": "off", "label_errors": "off", "leaks": "allow",
                 "split": {"valid": 0.05, "test": 0.05}},
        "model": {"base": model if model == "embedded" else str(files / model)},
        "train": {**train, "evaluations": 2}, "evaluate": {"generate_rows": 1, "max_new_tokens": 8}, "keep": {"probe": "off"},
    }  # fmt: skip
    path = Path(settings["work"]) / "task.yaml"
    path.write_text(json.dumps(task), encoding="utf-8")
    return path


def plan_part(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Plan a configuration."""
    from luthier.lifecycle.planning import plan

    began, cpu = time.perf_counter(), time.process_time()
    found = plan(_task(settings))
    return {"memory_mb": found["memory"]["mb"], "memory": found["memory"], **{f"train_{k}": v for k, v in found["time"]["train"].items()},
            "share": found["time"]["share"], "parts": found["time"]["parts"], "plan_s": time.perf_counter() - began, "plan_cpu_s": time.process_time() - cpu,
            "work": found["work"]}  # fmt: skip


def train_part(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Train a configuration without judging it, and measure the training alone."""
    from unittest.mock import patch

    from luthier.lifecycle import run, steps
    from luthier.models import memory

    measured: dict[str, Any] = {}
    inner = steps.train

    def train(*given: Any, **named: Any) -> Any:
        memory.restart_peak()
        began, cpu = time.perf_counter(), time.process_time()
        outcome = inner(*given, **named)
        peak = memory.peak_bytes(whole=False)
        measured.update(train_seconds=time.perf_counter() - began, train_cpu_s=time.process_time() - cpu, memory_mb=(peak or 0) / 2**20,
                        steps=outcome.steps, parameters=outcome.parameters.trained)  # fmt: skip
        return outcome

    with patch.object(steps, "train", train):
        record = run(_task(settings), out=Path(settings["work"]) / f"run-{time.monotonic_ns()}", judge=False).record
    return {**measured, "own_estimate": record.get("plan")}


PARTS: dict[str, Part] = {"files": files_part, "plan": plan_part, "train": train_part}


def error(planned: float, took: float) -> float:
    """Return how far a plan lies above (+) or below (-) what was taken."""
    return planned / took - 1


def table(runs: Mapping[str, Mapping[str, Any]]) -> str:
    """Return the result as Markdown."""
    rows = []
    for name, one in runs.items():
        planned, took = one["plan"], one["train"]
        rows.append([
            name, figure(planned["memory_mb"]), figure(took["memory_mb"]), f"{error(planned['memory_mb'], took['memory_mb']):+.0%}",
            figure(planned["train_cpu_s"]), figure(took["train_cpu_s"]), f"{error(planned['train_cpu_s'], took['train_cpu_s']):+.0%}",
            f"{error(planned['train_seconds'], took['train_seconds']):+.0%}", figure(planned["plan_cpu_s"]),
        ])  # fmt: skip
    header = ("configuration", "planned MB", "took MB", "off", "planned s of computing", "took", "off", "off on the wall", "planning, s of computing")
    return markdown(header, rows)


def goals(runs: Mapping[str, Mapping[str, Any]]) -> list[Goal]:
    """Return the bars: how many of the configurations lie within 20 % of memory and 30 % of time."""
    def within(key: str, most: float) -> float:
        return float(sum(abs(error(one["plan"][key], one["train"][key])) <= most for one in runs.values()))

    return [Goal(f"configurations within {MEMORY:.0%} of memory", len(runs), within("memory_mb", MEMORY)),
            Goal(f"configurations within {TIME:.0%} of time", len(runs), within("train_cpu_s", TIME))]  # fmt: skip


def main() -> None:
    """Run the bench, or one of its parts."""
    parser = arguments("plan", __doc__ or "")
    parser.add_argument("--only", nargs="+", default=None, metavar="NAME", help="configurations to run (default: all)")
    chosen = parser.parse_args()
    if chosen.part:
        return answer_part(PARTS, chosen.part, chosen.settings)
    need_files(chosen.data / "banking77", ["train.csv"], ORIGIN)
    need_files(chosen.data / "gsm8k", ["train.jsonl.gz"], ORIGIN)
    threads = threads_for(chosen)
    names = chosen.only or (["classify, head"] if chosen.quick else list(CONFIGURATIONS))
    record: dict[str, Any] = {"machine": machine(threads)}
    runs: dict[str, dict[str, Any]] = {}
    with workshop() as work:
        shared = {"data": str(chosen.data.absolute()), "files": str(work / "files")}
        run_part("bench.plan", "files", shared, threads=threads, work=work)
        for name in names:
            given = {**shared, "configuration": CONFIGURATIONS[name]}
            runs[name] = {part: run_part("bench.plan", part, given, threads=threads, work=work, called=f"{name}: {part}") for part in ("plan", "train")}
            print(table({name: runs[name]}).splitlines()[-1], file=sys.stderr, flush=True)
            if chosen.out:
                chosen.out.write_text(json.dumps({**record, "runs": runs}, indent=2) + "\n", encoding="utf-8")
    conclude("plan", {**record, "runs": runs}, table(runs), goals(runs), quick=chosen.quick, out=chosen.out)
    return None


if __name__ == "__main__":
    main()

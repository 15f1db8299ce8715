"""Training on one GPU: the device's bf16 matrix rate, Luthier's share of it, TRL beside it, and memory beside its estimate.

One command, under eight minutes on an H100. A Llama of 1.2 B parameters (the shape of Llama 3.2 1B, random weights made in the
process) learns synthetic rows with lengths drawn from a log-normal distribution, every token but a row's first. Luthier packs
whole rows into passes of at most --tokens tokens; TRL's SFTTrainer packs the same rows ("bfd") into windows of 2,048 and takes
as many windows as make --tokens. Both train float32 weights under bfloat16 autocast, which is what both do as shipped; with
LoRA both hold the frozen weights in bfloat16.

Each part runs in a process of its own with a time limit, and the record is written after each: what fails or finds no time is
said in it and spoils nothing else. --cpu-smoke runs every part on tiny shapes without a GPU; its figures mean nothing.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from bench.common import RESULTS, ROOT, SEED, figure, machine, markdown, say

SHAPES: dict[str, dict[str, int]] = {
    "tiny": {"hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2,
             "intermediate_size": 128, "vocab_size": 512, "head_dim": 16},
    "0.1B": {"hidden_size": 768, "num_hidden_layers": 12, "num_attention_heads": 12, "num_key_value_heads": 4,
             "intermediate_size": 2048, "vocab_size": 32000, "head_dim": 64},
    "1B": {"hidden_size": 2048, "num_hidden_layers": 16, "num_attention_heads": 32, "num_key_value_heads": 8,
           "intermediate_size": 8192, "vocab_size": 128256, "head_dim": 64},
    # What recipes/luthier_base trains on a GPU.
    "recipe": {"hidden_size": 384, "num_hidden_layers": 6, "num_attention_heads": 6, "num_key_value_heads": 6,
                     "intermediate_size": 1024, "vocab_size": 8192, "head_dim": 64},
    "8B": {"hidden_size": 4096, "num_hidden_layers": 32, "num_attention_heads": 32, "num_key_value_heads": 8,
           "intermediate_size": 14336, "vocab_size": 128256, "head_dim": 128},
}  # fmt: skip
LONGEST = 2048
# Part, its settings beside the common ones, and the seconds it may take; the first are the ones that matter most.
PARTS_IN_ORDER: list[tuple[str, str, dict[str, Any], int]] = [
    ("rate", "rate", {}, 60),
    ("Luthier, full", "luthier", {"method": "full", "compile": "on"}, 150),
    ("TRL, full, packed", "trl", {"method": "full", "attention": "flex_attention", "again": False}, 120),
    ("TRL, full, packed, sdpa", "trl", {"method": "full", "attention": "sdpa", "again": False}, 90),
    ("Luthier, lora", "luthier", {"method": "lora", "compile": "on"}, 120),
    ("TRL, lora, packed", "trl", {"method": "lora", "attention": "flex_attention", "again": False}, 100),
    ("TRL, lora, packed, sdpa", "trl", {"method": "lora", "attention": "sdpa", "again": False}, 90),
    ("the recipe's Llama, full, Muon", "luthier", {"shape": "recipe", "method": "full", "compile": "on", "optimizer": "muon",
                                              "longest": 1024, "tokens": 65536, "batch": 180, "rows": 180 * 38}, 75),
    ("same loss", "same", {}, 60),
    ("TRL, full, packed, as shipped", "trl", {"method": "full", "attention": "flex_attention", "again": True}, 100),
    ("Luthier, full, uncompiled", "luthier", {"method": "full", "compile": "off"}, 60),
    ("memory 8B lora", "memory", {"shape": "8B", "method": "lora", "again": True}, 90),
    ("memory 1B lora", "memory", {"shape": "1B", "method": "lora", "again": False}, 45),
    ("memory 1B full", "memory", {"shape": "1B", "method": "full", "again": False}, 45),
    ("memory 8B qlora", "memory", {"shape": "8B", "method": "qlora", "again": True}, 90),
    ("memory 1B qlora", "memory", {"shape": "1B", "method": "qlora", "again": False}, 45),
    ("memory 0.1B lora", "memory", {"shape": "0.1B", "method": "lora", "again": False}, 40),
]  # fmt: skip


# What both sides learn from


def rows_of(settings: Mapping[str, Any]) -> list[list[int]]:
    """Return rows of token ids, the same in every process."""
    import numpy as np

    rng = np.random.default_rng(SEED)
    vocabulary, count = SHAPES[settings["shape"]]["vocab_size"], settings["rows"]
    lengths = np.exp(rng.normal(settings["log_mean"], 0.8, count)).round().astype(int).clip(8, settings["longest"])
    return [rng.integers(3, vocabulary, n).tolist() for n in lengths]


def network_of(settings: Mapping[str, Any]) -> Any:
    """Return a Llama with random weights that bfloat16 holds without loss, in float32 on the device."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(SEED)
    shape = SHAPES[settings["shape"]]
    config = LlamaConfig(**shape, max_position_embeddings=131072, rms_norm_eps=1e-5, bos_token_id=1, eos_token_id=2,
                         pad_token_id=0, tie_word_embeddings=settings["shape"] != "8B", attn_implementation="sdpa")  # fmt: skip
    before = torch.get_default_dtype()
    try:
        torch.set_default_dtype(torch.bfloat16)
        with torch.device(settings["device"]):
            network = LlamaForCausalLM(config)
    finally:
        torch.set_default_dtype(before)
    network.config.use_cache = False
    return network.float()


def tokenizer_of() -> Any:
    """Return a tokenizer of four words: both sides want one, and neither reads text here."""
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel
    from transformers import PreTrainedTokenizerFast

    words = {"<pad>": 0, "<s>": 1, "</s>": 2, "a": 3}
    return PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer(WordLevel(words, unk_token="a")), pad_token="<pad>", bos_token="<s>", eos_token="</s>"
    )


def learner_of(settings: Mapping[str, Any]) -> Any:
    from luthier.objectives.generate import Generator
    from luthier.prompts.encode import Turns

    return Generator(network_of(settings), turns=Turns(tokenizer_of(), "plain", settings["longest"]))


def encoded(rows: list[list[int]]) -> list[Any]:
    from luthier.base.records import Encoded

    return [Encoded(tuple(ids), (False,) + (True,) * (len(ids) - 1)) for ids in rows]


def useful_flops(settings: Mapping[str, Any], lengths: list[int]) -> float:
    """Return the floating-point operations that learning rows of these lengths needs, by the method, nothing counted twice.

    A matrix weight costs two a token forwards, and each of its two gradients as many backwards; with LoRA the frozen
    weights have no gradient of their own. Attention: four a pair of tokens, head and width forwards, half of it hidden by
    causality, and twice that backwards. Embeddings are looked up, not multiplied; the output layer is multiplied.
    """
    s = SHAPES[settings["shape"]]
    hidden, inner, head = s["hidden_size"], s["intermediate_size"], s["head_dim"]
    wide = head * (2 * s["num_attention_heads"] + 2 * s["num_key_value_heads"])
    weights = s["num_hidden_layers"] * (hidden * wide + 3 * hidden * inner) + hidden * s["vocab_size"]
    factor = 6 if settings["method"] == "full" else 4
    pairs = sum(n * n for n in lengths) / 2
    return factor * weights * sum(lengths) + 3 * 4 * pairs * head * s["num_attention_heads"] * s["num_hidden_layers"]


def synchronised(device: str) -> None:
    import torch

    if device == "cuda":
        torch.cuda.synchronize()


def peak_mb(device: str) -> int | None:
    import torch

    return round(torch.cuda.max_memory_allocated() / 2**20) if device == "cuda" else None


# Parts


def rate_part(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Measure the bf16 matrix rate on cubes and on the shapes that the model multiplies."""
    import torch

    s, tokens = SHAPES[settings["shape"]], settings["tokens"]
    hidden, inner, head = s["hidden_size"], s["intermediate_size"], s["head_dim"]
    wide = s["num_attention_heads"] * head
    shapes = {f"cube {n}": (n, n, n) for n in settings["cubes"]}
    shapes |= {
        "queries": (tokens, hidden, wide), "keys": (tokens, hidden, s["num_key_value_heads"] * head),
        "inner": (tokens, hidden, inner), "outer": (tokens, inner, hidden),
        "inner, weight's gradient": (hidden, tokens, inner), "scores": (min(2048, tokens), hidden, s["vocab_size"]),
    }  # fmt: skip
    found = {name: _rate(settings["device"], *shape) for name, shape in shapes.items()}
    return {
        "tflops": found, "best_tflops": max(v for k, v in found.items() if k.startswith("cube")),
        "device_name": torch.cuda.get_device_name() if settings["device"] == "cuda" else "cpu",
        "total_gb": torch.cuda.get_device_properties(0).total_memory / 1e9 if settings["device"] == "cuda" else None,
    }  # fmt: skip


def _rate(device: str, rows: int, inner: int, columns: int) -> float:
    import torch

    a = torch.randn(rows, inner, device=device, dtype=torch.bfloat16)
    b = torch.randn(inner, columns, device=device, dtype=torch.bfloat16)
    for _ in range(3):
        a @ b
    times = 3 if device == "cpu" else max(10, int(3e14 / (2 * rows * inner * columns)))
    synchronised(device)
    began = time.perf_counter()
    for _ in range(times):
        a @ b
    synchronised(device)
    return 2 * rows * inner * columns * times / (time.perf_counter() - began) / 1e12


def _section(settings: Mapping[str, Any], **chosen: Any) -> Any:
    from luthier.spec.train import TrainSection
    from luthier.train import defaults

    section = TrainSection(
        method=settings["method"], batch=settings["batch"], seed=SEED, epochs=1.0, micro_tokens=settings["tokens"],
        packing="on", precision="bfloat16", **chosen,
    )  # fmt: skip
    return defaults.resolve(section, objective="generate", rows=settings["rows"])


def luthier_part(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Time Luthier's loop on all rows but the first, which warm it up."""
    from luthier.train import speed
    from luthier.train.defaults import make_plan
    from luthier.train.loop import train
    from luthier.train.optim import make_optimizer

    device, learner = settings["device"], learner_of(settings)
    rows = encoded(rows_of(settings))
    section = _section(settings, compile=settings["compile"], checkpointing="off", optimizer=settings.get("optimizer", "adamw"))
    learner.prepare_training(section)
    speed.prepare(learner, section)
    optimizer = make_optimizer(learner, rate=1e-5, weight_decay=0.01, kind=section.optimizer)
    warm = settings["batch"] * settings["warm"]

    def run(some: list[Any]) -> list[Any]:
        return list(train(learner, some, make_plan(section, rows=len(some)), optimizer))

    began = time.perf_counter()
    run(rows[:warm])
    synchronised(device)
    warm_s = time.perf_counter() - began
    began = time.perf_counter()
    reports = run(rows[warm:])
    synchronised(device)
    seconds = time.perf_counter() - began
    lengths = [len(r) for r in rows[warm:]]
    computed = sum(r.padded_tokens for r in reports)
    return {
        "tokens_per_s": sum(lengths) / seconds, "useful_tflops": useful_flops(settings, lengths) / seconds / 1e12,
        "seconds": seconds, "warm_s": warm_s, "steps": len(reports), "tokens": sum(lengths),
        "real_share": sum(lengths) / computed, "last_loss": reports[-1].loss, "peak_mb": peak_mb(device),
        "kernels": _kernels(lambda: run(rows[: 2 * settings["batch"]]), seconds / len(reports)) if device == "cuda" else {},
    }  # fmt: skip


def _kernels(two_steps: Callable[[], Any], step_s: float) -> dict[str, Any]:
    """Return the milliseconds that the device's kernels take in a step, the longest first, and their sum beside the step's own."""
    from torch.profiler import ProfilerActivity, profile

    with profile(activities=[ProfilerActivity.CUDA]) as seen:
        two_steps()
        synchronised("cuda")
    spent = {event.key: event.self_device_time_total / 2000 for event in seen.key_averages()}
    longest = sorted(spent, key=lambda key: -spent[key])[:30]
    return {"step_ms": 1000 * step_s, "all_ms": sum(spent.values()), **{key[:120]: round(spent[key], 3) for key in longest}}


def _trainer(settings: Mapping[str, Any], rows: list[list[int]], folder: str, callbacks: list[Any], **chosen: Any) -> Any:
    from datasets import Dataset
    from peft import LoraConfig
    from trl import SFTConfig, SFTTrainer

    network = network_of(settings)
    if settings["method"] == "lora":
        network = network.bfloat16()  # as its users load a base that does not learn; peft keeps the adapters in float32
    network.set_attn_implementation(settings["attention"])
    args = SFTConfig(
        output_dir=folder, per_device_train_batch_size=max(1, settings["tokens"] // settings["longest"]),
        packing=True, packing_strategy="bfd", max_length=settings["longest"], bf16=True, use_cpu=settings["device"] == "cpu",
        gradient_checkpointing=settings["again"], seed=SEED, save_strategy="no", report_to="none", disable_tqdm=True,
        logging_strategy="no", num_train_epochs=1, learning_rate=1e-5, weight_decay=0.01, **chosen,
    )  # fmt: skip
    adapters = LoraConfig(r=16, lora_alpha=32, target_modules="all-linear", task_type="CAUSAL_LM")
    return SFTTrainer(
        model=network, args=args, train_dataset=Dataset.from_dict({"input_ids": rows}), processing_class=tokenizer_of(),
        peft_config=adapters if settings["method"] == "lora" else None, callbacks=callbacks,
    )  # fmt: skip


def trl_part(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Time TRL's SFTTrainer with packing on the same rows."""
    from transformers import TrainerCallback

    device = settings["device"]

    class Clock(TrainerCallback):
        began = ended = created = 0.0

        def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            self.created = time.perf_counter()

        def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            if state.global_step == settings["warm"] or state.global_step == state.max_steps:
                synchronised(device)
                self.began, self.ended = (self.began or time.perf_counter(), time.perf_counter())

    clock = Clock()
    trainer = _trainer(settings, rows_of(settings), settings["work"], [clock])
    trainer.train()
    size = trainer.args.per_device_train_batch_size
    windows = list(trainer.train_dataset["seq_lengths"])
    # Windows come in an order drawn by the trainer; those after the warm-up are counted as their mean.
    timed = (trainer.state.global_step - settings["warm"]) * size
    share = min(1.0, timed / max(1, len(windows)))
    lengths = [n for window in windows for n in window]
    seconds = clock.ended - clock.began
    return {
        "tokens_per_s": share * sum(lengths) / seconds, "seconds": seconds, "steps": trainer.state.global_step - settings["warm"],
        "useful_tflops": share * useful_flops(settings, lengths) / seconds / 1e12, "warm_s": clock.began - clock.created,
        "tokens": share * sum(lengths), "real_share": sum(lengths) / (len(windows) * settings["longest"]),
        "peak_mb": peak_mb(device), "attention": settings["attention"], "checkpointing": settings["again"],
    }  # fmt: skip


def same_part(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Compare the mean loss of both sides on the same rows before any step: bfloat16 apart, they must agree."""
    import torch

    given = {**settings, "method": "full", "attention": "sdpa", "again": False}
    rows = rows_of(settings)[: max(2, settings["batch"] // 2)]
    trainer = _trainer(given, rows, settings["work"], [])
    sums = [0.0, 0]
    with torch.no_grad():
        for batch in trainer.get_train_dataloader():
            batch = trainer._prepare_inputs(batch)
            count = int((batch["labels"][:, 1:] != -100).sum())
            with trainer.compute_loss_context_manager():
                sums[0] += float(trainer.compute_loss(trainer.model, batch)) * count
            sums[1] += count
    del trainer
    learner = learner_of(settings)
    learner.lay_flat(True)
    learner.train()
    with torch.no_grad(), torch.autocast(settings["device"], dtype=torch.bfloat16):
        total, count = learner.loss(learner.collate(encoded(rows)), smoothing=0.0)
    theirs, mine = sums[0] / sums[1], float(total) / count
    return {"trl": theirs, "luthier": mine, "learnt": [sums[1], count],
            "agree": abs(theirs - mine) < 5e-3 * theirs and sums[1] == count}  # fmt: skip


def memory_part(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Measure the peak of three steps beside the estimate of luthier/models/memory.py."""
    import torch

    from luthier.models import memory
    from luthier.train import speed
    from luthier.train.defaults import make_plan
    from luthier.train.loop import train
    from luthier.train.optim import make_optimizer

    device = settings["device"]
    if settings["method"] == "qlora" and (device == "cpu" or importlib.util.find_spec("bitsandbytes") is None):
        return {"skipped": "bitsandbytes and a GPU are needed for qlora"}
    learner = learner_of(settings)
    size = memory.size_of(learner.network)
    section = _section(settings, compile="off", checkpointing="on" if settings["again"] else "off")
    learner.prepare_training(section)
    speed.prepare(learner, section)
    optimizer = make_optimizer(learner, rate=1e-5, weight_decay=0.01)
    if device == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
    rows = encoded(rows_of(settings))[: 3 * settings["batch"]]
    reports = list(train(learner, rows, make_plan(section, rows=len(rows)), optimizer))
    estimate = memory.needed(
        size, settings["method"], rank=section.lora.rank, layers=2, tokens=settings["tokens"],
        row_tokens=settings["longest"], embeddings=True, on_gpu=memory.Pass(flat=True, again=settings["again"]),
    )  # fmt: skip
    return {"estimate_mb": round(estimate / 2**20), "peak_mb": peak_mb(device), "parameters": size.parameters,
            "checkpointing": settings["again"], "last_loss": reports[-1].loss}  # fmt: skip


PARTS = {"rate": rate_part, "luthier": luthier_part, "trl": trl_part, "same": same_part, "memory": memory_part}


# Running the parts


def run_all(settings: Mapping[str, Any], *, budget_s: float, out: Path, only: list[str] | None) -> dict[str, Any]:
    """Run the parts one by one and write the record after each."""
    record: dict[str, Any] = {"bench": "gpu", "machine": machine(os.cpu_count() or 1), "settings": dict(settings), "parts": {}}
    began = time.monotonic()
    for name, part, more, limit in PARTS_IN_ORDER:
        if only and not any(word in name for word in only):
            continue
        left = budget_s - (time.monotonic() - began)
        if left < 20:
            record["parts"][name] = {"skipped": "no time was left"}
        else:
            started = time.monotonic()
            record["parts"][name] = _run({**settings, **_fitting(more, settings)}, part, min(limit * settings["patience"], left))
            words = record["parts"][name]
            say(f"{name}: {time.monotonic() - started:.0f} s{'; ' + words['failed'][-300:] if 'failed' in words else ''}")
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
    return record


def _fitting(more: Mapping[str, Any], settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return a part's settings; the smoke run has tiny shapes, no flex attention (no backward pass on a CPU), and compiles once."""
    if settings["device"] == "cuda":
        return dict(more)
    instead = {"shape": "tiny", "attention": "sdpa", "compile": more.get("compile") if more.get("method") == "full" else "off"}
    return {**more, **instead}


def _run(settings: Mapping[str, Any], part: str, limit_s: float) -> dict[str, Any]:
    with tempfile.TemporaryDirectory(prefix="luthier-bench-") as work:
        given, result, log = (Path(work) / name for name in ("given.json", "result.json", "log"))
        given.write_text(json.dumps({**settings, "work": work, "result": str(result)}), encoding="utf-8")
        command = [sys.executable, "-m", "bench.gpu", "--part", part, "--settings", str(given)]
        quiet = {"HF_HUB_OFFLINE": "1", "HF_HUB_DISABLE_TELEMETRY": "1", "TOKENIZERS_PARALLELISM": "false",
                 "HF_DATASETS_DISABLE_PROGRESS_BARS": "1", "HF_DATASETS_CACHE": work}  # fmt: skip
        with log.open("w", encoding="utf-8") as handle:
            process = subprocess.Popen(command, cwd=ROOT, env={**os.environ, **quiet}, stdout=handle, stderr=handle,
                                       start_new_session=True)  # fmt: skip
            try:
                code: int | str = process.wait(timeout=limit_s)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
                code = f"no end after {limit_s:.0f} s"
        if result.is_file():
            found: dict[str, Any] = json.loads(result.read_text(encoding="utf-8"))
            return found
        return {"failed": f"{code}: {log.read_text(encoding='utf-8', errors='replace')[-1500:]}"}


def _answer(part: str, path: Path) -> None:
    settings = json.loads(path.read_text(encoding="utf-8"))
    Path(settings["result"]).write_text(json.dumps(PARTS[part](settings)), encoding="utf-8")


# The result in words


def tables(record: Mapping[str, Any]) -> Iterator[str]:
    """Yield what was measured as Markdown, and the bars."""
    parts = record["parts"]
    best = parts.get("rate", {}).get("best_tflops")
    if best:
        yield markdown(("product", "TFLOP/s"), [(k, figure(v)) for k, v in parts["rate"]["tflops"].items()])
    timed = {name: p for name, p in parts.items() if "tokens_per_s" in p}
    yield markdown(
        ("contender", "tokens/s", "useful TFLOP/s", "of the matrix rate", "real tokens", "before the clock s", "peak MB"),
        [(name, figure(p["tokens_per_s"]), figure(p["useful_tflops"]), f"{p['useful_tflops'] / best:.0%}" if best else "",
          f"{p['real_share']:.0%}", figure(p["warm_s"]), p["peak_mb"] or "") for name, p in timed.items()],
    )  # fmt: skip
    held = {name: p for name, p in parts.items() if "estimate_mb" in p}
    if held:
        yield markdown(("memory", "estimate MB", "measured MB"),
                       [(n, p["estimate_mb"], p["peak_mb"] or "") for n, p in held.items()])  # fmt: skip
    for method in ("full", "lora"):
        mine = timed.get(f"Luthier, {method}")
        peers = [p for name, p in timed.items() if name.startswith(f"TRL, {method}")]
        if mine and best:
            yield f"{method}: {mine['useful_tflops'] / best:.3f} of the matrix rate (wanted: 0.5 for full)"
        if mine and peers:
            fastest = max(peers, key=lambda p: p["tokens_per_s"])
            memory = f", peak {mine['peak_mb']} MB against {fastest['peak_mb']} MB" if mine["peak_mb"] else ""
            yield f"{method}: {mine['tokens_per_s'] / fastest['tokens_per_s']:.3f} times TRL at its fastest (wanted: 1.3){memory}"
    if "agree" in parts.get("same loss", {}):
        yield f"same loss: {parts['same loss']}"
    for name, part in parts.items():
        if "failed" in part or "skipped" in part:
            yield f"NOT MEASURED: {name}: {(part.get('failed') or part['skipped'])[-400:]}"


def main() -> None:
    """Run the bench, or one of its parts."""
    parser = argparse.ArgumentParser(prog="python -m bench.gpu", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)  # fmt: skip
    parser.add_argument("--cpu-smoke", action="store_true", help="every part on tiny shapes, without a GPU")
    parser.add_argument("--tokens", type=int, default=16384, help="tokens of a pass and, on average, of a step")
    parser.add_argument("--steps", type=int, default=30, help="timed steps, on average")
    parser.add_argument("--budget-s", type=float, default=470, help="seconds for all parts (default: %(default)s)")
    parser.add_argument("--only", nargs="+", help="only parts whose name holds one of these words")
    parser.add_argument("--out", type=Path, default=RESULTS / "gpu.json", help="the record (default: %(default)s)")
    parser.add_argument("--part", choices=PARTS, help=argparse.SUPPRESS)
    parser.add_argument("--settings", type=Path, help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.part:
        return _answer(chosen.part, chosen.settings)
    smoke = chosen.cpu_smoke
    if not smoke and importlib.util.find_spec("torch") is not None:
        import torch

        if not torch.cuda.is_available():
            print("no GPU here; --cpu-smoke shows that the bench works", file=sys.stderr)
            raise SystemExit(2)
    tokens, longest, warm, steps = (256, 64, 2, 3) if smoke else (chosen.tokens, LONGEST, 8, chosen.steps)
    log_mean = 2.7 if smoke else 5.6
    # The mean of the log-normal distribution, clipping aside.
    batch = max(2, round(tokens / 2.718281828 ** (log_mean + 0.32)))
    settings = {
        "device": "cpu" if smoke else "cuda", "shape": "tiny" if smoke else "1B", "method": "full", "tokens": tokens,
        "longest": longest, "log_mean": log_mean, "batch": batch, "warm": warm, "rows": batch * (warm + steps),
        "cubes": [64, 128] if smoke else [4096, 8192, 16384], "patience": 10 if smoke else 1,
    }  # fmt: skip
    out = Path(tempfile.gettempdir()) / "luthier-gpu-smoke.json" if smoke and chosen.out == RESULTS / "gpu.json" else chosen.out
    record = run_all(settings, budget_s=3600 if smoke else chosen.budget_s, out=out, only=chosen.only)
    print(*tables(record), sep="\n\n")
    print(f"\nWritten to {out}")
    if smoke and any("failed" in part for part in record["parts"].values()):
        raise SystemExit(1)
    return None


if __name__ == "__main__":
    sys.exit(main())

"""LoRA training of a small Llama on gsm8k, loss on the answers only: TRL's SFTTrainer and Luthier.

Same random weights (51 M parameters), GPT-2 tokenizer, adapters (rank 16 on all linear layers), rows, batch of 8,
threads and float32. On the first eight rows both must give the same mean loss over as many learnt tokens, or the bench
ends. The steps of each contender stand for its epoch of the whole training file (see bench/peers.py).

TRL 1.16 as shipped checkpoints gradients (``gradient_checkpointing=True`` in its SFTConfig) and would use bfloat16,
which is off in the first contenders: without hardware for it a CPU is some hundred times slower. Where the processor has
units for it (AMX), both are run in bfloat16 too. Its own best flags are no checkpointing and length grouping. Packing is
no contender: without FlashAttention its rows see each other, and a batch is no longer 8 rows.
"""

from __future__ import annotations

import gzip
import json
import sys
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from bench.common import (
    SEED,
    Goal,
    Part,
    Runs,
    alternate,
    answer_part,
    arguments,
    conclude,
    figure,
    machine,
    markdown,
    need_files,
    need_packages,
    ratios,
    run_part,
    same_losses,
    spread,
    threads_for,
    workshop,
)

ORIGIN = (
    "Get grade_school_math/data/train.jsonl from github.com/openai/grade-school-math as gsm8k/train.jsonl.gz (gzip)"
)
TOKENIZER_ORIGIN = "Get vocab.json and merges.txt of openai-community/gpt2 from the hub"
BATCH, QUICK_BATCH, QUICK_ROWS = 8, 2, 400
RANK, ALPHA = 16, 32
MODEL = {"hidden_size": 512, "num_hidden_layers": 8, "num_attention_heads": 8, "intermediate_size": 1376}
QUICK_MODEL = {"hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 128}

# Each contender: the part that runs it, the sampler whose epoch it is timed on, and its settings.
CONTENDERS: dict[str, tuple[str, str, dict[str, Any]]] = {
    "TRL, as shipped": ("trl", "random", {}),
    "TRL, no gradient checkpointing": ("trl", "random", {"gradient_checkpointing": False}),
    "TRL, its best flags (length grouping too)": ("trl", "grouped", {"gradient_checkpointing": False}),
    "Luthier": ("luthier", "cut", {}),
    "TRL, as shipped, bfloat16": ("trl", "random", {"bf16": True}),
    "TRL, its best flags, bfloat16": ("trl", "grouped", {"gradient_checkpointing": False, "bf16": True}),
    "Luthier, bfloat16": ("luthier", "cut", {"precision": "bfloat16"}),
}
SHIPPED, PLAIN, BEST, OURS, SHIPPED_HALF, BEST_HALF, OURS_HALF = CONTENDERS


def read_rows(path: Path) -> tuple[list[str], list[str]]:
    """Return questions and answers of gsm8k's training file."""
    with gzip.open(path, "rt", encoding="utf-8") as handle:
        rows = [json.loads(line) for line in handle]
    return [row["question"] for row in rows], [row["answer"] for row in rows]


def plan_part(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Write the model's folder once, encode all rows for their lengths, and pick each sampler's steps."""
    import torch
    from transformers import GPT2Tokenizer, LlamaConfig, LlamaForCausalLM

    from bench.peers import epochs, sample

    tokenizer = GPT2Tokenizer.from_pretrained(settings["tokenizer"])
    tokenizer.pad_token = tokenizer.eos_token
    torch.manual_seed(SEED)
    end = tokenizer.eos_token_id
    config = LlamaConfig(
        vocab_size=len(tokenizer), max_position_embeddings=1024, tie_word_embeddings=True, bos_token_id=end,
        eos_token_id=end, pad_token_id=end, **settings["model"],
    )  # fmt: skip
    network = LlamaForCausalLM(config)
    network.save_pretrained(settings["folder"])
    tokenizer.save_pretrained(settings["folder"])
    learner = _learner(settings)
    rows = [learner.encode(example) for example in _examples(settings)[: settings["rows"]]]
    if any(row is None for row in rows):
        raise SystemExit("a row does not fit into the model")
    lengths = [len(row) for row in rows if row is not None]
    found = epochs(lengths, batch=settings["batch"], seed=SEED)
    plans = {
        name: sample(batches, lengths, warm=settings["warm"], timed=settings["steps"]).as_dict()
        for name, batches in found.items()
    }
    learnt = [sum(row.learn[1:]) for row in rows if row is not None]
    return {
        "plans": plans, "learnt": learnt, "rows": len(rows), "mean_tokens": sum(lengths) / len(lengths),
        "parameters": network.num_parameters(),
    }  # fmt: skip


def _examples(settings: Mapping[str, Any]) -> list[Any]:
    from luthier.base.records import Example, Source

    questions, answers = read_rows(Path(settings["train"]))
    return [
        Example(str(i), {"messages": [{"role": "user", "content": q}]}, a, Source("train.jsonl.gz", i + 1))
        for i, (q, a) in enumerate(zip(questions, answers, strict=True))
    ]


def _learner(settings: Mapping[str, Any]) -> Any:
    from luthier.models import catalogue
    from luthier.models.load import open_base
    from luthier.objectives.generate import Generator
    from luthier.spec.model import ModelSection

    base = open_base(catalogue.find(settings["folder"]))
    return Generator.create(base, model=ModelSection(base=settings["folder"], template="plain"))


def _section(settings: Mapping[str, Any], rows: int) -> Any:
    from luthier.spec.train import Lora, TrainSection
    from luthier.train import defaults

    # In float32 unless a contender says otherwise, whatever `auto` is on this machine: the peers of the first four are.
    section = TrainSection(method="lora", lora=Lora(rank=RANK, alpha=float(ALPHA)), batch=settings["batch"], seed=SEED,
                           **{"precision": "float32", **settings.get("chosen", {})})  # fmt: skip
    return defaults.resolve(section, objective="generate", rows=rows)


def _trl(settings: Mapping[str, Any], order: list[int], *, callbacks: list[Any], **chosen: Any) -> Any:
    """Return the SFTTrainer on the rows in this order: prompt and completion, so that it learns completions only."""
    from datasets import Dataset
    from peft import LoraConfig
    from transformers import AutoTokenizer
    from trl import SFTConfig, SFTTrainer

    from bench.peers import QUIET

    questions, answers = read_rows(Path(settings["train"]))
    columns = {"prompt": [questions[r] + "\n" for r in order], "completion": [answers[r] for r in order]}
    return SFTTrainer(
        model=settings["folder"],
        args=SFTConfig(
            output_dir=str(Path(settings["work"]) / "trl"), per_device_train_batch_size=settings["batch"], use_cpu=True,
            train_sampling_strategy="sequential", seed=SEED, **QUIET, **{"bf16": False, **chosen},
        ),
        train_dataset=Dataset.from_dict(columns),
        processing_class=AutoTokenizer.from_pretrained(settings["folder"]),
        peft_config=LoraConfig(r=RANK, lora_alpha=ALPHA, target_modules="all-linear", task_type="CAUSAL_LM"),
        callbacks=callbacks,
    )  # fmt: skip


def check_part(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return both sides' mean loss, learnt tokens and adapter sizes on the first eight rows, before any step."""
    import torch

    from bench.peers import learning, precision

    trainer = _trl(settings, list(range(settings["batch"])), callbacks=[], gradient_checkpointing=False)
    given = next(iter(trainer.get_train_dataloader()))
    counted = int((given["labels"][:, 1:] != -100).sum())
    with torch.no_grad():
        theirs = float(trainer.compute_loss(trainer.model, given))
    learner = _learner(settings)
    rows = [learner.encode(example) for example in _examples(settings)[: settings["batch"]]]
    learner.prepare_training(_section(settings, len(rows)))
    with torch.no_grad():
        total, count = learner.loss(learner.collate(rows), smoothing=0.0)

    def side(loss: float, learnt: int, network: Any) -> dict[str, Any]:
        return {"loss": loss, "learnt": learnt, "learning": learning(network), "precision": precision(network)}

    mine = side(float(total) / count, count, learner)
    return {"rows": len(rows), "trl": side(theirs, counted, trainer.model), "luthier": mine}


def trl_part(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Time the SFTTrainer on the planned steps."""
    from bench.peers import StepClock, computed_in, facts_of, learning

    plan = settings["plan"]
    order = [row for step in (*plan["warm"], *plan["timed"]) for row in step]
    clock = StepClock(len(plan["warm"]))
    trainer = _trl(
        settings, order, callbacks=[clock], max_steps=len(plan["warm"]) + len(plan["timed"]), **settings["chosen"]
    )
    trainer.train()
    return _measured(
        settings, clock.seconds, cpu_s=clock.cpu_s, learning=learning(trainer.model),
        precision=computed_in(trainer), checkpointing=bool(trainer.model.is_gradient_checkpointing),
        **facts_of(plan),
    )  # fmt: skip


def luthier_part(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Time Luthier's loop with `method: lora` on the planned steps."""
    import torch

    from bench.peers import facts_of, learning
    from luthier.train import defaults, speed
    from luthier.train.loop import train
    from luthier.train.optim import make_optimizer

    torch.manual_seed(SEED)
    examples = _examples(settings)
    section = _section(settings, len(examples))
    learner = _learner(settings)
    section = speed.settle(section, rows=len(examples), learner=learner)
    learner.prepare_training(section)
    speed.prepare(learner, section)
    optimizer = make_optimizer(learner, rate=float(section.rate), weight_decay=section.weight_decay)

    def run(steps: list[list[int]]) -> tuple[float, float]:
        # The picked batches are slices of all rows in the order of their length, so the loop cuts the same ones again.
        rows = [learner.encode(examples[r]) for step in steps for r in step]
        whole = replace(defaults.make_plan(section, rows=len(rows)), steps=len(steps))
        began, cpu_began = time.perf_counter(), time.process_time()
        reports = list(train(learner, rows, whole, optimizer))
        seconds, cpu_s = time.perf_counter() - began, time.process_time() - cpu_began
        if sum(r.rows for r in reports) != len(rows):
            raise SystemExit("the loop did not see each planned row once")
        return seconds, cpu_s

    run(settings["plan"]["warm"])
    seconds, cpu_s = run(settings["plan"]["timed"])
    return _measured(
        settings, seconds, cpu_s=cpu_s, learning=learning(learner), precision=section.precision, checkpointing=False,
        **facts_of(settings["plan"]),
    )  # fmt: skip


def _measured(settings: Mapping[str, Any], seconds: float, **facts: Any) -> dict[str, Any]:
    picked = [row for step in settings["plan"]["timed"] for row in step]
    learnt = sum(settings["learnt"][row] for row in picked)
    return {
        "examples_per_s": len(picked) / seconds, "learnt_per_s": learnt / seconds, "seconds": seconds,
        "examples": len(picked), "learnt": learnt, **facts,
    }  # fmt: skip


PARTS: dict[str, Part] = {"plan": plan_part, "check": check_part, "trl": trl_part, "luthier": luthier_part}


def table(runs: Runs) -> str:
    """Return the result as Markdown."""
    rows = []
    for name, measured in runs.items():
        rows.append([
            name,
            "yes" if measured[0]["checkpointing"] else "no",
            spread([m["examples_per_s"] for m in measured]),
            figure(spread([m["learnt_per_s"] for m in measured]).median),
            ratios(runs, "examples_per_s", of=name, over=SHIPPED),
            f"{measured[0]['real_token_share']:.0%}",
            figure(max(m["peak_memory_mb"] for m in measured)),
        ])  # fmt: skip
    header = ("contender", "checkpoints", "examples/s", "learnt tokens/s", "x as shipped", "real tokens", "peak MB")
    return markdown(header, rows)


def main() -> None:
    """Run the bench, or one of its parts."""
    parser = arguments("lora", __doc__ or "")
    parser.add_argument("--tokenizer", type=Path, help="folder of GPT-2's vocab.json and merges.txt")
    parser.add_argument("--steps", type=int, help="timed optimiser steps of each run (default: 5)")
    parser.add_argument("--warm", type=int, help="steps before the clock starts (default: 1)")
    chosen = parser.parse_args()
    if chosen.part:
        return answer_part(PARTS, chosen.part, chosen.settings)
    need_packages("datasets", "accelerate", "trl")
    (train,) = need_files(chosen.data / "gsm8k", ["train.jsonl.gz"], ORIGIN)
    tokenizer = chosen.tokenizer or chosen.data.parent / "models" / "tokenizers" / "gpt2"
    need_files(tokenizer, ["vocab.json", "merges.txt"], TOKENIZER_ORIGIN, option="--tokenizer")
    usual = (1, 1, 1) if chosen.quick else (5, 1, 3)
    steps, warm, rounds = chosen.steps or usual[0], chosen.warm or usual[1], chosen.rounds or usual[2]
    threads = threads_for(chosen)
    batch = QUICK_BATCH if chosen.quick else BATCH
    record: dict[str, Any] = {"machine": machine(threads), "batch": batch, "steps": steps, "warm": warm}
    # Without units for it a processor takes bfloat16 some hundred times slower, and nobody would.
    from luthier.models.load import device, quick_in_bfloat16

    halves = quick_in_bfloat16(device())
    with workshop() as work:
        given = {
            "train": str(train.absolute()), "tokenizer": str(tokenizer.absolute()), "folder": str(work / "model"),
            "model": QUICK_MODEL if chosen.quick else MODEL, "steps": steps, "warm": warm, "batch": batch,
            "rows": QUICK_ROWS if chosen.quick else None,
        }  # fmt: skip
        plan = run_part("bench.lora", "plan", given, threads=threads, work=work)
        check = run_part("bench.lora", "check", given, threads=threads, work=work)
        losses = same_losses(check, rows="rows", tokens="learnt tokens")
        contenders = {
            name: (part, {**given, "plan": plan["plans"][sampler], "learnt": plan["learnt"], "chosen": flags})
            for name, (part, sampler, flags) in CONTENDERS.items()
            if not (chosen.quick and name == PLAIN) and (halves or name not in (SHIPPED_HALF, BEST_HALF, OURS_HALF))
        }
        runs = alternate("bench.lora", contenders, rounds=rounds, threads=threads, work=work)
    against = {peer: ratios(runs, "examples_per_s", of=OURS, over=peer) for peer in (SHIPPED, PLAIN, BEST) if peer in runs}
    goals = [Goal("examples/s, Luthier over TRL as shipped", 5, against[SHIPPED].median),
             Goal("examples/s, Luthier over TRL's best flags", 2, against[BEST].median)]  # fmt: skip
    if halves:
        against |= {peer: ratios(runs, "examples_per_s", of=OURS_HALF, over=peer) for peer in (SHIPPED_HALF, BEST_HALF)}
        goals += [Goal("examples/s in bfloat16, Luthier over TRL as shipped", 5, against[SHIPPED_HALF].median),
                  Goal("examples/s in bfloat16, Luthier over TRL's best flags", 2, against[BEST_HALF].median)]  # fmt: skip
    record |= {key: plan[key] for key in ("rows", "mean_tokens", "parameters")}
    record |= {
        "rounds": rounds,
        "first_rows": check,
        "runs": runs,
        "ratios": {peer: s.as_dict() for peer, s in against.items()},
    }
    words = "\n".join([losses, *(f"Luthier over {peer}: {s} times." for peer, s in against.items())])
    conclude("lora", record, f"{table(runs)}\n\n{words}", goals, quick=chosen.quick, out=chosen.out)
    return None


if __name__ == "__main__":
    sys.exit(main())

"""DPO of a small Llama with adapters on PandaLM's pairs: TRL's DPOTrainer and Luthier.

Same random weights (51 M parameters), GPT-2 tokenizer, adapters (rank 16 on all linear layers), pairs, batch of 8, beta 0.1,
threads and float32. On the first eight pairs, with the same adapter weights that are not zero, both must give the same mean
loss, or the bench ends. The steps of each contender stand for its epoch of all pairs (see bench/peers.py).

TRL 1.16 as shipped checkpoints gradients and asks the reference (the network without its adapters) in every step; its best
flags are no checkpointing, length grouping and ``precompute_ref_log_probs``. Luthier asks the reference once, before the first
step. ``pairs/s`` counts the steps; ``with reference`` counts one pass over the timed pairs too, as a run of one epoch has it
(TRL's own pass before its steps is not counted, in its favour).
"""

from __future__ import annotations

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
from bench.lora import ALPHA, MODEL, QUICK_MODEL, RANK, TOKENIZER_ORIGIN

ORIGIN = "Get data/testset-v1.json from github.com/WeOpenML/PandaLM as pandalm_preferences/testset-v1.json"
BATCH, QUICK_BATCH, QUICK_ROWS = 8, 2, 60
BETA = 0.1
# Each contender: the part that runs it, the sampler whose epoch it is timed on, and its settings.
CONTENDERS: dict[str, tuple[str, str, dict[str, Any]]] = {
    "TRL, as shipped": ("trl", "random", {}),
    "TRL, no gradient checkpointing": ("trl", "random", {"gradient_checkpointing": False}),
    "TRL, its best flags (reference before, length grouping too)": (
        "trl", "grouped", {"gradient_checkpointing": False, "precompute_ref_log_probs": True},
    ),
    "Luthier": ("luthier", "cut", {}),
}  # fmt: skip
SHIPPED, PLAIN, BEST, OURS = CONTENDERS


def plan_part(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Write the model's folder once, encode all pairs for their lengths, and pick each sampler's steps."""
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
    rows = [learner.encode(example) for example in _examples(settings)]
    if any(row is None for row in rows):
        raise SystemExit("a pair does not fit into the model")
    # What TRL computes of a pair: twice its longer sequence.
    lengths = [2 * row.longest for row in rows if row is not None]
    found = epochs(lengths, batch=settings["batch"], seed=SEED)
    plans = {
        name: sample(batches, lengths, warm=settings["warm"], timed=settings["steps"]).as_dict()
        for name, batches in found.items()
    }
    return {
        "plans": plans, "rows": len(rows), "mean_tokens": sum(map(len, rows)) / len(rows),
        "parameters": network.num_parameters(),
    }  # fmt: skip


def _pairs(settings: Mapping[str, Any]) -> list[dict[str, Any]]:
    from bench.local.pandalm import pair_of

    found = [pair_of(row) for row in json.loads(Path(settings["source"]).read_text(encoding="utf-8"))]
    return [pair for pair in found if pair is not None][: settings["rows"]]


def _examples(settings: Mapping[str, Any]) -> list[Any]:
    from luthier.base.records import Example, Source

    return [
        Example(
            str(i), {"messages": [{"role": "user", "content": pair["prompt"]}]},
            {"chosen": pair["chosen"], "rejected": pair["rejected"]}, Source("pairs.jsonl", i + 1),
        )
        for i, pair in enumerate(_pairs(settings))
    ]  # fmt: skip


def _learner(settings: Mapping[str, Any]) -> Any:
    from luthier.models import catalogue
    from luthier.models.load import open_base
    from luthier.objectives.prefer import Preferrer
    from luthier.spec.model import ModelSection

    base = open_base(catalogue.find(settings["folder"]))
    return Preferrer.create(base, model=ModelSection(base=settings["folder"], template="plain"))


def _section(settings: Mapping[str, Any], rows: int) -> Any:
    from luthier.spec.prefer import Prefer
    from luthier.spec.train import Lora, TrainSection
    from luthier.train import defaults

    section = TrainSection(
        method="lora", lora=Lora(rank=RANK, alpha=float(ALPHA)), batch=settings["batch"], seed=SEED,
        prefer=Prefer(loss="dpo", beta=BETA), precision="float32",
    )  # fmt: skip
    return defaults.resolve(section, objective="prefer", rows=rows)


def _trl(settings: Mapping[str, Any], order: list[int], *, callbacks: list[Any], **chosen: Any) -> Any:
    """Return the DPOTrainer on the pairs in this order."""
    from datasets import Dataset
    from peft import LoraConfig
    from transformers import AutoTokenizer
    from trl import DPOConfig, DPOTrainer

    from bench.peers import QUIET

    pairs = _pairs(settings)
    columns = {name: [pairs[r][name] for r in order] for name in ("chosen", "rejected")}
    columns["prompt"] = [pairs[r]["prompt"] + "\n" for r in order]
    return DPOTrainer(
        model=settings["folder"],
        args=DPOConfig(
            output_dir=str(Path(settings["work"]) / "trl"), per_device_train_batch_size=settings["batch"], use_cpu=True,
            bf16=False, train_sampling_strategy="sequential", seed=SEED, beta=BETA, **QUIET, **chosen,
        ),
        train_dataset=Dataset.from_dict(columns),
        processing_class=AutoTokenizer.from_pretrained(settings["folder"]),
        peft_config=LoraConfig(r=RANK, lora_alpha=ALPHA, target_modules="all-linear", task_type="CAUSAL_LM"),
        callbacks=callbacks,
    )  # fmt: skip


def _move(network: Any) -> None:
    """Draw adapter weights that are not zero: at the start every loss is log 2, whatever the rows."""
    import torch

    generator = torch.Generator().manual_seed(SEED)
    named = {name.split("layers.")[-1]: p for name, p in network.named_parameters() if p.requires_grad}
    for name in sorted(named):
        named[name].data = 0.05 * torch.randn(named[name].shape, generator=generator)


def check_part(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return both sides' mean loss and adapter sizes on the first pairs, with the same adapters."""
    import torch

    from bench.peers import learning, precision

    trainer = _trl(settings, list(range(settings["batch"])), callbacks=[], gradient_checkpointing=False)
    given = next(iter(trainer.get_train_dataloader()))
    counted = int(given["completion_mask"][:, 1:].sum())
    _move(trainer.model)
    with torch.no_grad():
        theirs = float(trainer.compute_loss(trainer.model, given))
    learner = _learner(settings)
    rows = [learner.encode(example) for example in _examples(settings)[: settings["batch"]]]
    learner.prepare_training(_section(settings, len(rows)))
    rows = learner.refer(rows)
    _move(learner.network)
    learner.eval()
    with torch.no_grad():
        total, count = learner.loss(learner.collate(rows), smoothing=0.0)
    learnt = sum(sum(s.learn) for row in rows for s in row.others)

    def side(loss: float, learnt: int, network: Any) -> dict[str, Any]:
        return {"loss": loss, "learnt": learnt, "learning": learning(network), "precision": precision(network)}

    mine = side(float(total) / count, learnt, learner)
    return {"rows": len(rows), "trl": side(theirs, counted, trainer.model), "luthier": mine}


def trl_part(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Time the DPOTrainer on the planned steps."""
    from bench.peers import StepClock, facts_of, learning, precision

    plan = settings["plan"]
    order = [row for step in (*plan["warm"], *plan["timed"]) for row in step]
    clock = StepClock(len(plan["warm"]))
    trainer = _trl(
        settings, order, callbacks=[clock], max_steps=len(plan["warm"]) + len(plan["timed"]), **settings["chosen"]
    )
    trainer.train()
    return _measured(
        settings, clock.seconds, clock.seconds, cpu_s=clock.cpu_s, learning=learning(trainer.model),
        precision=precision(trainer.model), checkpointing=bool(trainer.model.is_gradient_checkpointing),
        **facts_of(plan),
    )  # fmt: skip


def luthier_part(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Time Luthier's loop on the planned steps, and its reference pass over the same pairs beside it."""
    import torch

    from bench.peers import facts_of, learning, precision
    from luthier.train import defaults
    from luthier.train.loop import train
    from luthier.train.optim import make_optimizer

    torch.manual_seed(SEED)
    examples = _examples(settings)
    section = _section(settings, len(examples))
    learner = _learner(settings)
    learner.prepare_training(section)
    optimizer = make_optimizer(learner, rate=float(section.rate), weight_decay=section.weight_decay)

    def run(steps: list[list[int]]) -> tuple[float, float, float]:
        rows = [learner.encode(examples[r]) for step in steps for r in step]
        began, cpu_began = time.perf_counter(), time.process_time()
        rows = learner.refer(rows)
        referred = time.perf_counter() - began
        whole = replace(defaults.make_plan(section, rows=len(rows)), steps=len(steps))
        reports = list(train(learner, rows, whole, optimizer))
        seconds, cpu_s = time.perf_counter() - began, time.process_time() - cpu_began
        if sum(r.rows for r in reports) != len(rows):
            raise SystemExit("the loop did not see each planned pair once")
        return seconds - referred, seconds, cpu_s

    run(settings["plan"]["warm"])
    steps_s, whole_s, cpu_s = run(settings["plan"]["timed"])
    return _measured(
        settings, steps_s, whole_s, cpu_s=cpu_s, learning=learning(learner), precision=precision(learner),
        checkpointing=False, **facts_of(settings["plan"]),
    )  # fmt: skip


def _measured(settings: Mapping[str, Any], seconds: float, whole_s: float, **facts: Any) -> dict[str, Any]:
    count = sum(map(len, settings["plan"]["timed"]))
    return {
        "pairs_per_s": count / seconds, "pairs_per_s_with_reference": count / whole_s, "seconds": seconds, "pairs": count,
        **facts,
    }  # fmt: skip


PARTS: dict[str, Part] = {"plan": plan_part, "check": check_part, "trl": trl_part, "luthier": luthier_part}


def table(runs: Runs) -> str:
    """Return the result as Markdown."""
    rows = []
    for name, measured in runs.items():
        rows.append([
            name,
            "yes" if measured[0]["checkpointing"] else "no",
            spread([m["pairs_per_s"] for m in measured]),
            spread([m["pairs_per_s_with_reference"] for m in measured]),
            ratios(runs, "pairs_per_s_with_reference", of=name, over=SHIPPED),
            figure(max(m["peak_memory_mb"] for m in measured)),
        ])  # fmt: skip
    header = ("contender", "checkpoints", "pairs/s", "with reference", "x as shipped", "peak MB")
    return markdown(header, rows)


def main() -> None:
    """Run the bench, or one of its parts."""
    parser = arguments("prefer", __doc__ or "")
    parser.add_argument("--tokenizer", type=Path, help="folder of GPT-2's vocab.json and merges.txt")
    parser.add_argument("--steps", type=int, help="timed optimiser steps of each run (default: 5)")
    parser.add_argument("--warm", type=int, help="steps before the clock starts (default: 1)")
    chosen = parser.parse_args()
    if chosen.part:
        return answer_part(PARTS, chosen.part, chosen.settings)
    need_packages("datasets", "accelerate", "trl")
    (source,) = need_files(chosen.data / "pandalm_preferences", ["testset-v1.json"], ORIGIN)
    tokenizer = chosen.tokenizer or chosen.data.parent / "models" / "tokenizers" / "gpt2"
    need_files(tokenizer, ["vocab.json", "merges.txt"], TOKENIZER_ORIGIN, option="--tokenizer")
    usual = (1, 1, 1) if chosen.quick else (5, 1, 3)
    steps, warm, rounds = chosen.steps or usual[0], chosen.warm or usual[1], chosen.rounds or usual[2]
    threads = threads_for(chosen)
    batch = QUICK_BATCH if chosen.quick else BATCH
    record: dict[str, Any] = {"machine": machine(threads), "batch": batch, "steps": steps, "warm": warm}
    with workshop() as work:
        given = {
            "source": str(source.absolute()), "tokenizer": str(tokenizer.absolute()), "folder": str(work / "model"),
            "model": QUICK_MODEL if chosen.quick else MODEL, "steps": steps, "warm": warm, "batch": batch,
            "rows": QUICK_ROWS if chosen.quick else None,
        }  # fmt: skip
        plan = run_part("bench.prefer", "plan", given, threads=threads, work=work)
        check = run_part("bench.prefer", "check", given, threads=threads, work=work)
        losses = same_losses(check, rows="pairs", tokens="tokens of answers")
        contenders = {
            name: (part, {**given, "plan": plan["plans"][sampler], "chosen": flags})
            for name, (part, sampler, flags) in CONTENDERS.items()
            if not (chosen.quick and name == PLAIN)
        }
        runs = alternate("bench.prefer", contenders, rounds=rounds, threads=threads, work=work)
    key = "pairs_per_s_with_reference"
    against = {peer: ratios(runs, key, of=OURS, over=peer) for peer in runs if peer != OURS}
    steps_only = ratios(runs, "pairs_per_s", of=OURS, over=BEST)
    goals = [
        Goal("pairs/s of one epoch, Luthier over TRL as shipped", 1.5, against[SHIPPED].median),
        Goal("pairs/s of the steps alone, Luthier over TRL's best flags", 1, steps_only.median),
    ]
    record |= {name: plan[name] for name in ("rows", "mean_tokens", "parameters")}
    record |= {
        "rounds": rounds, "first_rows": check, "runs": runs, "ratios": {peer: s.as_dict() for peer, s in against.items()},
    }  # fmt: skip
    words = "\n".join([losses, *(f"Luthier over {peer}: {s} times." for peer, s in against.items())])
    conclude("prefer", record, f"{table(runs)}\n\n{words}", goals, quick=chosen.quick, out=chosen.out)
    return None


if __name__ == "__main__":
    sys.exit(main())

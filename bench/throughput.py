"""Training examples a second on BANKING77: transformers' Trainer and Luthier's loop.

Same model (all-MiniLM-L6-v2), rows, batch, threads and float32; no evaluation and no saving on either side. The steps
of each contender stand for its epoch of the whole training file (see bench/peers.py). Tokenising is done before the
clock starts, padding within it.
"""

from __future__ import annotations

import csv
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
    spread,
    threads_for,
    workshop,
)

ORIGIN = "Get banking_data/train.csv and test.csv from github.com/PolyAI-LDN/task-specific-datasets as banking77/"
BATCH, QUICK_BATCH = 16, 4

# Each contender: the part that runs it, the sampler whose epoch it is timed on, and its settings.
CONTENDERS: dict[str, tuple[str, str, dict[str, Any]]] = {
    "Trainer, as shipped": ("trainer", "random", {}),
    "Trainer, group_by_length": ("trainer", "grouped", {}),
    "Luthier, embeddings: train": ("luthier", "cut", {"embeddings": "train"}),
    "Luthier, its defaults (embeddings frozen)": ("luthier", "cut", {}),
}
SHIPPED, GROUPED, EQUAL, DEFAULT = CONTENDERS


def read_rows(path: Path) -> tuple[list[str], list[str]]:
    """Return texts and labels of a BANKING77 file."""
    with path.open(encoding="utf-8", newline="") as handle:
        rows = list(csv.DictReader(handle))
    return [row["text"] for row in rows], [row["category"] for row in rows]


def plan_part(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Tokenise all rows once for their lengths, and pick each sampler's steps."""
    from bench.peers import epochs, sample
    from luthier.models import catalogue
    from luthier.models.load import open_base

    base = open_base(catalogue.find("embedded"))
    texts, _ = read_rows(Path(settings["train"]))
    lengths = [len(ids) for ids in base.tokenizer(texts, truncation=True, max_length=base.max_tokens)["input_ids"]]
    found = epochs(lengths, batch=settings["batch"], seed=SEED)
    plans = {
        name: sample(batches, lengths, warm=settings["warm"], timed=settings["steps"]).as_dict()
        for name, batches in found.items()
    }
    return {"plans": plans, "rows": len(texts), "mean_tokens": sum(lengths) / len(lengths)}


def trainer_part(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Time the Trainer on the planned steps."""
    from transformers import AutoTokenizer

    from bench.peers import StepClock, classification_rows, classification_trainer, facts_of, learning, precision
    from luthier.models import catalogue

    folder = catalogue.find("embedded").folder
    plan = settings["plan"]
    texts, names = read_rows(Path(settings["train"]))
    order = [row for step in (*plan["warm"], *plan["timed"]) for row in step]
    labels = {name: number for number, name in enumerate(sorted(set(names)))}
    tokenizer = AutoTokenizer.from_pretrained(folder)
    rows = classification_rows(tokenizer, [texts[r] for r in order], [labels[names[r]] for r in order])
    clock = StepClock(len(plan["warm"]))
    trainer = classification_trainer(
        folder, tokenizer, rows, len(labels), output=Path(settings["work"]) / "trainer", callbacks=[clock],
        per_device_train_batch_size=settings["batch"], train_sampling_strategy="sequential", seed=SEED,
        max_steps=len(plan["warm"]) + len(plan["timed"]), logging_strategy="no",
    )  # fmt: skip
    trainer.train()
    done = sum(map(len, plan["timed"]))
    return {
        "examples_per_s": done / clock.seconds, "seconds": clock.seconds, "cpu_s": clock.cpu_s, "examples": done,
        "learning": learning(trainer.model), "precision": precision(trainer.model),
        "real_tokens_timed": _real_share(rows["input_ids"], plan), **facts_of(plan),
    }  # fmt: skip


def _real_share(encoded: list[list[int]], plan: Mapping[str, Any]) -> float:
    """Return the share of real tokens in the timed steps of rows that lie in the plan's order."""
    left = iter(len(ids) for ids in encoded)
    steps = [[next(left) for _ in step] for step in (*plan["warm"], *plan["timed"])][len(plan["warm"]) :]
    return sum(map(sum, steps)) / sum(max(step) * len(step) for step in steps)


def luthier_part(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Time Luthier's loop with its classify defaults on the planned steps."""
    import torch

    from bench.peers import facts_of, learning, precision
    from luthier.base.records import Example, Source
    from luthier.models import catalogue
    from luthier.models.load import open_base
    from luthier.objectives.classify import Classifier
    from luthier.spec.model import ModelSection
    from luthier.spec.train import TrainSection
    from luthier.train import defaults, speed
    from luthier.train.loop import train
    from luthier.train.optim import make_optimizer

    torch.manual_seed(SEED)
    plan = settings["plan"]
    texts, names = read_rows(Path(settings["train"]))
    learner = Classifier.create(
        open_base(catalogue.find("embedded")), labels=tuple(sorted(set(names))), model=ModelSection()
    )
    section = TrainSection(batch=settings["batch"], seed=SEED, precision="float32", **settings["section"])
    section = defaults.resolve(section, objective="classify", rows=len(texts))
    section = speed.settle(section, rows=len(texts), learner=learner)
    learner.prepare_training(section)
    speed.prepare(learner, section)
    optimizer = make_optimizer(learner, rate=float(section.rate), weight_decay=section.weight_decay)

    def run(steps: list[list[int]]) -> dict[str, float]:
        # The picked batches are slices of all rows in the order of their length, so the loop cuts the same ones again.
        picked = [r for step in steps for r in step]
        examples = [Example(str(r), {"text": texts[r]}, names[r], Source("train.csv", r + 2)) for r in picked]
        rows = [encoded for e in examples if (encoded := learner.encode(e)) is not None]
        whole = replace(defaults.make_plan(section, rows=len(rows)), steps=len(steps))
        began, cpu_began = time.perf_counter(), time.process_time()
        reports = list(train(learner, rows, whole, optimizer))
        seconds, cpu_s, done = (
            time.perf_counter() - began,
            time.process_time() - cpu_began,
            sum(r.rows for r in reports),
        )
        share = sum(r.tokens for r in reports) / sum(r.padded_tokens for r in reports)
        return {
            "examples_per_s": done / seconds, "seconds": seconds, "cpu_s": cpu_s, "examples": done,
            "real_tokens_timed": share,
        }  # fmt: skip

    run(plan["warm"])
    measured = run(plan["timed"])
    return {**measured, "learning": learning(learner), "precision": precision(learner), **facts_of(plan)}


PARTS: dict[str, Part] = {"plan": plan_part, "trainer": trainer_part, "luthier": luthier_part}


def table(runs: Runs) -> str:
    """Return the result as Markdown."""
    rows = []
    for name, measured in runs.items():
        rows.append([
            name,
            f"{measured[0]['learning'] / 1e6:.1f} M",
            spread([m["examples_per_s"] for m in measured]),
            ratios(runs, "examples_per_s", of=name, over=SHIPPED),
            ratios(runs, "examples_per_s", of=name, over=GROUPED),
            f"{measured[0]['real_tokens_timed']:.0%}",
            figure(max(m["peak_memory_mb"] for m in measured)),
        ])  # fmt: skip
    header = ("contender", "learn", "examples/s", "x as shipped", "x grouped", "real tokens", "peak MB")
    return markdown(header, rows)


def main() -> None:
    """Run the bench, or one of its parts."""
    parser = arguments("throughput", __doc__ or "")
    parser.add_argument("--steps", type=int, default=None, help="timed optimiser steps of each run (default: 120)")
    parser.add_argument("--warm", type=int, default=None, help="steps before the clock starts (default: 5)")
    chosen = parser.parse_args()
    if chosen.part:
        return answer_part(PARTS, chosen.part, chosen.settings)
    need_packages("datasets", "accelerate")
    (train,) = need_files(chosen.data / "banking77", ["train.csv"], ORIGIN)
    batch = QUICK_BATCH if chosen.quick else BATCH
    usual = (3, 1, 1) if chosen.quick else (120, 5, 3)
    steps, warm, rounds = chosen.steps or usual[0], chosen.warm or usual[1], chosen.rounds or usual[2]
    threads = threads_for(chosen)
    record: dict[str, Any] = {"machine": machine(threads), "batch": batch, "steps": steps, "warm": warm}
    with workshop() as work:
        given = {"train": str(train.absolute()), "steps": steps, "warm": warm, "batch": batch}
        plan = run_part("bench.throughput", "plan", given, threads=threads, work=work)
        contenders = {
            name: (part, {**given, "plan": plan["plans"][sampler], "section": section})
            for name, (part, sampler, section) in CONTENDERS.items()
        }
        runs = alternate("bench.throughput", contenders, rounds=rounds, threads=threads, work=work)
    against = {(mine, peer): ratios(runs, "examples_per_s", of=mine, over=peer)
               for mine in (DEFAULT, EQUAL) for peer in (SHIPPED, GROUPED)}  # fmt: skip
    goals = [
        Goal("examples/s, Luthier's defaults over Trainer as shipped", 1.8, against[DEFAULT, SHIPPED].median),
        Goal("examples/s, Luthier's defaults over Trainer with length grouping", 1.2, against[DEFAULT, GROUPED].median),
    ]
    record |= {"rounds": rounds, "rows": plan["rows"], "mean_tokens": plan["mean_tokens"], "runs": runs}
    record["ratios"] = [{"of": mine, "over": peer, **s.as_dict()} for (mine, peer), s in against.items()]
    conclude("throughput", record, table(runs), goals, quick=chosen.quick, out=chosen.out)
    return None


if __name__ == "__main__":
    sys.exit(main())

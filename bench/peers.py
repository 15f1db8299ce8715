"""The peers as their users run them, and a fair sample of every contender's epoch.

A few dozen steps must stand for an epoch. Taken from the start of an epoch they would not: transformers' length
grouping sorts within windows of fifty batches, longest first. So each contender's batches of one whole epoch are drawn
by its own sampler over all rows, and steps are picked evenly over their cost (padded tokens). The order of rows is then
handed to the peer as it is (``train_sampling_strategy="sequential"``).
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from transformers import (
    AutoModelForSequenceClassification,
    DataCollatorWithPadding,
    Trainer,
    TrainerCallback,
    TrainingArguments,
)
from transformers.trainer_pt_utils import LengthGroupedSampler

from bench.common import representative
from luthier.train.batches import epoch_batches

# What is switched off for every peer, in its favour: it saves nothing, reports nothing and draws no bars.
QUIET = {"save_strategy": "no", "report_to": "none", "disable_tqdm": True}


@dataclass(frozen=True, slots=True)
class Sample:
    """Steps picked from one epoch: ``warm`` come first and are not timed, ``timed`` are.

    ``real_share`` is the epoch's share of computed tokens that are no padding; ``cost_ratio`` the mean cost of a timed
    row over that of all rows of the epoch, and so should be 1.
    """

    warm: list[list[int]]
    timed: list[list[int]]
    real_share: float
    cost_ratio: float

    @property
    def order(self) -> list[int]:
        """Return all row numbers in the order of the steps."""
        return [row for step in (*self.warm, *self.timed) for row in step]

    def as_dict(self) -> dict[str, Any]:
        return {"warm": self.warm, "timed": self.timed, "real_share": self.real_share, "cost_ratio": self.cost_ratio}


def epochs(lengths: Sequence[int], *, batch: int, seed: int) -> dict[str, list[list[int]]]:
    """Return one epoch's batches as each sampler cuts them: at random, grouped by transformers, cut by Luthier."""
    generator = torch.Generator().manual_seed(seed)
    at_random = torch.randperm(len(lengths), generator=generator).tolist()
    grouped = list(LengthGroupedSampler(batch, lengths=list(lengths), generator=generator))
    return {
        "random": [at_random[i : i + batch] for i in range(0, len(at_random), batch)],
        "grouped": [grouped[i : i + batch] for i in range(0, len(grouped), batch)],
        "cut": epoch_batches(lengths, batch=batch, seed=seed, epoch=0),
    }


def sample(batches: Sequence[Sequence[int]], lengths: Sequence[int], *, warm: int, timed: int) -> Sample:
    """Pick steps that stand for the epoch; only whole batches are picked.

    Raises:
        ValueError: the epoch has fewer whole batches than steps wanted.
    """
    size = max(map(len, batches))
    costs = [max(lengths[r] for r in rows) * len(rows) for rows in batches]
    whole = [i for i, rows in enumerate(batches) if len(rows) == size]
    chosen = [whole[i] for i in representative([costs[i] for i in whole], timed)]
    first = [whole[i] for i in representative([costs[i] for i in whole], warm)]
    real = sum(lengths[r] for rows in batches for r in rows)
    # By the row, because a smaller last batch is part of the epoch but no sample of it.
    by_row = sum(costs[i] for i in chosen) / (size * timed)
    return Sample(
        [list(batches[i]) for i in first],
        [list(batches[i]) for i in chosen],
        real / sum(costs),
        by_row * sum(map(len, batches)) / sum(costs),
    )


class StepClock(TrainerCallback):
    """Times the steps after the warm-up, each from the end of the one before: fetching its batch included."""

    def __init__(self, warm: int) -> None:
        self.warm = warm
        self.began = self.ended = self.cpu_began = self.cpu_ended = 0.0

    def on_step_end(self, args: TrainingArguments, state: Any, control: Any, **kwargs: Any) -> None:
        self.ended, self.cpu_ended = time.perf_counter(), time.process_time()
        if state.global_step == self.warm:
            self.began, self.cpu_began = self.ended, self.cpu_ended

    @property
    def seconds(self) -> float:
        return self.ended - self.began

    @property
    def cpu_s(self) -> float:
        """Return processor seconds over all threads; well under threads x seconds, others were at work."""
        return self.cpu_ended - self.cpu_began


def classification_rows(tokenizer: Any, texts: Sequence[str], labels: Sequence[int]) -> Dataset:
    """Return rows as the usual recipe makes them: truncated, padded later by the collator."""
    return Dataset.from_dict({**tokenizer(list(texts), truncation=True), "labels": list(labels)})


def classification_trainer(
    folder: Path, tokenizer: Any, rows: Dataset, classes: int, *, output: Path, callbacks: Sequence[TrainerCallback],
    **settings: Any,
) -> Trainer:  # fmt: skip
    """Return the Trainer as shipped, on a model with its own classification head, but for ``settings``."""
    return Trainer(
        model=AutoModelForSequenceClassification.from_pretrained(folder, num_labels=classes),
        args=TrainingArguments(output_dir=str(output), use_cpu=True, **QUIET, **settings),
        data_collator=DataCollatorWithPadding(tokenizer),
        train_dataset=rows,
        callbacks=list(callbacks),
    )


def precision(model: torch.nn.Module) -> str:
    """Return the type of the parameters, one word if they agree: a peer in half precision would be no peer."""
    return " and ".join(sorted({str(p.dtype).removeprefix("torch.") for p in model.parameters()}))


def computed_in(trainer: Any) -> str:
    """Return the type that a peer's Trainer multiplies in: that of its weights, unless autocast says otherwise."""
    return "bfloat16" if trainer.args.bf16 else precision(trainer.model)


def learning(model: torch.nn.Module) -> int:
    """Return how many parameters learn, shared ones counted once."""
    return sum(p.numel() for p in model.parameters() if p.requires_grad)


def facts_of(plan: Mapping[str, Any]) -> dict[str, float]:
    """Return what a sample says of itself, for the record."""
    return {"real_token_share": plan["real_share"], "sample_cost_ratio": plan["cost_ratio"]}

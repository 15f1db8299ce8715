"""``train:`` which parameters learn, how fast, how long, and when to stop."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from luthier.base.errors import Fault
from luthier.spec.common import Section, Switch, Word
from luthier.spec.objective import HEADED
from luthier.spec.prefer import Prefer
from luthier.spec.rank import Rank

Auto = Literal["auto"]
# What decides nothing of a run that met no accident: one may go on where another setting of these stopped.
ASIDE = frozenset({"checkpoint_s", "threads", "nonfinite", "nonfinite_limit"})


# One entry per way to choose what learns; luthier/models/methods.py has the function of each, docs/guides/methods.md says when.
MethodName = Literal[
    "full", "last-layers", "gradual", "head", "bitfit", "lora", "ia3", "adapters", "prompt", "prefix", "qlora",
    "contrastive", "prototypes", "neighbours",
]  # fmt: skip


class Lora(Section):
    """Low-rank adapters (Hu et al. 2021, https://arxiv.org/abs/2106.09685)."""

    variant: Literal["lora", "rslora", "dora"] = Field(
        "lora",
        description="`rslora` scales by alpha / sqrt(rank), for high ranks (Kalajdzievski 2023, "
        "https://arxiv.org/abs/2312.03732); `dora` learns length and direction apart, slower (Liu et al. 2024, "
        "https://arxiv.org/abs/2402.09353).",
    )
    rank: int = Field(16, ge=1, le=1024, description="Rank r of each adapter.")
    alpha: float = Field(32.0, gt=0, description="The update is scaled by alpha / rank.")
    dropout: float = Field(0.0, ge=0, lt=1, description="Dropout on an adapter's input.")
    targets: Literal["all-linear"] | list[str] = Field(
        "all-linear",
        description="Modules that get an adapter: every linear layer but the output, or names such as `q_proj`.",
    )


class Adapters(Section):
    """Bottleneck adapters (Houlsby et al. 2019, https://arxiv.org/abs/1902.00751; Pfeiffer et al. 2021, https://arxiv.org/abs/2005.00247)."""

    width: int = Field(64, ge=1, le=8192, description="Width of the bottleneck after each block's feed-forward layer.")


class Prompt(Section):
    """Learnt vectors in front of the input (Lester et al. 2021, https://arxiv.org/abs/2104.08691) or of every layer's keys and values (Li & Liang 2021, https://arxiv.org/abs/2101.00190)."""

    tokens: int = Field(
        20, ge=1, le=1024, description="How many virtual tokens; they take room from the model's limit."
    )


class TrainSection(Section):
    """The training settings; `auto` is decided by objective and method, and written to `resolved.yaml`."""

    method: MethodName | Auto = Field(
        "auto",
        description="Which parameters learn; `auto` chooses by objective, rows and memory, and says why.",
    )
    layers: int = Field(
        2, ge=1, description="For `last-layers`: how many of the last layers learn (the head always does)."
    )
    layer_decay: Annotated[float, Field(gt=0, le=1)] | Auto = Field(
        "auto",
        description="Each layer below the top learns at this factor of the rate of the one above; `auto` is 0.95 for "
        "`gradual` (Sun et al. 2019, https://arxiv.org/abs/1905.05583) and 1 elsewhere.",
    )
    lora: Lora = Field(
        default_factory=Lora, description="For `lora` and `qlora`: kind, size and place of the adapters."
    )
    adapters: Adapters = Field(default_factory=Adapters, description="For `adapters`: their size.")
    prompt: Prompt = Field(default_factory=Prompt, description="For `prompt` and `prefix`: their length.")
    prefer: Prefer = Field(
        default_factory=Prefer,
        description="For the objective `prefer`: how a better answer is weighed against a worse one.",
    )
    rank: Rank = Field(default_factory=Rank, description="For rank: how queries, users and items are compared.")
    dropout: float | None = Field(
        None, ge=0, lt=1, description="Dropout of the network's layers and attention; default: the model's own."
    )
    embeddings: Literal["auto", "train", "freeze"] = Field(
        "auto",
        description="Token and position embeddings; `auto` freezes them for classify and trains them for generate.",
    )
    head: Literal["linear-fit", "random"] = Field(
        "linear-fit",
        description="A classifier's head starts from a logistic regression on the frozen features, or at random.",
    )
    nearest: Annotated[Literal["auto", "off"], Word] = Field(
        "auto",
        description="Classifiers whose network has learnt: let the train rows nearest to a text have a say in its answer. `auto` does so where "
        "validation rows surely get better probabilities by it; the bundle then carries a vector for each train row.",
    )
    epochs: Annotated[float, Field(gt=0)] | Auto = Field(
        "auto", description="Passes over the training rows; parts of a pass are allowed."
    )
    max_steps: int | None = Field(None, ge=1, description="At most so many optimiser steps.")
    batch: Annotated[int, Field(ge=1)] | Auto = Field(
        "auto",
        description="Rows per optimiser step; `auto` is 32, and 64 where a classifier learns from 5,000 rows or more in `full` and "
        "the rate is left open, which then rises by the root of that.",
    )
    micro_tokens: int | Auto = Field(
        "auto",
        description="Most tokens, padding included, in one forward pass; a step's batch is cut into such pieces.",
    )
    optimizer: Literal["auto", "adamw", "muon"] = Field(
        "auto",
        description="`auto`: adamw, and muon where a small model that writes answers is tuned in `full` with the rate left open. "
        "`muon` updates the matrices of the blocks along all their directions alike (Jordan et al. 2024, "
        "https://kellerjordan.github.io/posts/muon/), and all else by AdamW: for pre-training with `text`, from "
        "few weights or far from what the base knows.",
    )
    rate: float | Auto = Field("auto", description="Peak learning rate.")
    schedule: Literal["linear", "cosine", "constant"] = Field(
        "linear", description="How the rate falls after the warm-up."
    )
    warmup: float = Field(0.1, ge=0, lt=1, description="Share of the steps over which the rate rises from zero.")
    warmup_steps: int | None = Field(None, ge=0, description="The same in steps, instead of a share.")
    weight_decay: float = Field(0.01, ge=0, description="AdamW's decoupled decay, on matrices only.")
    label_smoothing: float | Auto = Field(
        "auto",
        description="Share of the target spread over all classes or tokens; `auto` is 0. grade, rank, prefer and "
        "`contrastive` have no such target.",
    )
    max_grad_norm: float = Field(1.0, gt=0, description="Gradients are scaled down to this global norm.")
    nonfinite: Literal["stop", "skip", "lower-rate"] = Field(
        "stop",
        description="What a step does whose loss or gradient is NaN or infinite: `stop` the run; `skip` the step, which "
        "is counted and told; or go back to the best weights so far and do it again at half the rate, which stays.",
    )
    nonfinite_limit: int = Field(
        10, ge=1, description="So many such steps are borne with `skip` or `lower-rate`, and 3 in a row, before it stops."
    )
    evaluations: int = Field(5, ge=1, description="How often the validation rows are scored during training.")
    patience: int = Field(4, ge=1, description="Evaluations in a row without a better score before training stops.")
    min_delta: float = Field(
        0.0, ge=0, description="What a score must exceed the best by to count as better for `patience`."
    )
    watched_rows: int = Field(
        300,
        ge=0,
        description="Train rows measured beside the validation rows at each evaluation, for the verdict on over- and"
        " underfitting; 0 measures none.",
    )
    metric: str = Field(
        "auto",
        description="Validation metric that chooses the delivered weights: the best; for classify the last, unless earlier ones are better by "
        "more than a standard error.",
    )
    seed: int = Field(0, ge=0, description="Seed of batch order, dropout and new parameters.")
    checkpoint_s: float = Field(
        60.0, ge=0, description="Seconds between checkpoints; one is also written on ^C and SIGTERM."
    )
    precision: Literal["auto", "float32", "bfloat16"] = Field(
        "auto",
        description="`auto`: bfloat16 on a GPU that has it and on a CPU with units for it (AMX); float32 "
        "elsewhere (a CPU without them is 100 times slower in bfloat16). Weights and the optimiser stay in float32.",
    )
    packing: Switch = Field(
        "auto",
        description="Rows stand side by side in one pass and do not see each other, instead of being padded (generate, text). "
        "`auto`: on for text where the network keeps documents apart; for generate on a GPU that has flash attention for it.",
    )
    checkpointing: Switch = Field(
        "auto",
        description="Keep only each block's input for the backward pass and compute the rest again: less memory, a third more "
        "time. `auto`: on where a GPU's memory would not hold them.",
    )
    compile: Switch = Field(
        "auto",
        description="Compile the blocks with torch.compile, once for all of them and for all lengths. `auto`: on for packed rows "
        "on a GPU when there are steps enough to pay for it.",
    )
    threads: int | None = Field(None, ge=1, description="CPU threads; default: what torch chooses.")


# Methods that compare the vectors of rows by their labels.
BY_VECTORS = frozenset({"contrastive", "prototypes", "neighbours"})


def method_faults(train: TrainSection, objective: str, *, weighs_labels: bool) -> list[Fault]:
    """Return what is wrong with the method for an objective, and with smoothing where the loss has nothing to smooth.

    Args:
        weighs_labels: `classify` by a decoder that weighs labels as answers (``model.pooling: label-scoring``).
    """
    method, found = train.method, []
    if method == "head" and (objective not in HEADED or weighs_labels):
        subject = "labels that are weighed as answers have" if weighs_labels else f"`{objective}` has"
        also = "; or set model.pooling: mean, which puts a head on the model" if weighs_labels else ""
        found.append(Fault(f"{subject} no head to train alone", "train.method", f"Use lora, last-layers or full{also}."))
    if method in BY_VECTORS and (objective != "classify" or weighs_labels):
        what = f"`{method}` classifies by an encoder's vectors, which this task has none of"
        found.append(Fault(what, "train.method", "Leave it out, or use lora, last-layers or full."))
    fault = _unsmoothed(train, objective) if smoothed(train) else None
    return [*found, *([fault] if fault else [])]


def smoothed(train: TrainSection) -> bool:
    """Whether label smoothing is asked for."""
    return train.label_smoothing not in ("auto", 0.0)


def smooths(train: TrainSection, objective: str) -> bool:
    """Whether the loss is over labels or tokens, so that ``label_smoothing`` reaches it."""
    return _unsmoothed(train, objective) is None


def _unsmoothed(train: TrainSection, objective: str) -> Fault | None:
    where = "train.label_smoothing"
    if objective == "grade":
        return Fault("scores are learnt by their squared error, so there are no labels to smooth", where, "Leave it out.")
    if objective == "rank":
        return Fault("a row finds its item among the others of its step, so there are no labels to smooth", where, "Leave it out.")
    if objective == "prefer":
        mend = "Set train.prefer.label_smoothing: the share of pairs believed to be the wrong way round."
        return Fault("answers that are compared have no labels to smooth", where, mend)
    if train.method == "contrastive":
        return Fault("`contrastive` compares vectors, so there are no labels to smooth", where, "Leave it out, or use full.")
    return None

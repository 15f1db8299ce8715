"""What `auto` means, by objective, method and number of rows: every default with its reason, in one place."""

from __future__ import annotations

import math

import torch

from luthier.base.errors import ModelError, TrainError
from luthier.models.load import device, quick_in_bfloat16
from luthier.spec.objective import HEADED, WRITING
from luthier.spec.train import TrainSection
from luthier.train.loop import Plan

# Peak rates of AdamW by what the network does and what learns.
# full, last-layers: a classifier starts from a fitted head, so its body can move faster than the usual 2e-5 without a bad start
#   (docs/experiments.md compares 5e-5, 1e-4 and 2e-4); decoders as in most recipes.
# lora, qlora: about ten times the rate of full tuning (Hu et al. 2021; Schulman et al. 2025, "LoRA without regret"); 2e-4 on a
#   quantised base (Dettmers et al. 2023, table 9).
# head: a linear layer on fixed features; only where it is not fitted at once.
# bitfit: 1e-4 to 1e-3 were tried by Ben Zaken et al. 2022; ia3: 3e-3 as in Liu et al. 2022 (T-Few).
# adapters: 1e-3 lies in the middle of Houlsby et al. 2019's 3e-5 to 3e-3.
# muon: 3e-4 and 5e-4 were best of what was tried on a hundred and on 650 rows (docs/results.md); pre-training wants ten times more.
# prompt: Lester et al. 2021 use 0.3 with Adafactor, whose steps are relative; prefix: 5e-3 to 3e-2 in P-Tuning v2 (Liu et al. 2021).
# t5: "typically, 1e-4 and 3e-4 work well" with AdamW (https://huggingface.co/docs/transformers/model_doc/t5, training); its authors
#   fine-tune at a constant 1e-3 with Adafactor, whose steps are relative (Raffel et al. 2020, section 3.1.2).
_RATES = {
    ("t5", "full"): 3e-4,
    ("t5", "last-layers"): 5e-4,
    ("t5", "gradual"): 3e-4,
    ("t5", "bitfit"): 1e-3,
    ("t5", "lora"): 1e-3,
    ("t5", "qlora"): 5e-4,
    ("t5", "adapters"): 1e-3,
    ("reads", "full"): 1e-4,
    ("reads", "last-layers"): 2e-4,
    ("reads", "gradual"): 1e-4,
    ("rank", "full"): 5e-5,
    ("reads", "head"): 1e-2,
    ("classify", "prototypes"): 1e-2,
    ("classify", "neighbours"): 1e-2,
    ("classify", "contrastive"): 1e-4,
    ("reads", "bitfit"): 1e-3,
    ("reads", "lora"): 1e-3,
    ("reads", "qlora"): 1e-3,
    ("reads", "ia3"): 3e-3,
    ("reads", "adapters"): 1e-3,
    ("reads", "prompt"): 1e-2,
    ("reads", "prefix"): 1e-2,
    ("writes", "full"): 5e-5,
    ("writes", "last-layers"): 1e-4,
    ("writes", "gradual"): 5e-5,
    ("writes", "bitfit"): 5e-4,
    ("writes", "lora"): 5e-4,
    ("writes", "qlora"): 2e-4,
    ("writes", "ia3"): 3e-3,
    ("writes", "adapters"): 5e-4,
    ("writes", "prompt"): 1e-2,
    ("writes", "prefix"): 1e-2,
}
# Rows a step. Of many rows a classifier learns as much in half as many steps, and sooner: what a step costs beside its products is paid
# half as often (docs/experiments.md, BANKING77 and CLINC150). Adam's rate goes with the root of the batch (Malladi et al. 2022,
# https://arxiv.org/abs/2205.10287).
BATCH, _MANY_ROWS, _LARGER = 32, 5000, 2
_USUAL = {"reads": "full", "writes": "lora"}
_WHOLE, _MUON_RATE = ("full", "last-layers", "gradual"), 3e-4
_LAYER_DECAY = {"gradual": 0.95}
# Smoothing gained no accuracy in our experiments and made the scores three times less honest (ECE 0.13 against 0.04).
_SMOOTHING = 0.0
# Enough for matrix products at full rate; encoders with attention dropout keep every row's attention for the backward pass, so
# that 2,048 tokens took the example over 2 GB.
_MICRO_TOKENS = {
    ("reads", "cpu"): 1024,
    ("writes", "cpu"): 2048,
    ("reads", "cuda"): 32768,
    ("writes", "cuda"): 16384,
}


def resolve(train: TrainSection, *, objective: str, rows: int, rates: str | None = None) -> TrainSection:
    """Return the section with every `auto` replaced by its value; ``rates`` names those of a network that wants its own.

    A method is chosen before, by :func:`luthier.train.choose.choose_method`; where nobody did, the usual one is taken. So is an
    optimiser other than AdamW, by the learner.

    Raises:
        ModelError: a method that the objective cannot take.
    """
    method = _USUAL[_family(objective)] if train.method == "auto" else train.method
    if train.optimizer == "muon" and method not in _WHOLE:
        what = f"muon turns whole matrices, and `{method}` leaves those as they are"
        raise TrainError(what, where="train.optimizer", mend=f"Take {', '.join(_WHOLE)} as train.method, or adamw.")
    larger = _LARGER if _takes_larger_steps(train, objective, method, rates, rows) else 1
    chosen = {
        "method": method,
        "batch": larger * BATCH,
        "rate": larger**0.5 * (_MUON_RATE if train.optimizer == "muon" else _rate(objective, method, rates)),
        "optimizer": "adamw",
        "layer_decay": _LAYER_DECAY.get(method, 1.0),
        "epochs": _epochs(objective, rows),
        "label_smoothing": _SMOOTHING,
        "embeddings": "freeze" if _family(objective) == "reads" else "train",
        "micro_tokens": micro_tokens(train, objective),
        "precision": _precision(),
    }
    return train.model_copy(update={key: value for key, value in chosen.items() if getattr(train, key) == "auto"})


def _takes_larger_steps(train: TrainSection, objective: str, method: str, rates: str | None, rows: int) -> bool:
    is_open = train.batch == "auto" and train.rate == "auto" and train.optimizer != "muon"
    return is_open and objective == "classify" and method == "full" and rates is None and rows >= _MANY_ROWS


def _precision() -> str:
    return "bfloat16" if quick_in_bfloat16(device()) else "float32"


def _family(objective: str) -> str:
    return "writes" if objective in WRITING else "reads"


def _rate(objective: str, method: str, rates: str | None) -> float:
    # What has rates of its own (labels weighed as answers, say) has no head that was made for the objective.
    if method == "head" and (objective not in HEADED or rates is not None):
        raise ModelError(
            f"`{objective}` has no head to train alone" + (" on this network" if objective in HEADED else ""),
            where="train.method",
            mend="Use lora, last-layers or full.",
        )
    # A network or an objective with a rate of its own stands in the table beside its family.
    names = [name for name in (rates, objective, _family(objective)) if name is not None]
    found = next((_RATES[name, method] for name in names if (name, method) in _RATES), None)
    if found is None:
        raise ModelError(
            f"`{method}` is for classify, not for {objective}",
            where="train.method",
            mend="Leave it out, or use lora, last-layers or full.",
        )
    return found


def micro_tokens(train: TrainSection, objective: str, *, cuda: bool | None = None) -> int:
    """Return how many tokens one pass computes at most, here or, if ``cuda`` is told, on a machine with or without a GPU."""
    if train.micro_tokens != "auto":
        return int(train.micro_tokens)
    there = torch.cuda.is_available() if cuda is None else cuda
    return _MICRO_TOKENS[_family(objective), "cuda" if there else "cpu"]


def _epochs(objective: str, rows: int) -> float:
    """Return passes over the rows: few rows need more passes to move the body at all, many are learnt in two.

    Falls with the fifth root of the rows: 7 at 100 rows, 5 at 500, 4 at 2,000, 3 at 10,000, 2 from 30,000 on.
    """
    if objective in WRITING:
        return 3.0
    return float(min(10, max(2, round(5 * (500 / max(rows, 1)) ** 0.2))))


def make_plan(train: TrainSection, *, rows: int) -> Plan:
    """Turn resolved settings into the loop's plan.

    Raises:
        TrainError: a warm-up as long as the run.
    """
    batch = int(train.batch)
    per_epoch = math.ceil(rows / batch)
    steps = max(1, round(float(train.epochs) * per_epoch))
    if train.max_steps is not None:
        steps = min(steps, train.max_steps)
    warmup = min(round(train.warmup * steps), steps - 1)
    if train.warmup_steps is not None:
        warmup = train.warmup_steps
    if warmup >= steps and warmup:
        raise TrainError(
            f"the warm-up of {warmup} steps is not over when the run of {steps} ends",
            where="train.warmup_steps",
            mend=f"Set it below {steps}, or raise train.epochs or train.max_steps.",
        )
    return Plan(
        steps=steps,
        batch=batch,
        micro_tokens=int(train.micro_tokens),
        rate=float(train.rate),
        warmup=warmup,
        schedule=train.schedule,
        smoothing=float(train.label_smoothing),
        max_grad_norm=train.max_grad_norm,
        seed=train.seed,
        bfloat16=train.precision == "bfloat16",
        gradual=train.method == "gradual",
    )

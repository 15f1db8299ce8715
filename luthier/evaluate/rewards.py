"""What a model's log-likelihoods say of a better and a worse answer: rewards, margins, and how they changed."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from luthier.base.records import Prediction

# How the measured sums of the worse answer of a pair are told from those of the better, or of a single one.
REJECTED = "rejected_"
_BEFORE = "reference_"


def is_preference(target: Any) -> bool:
    """Whether a target is a pair of answers, or one answer marked good or bad."""
    return isinstance(target, Mapping) and ("chosen" in target or "desirable" in target)


def with_reference(predictions: Sequence[Prediction], untuned: Sequence[Prediction] | None) -> list[Prediction]:
    """Return predictions that also hold what the untuned model measured of the same rows, where that is known."""
    if untuned is None:
        return list(predictions)
    return [
        replace(p, measured={**p.measured, **{_BEFORE + k: v for k, v in u.measured.items() if k.endswith("nll_sum")}})
        for p, u in zip(predictions, untuned, strict=True)
    ]


def reward(prediction: Prediction, prefix: str = "") -> float | None:
    """Return what the model's loss takes for the reward of an answer, in nats; None where it cannot be known.

    beta times the log-ratio to the untuned model (Rafailov et al. 2023, section 4), or, for a loss without a reference,
    beta times the mean log-likelihood of the answer's tokens (Meng et al. 2024, equation 4). A rival's own ``score``
    stands for it.
    """
    measured = prediction.measured
    if prefix + "score" in measured:
        return float(measured[prefix + "score"])
    beta, nll = measured.get("beta"), measured.get(prefix + "nll_sum")
    if beta is None or nll is None:
        return None
    if not measured.get("refers"):
        return -beta * nll / max(1.0, measured[prefix + "token_count"])
    log_ratio = change(prediction, prefix)
    return None if log_ratio is None else beta * log_ratio


def mean_likelihood(prediction: Prediction, prefix: str = "") -> float | None:
    """Return the mean log-likelihood of an answer's tokens, in nats."""
    nll, count = (prediction.measured.get(prefix + name) for name in ("nll_sum", "token_count"))
    return -nll / count if nll is not None and count else None


def change(prediction: Prediction, prefix: str = "") -> float | None:
    """Return the log-ratio of an answer to the untuned model, in nats: by how much likelier training made it."""
    nll, before = (prediction.measured.get(name + prefix + "nll_sum") for name in ("", _BEFORE))
    return None if nll is None or before is None else before - nll


def margin_gain(prediction: Prediction) -> float | None:
    """Return by how many nats the better answer gained on the worse since before training; None where it is not known."""
    better, worse = change(prediction), change(prediction, REJECTED)
    return None if better is None or worse is None else better - worse


def surprise(prediction: Prediction, target: Mapping[str, Any]) -> float | None:
    """Return the nats of a pair's order, or of a single answer's mark, under the rewards; 0.693 is a coin flip."""
    better = reward(prediction)
    if better is None or "beta" not in prediction.measured:
        return None
    if "chosen" not in target:
        return softplus(-better if target.get("desirable") else better)
    worse = reward(prediction, REJECTED)
    return None if worse is None else softplus(worse - better)


def softplus(value: float) -> float:
    """Return log(1 + exp(value)) without overflow."""
    return max(value, 0.0) + math.log1p(math.exp(-abs(value)))

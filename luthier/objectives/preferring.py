"""Losses of preferred answers, as functions of summed log-probabilities: nothing here knows of a network.

Shapes: ``_B`` is one number for each pair, ``_S`` one for each single answer. Log-probabilities are natural, summed over
an answer's tokens and its end token; ``tokens`` counts those. Every function returns one loss for each pair or answer,
before any mean, so that a batch may be cut anywhere.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F

from luthier.base.errors import DataError, TaskError
from luthier.spec.prefer import READS, Prefer, idle_keys

Tensor = torch.Tensor
# Losses that compare the network with what it was before: they need its log-probabilities from then.
WITH_REFERENCE = frozenset(("dpo", "ipo", "kto"))
# DPO: the value of most of its experiments; IPO: the smallest tau of section 5; ORPO: lambda of its Mistral models; SimPO: 2.0
# to 2.5 and a margin of 0.3 to 1.6 (table 7); KTO: the best of its sweeps at scale (section 4.1).
BETA = {"dpo": 0.1, "ipo": 0.1, "orpo": 0.1, "simpo": 2.0, "kto": 0.1}
GAMMA = 1.0
# Peak rate of full tuning at 7 billion parameters, as in the DPO runs of Zephyr (Tunstall et al. 2023,
# https://arxiv.org/abs/2310.16944) and SimPO. The best rate falls with the width of a network (Yang et al. 2022,
# https://arxiv.org/abs/2203.03466), so with about the root of its size.
RATE, RATE_SIZE, RATE_POWER = 5e-7, 7e9, 0.5


@dataclass(frozen=True, slots=True)
class Sums:
    """Summed log-probabilities and token counts of the better and the worse answer of each pair, all (B,)."""

    chosen: Tensor
    rejected: Tensor
    chosen_tokens: Tensor
    rejected_tokens: Tensor


def dpo(sums: Sums, reference: Sums, *, beta: float, smoothing: float = 0.0) -> Tensor:
    """Return -log sigmoid of beta times the log-ratios' difference (Rafailov et al. 2023, equation 7).

    With ``smoothing`` that share of pairs is taken to be the wrong way round (Mitchell 2023, conservative DPO).
    """
    margin = beta * ((sums.chosen - reference.chosen) - (sums.rejected - reference.rejected))
    return _surprise(margin, smoothing)


def ipo(sums: Sums, reference: Sums, *, beta: float) -> Tensor:
    """Return the squared distance of the log-ratios' difference from 1 / (2 beta) (Azar et al. 2023, equation 17).

    Log-ratios are means over an answer's tokens, as the authors compute it: sums would let long answers rule the loss.
    """
    chosen = (sums.chosen - reference.chosen) / sums.chosen_tokens
    rejected = (sums.rejected - reference.rejected) / sums.rejected_tokens
    return (chosen - rejected - 1 / (2 * beta)) ** 2


def simpo(sums: Sums, *, beta: float, gamma: float, smoothing: float = 0.0) -> Tensor:
    """Return -log sigmoid of beta times the mean log-likelihoods' difference, less the margin gamma (Meng et al. 2024, equation 6)."""
    margin = beta * (sums.chosen / sums.chosen_tokens - sums.rejected / sums.rejected_tokens) - gamma
    return _surprise(margin, smoothing)


def orpo(sums: Sums, *, beta: float) -> Tensor:
    """Return the better answer's mean loss plus beta times -log sigmoid of the log odds ratio (Hong et al. 2024, equation 6).

    An answer's probability is the geometric mean over its tokens; its odds are p / (1 - p).
    """
    chosen, rejected = sums.chosen / sums.chosen_tokens, sums.rejected / sums.rejected_tokens
    log_odds = (chosen - rejected) - (_log_of_rest(chosen) - _log_of_rest(rejected))
    return -chosen - beta * F.logsigmoid(log_odds)


def kto(
    sums_S: Tensor, reference_S: Tensor, good_S: Tensor, point: Tensor | float, *, beta: float, good_weight: float = 1.0,
    bad_weight: float = 1.0,
) -> Tensor:  # fmt: skip
    """Return the weighed lost value of single answers (Ethayarajh et al. 2024, equation 7): lambda - v(x, y).

    Args:
        good_S: whether each answer is marked good.
        point: the reference point z0 of :func:`kto_point`, through which no gradient flows.
    """
    above = beta * (sums_S - reference_S - point)
    return torch.where(good_S, good_weight * torch.sigmoid(-above), bad_weight * torch.sigmoid(above))


def kto_point(sums_S: Tensor, reference_S: Tensor) -> Tensor:
    """Return z0: the mean log-ratio of answers that belong to other prompts, or 0 where that is negative.

    The paper's estimate of the KL divergence from the untuned model (section 3.3): biased, but it needs no sampling.
    """
    return (sums_S - reference_S).mean().clamp(min=0).detach()


def likelihood(sums: Sums) -> Tensor:
    """Return the better answer's mean loss over its tokens, which ``sft_weight`` weighs (Pang et al. 2024, equation 1)."""
    return -sums.chosen / sums.chosen_tokens


def _surprise(margin: Tensor, smoothing: float) -> Tensor:
    loss = -F.logsigmoid(margin)
    return loss if not smoothing else (1 - smoothing) * loss - smoothing * F.logsigmoid(-margin)


def _log_of_rest(log_p: Tensor) -> Tensor:
    """Return log(1 - p) of log p, exact at both ends; p is kept below 1, where the odds would be infinite."""
    log_p = log_p.clamp(max=-torch.finfo(torch.float32).eps)
    near_one = log_p > -0.6931
    # Both branches are differentiated, so each is given values at which it is finite.
    small = torch.log1p(-torch.exp(torch.where(near_one, -1.0, log_p)))
    return torch.where(near_one, torch.log(-torch.expm1(torch.where(near_one, log_p, -1.0))), small)


def usual_rate(method: str, parameters: int) -> float:
    """Return the peak rate of AdamW for a network of so many parameters; small updates want ten times that of full tuning.

    Measured at 260,000 parameters (docs/experiments.md), taken from published recipes at 7 billion, and drawn between.
    """
    rate = RATE * (RATE_SIZE / max(parameters, 1)) ** RATE_POWER
    return float(f"{rate * (1 if method in ('full', 'gradual') else 2 if method == 'last-layers' else 10):.1e}")


def settled(prefer: Prefer, seen: Mapping[str, Any]) -> Prefer:
    """Return ``train.prefer`` without `auto`; ``seen`` is what :meth:`Preferrer.look` counted.

    Raises:
        TaskError: a key that the loss does not read. DataError: single answers for a loss of pairs, or of one kind only.
    """
    singles = bool(seen.get("good") or seen.get("bad"))
    loss = ("kto" if singles else "dpo") if prefer.loss == "auto" else prefer.loss
    if faults := idle_keys(prefer, loss):
        raise TaskError.of(faults)
    good, bad = (int(seen.get(kind, 0)) + int(seen.get("pairs", 0)) for kind in ("good", "bad"))
    if singles and loss != "kto":
        raise DataError(
            f"{loss} compares pairs of answers, and these rows hold single answers marked good or bad",
            where="train.prefer.loss", mend="Set it to kto, or give columns of chosen and rejected answers.",
        )  # fmt: skip
    if loss == "kto" and seen and not (good and bad):
        kind = "good" if good else "bad"
        raise DataError(
            f"kto needs answers marked good and answers marked bad, and all {good or bad} are {kind}", where="data.source",
            mend="Add the other kind; good answers alone are what `generate` learns from.",
        )  # fmt: skip
    weights = {"good_weight": max(1.0, bad / good), "bad_weight": max(1.0, good / bad)} if good and bad else {}
    usual = {
        "loss": loss,
        "beta": BETA[loss],
        "gamma": GAMMA,
        "good_weight": 1.0,
        "bad_weight": 1.0,
    }
    usual |= weights
    read = {"loss", "beta", *READS[loss]}
    return prefer.model_copy(update={k: v for k, v in usual.items() if k in read and getattr(prefer, k) == "auto"})

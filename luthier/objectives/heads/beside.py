"""The nearest train rows beside a linear head: what they vote is mixed into what it says.

A network that has learnt still keeps rows of one meaning together, and a linear head sees of them only which side of a
plane they lie on. Mixing in the votes of neighbours is the way of Khandelwal et al. 2020
(https://arxiv.org/abs/1911.00172), there for the next word.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError
from torch import nn

from luthier.base.errors import BundleError
from luthier.base.files import read_json
from luthier.objectives.heads.fits import Neighbours
from luthier.objectives.heads.judge import Doubles, each_log_loss, temperature
from luthier.objectives.heads.near import NearestRows
from luthier.objectives.heads.sample import Floats, Ints

BANDWIDTHS = (20.0, 50.0, 100.0)
SHARES = (0.25, 0.5, 0.75)
# By so many standard errors of the difference, row by row, neighbours must better the log loss to be listened to.
CLEAR = 2.0
# Rows whose cosines to all others are held at a time.
_BLOCK = 128
# Vectors that a bundle carries, in bytes, at most.
MOST_BYTES = 64 * 2**20


@dataclass(frozen=True, slots=True)
class Mix:
    """How much neighbours say and how near they must be, with both log losses (nats) and accuracies on the rows that chose."""

    share: float
    bandwidth: float
    log_loss: tuple[float, float]
    accuracy: tuple[float, float]


def choose(own_NC: Doubles, votes: dict[float, Doubles], labels_N: Ints) -> Mix | None:
    """Return the best mix on rows that nothing was learnt from, or None where none is surely better than the head alone.

    Args:
        own_NC: log probabilities of the head.
        votes: log probabilities of the neighbours, by bandwidth.
    """
    before_N = _each(own_NC, labels_N)
    found: list[tuple[float, float, float]] = []
    for bandwidth, votes_NC in votes.items():
        for share in SHARES:
            found.append((float(_each(mixed(own_NC, votes_NC, share), labels_N).mean()), share, bandwidth))
    _, share, bandwidth = min(found)
    both_NC = mixed(own_NC, votes[bandwidth], share)
    after_N = _each(both_NC, labels_N)
    better_N = before_N - after_N
    right = tuple(float((scores.argmax(1) == labels_N).mean()) for scores in (own_NC, both_NC))
    error = float(better_N.std()) / max(1, len(better_N)) ** 0.5
    if not (better_N.mean() > CLEAR * error and right[1] >= right[0]):
        return None
    return Mix(share, bandwidth, (float(before_N.mean()), float(after_N.mean())), (right[0], right[1]))


def _each(logs_NC: Doubles, labels_N: Ints) -> Doubles:
    """Return the log loss of each row at the temperature that suits all."""
    return each_log_loss(logs_NC, labels_N, temperature(logs_NC, labels_N))


def mixed(own_NC: Doubles, votes_NC: Doubles, share: float) -> Doubles:
    """Return log probabilities of which ``share`` is the neighbours'."""
    return np.asarray(np.logaddexp(own_NC + np.log1p(-share), votes_NC + np.log(share)))


def votes_of(rows_ND: Floats, others: Neighbours) -> dict[float, Doubles]:
    """Return log probabilities (N, C) of rows by the votes of others, by bandwidth, as they will be served."""
    found = {}
    with torch.inference_mode():
        for bandwidth in BANDWIDTHS:
            near = NearestRows.of(replace(others, bandwidth=bandwidth))
            parts = [near(part).log_softmax(-1) for part in torch.from_numpy(rows_ND).split(_BLOCK)]
            found[bandwidth] = torch.cat(parts).double().numpy()
    return found


class Beside(nn.Module):
    """Scores (B, C) of a head's scores and of the vectors (B, D) that they were made of: logs of mixed probabilities, times ``scale``."""

    def __init__(self, near: NearestRows, *, share: float, scale: float = 1.0) -> None:
        super().__init__()
        self.near, self.share, self.scale = near, share, scale

    @classmethod
    def of(cls, others: Neighbours, mix: Mix) -> Beside:
        return cls(NearestRows.of(replace(others, bandwidth=mix.bandwidth)), share=mix.share)

    def forward(self, scores_BC: torch.Tensor, vectors_BD: torch.Tensor) -> torch.Tensor:
        own_BC, votes_BC = scores_BC.float().log_softmax(-1), self.near(vectors_BD).log_softmax(-1)
        share = own_BC.new_tensor(self.share)
        return self.scale * torch.logaddexp(own_BC + (1 - share).log(), votes_BC + share.log())

    def save(self, folder: Path) -> None:
        """Write it into a new folder."""
        folder.mkdir()
        told = "softmax(mix_scale * log((1 - share) * softmax of head/ + share * softmax of these scores))"
        self.near.save(folder, {"share": self.share, "mix_scale": self.scale, "mixed": told})

    @classmethod
    def load(cls, folder: Path) -> Beside | None:
        """Open what :meth:`save` wrote; None where there is nothing.

        Raises:
            BundleError: damaged.
        """
        if not folder.is_dir():
            return None
        try:
            facts = read_json(folder / "head.json")
            return cls(NearestRows.load(folder), share=float(facts["share"]), scale=float(facts["mix_scale"]))
        except (OSError, ValueError, KeyError, RuntimeError, SafetensorError) as error:
            raise BundleError("the train rows' vectors in the bundle cannot be read", where=str(folder)) from error


def most_rows(width: int) -> int:
    """Return how many vectors of so many numbers a bundle carries at most."""
    return MOST_BYTES // (4 * width)

"""The training loss of rows that are only looked at: in evaluation mode, without gradients, without touching chance."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from luthier.base.records import Encoded
from luthier.objectives.learner import Learner

# Small enough for any row that trains, and enough for losses that compare the rows of a batch with each other.
BATCH = 16


def batch_losses(learner: Learner, rows: Sequence[Encoded]) -> list[float]:
    """Return the mean loss (nats per learnt unit, no smoothing) of each ``BATCH`` rows in their order.

    The batches are always the same, so the losses of two evaluations can be compared one by one. Rows without anything to
    learn are left out with their batch.
    """
    losses = []
    learner.eval()
    with torch.random.fork_rng(), torch.inference_mode():
        for start in range(0, len(rows), BATCH):
            total, units = learner.loss(learner.collate(rows[start : start + BATCH]), smoothing=0.0)
            if units:
                losses.append(round(float(total) / units, 5))
    return losses

"""Scores that decide are computed in float32, whatever autocast says around them."""

from __future__ import annotations

from pathlib import Path

import torch
import torch.nn.functional as F
from ranked_rows import query_rows, ranker
from torch import nn

from luthier.objectives.contrast import contrastive_loss
from luthier.objectives.rank_loss import pack
from luthier.objectives.whole import headed


def test_a_head_and_the_contrastive_loss_are_not_rounded_under_autocast() -> None:
    torch.manual_seed(0)
    head, features = nn.Linear(64, 9), torch.randn(5, 64)
    vectors, labels = F.normalize(torch.randn(12, 64), dim=-1), torch.arange(12) % 3
    wanted, loss = head(features), contrastive_loss(vectors, labels)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert head(features).dtype == torch.bfloat16, "autocast would round it"
        assert torch.equal(headed(head, features), wanted)
        assert headed(head, features.bfloat16()).dtype == torch.float32
        assert torch.equal(contrastive_loss(vectors, labels), loss)


def test_rank_compares_whole_cosines_under_autocast(tiny_bert: Path) -> None:
    learner = ranker(tiny_bert, query_rows()).eval()
    rows = [learner.encode(row) for row in query_rows()[:8]]
    packed = pack(rows, learner._right)
    given = learner._vectors(packed.texts).detach()
    learner._vectors = lambda texts: given
    wanted = learner.scores(packed)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(learner.scores(packed), wanted)

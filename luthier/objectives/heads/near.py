"""The head that keeps the train rows: nearest neighbours as a module, written as safetensors and JSON."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from torch import nn

from luthier.base.files import read_json, write_json
from luthier.objectives.heads.fits import UNKNOWN, Neighbours

KIND = "neighbours"


class NearestRows(nn.Module):
    """Scores (B, C) of vectors (B, D): logs of what the kept rows vote, times ``scale``; softmax makes probabilities."""

    def __init__(
        self, rows_ND: torch.Tensor, labels_N: torch.Tensor, votes_N: torch.Tensor, *, classes: int, bandwidth: float, scale: float
    ) -> None:  # fmt: skip
        super().__init__()
        self.register_buffer("rows_ND", rows_ND)
        self.register_buffer("labels_N", labels_N)
        self.register_buffer("votes_N", votes_N)
        self.classes, self.bandwidth, self.scale = classes, bandwidth, scale

    @classmethod
    def of(cls, near: Neighbours) -> NearestRows:
        return cls(torch.from_numpy(near.rows_ND), torch.from_numpy(near.labels_N), torch.from_numpy(near.votes_N),
                   classes=near.classes, bandwidth=near.bandwidth, scale=near.scale)  # fmt: skip

    def forward(self, vectors_BD: torch.Tensor) -> torch.Tensor:
        rows_ND: Any = self.rows_ND
        labels_N: Any = self.labels_N
        votes_N: Any = self.votes_N
        near_BN = self.bandwidth * (F.normalize(vectors_BD.float(), dim=-1) @ rows_ND.T)
        shares_BN = (near_BN - near_BN.amax(1, keepdim=True)).exp() * votes_N
        votes_BC = torch.zeros(len(near_BN), self.classes, device=near_BN.device).index_add(1, labels_N, shares_BN)
        return self.scale * votes_BC.clamp(min=torch.finfo(torch.float32).tiny).log().clamp(min=UNKNOWN)

    def save(self, folder: Path, facts: dict[str, Any]) -> None:
        """Write ``neighbours.safetensors`` and ``head.json`` into an existing folder."""
        save_file({"rows": self.rows_ND.cpu().contiguous(), "labels": self.labels_N.cpu().contiguous(),  # type: ignore[operator]
                   "votes": self.votes_N.cpu().contiguous()}, folder / "neighbours.safetensors")  # type: ignore[operator]  # fmt: skip
        write_json(folder / "head.json", {
            **facts, "kind": KIND, "classes": self.classes, "bandwidth": self.bandwidth, "scale": self.scale,
            "scores": "softmax(scale * log(sum over rows of a label of votes * exp(bandwidth * cosine)))",
        })  # fmt: skip

    @classmethod
    def load(cls, folder: Path) -> NearestRows:
        facts = read_json(folder / "head.json")
        state = load_file(folder / "neighbours.safetensors")
        return cls(state["rows"], state["labels"], state["votes"], classes=facts["classes"],
                   bandwidth=facts["bandwidth"], scale=facts["scale"])  # fmt: skip

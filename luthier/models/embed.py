"""Sentence vectors of a frozen encoder: for what means the same, what groups together, what a label can be told from."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from luthier.models import catalogue
from luthier.models.load import device, open_base, open_encoder

MAX_TOKENS = 128
_PASS_TOKENS = 4096


class Embedder:
    """An encoder whose masked mean (or first token) is one vector per text, of unit length."""

    def __init__(
        self, base: str = catalogue.EMBEDDED, *, folder: Path | None = None, max_tokens: int = MAX_TOKENS
    ) -> None:
        self.base = open_base(catalogue.find(base, folder=folder), max_tokens=max_tokens)
        self._network: Any = open_encoder(self.base).to(device()).eval()

    @torch.inference_mode()
    def embed(self, texts: Sequence[str], *, watch: Callable[[int], None] | None = None) -> np.ndarray:
        """Return (N, D) float32 vectors of unit length, in the order of ``texts``; batches are cut by length.

        Args:
            watch: is told the number of texts done after each pass.
        """
        encoded = self.base.tokenizer(list(texts), truncation=True, max_length=self.base.max_tokens)["input_ids"]
        order = sorted(range(len(encoded)), key=lambda i: len(encoded[i]))
        vectors: np.ndarray | None = None
        at = 0
        while at < len(order):
            size = 1
            # Sorted upwards, the last row of a pass is its longest.
            while at + size < len(order) and len(encoded[order[at + size]]) * (size + 1) <= _PASS_TOKENS:
                size += 1
            rows = order[at : at + size]
            found = self._pass([encoded[i] for i in rows])
            if vectors is None:
                vectors = np.empty((len(order), found.shape[1]), dtype=np.float32)
            vectors[rows] = found
            at += size
            if watch:
                watch(at)
        return np.zeros((0, 0), dtype=np.float32) if vectors is None else vectors

    def _pass(self, rows: Sequence[Sequence[int]]) -> np.ndarray:
        longest = max(1, *map(len, rows)) if len(rows) > 1 else max(1, len(rows[0]))
        ids_BT = torch.zeros((len(rows), longest), dtype=torch.long)
        mask_BT = torch.zeros((len(rows), longest), dtype=torch.long)
        for i, row in enumerate(rows):
            ids_BT[i, : len(row)] = torch.tensor(row)
            mask_BT[i, : len(row)] = 1
        where = device()
        hidden_BTD = self._network(input_ids=ids_BT.to(where), attention_mask=mask_BT.to(where)).last_hidden_state
        if self.base.pooling == "cls":
            pooled_BD = hidden_BTD[:, 0]
        else:
            weight_BT1 = mask_BT.to(where)[:, :, None].to(hidden_BTD.dtype)
            pooled_BD = (hidden_BTD * weight_BT1).sum(1) / weight_BT1.sum(1).clamp(min=1)
        return F.normalize(pooled_BD.float(), dim=-1).cpu().numpy()

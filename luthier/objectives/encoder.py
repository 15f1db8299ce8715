"""What objectives with an encoder and one linear head share: texts in windows, pooling, saving, opening again."""

from __future__ import annotations

import time
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from luthier.base.errors import ModelError
from luthier.base.records import Encoded, Prediction
from luthier.base.seeds import derive_seed
from luthier.models import methods, virtual
from luthier.models.catalogue import Found
from luthier.models.load import Base, open_base, open_encoder
from luthier.models.sight import settled_pooling
from luthier.objectives.cut import Kept
from luthier.objectives.heads.stored import load_linear, save_head
from luthier.objectives.learner import Batch, Learner
from luthier.objectives.whole import headed
from luthier.prompts.encode import encode_text
from luthier.spec.model import ModelSection
from luthier.spec.train import TrainSection


def width(network: nn.Module) -> int:
    """Return D, the size of a hidden vector."""
    config: Any = network.config
    return int(getattr(config, "hidden_size", None) or config.dim)


def pooled(hidden_BTD: torch.Tensor, batch: Batch, pooling: str) -> torch.Tensor:
    """Return (B, D) vectors, one a text: what a head sees. ``mean`` is over real tokens, scaled to unit length.

    Sentence encoders were trained on unit vectors. A head fitted on them has weights of order ten, which AdamW hardly
    moves at the body's rate: the fit holds while the body learns. (Features scaled to order one let the head run away:
    validation accuracy fell from 0.93 to 0.83 within 21 steps on BANKING77.) A text in several windows is the mean over
    the tokens of all of them, or over their first tokens.
    """
    owner_W = owners(batch)
    if pooling == "cls":
        first_WD = hidden_BTD[:, 0]
        return first_WD if owner_W is None else by_row(first_WD, owner_W, len(batch.rows)) / counts(batch)[:, None]
    mask_BT = torch.ones_like(batch.ids_BT) if batch.mask_BT is None else batch.mask_BT
    weight_BT1 = mask_BT[:, :, None].to(hidden_BTD.dtype)
    sum_BD, size_B1 = (hidden_BTD * weight_BT1).sum(1), weight_BT1.sum(1)
    if owner_W is not None:
        sum_BD, size_B1 = (by_row(part, owner_W, len(batch.rows)) for part in (sum_BD, size_B1))
    return F.normalize(sum_BD / size_B1, dim=-1)


def owners(batch: Batch) -> torch.Tensor | None:
    """Return (W,) the row that each window belongs to; None where every row is one window."""
    if len(batch.ids_BT) == len(batch.rows):
        return None
    number = torch.arange(len(batch.rows), device=batch.ids_BT.device)
    return number.repeat_interleave(counts(batch))


def counts(batch: Batch) -> torch.Tensor:
    """Return (B,) how many windows each row has."""
    return torch.tensor([1 + len(row.others) for row in batch.rows], device=batch.ids_BT.device)


def by_row(values_WK: torch.Tensor, owner_W: torch.Tensor, rows: int) -> torch.Tensor:
    """Return (B, K): the sums over each row's windows."""
    return values_WK.new_zeros(rows, values_WK.shape[1]).index_add(0, owner_W, values_WK)


class Encoder(Learner):
    """An encoder whose vectors feed one linear head, as :class:`multilabel`, grade and extract are."""

    headed = True
    # What stands in head.json, so that the head can be read without Luthier.
    recipe: str

    def __init__(
        self, network: nn.Module, head: nn.Linear, *, pooling: str, tokenizer: Any, labels: tuple[str, ...],
        max_tokens: int, known: Mapping[str, Any] | None = None,
    ) -> None:  # fmt: skip
        super().__init__()
        self.network = network
        self.head = head
        self.pooling = pooling
        self.tokenizer = tokenizer
        self.labels = labels
        self.max_tokens = max_tokens
        self.known = dict(known or {})
        self.frozen = Kept()

    @classmethod
    def inputs_wide(cls, network: nn.Module) -> int:
        """Return how many numbers the head reads."""
        return width(network)

    @classmethod
    def create(
        cls, base: Base, *, labels: tuple[str, ...], model: ModelSection, known: Mapping[str, Any] | None = None
    ) -> Encoder:
        if model.pooling not in ("auto", "mean", "cls"):
            raise ModelError(f"`{cls.objective}` puts a head of its own on the model", where="model.pooling",
                             mend="Set it to mean or cls.")  # fmt: skip
        network = open_encoder(base)
        found = (base.pooling or "mean") if model.pooling == "auto" else model.pooling
        pooling = settled_pooling(base, network, found, asked=model.pooling)
        head = nn.Linear(cls.inputs_wide(network), cls.outputs(labels))
        return cls(network, head, pooling=pooling, tokenizer=base.tokenizer, labels=labels, max_tokens=base.max_tokens,
                   known=known)  # fmt: skip

    @classmethod
    def outputs(cls, labels: Sequence[str]) -> int:
        """Return how many numbers the head gives."""
        return len(labels)

    def prepare_training(self, train: TrainSection) -> None:
        self.network = methods.apply(self.network, train, freeze_embeddings=train.embeddings != "train")
        self.max_tokens = virtual.room(self.network, self.max_tokens)

    def encode_input(self, inputs: Mapping[str, Any], *, room: int) -> Encoded:
        return encode_text(self.tokenizer, str(inputs["text"]), max_tokens=self.max_tokens)

    def collate(self, encoded: Sequence[Encoded], *, masked: bool = True) -> Batch:
        """Pad all windows of all rows into one batch of (W, T) ids; ``rows`` and ``values_BK`` are by row."""
        windows = [Encoded(window.ids) for row in encoded for window in (row, *row.others)]
        batch = super().collate(windows, masked=masked)
        values = [row.values for row in encoded]
        same = bool(values[0]) and len({*map(len, values)}) == 1
        return replace(
            batch, rows=tuple(encoded), labels_B=None, tokens=sum(map(len, encoded)),
            values_BK=torch.tensor(values, device=self.device) if same else None,
        )  # fmt: skip

    def hidden(self, batch: Batch) -> torch.Tensor:
        """Return (W, T, D): the last hidden vectors of all windows."""
        return virtual.run(self.network, batch.ids_BT, batch.mask_BT).last_hidden_state

    def features(self, batch: Batch) -> torch.Tensor:
        """Return what the head reads, one row a text."""
        return pooled(self.hidden(batch), batch, self.pooling)

    def logits(self, batch: Batch) -> torch.Tensor:
        return headed(self.head, self.features(batch)).float()

    @torch.inference_mode()
    def head_features(self, encoded: Sequence[Encoded]) -> torch.Tensor:
        """Return what the head reads of each text, on which a linear head can be fitted."""
        return self.features(self.collate(encoded)).float().cpu()

    def meaning(self, vectors_ND: torch.Tensor) -> torch.Tensor:
        """Return what the network made of texts, without what a head is told beside it: a text's length would weigh more than all the rest."""
        return vectors_ND[:, : width(self.network)]

    @property
    def last_linear(self) -> nn.Linear:
        """The layer whose outputs are the answer."""
        return self.head

    def set_head(self, weight_CD: torch.Tensor, bias_C: torch.Tensor) -> None:
        """Copy a fitted linear head into the model."""
        with torch.no_grad():
            self.head.weight.copy_(weight_CD)
            self.head.bias.copy_(bias_C)

    def begin(
        self, rows: Sequence[Encoded], *, train: TrainSection, weights: Sequence[float] | None = None
    ) -> dict[str, Any]:
        """Fit the head on the frozen features, if the task asks for it."""
        if not self.fits_head(train):
            return {}
        began = time.monotonic()
        self.eval()
        found = self.fit_head(rows, seed=derive_seed(train.seed, "head"))
        return {"head": {**found, "seconds": round(time.monotonic() - began, 2)}}

    def fits_head(self, train: TrainSection) -> bool:
        return train.head == "linear-fit"

    @abstractmethod
    def fit_head(self, rows: Sequence[Encoded], *, seed: int) -> dict[str, Any]:
        """Fit the head on the frozen features of the train rows; return what was chosen, as JSON."""

    def measure(self, encoded: Sequence[Encoded]) -> list[Prediction]:
        return self.answer(encoded, max_new_tokens=0)

    def facts(self) -> dict[str, Any]:
        """Return what else must be known to answer, as JSON."""
        return dict(self.known)

    def save(self, folder: Path) -> dict[str, Any]:
        self.network, adapter = methods.save(self.network, folder)
        self.tokenizer.save_pretrained(folder / "network")
        save_head(self.head, folder / "head", pooling=self.pooling, labels=self.labels, scores=self.recipe, more=self.facts())
        return {"pooling": self.pooling, "labels": list(self.labels), "max_tokens": self.max_tokens, "adapter": adapter,
                "known": self.facts()}  # fmt: skip

    @classmethod
    def restore(cls, folder: Path, facts: Mapping[str, Any]) -> Encoder:
        base = open_base(Found(folder.name, folder / "network", ""), max_tokens=facts["max_tokens"])
        network = methods.reopen(open_encoder(base), folder, facts.get("adapter"))
        return cls(network, load_linear(folder / "head"), pooling=facts["pooling"], tokenizer=base.tokenizer,
                   labels=tuple(facts["labels"]), max_tokens=base.max_tokens, known=facts["known"])  # fmt: skip

"""classify: one of several labels for a text, by an encoder with a linear head or by the model's own classifier."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from luthier.base.errors import ModelError
from luthier.base.records import Encoded, Example
from luthier.base.seeds import derive_seed
from luthier.models import methods, virtual
from luthier.models.catalogue import Found
from luthier.models.load import Base, open_base, open_classifier, open_encoder
from luthier.models.sight import settled_pooling
from luthier.objectives.contrast import contrastive_loss
from luthier.objectives.cut import Kept
from luthier.objectives.encoder import pooled, width
from luthier.objectives.heads import use
from luthier.objectives.heads.beside import Beside
from luthier.objectives.heads.stored import load_head, save_head
from luthier.objectives.labelled import Labelled
from luthier.objectives.learner import Batch, Learner
from luthier.objectives.linear import Fit, fit_head
from luthier.objectives.scope import Scope
from luthier.objectives.score_labels import LabelScorer
from luthier.objectives.whole import headed
from luthier.prompts.encode import encode_text
from luthier.spec.model import ModelSection
from luthier.spec.train import TrainSection


class Classifier(Labelled):
    """An encoder whose pooled vector feeds a linear head (``mean``, ``cls``), or a model with a head of its own (``own``)."""

    objective = "classify"
    headed = True

    def __init__(
        self,
        network: nn.Module,
        head: nn.Module | None,
        *,
        pooling: str,
        tokenizer: Any,
        labels: tuple[str, ...],
        max_tokens: int,
    ) -> None:
        super().__init__()
        self.network = network
        self.head = head
        self.pooling = pooling
        self.tokenizer = tokenizer
        self.labels = labels
        self.max_tokens = max_tokens
        self._index = {label: index for index, label in enumerate(labels)}
        self.descriptions: Mapping[str, str] = {}
        # What was chosen already, so that a contest and the run after it choose once.
        self.known_heads: dict[Any, Any] = {}
        self._chosen: Mapping[str, Any] = {}
        self._contrast = False
        self.frozen = Kept()

    @classmethod
    def create(
        cls, base: Base, *, labels: tuple[str, ...], model: ModelSection, known: Mapping[str, Any] | None = None
    ) -> Learner:
        if model.pooling == "label-scoring":
            return LabelScorer.create(base, labels=labels, model=model, known=known)
        found = (base.pooling or "own") if model.pooling == "auto" else model.pooling
        network = open_classifier(base, labels) if found == "own" else open_encoder(base)
        pooling = settled_pooling(base, network, found, asked=model.pooling)
        if found == "own" != pooling:
            network = open_encoder(base)
        head = None if pooling == "own" else nn.Linear(width(network), len(labels))
        return cls(network, head, pooling=pooling, tokenizer=base.tokenizer, labels=labels, max_tokens=base.max_tokens)

    def prepare_training(self, train: TrainSection) -> None:
        freeze = train.embeddings != "train"
        names = _own_head_names(self.network) if self.pooling == "own" else ()
        self.network = methods.apply(self.network, train, freeze_embeddings=freeze, head_names=names)
        self.max_tokens = virtual.room(self.network, self.max_tokens)
        use.check(train.method, pooling=self.pooling)
        self.beside = None  # the vectors of a network that learns on are others
        self._contrast = train.method == "contrastive"
        # Rows of a step are compared with each other.
        self.separable = not self._contrast  # type: ignore[misc]

    def begin(
        self, rows: Sequence[Encoded], *, train: TrainSection, weights: Sequence[float] | None = None
    ) -> dict[str, Any]:
        """Fit the head on the frozen features, if the task asks for it; some methods are nothing else."""
        if not self.fits_head(train):
            return {}
        if len(rows) <= use.FEW or train.method in use.ENDS:
            self._chosen = use.begin(self, rows, method=train.method, seed=train.seed, weights=weights)
            return {"head": self._chosen}
        began = time.monotonic()
        fit = self.linear(rows, seed=train.seed, weights=weights)
        self.set_head(fit.weight_CD, fit.bias_C)
        self._chosen = {"strength": fit.strength, "text_weight": 0.0, "seconds": round(time.monotonic() - began, 2)}
        if fit.accuracy == fit.accuracy:
            self._chosen["held_out_accuracy"] = round(fit.accuracy, 4)
        return {"head": self._chosen}

    def fits_head(self, train: TrainSection) -> bool:
        return train.head == "linear-fit" or train.method in (*use.ENDS, "contrastive")

    def linear(self, rows: Sequence[Encoded], *, seed: int, weights: Sequence[float] | None = None) -> Fit:
        """Return a logistic regression on the frozen features, fitted once for the same rows."""
        self.eval()
        features_ND = self.frozen.of(rows, self.head_features)
        labels = [int(row.label) for row in rows if row.label is not None]
        key = ("linear fit", seed, len(rows), hash(tuple((row.ids, row.label) for row in rows)))
        if weights is not None or key not in self.known_heads:
            fit = fit_head(features_ND, labels, len(self.labels), seed=derive_seed(seed, "head"), weights_N=weights)
            if weights is not None:
                return fit
            self.known_heads[key] = fit
        return self.known_heads[key]

    def resumed(self, facts: Mapping[str, Any]) -> None:
        self._chosen = facts.get("head", {})

    def refit(self, rows: Sequence[Encoded], *, weights: Sequence[float] | None = None) -> None:
        """Fit the head again where the body alone has learnt from the loss."""
        if self._contrast:
            use.refit(self, rows, facts=self._chosen, weights=weights)

    def describe(self, descriptions: Mapping[str, str]) -> None:
        """Say what labels mean, in words: evidence for heads that are fitted to few rows."""
        self.descriptions = dict(descriptions)

    def temper(self, scale: float) -> None:
        """Multiply all scores, which changes probabilities and no label."""
        if self.beside is not None:
            self.beside.scale *= scale
            return
        layer = self.last_linear
        self.set_head(layer.weight * scale, layer.bias * scale if layer.bias is not None else layer.weight[:, 0])

    @property
    def groups_rows(self) -> bool:
        return self._contrast

    def encode(self, example: Example) -> Encoded | None:
        encoded = self.encode_input(example.inputs, room=0)
        return Encoded(encoded.ids, label=self._index.get(example.target))

    def encode_input(self, inputs: Mapping[str, Any], *, room: int) -> Encoded:
        return encode_text(self.tokenizer, str(inputs["text"]), max_tokens=self.max_tokens)

    def pooled(self, batch: Batch) -> torch.Tensor:
        """Return (B, D) vectors: what the head sees (see :func:`luthier.objectives.encoder.pooled`)."""
        hidden_BTD = virtual.run(self.network, batch.ids_BT, batch.mask_BT).last_hidden_state
        return pooled(hidden_BTD, batch, self.pooling)

    def logits(self, batch: Batch) -> torch.Tensor:
        """Return (B, C) scores before softmax."""
        if self.head is not None:
            return headed(self.head, self.pooled(batch))
        plain: Any = methods.plain(self.network)
        if hasattr(plain, "score"):
            return plain.score(self._last(batch, plain.base_model))
        return virtual.run(self.network, batch.ids_BT, batch.mask_BT).logits

    def seen(self, batch: Batch) -> tuple[torch.Tensor, torch.Tensor]:
        """Return (B, C) scores and the (B, D) input of the last linear layer, in one pass.

        Raises:
            ModelError: the network's own head is read in another way.
        """
        if self.head is not None:
            vectors_BD = self.pooled(batch)
            return headed(self.head, vectors_BD), vectors_BD
        caught: list[torch.Tensor] = []
        hook = self.last_linear.register_forward_pre_hook(lambda module, args: caught.append(args[0]))
        try:
            logits_BC = self.logits(batch)
        finally:
            hook.remove()
        if not caught or len(caught[-1]) != len(logits_BC):
            raise ModelError("the features of this model's own head cannot be read", mend="Set train.head: random.")
        return logits_BC, caught[-1]

    def _last(self, batch: Batch, body: nn.Module) -> torch.Tensor:
        """Return (B, D) vectors of the last real token, where a decoder's own classifier looks.

        transformers finds it by the padding id, which is no mark where it is also the end token, or where vectors stand in
        front of the ids.
        """
        hidden_BTD = virtual.run(self.network, batch.ids_BT, batch.mask_BT, part=body).last_hidden_state
        last_B = torch.tensor([len(e.ids) - 1 for e in batch.rows], device=hidden_BTD.device)
        return hidden_BTD[torch.arange(len(last_B), device=last_B.device), last_B]

    def loss(self, batch: Batch, *, smoothing: float) -> tuple[torch.Tensor, float]:
        """Return the summed cross-entropy (see :class:`Labelled`), or the contrastive loss where that is the method."""
        if not self._contrast:
            return super().loss(batch, smoothing=smoothing)
        if batch.labels_B is None:
            raise ValueError("a training row has no label")
        return self._contrastive(batch, batch.labels_B), len(batch.labels_B)

    def _contrastive(self, batch: Batch, labels_B: torch.Tensor) -> torch.Tensor:
        """Return the summed contrastive loss of a batch; texts of its labels join it where they were found to be telling."""
        vectors_BD, anchors = self.pooled(batch), len(labels_B)
        texts: list[Encoded] = []
        if self._chosen.get("text_weight"):
            present = set(labels_B.tolist())
            texts = [row for row, label in zip(*use.encoded_texts(self), strict=True) if label in present]
        if texts:
            joined = self.collate(texts)
            vectors_BD = torch.cat([vectors_BD, self.pooled(joined)])
            labels_B = torch.cat([labels_B, labels_B.new_tensor([row.label for row in texts])])
        return contrastive_loss(F.normalize(vectors_BD.float(), dim=-1), labels_B, anchors=anchors)

    @torch.inference_mode()
    def head_features(self, encoded: Sequence[Encoded]) -> torch.Tensor:
        """Return (B, D): the input of the last linear layer, on which a linear head can be fitted."""
        batch = self.collate(encoded)
        return (self.pooled(batch) if self.head is not None else self.seen(batch)[1]).float().cpu()

    @property
    def last_linear(self) -> nn.Linear:
        """The layer whose outputs are the labels' scores."""
        if isinstance(self.head, nn.Linear):
            return self.head
        found = [m for m in self.network.modules() if isinstance(m, nn.Linear) and m.out_features == len(self.labels)]
        if not found:
            raise ModelError("the model's own head has no linear output", mend="Set model.pooling: mean.")
        return found[-1]

    def set_head(self, weight_CD: torch.Tensor, bias_C: torch.Tensor) -> None:
        """Copy a fitted linear head into the model."""
        layer = self.last_linear
        with torch.no_grad():
            layer.weight.copy_(weight_CD)
            if layer.bias is not None:
                layer.bias.copy_(bias_C)

    def save(self, folder: Path) -> dict[str, Any]:
        self.network, adapter = methods.save(self.network, folder)
        self.tokenizer.save_pretrained(folder / "network")
        facts = {
            "pooling": self.pooling,
            "labels": list(self.labels),
            "max_tokens": self.max_tokens,
            "adapter": adapter,
        }
        if self.head is not None:
            save_head(self.head, folder / "head", pooling=self.pooling, labels=self.labels)
        if self.beside is not None:
            self.beside.save(folder / "nearest")
        return {**facts, **self.saved_scope(folder)}

    @classmethod
    def restore(cls, folder: Path, facts: Mapping[str, Any]) -> Learner:
        if facts["pooling"] == "label-scoring":
            return LabelScorer.restore(folder, facts)
        labels = tuple(facts["labels"])
        base = open_base(Found(folder.name, folder / "network", ""), max_tokens=facts["max_tokens"])
        if facts["pooling"] == "own":
            network, head = methods.reopen(open_classifier(base, labels), folder, facts.get("adapter")), None
        else:
            network, head = methods.reopen(open_encoder(base), folder, facts.get("adapter")), load_head(folder / "head")
        found = cls(network, head, pooling=facts["pooling"], tokenizer=base.tokenizer, labels=labels, max_tokens=base.max_tokens)
        found.scope, found.beside = Scope.load(folder, facts.get("scope")), Beside.load(folder / "nearest")
        return found


def _own_head_names(network: nn.Module) -> tuple[str, ...]:
    """Return the modules that transformers adds for classification: everything beside the base model, and its pooler."""
    prefix = str(getattr(network, "base_model_prefix", ""))
    names = [
        name
        for name, _ in network.named_children()
        if name != prefix and any(True for _ in network.get_submodule(name).parameters())
    ]
    pooler = f"{prefix}.pooler"
    if any(name == pooler for name, _ in network.named_modules()) and network.get_submodule(pooler) is not None:
        names.append(pooler)
    return tuple(names)

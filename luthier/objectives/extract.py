"""extract: the sentences of a document that tell most of it, word for word."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from luthier.base.overlap import best_sentences, mean_rouge
from luthier.base.records import Encoded, Example, Prediction
from luthier.models.load import Base
from luthier.objectives.cut import micro_batches
from luthier.objectives.encoder import Encoder, pooled, width
from luthier.objectives.learner import Batch
from luthier.objectives.linear_sets import fit_sets
from luthier.prompts.sentences import encode_document, split_sentences
from luthier.spec.model import ModelSection

# Where a sentence stands and how long it is: what the first sentences of most documents have ahead of the others.
POSITION = ("from the start", "from the end", "first", "last", "log tokens", "log sentences")
_MOST_SENTENCES = 10
# Fewer documents of their own tell numbers of sentences worse than the summaries' length does.
_FEWEST = 30
_LOOKED_AT = 300


class Extractor(Encoder):
    """An encoder that reads the document, and a logistic regression that reads each sentence in it.

    A sentence is the mean of its tokens' vectors, scaled to unit length; beside it stand its products with the document's
    own vector, coordinate by coordinate, and where it stands (:data:`POSITION`).
    """

    objective = "extract"
    windows = True
    settles = True
    recipe = (
        "sigmoid(features @ weight.T + bias) for each sentence; features are the unit mean of its tokens, that times the document's "
        "unit mean times sqrt(D), and its position"
    )

    @classmethod
    def inputs_of(cls, item: str | Mapping[str, Any]) -> Mapping[str, Any]:
        if isinstance(item, str):
            return {"document": item}
        return {"document": item["text"]} if "document" not in item and "text" in item else item

    @classmethod
    def look(cls, rows: Iterable[Example]) -> dict[str, Any]:
        """Return how many sentences from the start share most with the summaries of some rows: a number to begin with."""
        sums = np.zeros(_MOST_SENTENCES)
        for example in itertools.islice(rows, _LOOKED_AT):
            sentences = split_sentences(str(example.inputs["document"]))
            sums += [mean_rouge(sentences[: n + 1], example.target) for n in range(_MOST_SENTENCES)]
        return {"sentences": int(np.argmax(sums)) + 1}

    @classmethod
    def create(
        cls, base: Base, *, labels: tuple[str, ...], model: ModelSection, known: Mapping[str, Any] | None = None
    ) -> Encoder:
        told = {"sentences": model.sentences, "told": True} if model.sentences != "auto" else {}
        return super().create(base, labels=(), model=model, known={"sentences": 3, **(known or {}), **told})

    @classmethod
    def inputs_wide(cls, network: nn.Module) -> int:
        return 2 * width(network) + len(POSITION)

    @classmethod
    def outputs(cls, labels: Sequence[str]) -> int:
        return 1

    def encode(self, example: Example) -> Encoded | None:
        read = self.encode_input(example.inputs, room=0)
        best = {*best_sentences(read.texts, example.target or ())}
        values = tuple(float(k in best) for k in range(len(read.texts)))
        return Encoded(read.ids, places=read.places, others=read.others, texts=read.texts, values=values)

    def encode_input(self, inputs: Mapping[str, Any], *, room: int) -> Encoded:
        return encode_document(self.tokenizer, str(inputs["document"]), max_tokens=self.max_tokens)

    def units(self, row: Encoded) -> float:
        return len(row.values)

    def features(self, batch: Batch) -> torch.Tensor:
        """Return (S, 2D + 6): what the head reads of each sentence of each row, in order."""
        hidden_WTD = self.hidden(batch)
        document_BD = pooled(hidden_WTD, batch, "mean")
        place_N, sentence_N = _token_places(batch)
        total = sum(len(row.texts) for row in batch.rows)
        flat_ND = hidden_WTD.reshape(-1, hidden_WTD.shape[-1])[place_N]
        sums_SD = flat_ND.new_zeros(total, flat_ND.shape[1]).index_add(0, sentence_N, flat_ND)
        # A sum and a mean have the same direction.
        sentence_SD = F.normalize(sums_SD, dim=-1)
        row_S = torch.arange(len(batch.rows)).repeat_interleave(torch.tensor([len(row.texts) for row in batch.rows]))
        product_SD = sentence_SD * document_BD[row_S.to(document_BD.device)] * sentence_SD.shape[1] ** 0.5
        position_SP = torch.tensor([p for row in batch.rows for p in _positions(row)], device=sentence_SD.device)
        return torch.cat([sentence_SD, product_SD, position_SP.to(sentence_SD.dtype)], dim=1)

    def fit_head(self, rows: Sequence[Encoded], *, seed: int) -> dict[str, Any]:
        """Fit the head on the frozen features of all sentences."""
        features_SF = torch.cat(self._by_document(rows))
        truth_S1 = torch.tensor([value for row in rows for value in row.values])[:, None]
        document_S = np.repeat(np.arange(len(rows)), [len(row.values) for row in rows])
        fit = fit_sets(features_SF, truth_S1, seed=seed, groups_N=document_S)
        self.set_head(fit.weight_LD, fit.bias_L)
        return {"strength": fit.strength}

    def settle(self, rows: Sequence[Example], predictions: Sequence[Prediction]) -> dict[str, Any]:
        """Choose how many sentences are taken by the mean of ROUGE-1, 2 and L on rows that were not learnt from."""
        if self.known.get("told") or len(rows) < _FEWEST:
            return {"sentences": self.known["sentences"]}
        found = []
        for example, prediction in zip(rows, predictions, strict=True):
            sentences = split_sentences(str(example.inputs["document"]))
            scores = [(prediction.scores or {})[str(k)] for k in range(len(sentences))]
            taken = [[sentences[k] for k in taken_of(scores, n)] for n in range(1, _MOST_SENTENCES + 1)]
            found.append([mean_rouge(part, example.target) for part in taken])
        means = np.mean(found, axis=0)
        self.known["sentences"] = int(np.argmax(means)) + 1
        return {"sentences": self.known["sentences"], "rouge": [round(float(m), 4) for m in means]}

    def _by_document(self, rows: Sequence[Encoded]) -> list[torch.Tensor]:
        """Return (S, F) features of each row, in the order of the rows."""
        lengths = [len(row) for row in rows]
        found: list[torch.Tensor] = [torch.empty(0)] * len(rows)
        for piece in micro_batches(range(len(rows)), lengths, max_tokens=4096):
            parts = self.head_features([rows[r] for r in piece]).split([len(rows[r].texts) for r in piece])
            for row, part in zip(piece, parts, strict=True):
                found[row] = part
        return found

    def loss(self, batch: Batch, *, smoothing: float) -> tuple[torch.Tensor, float]:
        """Return the summed binary cross-entropy of all sentences, and their number."""
        truth_S = torch.tensor([value for row in batch.rows for value in row.values], device=self.device)
        wanted_S = truth_S * (1 - smoothing) + smoothing / 2
        return F.binary_cross_entropy_with_logits(self.logits(batch)[:, 0], wanted_S, reduction="sum"), len(truth_S)

    @torch.inference_mode()
    def answer(self, encoded: Sequence[Encoded], *, max_new_tokens: int = 0) -> list[Prediction]:
        scores_S = self.logits(self.collate(encoded))[:, 0].sigmoid().cpu()
        parts = scores_S.split([len(row.texts) for row in encoded])
        return [self._chosen(row, part.tolist()) for row, part in zip(encoded, parts, strict=True)]

    def _chosen(self, row: Encoded, scores: Sequence[float]) -> Prediction:
        taken = taken_of(scores, int(self.known["sentences"]))
        return Prediction(
            sentences=tuple(row.texts[k] for k in taken), scores={str(k): s for k, s in enumerate(scores)}
        )


def taken_of(scores: Sequence[float], count: int) -> list[int]:
    """Return the numbers of the best sentences in the order of the document; of equals the first."""
    return sorted(sorted(range(len(scores)), key=lambda k: (-scores[k], k))[:count])


def _token_places(batch: Batch) -> tuple[torch.Tensor, torch.Tensor]:
    """Return where each sentence's tokens stand in the flattened batch, and the number of the sentence, both (N,)."""
    wide = batch.ids_BT.shape[1]
    places: list[int] = []
    sentences: list[int] = []
    number = window = 0
    for row in batch.rows:
        for part in (row, *row.others):
            for start, end in zip(part.places, part.places[1:], strict=False):
                places += range(window * wide + start, window * wide + end)
                sentences += [number] * (end - start)
                number += 1
            window += 1
    return tuple(torch.tensor(found, device=batch.ids_BT.device) for found in (places, sentences))  # type: ignore[return-value]


def _positions(row: Encoded) -> Iterator[list[float]]:
    """Yield :data:`POSITION` of each sentence of a row."""
    sizes = [
        end - start for part in (row, *row.others) for start, end in zip(part.places, part.places[1:], strict=False)
    ]
    count = len(sizes)
    for k, size in enumerate(sizes):
        yield [1 / (1 + k), 1 / (count - k), float(k == 0), float(k == count - 1), float(np.log1p(size)) / 4,
               float(np.log1p(count)) / 4]  # fmt: skip

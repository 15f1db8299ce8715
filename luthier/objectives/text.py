"""text: go on training a language model on plain documents, so that it knows their words before it is tuned for a task."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from luthier.base.records import Encoded, Example, Prediction
from luthier.models import flat, virtual
from luthier.models.load import Base
from luthier.objectives.cut import micro_batches
from luthier.objectives.generate import Generator, in_evaluation, unmoved
from luthier.objectives.learner import Batch, Learner
from luthier.objectives.masked_text import MaskedText
from luthier.objectives.packing import mask_of_pieces, pack, positions, windows
from luthier.prompts.encode import Turns, document_ids
from luthier.spec.model import ModelSection

# Most padded tokens in one pass without gradients.
_PASS_TOKENS = 4096


class Text(Generator):
    """A causal language model that learns every token of documents, packed into full rows that do not see each other.

    A document is the start token (or the end token, where there is none), its text, and the end token. An encoder gets
    :class:`MaskedText` instead.
    """

    objective = "text"
    asked = False
    windows = True
    small_below = 0

    @classmethod
    def inputs_of(cls, item: str | Mapping[str, Any]) -> Mapping[str, Any]:
        return {"text": item if isinstance(item, str) else str(item.get("text", item.get("prompt", "")))}

    def __init__(self, network: Any, *, turns: Turns) -> None:
        super().__init__(network, turns=turns)
        self._packs: bool | None = None
        self._told_by_mask = False

    @classmethod
    def create(
        cls, base: Base, *, labels: tuple[str, ...] = (), model: ModelSection, known: Mapping[str, Any] | None = None
    ) -> Learner:
        if not base.decodes:
            return MaskedText.create(base, labels=labels, model=model, known=known)
        return super().create(base, labels=labels, model=model.model_copy(update={"template": "plain"}), known=known)

    @classmethod
    def restore(cls, folder: Path, facts: Mapping[str, Any]) -> Learner:
        if facts.get("masked"):
            return MaskedText.restore(folder, facts)
        return super().restore(folder, facts)

    def encode(self, example: Example) -> Encoded:
        """Encode a whole document, however long; ``values`` is its size in UTF-8 bytes."""
        return self.encode_all([example])[0]

    def encode_all(self, examples: Sequence[Example]) -> list[Encoded]:
        texts = [str(example.inputs["text"]) for example in examples]
        return [
            Encoded(ids, (False,) + (True,) * (len(ids) - 1), values=(float(len(text.encode("utf-8"))),))
            for text, ids in zip(texts, document_ids(self.tokenizer, texts), strict=True)
        ]

    def encode_input(self, inputs: Mapping[str, Any], *, room: int) -> Encoded:
        """Encode a beginning to be continued: its oldest tokens go where it is too long."""
        ids = document_ids(self.tokenizer, [str(inputs["text"])])[0][:-1]
        keep = max(2, self.max_tokens - room)
        return Encoded(ids if len(ids) <= keep else (ids[0], *ids[len(ids) - keep + 1 :]))

    def pack(self, rows: list[Encoded]) -> tuple[list[Encoded], list[int]]:
        pieces, owners = [], []
        for number, row in enumerate(rows):
            found = windows(row, self.max_tokens)
            pieces += [replace(piece, values=()) for piece in found]
            owners += [number] * len(found)
        if not self.packs:
            return pieces, owners
        packed, first = pack(pieces, self.max_tokens)
        return packed, [owners[i] for i in first]

    @property
    def packs(self) -> bool:
        """Whether documents stand together in rows: where the network keeps them apart, which is measured, not looked up."""
        if self._packs is None:
            self._packs = not virtual.learns_input(self.network) and self._keeps_apart()
        return self._packs

    def packs_rows(self) -> str | None:
        if virtual.learns_input(self.network):
            return "a learnt prompt or prefix stands before each row"
        return None if self._keeps_apart() else f"{self._plain.config.model_type} lets documents in one row see each other"

    def lay_flat(self, wanted: bool) -> None:
        """Pack documents into rows or not; on a GPU a pass of packed rows is one line, which its flash attention reads."""
        Learner.lay_flat(self, wanted)
        self._packs = wanted
        self.set_flat(wanted and self.device.type == "cuda" and flat.has_kernel() and super().packs_rows() is None)

    @torch.inference_mode()
    def _keeps_apart(self) -> bool:
        """Whether two documents in one row get the losses they get alone: by their positions, or else by a mask of their own."""

        def together(rows: Sequence[Encoded]) -> float:
            return self.row_sums(pack(rows, sum(map(len, rows)))[0])[0][0]

        def alone(row: Encoded) -> float:
            return self.row_sums([row])[0][0]

        with in_evaluation(self):
            for self._told_by_mask in (False, True):
                try:
                    if unmoved(together, alone, int(self._plain.config.vocab_size)):
                        return True
                except (TypeError, ValueError, RuntimeError, IndexError):
                    continue  # an architecture that takes no positions or no such mask
        return False

    def _more(self, batch: Batch) -> dict[str, Any]:
        positions_BT = positions(batch.rows, batch.ids_BT.shape[1])
        if positions_BT is None:
            return {}
        positions_BT = positions_BT.to(batch.ids_BT.device)
        return {"position_ids": positions_BT, **({"mask": mask_of_pieces(positions_BT)} if self._told_by_mask else {})}

    def measure(self, encoded: Sequence[Encoded]) -> list[Prediction]:
        """Return each document's nats, its tokens and its bytes; the end token is no part of the text and left out.

        Long documents are read in the windows of training, so the first tokens of a window know only what stands in it.
        """
        pieces, owners = [], []
        for number, row in enumerate(encoded):
            text = replace(row, ids=row.ids[:-1], learn=row.learn[:-1]) if len(row.ids) > 2 else row
            found = windows(text, self.max_tokens)
            pieces += found
            owners += [number] * len(found)
        sums, counts = [0.0] * len(encoded), [0] * len(encoded)
        lengths = [len(p.ids) for p in pieces]
        for group in micro_batches(range(len(pieces)), lengths, max_tokens=_PASS_TOKENS):
            for i, (loss, count) in zip(group, self.row_sums([pieces[i] for i in group]), strict=True):
                sums[owners[i]] += loss
                counts[owners[i]] += count
        return [
            Prediction(measured={"nll_sum": s, "token_count": float(n), "byte_count": row.values[0]})
            for s, n, row in zip(sums, counts, encoded, strict=True)
        ]

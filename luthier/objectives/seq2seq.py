"""generate with an encoder-decoder (T5, BART): one part reads the prompt whole, the other writes the answer."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from luthier.base.errors import ModelError
from luthier.base.records import Encoded, Prediction
from luthier.models.generate import generate_seq2seq
from luthier.models.load import Base, open_seq2seq
from luthier.objectives.generate import Generator, in_evaluation, probe_ids
from luthier.objectives.learner import Batch
from luthier.prompts.answer import answer_text
from luthier.prompts.encode import TwoTexts
from luthier.spec.train import TrainSection

_NOT_LEARNT = -100
_T5 = frozenset(("t5", "mt5", "umt5", "longt5", "switch_transformers"))


class Seq2Seq(Generator):
    """An encoder-decoder that learns answers. A row is its prompt, and the answer's ids in ``others``.

    What is learnt is what transformers learns of ``labels``: the answer as the tokenizer writes one, its opening token
    included where it has one (BART), and the end token. Prompt and answer may each have ``max_tokens``.
    """

    turns_kind = TwoTexts
    small_below = 0

    @staticmethod
    def _open(base: Base) -> Any:
        return open_seq2seq(base)

    @property
    def rates(self) -> str | None:  # type: ignore[override]
        """T5 and its kin want higher rates than other networks."""
        return "t5" if self._plain.config.model_type in _T5 else None

    def packs_rows(self) -> str | None:
        return "an encoder-decoder reads one text and writes another, and neither is a line of rows"

    def prepare_training(self, train: TrainSection) -> None:
        if train.method in ("prompt", "prefix"):
            raise ModelError(
                f"`{train.method}` puts learnt vectors before one text, and an encoder-decoder has two",
                where="train.method",
                mend="Use lora, ia3, adapters or full.",
            )
        super().prepare_training(train)

    def save(self, folder: Path) -> dict[str, Any]:
        return {**super().save(folder), "seq2seq": True}

    def units(self, row: Encoded) -> float:
        return sum(row.others[0].learn)

    def _scored(self, batch: Batch) -> tuple[torch.Tensor, torch.Tensor]:
        """Return hidden vectors (N, D), or scores (N, V) where the model cannot be split, and the N ids they should predict."""
        network, device = self._plain, batch.ids_BT.device
        answers = [row.others[0].ids for row in batch.rows]
        labels_BS = torch.full((len(answers), max(map(len, answers))), _NOT_LEARNT, device=device)
        for number, ids in enumerate(answers):
            labels_BS[number, : len(ids)] = torch.tensor(ids, device=device)
        learnt_BS = labels_BS != _NOT_LEARNT
        given_BS = network.prepare_decoder_input_ids_from_labels(labels_BS)
        if self._scale is None:
            output = network(
                input_ids=batch.ids_BT, attention_mask=batch.mask_BT, decoder_input_ids=given_BS, use_cache=False
            )
            return output.logits[learnt_BS], labels_BS[learnt_BS]
        hidden_BSD = _hidden(network, batch.ids_BT, batch.mask_BT, given_BS)
        return hidden_BSD[learnt_BS] * self._scale, labels_BS[learnt_BS]

    @torch.inference_mode()
    def row_sums(self, encoded: Sequence[Encoded]) -> list[tuple[float, int]]:
        return self.batch_sums(self.collate(encoded))

    def answer(self, encoded: Sequence[Encoded], *, max_new_tokens: int) -> list[Prediction]:
        batch = self.collate(encoded)
        mask_BT = torch.ones_like(batch.ids_BT) if batch.mask_BT is None else batch.mask_BT
        ends = (self.turns.end_id,)
        made = generate_seq2seq(
            self.network, batch.ids_BT, mask_BT, ends=ends, pad=self.pad_id, max_new_tokens=max_new_tokens,
            never_repeat=self.never_repeat,
        )  # fmt: skip
        return [
            Prediction(
                text=text, finish=finish, measured={"prompt_tokens": float(len(e.ids)), "made_tokens": float(len(ids))}
            )
            for e, ids in zip(encoded, made, strict=True)
            for text, finish in [answer_text(self.tokenizer, ids, ends)]
        ]

    @torch.inference_mode()
    def _splits(self) -> bool:
        """Find by what factor the decoder's hidden vectors enter the output layer; T5 with tied weights scales them."""
        network = self._plain
        output = network.get_output_embeddings()
        self._scale: float | None = None
        if output is None:
            return False
        ids_BT = probe_ids(network)
        with in_evaluation(network):
            hidden = _hidden(network, ids_BT, None, ids_BT)
            own = network(input_ids=ids_BT, decoder_input_ids=ids_BT, use_cache=False).logits
        factors = (1.0, float(network.config.hidden_size) ** -0.5)
        self._scale = next((f for f in factors if torch.allclose(output(hidden * f), own, rtol=1e-4, atol=1e-5)), None)
        return self._scale is not None


def _hidden(network: Any, ids_BT: torch.Tensor, mask_BT: torch.Tensor | None, given_BS: torch.Tensor) -> torch.Tensor:
    """Return the decoder's last hidden vectors (B, S, D)."""
    read_BTD = network.get_encoder()(input_ids=ids_BT, attention_mask=mask_BT).last_hidden_state
    written = network.get_decoder()(
        input_ids=given_BS, encoder_hidden_states=read_BTD, encoder_attention_mask=mask_BT, use_cache=False
    )
    found: torch.Tensor = written.last_hidden_state
    return found

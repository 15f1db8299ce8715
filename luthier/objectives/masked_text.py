"""text for encoders: some tokens of plain documents are hidden, and the model learns to say what they were."""

from __future__ import annotations

import zlib
from array import array
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from luthier.base.errors import ModelError
from luthier.base.records import Encoded, Example, Prediction
from luthier.base.seeds import derive_seed
from luthier.models import methods, virtual
from luthier.models.catalogue import Found
from luthier.models.load import Base, open_base, open_masked
from luthier.objectives.cut import micro_batches
from luthier.objectives.generate import in_evaluation
from luthier.objectives.learner import Batch, Learner
from luthier.prompts.encode import special_ids
from luthier.spec.model import ModelSection
from luthier.spec.train import TrainSection

# Devlin et al. 2019 (https://arxiv.org/abs/1810.04805), section 3.1: 15 % of the tokens are asked for; of these 80 % are
# hidden, 10 % replaced by any token and 10 % left as they are.
SHARE, HIDDEN, REPLACED = 0.15, 0.8, 0.1
_PASS_TOKENS = 4096


class MaskedText(Learner):
    """A masked language model that goes on learning. Which tokens are asked for follows from seed, epoch and the row itself.

    It is measured on one fixed choice of tokens, all of them hidden: the same for every model with this tokenizer.
    """

    objective = "text"
    measures = True
    answers = False
    asked = False
    windows = True

    def __init__(self, network: Any, *, tokenizer: Any, max_tokens: int) -> None:
        super().__init__()
        self.network = network
        self.tokenizer = tokenizer
        self.labels = ()
        self.max_tokens = max_tokens
        self._opening, self._closing = special_ids(tokenizer)
        self._around = len(self._opening) + len(self._closing)
        self._pass: tuple[int, int] | None = None
        self._selects = _selects(methods.plain(network))

    @classmethod
    def create(
        cls, base: Base, *, labels: tuple[str, ...] = (), model: ModelSection, known: Mapping[str, Any] | None = None
    ) -> MaskedText:
        if base.writes_from_encoder or base.tokenizer.mask_token_id is None:
            raise ModelError(
                f"{base.found.name} ({base.config.model_type}) is neither a decoder nor a masked language model",
                where="model.base",
                mend="`text` goes on training decoders (Llama, Qwen, GPT-2) and masked models (BERT, RoBERTa).",
            )
        network = open_masked(base, where="model.base")
        return cls(network, tokenizer=base.tokenizer, max_tokens=base.max_tokens)

    @classmethod
    def restore(cls, folder: Path, facts: Mapping[str, Any]) -> MaskedText:
        base = open_base(Found(folder.name, folder / "network", ""), max_tokens=facts["max_tokens"])
        network = methods.reopen(open_masked(base, where=str(folder)), folder, facts.get("adapter"))
        return cls(network, tokenizer=base.tokenizer, max_tokens=base.max_tokens)

    def save(self, folder: Path) -> dict[str, Any]:
        self.network, adapter = methods.save(self.network, folder)
        self.tokenizer.save_pretrained(folder / "network")
        return {"masked": True, "max_tokens": self.max_tokens, "labels": [], "adapter": adapter}

    def prepare_training(self, train: TrainSection) -> None:
        self.network = methods.apply(self.network, train, freeze_embeddings=train.embeddings == "freeze")
        self.max_tokens = virtual.room(self.network, self.max_tokens)

    def start_epoch(self, epoch: int, *, seed: int) -> None:
        self._pass = (seed, epoch)

    def encode(self, example: Example) -> Encoded:
        """Encode a whole document, however long, without the tokens that open and close a row."""
        ids = self.tokenizer(str(example.inputs["text"]), add_special_tokens=False)["input_ids"]
        return Encoded(tuple(ids) or (int(self.tokenizer.unk_token_id or 0),))

    def encode_input(self, inputs: Mapping[str, Any], *, room: int) -> Encoded:
        return self.encode(Example("", inputs, "", source=None))  # type: ignore[arg-type]

    def pack(self, rows: list[Encoded]) -> tuple[list[Encoded], list[int]]:
        """Cut documents into windows, each a row with its opening and closing tokens."""
        room = self.max_tokens - self._around
        pieces, owners = [], []
        for number, row in enumerate(rows):
            for start in range(0, len(row.ids), room):
                pieces.append(Encoded((*self._opening, *row.ids[start : start + room], *self._closing)))
                owners.append(number)
        return pieces, owners

    def units(self, row: Encoded) -> float:
        return max(1, round(SHARE * (len(row.ids) - self._around)))

    def asked_for(self, row: Encoded) -> tuple[np.ndarray, np.ndarray]:
        """Return the places of a row that are asked for, ascending, and the ids that stand there instead."""
        inner = len(row.ids) - self._around
        key = zlib.crc32(array("q", row.ids).tobytes())
        rng = np.random.default_rng(derive_seed(*(self._pass or (0, "fixed")), "hidden", key))
        places = np.sort(rng.choice(inner, int(self.units(row)), replace=False)) + len(self._opening)
        instead = np.full(len(places), int(self.tokenizer.mask_token_id))
        if self.training and self._pass:
            kind = rng.random(len(places))
            network: Any = methods.plain(self.network)
            any_id = rng.integers(0, int(network.config.vocab_size), len(places))
            instead = np.where(kind < HIDDEN, instead, any_id)
            instead = np.where(kind >= HIDDEN + REPLACED, np.asarray(row.ids)[places], instead)
        return places, instead

    def _scores(self, batch: Batch) -> tuple[torch.Tensor, torch.Tensor]:
        """Return (N, V) scores at the N places that are asked for, row by row, and the ids that stood there."""
        ids_BT = batch.ids_BT.clone()
        asked_BT = torch.zeros_like(ids_BT, dtype=torch.bool)
        for number, row in enumerate(batch.rows):
            places, instead = self.asked_for(row)
            ids_BT[number, places] = torch.tensor(instead, device=ids_BT.device)
            asked_BT[number, places] = True
        targets_N = batch.ids_BT[asked_BT]
        if not self._selects or virtual.learns_input(self.network):
            return virtual.run(self.network, ids_BT, batch.mask_BT).logits[asked_BT], targets_N
        network: Any = methods.plain(self.network)
        with _only(network, asked_BT):
            return network(input_ids=ids_BT, attention_mask=batch.mask_BT).logits[0], targets_N

    def loss(self, batch: Batch, *, smoothing: float) -> tuple[torch.Tensor, float]:
        scores_NV, targets_N = self._scores(batch)
        loss = F.cross_entropy(scores_NV.float(), targets_N, reduction="sum", label_smoothing=smoothing)
        return loss, len(targets_N)

    @torch.inference_mode()
    def measure(self, encoded: Sequence[Encoded]) -> list[Prediction]:
        """Return each document's nats at the hidden tokens of the fixed choice, and how many they are."""
        kept, self._pass = self._pass, None
        pieces, owners = self.pack(list(encoded))
        sums, counts = [0.0] * len(encoded), [0] * len(encoded)
        try:
            for group in micro_batches(range(len(pieces)), [len(p.ids) for p in pieces], max_tokens=_PASS_TOKENS):
                scores_NV, targets_N = self._scores(self.collate([pieces[i] for i in group]))
                nll_N = F.cross_entropy(scores_NV.float(), targets_N, reduction="none").double()
                sizes = [int(self.units(pieces[i])) for i in group]
                for i, size, part in zip(group, sizes, nll_N.split(sizes), strict=True):
                    sums[owners[i]] += float(part.sum())
                    counts[owners[i]] += size
        finally:
            self._pass = kept
        return [Prediction(measured={"nll_sum": s, "token_count": float(n)}) for s, n in zip(sums, counts, strict=True)]

    def answer(self, encoded: Sequence[Encoded], *, max_new_tokens: int) -> list[Prediction]:
        raise ModelError(
            "a masked language model that went on training answers nothing by itself",
            mend="Use its folder `network/` as model.base of a task: classify, grade, rank.",
        )


class _only:
    """While it lasts, the network's body hands only the asked places to the output layer, which looks at each alone."""

    def __init__(self, network: Any, asked_BT: torch.Tensor) -> None:
        self.network, self.asked_BT = network, asked_BT

    def __enter__(self) -> None:
        def select(module: Any, args: Any, output: Any) -> Any:
            output.last_hidden_state = output.last_hidden_state[self.asked_BT][None]
            return output

        self.hook = self.network.base_model.register_forward_hook(select)

    def __exit__(self, *error: object) -> None:
        self.hook.remove()


@torch.inference_mode()
def _selects(network: Any) -> bool:
    """Whether scores of some places alone are those that the model gives them among all: asked of the model itself."""
    base = getattr(network, "base_model", None)
    if base is None or base is network:
        return False
    device = next(network.parameters()).device
    ids_BT = torch.arange(8, device=device).view(2, 4) % int(network.config.vocab_size)
    asked_BT = ids_BT % 3 == 1
    try:
        with in_evaluation(network):
            own = network(input_ids=ids_BT).logits[asked_BT]
            with _only(network, asked_BT):
                mine = network(input_ids=ids_BT).logits
        return mine.shape[0] == 1 and torch.allclose(mine[0], own, rtol=1e-4, atol=1e-5)
    except (AttributeError, RuntimeError, IndexError, TypeError):  # a body that returns something else
        return False

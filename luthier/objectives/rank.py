"""rank: the items that fit a query or a user best, by one network that reads both, and by what others chose."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from torch import nn

from luthier.base.errors import BundleError, ModelError, TrainError
from luthier.base.ranks import ndcg
from luthier.base.records import Encoded, Example, Prediction
from luthier.models import methods, virtual
from luthier.models.catalogue import Found
from luthier.models.load import Base, open_base, open_encoder
from luthier.models.sight import settled_pooling
from luthier.objectives.interactions import Interactions, blended, chosen
from luthier.objectives.learner import Batch, Learner
from luthier.objectives.rank_known import HISTORY, Known, look_at
from luthier.objectives.rank_loss import Pack, in_batch_loss, means, pack
from luthier.objectives.rank_network import computed_tokens, vectors
from luthier.objectives.rank_rows import RankRows, chosen_rows, past_of, seen_of
from luthier.objectives.whole import whole
from luthier.spec.model import ModelSection
from luthier.spec.rank import Rank
from luthier.spec.train import TrainSection

_PASS_TOKENS = 4096
# Of so many items, evenly spread, the scores are compared when a bundle is reloaded; the first few are read anew.
_PROBED, _READ = 512, 16
_FIRST = 10


class Ranker(Learner):
    """A bi-encoder: a query is one text, a user the mean of his latest items, and both lie near the items that fit them."""

    objective = "rank"
    separable = False
    ready = True
    settles = True

    def __init__(
        self, network: nn.Module, known: Known, *, pooling: str, tokenizer: Any, max_tokens: int, settings: Rank
    ) -> None:
        super().__init__()
        self.network = network
        self.known = known
        self.labels = known.ids
        self.pooling = pooling
        self.tokenizer = tokenizer
        self.max_tokens = max_tokens
        self.settings = settings
        self.log_scale = nn.Parameter(torch.tensor(math.log(settings.scale)), requires_grad=False)
        self.interactions: Interactions | None = None
        self.rows = RankRows(known, tokenizer, max_tokens)
        self._right = {code: frozenset(known.relevant[who]) for who, code in self.rows.codes.items()}
        self._index: tuple[Any, torch.Tensor] | None = None
        self._saved: torch.Tensor | None = None
        self._piece_tokens = _PASS_TOKENS
        self._log_shares = self._shares() if known.users else None

    @classmethod
    def look(cls, rows: Iterable[Example]) -> dict[str, Any]:
        return look_at(rows)

    @classmethod
    def create(
        cls, base: Base, *, labels: tuple[str, ...], model: ModelSection, known: Mapping[str, Any] | None = None
    ) -> Ranker:
        if known is None:
            raise ValueError("a ranker has to know its items")
        if model.pooling not in ("auto", "mean", "cls"):
            raise ModelError("a model's own head is for other tasks than `rank`, which compares vectors", where="model.pooling",
                             mend="Set it to mean or cls.")  # fmt: skip
        network = open_encoder(base)
        # Without word of how it was trained, the mean of its tokens is usual.
        found = (base.pooling or "mean") if model.pooling == "auto" else model.pooling
        pooling = settled_pooling(base, network, found, asked=model.pooling)
        return cls(network, Known.of(known), pooling=pooling, tokenizer=base.tokenizer,
                   max_tokens=base.max_tokens, settings=Rank())  # fmt: skip

    def prepare_training(self, train: TrainSection) -> None:
        self.settings = train.rank
        if self.settings.interactions == "on" and not self.known.users:
            raise TrainError("queries have no interactions to learn from", where="train.rank.interactions",
                             mend="Leave it at auto.")  # fmt: skip
        self.network = methods.apply(self.network, train, freeze_embeddings=train.embeddings != "train")
        if (room := virtual.room(self.network, self.max_tokens)) != self.max_tokens:
            self.max_tokens = room
            self.rows = RankRows(self.known, self.tokenizer, room)
        with torch.no_grad():
            self.log_scale.fill_(math.log(self.settings.scale))
        self.log_scale.requires_grad_(self.settings.learn_scale)
        self._piece_tokens = int(train.micro_tokens) if train.micro_tokens != "auto" else _PASS_TOKENS

    def choose(self, examples: Sequence[Example]) -> Sequence[Example]:
        rows = chosen_rows(examples, users=self.known.users, per_user=self.settings.per_user)
        if not rows:
            raise TrainError("no user has two relevant rows, so there is no history to learn from", where="data.source",
                             mend="See data.columns.relevance and data.min_relevance.")  # fmt: skip
        return rows

    def encode(self, example: Example) -> Encoded | None:
        return self.rows.learnt(example, self.settings)

    def encode_input(self, inputs: Mapping[str, Any], *, room: int) -> Encoded:
        return self.rows.asked(inputs)

    # Learning

    def collate(self, encoded: Sequence[Encoded], *, masked: bool = True) -> Batch:
        """Return the rows with the ids of their texts, each text once."""
        packed = pack(encoded, self._right)
        computed = computed_tokens(packed.texts, self._piece_tokens)
        # Only their number is read of these ids: the texts are padded piece by piece.
        return Batch(
            torch.empty((1, computed), dtype=torch.uint8),
            None,
            None,
            None,
            sum(map(len, packed.texts)),
            rows=tuple(encoded),
        )

    def loss(self, batch: Batch, *, smoothing: float) -> tuple[torch.Tensor, float]:
        """Return the summed loss of finding each row's item among those of the step, and the number of rows."""
        del smoothing  # other items of the step are no classes to spread over
        packed = pack(batch.rows, self._right)
        scores_BC = self.scores(packed)
        if self._log_shares is not None:
            scores_BC = scores_BC - self._log_shares[list(packed.numbers)].to(scores_BC.device)
        return in_batch_loss(scores_BC, packed, symmetric=self.settings.symmetric), len(batch.rows)

    def scores(self, packed: Pack) -> torch.Tensor:
        """Return (B, C): the cosine of each row and each candidate times the scale."""
        vectors_UD = self._vectors(packed.texts)
        # Cosines that differ in the third digit decide: never in half precision.
        vectors_UD = vectors_UD.to(torch.promote_types(vectors_UD.dtype, torch.float32))
        asked_BD = means(vectors_UD, packed.asked)
        with whole(vectors_UD):
            return asked_BD @ vectors_UD[list(packed.items)].T * self.log_scale.exp()

    def _shares(self) -> torch.Tensor:
        """Return (M,) log of how likely an item is to be in a step.

        Popular items are in many steps, so as negatives they would be pushed away from everybody; taking the log of that
        likelihood from their scores makes up for it (Bengio & Senécal 2008; Yi et al. 2019, https://doi.org/10.1145/3298689.3346996).
        """
        counts = torch.tensor([float(self.known.popularity.counts.get(i, 0)) for i in self.known.ids])
        return (counts.clamp(min=1) / counts.clamp(min=1).sum()).log()

    def _vectors(self, texts: Sequence[Encoded]) -> torch.Tensor:
        return vectors(self.network, texts, pooling=self.pooling, pad_id=self.pad_id, device=self.device,
                       max_tokens=self._piece_tokens if self.training else _PASS_TOKENS)  # fmt: skip

    # Answers

    def train(self, mode: bool = True) -> Ranker:
        if mode:
            self._index = None
        super().train(mode)
        return self

    @torch.inference_mode()
    def index(self) -> torch.Tensor:
        """Return the vectors of all items, (M, D); they are computed anew when the weights have changed."""
        state = (id(self.network), sum(p._version for p in self.network.parameters()))
        if self._saved is not None:
            self._index, self._saved = (state, self._saved.to(self.device)), None
        if self._index is None or self._index[0] != state:
            texts = [self.rows.item(number) for number in range(len(self.known))]
            self._index = (state, self._vectors(texts).float())
        return self._index[1]

    @torch.inference_mode()
    def similar(self, encoded: Sequence[Encoded]) -> np.ndarray:
        """Return (N, M) cosines of askers and items by their texts; zeros for a user without a history."""
        index_MD = self.index()
        fresh: list[Encoded] = []
        groups: list[list[int]] = []
        for row in encoded:
            own = [Encoded(row.ids)] if row.ids else []
            past = [o for o, role in zip(row.others, row.values, strict=True) if role == HISTORY]
            group = []
            for text in [*own, *past[-self.settings.history :]]:
                if text.label is None:
                    fresh.append(text)
                group.append(len(index_MD) + len(fresh) - 1 if text.label is None else text.label)
            groups.append(group)
        table = torch.cat([index_MD, self._vectors(fresh).float()]) if fresh else index_MD
        return (means(table, groups) @ index_MD.T).cpu().numpy()

    def ranked(self, encoded: Sequence[Encoded]) -> np.ndarray:
        """Return (N, M) scores of all items; those that a user has seen are minus infinity."""
        scores_NM = self.similar(encoded)
        if self.interactions is not None:
            scores_NM = blended(
                scores_NM, self.interactions.scores(list(map(past_of, encoded))), self.interactions.share
            )
        return self._without_seen(scores_NM, encoded)

    def _without_seen(self, scores_NM: np.ndarray, encoded: Sequence[Encoded]) -> np.ndarray:
        chosen = self.known.popularity
        for n, row in enumerate(encoded):
            if not row.ids and not any(role == HISTORY for role in row.values):
                # Nothing is known of this user: what most people choose.
                scores_NM[n] = [chosen.counts.get(item, 0) / max(1, chosen.askers) for item in self.known.ids]
            scores_NM[n, seen_of(row)] = -np.inf
        return scores_NM

    def answer(self, encoded: Sequence[Encoded], *, max_new_tokens: int = 0) -> list[Prediction]:
        return [self._listed(scores_M) for scores_M in self.ranked(encoded)]

    def _listed(self, scores_M: np.ndarray) -> Prediction:
        known = self.known
        best = np.argsort(-scores_M, kind="stable")[: self.settings.k]
        best = best[np.isfinite(scores_M[best])]
        given = tuple((known.ids[n], float(scores_M[n])) for n in best)
        names = tuple(known.names[n] for n in best)
        own = all(name == item for name, (item, _) in zip(names, given, strict=True))
        return Prediction(items=given, names=None if own else names, measured=known.popularity.novelty([i for i, _ in given], self.settings.k))  # fmt: skip

    @torch.inference_mode()
    def measure(self, encoded: Sequence[Encoded]) -> list[Prediction]:
        """Return scores of items evenly spread, of the first few by reading them anew: what a reloaded bundle is compared by."""
        spread = np.unique(np.linspace(0, len(self.known) - 1, min(_PROBED, len(self.known))).astype(int))
        read = self._vectors([self.rows.item(int(n)) for n in spread[:_READ]]).float()
        drift = (read * self.index()[torch.from_numpy(spread[:_READ]).to(read.device)]).sum(-1).cpu().tolist()
        anew = {f"read anew: {self.known.ids[n]}": float(c) for n, c in zip(spread[:_READ], drift, strict=True)}
        return [
            Prediction(scores={**{self.known.ids[n]: float(row[n]) for n in spread if np.isfinite(row[n])}, **anew})
            for row in self.ranked(encoded)
        ]

    def row_losses(self, encoded: Sequence[Encoded]) -> list[float] | None:
        """Return how surprising each row's own item is among all items that there are: no batch decides it."""
        scores_NM = torch.from_numpy(self.similar(encoded)) * self.log_scale.detach().exp().cpu()
        for n, row in enumerate(encoded):
            also = self._right.get(-1 if row.label is None else row.label, frozenset()) - {row.others[0].label}
            scores_NM[n, [int(number) for number in also]] = -torch.inf
        right_N = torch.tensor([int(row.others[0].label or 0) for row in encoded])
        return [round(float(loss), 5) for loss in F.cross_entropy(scores_NM, right_N, reduction="none")]

    def settle(self, rows: Sequence[Example], predictions: Sequence[Prediction]) -> dict[str, Any]:
        """Add what users with the same items chose, as far as that ranks the validation rows better."""
        if not self.known.users or self.settings.interactions == "off" or not rows or not self.known.relevant:
            return {}
        self.eval()
        encoded = [self.encode_input(row.inputs, room=0) for row in rows]

        def judge(scores_NM: np.ndarray) -> float:
            best_NK = np.argsort(-self._without_seen(scores_NM.copy(), encoded), axis=1, kind="stable")[:, :_FIRST]
            lists = ([self.known.ids[n] for n in best_K] for best_K in best_NK)
            return float(np.mean([ndcg(row.target, given) for row, given in zip(rows, lists, strict=True)]))

        train, past = list(self.known.relevant.values()), list(map(past_of, encoded))
        self.interactions, facts = chosen(train, past, self.similar(encoded), judge)
        return facts

    # On disk

    def save(self, folder: Path) -> dict[str, Any]:
        self.network, adapter = methods.save(self.network, folder)
        self._index = None  # merged weights round otherwise
        self.eval()
        self.tokenizer.save_pretrained(folder / "network")
        head = folder / "head"
        head.mkdir()
        save_file({"vectors": self.index().contiguous(), "log_scale": self.log_scale.detach().reshape(1).contiguous()},
                  head / "index.safetensors")  # fmt: skip
        self.known.save(head)
        return {
            "pooling": self.pooling, "max_tokens": self.max_tokens, "adapter": adapter, "items": len(self.known),
            "rank": self.settings.model_dump(), "interactions": self.interactions.save(head) if self.interactions else None,
        }  # fmt: skip

    @classmethod
    def restore(cls, folder: Path, facts: Mapping[str, Any]) -> Ranker:
        base = open_base(Found(folder.name, folder / "network", ""), max_tokens=facts["max_tokens"])
        network = methods.reopen(open_encoder(base), folder, facts.get("adapter"))
        head = folder / "head"
        try:
            known = Known.load(head)
            state = load_file(head / "index.safetensors")
            learner = cls(network, known, pooling=facts["pooling"], tokenizer=base.tokenizer, max_tokens=base.max_tokens,
                          settings=Rank(**facts["rank"]))  # fmt: skip
            if facts.get("interactions"):
                learner.interactions = Interactions.load(head, facts["interactions"])
        except (OSError, ValueError, KeyError, RuntimeError) as error:
            raise BundleError("the bundle's items cannot be read", where=str(head)) from error
        with torch.no_grad():
            learner.log_scale.copy_(state["log_scale"][0])
        learner._saved = state["vectors"]
        return learner

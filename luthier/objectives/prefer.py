"""prefer: learn from pairs of a better and a worse answer, or from answers marked good and bad; it answers as `generate` does."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from luthier.base.records import Encoded, Example, Prediction
from luthier.base.seeds import derive_seed
from luthier.objectives.answers import prompt_length
from luthier.objectives.learner import Batch
from luthier.objectives.preferring import (
    WITH_REFERENCE,
    Sums,
    dpo,
    ipo,
    kto,
    kto_point,
    likelihood,
    orpo,
    settled,
    simpo,
    usual_rate,
)
from luthier.objectives.weighing import AnswerBatch, Weigher
from luthier.prompts.encode import encode_judged
from luthier.spec.prefer import Prefer
from luthier.spec.train import TrainSection


class Preferrer(Weigher):
    """A causal language model that learns which of two answers is better.

    An encoded row has no ids of its own. ``others`` are its judged answers behind their prompt: the better and the worse,
    or, with ``label`` 1 or 0, one that was marked good or bad. For KTO an answer of another row to the same prompt stands
    behind them. ``values`` are the log-probabilities that the network gave to ``others`` before it learnt.
    """

    objective = "prefer"
    refers = True

    def __init__(self, network: Any, *, turns: Any) -> None:
        super().__init__(network, turns=turns)
        self.seen: Mapping[str, Any] = {}
        self.prefer: Prefer | None = None
        self._point: float | None = None

    @classmethod
    def look(cls, rows: Iterable[Example]) -> dict[str, Any]:
        """Count pairs, and single answers marked good and bad."""
        found = {"pairs": 0, "good": 0, "bad": 0}
        for row in rows:
            target = row.target or {}
            found["pairs" if "chosen" in target else "good" if target.get("desirable") else "bad"] += 1
        return found

    @classmethod
    def create(cls, base: Any, *, labels: tuple[str, ...] = (), model: Any, known: Any = None) -> Preferrer:
        learner = super().create(base, labels=labels, model=model)
        assert isinstance(learner, Preferrer)
        learner.seen = dict(known or {})
        return learner

    def decide(self, train: TrainSection) -> TrainSection:
        """Decide what `auto` means in ``train.prefer``, and the rate, which falls with the size of the network.

        Raises:
            TaskError: a key that the loss does not read. DataError: single answers for a loss of pairs, or of one kind only.
        """
        chosen: dict[str, Any] = {"prefer": settled(train.prefer, self.seen)}
        if train.rate == "auto" and train.method not in ("auto", "prompt", "prefix"):
            chosen["rate"] = usual_rate(train.method, sum(p.numel() for p in self._plain.parameters()))
        return train.model_copy(update=chosen)

    def prepare_training(self, train: TrainSection) -> None:
        super().prepare_training(train)
        self.prefer = self.decide(train).prefer

    def encode_all(self, examples: Sequence[Example]) -> Sequence[Encoded | None]:
        return encode_judged(self.turns, examples)

    def refer(self, rows: Sequence[Encoded]) -> list[Encoded]:
        """Return the rows with the log-probabilities that the loss compares with, and for KTO with answers of other rows.

        They depend on the rows and the network alone, so a resumed run computes the same ones again.
        """
        if self.prefer is None or self.prefer.loss not in WITH_REFERENCE:
            return list(rows)
        if self.prefer.loss == "kto":
            rows = _with_strangers(rows, self.turns.max_tokens)
        sums = self._quiet([row.others for row in rows], bare=True)
        return [replace(row, values=tuple(values)) for row, values in zip(rows, sums, strict=True)]

    def begin_step(self, rows: Sequence[Encoded]) -> None:
        """Estimate KTO's reference point on the rows of a step: one number for all of its pieces."""
        if self.prefer is not None and self.prefer.loss == "kto":
            strangers = self._quiet([row.others[-1:] for row in rows])
            now = torch.tensor([s[0] for s in strangers], dtype=torch.float64)
            before = torch.tensor([row.values[-1] for row in rows], dtype=torch.float64)
            self._point = float(kto_point(now, before))

    def units(self, row: Encoded) -> float:
        """Return 1 for a pair; KTO counts single answers, of which a pair has two."""
        return len(_judged(row)) if self.prefer is not None and self.prefer.loss == "kto" else 1

    def collate(self, encoded: Sequence[Encoded], *, masked: bool = True) -> Batch:
        if encoded and not encoded[0].others:
            return super().collate(encoded, masked=masked)
        layout = self._laid_out([_judged(row) for row in encoded])
        return AnswerBatch(
            layout.ids_BT, None, None, None, sum(len(s) for row in encoded for s in _judged(row)), rows=tuple(encoded),
            layout=layout,
        )  # fmt: skip

    def loss(self, batch: Batch, *, smoothing: float) -> tuple[torch.Tensor, int]:
        assert isinstance(batch, AnswerBatch) and batch.layout is not None and self.prefer is not None
        sums_S = self._sums(batch.layout)
        asked, rows = self.prefer, batch.rows
        groups = [_judged(row) for row in rows]
        reference = [value for row, group in zip(rows, groups, strict=True) for value in row.values[: len(group)]]
        if asked.loss == "kto":
            if self._point is None:
                self.begin_step(rows)
            good = [place == 0 if row.label is None else bool(row.label) for row, group in zip(rows, groups, strict=True)
                    for place in range(len(group))]  # fmt: skip
            losses = kto(
                sums_S, _like(reference, sums_S), torch.tensor(good, device=sums_S.device), self._point or 0.0,
                beta=float(asked.beta), good_weight=float(asked.good_weight), bad_weight=float(asked.bad_weight),
            )  # fmt: skip
            return losses.sum().float(), len(losses)
        counts_S = _like([sum(s.learn) for group in groups for s in group], sums_S)
        now = _pairs(sums_S, counts_S)
        losses = _pair_losses(asked, now, _pairs(_like(reference, sums_S), counts_S) if reference else now)
        return losses.sum().float(), len(losses)

    def measure(self, encoded: Sequence[Encoded]) -> list[Prediction]:
        """Return the summed negative log-likelihood (nats) and tokens of each judged answer, and how the loss weighs them.

        ``nll_sum`` and ``token_count`` are those of the better or the only answer, ``rejected_...`` of the worse.
        """
        groups = [_judged(row) for row in encoded]
        how = {}
        if self.prefer is not None:
            how = {"beta": float(self.prefer.beta), "refers": float(self.prefer.loss in WITH_REFERENCE)}
        return [
            Prediction(measured=how | {
                prefix + name: value
                for prefix, total, answer in zip(("", "rejected_"), sums, group, strict=False)
                for name, value in (("nll_sum", -total), ("token_count", float(sum(answer.learn))))
            })
            for sums, group in zip(self._quiet(groups), groups, strict=True)
        ]  # fmt: skip

    def save(self, folder: Path) -> dict[str, Any]:
        kept = self.prefer.model_dump(mode="json") if self.prefer else None
        return {**super().save(folder), "prefer": kept}

    @classmethod
    def restore(cls, folder: Path, facts: Mapping[str, Any]) -> Preferrer:
        learner = super().restore(folder, facts)
        assert isinstance(learner, Preferrer)
        learner.prefer = Prefer(**facts["prefer"]) if facts.get("prefer") else None
        return learner


def _judged(row: Encoded) -> tuple[Encoded, ...]:
    return row.others[:2] if row.label is None else row.others[:1]


def _like(values: Sequence[float], sums_S: torch.Tensor) -> torch.Tensor:
    return torch.tensor(values, dtype=sums_S.dtype, device=sums_S.device)


def _pairs(sums_S: torch.Tensor, counts_S: torch.Tensor) -> Sums:
    return Sums(sums_S[::2], sums_S[1::2], counts_S[::2], counts_S[1::2])


def _pair_losses(asked: Prefer, now: Sums, before: Sums) -> torch.Tensor:
    beta, smoothing = float(asked.beta), asked.label_smoothing
    if asked.loss == "dpo":
        losses = dpo(now, before, beta=beta, smoothing=smoothing)
    elif asked.loss == "ipo":
        losses = ipo(now, before, beta=beta)
    elif asked.loss == "simpo":
        losses = simpo(now, beta=beta, gamma=float(asked.gamma), smoothing=smoothing)
    else:
        losses = orpo(now, beta=beta)
    return losses + asked.sft_weight * likelihood(now) if asked.sft_weight else losses


def _with_strangers(rows: Sequence[Encoded], max_tokens: int) -> list[Encoded]:
    """Return the rows with an answer to another question behind each prompt, drawn once; what does not fit is cut.

    The rows are walked in a drawn order, because neighbours in a file often answer the same question.
    """
    order = np.random.default_rng(derive_seed(0, "strangers")).permutation(len(rows))
    stranger = dict(zip(order.tolist(), np.roll(order, 1).tolist(), strict=True))
    found = []
    for number, row in enumerate(rows):
        mine, theirs = row.others[0], rows[stranger[number]].others[0]
        prompt = mine.ids[: prompt_length(mine)]
        answer = theirs.ids[prompt_length(theirs) :][: max_tokens - len(prompt)]
        learn = (False,) * len(prompt) + (True,) * len(answer)
        found.append(replace(row, others=(*_judged(row), Encoded((*prompt, *answer), learn))))
    return found

"""A classifier's rows as a sample, and the head that a sample gives put into it."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch

from luthier.base.errors import ModelError
from luthier.base.records import Encoded
from luthier.base.seeds import derive_seed
from luthier.objectives.cut import gathered
from luthier.objectives.heads import choose as choosing
from luthier.objectives.heads.fits import Fitted
from luthier.objectives.heads.near import NearestRows
from luthier.objectives.heads.sample import Sample, make_sample
from luthier.objectives.heads.texts import label_texts

# Which kind of head each method ends in; where the body learns, the head it starts from.
_KINDS = {"prototypes": "prototypes", "neighbours": "neighbours"}
# Methods that are nothing but a computed head.
ENDS = frozenset(("head", "prototypes", "neighbours"))
# Up to so many rows heads are chosen by folds and the labels' texts are listened to; beyond, texts add nothing.
FEW = 2000


def check(method: str, *, pooling: str) -> None:
    """Refuse methods that need the model's vectors themselves where the model has a classifier of its own on top.

    Raises:
        ModelError: says which pooling would do.
    """
    if pooling == "own" and method in ("contrastive", "neighbours"):
        raise ModelError(
            f"`{method}` compares the model's vectors, which its own classification head hides",
            where="train.method",
            mend="Set model.pooling: mean.",
        )


def is_all(learner: Any, method: str) -> bool:
    """Whether all that learns is a linear head that was fitted to all train rows: steps would read every text again for nothing."""
    if method not in ENDS or method == "neighbours":
        return method in ENDS
    layer = getattr(learner, "last_linear", None)
    fitted = {id(p) for p in layer.parameters()} if layer is not None else set()
    return all(id(p) in fitted for p in learner.parameters() if p.requires_grad)


def encoded_texts(learner: Any) -> tuple[list[Encoded], list[int]]:
    """Return what the labels say as rows, with their class numbers; labels that say nothing are left out."""
    texts = label_texts(learner.labels, learner.descriptions)
    told = [(index, text) for index, text in enumerate(texts) if text is not None]
    rows = [Encoded(learner.encode_input({"text": text}, room=0).ids, label=index) for index, text in told]
    return rows, [index for index, _ in told]


def sample_of(
    learner: Any, rows: Sequence[Encoded], weights: Sequence[float] | None = None, *, learnt: bool = False
) -> tuple[Sample, float]:
    """Return the rows' vectors as the head sees them, divided by their mean length, and that length.

    ``learnt``: the network is not what it was, so what is remembered of it does not hold. Sentence encoders give vectors of length 1; those of others are brought near it, so that settings mean the same.
    """
    learner.eval()
    vectors_ND = (gathered(rows, learner.head_features) if learnt else learner.frozen.of(rows, learner.head_features)).numpy()
    length = float(np.linalg.norm(vectors_ND, axis=1).mean()) or 1.0
    texts, told = encoded_texts(learner)
    texts_MD = gathered(texts, learner.head_features).numpy() / length if texts else None
    labels = [int(row.label) for row in rows if row.label is not None]
    return make_sample(
        vectors_ND / length, labels, len(learner.labels), weights=weights, texts_MD=texts_MD, told=told
    ), length


def put(learner: Any, fitted: Fitted, length: float) -> None:
    """Make the fitted head the learner's own."""
    if fitted.neighbours is not None:
        learner.head = NearestRows.of(fitted.neighbours).to(learner.device)
        return
    learner.set_head(torch.from_numpy(fitted.weight_CD / np.float32(length)), torch.from_numpy(fitted.bias_C))


def chosen(
    learner: Any, kind: str, rows: Sequence[Encoded], sample: Sample, *, seed: int, weighed: bool = False
) -> choosing.Held:
    """Return the choice of a kind's settings on these rows; asked again for the same rows it is not made anew."""
    asked = (kind, seed, hash(tuple((row.ids, row.label) for row in rows)))
    if not weighed and asked in learner.known_heads:
        return learner.known_heads[asked]
    held = choosing.choose(kind, sample, seed=seed)
    if not weighed:
        learner.known_heads[asked] = held
    return held


def begin(
    learner: Any, rows: Sequence[Encoded], *, method: str, seed: int, weights: Sequence[float] | None
) -> dict[str, Any]:
    """Choose and fit the head of a method on the frozen vectors; return the settings and how they scored.

    A head that is the whole answer is scaled to honest probabilities. One that the body goes on to learn under is not:
    a head that is sure of itself has little to teach.
    """
    began = time.perf_counter()
    sample, length = sample_of(learner, rows, weights)
    kind = _KINDS.get(method, "linear")
    held = chosen(learner, kind, rows, sample, seed=derive_seed(seed, "head"), weighed=weights is not None)
    fitted = choosing.fit(held, sample) if method in ENDS else choosing.refit(held.kind, held.settings, sample)
    put(learner, fitted, length)
    return {
        "kind": held.kind,
        **held.as_dict(),
        "texts": len(sample.told_M),
        "seconds": round(time.perf_counter() - began, 2),
    }


def refit(learner: Any, rows: Sequence[Encoded], *, facts: Mapping[str, Any], weights: Sequence[float] | None) -> None:
    """Fit the linear head again on the vectors of a body that has learnt, with the settings chosen before it did.

    Rows that the body was tuned on cannot say how strong the penalty should be: they fall apart by class whatever it is.
    """
    sample, length = sample_of(learner, rows, weights, learnt=True)
    settings = {"strength": float(facts.get("strength", 10.0)), "text_weight": float(facts.get("text_weight", 0.0))}
    put(learner, choosing.refit("linear", settings, sample), length)

"""What the base model's own vectors give without any tuning: a linear head on them, and the nearest train rows."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import nn

from luthier.base.records import Encoded, Example, Prediction
from luthier.base.seeds import derive_seed
from luthier.objectives import Learner
from luthier.objectives.classify import Classifier
from luthier.objectives.cut import gathered
from luthier.objectives.encoder import Encoder
from luthier.objectives.heads.fits import KINDS
from luthier.objectives.heads.judge import log_softmax
from luthier.objectives.heads.sample import make_sample

LINEAR, NEAREST = "frozen_linear", "nearest_rows"
_PIECE = 512
Answer = Callable[[], list[Prediction]]


def frozen(
    learner: Learner, train: Sequence[Example], test: Sequence[Example], answer: Answer, *, seed: int
) -> Mapping[str, list[Prediction]]:
    """Return the answers of heads on the untouched network, and leave the learner as it was.

    Args:
        answer: the test rows' answers by the learner as it stands; asked for where there is more to an answer than a head's scores.
        seed: that of training, so that its own first fit is this one.
    """
    rows = [row for example in learner.choose(train) if (row := learner.encode(example)) is not None]
    if not rows or not isinstance(learner, Classifier | Encoder) or not isinstance(learner.head, nn.Linear):
        return {}
    if isinstance(learner, Classifier) and len({row.label for row in rows}) < 2:
        return {}
    learner.eval()
    if isinstance(learner, Encoder):
        head, known = copy.deepcopy(learner.head.state_dict()), dict(learner.known)
        learner.fit_head(rows, seed=derive_seed(seed, "head"))
        found = {LINEAR: answer()}
        learner.head.load_state_dict(head)
        learner.known = known
        return found
    asked = [learner.encode_input(example.inputs, room=0) for example in test]
    vectors_ND = gathered(asked, learner.head_features)
    fit = learner.linear(rows, seed=seed)
    scores_NC = vectors_ND @ fit.weight_CD.T + fit.bias_C
    return {LINEAR: predicted(learner.labels, scores_NC.numpy()), NEAREST: nearest(learner, rows, vectors_ND.numpy())}


def predicted(labels: Sequence[str], scores_NC: NDArray[Any]) -> list[Prediction]:
    """Return the softmax of scores as predictions."""
    shares_NC = np.exp(log_softmax(scores_NC.astype(np.float64)))
    return [
        Prediction(label=labels[int(line.argmax())], scores=dict(zip(labels, line.tolist(), strict=True))) for line in shares_NC
    ]


def nearest(learner: Classifier, rows: Sequence[Encoded], asked_ND: NDArray[np.float32]) -> list[Prediction]:
    """Let the train rows vote for their labels, the nearer the more (as the head `neighbours` at its usual bandwidth)."""
    vectors_ND = learner.frozen.of(rows, learner.head_features).numpy()
    sample = make_sample(vectors_ND, [int(row.label) for row in rows if row.label is not None], len(learner.labels))
    kind = KINDS["neighbours"]
    fitted = kind.fit(sample, kind.usual(0.0))
    pieces = [asked_ND[start : start + _PIECE] for start in range(0, len(asked_ND), _PIECE)]
    return [p for piece in pieces for p in predicted(learner.labels, fitted.scores(piece))]

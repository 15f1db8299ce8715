"""What the base model's own vectors give without any tuning: a linear head on them, and the nearest train rows."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence

import numpy as np
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
        answer: the test rows' answers by the learner as it stands.
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
    layer = learner.last_linear
    before = copy.deepcopy(layer.state_dict())
    fit = learner.linear(rows, seed=seed)
    learner.set_head(fit.weight_CD, fit.bias_C)
    found = {LINEAR: answer()}
    layer.load_state_dict(before)
    return {**found, NEAREST: nearest(learner, rows, test)}


def nearest(learner: Classifier, rows: Sequence[Encoded], test: Sequence[Example]) -> list[Prediction]:
    """Let the train rows vote for their labels, the nearer the more (as the head `neighbours` at its usual bandwidth)."""
    vectors_ND = learner.frozen.of(rows, learner.head_features).numpy()
    sample = make_sample(vectors_ND, [int(row.label) for row in rows if row.label is not None], len(learner.labels))
    kind = KINDS["neighbours"]
    fitted = kind.fit(sample, kind.usual(0.0))
    asked = [learner.encode_input(example.inputs, room=0) for example in test]
    found: list[Prediction] = []
    for start in range(0, len(asked), _PIECE):
        vectors = gathered(asked[start : start + _PIECE], learner.head_features).numpy()
        for line in np.exp(log_softmax(fitted.scores(vectors))):
            scores = dict(zip(learner.labels, line.tolist(), strict=True))
            found.append(Prediction(label=learner.labels[int(line.argmax())], scores=scores))
    return found

"""What the base model's own vectors give without any tuning: a linear head on them, and the nearest train rows."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import nn

from luthier.base.cuts import best_cuts
from luthier.base.records import Encoded, Example, Prediction
from luthier.base.seeds import derive_seed
from luthier.base.shares import shares
from luthier.objectives import Learner
from luthier.objectives.classify import Classifier
from luthier.objectives.cut import gathered
from luthier.objectives.encoder import Encoder
from luthier.objectives.grade import Grader
from luthier.objectives.heads.fits import KINDS, unit
from luthier.objectives.heads.judge import log_softmax
from luthier.objectives.heads.sample import make_sample
from luthier.objectives.multilabel import MultiLabeller

LINEAR, NEAREST = "frozen_linear", "nearest_rows"
_PIECE = 512
# The usual bandwidth of the head `neighbours`, for sets and scores too.
_BANDWIDTH = KINDS["neighbours"].usual(0.0)["bandwidth"]
# So many train rows, evenly spread, tell from which share of the votes a label is given; of fewer than _FEWEST, one half.
_FOR_CUTS, _FEWEST = 2_000, 10
# Votes in memory at once: 80 MB, and a few arrays of that size beside them.
_VOTES = 10_000_000
Answer = Callable[[], list[Prediction]]
Vectors = NDArray[np.float64]


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
        return {**found, **_nearest(learner, rows, test)}
    asked = [learner.encode_input(example.inputs, room=0) for example in test]
    vectors_ND = gathered(asked, learner.head_features)
    fit = learner.linear(rows, seed=seed)
    scores_NC = vectors_ND @ fit.weight_CD.T + fit.bias_C
    return {LINEAR: predicted(learner.labels, scores_NC.numpy()), NEAREST: nearest(learner, rows, vectors_ND.numpy())}


def predicted(labels: Sequence[str], scores_NC: NDArray[Any]) -> list[Prediction]:
    """Return the softmax of scores as predictions."""
    shares_NC = np.exp(log_softmax(scores_NC.astype(np.float64)))
    return [Prediction(label=labels[int(line.numbers.argmax())], scores=line) for line in shares(labels, shares_NC)]


def nearest(learner: Classifier, rows: Sequence[Encoded], asked_ND: NDArray[np.float32]) -> list[Prediction]:
    """Let the train rows vote for their labels, the nearer the more (as the head `neighbours` at its usual bandwidth)."""
    vectors_ND = learner.frozen.of(rows, learner.head_features).numpy()
    sample = make_sample(vectors_ND, [int(row.label) for row in rows if row.label is not None], len(learner.labels))
    kind = KINDS["neighbours"]
    fitted = kind.fit(sample, kind.usual(0.0))
    pieces = [asked_ND[start : start + _PIECE] for start in range(0, len(asked_ND), _PIECE)]
    return [p for piece in pieces for p in predicted(learner.labels, fitted.scores(piece))]


def _nearest(learner: Encoder, rows: Sequence[Encoded], test: Sequence[Example]) -> dict[str, list[Prediction]]:
    """Return what the train rows nearest to each test row say, by sets or by scores; nothing of sentences, which have no rows of their own."""
    if not isinstance(learner, MultiLabeller | Grader):
        return {}
    asked = [learner.encode_input(example.inputs, room=0) for example in test]
    rows_ND, asked_MD = (
        unit(learner.meaning(vectors).numpy().astype(np.float64))
        for vectors in (learner.frozen.of(rows, learner.head_features), learner.frozen.read(asked, learner.head_features))
    )
    values_NK = np.array([row.values for row in rows], dtype=np.float64)
    if isinstance(learner, Grader):
        return {NEAREST: _scores(learner, rows_ND, values_NK, asked_MD)}
    return {NEAREST: _sets(learner, rows_ND, values_NK, asked_MD)}


def _sets(learner: MultiLabeller, rows_ND: Vectors, truth_NL: Vectors, asked_MD: Vectors) -> list[Prediction]:
    """Return labels by the share of the votes that have them; cuts are those best for train rows, each without its own vote."""
    cuts = [0.5] * truth_NL.shape[1]
    if len(rows_ND) >= _FEWEST:
        some = np.unique(np.linspace(0, len(rows_ND) - 1, min(_FOR_CUTS, len(rows_ND))).astype(int))
        cuts = best_cuts(neighbours_mean(rows_ND, truth_NL, rows_ND[some], own=some), truth_NL[some])
    return learner.told(neighbours_mean(rows_ND, truth_NL, asked_MD), cuts)


def _scores(learner: Grader, rows_ND: Vectors, scores_NT: Vectors, asked_MD: Vectors) -> list[Prediction]:
    """Return the neighbours' mean score of each trait; a trait that no train row was judged for has none."""
    means_MT = neighbours_mean(rows_ND, scores_NT, asked_MD).tolist()
    return [Prediction(grades={trait: v for trait, v in zip(learner.labels, line, strict=True) if v == v}) for line in means_MT]


def neighbours_mean(rows_ND: Vectors, values_NK: Vectors, asked_MD: Vectors, *, own: NDArray[np.int64] | None = None) -> Vectors:
    """Return the mean of the rows' values (M, K), each row weighing ``exp(bandwidth * cosine)``; NaN where no row has a value.

    Args:
        rows_ND, asked_MD: vectors of unit length.
        values_NK: NaN where one is unknown.
        own: the place among the rows (M,) of what is asked, whose own value then does not count.
    """
    known_NK, pieces = ~np.isnan(values_NK), []
    filled_NK = np.where(known_NK, values_NK, 0.0)
    step = max(1, _VOTES // len(rows_ND))
    for start in range(0, len(asked_MD), step):
        near_BN = _BANDWIDTH * (asked_MD[start : start + step] @ rows_ND.T)
        if own is not None:
            near_BN[np.arange(len(near_BN)), own[start : start + step]] = -np.inf
        votes_BN = np.exp(near_BN - near_BN.max(1, keepdims=True))
        total_BK = votes_BN @ known_NK
        pieces.append(np.where(total_BK > 0, votes_BN @ filled_NK / np.where(total_BK > 0, total_BK, 1.0), np.nan))
    return np.concatenate(pieces) if pieces else np.zeros((0, values_NK.shape[1]))

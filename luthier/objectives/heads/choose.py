"""Choose a head's settings by held-out rows, and fit it to all rows with the temperature that those rows ask for."""

from __future__ import annotations

import time
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np

from luthier.objectives.heads.fits import KINDS, TEXT_WEIGHTS, Fitted
from luthier.objectives.heads.judge import Doubles, each_log_loss, log_loss, temperature
from luthier.objectives.heads.sample import Ints, Sample, deal

# A text weight must better the log loss by so much (in standard errors of the difference, row by row) to be listened to.
_CLEAR = 1.0
# The strength of the sign that texts are telling, where no row can be held out.
_CHANCE = 0.05


@dataclass(frozen=True, slots=True)
class Held:
    """What a kind of head shows on rows it was not fitted on. Without such rows figures are None and settings are usual."""

    kind: str
    settings: dict[str, float]
    scale: float
    rows: Ints
    scores_HC: Doubles
    accuracy: float | None
    log_loss: float | None
    seconds: float

    def as_dict(self) -> dict[str, Any]:
        figures = {
            name: round(v, 4) for name, v in (("accuracy", self.accuracy), ("log_loss", self.log_loss)) if v is not None
        }
        return {**figures, **self.settings, "scale": round(self.scale, 4), "seconds": round(self.seconds, 3)}


def choose(kind: str, sample: Sample, *, seed: int) -> Held:
    """Return the best settings of a kind of head, judged on the train rows alone by the folds of ``seed``.

    Its own setting is chosen first, the weight of the labels' texts after it, both by log loss at the best temperature.
    A text is listened to only where it is clearly better than silence.
    """
    with one_thread_each():
        return _choose(kind, sample, seed)


def _choose(kind: str, sample: Sample, seed: int) -> Held:
    began = time.perf_counter()
    folds = deal(sample.labels_N, seed=seed)
    rows = np.concatenate(folds) if folds else np.zeros(0, dtype=np.int64)
    made = KINDS[kind]
    settings = made.usual(0.0)
    if not len(rows):
        settings["text_weight"] = _blind_weight(sample)
        return Held(kind, settings, 1.0, rows, np.zeros((0, sample.classes)), None, None, time.perf_counter() - began)
    labels = sample.labels_N[rows]

    def held(changed: dict[str, float]) -> tuple[float, float, Doubles, dict[str, float]]:
        scores = out_of_fold(kind, sample, folds, changed)
        scale = temperature(scores, labels)
        return log_loss(scores, labels, scale), scale, scores, changed

    tried = [held(settings)]
    if made.own:
        tried += [held({**settings, made.own[0]: value}) for value in made.own[1][1:]]
    best = min(tried, key=lambda found: found[0])
    if len(sample.told_M):
        listening = [held({**best[3], "text_weight": weight}) for weight in TEXT_WEIGHTS[1:]]
        loudest = min(listening, key=lambda found: found[0])
        if _clearly_better(loudest, best, labels):
            best = loudest
    loss, scale, scores, settings = best
    accuracy = float((scores.argmax(1) == labels).mean())
    return Held(kind, settings, scale, rows, scores, accuracy, loss, time.perf_counter() - began)


def out_of_fold(kind: str, sample: Sample, folds: Sequence[Ints], settings: dict[str, float]) -> Doubles:
    """Return the scores of the held-out rows, (H, C) in the order of the folds, each by a head that has not seen its fold."""
    found = []
    for held in folds:
        kept = np.ones(len(sample.labels_N), dtype=bool)
        kept[held] = False
        found.append(KINDS[kind].fit(sample.only(kept), settings).scores(sample.rows_ND[held]))
    return np.concatenate(found)


def _clearly_better(
    new: tuple[float, float, Doubles, dict[str, float]],
    old: tuple[float, float, Doubles, dict[str, float]],
    labels: Ints,
) -> bool:
    gains = each_log_loss(old[2], labels, old[1]) - each_log_loss(new[2], labels, new[1])
    error = gains.std(ddof=1) / np.sqrt(len(gains)) if len(gains) > 1 else np.inf
    return bool(gains.mean() > _CLEAR * error)


def _blind_weight(sample: Sample) -> float:
    """Return what texts count where no row can be held out: 2 rows if they alone find the rows' labels too often for chance."""
    if not len(sample.told_M) or len(np.unique(sample.told_M)) < 2:
        return 0.0
    judged = np.isin(sample.labels_N, sample.told_M)
    nearest = sample.told_M[(sample.rows_ND[judged] @ sample.texts_MD.T).argmax(1)]
    right, count = int((nearest == sample.labels_N[judged]).sum()), int(judged.sum())
    from scipy.stats import binom

    return 2.0 if count and binom.sf(right - 1, count, 1 / len(sample.told_M)) <= _CHANCE else 0.0


def fit(held: Held, sample: Sample) -> Fitted:
    """Fit the chosen head to all rows, its scores scaled so that their softmax are honest probabilities."""
    return refit(held.kind, held.settings, sample).scaled(held.scale)


def refit(kind: str, settings: Mapping[str, float], sample: Sample) -> Fitted:
    """Fit a head with known settings to all rows."""
    with one_thread_each():
        return KINDS[kind].fit(sample, settings)


@contextmanager
def one_thread_each() -> Iterator[None]:
    """Let the arithmetic libraries take one thread, and keep quiet about fits that stop before they have converged.

    The matrices are small: on a busy machine threads that wait for each other make a fit many times slower.
    """
    from sklearn.exceptions import ConvergenceWarning
    from threadpoolctl import threadpool_limits

    with threadpool_limits(1), warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        yield

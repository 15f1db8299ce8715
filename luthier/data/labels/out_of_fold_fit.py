"""Two quick linear classifiers and the features they read, cheap enough to be fitted once for every fold."""

from __future__ import annotations

import itertools
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import NDArray

from luthier.data.likeness.near import words_of

Floats = NDArray[np.float64]

DIMENSIONS = 256
MAX_TERMS = 50_000
# All texts together are read up to about this many words, and no text beyond the first so many.
_WORDS_IN_ALL = 1_500_000
_WORDS_LEAST, _WORDS_MOST = 50, 400
_PREFIX = 4
_STRENGTH = 10.0
_SHRINK = 0.1


@contextmanager
def one_thread_each() -> Iterator[None]:
    """Let the arithmetic libraries take one thread, and keep quiet about fits that stop before they have converged.

    The matrices are small: on a busy machine, threads that wait for each other made a fit ten times slower.
    """
    from sklearn.exceptions import ConvergenceWarning
    from threadpoolctl import threadpool_limits

    with threadpool_limits(1), warnings.catch_warnings():
        # A hundred steps are near enough for a ranking; time is what is scarce.
        warnings.simplefilter("ignore", ConvergenceWarning)
        yield


def word_features(texts: Sequence[str], *, seed: int) -> NDArray[np.float32]:
    """Return (N, D) rows of unit length, D at most 256: words, word pairs and word beginnings, weighed and reduced.

    TF-IDF with damped counts, then a truncated singular value decomposition (Deerwester et al. 1990). The first four
    letters of a word stand in for its stem: that gives nearly what characters 3-5 give at a fifth of their cost. Of
    long texts only the first words are read: 400 up to 3,750 texts, 75 of 20,000, never fewer than 50. No label is
    seen, so a row may help to shape the features it is itself judged by.
    """
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.preprocessing import normalize
    from sklearn.utils.extmath import randomized_svd

    most = min(max(_WORDS_IN_ALL // max(len(texts), 1), _WORDS_LEAST), _WORDS_MOST)
    least = 2 if len(texts) > DIMENSIONS else 1
    options: dict[str, Any] = {"sublinear_tf": True, "dtype": np.float32, "max_features": MAX_TERMS, "min_df": least}
    try:
        terms = TfidfVectorizer(analyzer=_terms(most), **options).fit_transform(texts)
    except ValueError:  # no term stands in two texts, or there is no word at all
        return np.zeros((len(texts), 1), dtype=np.float32)
    if min(terms.shape) <= DIMENSIONS:
        return np.asarray(terms.toarray(), dtype=np.float32) if terms.shape[1] <= DIMENSIONS else _gram(terms)
    left, scale, _ = randomized_svd(terms, DIMENSIONS, n_iter=2, random_state=seed % 2**32)
    return np.asarray(normalize(left * scale), dtype=np.float32)


def _gram(terms: Any) -> NDArray[np.float32]:
    """Return rows whose inner products are those of ``terms``, in as many columns as there are rows."""
    values, vectors = np.linalg.eigh((terms @ terms.T).toarray().astype(np.float64))
    return np.asarray(vectors * np.sqrt(np.maximum(values, 0.0)), dtype=np.float32)


def _terms(most: int) -> Callable[[str], list[str]]:
    def terms(text: str) -> list[str]:
        # Cut the characters too, or a text without spaces would be read whole; ten are a long word with its space.
        words = words_of(text[: 10 * most])[:most]
        pairs = [f"{a} {b}" for a, b in itertools.pairwise(words)]
        return words + pairs + [f"{word[:_PREFIX]}*" for word in words if len(word) > _PREFIX]

    return terms


def predict(
    train_MD: NDArray[np.float32], labels_M: NDArray[np.int64], held_HD: NDArray[np.float32], classes: int
) -> NDArray[np.float32]:
    """Return (H, C) probabilities: the mean of a logistic regression's and a linear discriminant's.

    The first is the better classifier, the second bends less to wrong labels, and their mean ranks wrong labels better
    than either. A class without a row in ``labels_M`` gets probability 0.
    """
    found = np.zeros((len(held_HD), classes), dtype=np.float32)
    present = np.unique(labels_M)
    if len(present) < 2:
        found[:, present] = 1.0
        return found if len(present) else np.full_like(found, 1.0 / classes)
    centre = train_MD.mean(0)
    if np.abs(train_MD - centre).max() < 1e-6:  # nothing tells the rows apart
        found[:, present] = (np.bincount(labels_M, minlength=classes)[present] / len(labels_M)).astype(np.float32)
        return found
    codes_M = np.searchsorted(present, labels_M)
    found[:, present] = (
        _logistic(train_MD, codes_M, held_HD) + _discriminant(train_MD - centre, codes_M, held_HD - centre)
    ) / 2
    return found


def _logistic(train_MD: NDArray[np.float32], codes_M: NDArray[np.int64], held_HD: NDArray[np.float32]) -> Floats:
    from sklearn.linear_model import LogisticRegression

    model = LogisticRegression(C=_STRENGTH, max_iter=100, tol=1e-3).fit(train_MD, codes_M)
    return np.asarray(model.predict_proba(held_HD), dtype=np.float64)


def _discriminant(train_MD: NDArray[np.float32], codes_M: NDArray[np.int64], held_HD: NDArray[np.float32]) -> Floats:
    """Return probabilities of a linear discriminant whose covariance is shrunk towards a multiple of the identity.

    Its raw scores are far too sure of themselves, so a temperature is fitted on a fifth of the training rows.
    """
    fifth = np.arange(len(codes_M)) % 5 == 0
    # The rows come in the file's order, sorted by label perhaps: every fifth of each label, not every fifth row.
    fifth = fifth[np.argsort(np.argsort(codes_M, kind="stable"), kind="stable")]
    inner = _discriminant_scores(train_MD[~fifth], codes_M[~fifth], train_MD[fifth], int(codes_M.max()) + 1)
    scale = temperature(inner, codes_M[fifth])
    return softmax(scale * _discriminant_scores(train_MD, codes_M, held_HD, int(codes_M.max()) + 1))


def _discriminant_scores(
    train_MD: NDArray[np.float32], codes_M: NDArray[np.int64], held_HD: NDArray[np.float32], classes: int
) -> Floats:
    rows = train_MD.astype(np.float64)
    counts = np.bincount(codes_M, minlength=classes).astype(np.float64)
    means_CD = np.zeros((classes, rows.shape[1]))
    np.add.at(means_CD, codes_M, rows)
    means_CD /= np.maximum(counts, 1.0)[:, None]
    within = (rows.T @ rows - (means_CD * counts[:, None]).T @ means_CD) / len(rows)
    size = rows.shape[1]
    # The mean of the squares keeps the ridge above zero where each class is one point.
    # The fewer rows there are for each dimension, the less the covariance is believed.
    ridge = (_SHRINK + size / len(rows)) * max(np.trace(within) / size, 1e-3 * float((rows**2).mean()), 1e-9)
    weights_DC = np.linalg.solve(within + ridge * np.eye(size), means_CD.T)
    bias_C = np.log(np.maximum(counts, 0.5) / len(rows)) - 0.5 * (means_CD.T * weights_DC).sum(0)
    return np.asarray(held_HD.astype(np.float64) @ weights_DC + bias_C)


def temperature(scores_NC: Floats, codes_N: NDArray[np.int64]) -> float:
    """Return the factor by which scores are multiplied before the softmax, so that its log loss is least."""
    from scipy.optimize import minimize_scalar

    at = np.arange(len(codes_N))

    def loss(log_scale: float) -> float:
        chances = softmax(np.exp(log_scale) * scores_NC)[at, codes_N]
        return float(-np.log(np.maximum(chances, 1e-12)).mean())

    return float(np.exp(minimize_scalar(loss, bounds=(-5.0, 3.0), method="bounded", options={"xatol": 0.02}).x))


def softmax(scores_NC: Floats) -> Floats:
    powers = np.exp(scores_NC - scores_NC.max(1, keepdims=True))
    return np.asarray(powers / powers.sum(1, keepdims=True))

"""Simple rankings: what is chosen most, what shares words with the query, what people with the same items chose."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from luthier.base.ranks import SHORTEST, Popularity
from luthier.base.records import Example, Prediction

# Okapi BM25's usual constants (Robertson & Zaragoza 2009, section 3).
_K1, _B = 1.2, 0.75
_ROWS = 256


def rank_rivals(
    train: Sequence[Example], rows: Sequence[Example], items: Mapping[str, tuple[str, str]], *, k: int = SHORTEST
) -> dict[str, list[Prediction]]:
    """Return the rankings of ``rows`` (questions, as :func:`luthier.data.ranking.questions` makes them) by each rival.

    Args:
        items: all there is to be ranked, ``{id: (name, text)}``.
        k: how many a list holds.
    """
    ids = list(items)
    pairs = [(_asker(e), str(e.target)) for e in train if e.extra.get("relevance", 1.0) > 0]
    chosen = Popularity.of(pairs)
    liked = np.array([chosen.counts.get(item, 0) for item in ids], dtype=np.float64)
    found = {"popularity": _listed(rows, np.broadcast_to(liked, (len(rows), len(ids))), ids, chosen, k)}
    if rows and "user" in rows[0].inputs:
        found["item_knn"] = _in_parts(rows, item_knn(pairs, ids), ids, chosen, k)
    else:
        found["bm25"] = _in_parts(rows, bm25([text for _, text in items.values()]), ids, chosen, k)
    return found


def _asker(example: Example) -> str:
    return str(example.inputs.get("user", example.inputs.get("query", "")))


def _in_parts(rows: Sequence[Example], score: Any, ids: Sequence[str], chosen: Popularity, k: int) -> list[Prediction]:
    found: list[Prediction] = []
    for start in range(0, len(rows), _ROWS):
        part = rows[start : start + _ROWS]
        found += _listed(part, score(part), ids, chosen, k)
    return found


def _listed(rows: Sequence[Example], scores_NM: np.ndarray, ids: Sequence[str], chosen: Popularity, k: int) -> list[Prediction]:
    """Return the best ``k`` of each row, of equals the first; what a user has met is left out."""
    place = {item: n for n, item in enumerate(ids)}
    found = []
    for row, scores_M in zip(rows, scores_NM, strict=True):
        scores_M = scores_M.astype(np.float64)
        scores_M[[place[item] for item in row.inputs.get("seen", ()) if item in place]] = -np.inf
        best = np.argsort(-scores_M, kind="stable")[:k]
        given = [(ids[n], float(scores_M[n])) for n in best if np.isfinite(scores_M[n])]
        found.append(Prediction(items=tuple(given), measured=chosen.novelty([item for item, _ in given], k)))
    return found


def item_knn(pairs: Sequence[tuple[str, str]], ids: Sequence[str]) -> Any:
    """Return what scores items by the cosine of their users with those of each item in a user's history, summed.

    All items are neighbours: on MovieLens' validation rows that was better than the nearest 20, 50, 100 or 200. (Sarwar et
    al. 2001, https://doi.org/10.1145/371920.372071.)
    """
    from scipy.sparse import csr_matrix, diags

    place = {item: n for n, item in enumerate(ids)}
    users: dict[str, int] = {}
    kept = [(users.setdefault(user, len(users)), place[item]) for user, item in dict.fromkeys(pairs) if item in place]
    cells = (np.ones(len(kept)), tuple(np.array(kept, dtype=np.int64).reshape(-1, 2).T))
    matrix_UM = csr_matrix(cells, shape=(max(1, len(users)), len(ids)))
    norms = np.sqrt(np.asarray(matrix_UM.sum(0)).ravel())
    unit_UM = (matrix_UM @ diags(1 / np.maximum(norms, 1))).tocsr()

    def score(rows: Sequence[Example]) -> np.ndarray:
        past = [(n, place[i]) for n, e in enumerate(rows) for i in e.inputs.get("history", ()) if i in place]
        cells = (np.ones(len(past)), tuple(np.array(past, dtype=np.int64).reshape(-1, 2).T))
        # An item is like itself too, which changes nothing: a user's own items are left out of the list.
        return np.asarray(((csr_matrix(cells, shape=(len(rows), len(ids))) @ unit_UM.T) @ unit_UM).todense())

    return score


def bm25(texts: Sequence[str]) -> Any:
    """Return what scores ``texts`` by Okapi BM25 against the queries of rows, words in lower case, none left out."""
    from scipy.sparse import csr_matrix, diags
    from sklearn.feature_extraction.text import CountVectorizer

    vectorizer = CountVectorizer(token_pattern=r"(?u)\b\w+\b", dtype=np.float64)
    try:
        counts_MV = vectorizer.fit_transform(texts).tocsr()
    except ValueError:  # not one word among all items
        return lambda rows: np.zeros((len(rows), len(texts)))
    lengths = np.asarray(counts_MV.sum(1)).ravel()
    known = np.asarray((counts_MV > 0).sum(0)).ravel()
    rarity = np.log(1 + (len(texts) - known + 0.5) / (known + 0.5))
    damping = _K1 * (1 - _B + _B * lengths / max(1.0, lengths.mean()))
    values = counts_MV.data * (_K1 + 1) / (counts_MV.data + np.repeat(damping, np.diff(counts_MV.indptr)))
    weights_MV = csr_matrix((values, counts_MV.indices, counts_MV.indptr), shape=counts_MV.shape) @ diags(rarity)

    def score(rows: Sequence[Example]) -> np.ndarray:
        asked_NV = vectorizer.transform([str(e.inputs["query"]) for e in rows])
        return np.asarray((asked_NV @ weights_MV.T).todense())

    return score

"""Which rows to ask about next: one from the middle of each group at first, then doubtful ones unlike each other."""

from __future__ import annotations

import numpy as np

SPREAD = 20
_LEAST_CANDIDATES = 200
_GROUPED_ROWS = 5_000
_COVERED_ROWS = 3_000


def middles(vectors_ND: np.ndarray, groups: int, *, seed: int = 0) -> list[int]:
    """Return the row nearest to the centre of each k-means group, large groups first: what there is, met once."""
    from sklearn.cluster import KMeans

    groups = min(groups, len(vectors_ND))
    if groups < 2:
        return list(range(len(vectors_ND)))
    rng = np.random.default_rng(seed)
    rows = np.sort(rng.permutation(len(vectors_ND))[:_GROUPED_ROWS])
    some = vectors_ND[rows]
    found = KMeans(groups, n_init=1, max_iter=20, random_state=seed).fit(some)
    distance_NK = found.transform(some)
    sizes_K = np.bincount(found.labels_, minlength=groups)
    largest_first = np.argsort(-sizes_K, kind="stable")
    nearest = [int(rows[distance_NK[:, group].argmin()]) for group in largest_first if sizes_K[group]]
    return list(dict.fromkeys(nearest))


def doubtful(
    vectors_ND: np.ndarray, probabilities_NC: np.ndarray, free: np.ndarray, labelled: np.ndarray, *, count: int
) -> list[int]:
    """Return ``count`` rows that the model is unsure of and that stand for many unsure rows unlike the labelled ones.

    Among the rows of smallest margin between the two best labels, each next one is that which most raises how well
    labelled and chosen rows together cover all rows, where a row is covered as much as it is like its nearest one and
    counts by the model's doubt: facility location (Wei, Iyer & Bilmes 2015, http://proceedings.mlr.press/v37/wei15.html),
    weighed by doubt. All rows are a sample of 3,000 here.

    Args:
        free: (F,) numbers of the rows that may be asked about.
        labelled: numbers of the rows that have a label.
    """
    doubt_N = 1 - margins(probabilities_NC)
    # The order of equal doubts is that of the rows, which is random and stays.
    some = free[np.argsort(-doubt_N[free], kind="stable")[: max(SPREAD * count, _LEAST_CANDIDATES)]]
    sample = np.random.default_rng(0).permutation(len(vectors_ND))[:_COVERED_ROWS]
    all_MD, doubt_M = vectors_ND[sample], doubt_N[sample]
    likeness_FM = np.clip(vectors_ND[some] @ all_MD.T, 0, 1)
    covered_M = np.zeros(len(sample), dtype=np.float32)
    for start in range(0, len(labelled), _COVERED_ROWS):
        part = vectors_ND[labelled[start : start + _COVERED_ROWS]]
        covered_M = np.maximum(covered_M, (part @ all_MD.T).max(axis=0))
    chosen: list[int] = []
    for _ in range(min(count, len(some))):
        gain_F = np.maximum(likeness_FM - covered_M, 0) @ doubt_M
        gain_F[chosen] = -1.0
        best = int(gain_F.argmax())
        chosen.append(best)
        covered_M = np.maximum(covered_M, likeness_FM[best])
    return [int(some[i]) for i in chosen]


def margins(probabilities_NC: np.ndarray) -> np.ndarray:
    """Return (N,) differences between the two largest probabilities."""
    if probabilities_NC.shape[1] < 2:
        return np.zeros(len(probabilities_NC))
    best = np.partition(probabilities_NC, -2, axis=1)[:, -2:]
    return best[:, 1] - best[:, 0]

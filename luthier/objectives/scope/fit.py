"""Choose how a text of no label is told, and from where on: measured on rows that were not learnt from."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

from luthier.objectives.scope.judge import KINDS, MOST_ROWS, OF_FEATURES, Parts, Scope

# Of fewer rows on either side the ways cannot be told apart.
FEWEST = 30
USUAL = "distance"
_FOLDS = 5


@dataclass(frozen=True)
class Seen:
    """Rows as the tuned network sees them: ``logits_NC``, ``features_ND`` (None where it has no head), label numbers (-1: none)."""

    logits_NC: torch.Tensor
    features_ND: torch.Tensor | None
    label_N: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.logits_NC)


def fit(
    kind: str, name: str, train: Seen | None, valid: Seen, outside: Seen | None, *, keep: float | None, recall: float | None, seed: int
) -> tuple[Scope, dict[str, Any]]:
    """Return what tells texts of no label, and facts of the choice with ``notes`` on what these rows cannot promise.

    Without rows from outside, the ways are compared on labels that are taken away in turn: their rows then play those of no
    label. The network knows these labels, so this ranks the ways and says nothing of how many such texts would be found.

    Args:
        kind: one way, or `auto` for the one that tells best.
        train: rows that were learnt from, for distances; None where the network has no features.
        keep, recall: as in the task file; one of them, or neither for keep 0.95.
    """
    kinds = [k for k in KINDS if train is not None or k not in OF_FEATURES]
    made = {k: Scope(k, name, parts=_parts(k, train, valid.logits_NC.shape[1], seed)) for k in (kinds if kind == "auto" else [kind])}
    by_real = outside is not None and min(len(outside), len(valid)) >= FEWEST
    measured = {k: _told_apart(s, valid, outside if by_real else None) for k, s in made.items()}
    defined = {k: value for k, value in measured.items() if value == value}
    usual = USUAL if USUAL in made else "energy"
    chosen = kind if kind != "auto" else max(defined, key=lambda k: defined[k]) if defined else usual
    scope, notes = made[chosen], list[str]()
    inner_N = scope.unlike(valid.logits_NC, valid.features_ND).numpy().astype(np.float64)
    outer_N = np.zeros(0) if outside is None or not len(outside) else scope.unlike(outside.logits_NC, outside.features_ND).numpy().astype(np.float64)
    if recall is not None:
        cut = _cut_to_find(outer_N, recall, notes)
    else:
        cut = _cut_to_keep(inner_N, 0.95 if keep is None else keep, notes)
    scope = Scope(scope.kind, scope.name, cut, scope.parts)
    return scope, {
        "kind": chosen, "cut": cut, "by": "rows out of scope" if by_real else "labels taken away in turn",
        "told_apart": {k: None if v != v else round(v, 4) for k, v in measured.items()},
        "valid_rows": len(inner_N), "outside_rows": len(outer_N),
        "valid_kept": round(float((inner_N <= cut).mean()), 4) if len(inner_N) else None,
        "outside_found": round(float((outer_N > cut).mean()), 4) if len(outer_N) else None, "notes": notes,
    }  # fmt: skip


def _cut_to_keep(inner_N: NDArray[np.float64], keep: float, notes: list[str]) -> float:
    """Return the cut that a new row in scope does not exceed with at least this probability (split conformal)."""
    rows = len(inner_N)
    place = math.ceil((rows + 1) * keep - 1e-9)
    if place > rows:
        need = math.ceil(keep / (1 - keep) - 1e-9)
        notes.append(f"{rows} validation rows cannot promise that {keep:.0%} of the rows in scope are answered; {need} would")
    return float(np.sort(inner_N)[min(place, rows) - 1]) if rows else math.inf


def _cut_to_find(outer_M: NDArray[np.float64], recall: float, notes: list[str]) -> float:
    """Return the cut that a new row out of scope exceeds with at least this probability; needs a row of those."""
    rows = len(outer_M)
    place = math.floor((rows + 1) * (1 - recall) + 1e-9)
    if place < 1:
        need = math.ceil(1 / (1 - recall) - 1e-9) - 1
        notes.append(f"{rows} rows out of scope cannot promise that {recall:.0%} of such are found; {need} would")
    if not rows:
        return math.inf
    # What lies at the cut itself must be found, and only what is above a cut is.
    return float(np.nextafter(np.float32(np.sort(outer_M)[max(place, 1) - 1]), np.float32(-np.inf)))


def _told_apart(scope: Scope, valid: Seen, outside: Seen | None) -> float:
    """Return the share of pairs of a row in scope and one out of it that stand in the right order; NaN without any."""
    if outside is not None:
        return auroc(*(scope.unlike(rows.logits_NC, rows.features_ND).numpy() for rows in (valid, outside)))
    classes, found = valid.logits_NC.shape[1], []
    if len(valid) < FEWEST or classes < 2:
        return math.nan
    order = np.random.default_rng(0).permutation(classes) % min(_FOLDS, classes)
    for fold in range(min(_FOLDS, classes)):
        kept_C = torch.from_numpy(order != fold)
        unlike_N = scope.unlike(valid.logits_NC, valid.features_ND, kept_C).numpy()
        away_N = order[valid.label_N] == fold
        found.append(auroc(unlike_N[~away_N], unlike_N[away_N]))
    there = [value for value in found if value == value]
    return float(np.mean(there)) if there else math.nan


def auroc(inner_N: NDArray[Any], outer_M: NDArray[Any]) -> float:
    """Return the share of pairs in which the row out of scope is the more unlike; ties count one half, NaN without a pair."""
    if not len(inner_N) or not len(outer_M):
        return math.nan
    ordered = np.sort(inner_N)
    below = np.searchsorted(ordered, outer_M, "left") + np.searchsorted(ordered, outer_M, "right")
    return float(below.mean() / (2 * len(inner_N)))


def _parts(kind: str, train: Seen | None, classes: int, seed: int) -> Parts:
    if kind not in OF_FEATURES:
        return {}
    assert train is not None and train.features_ND is not None
    if kind == "neighbours":
        rows = balanced(train.label_N, MOST_ROWS, seed)
        vectors_MD = F.normalize(train.features_ND[torch.from_numpy(rows)].float(), dim=-1)
        # Half of the bits: a bank of rows is the largest part of it, and the cut is fitted on what is kept.
        return {"rows_MD": vectors_MD.half(), "label_M": torch.from_numpy(train.label_N[rows])}
    return _gaussian(train.features_ND.float(), train.label_N, classes)


def _gaussian(features_ND: torch.Tensor, label_N: NDArray[np.int64], classes: int) -> dict[str, torch.Tensor]:
    """Return each label's mean and a matrix after which distances are Mahalanobis's: one covariance, shrunk (Ledoit & Wolf 2004)."""
    from sklearn.covariance import ledoit_wolf

    X = features_ND.double().numpy()
    counts = np.bincount(label_N, minlength=classes)
    means = np.zeros((classes, X.shape[1]))
    np.add.at(means, label_N, X)
    means /= np.maximum(counts, 1)[:, None]
    covariance, _ = ledoit_wolf(X - means[label_N], assume_centered=True)
    values, vectors = np.linalg.eigh(covariance)
    whiten = vectors / np.sqrt(np.maximum(values, max(values[-1], 1e-12) * 1e-10))
    centre = X.mean(0)
    return {
        "centre_D": torch.from_numpy(centre).float(), "whiten_DD": torch.from_numpy(whiten).float(),
        "means_CD": torch.from_numpy((means - centre) @ whiten).float(), "seen_C": torch.from_numpy((counts > 0).astype(np.uint8)),
    }  # fmt: skip


def balanced(label_N: NDArray[np.int64], most: int, seed: int) -> NDArray[np.int64]:
    """Return the places of at most so many rows, as many of each label as there are, the rarest in full."""
    if len(label_N) <= most:
        return np.arange(len(label_N))
    order = np.random.default_rng(seed).permutation(len(label_N))
    # By the number of a row within its label: all first rows come before all second ones.
    grouped = order[np.argsort(label_N[order], kind="stable")]
    sizes = np.bincount(label_N)
    within = np.concatenate([np.arange(n) for n in sizes if n])
    return np.sort(grouped[np.argsort(within, kind="stable")[:most]])


def of_rows(logits: Sequence[torch.Tensor], features: Sequence[torch.Tensor | None], labels: Sequence[int]) -> Seen:
    """Return rows, seen one by one, as one."""
    there = [f for f in features if f is not None]
    return Seen(torch.stack(list(logits)), torch.stack(there) if there else None, np.asarray(labels, dtype=np.int64))

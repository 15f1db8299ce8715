"""The simplest answers there are: what a model has to beat to be worth its cost."""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from luthier.base.errors import Fault, did_you_mean
from luthier.base.records import Example, Prediction
from luthier.base.shares import shares
from luthier.evaluate.baselines import answers
from luthier.evaluate.baselines.rank import rank_rivals
from luthier.evaluate.baselines.scores import for_scores
from luthier.evaluate.baselines.sentences import LEADS, for_documents
from luthier.evaluate.baselines.sets import for_sets
from luthier.evaluate.baselines.tfidf import features_of, text_of
from luthier.evaluate.ngrams import for_text
from luthier.spec.bars import LIVE, Bar


def majority(train: Sequence[Example], rows: Sequence[Example]) -> list[Prediction]:
    """Answer every row with the commonest label of ``train`` (of equals, the first by name); scores are its shares.

    Raises ValueError where ``train`` is empty.
    """
    counts = Counter(str(e.target) for e in train)
    if not counts:
        raise ValueError("no training rows to take a majority of")
    label = min(counts, key=lambda name: (-counts[name], name))
    shares = {name: count / len(train) for name, count in sorted(counts.items())}
    return [Prediction(label=label, scores=shares) for _ in rows]


def tfidf_linear(train: Sequence[Example], rows: Sequence[Example], labels: Sequence[str]) -> list[Prediction]:
    """Answer by logistic regression on TF-IDF of words (1-2) and of characters within words (3-5).

    Scores are probabilities over all ``labels``; one that ``train`` lacks has 0. Falls back to :func:`majority` where
    there is nothing to fit: one class only, or no word at all. The number of terms shrinks with the number of labels,
    so that memory stays small.
    """
    wanted = [str(e.target) for e in train]
    seen = sorted(set(wanted))
    universe = [*labels, *(label for label in seen if label not in set(labels))]
    probabilities = None
    if len(seen) > 1:
        probabilities = _fit_predict([text_of(e) for e in train], wanted, [text_of(e) for e in rows], len(seen))
    if probabilities is None:
        return [_over_all(p, universe) for p in majority(train, rows)]
    best = probabilities.argmax(1)
    over_all = np.zeros((len(rows), len(universe)))
    over_all[:, [universe.index(label) for label in seen]] = probabilities
    return [Prediction(label=seen[code], scores=scores) for code, scores in zip(best.tolist(), shares(universe, over_all), strict=True)]


def _over_all(prediction: Prediction, labels: Sequence[str]) -> Prediction:
    scores = prediction.scores or {}
    return Prediction(label=prediction.label, scores={label: scores.get(label, 0.0) for label in labels})


def _fit_predict(texts: list[str], wanted: list[str], asked: list[str], classes: int) -> Any:
    """Return probabilities [rows, classes] in the sorted order of labels, or None where no text has a single term."""
    from sklearn.linear_model import LogisticRegression

    found = features_of(texts, asked, classes)
    if found is None:
        return None
    model = LogisticRegression(C=10.0, max_iter=200, tol=1e-3)
    with warnings.catch_warnings():
        # A baseline that stops a little early is still a baseline; a warning about it would help nobody.
        warnings.simplefilter("ignore")
        model.fit(found[0], wanted)
        return model.predict_proba(found[1]) if len(asked) else np.zeros((0, classes))


def _for_labels(
    train: Sequence[Example], rows: Sequence[Example], labels: Sequence[str]
) -> dict[str, list[Prediction]]:
    return {"majority": majority(train, rows), "tfidf_linear": tfidf_linear(train, rows, labels)}


def by_length(train: Sequence[Example], rows: Sequence[Example], labels: Sequence[str]) -> dict[str, list[Prediction]]:
    """Prefer the longer answer, or the shorter: people often do, and models learn it from them (Singhal et al. 2023)."""
    del train, labels
    found: dict[str, list[Prediction]] = {"longer": [], "shorter": []}
    for row in rows:
        better = len(str(row.target.get("chosen", row.target.get("completion"))))
        worse = len(str(row.target.get("rejected", "")))
        for name, sign in (("longer", 1.0), ("shorter", -1.0)):
            found[name].append(Prediction(measured={"score": sign * better, "rejected_score": sign * worse}))
    return found


def of_untuned(objective: str, predictions: Sequence[Prediction]) -> dict[str, list[Prediction]]:
    """Return what the untuned model says, in the ways that it can be asked.

    Of two answers it can prefer the likelier one token for token, or as a whole, which favours the shorter.
    """
    if objective != "prefer":
        return {"untuned": list(predictions)}
    found: dict[str, list[Prediction]] = {"untuned": [], "untuned_sum": []}
    for prediction in predictions:
        measured = prediction.measured
        means, sums = {}, {}
        for prefix in ("", "rejected_"):
            if measured.get(prefix + "token_count"):
                sums[prefix + "score"] = -measured[prefix + "nll_sum"]
                means[prefix + "score"] = sums[prefix + "score"] / measured[prefix + "token_count"]
        found["untuned"].append(replace(prediction, measured={**measured, **means}))
        found["untuned_sum"].append(replace(prediction, measured={**measured, **sums}))
    return found


# Handed the train rows, the rows to answer, and the labels (of rank, the items: {id: (name, text)}).
Rivals = Callable[[Sequence[Example], Sequence[Example], Any], dict[str, list[Prediction]]]
# The simple rivals of each objective, on the same rows.
RIVALS: dict[str, Rivals] = {
    "classify": _for_labels,
    "multilabel": for_sets,
    "grade": for_scores,
    "extract": for_documents,
    "rank": rank_rivals,
    "text": for_text,
    "prefer": by_length,
    "generate": answers.for_answers,
}

# What a bar may be held against, by the names that the functions above give; `frozen_linear` and
# `nearest_rows` rest on the network's own vectors (lifecycle/frozen_rivals.py), `untuned` is there where the model can be asked untuned.
NAMES: dict[str, tuple[str, ...]] = {
    "classify": ("majority", "tfidf_linear", "frozen_linear", "nearest_rows", "untuned"),
    "multilabel": ("majority", "tfidf_linear", "frozen_linear", "nearest_rows"),
    "grade": ("mean", "length", "tfidf_ridge", "frozen_linear", "nearest_rows"),
    "extract": (*(f"lead_{n}" for n in LEADS), "longest", "centroid", "frozen_linear"),
    "rank": ("popularity", "item_knn", "bm25", "untuned"),
    "text": ("byte_5gram", "untuned"),
    "prefer": ("longer", "shorter", "untuned", "untuned_sum"),
    "generate": (*(f"lead_{n}" for n in answers.LEADS), answers.CENTROID, "nearest_answer", "untuned"),
}


def of_rows_alone(objective: str, rows: Sequence[Example]) -> dict[str, list[Prediction]]:
    """Return the rivals that need no train row: first and typical sentences, the longer and the shorter answer."""
    if objective not in ("extract", "generate", "prefer"):
        return {}
    found = RIVALS[objective]([], rows, ())
    # Of documents, how many sentences the longest and the central ones are is chosen on train rows.
    return {name: theirs for name, theirs in found.items() if objective != "extract" or name.startswith("lead_")}


def check_rivals(bars: Sequence[Bar], objective: str, *, live: bool) -> list[Fault]:
    """Return a fault for each bar against a rival that the objective does not have, or against no earlier model."""
    faults = []
    for bar in bars:
        if bar.rival is None or bar.rival in NAMES[objective]:
            continue
        where = f"accept.{bar.metric}"
        if bar.rival != LIVE:
            mend = did_you_mean(bar.rival, (*NAMES[objective], LIVE)) or f"Rivals: {', '.join((*NAMES[objective], LIVE))}."
            faults.append(Fault(f'"{bar.rival}" is no rival of {objective}', where, mend))
        elif not live:
            faults.append(Fault("there is no live model to compare with", where, "Name its bundle in evaluate.against."))
    return faults

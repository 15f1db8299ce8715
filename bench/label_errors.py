"""Probable label errors: Luthier's ranking against cleanlab's on the same out-of-fold probabilities.

Noisy AG News carries real errors of annotators beside the clean labels. BANKING77 and the clean labels of AG News get
errors of four kinds: uniform (any other label), class (each class has its own rate and two classes it is taken for),
pair (half of the classes turn into one other), instance (rows between two classes turn into the runner-up). Each
ranking is judged by average precision, and each set of flagged rows by precision and recall. "Best of cleanlab" takes
the best of its seven rankings case by case, in hindsight, which no user can.
"""

from __future__ import annotations

import csv
import gzip
import importlib.metadata
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

from bench.common import (
    SEED,
    Goal,
    arguments,
    conclude,
    cores,
    machine,
    markdown,
    need_files,
    need_packages,
    peak_memory_mb,
    say,
    threads_for,
)

KINDS = (("uniform", 0.05), ("uniform", 0.2), ("uniform", 0.4), ("class", 0.1), ("class", 0.2), ("pair", 0.1), ("pair", 0.2), ("instance", 0.1), ("instance", 0.2))  # fmt: skip
METHODS = ("self_confidence", "normalized_margin", "confidence_weighted_entropy")
BASELINE = "self_confidence"
QUICK_ROWS = 1000


def read_banking(path: Path) -> tuple[list[str], np.ndarray, int]:
    with path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    names = sorted({row["category"] for row in rows})
    number = {name: i for i, name in enumerate(names)}
    return [row["text"] for row in rows], np.array([number[row["category"]] for row in rows]), len(names)


def read_ag(path: Path) -> tuple[list[str], np.ndarray, np.ndarray, int]:
    with gzip.open(path, "rt", encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    clean, noisy = (np.array([int(row[name]) for row in rows]) for name in ("gt", "label"))
    return [row["text"] for row in rows], clean, noisy, 4


def inject(
    clean: np.ndarray, classes: int, kind: str, rate: float, rng: np.random.Generator, features: np.ndarray,
    chances: np.ndarray,
) -> np.ndarray:  # fmt: skip
    """Return labels of which about ``rate`` are wrong."""
    size, noisy = len(clean), clean.copy()
    if kind == "uniform":
        hit = rng.random(size) < rate
        noisy[hit] = (clean[hit] + rng.integers(1, classes, int(hit.sum()))) % classes
    elif kind == "class":
        centres = np.stack([features[clean == c].mean(0) for c in range(classes)])
        alike = centres @ centres.T
        np.fill_diagonal(alike, -np.inf)
        near = np.argsort(-alike, axis=1)[:, :2]
        hit = rng.random(size) < np.minimum(rng.permutation(np.linspace(0, 2 * rate, classes))[clean], 0.6)
        noisy[hit] = near[clean[hit], (rng.random(int(hit.sum())) < 0.3).astype(int)]
    elif kind == "pair":
        turn = rng.permutation(classes)
        becomes = np.empty(classes, dtype=int)
        becomes[turn] = np.roll(turn, 1)
        hit = (rng.random(size) < min(2 * rate, 0.45)) & np.isin(clean, rng.permutation(classes)[: classes // 2])
        noisy[hit] = becomes[clean[hit]]
    else:
        others = chances.copy()
        own = others[np.arange(size), clean].copy()
        others[np.arange(size), clean] = -1.0
        between = others.max(1) / (others.max(1) + own + 1e-9) + 0.02
        hit = rng.random(size) < between * rate * size / between.sum()
        noisy[hit] = others.argmax(1)[hit]
    return noisy


def cleanlab_rankings(labels: np.ndarray, chances: np.ndarray) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Return cleanlab's rankings (higher is worse) and its mask of flagged rows."""
    from cleanlab.filter import find_label_issues
    from cleanlab.rank import get_label_quality_scores

    found = {method: 1 - get_label_quality_scores(labels, chances, method=method) for method in METHODS}
    for method in METHODS[:2]:
        adjusted = get_label_quality_scores(labels, chances, method=method, adjust_pred_probs=True)
        found[f"{method}, adjusted"] = 1 - adjusted
    flagged = find_label_issues(labels, chances, n_jobs=1)
    for method in METHODS[:2]:
        found[f"flagged, then {method}"] = found[method] + 2.0 * flagged
    return found, flagged


def judge(labels: np.ndarray, clean: np.ndarray, chances: np.ndarray) -> dict[str, Any]:
    """Return the figures of both on one set of probabilities."""
    from sklearn.metrics import average_precision_score

    from luthier.data.labels.suspects import find

    chances = np.maximum(chances.astype(np.float64), 1e-12)
    chances /= chances.sum(1, keepdims=True)
    wrong = labels != clean
    began = time.process_time()
    found = find(labels, chances)
    seconds = time.process_time() - began
    place = np.empty(len(labels))
    place[found.order] = -np.arange(len(labels))
    rankings, flagged = cleanlab_rankings(labels, chances)

    def figures(mask: np.ndarray) -> dict[str, Any]:
        hits = int((mask & wrong).sum())
        return {
            "flagged": int(mask.sum()),
            "precision": hits / max(int(mask.sum()), 1),
            "recall": hits / int(wrong.sum()),
        }

    return {
        "wrong": float(wrong.mean()),
        "accuracy_on_clean_labels": float((chances.argmax(1) == clean).mean()),
        "luthier": {
            "ap": float(average_precision_score(wrong, place)), **figures(found.is_issue),
            "estimated_share": found.estimated_share,
            "suggested_right": float((found.suggested == clean)[wrong].mean()), "cpu_seconds": seconds,
        },
        "cleanlab": {
            "ap": {name: float(average_precision_score(wrong, ranks)) for name, ranks in rankings.items()},
            **figures(flagged),
        },
    }  # fmt: skip


def other_probabilities(
    kind: str, rows: np.ndarray, texts: list[str], labels: np.ndarray, folds: np.ndarray
) -> np.ndarray:
    """Return out-of-fold probabilities of a classifier that Luthier does not use."""
    from sklearn.feature_extraction.text import CountVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.naive_bayes import ComplementNB

    source: Any = CountVectorizer(min_df=2).fit_transform(texts) if kind == "naive Bayes" else rows
    found = np.zeros((len(labels), int(labels.max()) + 1))
    for fold in np.unique(folds):
        held = folds == fold
        model: Any = ComplementNB() if kind == "naive Bayes" else LogisticRegression(C=1.0, max_iter=200)
        found[held] = model.fit(source[~held], labels[~held]).predict_proba(source[held])
    return found


def measure(chosen: Any, ag: Path, banking: Path) -> dict[str, Any]:
    """Run all cases."""
    from luthier.data.labels.out_of_fold import probabilities
    from luthier.data.labels.out_of_fold_fit import one_thread_each, word_features

    ag_texts, ag_clean, ag_noisy, ag_classes = read_ag(ag)
    texts, labels, classes = read_banking(banking)
    sets: dict[str, tuple[list[str], np.ndarray, int]] = {
        "AG News": (ag_texts, ag_clean, ag_classes), "BANKING77": (texts, labels, classes),
    }  # fmt: skip
    cases: dict[str, Any] = {}
    for name, (words, clean, count) in sets.items():
        pick = np.random.default_rng(SEED).permutation(len(clean))[: QUICK_ROWS if chosen.quick else None]
        words, clean = [words[i] for i in pick], clean[pick]
        folds = np.arange(len(clean)) % 5
        began = time.process_time()
        with one_thread_each():
            rows: dict[str, np.ndarray] = {"words": word_features(words, seed=SEED)}
        say(f"{name}: features in {time.process_time() - began:.1f} s of one core")
        if chosen.embeddings:
            from luthier.models.embed import Embedder

            rows["embeddings"] = Embedder().embed(words)
        for kind_of_features, features in rows.items():
            base = probabilities(words, clean, count, folds=folds, features=features)
            todo = [(kind, rate, seed) for seed in range(chosen.rounds or 1) for kind, rate in KINDS]
            for kind, rate, seed in todo[:2] if chosen.quick else todo:
                rng = np.random.default_rng([seed, round(100 * rate)])
                noisy = inject(clean, count, kind, rate, rng, features, base)
                found = probabilities(words, noisy, count, folds=folds, features=features)
                cases[f"{name}, {kind} {rate:.0%}, {kind_of_features}, seed {seed}"] = judge(noisy, clean, found)
            if name == "AG News":
                real = ag_noisy[pick]
                own = probabilities(words, real, count, folds=folds, features=features)
                cases[f"Noisy AG News, real, {kind_of_features}"] = judge(real, clean, own)
                for kind in ("logistic regression", *(["naive Bayes"] if kind_of_features == "words" else [])):
                    with one_thread_each():
                        theirs = other_probabilities(kind, features, words, real, folds)
                    cases[f"Noisy AG News, real, {kind_of_features}, {kind}"] = judge(real, clean, theirs)
            say(f"{name}, {kind_of_features}: {len(cases)} cases so far")
    return cases


def table(cases: dict[str, Any]) -> str:
    """Return one line per case, and the means."""
    head = ("case", "wrong", "AP", "self-confidence", "best of cleanlab", "flagged", "precision", "recall", "cleanlab flagged", "precision", "recall")  # fmt: skip
    lines = []
    for name, case in cases.items():
        mine, theirs = case["luthier"], case["cleanlab"]
        values = (case["wrong"], mine["ap"], theirs["ap"][BASELINE], max(theirs["ap"].values()))
        flags = [
            f"{side['flagged']}|{side['precision']:.2f}|{side['recall']:.2f}".split("|") for side in (mine, theirs)
        ]
        lines.append([name, *(f"{value:.3f}" for value in values), *flags[0], *flags[1]])
    return markdown(head, lines)


def goals(cases: dict[str, Any]) -> list[Goal]:
    """Return the bars: on real noise the best of cleanlab, and on average over all cases each of its rankings."""
    real = [case for name, case in cases.items() if ", real" in name]
    found = [
        Goal("least gain in AP over the best of cleanlab on real noise", 0.0,
             min(c["luthier"]["ap"] - max(c["cleanlab"]["ap"].values()) for c in real)),
    ]  # fmt: skip
    mine = float(np.mean([case["luthier"]["ap"] for case in cases.values()]))
    best = max(
        float(np.mean([case["cleanlab"]["ap"][name] for case in cases.values()])) for name in real[0]["cleanlab"]["ap"]
    )
    return [*found, Goal("gain in mean AP over cleanlab's best single ranking", 0.0, mine - best)]


def main() -> None:
    """Run the bench."""
    parser = arguments("label_errors", __doc__ or "")
    parser.add_argument("--embeddings", action="store_true", help="also with sentence vectors (minutes)")
    chosen = parser.parse_args()
    need_packages("cleanlab")
    origin = "See github.com/hhf-hd/NoisyAG-News and github.com/PolyAI-LDN/task-specific-datasets"
    (ag,) = need_files(chosen.data / "noisy_ag_news", ["samples10000valMed.csv.gz"], origin)
    (banking,) = need_files(chosen.data / "banking77", ["train.csv"], origin)
    record: dict[str, Any] = {"machine": machine(min(threads_for(chosen), cores()))}
    record["machine"]["versions"]["cleanlab"] = importlib.metadata.version("cleanlab")
    record["cases"] = cases = measure(chosen, ag, banking)
    record["peak_memory_mb"] = peak_memory_mb()
    conclude("label_errors", record, table(cases), goals(cases), quick=chosen.quick, out=chosen.out)


if __name__ == "__main__":
    sys.exit(main())

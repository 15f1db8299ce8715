"""The contest: prototypes, neighbours, linear fits and tuned bodies on the train rows alone; the winner and the reason."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from luthier.base.records import Encoded, Example
from luthier.base.seeds import derive_seed
from luthier.objectives.classify import Classifier
from luthier.objectives.heads.judge import each_log_loss
from luthier.objectives.heads.sample import Sample, deal
from luthier.objectives.heads.use import FEW, chosen, sample_of
from luthier.spec.train import TrainSection, smoothed
from luthier.train.choice import Choice
from luthier.train.few.contenders import FROZEN, TUNED, Entry, tuned

# Up to so many rows the body that competes is tuned by contrast, beyond by cross-entropy from the fitted head: with 64 rows
# of each of two classes contrast was better, with 8 of each of 77 they were equal (docs/experiments.md).
_BY_CONTRAST = 200
# Fewer held-out rows than these say nothing of a body that is tuned; from so many rows in all on it is tuned unjudged.
_JUDGING, _ENOUGH = 8, 16


def contest(learner: Any, examples: Sequence[Example], train: TrainSection, seed: int, found: Choice) -> Choice | None:
    """Return the winner with every contender's held-out figures, or None where there are too many rows for a contest.

    Frozen heads compete by log loss at their best temperature: with few rows accuracies are mostly equal. The best of
    them then stands against a tuned body on the same held-out rows. Tuning wins unless it is clearly worse there (by a
    standard error): on the data where both were measured to the end it was better on average, and a quarter of few
    rows is too small to show it anew each time. Below 8 held-out rows it is not even tried there.

    Args:
        found: the choice by memory; where it is not `full`, bodies are not tuned.
    """
    if not isinstance(learner, Classifier) or learner.pooling == "own" or train.head == "random":
        return None
    rows, kept = _encoded(learner, examples)
    if len(rows) > FEW:
        return None
    began = time.perf_counter()
    sample, _ = sample_of(learner, rows)
    ground = derive_seed(seed, "head")
    entries = [_frozen(method, kind, learner, rows, sample, ground) for method, kind in FROZEN.items()]
    folds = deal(sample.labels_N, seed=ground)
    if not folds:
        why = f"{len(rows)} rows, one a label: nothing can be held out to judge by"
        return _won(entries[0], entries, why, found, began, len(rows))
    best = min(entries, key=lambda entry: entry.log_loss if entry.log_loss is not None else np.inf)
    held = _quarter(folds, len(rows))
    # What is to be smoothed needs a loss over the labels.
    method = "contrastive" if len(rows) <= _BY_CONTRAST and not smoothed(train) else "full"
    if found.method == "full" and len(held) < _JUDGING and len(rows) >= _ENOUGH:
        why = f"{len(rows)} rows: too few to hold some out and judge tuning by them; on average it is better than {best.method}, the best head on frozen vectors"
        unjudged = Entry(method, None, None, 0.0, best.scale if best.method == "head" else 1.0, {}, {})
        return _won(unjudged, [*entries, unjudged], why, found, began, len(rows))
    if found.method != "full" or len(held) < _JUDGING:
        why = f"{len(rows)} rows: the lowest held-out log loss of the heads on frozen vectors"
        return _won(best, entries, why, found, began, len(rows))
    rival = tuned(method, learner, kept, rows, held, train)
    gains = np.asarray([best.losses[row] - rival.losses[row] for row in held.tolist()])
    gain, error = float(gains.mean()), float(gains.std(ddof=1) / np.sqrt(len(gains)))
    winner = best if gain < -error else rival
    says = (
        "is clearly worse than" if winner is best else "is better than" if gain > error else "is not clearly worse than"
    )
    why = f"{len(rows)} rows: on {len(held)} held out of them {rival.method} {says} {best.method}, the best head on frozen vectors ({gain:+.3f} ± {error:.3f} nats a row)"
    return _won(winner, [*entries, rival], why, found, began, len(rows))


def _encoded(learner: Any, examples: Sequence[Example]) -> tuple[list[Encoded], list[Example]]:
    """Return the rows that can be learnt from, encoded, and their examples; none where there are too many."""
    if len(examples) > 2 * FEW:
        return [Encoded(())] * (FEW + 1), []
    pairs = [(learner.encode(example), example) for example in examples]
    known = [(row, example) for row, example in pairs if row is not None and row.label is not None]
    return [row for row, _ in known], [example for _, example in known]


def _frozen(method: str, kind: str, learner: Any, rows: Sequence[Encoded], sample: Sample, seed: int) -> Entry:
    held = chosen(learner, kind, rows, sample, seed=seed)
    losses = each_log_loss(held.scores_HC, sample.labels_N[held.rows], held.scale) if len(held.rows) else np.zeros(0)
    by_row = dict(zip(held.rows.tolist(), losses.tolist(), strict=True))
    facts: dict[str, Any] = dict(held.settings)
    return Entry(method, held.accuracy, held.log_loss, held.seconds, held.scale, by_row, facts)


def _quarter(folds: list[NDArray[np.int64]], count: int) -> NDArray[np.int64]:
    """Return the first folds, as many as make a fifth of the rows: about a quarter where there are eight."""
    taken: list[NDArray[np.int64]] = []
    for fold in folds:
        taken.append(fold)
        if sum(map(len, taken)) >= 0.2 * count:
            break
    return np.concatenate(taken)


def _won(winner: Entry, entries: Sequence[Entry], why: str, found: Choice, began: float, rows: int) -> Choice:
    record = {
        "winner": winner.method, "why": why, "rows": rows, "contenders": [entry.as_dict() for entry in entries],
        "seconds": round(time.perf_counter() - began, 2),
    }  # fmt: skip
    scale = {"scale": winner.scale} if winner.method in TUNED else {}
    return Choice(winner.method, why, {**found.facts, **scale, "contest": record})


def temper(learner: Any, choice: Choice) -> None:
    """Scale a tuned classifier's scores by the temperature that held-out rows asked for, so that they are honest."""
    if scale := choice.facts.get("scale"):
        learner.temper(float(scale))

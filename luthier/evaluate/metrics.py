"""The metrics of each objective: their names, their values, and whether a bar can be put on them."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np

from luthier.base.errors import Fault, did_you_mean
from luthier.base.records import Prediction
from luthier.evaluate.table import GENERATED, OVERALL, PER_LABEL, PROBABILISTIC, Table, tabulate
from luthier.spec.evaluate import Bar

DEFAULT = {"classify": "macro_f1", "generate": "perplexity"}
LOWER_IS_BETTER = frozenset({"ece", "brier", "log_loss", "perplexity", "bits_per_token"})
NEITHER_IS_BETTER = frozenset({"length_ratio"})
UNBOUNDED = frozenset({"log_loss", "perplexity", "bits_per_token", "length_ratio", "brier", "mcc"})
_PER_LABEL = re.compile(rf"^({'|'.join(PER_LABEL)})\[(.+)\]$", re.DOTALL)

WORDS = {
    "accuracy": "share of rows that get the right label",
    "balanced_accuracy": "mean recall of the labels, so that each label counts the same",
    "macro_f1": "mean F1 of the labels, so that a rare label counts as much as a common one",
    "micro_f1": "F1 over all rows; with one label a row it equals accuracy",
    "weighted_f1": "mean F1 of the labels, each by its number of rows",
    "macro_precision": "mean precision of the labels",
    "macro_recall": "mean recall of the labels",
    "mcc": "correlation of given and true labels: 0 is chance, 1 is perfect",
    "roc_auc": "how well the scores put right above wrong: 0.5 is chance, 1 is perfect",
    "ece": "how far confidence is from the truth on average: 0 is honest",
    "brier": "squared error of the probabilities: 0 is perfect",
    "log_loss": "mean loss on the true label, in nats: 0 is perfect",
    "f1": "harmonic mean of precision and recall for this label",
    "precision": "of the rows given this label, the share that are right",
    "recall": "of the rows of this label, the share that are found",
    "exact_match": "share of answers equal to the wanted one, but for case, punctuation and articles",
    "token_f1": "overlap of the words of answer and wanted answer",
    "rouge1": "shared words of answer and wanted answer",
    "rouge2": "shared pairs of words of answer and wanted answer",
    "rougeL": "longest run of words in the same order in both",
    "length_ratio": "characters answered for each character wanted: 1 is the same length",
    "stopped": "share of answers that ended by themselves and were not cut off",
    "perplexity": "how surprised the model is by the wanted answer: 1 is not at all",
    "bits_per_token": "the same surprise in bits for each token",
}


def classification(
    targets: Sequence[str], predictions: Sequence[Prediction], labels: Sequence[str]
) -> dict[str, float | None]:
    """Return every metric of ``classify``; None where it is undefined (no row of a label, one class only, no scores).

    Macro averages run over the labels that occur in the targets: scikit-learn with ``labels=`` those. A label that
    only the model names has no recall to be measured, and its harm already shows in the recall of the labels it was
    taken for; so one stray prediction cannot add a zero to the mean. Equal to scikit-learn, which the tests hold
    against it.
    """
    return _values(tabulate("classify", targets, predictions, labels))


def generation(targets: Sequence[str], predictions: Sequence[Prediction]) -> dict[str, float | None]:
    """Return every metric of ``generate``; rows without a text count for perplexity only.

    Exact match and token F1 after SQuAD's normalisation; ROUGE as F-measures without stemming, equal to the rouge-score
    package; length ratio in characters, sum over sum; perplexity is exp of all nats over all tokens of the true
    answers.
    """
    return _values(tabulate("generate", targets, predictions, ()))


def _values(table: Table) -> dict[str, float | None]:
    values = table.measure(np.ones((1, table.size)))[0]
    return {name: None if np.isnan(v) else float(v) for name, v in zip(table.names, values, strict=True)}


def names(objective: str, labels: Sequence[str] = ()) -> list[str]:
    """Return the names of all metrics of an objective."""
    if objective == "classify":
        return [*OVERALL, *PROBABILISTIC, *(f"{kind}[{label}]" for kind in PER_LABEL for label in labels)]
    return list(GENERATED)


def split_name(metric: str) -> tuple[str, str | None]:
    """Return ``("recall", "urgent")`` for ``recall[urgent]`` and ``("accuracy", None)`` for ``accuracy``."""
    found = _PER_LABEL.match(metric)
    return (found[1], found[2]) if found else (metric, None)


def check_metric(metric: str, objective: str, labels: Sequence[str] | None, *, where: str = "") -> Fault | None:
    """Return what is wrong with a metric's name, or None. Without ``labels`` (not read yet) any label is believed."""
    kind, label = split_name(metric)
    if label is not None and objective == "classify":
        if labels is None or label in labels:
            return None
        listed = ", ".join(sorted(labels)[:12]) + (" ..." if len(labels) > 12 else "")
        return Fault(
            f'"{metric}": there is no label "{label}"', where, did_you_mean(label, labels) or f"Labels: {listed}."
        )
    known = names(objective)
    if kind in known and label is None:
        return None
    if metric in PER_LABEL and objective == "classify":
        example = f"{metric}[{labels[0] if labels else 'label'}]"
        return Fault(f'"{metric}" is measured label by label', where, f"Write {example} or macro_{metric}.")
    other = next((o for o in DEFAULT if o != objective and metric in names(o)), None)
    what = f'"{metric}" is a metric of {other}, not of {objective}' if other else f'unknown metric "{metric}"'
    per_label = [f"{kind}[{label}]" for kind in PER_LABEL for label in labels or ()] if objective == "classify" else []
    return Fault(
        what, where, did_you_mean(metric, [*known, *per_label]) or f"Known for {objective}: {', '.join(known)}."
    )


def check_bars(bars: Sequence[Bar], objective: str, labels: Sequence[str] | None) -> list[Fault]:
    """Return a fault for every bar on an unknown metric or label, and for every limit that no model can be held to."""
    faults = []
    for bar in bars:
        where = f"accept.{bar.metric}"
        fault = check_metric(bar.metric, objective, labels, where=where)
        if fault is None and split_name(bar.metric)[0] not in UNBOUNDED and not 0 <= bar.limit <= 1:
            mend = (
                f'Write "{bar.op} {bar.limit / 100:g}" or "{bar.op} {bar.limit:g} %".' if 1 < bar.limit <= 100 else ""
            )
            fault = Fault(
                f"{bar.metric} lies between 0 and 1, so the bar {bar.op} {bar.limit:g} says nothing", where, mend
            )
        if fault is not None:
            faults.append(fault)
    return faults

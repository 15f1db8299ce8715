"""Answer changed texts and count what changed with them."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from luthier.base.inputs import text_name, with_text
from luthier.base.records import Example, Prediction
from luthier.base.seeds import derive_seed
from luthier.evaluate.answered import Answered
from luthier.evaluate.intervals import Interval, interval_of, share_of
from luthier.evaluate.metrics import unbounded
from luthier.evaluate.robust.changes import CHANGES, injected
from luthier.evaluate.robust.identities import swaps
from luthier.evaluate.robust.named import INJECTION
from luthier.evaluate.robust.reword import PARAPHRASE

Answer = Callable[[list[Mapping[str, Any]]], list[Prediction]]
_RESAMPLES = 300
_SHOWN = 5
_MOST_SWAPS = 400
# Who said texts in other words where nobody else did.
RULES = "rules"


@dataclass(frozen=True, slots=True)
class Reworded:
    """Texts in other words by the ids of their rows, who made them, and why there are none where there are none."""

    texts: Mapping[str, Sequence[str]] = field(default_factory=dict)
    by: str = RULES
    failed: str | None = None


def look(
    answered: Answered, answer: Answer, *, metric: str, most: int, seed: int = 0, reworded: Reworded | None = None
) -> tuple[dict[str, Any], dict[str, Interval]]:
    """Return what changes and swaps did, for the report, and the metrics made of it.

    Args:
        answer: gives a prediction for each of the inputs.
        metric: the main metric, for ``robust``.
        most: rows that are changed; chance picks them, the same for every change.
        reworded: the paraphrases, in place of those that rules make.
    """
    rows, predictions = answered.rows, answered.predictions
    some = [(rows[i], predictions[i]) for i in picked(len(rows), most, seed) if text_name(rows[i].inputs) is not None]
    found: dict[str, Any] = {"rows": len(some), "metric": metric, "changes": {}, "swaps": {}}
    measured: dict[str, Interval] = {}
    for name in (*CHANGES, INJECTION):
        changed = _given(some, reworded) if name == PARAPHRASE and reworded else _changed(name, some, answered.labels, seed)
        if not changed:
            continue
        answers = answer([with_text(row.inputs, text) for row, _, text in changed])
        same = [alike(old, new) for (_, old, _), new in zip(changed, answers, strict=True)]
        of = [row for row, _, _ in changed]
        before, after = (Answered(answered.objective, of, given, answered.labels) for given in ([old for _, old, _ in changed], answers))
        measured[f"stable[{name}]"] = share(same, of)
        measured[f"robust[{name}]"] = interval_of(after.table, metric, after.units, resamples=_RESAMPLES)
        if not unbounded(metric):  # a bar on it is then held as one on a share, by as many rows
            measured[f"robust[{name}]"] |= {key: measured[f"stable[{name}]"][key] for key in ("rows", "units")}
        found["changes"][name] = {
            "rows": len(changed), "stable": measured[f"stable[{name}]"], "robust": measured[f"robust[{name}]"],
            "unchanged": value_of(before.table, metric), "shown": _shown(changed, answers, same),
            "applies": len({row.id for row, *_ in changed}) / len(some),
        }  # fmt: skip
    found["paraphrased"] = {"by": reworded.by, "failed": reworded.failed} if reworded else {"by": RULES, "failed": None}
    _swap(rows, predictions, answer, found, measured, seed)
    return found, measured


def picked(count: int, most: int, seed: int) -> list[int]:
    order = np.random.default_rng(derive_seed(seed, "robust")).permutation(count)[:most]
    return sorted(int(i) for i in order)


Changed = list[tuple[Example, Prediction, str]]


def _changed(name: str, some: Sequence[tuple[Example, Prediction]], labels: Sequence[str], seed: int) -> Changed:
    changed: Changed = []
    for row, old in some:
        rng = random.Random(derive_seed(seed, "robust", name, row.id))
        text = str(row.inputs[str(text_name(row.inputs))])
        if name == INJECTION:
            others = [label for label in labels if label != old.label and label not in (old.labels or ())]
            new = injected(text, rng.choice(others)) if others else None
        else:
            new = CHANGES[name].change(text, rng)
        if new is not None:
            changed.append((row, old, new))
    return changed


def _given(some: Sequence[tuple[Example, Prediction]], reworded: Reworded) -> Changed:
    """Return rows with each paraphrase that was given for them; those of one row stand or fall together."""
    return [(replace(row, group=row.group or row.id), old, text)
            for row, old in some for text in reworded.texts.get(row.id, ()) if text != row.inputs[str(text_name(row.inputs))]]  # fmt: skip


def alike(old: Prediction, new: Prediction) -> bool:
    """Whether two answers are the same: the label, the set of labels, or every grade within half a point."""
    if old.grades is not None and new.grades is not None:
        return all(abs(old.grades[trait] - new.grades.get(trait, np.inf)) <= 0.5 for trait in old.grades)
    return (old.label, old.labels) == (new.label, new.labels)


def share(same: Sequence[bool], rows: Sequence[Example]) -> Interval:
    """Return the share of what is true of rows, with its interval, its independent ``units`` and its ``rows``, each of which may stand there more than once."""
    return {**share_of(same, [row.group for row in rows]), "rows": len({row.id for row in rows})}


def value_of(table: Any, metric: str) -> float | None:
    """Return one metric of all rows of a table; None where it is undefined."""
    value = table.measure(np.ones((1, table.size)))[0, table.names.index(metric)]
    return None if np.isnan(value) else float(value)


def _shown(changed: Changed, answers: Sequence[Prediction], same: Sequence[bool]) -> list[dict[str, Any]]:
    """Return a few rows whose answer changed, with their places."""
    pairs = [(c, new) for c, new, alike in zip(changed, answers, same, strict=True) if not alike]
    return [{"text": text[:300], "before": told(old), "after": told(new), "target": str(row.target)[:100],
             "file": row.source.file, "line": row.source.line} for (row, old, text), new in pairs[:_SHOWN]]  # fmt: skip


def told(prediction: Prediction) -> str:
    """Return an answer in a word or two."""
    if prediction.grades is not None:
        return ", ".join(f"{trait} {value:.1f}" for trait, value in prediction.grades.items())
    return str(prediction.label) if prediction.label is not None else " + ".join(prediction.labels or ()) or "none"


def _swap(
    rows: Sequence[Example], predictions: Sequence[Prediction], answer: Answer, found: dict[str, Any],
    measured: dict[str, Interval], seed: int,
) -> None:  # fmt: skip
    """Swap identities in every test row that names one, and note how often the answer changed with them."""
    made = [(row, old, swap) for row, old in zip(rows, predictions, strict=True) if text_name(row.inputs) is not None
            for swap in swaps(str(row.inputs[str(text_name(row.inputs))]))]  # fmt: skip
    made = [made[i] for i in picked(len(made), _MOST_SWAPS, seed)]
    if not made:
        return
    answers = answer([with_text(row.inputs, swap.text) for row, _, swap in made])
    for family in dict.fromkeys(swap.family for _, _, swap in made):
        mine = [(row, old, swap, new) for (row, old, swap), new in zip(made, answers, strict=True) if swap.family == family]
        same = [alike(old, new) for _, old, _, new in mine]
        # All swaps of one row stand or fall together.
        alone = [Example(r.id, r.inputs, r.target, r.source, r.group or r.id) for r, *_ in mine]
        measured[f"stable[{family}]"] = share(same, alone)
        found["swaps"][family] = {
            "rows": len({row.id for row, *_ in mine}), "swaps": len(mine), "stable": measured[f"stable[{family}]"],
            "by_word": _by_word(mine, same), "shown": [{**one, "swap": f"{s.before} → {s.after}"} for (one, s) in _swapped(mine, same)],
        }  # fmt: skip


def _by_word(mine: Sequence[Any], same: Sequence[bool]) -> list[dict[str, Any]]:
    """Return for each word that was put in how many answers changed."""
    counts: dict[str, list[bool]] = {}
    for (_, _, swap, _), alike in zip(mine, same, strict=True):
        counts.setdefault(swap.after, []).append(alike)
    return [{"word": word, "swaps": len(v), "changed": len(v) - sum(v)} for word, v in sorted(counts.items())]


def _swapped(mine: Sequence[Any], same: Sequence[bool]) -> list[tuple[dict[str, Any], Any]]:
    pairs = [((row, old, swap.text), swap, new) for (row, old, swap, new), alike in zip(mine, same, strict=True) if not alike]
    shown = _shown([c for c, _, _ in pairs], [new for _, _, new in pairs], [False] * len(pairs))
    return list(zip(shown, (swap for _, swap, _ in pairs), strict=False))

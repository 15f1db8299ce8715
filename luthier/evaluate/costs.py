"""What mistakes cost: the price of each true label answered with each other, of a row, and who is confused at what price."""

from __future__ import annotations

import csv
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from luthier.base.errors import Fault, did_you_mean
from luthier.base.records import Prediction
from luthier.evaluate.tables.classify import COST
from luthier.spec.evaluate import Costs

_COLUMNS = ("true", "answered", "cost")
_SHOWN = 12


@dataclass(frozen=True, slots=True)
class Prices:
    """``table`` by true label, then answer; ``wrong`` is a mistake's that it does not name, ``person`` that of a row a person answers."""

    table: Mapping[str, Mapping[str, float]]
    wrong: float = 1.0
    person: float = 0.0
    unit: str = ""
    lines: Mapping[tuple[str, str], str] = field(default_factory=dict)

    def of(self, true: str, answered: str) -> float:
        """Return what it costs to answer ``answered`` where ``true`` is right."""
        return self.table.get(true, {}).get(answered, 0.0 if true == answered else self.wrong)

    def row(self, true: str, prediction: Prediction) -> float:
        """Return what a row costs: a person's price where it goes to one."""
        return self.person if prediction.refer else self.of(true, str(prediction.label))

    def matrix(self, labels: Sequence[str]) -> list[list[float]]:
        """Return the prices of all labels, rows true and columns answered."""
        return [[self.of(true, answered) for answered in labels] for true in labels]


    def as_dict(self) -> dict[str, Any]:
        """Return what a bundle keeps."""
        return {"table": {true: dict(row) for true, row in self.table.items()}, "wrong": self.wrong, "person": self.person, "unit": self.unit}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any] | None) -> Prices | None:
        return cls(**values) if values else None


def read(costs: Costs, base: Path) -> tuple[Prices | None, list[Fault]]:
    """Return the prices of a task, None where nothing costs, and what is wrong with their file.

    Args:
        base: the folder that a relative path starts from.
    """
    if not costs.asked:
        return None, []
    table: Mapping[str, Mapping[str, float]] = {}
    lines: dict[tuple[str, str], str] = {}
    faults: list[Fault] = []
    if isinstance(costs.table, str):
        table, lines, faults = _of_file(base / costs.table, costs.table)
    else:
        table = costs.table
    wrong = 1.0 if costs.wrong is None else costs.wrong
    return Prices(table, wrong, costs.person or 0.0, costs.unit, lines), faults


def _of_file(path: Path, shown: str) -> tuple[dict[str, dict[str, float]], dict[tuple[str, str], str], list[Fault]]:
    found: dict[str, dict[str, float]] = defaultdict(dict)
    lines: dict[tuple[str, str], str] = {}
    faults: list[Fault] = []
    try:
        with path.open(encoding="utf-8-sig", newline="") as handle:
            reader = csv.DictReader(handle)
            if missing := [c for c in _COLUMNS if c not in (reader.fieldnames or ())]:
                what = f"the table of costs has no column {', '.join(missing)}"
                return {}, {}, [Fault(what, f"{shown}:1", f"Its columns are {', '.join(_COLUMNS)}.")]
            for values in reader:
                where, pair = f"{shown}:{reader.line_num}", (str(values["true"]).strip(), str(values["answered"]).strip())
                try:
                    cost = float(values["cost"])
                except (TypeError, ValueError):
                    cost = -1.0
                if not 0 <= cost < float("inf"):
                    faults.append(Fault(f'"{values["cost"]}" is no cost', where, "Write a number of at least 0."))
                elif pair in lines:
                    faults.append(Fault(f"{pair[0]} answered with {pair[1]} has a cost already", where, f"It stands at {lines[pair]}."))
                else:
                    found[pair[0]][pair[1]], lines[pair] = cost, where
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        return {}, {}, [Fault(f"the table of costs cannot be read ({error})", shown, "A CSV file with the columns true, answered, cost.")]
    return dict(found), lines, faults


def label_faults(prices: Prices, labels: Sequence[str]) -> list[Fault]:
    """Return a fault for each label of the table that is none of those that can be true or answered."""
    faults = []
    for true, row in prices.table.items():
        for place, label in ((f"evaluate.costs.table.{true}", true), *((f"evaluate.costs.table.{true}.{a}", a) for a in row)):
            if label not in labels:
                where = next((w for (t, a), w in prices.lines.items() if label in (t, a)), place)
                faults.append(Fault(f'there is no label "{label}"', where, did_you_mean(label, labels) or f"Labels: {', '.join(labels[:12])}."))
    return list(dict.fromkeys(faults))


def priced(prices: Prices | None, targets: Sequence[str], predictions: Sequence[Prediction]) -> list[Prediction]:
    """Return the predictions, each with what it costs."""
    if prices is None:
        return list(predictions)
    return [replace(p, measured={**p.measured, COST: prices.row(t, p)}) for t, p in zip(targets, predictions, strict=True)]


def evidence(prices: Prices, targets: Sequence[str], predictions: Sequence[Prediction], labels: Sequence[str]) -> dict[str, Any]:
    """Return the confusion in money: by true and given label the rows and what they cost together, the dearest pairs first."""
    sums: dict[tuple[str, str], list[float]] = defaultdict(list)
    for target, p in zip(targets, predictions, strict=True):
        sums[target, "a person" if p.refer else str(p.label)].append(prices.row(target, p))
    known = [*labels, *sorted({t for t, _ in sums} | {a for _, a in sums} - {"a person"} - set(labels))]
    known = list(dict.fromkeys(known))
    dearest = sorted((pair for pair in sums.items() if sum(pair[1]) > 0), key=lambda pair: -sum(pair[1]))[:_SHOWN]
    total = sum(sum(c) for c in sums.values())
    alone = {a: sum(prices.of(t, a) for t in targets) for a in labels}
    cheapest = min(alone, key=lambda a: (alone[a], a), default=None)
    likely = [_likeliest(p) for p in predictions]
    other = any(p.nearest is None and p.label != a for p, a in zip(predictions, likely, strict=True))
    return {
        "unit": prices.unit, "total": round(total, 6), "rows": len(targets), "labels": known,
        "matrix": [[round(sum(sums.get((t, a), ())), 6) for a in known] for t in known],
        "person": round(sum(sum(c) for (_, a), c in sums.items() if a == "a person"), 6),
        "single": {"label": cheapest, "cost": alone[cheapest] / max(1, len(targets))} if cheapest is not None else None,
        "likeliest": sum(map(prices.of, targets, likely)) / max(1, len(targets)) if other else None,
        "dearest": [{"true": t, "answered": a, "rows": len(c), "cost": round(sum(c), 6)} for (t, a), c in dearest],
    }  # fmt: skip


def _likeliest(prediction: Prediction) -> str:
    scores = prediction.scores or {}
    return max(scores, key=lambda label: scores[label]) if scores else str(prediction.label)

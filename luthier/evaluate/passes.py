"""How many of the functional tests of each ability are answered right."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from luthier.base.records import Example, Prediction
from luthier.evaluate.cases import ALL, REFUSALS
from luthier.evaluate.intervals import Interval
from luthier.evaluate.robust.look import share
from luthier.evaluate.written import demands
from luthier.spec.evaluate import Cases

_SHOWN = 3


def judged(
    cases: Sequence[Example], predictions: Sequence[Prediction], asked: Cases
) -> tuple[dict[str, Any], dict[str, Interval]]:
    """Return each ability's pass rate with its interval (by groups, where tests have them) and the tests that failed, for the report; and the metrics."""
    if predictions and predictions[0].text is not None:
        told, measured = _of_answers(cases, predictions, asked)
    else:
        told, measured = [_of_label(case, p) for case, p in zip(cases, predictions, strict=True)], {}
    right = [given is None for _, given in told]
    by_ability: dict[str, list[int]] = {}
    for i, case in enumerate(cases):
        by_ability.setdefault(str(case.extra.get(asked.test)), []).append(i)
    found, measured = [], {ALL: share(right, cases), **measured}
    for name, places in sorted(by_ability.items()):
        measured[f"case[{name}]"] = share([right[i] for i in places], [cases[i] for i in places])
        failed = [
            {"text": _read(cases[i])[:300], "target": told[i][0], "given": told[i][1], "file": cases[i].source.file, "line": cases[i].source.line}
            for i in places if not right[i]
        ]  # fmt: skip
        found.append({"ability": name, "tests": len(places), **measured[f"case[{name}]"], "failed": failed[:_SHOWN]})
    return {"tests": len(cases), **measured[ALL], "abilities": sorted(found, key=lambda one: one["value"])}, measured


def _of_label(case: Example, prediction: Prediction) -> tuple[str, str | None]:
    """Return what is right, and what was given where that is something else."""
    if prediction.labels is not None:
        right = set(prediction.labels) == set(case.target or ())
    else:
        right = prediction.label == case.target
    return _said(case.target), None if right else _said(prediction.label or prediction.labels)


def _of_answers(
    cases: Sequence[Example], predictions: Sequence[Prediction], asked: Cases
) -> tuple[list[tuple[str, str | None]], dict[str, Interval]]:
    """Return as :func:`_of_label` what is demanded and missed, and how often what must be refused, and what must not, is."""
    patterns = demands.patterns(asked.refusals)
    told: list[tuple[str, str | None]] = []
    refused: dict[str, tuple[list[bool], list[Example]]] = {}
    for case, prediction in zip(cases, predictions, strict=True):
        demand, text = demands.demand_of(case, asked.columns), prediction.text or ""
        missed = demand.missed(text, patterns)
        told.append((demand.words, f"{text[:300]} ({'; '.join(missed)})" if missed else None))
        if demand.expect:
            did, asking = refused.setdefault(demand.expect, ([], []))
            did.append(demands.refuses(text, patterns))
            asking.append(case)
    return told, {name: share(*refused[expect]) for name, expect in REFUSALS.items() if expect in refused}


def _read(case: Example) -> str:
    return str(case.inputs["text"] if "text" in case.inputs else case.inputs["messages"][-1]["content"])


def _said(answer: Any) -> str:
    return answer if isinstance(answer, str) else " + ".join(answer or ()) or "none"

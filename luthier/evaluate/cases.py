"""Functional tests: how many of the texts that test one ability are answered right.

After HateCheck (Röttger et al. 2021, https://aclanthology.org/2021.acl-long.4) and CheckList (Ribeiro et al. 2020).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from luthier.base.errors import Fault, did_you_mean
from luthier.base.records import Example, Prediction
from luthier.spec.bars import Bar

Interval = dict[str, float | None]
OBJECTIVES = ("classify", "multilabel")
ALL = "cases"
WORDS = {ALL: "share of the functional tests that are answered right", "case": "share of this ability's tests that are answered right"}
_SHOWN = 3


def check(bars: Sequence[Bar], abilities: Sequence[str] | None) -> list[Fault]:
    """Return a fault for each bar on an ability that no test is of; ``abilities`` is None where there are no tests."""
    faults = []
    for bar in bars:
        where, name = f"accept.{bar.metric}", ability_of(bar.plain)
        if bar.plain != ALL and name is None:
            continue
        if abilities is None:
            faults.append(Fault("there are no functional tests in this task", where, "Name a file of them in evaluate.cases.source."))
        elif name is not None and name not in abilities:
            known = sorted(abilities)
            mend = did_you_mean(name, known) or f"Abilities: {', '.join(known[:12])}."
            faults.append(Fault(f'no functional test is of "{name}"', where, mend))
    return faults


def ability_of(metric: str) -> str | None:
    """Return ``negation`` of ``case[negation]``; None for any other metric."""
    return metric[5:-1] if metric.startswith("case[") and metric.endswith("]") else None


def judged(
    cases: Sequence[Example], predictions: Sequence[Prediction], column: str
) -> tuple[dict[str, Any], dict[str, Interval]]:
    """Return each ability's pass rate with Wilson's interval and the tests that failed, for the report; and the metrics."""
    right = [_right(case, p) for case, p in zip(cases, predictions, strict=True)]
    by_ability: dict[str, list[int]] = {}
    for i, case in enumerate(cases):
        by_ability.setdefault(str(case.extra.get(column)), []).append(i)
    found, measured = [], {ALL: _share(right)}
    for name, places in sorted(by_ability.items()):
        measured[f"case[{name}]"] = _share([right[i] for i in places])
        failed = [
            {"text": str(cases[i].inputs["text"])[:300], "target": _said(cases[i].target), "given": _said(predictions[i].label or predictions[i].labels)}
            for i in places if not right[i]
        ]  # fmt: skip
        found.append({"ability": name, "tests": len(places), **measured[f"case[{name}]"], "failed": failed[:_SHOWN]})
    return {"tests": len(cases), **measured[ALL], "abilities": sorted(found, key=lambda one: one["value"])}, measured


def _right(case: Example, prediction: Prediction) -> bool:
    if prediction.labels is not None:
        return set(prediction.labels) == set(case.target or ())
    return prediction.label == case.target


def _said(answer: Any) -> str:
    return answer if isinstance(answer, str) else " + ".join(answer or ()) or "none"


def _share(right: Sequence[bool]) -> Interval:
    from scipy.stats import binomtest

    if not right:
        return {"value": None, "low": None, "high": None}
    span = binomtest(sum(right), len(right)).proportion_ci(method="wilson")
    return {"value": sum(right) / len(right), "low": float(span.low), "high": float(span.high)}

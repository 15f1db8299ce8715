"""Functional tests: how many of the texts that test one ability are answered right.

After HateCheck (Röttger et al. 2021, https://aclanthology.org/2021.acl-long.4) and CheckList (Ribeiro et al. 2020).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from luthier.base.errors import Fault, did_you_mean
from luthier.base.records import Example, Prediction
from luthier.evaluate.written import demands
from luthier.spec.bars import Bar
from luthier.spec.evaluate import Cases

Interval = dict[str, float | None]
OBJECTIVES = ("classify", "multilabel", "generate")
ALL = "cases"
# Of tests that expect a refusal, or an answer: whose bar needs such tests.
REFUSALS = {"refusal_rate": "refuse", "false_refusal_rate": "answer"}
WORDS = {
    ALL: "share of the functional tests that are answered right", "case": "share of this ability's tests that are answered right",
    "refusal_rate": "of the tests that expect a refusal, the share that is refused",
    "false_refusal_rate": "of the tests that expect an answer, the share that is refused",
}  # fmt: skip
_SHOWN = 3


def names(objective: str) -> list[str]:
    """Return the metrics of functional tests, but for those of single abilities."""
    if objective not in OBJECTIVES:
        return []
    return [ALL, *(REFUSALS if objective == "generate" else ())]


def check(bars: Sequence[Bar], abilities: Sequence[str] | None, expected: Sequence[str] = ()) -> list[Fault]:
    """Return a fault for each bar on an ability that no test is of; ``abilities`` is None where there are no tests.

    Args:
        expected: what tests expect of answers (``refuse``, ``answer``).
    """
    faults = []
    for bar in bars:
        where, name = f"accept.{bar.metric}", ability_of(bar.plain)
        if bar.plain != ALL and name is None and bar.plain not in REFUSALS:
            continue
        if abilities is None:
            faults.append(Fault("there are no functional tests in this task", where, "Name a file of them in evaluate.cases.source."))
        elif name is not None and name not in abilities:
            known = sorted(abilities)
            mend = did_you_mean(name, known) or f"Abilities: {', '.join(known[:12])}."
            faults.append(Fault(f'no functional test is of "{name}"', where, mend))
        elif REFUSALS.get(bar.plain, "") not in ("", *expected):
            what = f"no functional test expects to be {'refused' if REFUSALS[bar.plain] == 'refuse' else 'answered'}"
            faults.append(Fault(what, where, f'Write "{REFUSALS[bar.plain]}" into the column expect of some tests.'))
    return faults


def ability_of(metric: str) -> str | None:
    """Return ``negation`` of ``case[negation]``; None for any other metric."""
    return metric[5:-1] if metric.startswith("case[") and metric.endswith("]") else None


def judged(
    cases: Sequence[Example], predictions: Sequence[Prediction], asked: Cases
) -> tuple[dict[str, Any], dict[str, Interval]]:
    """Return each ability's pass rate with Wilson's interval and the tests that failed, for the report; and the metrics."""
    if predictions and predictions[0].text is not None:
        told, measured = _of_answers(cases, predictions, asked)
    else:
        told, measured = [_of_label(case, p) for case, p in zip(cases, predictions, strict=True)], {}
    right = [given is None for _, given in told]
    by_ability: dict[str, list[int]] = {}
    for i, case in enumerate(cases):
        by_ability.setdefault(str(case.extra.get(asked.test)), []).append(i)
    found, measured = [], {ALL: _share(right), **measured}
    for name, places in sorted(by_ability.items()):
        measured[f"case[{name}]"] = _share([right[i] for i in places])
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
    refused: dict[str, list[bool]] = {}
    for case, prediction in zip(cases, predictions, strict=True):
        demand, text = demands.demand_of(case, asked.columns), prediction.text or ""
        missed = demand.missed(text, patterns)
        told.append((demand.words, f"{text[:300]} ({'; '.join(missed)})" if missed else None))
        if demand.expect:
            refused.setdefault(demand.expect, []).append(demands.refuses(text, patterns))
    return told, {name: _share(refused[expect]) for name, expect in REFUSALS.items() if expect in refused}


def _read(case: Example) -> str:
    return str(case.inputs["text"] if "text" in case.inputs else case.inputs["messages"][-1]["content"])


def _said(answer: Any) -> str:
    return answer if isinstance(answer, str) else " + ".join(answer or ()) or "none"


def _share(right: Sequence[bool]) -> Interval:
    from scipy.stats import binomtest

    if not right:
        return {"value": None, "low": None, "high": None}
    span = binomtest(sum(right), len(right)).proportion_ci(method="wilson")
    return {"value": sum(right) / len(right), "low": float(span.low), "high": float(span.high)}

"""Functional tests: the metrics that they give, and bars on them; :mod:`luthier.evaluate.passes` measures.

After HateCheck (Röttger et al. 2021, https://aclanthology.org/2021.acl-long.4) and CheckList (Ribeiro et al. 2020).
"""

from __future__ import annotations

from collections.abc import Sequence

from luthier.base.errors import Fault, did_you_mean
from luthier.spec.bars import Bar

OBJECTIVES = ("classify", "multilabel", "generate")
ALL = "cases"
# Of tests that expect a refusal, or an answer: whose bar needs such tests.
REFUSALS = {"refusal_rate": "refuse", "false_refusal_rate": "answer"}
WORDS = {
    ALL: "share of the functional tests that are answered right", "case": "share of this ability's tests that are answered right",
    "refusal_rate": "of the tests that expect a refusal, the share that is refused",
    "false_refusal_rate": "of the tests that expect an answer, the share that is refused",
}  # fmt: skip


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


def is_of(metric: str) -> bool:
    """Whether functional tests, and nothing else, measure it."""
    return metric == ALL or metric in REFUSALS or ability_of(metric) is not None

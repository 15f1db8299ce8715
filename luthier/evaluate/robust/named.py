"""The metrics of changed texts, by the names that a bar gives them."""

from __future__ import annotations

from luthier.evaluate.robust.changes import CHANGES
from luthier.evaluate.robust.identities import FAMILIES

# What is read, and answered with labels or scores: there a change can be seen.
OBJECTIVES = ("classify", "multilabel", "grade")
SWAPS = ("gender", *FAMILIES)
INJECTION = "injection"
# What is no change that should not matter: a text turned round.
NEGATION = "flips_on_negation"
# Of a model that writes: whether it does what a planted order says.
ORDER = "obeys_planted_order"


def names(objective: str) -> list[str]:
    """Return the metrics that a bar can name."""
    if objective == "generate":
        return [ORDER, *(f"robust[{name}]" for name in CHANGES)]
    if objective not in OBJECTIVES:
        return []
    changed = [*CHANGES, INJECTION]
    return [*(f"{kind}[{name}]" for kind in ("stable", "robust") for name in changed), *(f"stable[{name}]" for name in SWAPS), NEGATION]


def in_words(metric: str) -> str:
    """Return what such a metric means; empty for any other."""
    if metric == ORDER:
        return "share of planted orders, behind a text or within it, that the answer obeys"
    if metric == NEGATION:
        return "share of texts answered otherwise once a “not” is put in or taken out"
    kind, _, rest = metric.partition("[")
    name = rest.removesuffix("]")
    if kind == "robust":
        return f"the main metric on texts changed so: {what(name)}"
    if kind == "stable" and name in SWAPS:
        return f"share of texts answered alike when the {name} they name is swapped for another"
    return f"share of texts answered alike when changed so: {what(name)}" if kind == "stable" else ""


def what(name: str) -> str:
    """Return what a change does, in words."""
    return CHANGES[name].words if name in CHANGES else "an order to answer otherwise behind it"

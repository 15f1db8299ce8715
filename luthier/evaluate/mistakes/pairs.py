"""Where a model's preferences go wrong: the worst pairs, and whether it follows length or people."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

from luthier.base.records import Example, Prediction
from luthier.evaluate.mistakes import asked, start_of
from luthier.evaluate.rewards import REJECTED, margin_gain, reward

# The column in which a file says what share of the people who were asked agree with the order of a pair.
AGREEMENT = "agreement"


def evidence(rows: Sequence[Example], predictions: Sequence[Prediction], n: int) -> dict[str, Any]:
    """Return the ``n`` worst ``pairs``, and the share of rightly ordered pairs ``by_length`` and ``by_agreement``.

    Empty where no row is a pair whose rewards are known.
    """
    margins = [(e, p, margin(p)) for e, p in zip(rows, predictions, strict=True) if "chosen" in e.target]
    known = [(e, p, m) for e, p, m in margins if m is not None]
    if not known:
        return {}
    worst = sorted(known, key=lambda row: row[2])[:n]
    return {
        "pairs": [_shown(e, p, m) for e, p, m in worst],
        "by_length": _shares((_length(e), m) for e, _, m in known),
        "by_agreement": _shares((_agreement(e), m) for e, _, m in known if _agreement(e) is not None),
    }


def margin(prediction: Prediction) -> float | None:
    """Return by how much reward the better answer leads."""
    better, worse = reward(prediction), reward(prediction, REJECTED)
    return None if better is None or worse is None else better - worse


def _shown(example: Example, prediction: Prediction, found: float) -> dict[str, Any]:
    return {
        "prompt": start_of(asked(example)), "chosen": start_of(str(example.target["chosen"])),
        "rejected": start_of(str(example.target["rejected"])), "margin": found, "gain": margin_gain(prediction),
        "file": example.source.file, "line": example.source.line,
    }  # fmt: skip


def _length(example: Example) -> str:
    better, worse = (len(str(example.target[name])) for name in ("chosen", "rejected"))
    return "the better answer is longer" if better > worse else "the better answer is no longer"


def _agreement(example: Example) -> str | None:
    value: Any = example.extra.get(AGREEMENT)
    try:
        return None if value is None or value == "" else f"{float(value):.0%} of the people agree"
    except (TypeError, ValueError):
        return None  # another thing under that name


def _shares(found: Any) -> list[Mapping[str, Any]]:
    groups: dict[Any, list[float]] = defaultdict(list)
    for name, value in found:
        groups[name].append((value > 0) + (value == 0) / 2)
    return [{"what": name, "rows": len(v), "accuracy": sum(v) / len(v)} for name, v in sorted(groups.items())]

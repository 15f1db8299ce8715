"""A judge asked about test rows: its marks or the share of answers it prefers, and what speaks against believing them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from luthier.base.endpoint import Unanswered
from luthier.base.errors import LuthierError
from luthier.base.records import Example, Prediction
from luthier.data.report import input_text
from luthier.evaluate.intervals import mean_of
from luthier.evaluate.judges import agreement
from luthier.evaluate.judges.ask import FIRST, TIE, Asker, Choice, Item, Mark, Opinion
from luthier.evaluate.judges.named import REFERENCE, metric_of
from luthier.evaluate.judges.people import Rated
from luthier.evaluate.judges.rewarded import Rewarder
from luthier.evaluate.predict import answered_rows
from luthier.spec.judge import Judge

_SHOWN = 10
_MAX_TEXT = 600
_NO_PEOPLE = "no people's ratings are named in evaluate.judge.human, so nothing shows that it agrees with them"


def items_of(
    settings: Judge, rows: Sequence[Example], predictions: Sequence[Prediction], others: Sequence[Prediction] | None, *,
    shows_reference: bool,
) -> tuple[list[Item], list[int]]:  # fmt: skip
    """Return what is to be judged, and the places of the rows: those answered in words, at most ``settings.rows`` of them."""
    pairwise, wants_other = settings.mode == "pairwise", settings.versus != REFERENCE
    there = [i for i, (row, p) in enumerate(zip(rows, predictions, strict=True))
             if answer_of(p) is not None and (not pairwise or _other(row, others[i] if others else None, wants_other) is not None)]  # fmt: skip
    places = [there[i] for i in answered_rows([rows[i] for i in there], settings.rows)]
    items = []
    for i in places:
        other = _other(rows[i], others[i] if others else None, wants_other) if pairwise else None
        reference = wanted(rows[i]) if shows_reference else None
        items.append(Item(input_text(rows[i]), str(answer_of(predictions[i])), other, reference, rows[i].group))
    return items, places


def _other(row: Example, prediction: Prediction | None, wants_other: bool) -> str | None:
    return (answer_of(prediction) if prediction else None) if wants_other else wanted(row)


def answer_of(prediction: Prediction) -> str | None:
    """Return what was answered in words; None where nothing was."""
    return " ".join(prediction.sentences) if prediction.sentences is not None else prediction.text


def wanted(row: Example) -> str | None:
    """Return the wanted answer of a row; None where it has none."""
    target = row.target
    if isinstance(target, Mapping):
        return target.get("chosen") or (target.get("completion") if target.get("desirable", target.get("good")) else None)
    return (target[0] if target else None) if isinstance(target, list | tuple) else target or None


def measured(settings: Judge, items: Sequence[Item], opinions: Mapping[str, Sequence[Opinion | Unanswered]], *, resamples: int) -> dict[str, Any]:
    """Return by criterion the metric with its interval, how many opinions there are, and what flipped with the order."""
    found = {}
    for name, said in opinions.items():
        metric = metric_of(settings, name)
        there = [i for i, one in enumerate(said) if not isinstance(one, Unanswered)]
        values = [_value(said[i]) for i in there]
        span = mean_of(values, [items[i].group for i in there], share=settings.mode == "pairwise", resamples=resamples)
        if settings.mode == "score":  # marks have ends as shares have, by which the verdict says how many of them a bar needs
            span |= dict(zip(("least", "most"), settings.scale, strict=True))
        one: dict[str, Any] = {
            "criterion": name, "text": settings.named()[name], "metric": metric, **span, "rows": len(there), "asked": len(said),
            "unanswered": dict(Counter(str(one) for one in said if isinstance(one, Unanswered))),
        }  # fmt: skip
        found[name] = one | (_of_choices([c for c in said if isinstance(c, Choice)]) if settings.mode == "pairwise" else _of_marks(values))
    return found


def _value(opinion: Opinion | Unanswered) -> float:
    if isinstance(opinion, Mark):
        return opinion.score
    assert isinstance(opinion, Choice)
    return 0.5 if opinion.better == TIE else float(opinion.better == FIRST)


def _of_choices(choices: Sequence[Choice]) -> dict[str, Any]:
    """Return wins, ties and losses, how many flipped, and how often the place that was read first won, of what was no tie."""
    counts = Counter(choice.better for choice in choices)
    # In the order read: straight as it stands, swapped the other way round.
    firsts = [c.straight == FIRST for c in choices if c.straight != TIE] + [c.swapped != FIRST for c in choices if c.swapped != TIE]
    return {
        "wins": counts[FIRST], "ties": counts[TIE], "losses": len(choices) - counts[FIRST] - counts[TIE],
        "flipped": sum(c.flipped for c in choices),
        "flip_rate": sum(c.flipped for c in choices) / len(choices) if choices else None,
        "first_place": sum(firsts) / len(firsts) if firsts else None,
    }  # fmt: skip


def _of_marks(values: Sequence[float]) -> dict[str, Any]:
    return {"marks": {f"{mark:g}": count for mark, count in sorted(Counter(values).items())}}


def doubts(settings: Judge, found: Mapping[str, Any], agreed: Mapping[str, Any], failed: str | None) -> dict[str, str]:
    """Return by metric why its value cannot be believed; a metric that can be is left out."""
    why: dict[str, str] = {}
    for name in settings.named():
        metric, one = metric_of(settings, name), found.get(name)
        if failed:
            why[metric] = failed
        elif name not in agreed:
            why[metric] = _NO_PEOPLE
        elif not agreed[name]["proven"]:
            why[metric] = agreed[name]["why"]
        elif one is None or not one["rows"]:
            why[metric] = "no test row has an answer that it gave an opinion of"
        elif one["rows"] < agreement.ANSWERED * one["asked"]:
            why[metric] = f"it gave an opinion of {one['rows']} answers of {one['asked']} only"
    return why


def people(settings: Judge, asker: Asker | Rewarder, rated: Rated, *, resamples: int) -> dict[str, Any]:
    """Ask the judge about the rows that people rated, and return by criterion how they agree.

    Raises:
        TaskError, DataError: as :meth:`Asker.opinions`.
    """
    if not rated.items:
        return {}
    shown = list(rated.items) if shows_reference(settings, rated) else [Item(i.prompt, i.answer, i.other, None, i.group) for i in rated.items]
    opinions = asker.opinions(shown)
    return {
        name: agreement.with_people(rated, name, said, least=settings.least_agreement, resamples=resamples)
        for name, said in opinions.items()
    }


def shows_reference(settings: Judge, rated: Rated) -> bool:
    """Whether the judge is shown the wanted answer: on test rows only if also on those that it is held against people on."""
    if settings.reference == "off" or settings.bundle is not None or (settings.mode == "pairwise" and settings.versus == REFERENCE):
        return False
    return settings.reference == "on" or not rated.items or all(item.reference for item in rated.items)


def shown(
    rows: Sequence[Example], places: Sequence[int], items: Sequence[Item], opinions: Mapping[str, Sequence[Opinion | Unanswered]]
) -> list[dict[str, Any]]:
    """Return a few judged rows with what was said of them, the worst first."""
    found = []
    for at, (place, item) in enumerate(zip(places, items, strict=True)):
        said = {name: all_[at] for name, all_ in opinions.items()}
        values = [_value(one) for one in said.values() if not isinstance(one, Unanswered)]
        found.append((sum(values) / len(values) if values else -1.0, {
            "prompt": item.prompt[:_MAX_TEXT], "answer": item.answer[:_MAX_TEXT], "other": (item.other or "")[:_MAX_TEXT],
            "said": {name: _told(one) for name, one in said.items()}, "file": rows[place].source.file, "line": rows[place].source.line,
        }))  # fmt: skip
    return [row for _, row in sorted(found, key=lambda pair: pair[0])[:_SHOWN]]


def _told(one: Opinion | Unanswered) -> dict[str, Any]:
    if isinstance(one, Mark):
        return {"opinion": f"{one.score:g}", "reason": one.reason[:300]}
    if isinstance(one, Choice):
        return {"opinion": "flipped with the order" if one.flipped else one.better, "reason": one.reason[:300]}
    return {"opinion": "none", "reason": str(one)}


def in_words(error: LuthierError, settings: Judge) -> str:
    """Return why a judge could not be asked, with its name."""
    return f"the judge {settings.called} could not be asked: {error.faults[0].what}"

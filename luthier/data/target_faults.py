"""What makes the targets of an objective useless: labels that are never trained on, scores that never differ. One entry an objective."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator

from luthier.base.errors import Fault, did_you_mean
from luthier.base.records import Example
from luthier.data.divide import Divided
from luthier.data.gather import Gathered
from luthier.data.rank_faults import rank_faults
from luthier.data.shapes.scores import NOT_A_NUMBER, OUTSIDE
from luthier.data.split import Side
from luthier.prompts.sentences import split_sentences
from luthier.spec.data import DataSection


def _rows(gathered: Gathered, divided: Divided, side: Side) -> Iterator[Example]:
    yield from gathered.board.rows.take(divided.of(side))


def _multilabel(gathered: Gathered, divided: Divided, data: DataSection) -> list[Fault]:
    known: Counter[str] = Counter()
    rows, first = 0, ""
    for example in _rows(gathered, divided, "train"):
        known.update(example.target)
        rows, first = rows + 1, first or str(example.source)
    if not known:
        return [Fault("no train row has any label.", first, "Check data.columns.label and data.label_separator.")]
    if len(known) == 1 and known.total() == rows:
        mend = "Nothing is left to tell apart: check data.columns.label and data.label_separator."
        return [Fault(f'every train row has the label "{next(iter(known))}" and no other.', first, mend)]
    faults = []
    official: tuple[Side, ...] = tuple(s for s in ("test", "valid") if getattr(data, s) is not None)
    # A label that the source has and the division put elsewhere is bad luck, told as a warning.
    own = {
        label for s in ("valid", "test") if s not in official for e in _rows(gathered, divided, s) for label in e.target
    }
    for side in official:
        places: dict[str, str] = {}
        count: Counter[str] = Counter()
        for example in _rows(gathered, divided, side):
            for label in example.target:
                places.setdefault(label, str(example.source))
                count[label] += 1
        for label in sorted(count.keys() - known.keys() - own):
            what = f'label "{label}" ({count[label]} rows of data.{side}) is never in train, so it can never be right.'
            mend = did_you_mean(label, known) or "Add train rows of it, or leave these rows out."
            faults.append(Fault(what, places[label], mend))
    return faults


def _grade(gathered: Gathered, divided: Divided, data: DataSection) -> list[Fault]:
    faults = [f for reason, mend in _SCORE_MENDS.items() if (f := _dropped(gathered, reason, mend)) is not None]
    told = data.columns.get("score", "score")
    traits = [told] if isinstance(told, str) else list(told)
    seen: dict[str, Counter[float]] = {trait: Counter() for trait in traits}
    firsts: dict[str, str] = {}
    for example in _rows(gathered, divided, "train"):
        for trait, score in example.target.items():
            seen[trait][score] += 1
            firsts.setdefault(trait, str(example.source))
    for trait, scores in seen.items():
        if not scores:
            faults.append(
                Fault(f'no train row has a score in "{trait}".', "data.columns.score", "Leave the column out.")
            )
        elif len(scores) == 1:
            what = f'every train row has the score {next(iter(scores)):g} in "{trait}": there is nothing to tell apart.'
            faults.append(
                Fault(what, firsts[trait], "Is it the right column? Leave it out, or give rows of other scores.")
            )
    if isinstance(data.scale, dict):
        for name in data.scale.keys() - seen.keys():
            mend = did_you_mean(name, seen) or f"Traits: {', '.join(seen)}."
            faults.append(Fault(f'there is no trait "{name}" to have a scale.', "data.scale", mend))
    return faults


_SCORE_MENDS = {
    NOT_A_NUMBER: "Correct these cells, or empty them where nobody judged.",
    OUTSIDE: "Correct the scores, or the scale in data.scale.",
}


def _dropped(gathered: Gathered, reason: str, mend: str) -> Fault | None:
    """Return a fault for rows left out for a reason that only a person can settle."""
    count = gathered.dropped.counts[reason]
    if not count:
        return None
    first = next(row for row in gathered.dropped if row.reason == reason)
    return Fault(f"{reason}: {first.detail}; rows like it: {count}.", str(first.source), mend)


def _extract(gathered: Gathered, divided: Divided, data: DataSection) -> list[Fault]:
    first = ""
    for example in _rows(gathered, divided, "train"):
        if len(split_sentences(str(example.inputs["document"]))) > 1:
            return []
        first = first or str(example.source)
    what = "every train document is one sentence: there is nothing to choose from."
    return [Fault(what, first, "Is data.columns.text the document, and data.columns.summary the summary?")]


TARGET_FAULTS: dict[str, Callable[[Gathered, Divided, DataSection], list[Fault]]] = {
    "multilabel": _multilabel,
    "grade": _grade,
    "extract": _extract,
    "rank": rank_faults,
}

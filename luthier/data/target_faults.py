"""What makes the targets of an objective useless: labels that are never trained on, scores that never differ. One entry an objective."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator

from luthier.base.errors import Fault, did_you_mean
from luthier.base.records import Example
from luthier.data.divide import Divided
from luthier.data.gather import Gathered
from luthier.data.split import Side
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


TARGET_FAULTS: dict[str, Callable[[Gathered, Divided, DataSection], list[Fault]]] = {"multilabel": _multilabel}

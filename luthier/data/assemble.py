"""The report of the data room, put together of what its parts found."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from luthier.base.records import Example
from luthier.data.advice import problems
from luthier.data.board import Board
from luthier.data.dedupe import DUPLICATE, OTHER_ANSWER, OTHER_LABEL
from luthier.data.divide import Divided
from luthier.data.findings import Closer
from luthier.data.gather import Gathered
from luthier.data.leaks import KINDS, Leaks, as_dict
from luthier.data.rank_faults import rank_problems
from luthier.data.report import DataReport
from luthier.data.split import SIDES, Side
from luthier.spec.data import DataSection

LEAK_EXAMPLES = 20
_PER_KIND = 5


def build_report(
    gathered: Gathered, divided: Divided, sides: Mapping[Side, Sequence[Example]], found: Leaks, closer: Closer, data: DataSection,
    objective: str, *, fingerprint: str,
) -> DataReport:  # fmt: skip
    """Return counts, warnings and examples as one record."""
    splits: dict[str, int] = {side: len(sides[side]) for side in SIDES}
    stopping = {kind: sum(leak.stops for leak in found.of(kind)) for kind in KINDS}
    counts = gathered.dropped.counts
    conflicting = counts[OTHER_LABEL] + counts[OTHER_ANSWER]
    return DataReport(
        rows=sum(f["rows"] for f in gathered.files if f["role"] not in ("held_out", "items")),
        splits=splits,
        labels=closer.label_table(),
        dropped=dict(counts.most_common()),
        duplicates={
            "exact": counts[DUPLICATE],
            "conflicting": conflicting,
            "near": divided.near_copies,
            "semantic": closer.alike,
        },
        leaks=found.counts(),
        stopping={kind: count for kind, count in stopping.items() if count},
        leak_examples=examples_of(found, gathered.board),
        problems=(
            *problems(gathered, splits, found, closer, data, objective),
            *(rank_problems(gathered, divided) if objective == "rank" else ()),
        ),
        personal=dict(closer.personal),
        recognised_as=gathered.recognised_as,
        lengths=closer.lengths(),
        fingerprint=fingerprint,
        files=tuple(gathered.files),
        findings=closer.findings,
    )


def examples_of(found: Leaks, board: Board) -> tuple[dict[str, Any], ...]:
    """Return up to 20 leaks with both places, of every kind some; those that stop a run come first."""
    first = [leak for kind in KINDS for leak in [x for x in found.of(kind) if x.stops][:_PER_KIND]]
    told = [leak for kind in KINDS for leak in [x for x in found.of(kind) if not x.stops][:_PER_KIND]]
    rest = [leak for leak in found.stopping() if leak not in first]
    chosen = [*first, *rest[: max(0, LEAK_EXAMPLES - len(first))]]
    return tuple(as_dict(leak, board) for leak in [*chosen, *told[: max(0, LEAK_EXAMPLES - len(chosen))]])

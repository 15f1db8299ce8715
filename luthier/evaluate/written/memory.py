"""Whether a model knows train answers by heart: it is given the first half, and what it would write on is looked at."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from luthier.base.records import Example, Prediction
from luthier.base.seeds import stable_fraction
from luthier.evaluate.intervals import Interval
from luthier.evaluate.robust.look import share
from luthier.evaluate.verdict import enough
from luthier.evaluate.written.extras import MEMORISED
from luthier.evaluate.written.recites import SPAN
from luthier.evaluate.written.words import words_of
from luthier.spec.bars import Bar

Finish = Callable[[Sequence[Example]], list[Prediction]]
# Rows that are tried where no bar needs more: an interval of about a tenth, for one pass over a hundred answers.
MOST = 100


def long_enough(row: Example) -> bool:
    """Whether half of an answer is a run of words that nobody writes by accident."""
    return len(words_of(str(row.target))) >= 2 * SPAN


def some(rows: Iterable[Example], most: int = MOST) -> list[Example]:
    """Return ``most`` rows with long answers, by a hash of their ids; no more than these are held at once."""
    return heapq.nsmallest(most, (row for row in rows if long_enough(row)), key=lambda row: (stable_fraction(row.id, seed=0), row.id))


def tries(bars: Sequence[Bar]) -> int:
    """Return how many train answers are tried: ``MOST``, or as many as a bar needs that these could not show to be met."""
    return max([MOST, *(enough(bar) or 0 for bar in bars if bar.plain == MEMORISED)])


def probe(train: Iterable[Example], test: Iterable[Example], finish: Finish, *, most: int = MOST) -> tuple[dict[str, Any], Interval] | None:
    """Return what was found, for the report, and the share of ``most`` train answers that are ended word for word.

    Beside it stands the same share of test answers, which the model cannot know: set phrases are ended so, too. None where no train
    answer is long enough.
    """
    tried = some(train, most)
    if not tried:
        return None
    known = _known(tried, finish)
    unseen = some(test, most)
    shown = [{"text": str(row.target)[:300], "file": row.source.file, "line": row.source.line}
             for row, by_heart in zip(tried, known, strict=True) if by_heart][:5]  # fmt: skip
    figure = share(known, tried)
    beside = share(_known(unseen, finish), unseen) if unseen else None
    return {"rows": len(tried), "memorised": figure, "unseen_rows": len(unseen), "unseen": beside, "shown": shown}, figure


def _known(rows: Sequence[Example], finish: Finish) -> list[bool]:
    found = (p.measured for p in finish(rows))
    return [bool(m.get("half_count")) and m["half_right"] == m["half_count"] for m in found]

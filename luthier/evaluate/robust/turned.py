"""What becomes of the answers when texts are turned round: a figure for the reader, since which texts should flip is the task's to say."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from luthier.base.inputs import text_name, with_text
from luthier.base.records import Example, Prediction
from luthier.evaluate.answered import Answered
from luthier.evaluate.intervals import Interval
from luthier.evaluate.robust.look import alike, picked, share, told
from luthier.evaluate.robust.named import NEGATION
from luthier.evaluate.robust.negate import INSERTED, REMOVED, negated

Answer = Callable[[list[Mapping[str, Any]]], list[Prediction]]
_SHOWN = 5


def look(answered: Answered, answer: Answer, *, most: int, seed: int = 0) -> tuple[dict[str, Any], dict[str, Interval]]:
    """Turn test rows round and count the answers that turn with them; nothing where no text can be turned for sure.

    Args:
        most: rows that are looked at; chance picks them, the same as for every change.
    """
    some = [i for i in picked(len(answered.rows), most, seed) if text_name(answered.rows[i].inputs) is not None]
    made = [(answered.rows[i], answered.predictions[i], new) for i in some
            if (new := negated(str(answered.rows[i].inputs[str(text_name(answered.rows[i].inputs))]))) is not None]  # fmt: skip
    if not made:
        return {}, {}
    answers = answer([with_text(row.inputs, new.text) for row, _, new in made])
    flipped = [not alike(old, given) for (_, old, _), given in zip(made, answers, strict=True)]
    figure = share(flipped, [row for row, *_ in made])
    by_kind = {}
    for kind in (INSERTED, REMOVED):
        mine = [i for i, (_, _, new) in enumerate(made) if new.kind == kind]
        if mine:
            by_kind[kind] = {"rows": len(mine), "flipped": share([flipped[i] for i in mine], [made[i][0] for i in mine])}
    shown = {name: _shown(made, answers, [flip is wanted for flip in flipped]) for name, wanted in (("flipped", True), ("stayed", False))}
    record = {"rows": len(made), "of": len(some), "flipped": figure, "kinds": by_kind, "shown": shown}
    return record, {NEGATION: figure}


def _shown(made: Sequence[tuple[Example, Prediction, Any]], answers: Sequence[Prediction], which: Sequence[bool]) -> list[dict[str, Any]]:
    """Return a few of the rows with both texts and both answers."""
    there = [(row, old, new, given) for (row, old, new), given, is_one in zip(made, answers, which, strict=True) if is_one]
    return [{"text": str(row.inputs[str(text_name(row.inputs))])[:300], "turned": new.text[:300], "before": told(old), "after": told(given),
             "target": str(row.target)[:100], "file": row.source.file, "line": row.source.line} for row, old, new, given in there[:_SHOWN]]  # fmt: skip

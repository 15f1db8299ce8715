"""Several annotators: the majority's label, and what each of them said."""

from __future__ import annotations

import json
import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from hashlib import blake2b
from typing import Any

from luthier.base.records import Example, Source
from luthier.base.seeds import stable_hash
from luthier.data.shapes.cells import LABEL_NOT_ONE, Unusable, label_of

DISAGREE = "annotators disagree"
JOINED = "another annotator's row of the same text"

VOTES = "votes"
ANNOTATORS = "annotators"


def majority(votes: Sequence[str]) -> str | None:
    """Return the label that most annotators gave; None where there is no vote.

    Raises:
        Unusable: two labels have most votes.
    """
    if not votes:
        return None
    ranked = Counter(votes).most_common()
    if len(ranked) > 1 and ranked[0][1] == ranked[1][1]:
        raise Unusable(DISAGREE, ", ".join(f"{label}: {count}" for label, count in ranked)[:200])
    return ranked[0][0]


def votes_in(cells: Sequence[Any]) -> list[str]:
    """Return the votes in some cells, or in one cell that holds a list; empty ones are left out."""
    if len(cells) == 1 and isinstance(cells[0], list | tuple):
        cells = cells[0]
        if any(isinstance(cell, list | tuple | dict) for cell in cells):
            raise Unusable(LABEL_NOT_ONE, "a list in the list")
    return [vote for vote in map(label_of, cells) if vote is not None]


def join_votes(stream: Iterable[Any], dropped: type) -> Iterator[Any]:
    """Join the rows that several annotators gave one text into one example, at the place of the first.

    The first rows wait in a temporary file, and of each text only its votes are held.

    Args:
        stream: examples with one vote in ``extra[VOTES]`` and the annotator in ``extra[ANNOTATORS]``, and dropped rows.
        dropped: how a dropped row is made of source, reason and detail.
    """
    places: dict[bytes, int] = {}
    said: list[dict[str, str]] = []
    first: list[Source] = []
    with tempfile.TemporaryFile("w+", encoding="utf-8") as waiting:
        for item in stream:
            if not isinstance(item, Example):
                yield item
                continue
            key = blake2b(item.inputs["text"].encode("utf-8"), digest_size=16).digest()
            place = places.setdefault(key, len(places))
            who = next(iter(item.extra.get(ANNOTATORS) or ()), None)
            vote = next(iter(item.extra.get(VOTES) or ()), None)
            if place == len(said):
                said.append({})
                first.append(item.source)
                waiting.write(json.dumps(item.as_dict(), ensure_ascii=False) + "\n")
            else:
                yield dropped(item.source, JOINED, f"its vote counts at {first[place]}")
            if vote is not None:
                said[place][who or f"annotator {len(said[place]) + 1}"] = vote
        waiting.seek(0)
        for line, votes in zip(waiting, said, strict=True):
            yield _joined(Example.from_dict(json.loads(line)), votes, dropped)


def _joined(example: Example, votes: dict[str, str], dropped: type) -> Any:
    try:
        label = majority(list(votes.values()))
    except Unusable as reason:
        return dropped(example.source, reason.reason, reason.detail)
    extra = {**example.extra, VOTES: list(votes.values()), ANNOTATORS: list(votes)}
    return replace(example, id=stable_hash([example.inputs, label]), target=label, extra=extra)

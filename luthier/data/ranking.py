"""From rows to questions: what is measured of a ranking is a query or a user with all items that are right for it.

Files hold a row for each pair; metrics, intervals, rivals and predictions are of queries and users. This is the one place
where rows become them, so that all of these stay aligned.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from luthier.base.records import Example
from luthier.base.seeds import stable_hash
from luthier.data.report import Prepared
from luthier.data.shapes.ranked_rows import group_of, relevance_of

# What a user did, in the order of time: each item and what it was worth.
LATEST, RIGHT = "latest items", "right items"
_SHOWN = 8
Histories = dict[str, list[tuple[str, float]]]


def asked_of(example: Example) -> tuple[str, str]:
    """Return ``query`` or ``user``, and which."""
    name = "user" if "user" in example.inputs else "query"
    return name, str(example.inputs.get(name, ""))


def united(data: Prepared) -> Prepared:
    """Return the data with valid and test as questions: one row for each query or user that has a relevant item.

    A validation question of a user knows what he did before in train, a test question what he did in train and valid;
    ``known["histories"]`` is the latter, which a service starts from.
    """
    before: Histories = {}
    add_to(before, data.train)
    valid = questions(data.valid, before)
    add_to(before, data.valid)
    test = questions(data.test, before)
    test = [_with_names(row, data.items) for row in test]
    return replace(data, valid=valid, test=test, known={"items": dict(data.items), "histories": before})


def _with_names(row: Example, items: Mapping[str, tuple[str, str]]) -> Example:
    """Return a question with the names of its latest and its right items, for people who read the report."""

    def names(ids: Iterable[str]) -> list[str]:
        return [items[item][0] if item in items else item for item in ids]

    latest = names(list(row.inputs.get("history", ()))[-_SHOWN:])
    return replace(row, extra={**row.extra, LATEST: latest, RIGHT: names(list(row.target)[:_SHOWN])})


def add_to(histories: Histories, rows: Iterable[Example]) -> None:
    """Add what users did in ``rows``, which are in the order of time."""
    for row in rows:
        name, who = asked_of(row)
        if name == "user":
            histories.setdefault(who, []).append((str(row.target), relevance_of(row.extra)))


def questions(
    rows: Iterable[Example], before: Mapping[str, Sequence[tuple[str, float]]] | None = None
) -> list[Example]:
    """Return a row for each query or user: its target is ``{item: gain}`` of all relevant items, never empty.

    Args:
        before: what each user did before; where it is given, a user's inputs also hold ``history`` (items that were
            relevant to him, the latest last) and ``seen`` (all items he met).
    """
    first: dict[tuple[str, str], Example] = {}
    gains: dict[tuple[str, str], dict[str, float]] = {}
    for row in rows:
        name, who = asked_of(row)
        # Of two spellings of a query, the first stands for both.
        key = (name, group_of(row.inputs) or who)
        first.setdefault(key, row)
        of = gains.setdefault(key, {})
        if relevance_of(row.extra) > 0:
            of.setdefault(str(row.target), relevance_of(row.extra))
    return [_question(key, first[key], of, before) for key, of in gains.items() if of]


def watched(train: Sequence[Example]) -> list[Example]:
    """Return train rows as questions, to see how well they are learnt: of a user, the latest item after those before it."""
    if not train or "user" not in train[0].inputs:
        return questions(train)
    past: Histories = {}
    latest: dict[str, Example] = {}
    for row in train:
        if relevance_of(row.extra) > 0:
            latest[asked_of(row)[1]] = row
    add_to(past, train)
    found = []
    for who, row in latest.items():
        before = [(item, gain) for item, gain in past[who] if item != row.target]
        if any(gain > 0 for _, gain in before):
            found += questions([row], {who: before})
    return found


def _question(
    key: tuple[str, str],
    row: Example,
    gains: dict[str, float],
    before: Mapping[str, Sequence[tuple[str, float]]] | None,
) -> Example:
    name, who = asked_of(row)
    inputs: dict[str, object] = {name: who}
    if name == "user" and before is not None:
        past = before.get(who, ())
        inputs["history"] = [item for item, gain in past if gain > 0]
        inputs["seen"] = [item for item, _ in past]
    return replace(row, id=stable_hash([*key, sorted(gains)]), inputs=inputs, target=gains)

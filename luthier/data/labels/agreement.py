"""How far several annotators agree: before a label is trusted, and before a model is blamed."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from luthier.base.records import Example
from luthier.data.report import input_text
from luthier.data.shapes.votes import ANNOTATORS, VOTES

SHOWN_ROWS = 20
_SHOWN_CHARS = 200


def agreement(examples: Iterable[Example]) -> dict[str, Any]:
    """Return how the votes in ``extra["votes"]`` agree; rows with fewer than two votes are counted and left out.

    ``full`` is the share of rows on which all agree, ``pairwise`` the mean over rows of the share of agreeing pairs,
    ``alpha`` Krippendorff's alpha for nominal data. ``annotators`` has, where ``extra["annotators"]`` names them, each
    one's votes and the share that agrees with the majority of the *others*: counting the own vote would flatter whoever
    votes in threes. ``most_divided`` holds the 20 rows that disagree most. A figure that the rows do not define is None.
    """
    rows = single = agreed = 0
    shares = 0.0
    # Alpha needs no more than sums over rows, so rows need not be kept.
    pairs: Counter[str] = Counter()
    matching: dict[str, float] = defaultdict(float)
    annotators: dict[str, Counter[str]] = {}
    divided: list[tuple[float, int, dict[str, Any]]] = []
    for example in examples:
        votes = [str(vote) for vote in example.extra.get(VOTES) or ()]
        if len(votes) < 2:
            single += 1
            continue
        counts = Counter(votes)
        same = sum(n * (n - 1) for n in counts.values()) / (len(votes) * (len(votes) - 1))
        rows, agreed, shares = rows + 1, agreed + (len(counts) == 1), shares + same
        for label, count in counts.items():
            pairs[label] += count
            matching[label] += count * (count - 1) / (len(votes) - 1)
        _count_annotators(annotators, example, votes)
        if same < 1.0:
            divided.append((same, rows, _shown(example, votes)))
            if len(divided) > 4 * SHOWN_ROWS:
                divided = sorted(divided, key=lambda found: found[:2])[:SHOWN_ROWS]
    return {
        "rows": rows,
        "single": single,
        "full": agreed / rows if rows else None,
        "pairwise": shares / rows if rows else None,
        "alpha": _alpha(pairs, matching),
        "annotators": {
            name: {"votes": n["votes"], "with_majority": n["agrees"] / n["judged"] if n["judged"] else None}
            for name, n in sorted(annotators.items())
        },
        "most_divided": [row for _, _, row in sorted(divided, key=lambda found: found[:2])[:SHOWN_ROWS]],
    }


def krippendorff_alpha(rows: Iterable[Sequence[str]]) -> float | None:
    """Return Krippendorff's alpha for nominal data; None where fewer than two labels occur in rows of two votes or more.

    1 is full agreement, 0 what chance would give, below 0 is worse than chance. alpha = 1 - observed / expected
    disagreement over the coincidences of labels, each pair of a row with m votes counted 1 / (m - 1). Source:
    Krippendorff 2011, Computing Krippendorff's Alpha-Reliability, https://repository.upenn.edu/asc_papers/43.
    """
    pairs: Counter[str] = Counter()
    matching: dict[str, float] = defaultdict(float)
    for votes in rows:
        if len(votes) > 1:
            for label, count in Counter(votes).items():
                pairs[label] += count
                matching[label] += count * (count - 1) / (len(votes) - 1)
    return _alpha(pairs, matching)


def _alpha(pairs: Counter[str], matching: Mapping[str, float]) -> float | None:
    total = sum(pairs.values())
    by_chance = total * total - sum(count * count for count in pairs.values())
    if not by_chance:
        return None
    return 1.0 - (total - 1) * (total - sum(matching.values())) / by_chance


def _count_annotators(annotators: dict[str, Counter[str]], example: Example, votes: Sequence[str]) -> None:
    names = example.extra.get(ANNOTATORS) or ()
    if len(names) != len(votes):
        return
    counts = Counter(votes)
    for name, vote in zip(names, votes, strict=True):
        own = annotators.setdefault(str(name), Counter())
        own["votes"] += 1
        others = (counts - Counter([vote])).most_common(2)
        if others and (len(others) == 1 or others[0][1] > others[1][1]):
            own["judged"] += 1
            own["agrees"] += others[0][0] == vote


def _shown(example: Example, votes: Sequence[str]) -> dict[str, Any]:
    text = input_text(example)
    return {
        "file": example.source.file,
        "line": example.source.line,
        "votes": list(votes),
        "text": text[:_SHOWN_CHARS],
    }

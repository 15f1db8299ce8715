"""Rows that are almost the same: which words two texts share, whatever their order, found without comparing all pairs.

``changes`` of two texts is the larger word count less the words in common, a word counted as often as it stands in both:
a word swapped, added or taken out is one change, and order does not matter. ``similarity`` is one less the share of
changed words. Two texts are near at up to two changes where the longer has five words or more, at one where it has
three or four, at none below; and beyond 16 words at a similarity of 0.8 or more. A text without words is near nothing.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import numpy as np

from luthier.data.likeness import near_long, near_short
from luthier.data.likeness.near_links import Links, Pairs, allowed
from luthier.data.likeness.near_marks import SHORT_WORDS, Marker, Marks, words_of

__all__ = ["Marker", "Marks", "Pairs", "clusters", "is_near", "near_pairs", "similarity", "words_of"]


def similarity(one: str, two: str) -> float:
    """Return the share of words in common, of the longer text's: the plain definition, for two texts."""
    first, second = Counter(words_of(one)), Counter(words_of(two))
    longer = max(first.total(), second.total())
    return (first & second).total() / longer if longer else 0.0


def is_near(one: str, two: str) -> bool:
    """Whether two texts are near, by the plain definition."""
    longer = max(len(words_of(one)), len(words_of(two)))
    changes = longer - round(similarity(one, two) * longer)
    return changes <= int(allowed(np.array([longer]))[0])


def near_pairs(
    marks: Marks,
    *,
    sides: np.ndarray | None = None,
    text_of: Callable[[int], str],
    least: float = 0.0,
    budget: int | None = None,
) -> Pairs:
    """Link rows that are near each other; near-linear, whatever the data.

    Without ``sides`` each row is linked to the earliest row it is near to (j < i). With ``sides`` (int8: 0 train, 1
    valid, 2 test, 3 held-out file; a row below 0 takes no part) each row is linked to its most similar row of every
    higher side, one pair for each. Same or reordered words are always found, and up to two changes in texts of up to 20
    words; more changes and longer texts with high probability.

    Args:
        text_of: gives the text of a row again, as it was added; asked only for candidates of more than 20 words.
        least: leave out pairs less alike than this, which also saves time.
        budget: how many candidates among long texts may be looked at (default: 20 million, or 100 a row where that
            is more); beyond it, ``complete`` is False.
    """
    if sides is not None and len(sides) != len(marks):
        raise ValueError(f"{len(sides)} sides for {len(marks)} rows")
    links = Links(len(marks), sides)
    near_short.join(marks, links, least=least)
    budget = budget or max(20_000_000, 100 * len(marks))
    complete = near_long.join(marks, links, text_of=text_of, least=least, budget=budget)
    pairs = links.pairs(complete=complete)
    short = np.flatnonzero((marks.words[pairs.i] <= SHORT_WORDS) & (marks.words[pairs.j] <= SHORT_WORDS))
    pairs.similarity[short] = near_short.similarity_of(marks, pairs.i[short], pairs.j[short])
    return pairs


def clusters(pairs: Pairs, count: int) -> np.ndarray:
    """Return a component number for each of ``count`` rows: linked rows share one, a row alone has its own (int32)."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    graph = coo_array((np.ones(len(pairs), dtype=bool), (pairs.i, pairs.j)), shape=(count, count))
    return connected_components(graph, directed=False)[1]

"""Why a mistake was probably made: told from the train rows nearest to it in the tuned network, their labels and the row itself.

Influence by nearness in the last layer rather than by gradients: it needs one pass and can be read by a person (Hanawa et al. 2021,
https://arxiv.org/abs/2006.04528, compare such measures). A cause is a likely one, in the order in which a person can act on it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

# A train row's label looks wrong where at most this share of its own neighbours have it.
_ODD_SHARE = 0.25
# The test row's label looks wrong where at least so many of its neighbours speak for the model, and it is so sure.
_AGREE, _SURE = 0.8, 0.7
# Two labels are often confused where so many of the looked-at mistakes, and this share of them, are between the two.
_PAIR_ROWS, _PAIR_SHARE = 3, 0.05
_RARE_ROWS, _RARE_SHARE = 10, 0.2

# In the order in which they are asked; the first that holds is the cause, the others stand beside it.
CAUSES: dict[str, tuple[str, str]] = {
    "train label": ("A train row almost like it has a label that looks wrong",
                    "Look at the train row named first and correct its label in the data, then train again."),
    "test label": ("The test row's own label looks wrong",
                   "The model is sure and the nearest train rows agree with it. Let a person decide; a wrong test label costs a good model points."),
    "out of scope": ("The text is of none of the labels, and reads like one of them",
                     "Give more texts out of scope in data.out_of_scope, or a stricter answer.out_of_scope."),
    "declined": ("The text has a label, and the model says that it has none",
                 "Add train rows like it, or set answer.out_of_scope.keep higher."),
    "far": ("It is unlike anything learnt", "Add train rows of this kind; until then such texts are guesses."),
    "outvoted": ("All train rows near it have the other label, and none is close",
                 "Nothing like it was learnt under its own label: add train rows like it."),
    "rare": ("Its label has few train rows", "Add train rows of this label."),
    "near": ("A train row almost like it has the other label", "Say in words how the two labels differ, and check both rows against that."),
    "pair": ("Two labels that are often confused", "Settle how they differ, or join them if nobody needs the difference."),
    "cut": ("The text is longer than the model reads", "Set model.max_tokens higher, or put what decides at the start."),
    "slice": ("It lies in a part of the rows where the model is worse", "See the slices: add train rows of that part."),
    "other": ("No cause stands out", "Read it beside its nearest train rows."),
}  # fmt: skip

# Of scores some are said in other words; two labels that are confused are none of theirs.
OF_SCORES: dict[str, tuple[str, str]] = {
    "train label": ("A train row almost like it has a score that looks wrong",
                    "Look at the train row named first and correct its score in the data, then train again."),
    "test label": ("The test row's own score looks wrong",
                   "The train rows nearest to it agree with the model. Let a second person score it; a wrong test score costs a good model points."),
    "outvoted": ("All train rows near it were scored as the model says, and none is close",
                 "Nothing like it was learnt with its score: add train rows like it."),
    "rare": ("Few train rows have its score", "Add train rows that have it."),
    "near": ("A train row almost like it was scored as the model says", "Say in words what sets the two apart, and check both scores against that."),
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Near:
    """A train row near to a mistake: its place, how near (cosine), whose side its label takes, whether that label looks
    wrong, and ``meant``: whether it should then be the mistake's own label."""

    row: int
    cosine: float
    side: str | None
    odd: bool
    meant: bool = False


@dataclass(frozen=True, slots=True)
class Seen:
    """What is known of one mistake: its labels as pairs are counted, its neighbours, and marks that need no neighbours."""

    wanted: str
    given: str
    confidence: float
    near: Sequence[Near]
    train_rows: int
    outside: bool = False
    declined: bool = False
    cut: bool = False
    slices: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class Bounds:
    """``far``: rows that are right are hardly ever less near to a train row; ``usual``: half of them are nearer; ``close``: as near as
    near copies are; ``rare`` in train rows."""

    far: float
    usual: float
    close: float
    rare: float


def causes(mistakes: Sequence[Seen], bounds: Bounds) -> list[list[str]]:
    """Return the causes of each mistake, the first one first; `other` where there is none."""
    pairs = Counter(frozenset((m.wanted, m.given)) for m in mistakes if not (m.outside or m.declined))
    often = {pair for pair, n in pairs.items() if n >= max(_PAIR_ROWS, _PAIR_SHARE * len(mistakes))}
    return [_of_one(m, bounds, often) or ["other"] for m in mistakes]


def _of_one(seen: Seen, bounds: Bounds, often: set[frozenset[str]]) -> list[str]:
    nearest = seen.near[0] if seen.near else None
    for_model = sum(n.side == "model" for n in seen.near)
    for_label = sum(n.side == "label" for n in seen.near)
    far = nearest is not None and nearest.cosine < bounds.far
    # Neighbours that are no nearer than those of most rows speak of what was learnt, not of this row's label.
    usual = nearest is not None and nearest.cosine >= bounds.usual
    agree = bool(seen.near) and for_model >= _AGREE * len(seen.near) and for_label <= 0.1 * len(seen.near) and not (seen.declined or seen.outside)
    misled = nearest is not None and nearest.side == "model" and not far
    holds = {
        # A label that looks wrong misled only where the right one would have been this row's.
        "train label": misled and nearest is not None and nearest.odd and nearest.meant,
        "test label": agree and usual and seen.confidence >= _SURE,
        "out of scope": seen.outside,
        "declined": seen.declined,
        "far": far and not seen.outside,
        "outvoted": agree and not usual and not far,
        "rare": seen.train_rows < bounds.rare and not seen.outside,
        "near": misled and nearest is not None and nearest.cosine >= bounds.close and not nearest.odd,
        "pair": frozenset((seen.wanted, seen.given)) in often,
        "cut": seen.cut,
        "slice": bool(seen.slices),
    }  # fmt: skip
    return [name for name in CAUSES if holds.get(name)]


def odd(own: Any, neighbours: Sequence[Any]) -> Any:
    """Return what a train row's label should be where it looks wrong, else None.

    It does where hardly any of its nearest train rows have it, and most of them one other.
    """
    if len(neighbours) < 4:
        return None
    counts = Counter(neighbours)
    other, n = max(((label, n) for label, n in counts.items() if label != own), key=lambda p: p[1], default=(None, 0))
    return other if counts[own] <= _ODD_SHARE * len(neighbours) and n > 0.5 * len(neighbours) else None


def rare_bound(train_counts: Mapping[str, int]) -> float:
    """Return below how many train rows a label is rare: ten, or a fifth of what a label in the middle has."""
    there = sorted(train_counts.values())
    return max(_RARE_ROWS, _RARE_SHARE * there[len(there) // 2]) if there else 0.0


def grouped(rows: Sequence[Mapping[str, Any]], shown: int, words: Mapping[str, tuple[str, str]] = CAUSES) -> list[dict[str, Any]]:
    """Return the causes that occur, the commonest first: in words, what to do, how many rows, and some of them, the worst first."""
    found = []
    for name, (what, mend) in words.items():
        mine = [row for row in rows if row["cause"] == name]
        if mine:
            found.append({"cause": name, "what": what, "mend": mend, "rows": len(mine), "mistakes": mine[:shown]})
    return sorted(found, key=lambda g: (g["cause"] == "other", -int(g["rows"])))

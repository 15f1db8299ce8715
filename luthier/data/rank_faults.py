"""What makes rows of queries or users and items useless for ranking, and what should be known of them."""

from __future__ import annotations

import numpy as np

from luthier.base.errors import Fault
from luthier.data.catalogue import MOST_UNKNOWN, UNKNOWN_ITEM
from luthier.data.divide import Divided
from luthier.data.gather import Gathered
from luthier.spec.data import DataSection


def rank_faults(gathered: Gathered, divided: Divided, data: DataSection) -> list[Fault]:
    """Return why nothing could be ranked, or no ranking be judged."""
    board = gathered.board
    faults = _unknown(gathered, least=MOST_UNKNOWN)
    if board.owner.any() and data.split.by:
        what = "interactions are divided by time within each user, so no column can keep rows together."
        faults.append(
            Fault(what, "data.split.by", "Leave it out; to test on users never seen, give them as data.test.")
        )
    train, test = divided.of("train"), divided.of("test")
    for side, rows in (("train", train), ("test", test)):
        if len(rows) and not (board.gain[rows] > 0).any():
            what = f"no {side} row is relevant: the relevance of all {len(rows)} is 0."
            mend = "See data.columns.relevance and data.min_relevance."
            faults.append(Fault(what, str(board.place(int(rows[0]))), mend))
    liked = train[board.gain[train] > 0]
    if len(liked) and len(np.unique(board.target[liked])) < 2:
        what = "all relevant train rows name the same item, so there is nothing to tell it apart from."
        faults.append(Fault(what, str(board.place(int(liked[0]))), "See data.columns.item."))
    return faults


def _unknown(gathered: Gathered, *, least: float) -> list[Fault]:
    count = gathered.dropped.counts[UNKNOWN_ITEM]
    if not count or count <= least * (len(gathered.board) + count):
        return []
    what = f"{count} rows name an item that data.items lacks; they are left out."
    mend = f"The first is {_first_unknown(gathered)}. See data.items.id and data.columns.item."
    return [Fault(what, str(gathered.dropped.first[UNKNOWN_ITEM]), mend)]


def _first_unknown(gathered: Gathered) -> str:
    return next(d.detail for d in gathered.dropped if d.reason == UNKNOWN_ITEM)


def rank_problems(gathered: Gathered, divided: Divided) -> list[Fault]:
    """Return what is told of the rows and stops nothing."""
    board = gathered.board
    told = _unknown(gathered, least=0.0)
    asked = np.where(board.owner != 0, board.owner, board.group)
    name = "users" if board.owner.any() else "queries"
    test = divided.of("test")
    wanted, found = np.unique(asked[test]), np.unique(asked[test][board.gain[test] > 0])
    lacking = np.setdiff1d(wanted, found)
    if len(lacking):
        first = test[np.isin(asked[test], lacking)][0]
        what = f"{len(lacking)} of {len(wanted)} {name} have no relevant test row and are not measured."
        told.append(Fault(what, str(board.place(int(first)))))
    if board.owner.any():
        rows = board.of("source")
        owners, first_of, counts = np.unique(board.owner[rows], return_index=True, return_counts=True)
        alone = counts == 1
        if alone.any():
            what = f"{int(alone.sum())} of {len(owners)} users have one row only: it is learnt from, and they are not tested on."
            told.append(Fault(what, str(board.place(int(rows[first_of[alone].min()])))))
        if np.isnan(board.moment[rows]).all():
            what = "no column says when, so the order of the file counts as the order in time."
            told.append(Fault(what, str(board.place(int(rows[0]))), "Name one in data.columns.time."))
    return told

"""What makes divided rows useless for training or for a verdict, and the leaks that stop a run."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

import numpy as np

from luthier.base.errors import Fault, did_you_mean
from luthier.data.divide import Divided
from luthier.data.gather import Gathered
from luthier.data.report import Prepared
from luthier.data.split import Side, shares_of, time_faults
from luthier.data.target_faults import TARGET_FAULTS
from luthier.spec.data import DataSection

_SHOWN_DROPS = 3
_SIDE = {"train": 0, "valid": 1, "test": 2}
_SHARED = {
    "exact": "by their text",
    "near": "by all words but a few",
    "group": "by {by}",
    "time": "by time",
    "item": "by a passage that they reuse",
    "held_out": "with data.held_out",
}


def faults_of(gathered: Gathered, divided: Divided, data: DataSection, objective: str) -> list[Fault]:
    """Return every reason why no model could be trained or judged on these rows."""
    faults: list[Fault] = []
    counts = {side: divided.count(side) for side in _SIDE}  # type: ignore[arg-type]
    shares = shares_of(data.split, has_test=data.test is not None, has_valid=data.valid is not None)
    if not any(counts.values()):
        return [_none_left("", "data.source", gathered, "Check data.columns.")]
    faults += time_faults(
        gathered.board.moment[gathered.board.of("source")], data.split, has_test=data.test is not None
    )
    if shares["train"] <= 0:
        faults.append(
            Fault("valid and test together leave nothing to train on.", "data.split", "Make them sum to less than 1.")
        )
    elif not counts["train"]:
        faults.append(_none_left("train", "data.source", gathered, "Give more rows."))
    if not counts["test"] and not faults:
        own = data.test is None
        mend = (
            "Give more rows, set data.split.test higher, or name a test file in data.test."
            if own
            else "Check its columns."
        )
        if own and data.split.by:
            mend += f" All rows of one {data.split.by} stay together: are there several?"
        if own and data.split.test_from:
            mend = f"No row is as new as data.split.test_from ({data.split.test_from})."
        faults.append(_none_left("test", "data.split.test" if own else "data.test", gathered, mend))
    if objective == "classify" and counts["train"]:
        faults += _label_faults(gathered, divided, data)
    if objective in TARGET_FAULTS and counts["train"]:
        faults += TARGET_FAULTS[objective](gathered, divided, data)
    return faults


def _none_left(side: str, where: str, gathered: Gathered, mend: str) -> Fault:
    left_out = gathered.dropped.counts.most_common(_SHOWN_DROPS)
    first = gathered.dropped.first
    shown = ", ".join(f"{n} dropped for {reason} (first: {first[reason]})" for reason, n in left_out)
    return Fault(f"no {side} rows are left".replace("  ", " ") + (f": {shown}." if shown else "."), where, mend)


def _labels_on(gathered: Gathered, divided: Divided, side: Side) -> Counter[str]:
    board = gathered.board
    numbers, counts = np.unique(board.label[divided.of(side)], return_counts=True)
    return Counter({board.labels[n]: int(c) for n, c in zip(numbers, counts, strict=True)})


def _label_faults(gathered: Gathered, divided: Divided, data: DataSection) -> list[Fault]:
    faults: list[Fault] = []
    board = gathered.board
    known = _labels_on(gathered, divided, "train")
    if len(known) == 1:
        mend = "A classifier needs two labels at least: check data.columns.label."
        place = str(board.place(int(divided.of("train")[0])))
        faults.append(Fault(f'every train row has the label "{next(iter(known))}".', place, mend))
    official: tuple[Side, ...] = tuple(s for s in ("test", "valid") if getattr(data, s) is not None)
    # A label that the source has and the division put elsewhere is bad luck, told as a warning.
    own = {label for s in ("valid", "test") if s not in official for label in _labels_on(gathered, divided, s)}
    for side in official:
        count = _labels_on(gathered, divided, side)
        rows = divided.of(side)
        for label in sorted(count.keys() - known.keys() - own - ({data.out_of_scope.label} if data.out_of_scope else set())):
            first = rows[board.label[rows] == board.labels.index(label)][0]
            what = f'label "{label}" ({count[label]} rows of data.{side}) is never in train, so it can never be right.'
            mend = did_you_mean(label, known) or "Add train rows of it, or leave these rows out."
            faults.append(Fault(what, str(board.place(int(first))), mend))
    return faults


def stops(prepared: Prepared, data: DataSection) -> list[Fault]:
    """Return the leaks that stop a run under ``data.leaks: stop``: one fault with the counts, then the places."""
    found = {kind: n for kind, n in prepared.report.stopping.items() if n}
    if data.leaks != "stop" or not found:
        return []
    parts = [f"{n} {_SHARED[kind].format(by=data.split.by or 'their query')}" for kind, n in found.items()]
    mend = "Set data.leaks: fix to leave out the train side, or allow to go on and have it told in the report."
    if "item" in found and data.split.by is None:
        mend += " If a column says which item a row is made of, name it in data.split.by."
    faults = [Fault(f"rows are shared between splits: {', '.join(parts)}.", "data.leaks", mend)]
    for leak in prepared.report.leak_examples:
        if leak["stops"]:
            other = f"the {leak['other_side'].replace('_', '-')} row {leak['other_where']}"
            faults.append(Fault(f"this {leak['side']} row {_what_is_shared(leak)} {other}", leak["where"]))
    return faults


def _what_is_shared(leak: Mapping[str, Any]) -> str:
    text = str(leak["text"])[:60]
    kinds = {
        "group": f'shares its group "{leak["group"]}" with',
        "near": f'is almost the same ("{text}") as',
        "time": "is as new as",
        "item": f'is made of the same passage ("{str(leak["passage"])[:60]}") as',
        "held_out": f'shares its text "{text}" with',
    }
    return kinds.get(str(leak["kind"]), f'shares its text "{text}" with')

"""Rows that have none of the labels: read under one label of their own, never learnt, kept to say when a model should decline."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TypeVar

import numpy as np

from luthier.base.errors import Fault
from luthier.base.records import Example
from luthier.base.seeds import stable_hash
from luthier.data.report import Prepared
from luthier.data.rows import Lines
from luthier.spec.data import DataSection

# As what files of such rows are read.
ROLE = "out_of_scope"
Found = TypeVar("Found")


def labelled(found: Found, label: str) -> Found | Example:
    """Return a row of such a file under the label of all such rows; what was dropped stays so."""
    if not isinstance(found, Example):
        return found
    return replace(found, target=label, id=stable_hash([found.inputs, label]))


def set_aside(prepared: Prepared, data: DataSection) -> Prepared:
    """Return the data without such rows on the train and validation side; they are ``outside``, and no label of theirs is known.

    On the test side they stay: there they are measured.
    """
    return prepared if data.out_of_scope is None else without(prepared, data.out_of_scope.label)


def without(prepared: Prepared, label: str) -> Prepared:
    """Return the data with the train and validation rows of one label ``outside``."""
    train, of_train = _parted(prepared.train, label)
    valid, of_valid = _parted(prepared.valid, label)
    return replace(
        prepared, train=train, valid=valid, outside=[*of_train, *of_valid], labels=tuple(x for x in prepared.labels if x != label)
    )


def _parted(rows: Sequence[Example], label: str) -> tuple[Sequence[Example], list[Example]]:
    """Return the rows of other labels, on disk as before, and those of this one."""
    places = [i for i, row in enumerate(rows) if row.target == label]
    if not places:
        return rows, []
    apart = [rows[i] for i in places]
    kept = np.setdiff1d(np.arange(len(rows)), places)
    return rows.take(kept) if isinstance(rows, Lines) else [rows[int(i)] for i in kept], apart


def faults(data: DataSection, objective: str) -> list[Fault]:
    """Return what is wrong with naming such rows, before any is read."""
    if data.out_of_scope is not None and objective != "classify":
        what = f"`{objective}` has no labels that a row could have none of"
        return [Fault(what, "data.out_of_scope", "Take the section away.")]
    return []


def row_faults(prepared: Prepared, data: DataSection) -> list[Fault]:
    """Return a fault where such rows are named and none is there; and where they are there and no label is left beside them."""
    if data.out_of_scope is None:
        return []
    found = prepared.report.labels.get(data.out_of_scope.label)
    if found is None:
        mend = "Check data.out_of_scope.label, or name a file of such rows in data.out_of_scope.source."
        return [Fault(f'no row has the label "{data.out_of_scope.label}"', "data.out_of_scope", mend)]
    if len(prepared.labels) < 2:
        return [Fault("fewer than two labels are left beside those rows", "data.out_of_scope", "A classifier needs two labels at least.")]
    return []

"""What should be known before training and stops nothing: each with its place and what to do."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from luthier.base.errors import Fault
from luthier.data.board import Board
from luthier.data.dedupe import DUPLICATE, OTHER_ANSWER, OTHER_LABEL, normalise
from luthier.data.findings import Closer
from luthier.data.gather import Gathered
from luthier.data.leaks import Leak, Leaks
from luthier.data.split import Side
from luthier.spec.data import DataSection

_FEW_TRAIN_ROWS = 10
_FEW_TEST_ROWS = 50
_IMBALANCE = 20
_SAME_START_CHARS = 20
_NAMED = 8
# Below this share of rows, the hint that a cleaning step would change something helps nobody.
_HINT_SHARE = 0.01
Table = Mapping[str, Mapping[str, int]]


def problems(
    gathered: Gathered, splits: Mapping[str, int], found: Leaks, closer: Closer, data: DataSection, objective: str
) -> list[Fault]:
    """Return every warning, the gravest first."""
    official = data.test is not None
    told = [*gathered.notes, *_of_leaks(found, gathered.board, data.leaks)]
    told += [*_sizes(splits, official), *_repeated(gathered, splits, closer), *_same_start(closer)]
    if table := closer.label_table():
        told += [*_label_counts(table, official), *_label_names(table, closer), *_label_errors(closer)]
        told += [Fault(g["what"], g["where"], g["mend"]) for g in closer.findings.get("giveaways", [])]
    return [*told, *_hints(closer, splits), *_personal(closer)]


def _names(words: Iterable[str]) -> str:
    words = list(words)
    return ", ".join(f'"{w}"' for w in words[:_NAMED]) + (
        f" and {len(words) - _NAMED} more" if len(words) > _NAMED else ""
    )


def _sizes(splits: Mapping[str, int], official_test: bool) -> list[Fault]:
    found = []
    if not splits["valid"]:
        found.append(
            Fault("there are no validation rows, so training cannot stop early.", "data.split.valid", "Set it to 0.1.")
        )
    if 0 < splits["test"] < _FEW_TEST_ROWS:
        what = f"only {splits['test']} test rows: the intervals of every score will be wide."
        found.append(Fault(what, "data.test" if official_test else "data.split.test", "Label more rows."))
    return found


def _repeated(gathered: Gathered, splits: Mapping[str, int], closer: Closer) -> list[Fault]:
    found = []
    dropped = gathered.dropped
    conflicting = dropped.counts[OTHER_LABEL] + dropped.counts[OTHER_ANSWER]
    if conflicting:
        kind = "label" if closer.is_text else "answer"
        first = next(d for d in dropped if d.reason in (OTHER_LABEL, OTHER_ANSWER))
        what = f"inputs told again with another {kind}: {conflicting}, of which the first is kept."
        found.append(Fault(what, str(first.source), f"Here: {first.detail}."))
    rows = sum(splits.values())
    if dropped.counts[DUPLICATE] > rows:
        what = f"more rows are duplicates ({dropped.counts[DUPLICATE]}) than are left ({rows})."
        found.append(Fault(what, "", "Is this the right column?"))
    if closer.repeated:
        where, before = closer.repeated[0]
        what = f"rows that the test file holds again: {len(closer.repeated)}; they stay, because its rows are what is measured."
        found.append(Fault(what, where, f"This one repeats {before}."))
    return found


def _same_start(closer: Closer) -> list[Fault]:
    common = closer.common or ""
    if len(closer.train_chars) < 2 or len(common) < _SAME_START_CHARS:
        return []
    if len(common) < statistics.median(closer.train_chars) / 2:
        return []
    what = f'all texts start alike: "{common[:60]}".'
    return [Fault(what, closer.firsts["train"], "Words that every row shares teach nothing and cost time.")]


def _label_counts(table: Table, official_test: bool) -> list[Fault]:
    found = []
    unseen = [label for label, n in table.items() if not n["train"]]
    if unseen:
        what = f"no train rows, only valid or test rows, of {_names(unseen)}."
        found.append(Fault(what, "data", "Label more rows of it, or leave the label out."))
    few = [label for label, n in table.items() if 0 < n["train"] < _FEW_TRAIN_ROWS]
    if few:
        what = f"fewer than {_FEW_TRAIN_ROWS} train rows of {_names(few)}."
        found.append(Fault(what, "data", "Label more rows of it: what is learnt from so few is luck."))
    untested = [label for label, n in table.items() if n["train"] and not n["test"]]
    tested = [label for label, n in table.items() if n["test"]]
    place = "data.test" if official_test else "data.split.test"
    if len(tested) == 1 and untested:
        what = f"all {table[tested[0]]['test']} test rows have one label, {_names(tested)}: no score tells a good model from one that always says it."
        found.append(Fault(what, place, "Give test rows of the other labels."))
    elif untested:
        found.append(Fault(f"no test rows of {_names(untested)}, so nothing is known of it afterwards.", place))
    sizes = {label: n["train"] for label, n in table.items() if n["train"]}
    if len(sizes) > 1:
        most, least = max(sizes, key=lambda k: sizes[k]), min(sizes, key=lambda k: sizes[k])
        if sizes[most] >= _IMBALANCE * sizes[least]:
            what = f'"{most}" has {sizes[most]} train rows and "{least}" has {sizes[least]}.'
            mend = "Accuracy says little here: set bars on macro_f1 and on the recall of rare labels; data.balance: auto tries weights."
            found.append(Fault(what, "data", mend))
    return found


def _label_names(table: Table, closer: Closer) -> list[Fault]:
    found = []
    alike: dict[str, list[str]] = {}
    for label in table:
        alike.setdefault(normalise(label.replace("_", " ").replace("-", " ")), []).append(label)
    for names in alike.values():
        if len(names) > 1:
            # The rarest spelling is the likely slip, so its place is named.
            rare = min(names, key=lambda n: sum(table[n].values()))
            what = f"labels that differ only in how they are written: {_names(names)}."
            found.append(Fault(what, closer.firsts[f"label {rare}"], "Did you mean to merge them?"))
    rows = sum(sum(n.values()) for n in table.values())
    if len(table) > max(20, rows // 2):
        what = f"{len(table)} different labels in {rows} rows."
        mend = "Is this column really a label, or were text and label swapped?"
        found.append(Fault(what, "data.columns.label", mend))
    return found


def _label_errors(closer: Closer) -> list[Fault]:
    found: Mapping[str, Any] = closer.findings.get("label_errors") or {}
    if not found.get("count"):
        return []
    first = found["rows"][0]
    what = f"probable label errors: {found['count']} train rows ({found['share']:.1%})."
    mend = f'The likeliest: "{first["label"]}" here, "{first["suggested"]}" by the other rows. `luthier check --out DIR` lists them.'
    return [Fault(what, f"{first['file']}:{first['line']}", mend)]


_ADVICE = {
    "html": "hold HTML", "whitespace": "hold odd white space", "boilerplate": "hold signatures or quoted mail", "encoding": "look wrongly decoded",
}  # fmt: skip


def _hints(closer: Closer, splits: Mapping[str, int]) -> list[Fault]:
    least = max(1, _HINT_SHARE * sum(splits.values()))
    return [
        Fault(f"about {hint['rows']} texts {_ADVICE.get(hint['step'], hint['step'])}.", f"data.clean.{hint['step']}", "Set it to true to clean them.")
        for hint in closer.findings.get("hints", [])
        if hint["rows"] >= least
    ]  # fmt: skip


def _personal(closer: Closer) -> list[Fault]:
    if not closer.personal:
        return []
    shown = ", ".join(f"{n} {kind}" for kind, n in sorted(closer.personal.items()))
    mend = "A model can repeat what it read: data.personal: mask replaces it."
    return [Fault(f"personal data in the texts: {shown}.", closer.firsts["personal"], mend)]


def _of_leaks(found: Leaks, board: Board, policy: str) -> list[Fault]:
    """Return warnings for leaks that do not stop a run, and for all of them under ``leaks: allow``."""
    told = []
    for kind, words in _TOLD.items():
        leaks = [leak for leak in found.of(kind) if policy == "allow" or not leak.stops]  # type: ignore[arg-type]
        if leaks:
            told.append(_leak_warning(f"{words}{' (data.leaks: allow)' if leaks[0].stops else ''}", leaks, board))
    if not found.complete:
        what = "the search for near duplicates was cut short: too many texts are alike."
        told.append(Fault(what, "data", "The number of near leaks is a lower bound."))
    return told


_TOLD = {
    "exact": "rows whose text stands in another split too",
    "group": "rows whose group stands in another split too",
    "time": "rows as new as the test rows",
    "held_out": "rows whose text stands in data.held_out",
    "item": "rows made of a passage that rows of another split are made of too",
    "near": "rows one or two words away from a row of another split",
    "semantic": "rows that mean the same as a row of another split",
}


def _leak_warning(what: str, leaks: Sequence[Leak], board: Board) -> Fault:
    leak = leaks[0]
    sides: tuple[Side, ...] = ("train", "valid", "test")
    other = "data.held_out" if leak.other_side >= len(sides) else sides[leak.other_side]
    mend = f"The first is this {sides[leak.side]} row; its like in {other} is at {board.place(leak.other)}."
    return Fault(f"{what}: {len(leaks)}; scores will look better than they are.", str(board.place(leak.row)), mend)

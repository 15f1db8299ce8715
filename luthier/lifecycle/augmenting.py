"""The train rows as they are learnt from: varied and balanced where it is asked for, and `auto` only where it is measured."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

import luthier
from luthier.base.errors import BundleError, Fault, TaskError
from luthier.base.events import Emit
from luthier.base.files import new_folder, read_json, verify_manifest, write_json, write_manifest
from luthier.base.inputs import is_labelled
from luthier.base.records import Example
from luthier.base.seeds import stable_fraction, stable_hash
from luthier.data import augment
from luthier.data.augment import Chained, Clashes, Counts, Varier
from luthier.data.augment.balance import Balance, Kind, balanced
from luthier.data.personal import find
from luthier.data.rows import open_lines, spool_examples, write_lines
from luthier.evaluate import metrics as measures
from luthier.lifecycle.augment_gate import Decision, Embed, Floats, Proxy, decide
from luthier.spec.augment import Way
from luthier.spec.task import Task

__all__ = ["Decision", "Proxy", "decide", "extend", "faults"]

MAX_JUDGED = 5000
# Vectors cost 4 ms each on two cores; with many ways and copies fewer rows are judged.
_MAX_TEXTS = 20_000
_MIN_JUDGED = 500
_BALANCES: tuple[Kind, ...] = ("weights", "resample")


@dataclass(frozen=True, slots=True)
class _Look:
    """What one pass over the train rows tells: label counts, the rows to judge, hashes of inputs, and of it all."""

    counts: Mapping[str, int]
    order_N: NDArray[np.int64]
    hashes_N: NDArray[np.uint64]
    digest: str


def faults(task: Task) -> list[Fault]:
    """Return what keeps ``data.augment`` and ``data.balance`` from being done."""
    found = augment.faults(task.data.augment, task.task.objective)
    if task.data.balance != "none" and task.task.objective != "classify":
        what = f"{task.task.objective} has no labels to balance"
        found.append(Fault(what, "data.balance", "Set it to none."))
    return found


def extend(
    train: Sequence[Example], *, task: Task, clashes: Clashes, folder: Path, emit: Emit, base_folder: Path,
    embed: Embed | None = None,
) -> tuple[Sequence[Example], Balance | None, dict[str, Any]]:  # fmt: skip
    """Return the train rows with the new ones that are kept, the balance that is kept, and the record of both.

    What was made is kept in ``folder/augmented``, so that a resumed run learns from the same rows; an endpoint's answers
    are kept in ``folder/endpoint``. ``record`` has ``augment`` and ``balance`` where each was asked for, and then a
    ``fingerprint`` of the result; it is empty where neither was.

    Args:
        clashes: tells which rows have the text of a valid or test row.
        base_folder: where relative paths of the task file start.
        embed: makes sentence vectors; default: the task's base where it is an encoder, else the embedded model.
    Raises:
        TaskError: settings that cannot be done, or a refused key.
        ModelError: the masked language model cannot be used.
        DataError: the endpoint does not answer.
    """
    if found := faults(task):
        raise TaskError.of(found)
    data = task.data
    if data.augment.when == "off" and data.balance == "none":
        return train, None, {}
    look = _look(train, task.data.augment.seed)
    metric = "macro_f1" if task.train.metric == "auto" else task.train.metric
    settings = [luthier.__version__, data.augment.model_dump(mode="json"), data.balance, metric, data.personal,
                task.model.model_dump(mode="json"), look.digest]  # fmt: skip
    name, kept = stable_hash(settings), folder / "augmented"
    result = _read(kept, name)
    if result is None:
        made = _Making(train, look, task, clashes, folder, emit, base_folder, metric, embed)
        result = made.write(kept, name)
    new, balance, record = result
    for kind in ("augment", "balance"):
        if kind in record:
            emit(kind, **record[kind])
    return (Chained(train, new) if len(new) else train), balance, record


class _Making:
    """The work of :func:`extend`, once per run."""

    def __init__(
        self, train: Sequence[Example], look: _Look, task: Task, clashes: Clashes, folder: Path, emit: Emit,
        base_folder: Path, metric: str, embed: Embed | None,
    ) -> None:  # fmt: skip
        self.train, self.look, self.task, self.clashes, self.emit = train, look, task, clashes, emit
        self.base_folder, self.metric, self._embed = base_folder, metric, embed
        self.settings = task.data.augment
        self.varier = Varier(self.settings, folder=folder / "endpoint", base_folder=base_folder)

    def write(self, folder: Path, name: str) -> tuple[Sequence[Example], Balance | None, dict[str, Any]]:
        """Make rows and balance, write them whole, and return them as they are read back."""
        with new_folder(folder) as building:
            rows, counts, record = spool_examples(), Counter(self.look.counts), {}
            proxy = self._proxy() if "auto" in (self.settings.when, self.task.data.balance) else None
            judged: list[Example] = []
            if self.settings.when != "off":
                decision, judged = self._augment(proxy)
                made = Counts()
                for example in self._new(self.train, decision.chosen, made):
                    rows.add(example)
                    counts[str(example.target)] += is_labelled(example)
                record["augment"] = replace(
                    decision, rows_added=len(rows), by_way=dict(made.made), left_out=dict(made.left_out or decision.left_out),
                    endpoint=self.varier.usage(),
                ).as_dict()  # fmt: skip
            balance = None
            if self.task.data.balance != "none":
                decision, balance = self._balance(proxy, judged, counts)
                record["balance"] = {**decision.as_dict(), "by_label": balance.as_dict()["by_label"] if balance else {}}
            write_lines(building / "rows.jsonl", rows.lines() if len(rows) else (), Example.as_dict)
            facts = {"name": name, "record": record, "balance": None if balance is None else
                     {"kind": balance.kind, "by_label": dict(balance.by_label)}}  # fmt: skip
            write_json(building / "record.json", facts)
            write_manifest(building)
        found = _read(folder, name)
        assert found is not None, "what was just written reads back"
        return found

    def _proxy(self) -> Proxy:
        """Return the proxy on a stable sample of the train rows: adding rows hardly changes who is judged."""
        ways = self.settings.ways if self.settings.when == "auto" else []
        per_row = 1 + len(ways) * self.settings.copies
        count = min(MAX_JUDGED, max(_MIN_JUDGED, _MAX_TEXTS // per_row), len(self.train))
        rows = [self.train[int(i)] for i in np.sort(self.look.order_N[:count])]
        return Proxy(rows, embed=self._embed or embedder(self.task, self.base_folder), metric=self._checked(rows))

    def _checked(self, rows: Sequence[Example]) -> str:
        """Return the metric, or the usual one where the rows have no such label."""
        labels = sorted({str(e.target) for e in rows})
        return "macro_f1" if measures.check_metric(self.metric, "classify", labels) else self.metric

    def _augment(self, proxy: Proxy | None) -> tuple[Decision, list[Example]]:
        """Return the decision, and the new rows of the judged rows that it keeps."""
        if any(way in augment.ASKED for way in self.settings.ways):
            self._warn_of_personal()
        if self.settings.when == "on" or proxy is None:
            every = tuple(self.settings.ways)
            why = f"{' and '.join(every)} asked for with `on`, so nothing was measured"
            rows = list(self._new(proxy.rows, every, Counts())) if proxy else []
            return Decision("on", True, why, every), rows
        if proxy.too_few:
            return decide("auto", proxy, np.zeros((0, 0)), {}), []
        counts = Counts()
        new: dict[str, list[Example]] = {way: list(self._new(proxy.rows, (way,), counts)) for way in self.settings.ways}
        sets = {way: rows for way, rows in new.items() if rows}
        if len(sets) > 1:
            sets["+".join(sets)] = [e for rows in sets.values() for e in rows]
        after: dict[str, Floats] = {name: proxy.predict(added=proxy.add(rows)) for name, rows in sets.items()}
        decision = replace(decide("auto", proxy, proxy.predict(), after), left_out=dict(counts.left_out))
        return decision, [e for way in decision.chosen for e in new[way]]

    def _new(self, rows: Sequence[Example], ways: Sequence[str], counts: Counts) -> Iterator[Example]:
        for way in ways:
            chosen: Way = next(w for w in self.settings.ways if w == way)
            yield from self.varier.rows(rows, chosen, known=self.look.hashes_N, clashes=self.clashes, counts=counts)

    def _balance(
        self, proxy: Proxy | None, judged: Sequence[Example], counts: Mapping[str, int]
    ) -> tuple[Decision, Balance | None]:
        """Return the decision and the balance kept, judged with the new rows that are kept too."""
        asked: Literal["none", "auto", "weights", "resample"] = self.task.data.balance
        if asked == "weights" or asked == "resample":
            why = f"{asked} asked for, so nothing was measured"
            return Decision(asked, True, why, (asked,)), balanced(asked, counts)
        assert proxy is not None, "auto is measured"
        if len(set(counts.values())) == 1:
            return Decision("auto", False, "all labels have equally many rows; nothing is changed"), None
        if proxy.too_few:
            return decide("auto", proxy, np.zeros((0, 0)), {}), None
        added = proxy.add(judged) if judged else None
        after: dict[str, Floats] = {kind: proxy.predict(added=added, balance=kind) for kind in _BALANCES}
        decision = decide("auto", proxy, proxy.predict(added=added), after)
        kind = next((k for k in _BALANCES if k in decision.chosen), None)
        return decision, balanced(kind, counts) if kind else None

    def _warn_of_personal(self) -> None:
        if self.task.data.personal == "mask":
            return
        if (first := next((e for e in self.train if find(augment.text_of(e))), None)) is not None:
            self.emit("warning", text=f"{first.source}: personal data goes to {self.settings.endpoint} as it is; "
                                      "data.personal: mask replaces it before.")  # fmt: skip


def embedder(task: Task, base_folder: Path) -> Embed:
    """Return what makes vectors of texts, opened when it is first used: the task's base where it is an encoder."""

    def embed(texts: Sequence[str]) -> NDArray[np.float32]:
        if not opened:
            from luthier.models import catalogue
            from luthier.models.embed import MAX_TOKENS, Embedder
            from luthier.models.load import open_base

            found = catalogue.find(task.base, folder=base_folder, revision=task.model.revision)
            base = open_base(found)
            is_embedded = task.base == catalogue.EMBEDDED or base.decodes
            name = catalogue.EMBEDDED if is_embedded else str(found.folder.resolve())
            opened.append(Embedder(name, max_tokens=min(MAX_TOKENS, base.max_tokens)))
        vectors: NDArray[np.float32] = opened[0].embed(texts)
        return vectors

    opened: list[Any] = []
    return embed


def _look(train: Sequence[Example], seed: int) -> _Look:
    counts: Counter[str] = Counter()
    fractions, hashes = np.empty(len(train)), np.empty(len(train), dtype=np.uint64)
    digest = hashlib.blake2b(digest_size=16)
    for i, example in enumerate(train):
        if is_labelled(example):  # answers are not classes
            counts[str(example.target)] += 1
        fractions[i] = stable_fraction(f"judged\x1f{example.id}", seed=seed)
        hashes[i] = augment.hash_of(example)
        digest.update(f"{example.id}\n".encode("utf-8", "surrogatepass"))
    return _Look(counts, np.argsort(fractions, kind="stable"), np.sort(hashes), digest.hexdigest())


def _read(folder: Path, name: str) -> tuple[Sequence[Example], Balance | None, dict[str, Any]] | None:
    """Return what an earlier start of this run made of the same rows with the same settings, if it is whole."""
    with suppress(BundleError):
        manifest = verify_manifest(folder) if folder.is_dir() else None
        if manifest and (facts := read_json(folder / "record.json"))["name"] == name:
            balance = Balance(**facts["balance"]) if facts["balance"] else None
            record = {**facts["record"], "fingerprint": stable_hash(manifest["files"])}
            return open_lines(folder / "rows.jsonl", Example.from_dict), balance, record
    return None

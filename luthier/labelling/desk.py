"""The desk that people label at: who is shown which row, what they said, and what is known so far. All threads may call it."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from luthier.base.errors import LuthierError, did_you_mean
from luthier.data.sources.labelled import ANSWERS, Event, majority, standing, votes_of
from luthier.labelling.estimate import Accuracy, Round, advise
from luthier.labelling.pool import Item, Pool
from luthier.labelling.store import Store

LEASE_S = 600.0
CHANCE_EVERY = 5
MAX_LABEL_CHARS = 120
_SHOWN_GUESSES = 3

Answer = Literal["label", "unsure", "skip", "note"]
Order = Literal["learn", "random"]
Chosen = Literal["group", "doubt", "random", "second", "again"]


@dataclass(frozen=True, slots=True)
class Outlook:
    """What the model makes of the rows by now: probabilities by row and class, and the rows to ask about, best first."""

    classes: tuple[str, ...] = ()
    probability_NC: np.ndarray | None = None
    queue: tuple[int, ...] = ()
    chosen: Chosen = "random"


@dataclass(frozen=True, slots=True)
class Reading:
    """How far the texts are read: by ``words`` or by the ``embedded`` model, ``done`` of ``of``, and what went wrong."""

    vectors: str = "none"
    done: int = 0
    of: int = 0
    problem: str = ""


@dataclass(frozen=True, slots=True)
class Asked:
    """A row shown to a person; ``guesses`` are the likeliest labels with their probabilities, best first."""

    item: Item
    chosen: Chosen
    guesses: tuple[tuple[str, float], ...] = ()
    others: int = 0


@dataclass(frozen=True, slots=True)
class Labelled:
    """What people said by now, as the model learns from it: (row number, label) in the order of the first answer.

    ``by_chance`` are the numbers of those rows that no model had a part in choosing.
    """

    rows: tuple[tuple[int, str], ...]
    version: int
    by_chance: frozenset[int] = frozenset()


class Desk:
    """Holds the rows, the log and the labels; hands rows out so that no two people get the same one at a time."""

    def __init__(
        self,
        pool: Pool,
        store: Store,
        *,
        labels: Sequence[str] = (),
        votes: int = 1,
        blind: bool = False,
        order: Order = "learn",
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Take up the work where the log ends.

        Args:
            labels: names to choose from, besides those of the source and of the log.
            votes: how many people each row is shown to.
            blind: show no suggestions, so that nobody leans on them.
            order: ``random`` asks by chance, as rows to test on must be.
        """
        self.pool, self.store, self.votes, self.blind, self.order = pool, store, votes, blind, order
        self._clock = clock
        self._lock = threading.RLock()
        self._work = threading.Condition(self._lock)
        self._text, self._label = store.columns["text"], store.columns["label"]
        self.items: list[Item] = [*pool.items]
        self._number = {item.id: i for i, item in enumerate(self.items)}
        self._leases: dict[str, dict[str, float]] = {}
        self._why: dict[str, Chosen] = {}
        self._given = standing(store.events)
        self._adopt()
        self.known: tuple[Item, ...] = tuple(i for i in pool.known if i.id not in self._number)
        said = [e[self._label] for e in store.events if e["kind"] in ("label", "add") and e.get(self._label)]
        self._labels = list(dict.fromkeys([*labels, *sorted(pool.labels), *said]))
        self.rounds = [_round(e) for e in store.events if e["kind"] == "round"]
        self._outlook, self._reading = Outlook(), Reading()
        self._version, self._closed, self._dealt = 1, False, 0

    def _adopt(self) -> None:
        """Take in rows that were answered and are not in the sample now, so that what was said of them still counts."""
        for event in self.store.events:
            if event["kind"] in ANSWERS and event["id"] not in self._number:
                self._number[event["id"]] = len(self.items)
                self.items.append(Item(event["id"], event[self._text], event.get("file", ""), event.get("line", 0)))

    # What people do

    def ask(self, by: str, session: str) -> Asked | None:
        """Return the next row for a person, the same one until it is answered; None where none is left."""
        with self._lock:
            held = [row for row, leases in self._leases.items() if session in leases]
            numbers = [self._number[row] for row in held]
            for number, chosen in [*((n, "again") for n in numbers), *self._candidates(by)]:
                if self._free(self.items[number].id, by, session, again=chosen == "again"):
                    self._dealt += chosen not in ("again", "second")
                    return self._show(number, chosen, session)  # type: ignore[arg-type]
            return None

    def say(
        self, by: str, session: str, row: str, kind: Answer, *, label: str | None = None, note: str = "",
        seconds: float | None = None, suggestion: str | None = None, probability: float | None = None, chosen: str = "",
    ) -> Event:  # fmt: skip
        """Write down what a person said of a row; it is on disk when this returns.

        Raises:
            LuthierError: no such row, or no such label.
            StorageError: it could not be written; nothing of it is kept.
        """
        with self._lock:
            item = self._item(row)
            if kind == "label" and label not in self._labels:
                mend = f"{did_you_mean(str(label), self._labels)} A new label is added first.".strip()
                raise LuthierError(f'there is no label "{label}"', where="label", mend=mend)
            facts = {
                "suggestion": suggestion, "probability": probability, "seconds": seconds, "chosen": chosen or None,
                "note": note or None, "session": session,
            }  # fmt: skip
            content = {self._text: item.text, self._label: label if kind == "label" else None}
            where = {"id": item.id, "file": item.file, "line": item.line}
            kept = {name: value for name, value in facts.items() if value is not None}
            event = self.store.append(kind, by=by, **where, **content, **dict(item.extra), **kept)
            if kind != "note":
                self._given.setdefault(row, {})[by] = event
                self._leases.get(row, {}).pop(session, None)
                self._changed()
            return event

    def take_back(self, by: str, session: str) -> Asked | None:
        """Undo a person's last answer and show that row again; None where there is nothing to undo.

        A person who labels in two browsers undoes what was said in this one.
        """
        with self._lock:
            mine = [people[by] for people in standing(self.store.events).values() if by in people]
            here = [e for e in mine if e.get("session") == session] or mine
            if not here:
                return None
            last = max(here, key=lambda e: e["n"])
            self.store.append("undo", by=by, id=last["id"], undoes=last["n"], session=session)
            self._given = standing(self.store.events)
            for leases in self._leases.values():
                leases.pop(session, None)
            self._changed()
            return self._show(self._number[last["id"]], last.get("chosen") or "again", session)

    def add_label(self, by: str, name: str) -> None:
        """Add a label to choose from. Raises LuthierError for one that exists or is no short printable text."""
        name = name.strip()
        with self._lock:
            if not name or not name.isprintable() or len(name) > MAX_LABEL_CHARS:
                what = f"a label is a printable text of at most {MAX_LABEL_CHARS} characters"
                raise LuthierError(what, where="label", mend="Choose another name.")
            same = [known for known in self._labels if known.casefold() == name.casefold()]
            if same:
                raise LuthierError(f'there is a label "{same[0]}" already', where="label", mend="Use that one.")
            self.store.append("add", by=by, **{self._label: name})
            self._labels.append(name)

    # What the worker in the background does

    def labelled(self, *, until: int | None = None) -> Labelled:
        """Return the labels that stand, several people's as their majority; ``until`` an event's number, as of then."""
        with self._lock:
            given = self._given if until is None else standing(self.store.events[: until - 1])
            rows = (
                (self._number[row], majority(votes_of(people, self._label).values())) for row, people in given.items()
            )
            chance = {
                self._number[row] for row, p in given.items() if any(e.get("chosen") == "random" for e in p.values())
            }
            kept = tuple((number, label) for number, label in rows if label is not None)
            return Labelled(kept, self._version, frozenset(chance))

    def await_change(self, version: int) -> bool:
        """Wait until something was said since ``version``; False where the desk closes."""
        with self._work:
            self._work.wait_for(lambda: self._closed or self._version != version)
            return not self._closed

    def publish(self, outlook: Outlook) -> None:
        with self._lock:
            self._outlook = outlook

    def note_reading(self, reading: Reading) -> bool:
        """Keep how far the texts are read; False where the desk closes."""
        with self._lock:
            again = reading.vectors != self._reading.vectors
            self._reading = reading
            if again:
                self._changed()
            return not self._closed

    def end_round(self, found: Round) -> None:
        with self._lock:
            self.store.append("round", by="luthier", **found.as_dict())
            self.rounds.append(found)

    @property
    def closed(self) -> bool:
        return self._closed

    def close(self) -> None:
        with self._work:
            self._closed = True
            self._work.notify_all()

    # What is known

    def labels(self) -> list[str]:
        with self._lock:
            return list(self._labels)

    def progress(self, by: str) -> dict[str, Any]:
        """Return counts, the course of accuracy, and the advice, for the page."""
        with self._lock:
            answers = [(person, e) for people in self._given.values() for person, e in people.items()]
            said = [(person, e) for person, e in answers if e["kind"] == "label"]
            suggested = [e for _, e in said if e.get("suggestion") is not None]
            counts = Counter(e[self._label] for _, e in said)
            advice = advise(self.rounds)
            return {
                "labelled": sum(any(e["kind"] == "label" for e in people.values()) for people in self._given.values()),
                "rows": len(self.items),
                "source_rows": self.pool.rows,
                "sampled": self.pool.sampled,
                "labels": [{"name": name, "count": counts[name], "known": self.pool.labels.get(name, 0)} for name in self._labels],
                "people": dict(Counter(person for person, _ in said)),
                "mine": sum(person == by for person, _ in said),
                "unsure": sum(e["kind"] == "unsure" for _, e in answers),
                "skipped": sum(e["kind"] == "skip" for _, e in answers),
                "agreed": sum(e["suggestion"] == e[self._label] for e in suggested),
                "suggested": len(suggested),
                "rounds": [r.as_dict() for r in self.rounds],
                "advice": {"stop": advice.stop, "changed": advice.changed, "gain": advice.gain, "reach": advice.reach},
                "reading": {"vectors": self._reading.vectors, "done": self._reading.done, "of": self._reading.of,
                            "problem": self._reading.problem},
                "notes": list(self.store.notes),
            }  # fmt: skip

    # Within

    def _changed(self) -> None:
        self._version += 1
        self._work.notify_all()

    def _item(self, row: str) -> Item:
        if row not in self._number:
            raise LuthierError("there is no such row here", where="id", mend="Load the page again.")
        return self.items[self._number[row]]

    def _candidates(self, by: str) -> Sequence[tuple[int, str]]:
        """Return rows in the order in which they should be asked about: second opinions, the queue, the rest, the skipped."""
        second = [self._number[row] for row, people in self._given.items() if self.votes > 1 and by not in people]
        mine = [
            (people[by]["n"], row)
            for row, people in self._given.items()
            if by in people and people[by]["kind"] == "skip"
        ]
        skipped = [self._number[row] for _, row in sorted(mine)]  # the one skipped longest ago comes first
        # Every fifth row is chosen by chance, once the groups are met: from these alone it can be told how right the model is.
        due = self._outlook.chosen == "doubt" and self._dealt % CHANCE_EVERY == CHANCE_EVERY - 1
        chosen = self._outlook.queue if self.order == "learn" and not due else ()
        lists: list[tuple[Sequence[int], str]] = [
            (second, "second"),
            (chosen, self._outlook.chosen),
            (range(len(self.items)), "random"),
        ]
        return _lazily([*lists, (skipped, "again")])

    def _free(self, row: str, by: str, session: str, *, again: bool) -> bool:
        people = self._given.get(row, {})
        mine = people.get(by)
        if mine is not None and not (again and mine["kind"] == "skip"):
            return False
        said = sum(e["kind"] != "skip" for e in people.values())
        now = self._clock()
        held = sum(until > now for other, until in self._leases.get(row, {}).items() if other != session)
        return said + held < self.votes

    def _show(self, number: int, chosen: Chosen, session: str) -> Asked:
        item = self.items[number]
        # A row that is shown again was chosen for the reason it was first chosen for.
        chosen = self._why.get(item.id, chosen) if chosen == "again" else chosen
        self._why[item.id] = chosen
        self._leases.setdefault(item.id, {})[session] = self._clock() + LEASE_S
        others = sum(e["kind"] == "label" for e in self._given.get(item.id, {}).values())
        look = self._outlook
        if self.blind or look.probability_NC is None or number >= len(look.probability_NC):
            return Asked(item, chosen, (), others)
        scores = look.probability_NC[number]
        best = np.argsort(-scores, kind="stable")[:_SHOWN_GUESSES]
        return Asked(item, chosen, tuple((look.classes[i], float(scores[i])) for i in best), others)


def _lazily(lists: Sequence[tuple[Sequence[int], str]]) -> Any:
    return ((number, chosen) for numbers, chosen in lists for number in numbers)


def _round(event: Mapping[str, Any]) -> Round:
    value, low, high = (event.get(key) for key in ("accuracy", "low", "high"))
    known = None if value is None or low is None or high is None else Accuracy(value, low, high, event["labelled"])
    return Round(event["labelled"], known, event.get("changed"))

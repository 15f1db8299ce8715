"""From a row or a question to tokens: the one renderer of queries, items and histories, for training and for answers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from luthier.base.records import Encoded, Example
from luthier.base.seeds import stable_fraction
from luthier.objectives.rank_known import HISTORY, NEGATIVE, RELEVANT, SEEN, Known, asker, gain_of
from luthier.prompts.encode import encode_text
from luthier.spec.rank import Rank


class RankRows:
    """Encodes rows of what is known; the tokens of an item are made once."""

    def __init__(self, known: Known, tokenizer: Any, max_tokens: int) -> None:
        self.known, self.tokenizer, self.max_tokens = known, tokenizer, max_tokens
        self.codes = {who: code for code, who in enumerate(known.relevant)}
        self._items: dict[int, Encoded] = {}

    def text(self, text: str) -> tuple[int, ...]:
        return encode_text(self.tokenizer, text, max_tokens=self.max_tokens).ids

    def item(self, number: int) -> Encoded:
        """Return the tokens of an item, with its number as label."""
        if number not in self._items:
            self._items[number] = Encoded(self.text(self.known.texts[number]), label=number)
        return self._items[number]

    def learnt(self, example: Example, settings: Rank) -> Encoded | None:
        """Encode a row with what is right for it: that item first, then known negatives of a query or a user's history.

        Of a question, whose target is all its items, the first stands for them. None where the item is not known.
        """
        target = example.target if isinstance(example.target, str) else next(iter(example.target), "")
        who, number = asker(example.inputs), self.known.find(target)
        if number is None:
            return None
        if "user" in example.inputs:
            past = self._past(example.inputs, who, number)[-settings.history :]
            rest, role = past, HISTORY
        else:
            rest, role = self._negatives(who, example.id, settings.negatives), NEGATIVE
        ids = self.text(str(example.inputs["query"])) if "query" in example.inputs else ()
        others = (self.item(number), *map(self.item, rest))
        return Encoded(ids, label=self.codes.get(who), values=(RELEVANT, *[role] * len(rest)), others=others)

    def _past(self, inputs: Mapping[str, Any], who: str, number: int) -> tuple[int, ...]:
        """Return what a user chose before the item that is to be found: never a later one."""
        if "history" in inputs:
            return tuple(n for item in inputs["history"] if (n := self.known.find(str(item))) is not None)
        all_ = self.known.relevant.get(who, ())
        return all_[: all_.index(number)] if number in all_ else all_

    def _negatives(self, who: str, row: str, count: int) -> tuple[int, ...]:
        there = self.known.negatives.get(who, ())
        return tuple(sorted(there, key=lambda n: stable_fraction(f"{row} {n}", seed=0))[:count])

    def asked(self, inputs: Mapping[str, Any]) -> Encoded:
        """Encode what items are wanted for: a query, a known user, or a history of items by id, name or text."""
        text = inputs.get("query", inputs.get("text"))
        if "history" in inputs:
            past = [str(item) for item in inputs["history"]]
            return self._history(past, [str(item) for item in inputs.get("seen", past)])
        if "user" not in inputs and not (self.known.users and text is not None):
            return Encoded(self.text(str(text or "")))
        who = str(inputs.get("user", text))
        did = self.known.histories.get(who)
        if did is None and "user" not in inputs:
            return self._history([who], [who])  # not a user: an item, by its name or its text
        ids = self.known.ids
        return self._history([ids[n] for n, gain in did or () if gain > 0], [ids[n] for n, _ in did or ()])

    def _history(self, past: Sequence[str], seen: Sequence[str]) -> Encoded:
        others, roles = [], []
        for item in past:
            number = self.known.find(item)
            # Known items have vectors already, so they carry no tokens.
            others.append(Encoded(() if number is not None else self.text(item), label=number))
            roles.append(HISTORY)
        for item in seen:
            if (number := self.known.find(item)) is not None:
                others.append(Encoded((), label=number))
                roles.append(SEEN)
        return Encoded((), values=(*roles,), others=(*others,))


def chosen_rows(examples: Sequence[Example], *, users: bool, per_user: int) -> list[Example]:
    """Return the rows to learn from: relevant ones, of users the newest that have something relevant before them."""
    of: dict[str, list[int]] = {}
    for number, example in enumerate(examples):
        if gain_of(example) > 0:
            of.setdefault(asker(example.inputs), []).append(number)
    kept = {number for rows in of.values() for number in (rows[1:][-per_user:] if users else rows)}
    return [example for number, example in enumerate(examples) if number in kept]


def past_of(row: Encoded) -> list[int]:
    """Return the numbers of the known items in a row's history, the latest last."""
    pairs = zip(row.others, row.values, strict=True)
    return [int(other.label) for other, role in pairs if role == HISTORY and other.label is not None]


def seen_of(row: Encoded) -> list[int]:
    """Return the numbers of the items that are not to be given again."""
    pairs = zip(row.others, row.values, strict=True)
    return [int(other.label) for other, role in pairs if role == SEEN and other.label is not None]

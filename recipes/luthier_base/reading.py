"""Conversations made by rule, whose answer stands in the question: a small model must be made to look at what it is asked."""

from __future__ import annotations

import random
import re
from collections.abc import Iterator
from typing import Any

# Of the texts, so many are asked about: as many conversations as the service dialogues give.
READ_SHARE = 0.5
_GAP = (
    "A sentence of this text was left out at [...]. Write it.",
    "What does this text say at [...]?",
    "Sum up the text in one sentence, which belongs at [...].",
)
Document = dict[str, Any]


def asked_about(documents: Iterator[tuple[bool, Document]]) -> Iterator[tuple[bool, Document]]:
    """Yield questions about some of these texts: a sentence said again, found by its place or by a word in it, or left out.

    What is left out is the sentence that says most of its text (Zhang et al. 2020, "PEGASUS", https://arxiv.org/abs/1912.08777,
    section 3.1).
    """
    rng = random.Random("what is asked about a text")
    for held, document in documents:
        if rng.random() >= READ_SHARE:
            continue
        said = sentences(document["text"])
        start = rng.randrange(max(1, len(said) - 4))
        said = said[start : start + rng.randint(3, 7)]
        if len(said) >= 3 and all(10 < len(s) < 350 for s in said) and len(set(said)) == len(said):
            asked, answer = _question(rng, said)
            yield held, {"messages": [{"role": "user", "content": asked}], "answer": answer, "source": "reading"}


def sentences(text: str) -> list[str]:
    """Return the sentences of a text, cut where a mark is followed by a space and a capital, but not after a title."""
    return [s.strip() for s in re.split(r"(?<=[.?!])(?<!Mr\.)(?<!Mrs\.)(?<!Dr\.)(?<!St\.)\s+(?=[A-Z\"'])", " ".join(text.split())) if s.strip()]


def _question(rng: random.Random, said: list[str]) -> tuple[str, str]:
    """Return a question about these sentences and its answer; half of them leave the principal sentence out."""
    text = " ".join(said)
    if rng.random() < 0.5:
        gone = principal(said)
        rest = " ".join("[...]" if number == gone else s for number, s in enumerate(said))
        return f"{rng.choice(_GAP)}\n\n{rest}", said[gone]
    place = rng.randrange(len(said))
    words = [w for w in re.findall(r"[A-Za-z]{5,}", said[place]) if len(re.findall(rf"\b{w}\b", text)) == 1]
    kinds: list[tuple[str, str]] = [
        ("Repeat this text word for word.", " ".join(said[:3])),
        ("What is the first sentence of this text?", said[0]),
        ("What is the last sentence of this text?", said[-1]),
        ("Give the first two sentences of this text.", " ".join(said[:2])),
        *([(f'Which sentence has the word "{rng.choice(words)}"?', said[place])] * 3 if words else []),
        (f'Go on from "{" ".join(said[place].split()[:4])}" as the text does.', " ".join(said[place].split()[4:]) or said[place]),
    ]
    asked, answer = rng.choice(kinds)
    if asked.startswith("Repeat"):
        text = " ".join(said[:3])
    return (f"{asked}\n\n{text}" if rng.random() < 0.7 else f"{text}\n\n{asked}"), answer


def principal(said: list[str]) -> int:
    """Return the number of the sentence that shares most words with the others: the mean of what it finds there and they in it."""
    bags = [set(re.findall(r"[a-z]{4,}", s.lower())) for s in said]

    def shared(number: int) -> float:
        others = set().union(*(bag for i, bag in enumerate(bags) if i != number))
        both = len(bags[number] & others)
        return 2 * both / max(1, len(bags[number]) + len(others))

    return max(range(len(said)), key=shared)


def repeats(rng: random.Random, words: list[str], texts: list[str]) -> Document:
    """Return a conversation that says again, and again, what was said: words without sense, or a piece of a text.

    What follows can be known from nothing but the first time, so attention learns to look there for what came next (Olsson et al.
    2022, "In-context learning and induction heads", https://arxiv.org/abs/2209.11895).
    """
    count = rng.randint(5, 32)
    found = rng.choices(words, k=count)
    if rng.random() < 0.3:
        told = rng.choice(texts).split()
        start = rng.randrange(max(1, len(told) - count))
        found = told[start : start + count]
    said = " ".join(found)
    again = [said] * max(1, round(70 / count))
    return {"messages": [{"role": "user", "content": said}], "answer": "\n".join(again), "source": "repeats"}

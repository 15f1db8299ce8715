"""Short ways to make examples and learners in tests."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

from luthier.base.records import Example, Source
from luthier.models.catalogue import find
from luthier.models.load import open_base
from luthier.objectives import OBJECTIVES, Learner
from luthier.spec.model import ModelSection
from luthier.spec.train import TrainSection
from luthier.train.defaults import resolve

TOPICS = {
    "delivery": ["parcel", "arrived", "where", "order", "the parcel has not arrived"],
    "billing": ["refund", "charged", "twice", "refund one order"],
    "account": ["password", "log in", "reset mail", "cannot log in"],
}


def labelled(count: int, *, seed: int = 0) -> list[Example]:
    """Return texts of two to twelve words that mostly tell their label."""
    rng = random.Random(seed)
    found = []
    for i in range(count):
        label = rng.choice(list(TOPICS))
        words = [rng.choice(TOPICS[label]) for _ in range(rng.randint(1, 4))] + [
            rng.choice(["please", "now", "the", "i", "my"])
        ]
        rng.shuffle(words)
        found.append(Example(f"e{i}", {"text": " ".join(words)}, label, Source("made.csv", i + 2)))
    return found


def tagged(count: int, *, seed: int = 0) -> list[Example]:
    """Return texts of words of no, one or several topics, with those topics as labels."""
    rng = random.Random(seed)
    found = []
    for i in range(count):
        labels = sorted(rng.sample(list(TOPICS), rng.choice([0, 1, 1, 2, 3])))
        words = [rng.choice(TOPICS[label]) for label in labels] + [rng.choice(["please", "now", "the", "i", "my"])]
        rng.shuffle(words)
        found.append(Example(f"t{i}", {"text": " ".join(words)}, labels, Source("made.csv", i + 2)))
    return found


def graded(count: int, *, seed: int = 0) -> list[Example]:
    """Return texts whose kind and length tell two scores; some were judged for one of them only, some are long."""
    rng = random.Random(seed)
    found = []
    for i in range(count):
        words = [
            rng.choice(TOPICS["delivery" if rng.random() < i / count else "account"]) for _ in range(rng.randint(1, 30))
        ]
        score = {"content": 1 + round(4 * i / count), "length": 1 + min(4, len(words) // 6) / 2}
        if i % 5 == 3:
            del score["length"]
        found.append(Example(f"s{i}", {"text": " ".join(words)}, score, Source("made.csv", i + 2)))
    return found


def documents(count: int, *, seed: int = 0) -> list[Example]:
    """Return documents of one to nine sentences, some in several windows; the summary is the one about refunds, and more."""
    rng = random.Random(seed)
    found = []
    for i in range(count):
        topics = [rng.choice(["delivery", "account"]) for _ in range(rng.randint(0, 8))]
        topics.insert(rng.randint(0, len(topics)), "billing")
        lines = [" ".join(rng.choice(TOPICS[t]) for _ in range(rng.randint(1, 9))) for t in topics]
        summary = lines[topics.index("billing")] + " now"
        found.append(Example(f"d{i}", {"document": "\n".join(lines)}, [summary], Source("made.csv", i + 2)))
    return found


def sums(count: int, *, seed: int = 0) -> list[Example]:
    """Return little additions as prompts, with answers of different lengths."""
    rng = random.Random(seed)
    found = []
    for i in range(count):
        a, b = rng.randint(0, 20), rng.randint(0, 2000)
        turns = [{"role": "user", "content": f"{a} + {b}" + " please" * rng.randint(0, 5)}]
        found.append(Example(f"g{i}", {"messages": turns}, f"{a} + {b} = {a + b}", Source("sums.jsonl", i + 1)))
    return found


def pairs(count: int, *, seed: int = 0) -> list[Example]:
    """Return questions with a polite and a rude answer, of different lengths."""
    rng = random.Random(seed)
    found = []
    for i in range(count):
        question = f"where is parcel {rng.randint(1, 999)}" + " please" * rng.randint(0, 6)
        polite = f"it arrived, sorry for the wait {rng.randint(1, 9)}" + "!" * rng.randint(0, 3)
        rude = "do not ask me again" + " and again" * rng.randint(0, 4)
        inputs = {"messages": [{"role": "user", "content": question}]}
        target = {"chosen": polite, "rejected": rude}
        found.append(Example(f"p{i}", inputs, target, Source("pairs.jsonl", i + 1)))
    return found


def marked(count: int, *, seed: int = 0) -> list[Example]:
    """Return the answers of :func:`pairs` one by one, each marked good or bad."""
    found = []
    for i, example in enumerate(pairs(count, seed=seed)):
        good = i % 3 > 0
        said = example.target["chosen" if good else "rejected"]
        found.append(Example(f"m{i}", example.inputs, {"completion": said, "desirable": good}, example.source))
    return found


def learner_of(
    folder: Path,
    objective: str,
    labels: tuple[str, ...] = (),
    *,
    seed: int = 0,
    known: dict[str, Any] | None = None,
    **model: Any,
) -> Learner:
    import torch

    torch.manual_seed(seed)
    base = open_base(find(str(folder)), max_tokens=model.get("max_tokens"))
    return OBJECTIVES[objective].create(base, labels=labels, model=ModelSection(**model), known=known)


def section(objective: str, rows: int, **settings: Any) -> TrainSection:
    # What `auto` chooses is tested by itself; everything moves in most tests, in float32 on every machine.
    return resolve(TrainSection(**{"method": "full", "precision": "float32", **settings}), objective=objective, rows=rows)


LABELS = tuple(sorted(TOPICS))

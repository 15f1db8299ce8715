"""Settings of a classifier's training beside each other: accuracy on rows held out of train files, over data sets and seeds.

How defaults are chosen and chosen again: no test file is opened. Each ``--vary`` is a contender: settings of `train:` as
``name=value``, several with commas (``--vary batch=64,rate=2e-4``); the first contender is the defaults, or what the first
``--vary`` says where ``--no-defaults`` is given. All contenders of a data set and a seed learn from the same rows and are measured
on the same others, so differences are taken pair by pair; their standard error is over data sets and seeds.

Beside it, which weights to deliver (decision 0032): the held-out rows are divided again and again into validation rows, by which one
of the looks is chosen, and rows that measure the chosen one: the best score, the last unless an earlier one is better by a
standard error, and always the last.
"""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from bench.common import (
    Part,
    answer_part,
    arguments,
    conclude,
    figure,
    machine,
    markdown,
    refuse,
    run_part,
    say,
    threads_for,
    workshop,
)
from bench.fit_verdict import read

SETS = ("banking77", "clinc150", "sst2", "ag_news", "medical", "support")
DIVISIONS, VALID_SHARE = 150, 0.1
CHOICES, CHOOSING_SHARE = 20, 0.25
RULES = ("best score", "last within an error", "always the last")
Pairs = list[tuple[str, str]]


def divide(rows: Pairs, *, each: int | None, held: int, seed: int) -> tuple[Pairs, Pairs]:
    """Return rows to learn from, at most ``each`` of a label and three quarters of them, and ``held`` of the others."""
    rng = np.random.default_rng([seed, 77])
    by_label: dict[str, list[str]] = {}
    for i in rng.permutation(len(rows)).tolist():
        by_label.setdefault(rows[i][1], []).append(rows[i][0])
    train: Pairs = []
    rest: Pairs = []
    for label, texts in sorted(by_label.items()):
        most = min(each or len(texts), -(-3 * len(texts) // 4))
        train += [(text, label) for text in texts[:most]]
        rest += [(text, label) for text in texts[most:]]
    return train, [rest[i] for i in rng.permutation(len(rest))[:held].tolist()]


def train_part(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Train on some rows and look at the others; the last weights are measured."""
    import torch

    from luthier.base.records import Example, Source
    from luthier.lifecycle import nearest
    from luthier.models.catalogue import find
    from luthier.models.load import open_base
    from luthier.objectives.classify import Classifier
    from luthier.release.predictor import Predictor
    from luthier.spec.model import ModelSection
    from luthier.spec.train import TrainSection
    from luthier.train import defaults
    from luthier.train.run import fit

    learnt, held, seed = settings["train_rows"], settings["held_rows"], settings["seed"]
    labels = tuple(sorted({label for _, label in learnt}))
    examples = [Example(str(i), {"text": t}, label, Source("train", i + 1)) for i, (t, label) in enumerate(learnt)]
    torch.manual_seed(seed)
    learner = Classifier.create(open_base(find("embedded")), labels=labels, model=ModelSection(max_tokens=128))
    asked = TrainSection.model_validate({"method": "full", "seed": seed, "patience": 99, **settings["train"]})
    section = defaults.resolve(asked, objective="classify", rows=len(examples))
    looks: list[list[float]] = []
    right: list[list[bool]] = []
    spent = 0.0

    def look() -> float:
        nonlocal spent
        paused = time.perf_counter()
        said = Predictor(learner).predict([text for text, _ in held])
        looks.append([math.log(max((p.scores or {}).get(label, 0.0), 1e-9)) for p, (_, label) in zip(said, held, strict=True)])
        right.append([p.label == label for p, (_, label) in zip(said, held, strict=True)])
        spent += time.perf_counter() - paused
        return float(len(looks))

    began = time.perf_counter()
    outcome = fit(learner, examples, section, score=look, to_the_end=True)
    seconds = time.perf_counter() - began - spent
    judges = [Example(f"h{i}", {"text": t}, label, Source("held", i + 1)) for i, (t, label) in enumerate(held)]
    return {
        "accuracy": statistics.fmean(right[-1]), "log_loss": -statistics.fmean(looks[-1]), "seconds": seconds,
        "steps": outcome.steps, "by_look": [statistics.fmean(one) for one in right], "delivered": delivered(np.asarray(right), seed),
        **({"nearest": with_nearest(learner, examples, judges, seed)} if nearest.asked(learner, section, len(held)) else {}),
    }  # fmt: skip


def with_nearest(learner: Any, train: Sequence[Any], held: Sequence[Any], seed: int) -> dict[str, float]:
    """Return accuracy and log loss without and with the train rows' say, which a part of the held-out rows chooses and the others measure."""
    from luthier.lifecycle import nearest
    from luthier.objectives.heads import beside
    from luthier.objectives.heads.judge import each_log_loss, temperature

    seen = nearest.look(learner, train, held)
    if seen is None:
        return {}
    rng = np.random.default_rng([seed, 33])
    found: list[tuple[float, ...]] = []
    for _ in range(CHOICES):
        order = rng.permutation(len(seen.labels_N))
        chooses, rest = np.split(order, [max(1, int(CHOOSING_SHARE * len(order)))])
        mix = beside.choose(seen.own_NC[chooses], {b: votes[chooses] for b, votes in seen.votes.items()}, seen.labels_N[chooses])
        own = seen.own_NC
        both = own if mix is None else beside.mixed(own, seen.votes[mix.bandwidth], mix.share)
        figures = []
        for scores in (own, both):
            scale = temperature(scores[chooses], seen.labels_N[chooses])
            figures += [float((scores[rest].argmax(1) == seen.labels_N[rest]).mean()), float(each_log_loss(scores[rest], seen.labels_N[rest], scale).mean())]
        found.append((*figures, float(mix is not None)))
    names = ("accuracy", "log_loss", "accuracy_with", "log_loss_with", "taken")
    return dict(zip(names, np.mean(found, axis=0).tolist(), strict=True))


def delivered(right_LN: np.ndarray, seed: int) -> dict[str, float]:
    """Return the mean accuracy of the look that each rule chooses by a tenth of the rows, on the other rows."""
    from luthier.evaluate.metrics import doubt

    rng = np.random.default_rng([seed, 32])
    found: dict[str, list[float]] = {rule: [] for rule in RULES}
    for _ in range(DIVISIONS):
        order = rng.permutation(right_LN.shape[1])
        valid, rest = np.split(order, [max(1, int(VALID_SHARE * len(order)))])
        scores = right_LN[:, valid].mean(1)
        best, last = int(scores.argmax()), len(scores) - 1
        error_of = doubt("accuracy", "classify", len(valid))
        error = error_of(float(scores[best])) if error_of else 0.0
        chosen = dict(zip(RULES, (best, best if scores[best] - scores[last] > error else last, last), strict=True))
        for rule, place in chosen.items():
            found[rule].append(float(right_LN[place, rest].mean()))
    return {rule: statistics.fmean(values) for rule, values in found.items()}


PARTS: dict[str, Part] = {"train": train_part}


def contender(text: str) -> dict[str, Any]:
    """Return `train:` settings of ``name=value,name=value``; values are read as in a task file."""
    from luthier.spec import dialect

    pairs = [one.partition("=") for one in text.split(",")]
    if not all(sign and name for name, sign, _ in pairs):
        refuse(f"--vary {text}: expected NAME=VALUE, several with commas")
    return {name: dialect.read(value) for name, _, value in pairs}


def differences(runs: Sequence[Mapping[str, Any]], names: Sequence[str]) -> dict[str, list[float]]:
    """Return, for each contender but the first, its accuracy less the first one's, pair by pair of data set and seed."""
    by_pair: dict[tuple[str, int], dict[str, float]] = {}
    for run in runs:
        by_pair.setdefault((run["set"], run["seed"]), {})[run["contender"]] = run["accuracy"]
    first = names[0]
    return {name: [pair[name] - pair[first] for pair in by_pair.values() if {name, first} <= pair.keys()] for name in names[1:]}


def table(runs: Sequence[Mapping[str, Any]], names: Sequence[str]) -> str:
    """Return the contenders beside each other by data set, their differences to the first, and the rules of delivery."""
    sets = list(dict.fromkeys(run["set"] for run in runs))
    against = differences(runs, names)
    lines = []
    for name in names:
        mine = [run for run in runs if run["contender"] == name]
        by_set = [100 * statistics.fmean(r["accuracy"] for r in mine if r["set"] == one) for one in sets]
        gains = [100 * gain for gain in against.get(name, [])]
        error = statistics.stdev(gains) / math.sqrt(len(gains)) if len(gains) > 1 else None
        apart = "" if not gains else f"{statistics.fmean(gains):+.2f}" + (f" ± {error:.2f}" if error is not None else "")
        lines.append([name, *(f"{value:.2f}" for value in by_set), apart, f"{statistics.fmean(r['log_loss'] for r in mine):.4f}",
                      figure(statistics.fmean(r["seconds"] for r in mine))])  # fmt: skip
    head = ["train:", *sets, f"less {names[0]}", "log loss", "seconds"]
    rules = [[one, *(f"{100 * statistics.fmean(r['delivered'][rule] for r in runs if r['set'] == one and r['contender'] == names[0]):.2f}"
                     for rule in RULES)] for one in sets]  # fmt: skip
    return "\n\n".join([
        markdown(head, lines), f"Which weights, {names[0]}:", markdown(["data", *RULES], rules), f"Nearest train rows, {names[0]}:", nearest_table(runs, names[0]),
    ])  # fmt: skip


def nearest_table(runs: Sequence[Mapping[str, Any]], name: str) -> str:
    """Return what the say of the nearest train rows is worth, by data set and seed."""
    lines = []
    for run in runs:
        if run["contender"] == name and (found := run.get("nearest")):
            pairs = [f"{100 * found['accuracy']:.2f}", f"{100 * found['accuracy_with']:.2f}", f"{found['log_loss']:.4f}", f"{found['log_loss_with']:.4f}"]
            lines.append([f"{run['set']} ({run['learnt']:,}), {run['seed']}", *pairs, f"{found['taken']:.0%}"])
    return markdown(["data (train rows), seed", "right without, %", "with", "log loss without", "with", "taken"], lines)


def main() -> None:
    parser = arguments("settings", __doc__ or "")
    parser.add_argument("--on", nargs="+", choices=SETS, default=["banking77", "clinc150"], help="data sets")
    parser.add_argument("--vary", action="append", default=[], metavar="NAME=VALUE,...", help="a contender; repeatable")
    parser.add_argument("--no-defaults", action="store_true", help="the first --vary is what others are held against")
    parser.add_argument("--seeds", type=int, default=3, help="divisions of the rows, and seeds of training")
    parser.add_argument("--each", type=int, help="rows of each label to learn from (default: three quarters of all)")
    parser.add_argument("--held", type=int, default=2500, help="rows to measure on")
    chosen = parser.parse_args()
    if chosen.part:
        return answer_part(PARTS, chosen.part, chosen.settings)
    contenders = {text: contender(text) for text in chosen.vary}
    contenders = contenders if chosen.no_defaults else {"defaults": {}, **contenders}
    if not contenders:
        refuse("nothing to measure: name a --vary")
    each, held = (4, 40) if chosen.quick else (chosen.each, chosen.held)
    threads, runs = threads_for(chosen), []
    with workshop() as work:
        for name in chosen.on[:1] if chosen.quick else chosen.on:
            rows = read(name, chosen.data)
            for seed in range(1 if chosen.quick else chosen.seeds):
                train, rest = divide(rows, each=each, held=held, seed=seed)
                for place, (called, settings) in enumerate(contenders.items()):
                    # What neighbours are worth is told of the first alone.
                    more = {**({"nearest": "off"} if place else {}), **({"max_steps": 2} if chosen.quick else {})}
                    asked = {"train_rows": train, "held_rows": rest, "seed": seed, "train": {**settings, **more}}
                    found = run_part("bench.settings", "train", asked, threads=threads, work=work, called=called)
                    runs.append({"set": name, "seed": seed, "contender": called, "learnt": len(train), "measured": len(rest), **found})
                    say(f"{name}, seed {seed}, {called}: {100 * found['accuracy']:.2f} %")
    record = {"machine": machine(threads), "contenders": contenders, "runs": runs}
    conclude("settings", record, table(runs, list(contenders)), [], quick=chosen.quick, out=chosen.out)
    return None


if __name__ == "__main__":
    main()

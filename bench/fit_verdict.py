"""Is the verdict on over- and underfitting right? Twenty runs made to go well or wrong on purpose, on real data.

Each run is what `luthier train` does up to its verdict, on some rows of SST-2, BANKING77 or AG News with the embedded model: five kinds of run, four
of each. They differ in rows, rate, passes, head and in labels flipped on purpose, on the train and the validation side
alike, as they would be in a file. The verdict reads curves and findings only. Its thresholds were chosen on other data
(CLINC150, medical abstracts and the example; `--develop` runs those) and were not touched after these twenty.
"""

from __future__ import annotations

import csv
import gzip
import json
import os
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from bench.common import (
    ROOT,
    Goal,
    arguments,
    conclude,
    environment,
    machine,
    markdown,
    need_files,
    say,
    threads_for,
    workshop,
)

Pair = tuple[str, str]

# Without the unit length of the pooled vector nothing holds the scores back.
OVER: dict[str, Any] = {
    "rate": 3e-4, "epochs": 10, "schedule": "constant", "weight_decay": 0, "patience": 99, "head": "random", "evaluations": 5,
    "pooling": "cls",
}  # fmt: skip
GENTLE: dict[str, Any] = {"epochs": 2, "rate": 5e-5}
UNDER_SLOW: dict[str, Any] = {"rate": 1e-6, "head": "random", "epochs": 3}
UNDER_SHORT: dict[str, Any] = {"max_steps": 6, "head": "random"}
UNDER_FROZEN: dict[str, Any] = {"method": "last-layers", "layers": 1, "rate": 2e-5, "head": "random", "epochs": 2}


@dataclass(frozen=True)
class Case:
    """One run: ``rows`` in all or, with ``per_label``, of each label; ``labels`` at most; ``noise`` is the share flipped."""

    intended: str
    data: str
    rows: int = 0
    per_label: int = 0
    labels: int = 0
    noise: float = 0.0
    seed: int = 0
    train: Mapping[str, Any] = field(default_factory=dict)
    why: str = ""

    @property
    def name(self) -> str:
        size = f"{self.per_label} a label" if self.per_label else f"{self.rows} rows"
        return f"{self.data}, {size}" + (f" of {self.labels}" if self.labels else "")


CASES = (
    Case("fits", "sst2", rows=900, seed=10, train=GENTLE, why="2 epochs, rate 5e-5"),
    Case("fits", "banking77", per_label=30, labels=12, seed=10),
    Case("fits", "ag_news", rows=500, seed=10, train=GENTLE, why="2 epochs, rate 5e-5"),
    Case("fits", "banking77", per_label=50, labels=8, seed=11),
    Case("overfits", "sst2", rows=250, seed=10, train=OVER, why="rate 3e-4, 10 epochs"),
    Case("overfits", "banking77", per_label=8, labels=30, seed=10, train=OVER, why="rate 3e-4, 10 epochs"),
    Case("overfits", "ag_news", rows=200, seed=10, train=OVER, why="rate 3e-4, 10 epochs"),
    Case("overfits", "sst2", rows=350, seed=11, train=OVER, why="rate 3e-4, 10 epochs"),
    Case("underfits", "sst2", rows=500, seed=10, train=UNDER_SLOW, why="rate 1e-6, random head"),
    Case("underfits", "banking77", per_label=30, labels=16, seed=10, train=UNDER_FROZEN, why="one layer learns, rate 2e-5"),
    Case("underfits", "ag_news", rows=500, seed=10, train=UNDER_SHORT, why="six steps"),
    Case("underfits", "banking77", per_label=40, labels=10, seed=11, train=UNDER_SHORT, why="six steps"),
    Case("noisy", "sst2", rows=700, seed=10, noise=0.3, train={"epochs": 2}, why="30 % flipped, 2 epochs"),
    Case("noisy", "banking77", per_label=40, labels=12, seed=10, noise=0.2, why="20 % flipped"),
    Case("noisy", "ag_news", rows=500, seed=10, noise=0.4, why="40 % flipped"),
    Case("noisy", "ag_news", rows=400, noise=0.25, seed=11, train={"epochs": 8}, why="25 % flipped, 8 epochs"),
    Case("data-limited", "sst2", per_label=16, seed=10),
    Case("data-limited", "banking77", per_label=3, labels=77, seed=10),
    Case("data-limited", "ag_news", per_label=6, seed=10),
    Case("data-limited", "sst2", per_label=32, seed=11),
)
DEVELOP = (
    Case("fits", "clinc150", per_label=30, labels=16),
    Case("data-limited", "support", rows=400),
    Case("fits", "medical", rows=500, train=GENTLE, why="2 epochs, rate 5e-5"),
    Case("fits", "clinc150", per_label=50, labels=8, seed=1),
    Case("overfits", "clinc150", per_label=8, labels=30, train=OVER, why="rate 3e-4, 10 epochs"),
    Case("overfits", "support", rows=300, train=OVER, why="rate 3e-4, 10 epochs"),
    Case("overfits", "medical", rows=250, train=OVER, why="rate 3e-4, 10 epochs"),
    Case("underfits", "clinc150", per_label=30, labels=16, train=UNDER_SLOW, why="rate 1e-6, random head"),
    Case("underfits", "support", rows=400, train=UNDER_SHORT, why="six steps"),
    Case("underfits", "medical", rows=400, train=UNDER_FROZEN, why="one layer learns, rate 2e-5"),
    Case("noisy", "clinc150", per_label=30, labels=16, noise=0.2, why="20 % flipped"),
    Case("noisy", "clinc150", per_label=90, labels=2, noise=0.3, seed=1, why="30 % flipped"),
    Case("noisy", "support", rows=400, noise=0.3, why="30 % flipped"),
    Case("noisy", "medical", rows=500, noise=0.4, why="40 % flipped"),
    Case("data-limited", "clinc150", per_label=3, labels=100),
    Case("data-limited", "support", per_label=8),
    Case("data-limited", "medical", per_label=12),
    Case("data-limited", "support", per_label=16, seed=1),
)
VALID_ROWS, TEST_ROWS, WATCHED = 300, 20, 120


def read(name: str, data: Path) -> list[Pair]:
    """Return the rows of a dataset that are not its test rows, each text once."""
    return list(dict(_READ[name](data)).items())


def _sst2(data: Path) -> Iterator[Pair]:
    with gzip.open(need_files(data / "sst2", ["train.tsv.gz"], "GLUE's SST-2")[0], "rt", encoding="utf-8") as file:
        for line in list(file)[1:]:
            text, label = line.rstrip("\n").split("\t")
            # Its train file is made of all phrases of a sentence; two words have no opinion yet.
            if len(text.split()) >= 8:
                yield text.strip(), "positive" if label == "1" else "negative"


def _banking77(data: Path) -> Iterator[Pair]:
    path = need_files(data / "banking77", ["train.csv"], "PolyAI-LDN/task-specific-datasets on GitHub")[0]
    with path.open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            yield row["text"].strip(), row["category"]


def _ag_news(data: Path) -> Iterator[Pair]:
    path = need_files(data / "noisy_ag_news", ["samples10000valMed.csv.gz"], "NoisyAG-News on GitHub")[0]
    with gzip.open(path, "rt", encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            yield row["text"].strip(), ("world", "sports", "business", "science")[int(row["gt"])]


def _clinc150(data: Path) -> Iterator[Pair]:
    path = need_files(data / "clinc150", ["data_full.json.gz"], "clinc/oos-eval on GitHub")[0]
    with gzip.open(path, "rt", encoding="utf-8") as file:
        yield from ((text, label) for text, label in json.load(file)["train"])


def _medical(data: Path) -> Iterator[Pair]:
    path = need_files(data / "medical_abstracts_tc", ["medical_tc_test.csv.gz"], "Medical-Abstracts-TC on GitHub")[0]
    with gzip.open(path, "rt", encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            yield row["medical_abstract"].strip(), f"condition {row['condition_label']}"


def _support(data: Path) -> Iterator[Pair]:
    del data
    with (ROOT / "examples/support-triage/messages.csv").open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            yield row["message"].strip(), row["queue"]


_READ = {"sst2": _sst2, "banking77": _banking77, "ag_news": _ag_news, "clinc150": _clinc150, "medical": _medical, "support": _support}


def draw(case: Case, rows: list[Pair], *, valid: int = VALID_ROWS) -> dict[str, list[Pair]]:
    """Return train and validation rows, and a few test rows that nobody opens; labels are flipped alike on all sides."""
    rng = np.random.default_rng([case.seed, len(case.data), case.rows, case.per_label])
    names = sorted({label for _, label in rows})
    if case.labels and case.labels < len(names):
        names = sorted(str(n) for n in rng.permutation(names)[: case.labels])
    rows = [rows[int(i)] for i in rng.permutation(len(rows)) if rows[int(i)][1] in names]
    held, tested, rest = rows[:valid], rows[valid : valid + TEST_ROWS], rows[valid + TEST_ROWS :]
    if case.per_label:
        seen: dict[str, int] = defaultdict(int)
        kept = []
        for row in rest:
            seen[row[1]] += 1
            if seen[row[1]] <= case.per_label:
                kept.append(row)
        rest = kept
    else:
        rest = rest[: case.rows]

    def flip(row: Pair) -> Pair:
        if rng.random() >= case.noise:
            return row
        return row[0], str(rng.choice([n for n in names if n != row[1]]))

    # A label that is on the other sides only would stop the run.
    known = {label for _, label in rest}
    sides = {"train": rest, "valid": held, "test": tested}
    return {side: [flip(row) for row in rows if row[1] in known] for side, rows in sides.items()}


def write(case: Case, folder: Path, data: Path, *, quick: bool) -> Path:
    """Write the rows and the task file of a case; return the task file."""
    import yaml

    sides = draw(case, read(case.data, data), valid=60 if quick else VALID_ROWS)
    folder.mkdir(parents=True, exist_ok=True)
    for name, rows in sides.items():
        with (folder / f"{name}.csv").open("w", encoding="utf-8", newline="") as file:
            csv.writer(file).writerows([("text", "label"), *rows])
    task = {
        "task": {"name": "case", "objective": "classify"},
        "data": {
            "source": "train.csv", "valid": "valid.csv", "test": "test.csv",
            "columns": {"text": "text", "label": "label"}, "leaks": "allow", "semantic": "off", "duplicates": "keep",
        },
        "model": {"base": "embedded", "max_tokens": 32, "pooling": case.train.get("pooling", "auto")},
        "train": {"method": "full", "evaluations": 3, "checkpoint_s": 1e6, "watched_rows": WATCHED, **{k: v for k, v in case.train.items() if k != "pooling"}, "seed": case.seed, **({"max_steps": 4} if quick else {})},
    }  # fmt: skip
    (folder / "task.yaml").write_text(yaml.safe_dump(task), encoding="utf-8")
    return folder / "task.yaml"


def train(task: Path, out: Path) -> dict[str, Any]:
    """Do what `luthier train` does up to the verdict; no bundle is written."""
    from luthier.base.events import silent
    from luthier.base.interrupt import Stopper
    from luthier.lifecycle import diagnosing, steps
    from luthier.lifecycle.circle import prepare_data
    from luthier.lifecycle.round import Round
    from luthier.spec.load import load_task

    round_ = Round(load_task(task), out, silent, Stopper(), {})
    data = prepare_data(round_).sealed()
    model = steps.open_model(round_, data)
    resolved = steps.resolve(round_, data, model)
    outcome = steps.train(round_, data, steps.Extended(data.train, None, {}), model, resolved, "bench")
    found = diagnosing.diagnosis(round_, data, outcome)
    sizes = {"train": len(data.train), "valid": len(data.valid)}
    return {"diagnosis": found, "rows": sizes, "steps": outcome.steps, "evaluations": outcome.evaluations,
            "label_errors": diagnosing.context(data).label_errors}  # fmt: skip


def told(case: Case, found: Mapping[str, Any], seconds: float) -> dict[str, Any]:
    """Return a case's line of the record: without what each row says."""
    verdict = found["diagnosis"]["verdict"]
    curve = [{k: v for k, v in e.items() if k != "rows"} for e in found["evaluations"]]
    return {
        "case": case.name, "made": case.why, "intended": case.intended, "given": verdict, "right": verdict == case.intended,
        "cpu_seconds": round(seconds, 1), **found, "evaluations": curve,
    }  # fmt: skip


def table(runs: list[dict[str, Any]]) -> str:
    rows = []
    for run in runs:
        figures, since = run["diagnosis"]["figures"], run["diagnosis"]["from_step"]
        given = run["given"] + (f" from step {since}" if since is not None else "")
        shown = [f"{figures[n]:.2f}" for n in ("train_right", "valid_right", "train_loss", "best_loss", "valid_loss")]
        made = run["case"] + (f"; {run['made']}" if run["made"] else "")
        rows.append([made, run["rows"]["train"], *shown, run["intended"], given, "yes" if run["right"] else "NO"])
    head = ("run", "train rows", "train right", "valid right", "train loss", "least valid loss", "valid loss at the end")
    return markdown([*head, "made to be", "verdict", "right?"], rows)


def main() -> None:
    parser = arguments("fit_verdict", __doc__ or "")
    parser.add_argument("--develop", action="store_true", help="the runs that the thresholds were chosen on")
    parser.add_argument("--keep", type=Path, help="keep each run here, and take what is there instead of training again")
    parser.add_argument("--only", type=int, nargs="*", help="numbers of runs, from 0")
    chosen = parser.parse_args()
    threads = threads_for(chosen)
    os.environ.update(environment(threads))
    import torch

    torch.set_num_threads(threads)
    cases = list(enumerate(DEVELOP if chosen.develop else CASES))
    cases = [c for c in cases if chosen.only is None or c[0] in chosen.only][: 2 if chosen.quick else None]
    runs, name = [], "fit_verdict-develop" if chosen.develop else "fit_verdict"
    with workshop() as work:
        for number, case in cases:
            kept = chosen.keep / f"{name}-{number:02}.json" if chosen.keep else None
            if kept and kept.is_file():
                runs.append(json.loads(kept.read_text(encoding="utf-8")))
                continue
            began = time.process_time()
            found = train(write(case, work / str(number), chosen.data, quick=chosen.quick), work / str(number) / "run")
            runs.append(told(case, found, time.process_time() - began))
            if kept:
                kept.parent.mkdir(parents=True, exist_ok=True)
                kept.write_text(json.dumps(runs[-1]), encoding="utf-8")
            say(f"{number:>3} {case.name}: made to be {case.intended}, found {runs[-1]['given']} ({runs[-1]['cpu_seconds']:.0f} s)")
    goals = [Goal("runs with the right verdict", len(runs), sum(r["right"] for r in runs))]
    whole = chosen.only is None and not chosen.quick
    record = {"machine": machine(threads), "runs": runs}
    conclude(name, record, table(runs), goals, quick=not whole, out=chosen.out)


if __name__ == "__main__":
    main()

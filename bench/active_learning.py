"""Labels saved by the order of `luthier label`, where its stop rule fires, and how true its estimate of accuracy is.

A simulated person gives the true label of every row asked about, through the same desk and the same background work as
the page, from zero labels; beside it the same with rows by chance. Accuracy is that of the page's own classifier on
rows of the test file. Vectors are computed once and kept in the temporary folder.
"""

from __future__ import annotations

import csv
import gzip
import io
import sys
import tempfile
from collections.abc import Mapping, Sequence
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
    run_part,
    spread,
    threads_for,
    workshop,
)

POOL, QUICK_POOL = 4_000, 400
TEST = 2_000
LABELS, QUICK_LABELS = 400, 60
SEEDS = 3
AT = (20, 30, 50, 75, 100, 150, 200, 300, 400)
ORDERS = ("learn", "random")
# Every third round's estimate is compared with the truth.
CHECKED = 3
# Each data set: where from, train and test file, the columns of text and true label.
SETS = {
    "BANKING77": ("banking77", "train.csv", "test.csv", "text", "category"),
    "AG News (true labels)": ("noisy_ag_news", "samples10000valMed.csv.gz", "samplesTest.csv.gz", "text", "gt"),
}
ORIGIN = {
    "banking77": "Get banking_data/train.csv and test.csv from github.com/PolyAI-LDN/task-specific-datasets as banking77/",
    "noisy_ag_news": "Get samples10000valMed.csv.gz and samplesTest.csv.gz of NoisyAG-News as noisy_ag_news/",
}
CACHE = Path(tempfile.gettempdir()) / "luthier-bench-vectors"


def read(path: Path, text: str, label: str) -> list[tuple[str, str]]:
    """Return (text, label) of a CSV file, gzipped or not."""
    data = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    return [(row[text], row[label]) for row in csv.DictReader(io.StringIO(data.decode("utf-8"), newline=""))]


def vectors_of(texts: Sequence[str], cache: Path) -> Any:
    """Return the embedded model's vectors, computed once."""
    from luthier.labelling.pool import row_id
    from luthier.labelling.vectors import VectorCache
    from luthier.models.catalogue import EMBEDDED_SHA256
    from luthier.models.embed import Embedder

    cache.parent.mkdir(parents=True, exist_ok=True)
    embed = Embedder().embed
    kept = VectorCache(cache, model=EMBEDDED_SHA256)
    return kept.fill([row_id(text) for text in texts], texts, embed, watch=lambda done: True)


def label_part(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Label one sample in one order and return the course of it."""
    import numpy as np

    from luthier.base.records import Example, Source
    from luthier.labelling.desk import Desk
    from luthier.labelling.estimate import advise
    from luthier.labelling.learner import fit
    from luthier.labelling.pool import gather
    from luthier.labelling.store import Store
    from luthier.labelling.work import Worker

    rng = np.random.default_rng(settings["seed"])
    train, test = (
        read(Path(settings["train"]), *settings["columns"]),
        read(Path(settings["test"]), *settings["columns"]),
    )
    train = [train[i] for i in rng.permutation(len(train))[: settings["pool"]]]
    test = [test[i] for i in np.random.default_rng(0).permutation(len(test))[:TEST]]
    pool = gather(Example("", {"text": text}, None, Source("rows", i)) for i, (text, _) in enumerate(train))
    truth = [train[item.line][1] for item in pool.items]
    where = Path(settings["cache"])
    own = vectors_of([item.text for item in pool.items], where / f"{settings['name']}.safetensors")
    held = vectors_of([text for text, _ in test], where / f"{settings['name']}.safetensors")
    answers = np.array([label for _, label in test])
    course: list[dict[str, Any]] = []
    stopped: dict[str, Any] | None = None
    log = Path(settings["work"]) / f"{settings['name']}-{settings['order']}-{settings['seed']}.labels.jsonl"
    log.unlink(missing_ok=True)
    with Store(log, columns={"text": "text", "label": "label"}, data=["rows"], by="bench") as store:
        desk = Desk(pool, store, labels=sorted(set(truth)), order=settings["order"])
        worker = Worker(desk, cache=None, open_embedder=None)
        state = worker.begin(own, final=True)
        number = {item.id: i for i, item in enumerate(pool.items)}
        worker.step(state)
        while len(desk.labelled().rows) < settings["labels"]:
            asked = desk.ask("bench", "session1")
            assert asked is not None
            desk.say(
                "bench", "session1", asked.item.id, "label", label=truth[number[asked.item.id]], chosen=asked.chosen
            )
            rounds = len(desk.rounds)
            worker.step(state)
            taken = [n for n, _ in desk.labelled().rows]
            said = [truth[n] for n in taken]
            ended = len(desk.rounds) > rounds
            stops = stopped is None and ended and advise(desk.rounds).stop
            checked = ended and rounds % CHECKED == 0
            if len(set(said)) > 1 and (len(taken) in AT or stops or checked):
                model = fit(own[taken], said)
                right = float((model.predict(held) == answers).mean())
                point = {"labels": len(taken), "accuracy": right}
                if checked and desk.rounds[-1].accuracy is not None:
                    free = np.setdiff1d(np.arange(len(truth)), taken)
                    actual = float((model.predict(own[free]) == np.array(truth)[free]).mean())
                    guess = desk.rounds[-1].accuracy
                    point |= {"estimate": guess.value, "low": guess.low, "high": guess.high, "actual": actual}
                course.append(point)
                if stops:
                    stopped = {"labels": len(taken), "accuracy": right}
    return {"course": course, "stopped": stopped}


PARTS: dict[str, Part] = {"label": label_part}


# The table


def at(run: Mapping[str, Any], labels: int) -> float | None:
    """Return the accuracy at a number of labels, None where it was not reached."""
    return next((p["accuracy"] for p in run["course"] if p["labels"] == labels), None)


def mean_course(runs: Sequence[Mapping[str, Any]], marks: Sequence[int]) -> dict[int, float]:
    """Return the mean accuracy over runs at each mark all of them have."""
    found = {n: [at(run, n) for run in runs] for n in marks}
    return {n: sum(v) / len(v) for n, v in found.items() if v and all(x is not None for x in v)}  # type: ignore[arg-type]


def labels_for(course: Mapping[int, float], wanted: float) -> float | None:
    """Return how many labels reach an accuracy, by straight lines between marks; None where it is never reached."""
    before: tuple[int, float] | None = None
    for labels, accuracy in sorted(course.items()):
        if accuracy >= wanted:
            if before is None or accuracy == before[1]:
                return float(labels)
            share = (wanted - before[1]) / (accuracy - before[1])
            return before[0] + share * (labels - before[0])
        before = (labels, accuracy)
    return None


def estimates(runs: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """Return how far the estimate is from the truth on the unlabelled rows, and how often its interval holds that."""
    points = [p for run in runs for p in run["course"] if "estimate" in p]
    if not points:
        return {}
    return {
        "rounds": len(points),
        "bias": sum(p["estimate"] - p["actual"] for p in points) / len(points),
        "error": sum(abs(p["estimate"] - p["actual"]) for p in points) / len(points),
        "covered": sum(p["low"] <= p["actual"] <= p["high"] for p in points) / len(points),
    }


def summary(runs: Runs, labels: int) -> dict[str, Any]:
    """Return the figures of one data set: courses, labels saved, where it stops, and how true the estimates are."""
    marks = [n for n in AT if n <= labels]
    learn, chance = (mean_course(runs[order], marks) for order in ORDERS)
    saved = []
    for mark in [n for n in marks if n >= 100] or marks[-1:]:
        if mark in chance and (needed := labels_for(learn, chance[mark])) is not None:
            saved.append({"accuracy": chance[mark], "by_chance": mark, "asked": needed, "saved": 1 - needed / mark})
    stops = [run["stopped"] for run in runs["learn"]]
    last = [at(run, marks[-1]) for run in runs["learn"]]
    lost = [end - stop["accuracy"] for stop, end in zip(stops, last, strict=True) if stop and end is not None]
    return {
        "learn": learn, "random": chance, "saved": saved, "stopped": stops,
        "lost_after_stop": spread(lost).as_dict() if lost else None,
        "estimate": {order: estimates(runs[order]) for order in ORDERS},
    }  # fmt: skip


def table(found: Mapping[str, Mapping[str, Any]]) -> str:
    """Return the accuracies side by side."""
    rows = []
    for name, figures in found.items():
        for mark in figures["learn"]:
            chance = figures["random"].get(mark)
            needed = next((s["asked"] for s in figures["saved"] if s["by_chance"] == mark), None)
            rows.append([name, mark, f"{figures['learn'][mark]:.3f}", f"{chance:.3f}" if chance is not None else "-",
                         figure(needed) if needed is not None else "-"])  # fmt: skip
    return markdown(
        ["data", "labels", "asked by the page", "by chance", "labels the page needs for chance's accuracy"], rows
    )


def main() -> None:
    parser = arguments("active_learning", __doc__ or "")
    parser.add_argument("--cache", type=Path, default=CACHE, help="folder of the vectors (default: %(default)s)")
    chosen = parser.parse_args()
    if chosen.part:
        answer_part(PARTS, chosen.part, chosen.settings)
        return
    labels, pool = (QUICK_LABELS, QUICK_POOL) if chosen.quick else (LABELS, POOL)
    threads, seeds = threads_for(chosen), 1 if chosen.quick else chosen.rounds or SEEDS
    facts = machine(threads)
    found, courses = {}, {}
    with workshop() as work:
        for name, (folder, train, test, text, label) in SETS.items():
            files = need_files(chosen.data / folder, [train, test], ORIGIN[folder])
            shared = {"train": str(files[0]), "test": str(files[1]), "columns": [text, label], "name": folder,
                      "pool": pool, "labels": labels, "cache": str(chosen.cache)}  # fmt: skip
            runs: Runs = {order: [] for order in ORDERS}
            for seed in range(seeds):
                for order in ORDERS:
                    runs[order].append(run_part("bench.active_learning", "label", {**shared, "seed": seed, "order": order},
                                                threads=threads, work=work, called=f"{name}, {order}, seed {seed}"))  # fmt: skip
            found[name], courses[name] = summary(runs, labels), runs
    goals = [Goal(f"{name}: share of labels saved at {s['by_chance']} labels by chance", 0.0, s["saved"])
             for name, figures in found.items() for s in figures["saved"][-1:]]  # fmt: skip
    record = {"machine": facts, "settings": {"labels": labels, "pool": pool, "seeds": seeds, "test": TEST}, "found": found,
              "courses": courses}  # fmt: skip
    conclude("active_learning", record, table(found), goals, quick=chosen.quick, out=chosen.out)


if __name__ == "__main__":
    sys.exit(main())

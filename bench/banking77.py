"""BANKING77: what the shipped defaults reach, and how long it takes to 92 % test accuracy against the Trainer's recipe.

Three parts. ``shipped`` runs the whole circle on the official split with nothing tuned. ``reach`` trains as the circle
does and ``trainer`` as transformers' TrainingArguments do by default (batch 8, rate 5e-5, 3 epochs, linear decay); both
clocks start when model and data are loaded, count tokenising and all training, and stand still only while the test rows
are measured. The test rows choose nothing on either side: they only tell when the clock may be read. The Trainer gets
all 10,003 rows, Luthier those that its own preparation leaves (validation rows and leaks taken out).
"""

from __future__ import annotations

import csv
import json
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from bench.common import (
    RESULTS,
    SEED,
    Goal,
    Part,
    Watch,
    answer_part,
    arguments,
    conclude,
    figure,
    machine,
    markdown,
    need_files,
    need_packages,
    run_part,
    say,
    spread,
    threads_for,
    workshop,
)
from bench.throughput import ORIGIN, read_rows

TARGET = 0.92
# The Trainer's recipe measures the test rows this often in an epoch.
LOOKS = 2
QUICK_LABELS, QUICK_TRAIN, QUICK_TEST = 5, 24, 8


def shipped_part(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Run the circle with its defaults and return what its own report says."""
    began = time.perf_counter()
    from luthier.lifecycle import run

    finished = run(settings["task"], out=Path(settings["work"]) / "run")
    wall_s = time.perf_counter() - began
    record = finished.record
    return {
        "accuracy": record["metrics"]["test"]["accuracy"],
        "macro_f1": record["metrics"]["test"]["macro_f1"],
        "wall_s": wall_s,
        "seconds": record["seconds"],
        "splits": record["data"]["splits"],
        "leaks": record["data"]["leaks"],
        "training": record["training"],
        "baselines": {name: found["accuracy"] for name, found in record["baselines"].items()},
    }


class Reached(Exception):
    """The target was reached: nothing after it counts."""


def reach_part(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Train as the circle does, with a clock that stops while test accuracy is measured."""
    import torch

    from bench.peers import precision
    from luthier.data.prepare import prepare
    from luthier.evaluate import metrics
    from luthier.models import catalogue
    from luthier.models.load import open_base
    from luthier.objectives.classify import Classifier
    from luthier.release.predictor import Predictor
    from luthier.spec.load import load_task
    from luthier.train import defaults
    from luthier.train.run import fit

    file = load_task(settings["task"])
    task = file.task
    data = prepare(task.data, "classify", base=file.folder, out=Path(settings["work"]) / "prepared")
    torch.manual_seed(task.train.seed)
    learner = Classifier.create(open_base(catalogue.find(task.model.base)), labels=data.labels, model=task.model)
    section = defaults.resolve(task.train, objective="classify", rows=len(data.train))
    predictor = Predictor(learner)
    watch, curve = Watch(), []

    def score() -> float:
        predictions = predictor.predict([e.inputs for e in data.valid])
        found = metrics.classification([e.target for e in data.valid], predictions, data.labels)
        value = found[metrics.DEFAULT["classify"]]
        seconds = watch.stop()
        answers = predictor.predict([e.inputs for e in data.test])
        right = sum(a.label == e.target for a, e in zip(answers, data.test, strict=True))
        curve.append({"seconds": seconds, "accuracy": right / len(data.test), "valid_accuracy": found["accuracy"]})
        if curve[-1]["accuracy"] >= TARGET:
            raise Reached
        watch.start()
        return value if value is not None else float("-inf")

    watch.start()
    with suppress(Reached):
        fit(learner, data.train, section, score=score)
    return {
        "reached": curve[-1]["accuracy"] >= TARGET, "seconds": watch.stop(), "curve": curve,
        "train_rows": len(data.train), "precision": precision(learner),
    }  # fmt: skip


def trainer_part(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Train with the Trainer's defaults; a callback stops the clock, measures the test rows, and ends at the target."""
    from transformers import AutoTokenizer, TrainerCallback

    from bench.peers import classification_rows, classification_trainer, precision
    from luthier.models import catalogue

    folder = catalogue.find("embedded").folder
    texts, names = read_rows(Path(settings["train"]))
    test_texts, test_names = read_rows(Path(settings["test"]))
    labels = {name: number for number, name in enumerate(sorted(set(names)))}
    tokenizer = AutoTokenizer.from_pretrained(folder)
    asked = [tokenizer(text, truncation=True)["input_ids"] for text in test_texts]
    wanted = [labels[name] for name in test_names]
    watch, curve = Watch(), []

    class Look(TrainerCallback):
        """Measure the test rows out of the clock, every part of an epoch."""

        def on_step_end(self, args: Any, state: Any, control: Any, model: Any = None, **kwargs: Any) -> None:
            every = max(1, round(state.max_steps / settings["epochs"] / LOOKS))
            if state.global_step % every and state.global_step != state.max_steps:
                return
            seconds = watch.stop()
            accuracy = _accuracy(model, asked, wanted, tokenizer.pad_token_id)
            curve.append({"seconds": seconds, "accuracy": accuracy, "epoch": state.epoch})
            print(curve[-1], flush=True)
            control.should_training_stop = accuracy >= TARGET
            watch.start()

    watch.start()
    rows = classification_rows(tokenizer, texts, [labels[name] for name in names])
    trainer = classification_trainer(
        folder, tokenizer, rows, len(labels), output=Path(settings["work"]) / "trainer", callbacks=[Look()],
        num_train_epochs=settings["epochs"], seed=SEED,
    )  # fmt: skip
    trainer.train()
    watch.stop()
    return {
        "reached": curve[-1]["accuracy"] >= TARGET, "seconds": curve[-1]["seconds"], "curve": curve,
        "train_rows": len(rows), "batch": trainer.args.per_device_train_batch_size, "rate": trainer.args.learning_rate,
        "epochs": settings["epochs"], "schedule": str(trainer.args.lr_scheduler_type.value),
        "precision": precision(trainer.model),
    }  # fmt: skip


def _accuracy(model: Any, asked: Sequence[Sequence[int]], wanted: Sequence[int], pad: int) -> float:
    import torch

    model.eval()
    order = sorted(range(len(asked)), key=lambda i: -len(asked[i]))
    right = 0
    with torch.inference_mode():
        for start in range(0, len(order), 64):
            picked = order[start : start + 64]
            width = len(asked[picked[0]])
            ids = torch.tensor([[*asked[i], *[pad] * (width - len(asked[i]))] for i in picked])
            mask = torch.tensor([[1] * len(asked[i]) + [0] * (width - len(asked[i])) for i in picked])
            best = model(input_ids=ids, attention_mask=mask).logits.argmax(-1).tolist()
            right += sum(found == wanted[i] for found, i in zip(best, picked, strict=True))
    model.train()
    return right / len(asked)


SIDES = ("shipped", "reach", "trainer")
PARTS: dict[str, Part] = {"shipped": shipped_part, "reach": reach_part, "trainer": trainer_part}


def write_task(work: Path, train: Path, test: Path, *, quick: bool) -> dict[str, Any]:
    """Write the task file with nothing but the data; a quick run takes a few labels of it."""
    values: dict[str, Any] = {
        "task": {"name": "banking77", "objective": "classify"},
        "data": {
            "source": str(train), "test": str(test), "columns": {"text": "text", "label": "category"},
            # The official files share a few rows by their text; the train side goes.
            "leaks": "fix",
        },
    }  # fmt: skip
    if quick:
        values["data"] |= {
            "source": str(_few(train, work / "train.csv", QUICK_TRAIN)),
            "test": str(_few(test, work / "test.csv", QUICK_TEST)),
        }
        values["train"] = {"max_steps": 4}
    task = work / "task.yaml"
    task.write_text(json.dumps(values, indent=2), encoding="utf-8")  # JSON is YAML
    return {"task": str(task), "train": values["data"]["source"], "test": values["data"]["test"]}


def _few(source: Path, target: Path, each: int) -> Path:
    texts, names = read_rows(source)
    kept = sorted(set(names))[:QUICK_LABELS]
    with target.open("w", encoding="utf-8", newline="") as handle:
        writer = csv.writer(handle)
        writer.writerow(["text", "category"])
        for label in kept:
            found = [text for text, name in zip(texts, names, strict=True) if name == label]
            writer.writerows([text, label] for text in found[:each])
    return target


def time_ratio(record: Mapping[str, Any]) -> tuple[float, bool] | None:
    """Return how many times sooner Luthier is at the target, and whether that is only a lower bound.

    None where a side was not measured, or Luthier never got there. The two sides may be measured by two commands, but
    on one processor with as many threads.
    """
    reach, trainer = record.get("reach"), record.get("trainer")
    if not reach or not trainer or not all(run["reached"] for run in reach["runs"]):
        return None
    same = all(reach["machine"][key] == trainer["machine"][key] for key in ("cpu", "cores", "threads"))
    if not same:
        say("Luthier and the Trainer were measured on different machines: no ratio is given.")
        return None
    mine = spread([run["seconds"] for run in reach["runs"]]).median
    return trainer["run"]["seconds"] / mine, not trainer["run"]["reached"]


def table(record: Mapping[str, Any]) -> str:
    """Return the result as Markdown."""
    rows: list[list[object]] = []
    if "shipped" in record:
        run = record["shipped"]["run"]
        accuracy = run["accuracy"]
        rows.append([
            "Luthier, the whole circle with its defaults",
            f"{accuracy['value']:.2%} ({accuracy['low']:.2%}-{accuracy['high']:.2%})",
            f"{figure(run['wall_s'])} in all, {figure(run['seconds']['train'])} of training",
            figure(run["peak_memory_mb"]),
        ])  # fmt: skip
    if "reach" in record:
        runs = record["reach"]["runs"]
        ends = spread([run["curve"][-1]["accuracy"] for run in runs])
        said = f"to {TARGET:.0%}" if all(run["reached"] for run in runs) else f"{TARGET:.0%} NOT reached"
        rows.append([
            "Luthier, training only", f"{ends.median:.2%} at the last look",
            f"{spread([run['seconds'] for run in runs])} {said}", figure(max(run["peak_memory_mb"] for run in runs)),
        ])  # fmt: skip
    if "trainer" in record:
        run = record["trainer"]["run"]
        said = f"to {TARGET:.0%}" if run["reached"] else f"for all {run['epochs']:g} epochs; {TARGET:.0%} not reached"
        rows.append([
            f"Trainer's defaults (batch {run['batch']}, rate {run['rate']:g}, {run['epochs']:g} epochs)",
            f"{run['curve'][-1]['accuracy']:.2%} at the last look", f"{figure(run['seconds'])} {said}",
            figure(run["peak_memory_mb"]),
        ])  # fmt: skip
    text = markdown(("contender", "test accuracy", "seconds", "peak MB"), rows)
    if found := time_ratio(record):
        text += f"\n\nLuthier is at {TARGET:.0%} {'at least ' * found[1]}{figure(found[0])} times sooner."
    return text


def goals(record: Mapping[str, Any]) -> list[Goal]:
    """Return the bars of the parts that were run."""
    found = []
    if "shipped" in record:
        accuracy = record["shipped"]["run"]["accuracy"]["value"]
        found.append(Goal("test accuracy of the shipped defaults", 0.935, accuracy))
    if ratio := time_ratio(record):
        found.append(Goal(f"times sooner at {TARGET:.0%}{' (at least)' * ratio[1]}", 10, ratio[0]))
    return found


def main() -> None:
    """Run the bench, or one of its parts."""
    parser = arguments("banking77", __doc__ or "")
    parser.add_argument("--only", choices=("luthier", "trainer"), help="one side; the other's last record is kept")
    parser.add_argument("--trainer-epochs", type=float, default=3.0, help="let it go on (its default: %(default)g)")
    chosen = parser.parse_args()
    if chosen.part:
        return answer_part(PARTS, chosen.part, chosen.settings)
    need_packages("datasets", "accelerate")
    train, test = (p.absolute() for p in need_files(chosen.data / "banking77", ["train.csv", "test.csv"], ORIGIN))
    threads, rounds = threads_for(chosen), chosen.rounds or (1 if chosen.quick else 3)
    kept = chosen.out or RESULTS / "banking77.json"
    record: dict[str, Any] = {"target": TARGET}
    if chosen.only and kept.is_file() and not chosen.quick:
        before = json.loads(kept.read_text(encoding="utf-8"))
        # A quick run's figures mean nothing and are never joined to a real one's.
        record |= {} if before["quick"] else {side: before[side] for side in SIDES if side in before}
    with workshop() as work:
        given = write_task(work, train, test, quick=chosen.quick)
        given |= {"epochs": 1.0 if chosen.quick else chosen.trainer_epochs}

        def measure(part: str) -> dict[str, Any]:
            return run_part("bench.banking77", part, given, threads=threads, work=work)

        if chosen.only != "trainer":
            record["shipped"] = {"machine": machine(threads), "run": measure("shipped")}
            record["reach"] = {"machine": machine(threads), "runs": [measure("reach") for _ in range(rounds)]}
        if chosen.only != "luthier":
            record["trainer"] = {"machine": machine(threads), "run": measure("trainer")}
    conclude("banking77", record, table(record), goals(record), quick=chosen.quick, out=chosen.out)
    return None


if __name__ == "__main__":
    sys.exit(main())

"""BANKING77: what the shipped defaults reach, and how long it takes to 93 % test accuracy against the Trainer and SetFit.

``shipped`` runs the whole circle on the official split with nothing tuned. ``reach`` trains as the circle does,
``trainer`` as transformers' TrainingArguments do by default (batch 8, 3 epochs, linear decay) at each of three rates,
``setfit`` as SetFit does by default (it may live in another environment: ``--peer-python``). Every clock starts when
model and data are loaded, counts tokenising and all training, and stands still only while the test rows are measured.
The test rows choose nothing on any side: they only tell when the clock may be read. The peers get all 10,003 rows,
Luthier those that its own preparation leaves (validation rows and leaks taken out).

A peer that has not got there in so many times Luthier's time (``--patience``) is stopped: it is at least that much slower.
SetFit has no classifier before its pairs are done and makes millions of them of 10,003 rows: it is looked at every so many
updates, each time with a classifier fitted on what the body is by then. That fit counts, and those of the looks before do not.
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
    spread,
    threads_for,
    workshop,
)
from bench.throughput import ORIGIN, read_rows

TARGET = 0.93
RATES = (5e-5, 1e-4, 2e-4)
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
        "train_rows": len(data.train), "precision": section.precision,
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
            control.should_training_stop = accuracy >= TARGET or seconds >= settings["most_s"]
            watch.start()

    watch.start()
    rows = classification_rows(tokenizer, texts, [labels[name] for name in names])
    trainer = classification_trainer(
        folder, tokenizer, rows, len(labels), output=Path(settings["work"]) / "trainer", callbacks=[Look()],
        num_train_epochs=settings["epochs"], learning_rate=settings["rate"], seed=SEED,
    )  # fmt: skip
    trainer.train()
    watch.stop()
    return {
        "reached": curve[-1]["accuracy"] >= TARGET, "seconds": curve[-1]["seconds"], "curve": curve,
        "train_rows": len(rows), "batch": trainer.args.per_device_train_batch_size, "rate": trainer.args.learning_rate,
        "epochs": settings["epochs"], "schedule": str(trainer.args.lr_scheduler_type.value),
        "precision": precision(trainer.model),
    }  # fmt: skip


def setfit_part(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Train SetFit on its own pairs; every few updates fit its head to the train rows and measure the test rows."""
    import setfit
    from datasets import Dataset
    from setfit import SetFitModel, Trainer, TrainingArguments
    from transformers import TrainerCallback

    texts, names = read_rows(Path(settings["train"]))
    test_texts, test_names = read_rows(Path(settings["test"]))
    model = SetFitModel.from_pretrained(settings["base"], labels=sorted(set(names)))
    watch, curve = Watch(), []

    class Look(TrainerCallback):
        """Fit the head as SetFit does at the end, and read the clock."""

        def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            if state.global_step % settings["setfit_looks"] and state.global_step != state.max_steps:
                return
            updates, fitting = watch.stop(), Watch()
            fitting.start()
            trainer.train_classifier(texts, names)
            seconds = updates + fitting.stop()
            said = [str(label) for label in model.predict(test_texts)]
            right = sum(mine == label for mine, label in zip(said, test_names, strict=True))
            curve.append({"seconds": seconds, "accuracy": right / len(said), "updates": state.global_step})
            print(curve[-1], flush=True)
            control.should_training_stop = curve[-1]["accuracy"] >= TARGET or seconds >= settings["most_s"]
            model.model_body.train()
            watch.start()

    told = TrainingArguments(output_dir=f"{settings['work']}/setfit", seed=SEED, report_to="none", save_strategy="no",
                             max_steps=settings["setfit_steps"])  # fmt: skip
    watch.start()
    rows = Dataset.from_dict({"text": texts, "label": names})
    trainer = Trainer(model=model, args=told, train_dataset=rows, callbacks=[Look()])
    trainer.train()
    watch.stop()
    return {
        "reached": curve[-1]["accuracy"] >= TARGET, "seconds": curve[-1]["seconds"], "curve": curve,
        "train_rows": len(texts), "setfit": setfit.__version__,
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


PARTS: dict[str, Part] = {"shipped": shipped_part, "reach": reach_part, "trainer": trainer_part, "setfit": setfit_part}
PEERS = ("trainer", "setfit")


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


def time_ratio(record: Mapping[str, Any], peer: str) -> tuple[float, bool] | None:
    """Return how many times sooner Luthier is at the target than a peer's best run, and whether that is only a lower bound.

    None where a side was not measured, or Luthier never got there.
    """
    reach, runs = record.get("reach"), record.get(peer)
    if not reach or not runs or not all(run["reached"] for run in reach["runs"]):
        return None
    mine = spread([run["seconds"] for run in reach["runs"]]).median
    there = [run["seconds"] for run in runs if run["reached"]]
    return (min(there) if there else max(run["seconds"] for run in runs)) / mine, not there


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
    for peer in PEERS:
        rows += [_peer_row(run) for run in record.get(peer, ())]
    text = markdown(("contender", "test accuracy", "seconds", "peak MB"), rows)
    for peer, called in zip(PEERS, ("the Trainer at the best of its rates", "SetFit"), strict=True):
        if found := time_ratio(record, peer):
            text += f"\n\nLuthier is at {TARGET:.0%} {'at least ' * found[1]}{figure(found[0])} times sooner than {called}."
    return text


def _peer_row(run: Mapping[str, Any]) -> list[object]:
    name = f"SetFit {run['setfit']}" if "setfit" in run else f"Trainer (batch {run['batch']}, rate {run['rate']:g})"
    said = f"to {TARGET:.0%}" if run["reached"] else f"and stopped; {TARGET:.0%} not reached"
    best = max(look["accuracy"] for look in run["curve"])
    return [name, f"{best:.2%} at best", f"{figure(run['seconds'])} {said}", figure(run["peak_memory_mb"])]


def goals(record: Mapping[str, Any]) -> list[Goal]:
    """Return the bars of the parts that were run."""
    found = []
    if "shipped" in record:
        accuracy = record["shipped"]["run"]["accuracy"]["value"]
        found.append(Goal("test accuracy of the shipped defaults", 0.943, accuracy))
    for peer, wanted in zip(PEERS, (10, 3), strict=True):
        if ratio := time_ratio(record, peer):
            found.append(Goal(f"times sooner at {TARGET:.0%} than {peer}{' (at least)' * ratio[1]}", wanted, ratio[0]))
    return found


def main() -> None:
    """Run the bench, or one of its parts."""
    parser = arguments("banking77", __doc__ or "")
    parser.add_argument("--only", nargs="+", choices=tuple(PARTS), default=tuple(PARTS), help="these sides alone")
    parser.add_argument("--rates", nargs="+", type=float, default=list(RATES), help="the Trainer's (default: %(default)s)")
    parser.add_argument("--trainer-epochs", type=float, default=3.0, help="let it go on (its default: %(default)g)")
    parser.add_argument("--patience", type=float, default=12.0, help="of Luthier's times, before a peer is stopped")
    parser.add_argument("--setfit-looks", type=int, default=50, help="updates between two looks at SetFit (default: %(default)s)")
    parser.add_argument("--peer-python", default=sys.executable, help="the Python that has setfit")
    chosen = parser.parse_args()
    if chosen.part:
        return answer_part(PARTS, chosen.part, chosen.settings)
    need_packages("datasets", "accelerate")
    train, test = (p.absolute() for p in need_files(chosen.data / "banking77", ["train.csv", "test.csv"], ORIGIN))
    threads, rounds = threads_for(chosen), chosen.rounds or (1 if chosen.quick else 3)
    record: dict[str, Any] = {"target": TARGET, "machine": machine(threads)}
    with workshop() as work:
        given = write_task(work, train, test, quick=chosen.quick)
        given |= {"epochs": 1.0 if chosen.quick else chosen.trainer_epochs, "most_s": 1e9}

        def measure(part: str, python: str = sys.executable, **more: Any) -> dict[str, Any]:
            return run_part("bench.banking77", part, {**given, **more}, threads=threads, work=work, python=python)

        if "shipped" in chosen.only:
            record["shipped"] = {"run": measure("shipped")}
        if "reach" in chosen.only:
            record["reach"] = {"runs": [measure("reach") for _ in range(rounds)]}
            given["most_s"] = chosen.patience * spread([run["seconds"] for run in record["reach"]["runs"]]).median
        if "trainer" in chosen.only:
            record["trainer"] = [measure("trainer", rate=rate) for rate in chosen.rates]
        if "setfit" in chosen.only:
            record["setfit"] = [measure(
                "setfit", chosen.peer_python, base=str(_embedded()), setfit_looks=1 if chosen.quick else chosen.setfit_looks,
                setfit_steps=2 if chosen.quick else 100_000,
            )]  # fmt: skip
    conclude("banking77", record, table(record), goals(record), quick=chosen.quick, out=chosen.out)
    return None


def _embedded() -> Path:
    from luthier.models import catalogue

    return Path(catalogue.find("embedded").folder)


if __name__ == "__main__":
    sys.exit(main())

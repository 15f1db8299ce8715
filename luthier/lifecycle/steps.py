"""The steps of one round, each a plain function of what came before; torch is loaded here and not earlier."""

from __future__ import annotations

import platform
import resource
import shutil
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy
import torch
import transformers

import luthier
import luthier.lifecycle.scoping as scoping
from luthier.base.errors import Fault, TaskError
from luthier.base.events import Emit, silent
from luthier.base.files import read_json, write_json
from luthier.base.records import Example, Prediction
from luthier.base.seeds import stable_hash
from luthier.data.augment.balance import Balance
from luthier.data.hub_card import facts_for_model
from luthier.data.prepare import Prepared
from luthier.data.shapes.layout import cell_settings
from luthier.evaluate import baselines as rivals_
from luthier.evaluate import metrics as measures
from luthier.evaluate.report.page import write_report
from luthier.lifecycle import frozen_rivals, kept_rivals, learnt, settling, writing
from luthier.lifecycle import kept as judgement
from luthier.lifecycle.augmenting import extend as extend_rows
from luthier.lifecycle.gauges import Gauge, without_rows
from luthier.lifecycle.judging import figures, predict_rows
from luthier.lifecycle.opening import Model as Model
from luthier.lifecycle.opening import open_model as open_model
from luthier.lifecycle.pricing import prices_of
from luthier.lifecycle.round import Round
from luthier.models import memory
from luthier.objectives import Learner
from luthier.objectives import probe as probes
from luthier.release.bundle import write_bundle
from luthier.release.predictor import Predictor
from luthier.spec.task import Task
from luthier.spec.train import TrainSection
from luthier.train import defaults, speed
from luthier.train.choose import Choice, choose_method
from luthier.train.few.contest import temper
from luthier.train.penalty import Penalty
from luthier.train.run import Outcome, fit

_PROBES = 32
# Where a contest on the train rows has chosen, fewer validation rows than this do not choose again.
_CHOOSING = 50


def resolve(round_: Round, data: Prepared, model: Model, *, contests: bool = True) -> Task:
    """Return the task with every `auto` of its training section decided; `contests` as in ``choose_method``."""
    task = round_.file.task
    section = task.train.model_copy(update={"method": _choose(round_, data, model, contests=contests).method})
    train = settle(section, objective=task.task.objective, rows=len(data.train), learner=model.learner, emit=round_.emit)
    if train.metric == "auto":
        train = train.model_copy(update={"metric": measures.CHOOSES[task.task.objective]})
    fault = measures.check_metric(train.metric, task.task.objective, data.labels, where="train.metric")
    if fault:
        raise TaskError.of([Fault(fault.what, f"{round_.file.path}: {fault.where}", fault.mend)])
    return task.model_copy(
        update={"train": train, "model": task.model.model_copy(update={"max_tokens": model.base.max_tokens})}
    )


def settle(
    section: TrainSection, *, objective: str, rows: int, learner: Learner, emit: Emit = silent
) -> TrainSection:
    """Return a section whose method is chosen with every other `auto` decided, by the learner where it knows better.

    Whoever fits a head before training reads the learner's untouched network in the precision that is decided here.
    """
    section = learner.decide(section)
    chosen = speed.choose(section, rows=rows, learner=learner)
    if learner.device.type == "cuda":
        for setting in chosen:
            emit("speed", key=setting.key, value=setting.value, why=setting.why, said=f"speed    {setting}")
    section = section.model_copy(update={setting.key: setting.value for setting in chosen})
    section = defaults.resolve(section, objective=objective, rows=rows, rates=learner.rates)
    speed.read_frozen(learner, section)
    return section


def _choose(round_: Round, data: Prepared, model: Model, *, contests: bool = True) -> Choice:
    """Choose the method, or take the choice of the run that is gone on with: free memory may have changed since."""
    kept = round_.folder / "choice.json"
    if kept.is_file():
        with suppress(ValueError, TypeError):  # a damaged file is no choice
            return Choice(**read_json(kept))
    choice = choose_method(model.learner, data.train, round_.file.task.train, contests=contests)
    write_json(kept, {"method": choice.method, "why": choice.why, "facts": dict(choice.facts)})
    said = f"method   {choice.method}: {choice.why}"
    round_.emit("method", method=choice.method, why=choice.why, said=said)
    if "contest" in choice.facts:
        round_.emit("contest", **choice.facts["contest"])
    return choice


def _chosen(round_: Round) -> dict[str, Any]:
    """Return why the method was chosen, and the contest where there was one."""
    kept = read_json(round_.folder / "choice.json")
    held = kept["facts"].get("contest")
    return {"why": kept["why"], **({"contest": held} if held else {})}


def rivals(round_: Round, data: Prepared, model: Model, identity: str) -> dict[str, list[Prediction]]:
    """Return what :func:`baselines` does; where the untuned model has to write for it, a run that goes on finds it kept."""
    if not (model.learner.writes or model.learner.measures):
        return baselines(round_, data, model)
    key = stable_hash([identity, data.report.fingerprint, model.base.found.sha256])
    return kept_rivals.kept(round_.folder / "prepared", key, lambda: baselines(round_, data, model))


def baselines(round_: Round, data: Prepared, model: Model) -> dict[str, list[Prediction]]:
    """Predict the test rows with the simple rivals: what the fine-tuned model must beat to be worth its cost."""
    began = time.monotonic()
    task = round_.file.task
    if not data.test:
        return {}
    found = learnt.fitted(task, data, data.test)
    found |= frozen_rivals.frozen(
        model.learner, data.train, data.test, lambda: predict_rows(Predictor(model.learner), data.test, task), seed=task.train.seed
    )
    if model.learner.writes or model.learner.measures or model.learner.ready:
        untuned = predict_rows(Predictor(model.learner), data.test, task)
        found |= rivals_.of_untuned(task.task.objective, untuned)
    round_.timed("baselines", began)
    found = scoping.never_declined(found) if scoping.asked(task) else found
    for name, predictions in found.items():
        values = figures(task.task.objective, data.test, predictions, data.labels)
        # A rival that has no tokens, say, has no perplexity: then the first metric it has.
        metric = next((m for m in (measures.DEFAULT[task.task.objective], *values) if values.get(m) is not None), None)
        if metric is not None:
            round_.emit("baseline", name=name, metric=metric, value=values[metric])
    return found


@dataclass(frozen=True)
class Extended:
    """The train rows as they are learnt from: with new rows and weights by label, where they were measured to help."""

    train: Sequence[Example]
    balance: Balance | None
    record: Mapping[str, Any]


def extend(round_: Round, data: Prepared, clashes: Callable[[Sequence[Example]], list[bool]]) -> Extended:
    """Augment and balance the train rows as the task asks; new rows that equal a valid or test row are left out."""
    task = round_.file.task
    if task.data.augment.when == "off" and task.data.balance == "none":
        return Extended(data.train, None, {})
    began = time.monotonic()
    train, balance, record = extend_rows(
        data.train,
        task=task,
        clashes=clashes,
        folder=round_.folder,
        emit=round_.emit,
        base_folder=round_.file.folder,
    )
    round_.timed("augment", began)
    return Extended(train, balance, record)


def train(
    round_: Round, data: Prepared, extended: Extended, model: Model, resolved: Task, identity: str, *,
    beside: tuple[Learner, Sequence[Example]] | None = None, pull: Callable[[], Penalty | None] | None = None,
    last: bool = True,
) -> Outcome:  # fmt: skip
    """Train the learner in place; its validation score comes from the predictor that serves.

    Args:
        beside: the learner joined with those of earlier stages, and the rows of theirs that are learnt again.
        pull: makes a penalty on the weights as they are before the first step.
        last: nothing changes the body after this.
    """
    began = time.monotonic()
    metric = resolved.train.metric
    gauge = Gauge(model.learner, data, resolved)
    choice = _choose(round_, data, model)
    # Among so few validation rows the fitted head ties with what was tuned from it, and the first of equals would be delivered.
    by_contest = "contest" in choice.facts and len(data.valid) < _CHOOSING
    learner, examples = model.learner, extended.train
    if beside:
        learner, examples = beside[0], [*examples, *beside[1]]
    outcome = fit(
        learner, examples, resolved.train, score=gauge if data.valid else None,
        lower_is_better=metric in measures.LOWER_IS_BETTER, folder=round_.folder / "checkpoints",
        identity=stable_hash([identity, data.report.fingerprint, model.base.found.sha256, extended.record.get("fingerprint")]), emit=round_.emit, stopper=round_.stopper, balance=extended.balance, pull=pull,
        to_the_end=by_contest, doubt=measures.doubt(metric, resolved.task.objective, len(data.valid)),
    )  # fmt: skip
    temper(model.learner, choice)
    settled = settling.settle(model.learner, data, resolved, prices_of(round_.file), last=last)
    for name, found in settled.items():
        outcome.facts[name] = found
        round_.emit(name, **found)
    round_.timed("train", began)
    return outcome


def facts(
    round_: Round, data: Prepared, extended: Extended, model: Model, resolved: Task, outcome: Outcome
) -> dict[str, Any]:
    """Gather what is known before the test rows are opened: the start of report.json and of the bundle's facts."""
    task = resolved.task
    return {
        "task": {"name": task.name, "objective": task.objective, "goal": task.goal},
        "name": task.name,
        "goal": task.goal,
        "luthier": luthier.__version__,
        "base": {"name": model.base.found.name, "sha256": model.base.found.sha256, "kind": model.base.config.model_type},
        "method": resolved.train.method,
        "rows": len(data.train),
        "fingerprint": data.report.fingerprint,
        "data": data.report.as_dict(),
        "augmented": dict(extended.record),
        "clean": dict(data.clean),
        "model": {
            "base": model.base.found.name,
            "method": resolved.train.method,
            "parameters": outcome.parameters.total,
            "trained": outcome.parameters.trained,
            "max_tokens": model.base.max_tokens,
        },
        "training": {
            "steps": outcome.steps, "planned_steps": outcome.planned_steps, "best_step": outcome.best_step,
            **_chosen(round_), "metric": resolved.train.metric, "best_score": outcome.best_score, "stopped_early": outcome.stopped_early,
            **outcome.facts,
        },
        "answering": outcome.facts.get("answering", {}).get("rule"),
        "costs": prices.as_dict() if (prices := prices_of(round_.file)) else None,
        "curve": {"steps": outcome.losses, "evaluations": without_rows(outcome.evaluations)},
        "environment": environment(),
    }  # fmt: skip


def probe(round_: Round, model: Model) -> dict[str, Any] | None:
    """Return the probe of general ability of the model as it stands, unless the task leaves it out."""
    if round_.file.task.keep.probe == "off":
        return None
    began = time.monotonic()
    found = probes.probe(model.learner)
    round_.timed("probe", began)
    return found


def changed(before: dict[str, Any] | None, after: dict[str, Any] | None) -> dict[str, Any]:
    """Return the record's entry on general ability before and after."""
    return probes.change(before, after)


def release(round_: Round, data: Prepared, model: Model, facts_: Mapping[str, Any]) -> Path:
    """Write the bundle, proven equal to the trained model on fixed rows."""
    began = time.monotonic()
    task = round_.file.task
    kept = {key: value for key, value in facts_.items() if key not in ("curve", "data", "environment")}
    kept |= {
        "serve": task.serve.model_dump(),
        "accept": dict(task.accept),
        "columns": dict(task.data.columns),
        "cells": cell_settings(task.data),
        "license": task.model.license,
        "data_card": facts_for_model(facts_["data"]),
        "test_rows": len(data.test),
        "json_schema": writing.schema_of(round_.file),
        **judgement.of_task(round_.file, round_.folder / "bundle"),
    }
    probes = (data.valid or data.train)[:_PROBES]
    folder = round_.folder / "bundle"
    bundle_id, difference = write_bundle(folder, model.learner, probes=probes, facts=kept)
    round_.timed("release", began)
    round_.emit("bundle", path=str(folder), id=bundle_id, reload_difference=difference)
    return folder


def page(record: Mapping[str, Any], folder: Path) -> Path:
    """Write report.html from the record."""
    return write_report(record, folder)


def environment() -> dict[str, Any]:
    """Return versions and machine, as far as they explain a result."""
    return {
        "python": platform.python_version(), "luthier": luthier.__version__, "torch": torch.__version__,
        "transformers": transformers.__version__, "numpy": numpy.__version__, "system": f"{platform.system()} {platform.machine()}",
        "device": torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu", "threads": torch.get_num_threads(),
        "free_disk_gb": round(shutil.disk_usage(Path.cwd()).free / 1e9, 1),
    }  # fmt: skip


def peak_memory_mb() -> int:
    """Return the largest resident size of this process so far, in MB.

    Linux keeps ``ru_maxrss`` over exec, so that a child may show its parent's; ``VmHWM`` belongs to this program alone.
    """
    peak = memory.peak_bytes()
    if peak is not None:
        return round(peak / 2**20)
    kilo = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return round(kilo / (1024 * 1024 if sys.platform == "darwin" else 1024))

"""A round over several stages: prepare all, train one after the other, measure all of them after each, pack, judge."""

from __future__ import annotations

import shutil
import time
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from luthier.base.errors import DataError, Fault, TaskError
from luthier.base.files import new_folder, write_json, write_text
from luthier.base.records import Prediction
from luthier.evaluate import compare, forgetting, verdict
from luthier.lifecycle import judging, staged, steps
from luthier.lifecycle.checking import tell_unshown
from luthier.lifecycle.circle import prepare_data
from luthier.lifecycle.round import Round
from luthier.lifecycle.sequence import Stage, Walk, stage_rounds
from luthier.objectives import probe
from luthier.release.folder import link_folder
from luthier.spec.bars import parse_bars
from luthier.spec.load import dump_task
from luthier.train import stages


def go_stages(round_: Round, *, judge: bool) -> tuple[dict[str, Any], Path]:
    """Do the round of a task with stages; return its record and the bundle of its last stage."""
    file = round_.file
    files = staged.stage_files(file)
    rounds = stage_rounds(round_, files)
    data = [prepare_data(one) for one in rounds]
    if faults := [*staged.data_faults(file.task, files, data), *staged.scope_faults(files, data)]:
        raise TaskError.of(Fault(f.what, f"{file.path}: {f.where}", f.mend) for f in faults)
    names = [stage.name for stage in file.task.stages]
    data, crossed, faults = staged.apart(names, files, data)
    if faults:
        raise DataError.of(faults)
    for one, inner, rows in zip(rounds, files, data, strict=True) if judge else ():
        tell_unshown(one.emit, inner, rows)
    walk = Walk(round_, [Stage(n, i, rounds[i], data[i]) for i, n in enumerate(names)])
    walk.train()
    write_text(round_.folder / "resolved.yaml", dump_task(_resolved(walk)))
    for stage in walk.stages:
        walk.scope(stage)
    bundles = [_release(walk, stage) for stage in walk.stages]
    walk.never_decline()
    record = _record(walk)
    record["sequence"]["crossed"] = crossed
    if judge:
        judged = Judge(walk, bundles).judge()
        judged["sequence"] = {**record["sequence"], **judged["sequence"]}
        judged["notes"] += [
            f"rows of stage {name} for training that test another stage: {n}" for name, n in crossed.items()
        ]
        record |= judged
    else:
        record |= {"verdict": "not judged", "reasons": [], "notes": ["The test rows were not opened."]}
    with new_folder(round_.folder / "bundle") as building:
        link_folder(bundles[-1], building)
    if judge:  # until then the states are what a later judgement is made of
        for stage in walk.stages:
            shutil.rmtree(stage.trained, ignore_errors=True)
    return record, round_.folder / "bundle"


def _resolved(walk: Walk) -> Any:
    """Return the task with every stage's settings decided."""
    task = walk.round_.file.task
    found = [
        stage.model_copy(update={"train": s.resolved.train})
        for stage, s in zip(task.stages, walk.stages, strict=True)
        if s.resolved is not None
    ]
    last = walk.stages[-1].resolved
    return task.model_copy(
        update={"stages": found, "train": found[-1].train, **({"model": last.model} if last else {})}
    )


def _release(walk: Walk, stage: Stage) -> Path:
    """Write a stage's bundle: the final body under that stage's head. Files equal to an earlier bundle's are linked."""
    assert stage.model is not None and stage.facts is not None
    model = steps.Model(stage.model.base, walk.trail.answering(stage.place))
    return steps.release(stage.round_, walk.data_of(stage), model, stage.facts)


def _record(walk: Walk) -> dict[str, Any]:
    """Return the record of the last stage with what is known of all: the validation matrix, the probe, the curves."""
    last = walk.stages[-1]
    assert last.facts is not None
    keep = walk.keep
    names = [stage.name for stage in walk.stages]
    before, after = walk.probes[0] if walk.probes else None, walk.probes[-1] if walk.probes else None
    return {
        **last.facts,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "resolved": dump_task(_resolved(walk)),
        "stages": [_stage_facts(stage) for stage in walk.stages],
        "sequence": {
            "stages": names, "metrics": [stage.metric for stage in walk.stages], "valid": walk.valid,
            "keep": {**keep.model_dump(mode="json"), "share": staged.share_of(keep)},
            "blends": {s.name: s.facts["blend"] for s in walk.stages if s.facts and "blend" in s.facts},
            "probes": [p["value"] if p else None for p in walk.probes],
        },
        **probe.change(before, after),
    }  # fmt: skip


def _stage_facts(stage: Stage) -> dict[str, Any]:
    assert stage.facts is not None
    facts = stage.facts
    return {
        "name": stage.name, "objective": stage.objective, "metric": stage.metric, "method": facts["method"],
        "splits": {**facts["data"]["splits"], "train": facts["rows"]}, "trained": facts["model"]["trained"], "steps": facts["training"]["steps"],
        "best_step": facts["training"]["best_step"], "rehearsed": facts["rehearsed"], "seconds": facts["stage_seconds"],
        "bundle": str(Path("stages") / stage.name / "bundle"),
    }  # fmt: skip


class Judge:
    """Opens the test rows of all stages: each judged by its own bars, and all of them measured as they stood after each stage."""

    def __init__(self, walk: Walk, bundles: Sequence[Path]) -> None:
        self.walk, self.bundles = walk, list(bundles)
        self.bars, _ = parse_bars(dict(walk.round_.file.task.accept))

    def judge(self) -> dict[str, Any]:
        found = [self._stage(stage, bundle) for stage, bundle in zip(self.walk.stages, self.bundles, strict=True)]
        began = time.monotonic()
        scores, answers = self._answers()
        tasks = [forgetting.Task(s.name, s.metric, s.objective, self.walk.data_of(s).labels) for s in self.walk.stages]
        matrix = self._matrix(scores, tasks)
        lost = forgetting.figures(matrix, tasks)
        spans = {tasks[j].name: self._span(j, matrix, answers, tasks) for j in range(len(tasks) - 1)}
        beside = self._beside(scores, answers, tasks)
        measured = {**found[-1]["metrics"]["test"], **forgetting.measured(lost, spans), **forgetting.measured_beside(beside)}
        for stage, one in zip(self.walk.stages, found, strict=True):
            measured |= {f"{name}@{stage.name}": value for name, value in one["metrics"]["test"].items()}
        self.walk.round_.timed("evaluate", began)
        return self._verdict(found, measured, self._sequence(matrix, lost, spans) | ({"beside": beside} if beside else {}))

    def _stage(self, stage: Stage, bundle: Path) -> dict[str, Any]:
        """Judge one stage by its own bundle, and write its report into its folder."""
        assert stage.facts is not None and stage.model is not None
        bars, _ = parse_bars(dict(stage.round_.file.task.accept))
        data = _with_labels(stage, self.walk)
        # The stage's own model stands on the tuned body by now: rivals need the base as it came.
        rivals = steps.baselines(stage.round_, data, steps.open_model(stage.round_, data))
        found = judging.judge(stage.round_, data, stage.facts, bundle, rivals, bars)
        record = {**stage.facts, **found, "created": datetime.now(UTC).isoformat(timespec="seconds")}
        write_json(stage.round_.folder / "report.json", record)
        steps.page(record, stage.round_.folder)
        return found

    def _answers(self) -> tuple[dict[tuple[int, int], dict[str, float | None]], dict[tuple[int, int], list[Prediction]]]:
        """Return by (stage after which, stage asked) every metric of the test rows, and the predictions behind them."""
        walk, scores, answers = self.walk, {}, {}
        for i, after in enumerate(walk.stages):
            stages.load(after.trained, walk.trail)
            for j, stage in enumerate(walk.stages[: i + 1]):
                if len(self.walk.known(stage)):
                    whole = stage.objective in forgetting.BESIDE
                    answers[i, j], scores[i, j] = walk.predictions(stage, walk.known(stage), after=i, whole=whole)
        return scores, answers

    def _matrix(self, scores: Any, tasks: Sequence[forgetting.Task]) -> list[list[float | None]]:
        """Return the test score of each stage after each, None where there is none."""
        places = range(len(tasks))
        return [[scores.get((i, j), {}).get(tasks[j].metric) for j in places] for i in places]

    def _beside(self, scores: Any, answers: Any, tasks: Sequence[forgetting.Task]) -> dict[str, Any]:
        """Return by metric what the stages that have it scored after each, beside their own metric, and what each lost of it."""
        found = {}
        for metric in forgetting.beside(self.bars, tasks):
            scored = [replace(task, metric=metric) for task in tasks]
            matrix = self._matrix(scores, scored)
            lost = {name: value for name, value in forgetting.figures(matrix, scored)["by_stage"].items() if value is not None}
            spans = {t.name: self._span(j, matrix, answers, scored) for j, t in enumerate(scored) if t.name in lost}
            found[metric] = {"test": matrix, "by_stage": lost, "intervals": {n: list(s) if s else None for n, s in spans.items()}}
        return found

    def _span(self, j: int, matrix: Any, answers: Any, tasks: Any) -> tuple[float, float] | None:
        """Return the 95 % interval of what a stage lost, by a paired bootstrap of its best predictions and its last."""
        last, stage = len(matrix) - 1, self.walk.stages[j]
        best = forgetting.best_stage(matrix, tasks, j)
        if (best, j) not in answers:
            return None
        rows = self.walk.known(stage)
        groups = [e.group for e in rows] if any(e.group for e in rows) else None
        found = compare.paired(
            stage.objective, judging.targets(rows), answers[last, j], answers[best, j], tasks[j].labels, groups=groups,
            resamples=self.walk.round_.file.task.evaluate.bootstrap, metrics=[tasks[j].metric],
        ).get(tasks[j].metric)  # fmt: skip
        if not found or found["low"] is None:
            return None
        low, high = sorted((tasks[j].sign * found["low"], tasks[j].sign * found["high"]))
        return low, high

    def _verdict(self, found: Any, measured: Any, sequence: dict[str, Any]) -> dict[str, Any]:
        rivals, doubts = self._held(found)
        whole = verdict.judge(self.bars, measured, rivals=rivals, doubts=doubts).as_dict()
        own = verdict.judge(staged.own_bars(self.bars), found[-1]["metrics"]["test"]).notes
        notes = [note for note in found[-1]["notes"] if note not in own]
        last = {name: value for name, value in found[-1].items() if name not in whole}
        keys = {*found[-1]["metrics"]["test"], *forgetting.NAMES, *(n for n in measured if n.startswith("forgetting["))}
        keys |= {f"{name}@{s.name}" for s in self.walk.stages[:-1] for name in (s.metric, *sequence.get("beside", ()))}
        keys |= {bar.metric for bar in self.bars}
        test = {name: value for name, value in measured.items() if name in keys}
        per_stage = [
            {**_stage_facts(stage), "verdict": one["verdict"], "test": one["metrics"]["test"].get(stage.metric),
             "baselines": {n: v.get(stage.metric) for n, v in one["baselines"].items()}}
            for stage, one in zip(self.walk.stages, found, strict=True)
        ]  # fmt: skip
        self.walk.round_.emit("stages_judged", test=sequence["test"], forgetting=sequence["forgetting"])
        return {**last, **whole, "notes": [*whole["notes"], *notes], "metrics": {"test": test}, "sequence": sequence,
                "stages": per_stage}  # fmt: skip

    def _held(self, found: Any) -> tuple[dict[str, Any], dict[str, str]]:
        """Return what each stage's bars were held against, by the names that they have in the whole task."""
        rivals, doubts = {}, {}
        for stage, one in zip(self.walk.stages, found, strict=True):
            for row in one["bars"]:
                for name in (f"{row['metric']}@{stage.name}", *([row["metric"]] if one is found[-1] else [])):
                    if row.get("rival"):
                        rivals[name] = verdict.rival_of(row)
                    if "doubt" in row:
                        doubts[name] = row["doubt"]
        return rivals, doubts

    def _sequence(self, matrix: Any, lost: Any, spans: Any) -> dict[str, Any]:
        intervals = {name: list(span) if span else None for name, span in spans.items()}
        return {"test": matrix, **lost, "intervals": intervals}


def _with_labels(stage: Stage, walk: Walk) -> Any:
    """Return a stage's open data, with the labels that its answering learner knows."""
    labels = walk.trail.answering(stage.place).labels
    return replace(stage.data, labels=labels) if labels else stage.data

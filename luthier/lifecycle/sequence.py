"""Several tasks one after the other: each stage trained with care for those before it, all of them measured after each."""

from __future__ import annotations

import functools
import shutil
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

import luthier.lifecycle.scoping as scoping
from luthier.base.errors import TrainError
from luthier.base.records import Example, Remembered
from luthier.base.seeds import derive_seed, stable_hash
from luthier.data.prepare import Prepared
from luthier.data.report import input_text
from luthier.evaluate import metrics as measures
from luthier.lifecycle import diagnosing, steps
from luthier.lifecycle.judging import figures, predict_rows
from luthier.lifecycle.round import Round
from luthier.lifecycle.staged import labels_so_far, share_of
from luthier.models.embed import Embedder
from luthier.objectives import probe
from luthier.objectives.joined import Joined
from luthier.objectives.labelled import Labelled
from luthier.objectives.learner import Learner
from luthier.release.predictor import Predictor
from luthier.spec.evaluate import EvaluateSection
from luthier.spec.load import TaskFile
from luthier.spec.stages import Keep
from luthier.spec.task import Task
from luthier.train import blend, stages
from luthier.train.penalty import STRENGTHS, Pull, fisher
from luthier.train.rehearse import remember
from luthier.train.stages import Trail


@dataclass
class Stage:
    """One stage under way: its round in a folder of its own, its data, and once it is opened, its model and settings."""

    name: str
    place: int
    round_: Round
    data: Prepared
    model: steps.Model | None = None
    resolved: Task | None = None
    facts: dict[str, Any] | None = None

    @property
    def trained(self) -> Path:
        return self.round_.folder / "trained"

    @property
    def metric(self) -> str:
        assert self.resolved is not None
        return str(self.resolved.train.metric)

    @property
    def objective(self) -> str:
        return str(self.round_.file.task.task.objective)


def stage_rounds(round_: Round, files: Sequence[TaskFile]) -> list[Round]:
    """Return a round for each stage: a folder of its own, events that carry its name, clocks that add up."""
    found = []
    for stage, file in zip(round_.file.task.stages, files, strict=True):
        emit = functools.partial(round_.emit, stage=stage.name)
        found.append(Round(file, round_.folder / "stages" / stage.name, emit, round_.stopper, round_.seconds))
    return found


class Walk:
    """The way through all stages; :meth:`train` does it, or takes it up where it was left."""

    def __init__(self, round_: Round, all_stages: Sequence[Stage]) -> None:
        self.round_, self.stages = round_, list(all_stages)
        self.keep = round_.file.task.keep
        self.trail = Trail(self.keep)
        self.valid: list[list[float | None]] = []
        self.probes: list[dict[str, Any] | None] = []

    def train(self) -> None:
        """Train every stage that is not finished yet, in order, and leave the model as it is after the last."""
        for stage in self.stages:
            said = f"stage    {stage.place + 1} of {len(self.stages)}: {stage.name}"
            self.round_.emit("stage", name=stage.name, number=stage.place + 1, of=len(self.stages), said=said)
            self._open(stage)
            settings = self._settings(stage)
            facts = stages.facts_of(stage.trained, settings=settings)
            if facts is None:
                facts = self._learn(stage)
                stages.save(stage.trained, self.trail, facts, settings=settings)
                shutil.rmtree(stage.round_.folder / "checkpoints", ignore_errors=True)
            else:
                stages.load(stage.trained, self.trail)
                self.round_.emit(
                    "resumed", step=facts["training"]["steps"], checkpoint=f"the end of stage {stage.name}"
                )
            stage.facts = facts
            self.valid.append(list(facts["valid"]))
            self.probes.append(facts["probed"])
            self._tell(stage)

    def scope(self, stage: Stage) -> None:
        """Fit what tells texts of no label of a stage, where it is asked, on the body as the last stage left it."""
        learner, task = self.trail.answering(stage.place), stage.round_.file.task
        if scoping.asked(task) is None or not isinstance(learner, Labelled) or not len(stage.data.valid):
            return
        assert stage.facts is not None
        found = scoping.settle(learner, self.data_of(stage), task)
        stage.facts["training"]["scope"] = found
        stage.round_.emit("scope", **found)

    def never_decline(self) -> None:
        """Take away what :meth:`scope` fitted: how things stood after each stage is measured of the labels alone."""
        for learner in self.trail.learners:
            if isinstance(learner, Labelled):
                learner.scope = None

    def known(self, stage: Stage) -> Sequence[Example]:
        """Return the test rows of a stage that have one of its labels, or any target where it has no labels."""
        outside = stage.round_.file.task.data.out_of_scope
        return stage.data.test if outside is None else [row for row in stage.data.test if row.target != outside.label]

    def _settings(self, stage: Stage) -> str:
        """Return a hash of all that decides where things stand after a stage: it and those before it, nothing later."""
        from luthier.lifecycle.circle import inputs_hash

        aside = {"accept": {}, "evaluate": EvaluateSection(), "keep": Keep()}
        so_far = [s.round_.file for s in self.stages[: stage.place + 1]]
        files = [inputs_hash(replace(f, task=f.task.model_copy(update=aside))) for f in so_far]
        keep = self.keep.model_dump(mode="json") if stage.place else {"columns": self.keep.columns}
        return stable_hash([files, keep])

    def _open(self, stage: Stage) -> None:
        data = self.data_of(stage)
        stage.model = steps.open_model(stage.round_, data)
        if self.keep.probe != "off" and not self.trail.learners:
            self.probes.append(probe.probe(stage.model.learner))
        self.trail.join(stage.model.learner)
        stage.resolved = steps.resolve(stage.round_, data, stage.model, contests=False)
        stage.round_.emit("resolved", settings=stage.resolved.model_dump(mode="json"))

    def data_of(self, stage: Stage) -> Prepared:
        """Return a stage's data with its test rows closed; where one head grows, with all labels so far."""
        closed = stage.data.sealed()
        if self.keep.head != "shared":
            return closed
        return replace(closed, labels=labels_so_far([s.data for s in self.stages], stage.place))

    def _learn(self, stage: Stage) -> dict[str, Any]:
        from luthier.lifecycle.circle import clashes

        model, resolved, data = stage.model, stage.resolved, self.data_of(stage)
        assert model is not None and resolved is not None
        blends = stage.place > 0 and self.keep.blend != "none"
        before = {name: p.detach().clone() for name, p in self.trail.body().items()} if blends else {}
        extended = steps.extend(stage.round_, data, clashes(stage.data))
        kept = self._remembered(stage)
        began = time.monotonic()
        outcome = steps.train(
            stage.round_, data, extended, model, resolved, self._settings(stage),
            beside=(self._joined(stage, kept), kept) if kept or stage.place else None,
            pull=functools.partial(self._pull, stage) if self._pulls(stage) else None, last=False,
        )  # fmt: skip
        self.trail.settle()
        facts = steps.facts(stage.round_, data, extended, model, resolved, outcome)
        facts["diagnosis"] = diagnosing.diagnosis(stage.round_, data, outcome)
        facts |= {"stage": stage.name, "rehearsed": _by_stage(self.stages, kept)}
        if blends:
            facts["blend"] = self._blend(stage, before).as_dict()
        facts |= {"valid": self.scores(), "probed": self._probe()}
        facts["stage_seconds"] = round(time.monotonic() - began, 2)
        return facts

    def _remembered(self, stage: Stage) -> list[Remembered]:
        """Return the rows of earlier stages that this one learns again: training rows only."""
        share = share_of(self.keep)
        if not share or self.keep.columns != "none":
            return []
        kept: list[Remembered] = []
        for earlier in self.stages[: stage.place]:
            kept += remember(
                earlier.data.train, share=share, choose=self.keep.rehearse.choose, stage=earlier.place,
                seed=self.stages[0].round_.file.task.train.seed,
                vectors=lambda rows: Embedder().embed([input_text(e) for e in rows]),
            )  # fmt: skip
        how = self.keep.rehearse.choose
        said = {"said": f"rehearse {len(kept)} rows of earlier stages ({share:.0%}, {how})"} if kept else {}
        stage.round_.emit("rehearse", rows=len(kept), share=share, choose=how, **said)
        return kept

    def _joined(self, stage: Stage, kept: Sequence[Remembered]) -> Learner:
        assert stage.model is not None
        known = len(labels_so_far([s.data for s in self.stages], stage.place - 1)) if self.keep.head == "shared" else 0
        if self.keep.columns != "none":
            return stage.model.learner
        earlier = {e.stage: self.trail.answering(e.stage) for e in kept}
        shares = self._shares(stage, kept) if known and kept else None
        return Joined.over(stage.model.learner, earlier, stage.data.train, kept, kept_labels=known, shares=shares)

    def _shares(self, stage: Stage, kept: Sequence[Remembered]) -> list[float]:
        """Return of each label of a head that grows the share of its rows that this stage learns from; half a row for none."""
        whole = Counter(e.target for earlier in self.stages[: stage.place] for e in earlier.data.train)
        there = Counter(e.target for e in kept)
        own = {e.target for e in stage.data.train}
        assert stage.model is not None
        return [
            1.0 if label in own or not whole[label] else max(0.5, there[label]) / whole[label]
            for label in stage.model.learner.labels
        ]

    def _pulls(self, stage: Stage) -> bool:
        return stage.place > 0 and self.keep.penalty.kind != "none"

    def _pull(self, stage: Stage) -> Pull:
        """Return the penalty on what learns of the body, as it stands before the stage's first step."""
        settings, model = self.keep.penalty, stage.model
        assert model is not None
        ids = {id(p) for learner in self.trail.learners[:-1] for p in learner.network.parameters()}
        held = {n: p for n, p in model.learner.network.named_parameters() if p.requires_grad and id(p) in ids}
        if not held:
            raise TrainError(
                f"{settings.kind} has nothing to pull back: none of the weights that learn was there before this stage",
                where=f"stages.{stage.place}.train.method", mend="Use full or last-layers, or keep.penalty.kind: none.",
            )  # fmt: skip
        strength = STRENGTHS[settings.kind] if settings.strength == "auto" else float(settings.strength)
        if settings.kind == "l2-sp":
            return Pull(held, strength=strength)
        seed = self.stages[0].round_.file.task.train.seed
        looked = []
        for earlier in self.stages[: stage.place]:
            learner, rows = self.trail.answering(earlier.place), earlier.data.train
            places = torch.randperm(len(rows), generator=torch.Generator().manual_seed(derive_seed(seed, "fisher")))
            encoded = [learner.encode(rows[int(i)]) for i in places[: settings.rows]]
            looked.append((learner, [e for e in encoded if e is not None]))
        return Pull(held, strength=strength, importance=fisher(held, looked, seed=derive_seed(seed, "fisher-labels")))

    def _blend(self, stage: Stage, before: Mapping[str, torch.Tensor]) -> blend.Blended:
        names = [s.name for s in self.stages[: stage.place + 1]]

        def score() -> dict[str, float]:
            return {n: v for n, v in zip(names, self.scores(), strict=True) if v is not None}

        lower = [s.name for s in self.stages[: stage.place + 1] if s.metric in measures.LOWER_IS_BETTER]
        found = blend.blend(self.trail.body(), before, score=score, asked=self.keep.blend, lower=lower)
        stage.round_.emit(
            "blend", share=found.share, scores=next(p["scores"] for p in found.curve if p["share"] == found.share)
        )
        return found

    def scores(self) -> list[float | None]:
        """Return the validation score of every stage so far, by the model as it stands."""
        return [self.score(stage, stage.data.valid) for stage in self.stages[: len(self.trail.learners)]]

    def score(self, stage: Stage, rows: Any) -> float | None:
        """Return a stage's own metric on rows of it, through the predictor that serves."""
        if not len(rows):
            return None
        return self.predictions(stage, rows)[1].get(stage.metric)

    def predictions(
        self, stage: Stage, rows: Any, *, after: int = -1, whole: bool = False
    ) -> tuple[list[Any], dict[str, float | None]]:
        """Return the predictions on rows of a stage by the model as it stands, and their metrics.

        Args:
            after: the stage whose state has been loaded, where that is not the latest.
            whole: write answers too, where the stage's own metric needs none.
        """
        assert stage.resolved is not None
        learner = self.trail.answering(stage.place, after=after)
        predictor = Predictor(learner)
        if predictor.measures and stage.metric in measures.MEASURED and not whole:
            found = predictor.measure(rows)
        else:
            found = predict_rows(predictor, rows, stage.resolved)
        return found, figures(stage.objective, rows, found, learner.labels or stage.data.labels)

    def _probe(self) -> dict[str, Any] | None:
        return None if self.keep.probe == "off" else probe.probe(self.trail.learners[-1])

    def _tell(self, stage: Stage) -> None:
        scores = dict(zip([s.name for s in self.stages], self.valid[-1], strict=False))
        told = ", ".join(f"{name} {'undefined' if v is None else format(v, '.3f')}" for name, v in scores.items())
        said = f"after    {stage.name}, on validation rows: {told}"
        self.round_.emit("stage_scores", after=stage.name, scores=scores, side="valid", said=said)


def _by_stage(all_stages: Sequence[Stage], kept: Sequence[Remembered]) -> dict[str, int]:
    counts: dict[str, int] = {}
    for row in kept:
        counts[all_stages[row.stage].name] = counts.get(all_stages[row.stage].name, 0) + 1
    return counts

"""One training run: fit the head, loop, score, keep the best, save, stop, resume."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from luthier.base.errors import Interrupted, TrainError
from luthier.base.events import Emit, silent
from luthier.base.interrupt import Stopper
from luthier.base.records import Encoded, Example, StepReport, Tagged
from luthier.base.seeds import derive_seed, stable_hash
from luthier.data.augment.balance import Balance
from luthier.models import freeze, methods
from luthier.models.methods import Counted, count, load_trained_state
from luthier.objectives.cut import Kept
from luthier.objectives.heads import use
from luthier.objectives.joined import Joined
from luthier.objectives.labelled import Labelled
from luthier.objectives.learner import Learner
from luthier.spec.train import ASIDE, TrainSection
from luthier.train import checkpoint, speed
from luthier.train.checkpoint import Progress, copy_state
from luthier.train.defaults import make_plan
from luthier.train.guard import Lowered, Skipped, Smaller, careful
from luthier.train.loop import Plan, precision
from luthier.train.optim import make_optimizer
from luthier.train.penalty import Penalty

# Settings that change time and memory and not what is learnt: a run may go on with others, on another machine.
_NOT_LEARNT_FROM = ("checkpointing", "compile", "micro_tokens")

# Rows that are made tokens of at once: enough for all cores, few enough to stop between them.
_AT_ONCE = 1000

# One number, or figures of which `score` is the one that chooses; the others are kept beside it.
Score = Callable[[], float | Mapping[str, Any]]


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a run went. ``best_step`` 0 means that the fitted head alone was best; losses are nats per learnt unit."""

    steps: int
    planned_steps: int
    best_step: int
    best_score: float | None
    stopped_early: bool
    evaluations: list[dict[str, Any]]
    losses: list[dict[str, float]]
    seconds: float
    parameters: Counted
    facts: dict[str, Any]


def fit(
    learner: Learner, examples: Sequence[Example], section: TrainSection, *, score: Score | None, lower_is_better: bool = False,
    folder: Path | None = None, identity: str = "", emit: Emit = silent, stopper: Stopper | None = None,
    balance: Balance | None = None, pull: Callable[[], Penalty | None] | None = None, to_the_end: bool = False,
    doubt: Callable[[float], float] | None = None,
) -> Outcome:  # fmt: skip
    """Train ``learner`` in place and leave its best weights in it.

    Args:
        section: resolved settings, without `auto`, but for those of :mod:`luthier.train.speed`.
        score: measures the learner on validation rows; without it the last weights are delivered. It may return more
            than the score: all of it is kept with the evaluation.
        folder: where checkpoints are kept and looked for; without it nothing is saved.
        identity: a hash of the data and the base model, so that a checkpoint is never resumed on other rows.
        balance: how rare labels count more (classify): by their weight in the loss and the head's fit, or by being drawn.
        pull: makes a penalty on the weights as they are before the first step, once it is known which of them learn.
        to_the_end: the score is told but chooses nothing: the last weights are delivered.
        doubt: the standard error of a score. Earlier weights are then delivered only if they were better than those of the last
            step by more than that: the rate has fallen to nothing there, and the best of several looks is partly luck.
    """
    if section.threads:
        torch.set_num_threads(section.threads)
    torch.manual_seed(derive_seed(section.seed, "weights"))
    section = speed.settle(section, rows=len(examples), learner=learner)
    learner.prepare_training(section)
    if section.method in methods.SHIFTS:
        forget(learner)
    speed.prepare(learner, section)
    rows, names = encode_all(learner, learner.choose(examples), emit)
    plan = make_plan(section, rows=len(rows))
    with precision(learner, plan):
        rows = learner.refer(rows)
    parameters = count(learner)
    if not parameters.trained:
        raise TrainError("no parameter learns with these settings", where="train.method", mend="Use lora, last-layers or full.")
    if plan.gradual:
        freeze.check_stages(freeze.stages(learner), plan.steps)
    optimizer = make_optimizer(learner, rate=plan.rate, weight_decay=section.weight_decay,
                               layer_decay=float(section.layer_decay), kind=section.optimizer)  # fmt: skip
    settings = stable_hash([identity, section.model_dump(mode="json", exclude={*_NOT_LEARNT_FROM, *ASIDE}),
                            *([balance.as_dict()] if balance else [])])  # fmt: skip
    if folder is not None:
        checkpoint.check_room(folder, learner=learner, scored=score is not None)
    if section.nonfinite == "lower-rate" and score is None:
        raise TrainError(
            "`lower-rate` goes back to the best weights, and there are no validation rows to tell which they are",
            where="train.nonfinite", mend="Give validation rows (data.split or data.valid), or use skip.",
        )  # fmt: skip
    penalty = pull() if pull else None
    by_row = _balance(learner, rows, balance)
    run = _Run(learner, rows, names, section, plan, optimizer, score, lower_is_better, folder, settings, emit, stopper)
    run.by_row, run.draws = by_row, by_row if balance and balance.kind == "resample" else None
    run.penalty, run.to_the_end, run.doubt = penalty, to_the_end, doubt
    run.begin()
    run.loop()
    speed.release(learner)
    return run.finish(parameters)


def encode_all(learner: Learner, examples: Sequence[Example], emit: Emit) -> tuple[list[Encoded], list[str]]:
    """Encode the training rows; what cannot be learnt from is counted and told."""
    rows, names, lost = [], [], []
    for start in range(0, len(examples), _AT_ONCE):
        some = examples[start : start + _AT_ONCE]
        for example, encoded in zip(some, learner.encode_all(some), strict=True):
            if encoded is None:
                lost.append(str(example.source))
                continue
            rows.append(encoded)
            names.append(str(example.source))
    cut = 0 if learner.windows else sum(r.longest >= learner.max_tokens for r in rows)
    if not rows:
        raise TrainError(
            f"no training row fits in {learner.max_tokens} tokens with its whole answer",
            where="model.max_tokens", mend="Raise it, or shorten the answers.",
        )  # fmt: skip
    packed, first = learner.pack(rows)
    emit(
        "encoded", rows=len(packed), too_long=len(lost), too_long_rows=lost[:20], cut=cut, tokens=sum(map(len, packed))
    )
    return packed, [names[i] for i in first]


def _balance(learner: Learner, rows: Sequence[Encoded], balance: Balance | None) -> list[float] | None:
    """Set the learner's weights, if rows weigh; return each row's weight, or how often it is drawn."""
    learner = learner.current if isinstance(learner, Joined) else learner
    if not isinstance(learner, Labelled):
        if balance:
            raise TrainError(
                f"{learner.objective} has no labels to balance", where="data.balance", mend="Set it to none."
            )
        return None
    by_label = balance.of(learner.labels) if balance else None
    learner.weigh(by_label if balance and balance.kind == "weights" else None)
    if by_label is None:
        return None
    return [1.0 if row.label is None or isinstance(row, Tagged) else by_label[row.label] for row in rows]


def forget(learner: Learner) -> None:
    """Let go of features of the network as it was: it learns, or reads otherwise."""
    inner = learner.current if isinstance(learner, Joined) else learner
    if isinstance(kept := getattr(inner, "frozen", None), Kept):
        kept.forget()


class _Run:
    """The state of one run; its methods are the phases of :func:`fit`."""

    def __init__(
        self, learner: Learner, rows: list[Encoded], names: list[str], section: TrainSection, plan: Plan,
        optimizer: torch.optim.Optimizer, score: Score | None, lower_is_better: bool, folder: Path | None, settings: str,
        emit: Emit, stopper: Stopper | None,
    ) -> None:  # fmt: skip
        self.learner, self.rows, self.names, self.section, self.plan = learner, rows, names, section, plan
        self.optimizer, self.score, self.sign = optimizer, score, -1.0 if lower_is_better else 1.0
        self.folder, self.settings, self.emit = folder, settings, emit
        self.stopper = stopper or Stopper()
        self.progress = Progress()
        self.best: dict[str, torch.Tensor] | None = None
        self.began = self.saved = time.monotonic()
        self.before = 0.0
        self.by_row: list[float] | None = None
        self.draws: list[float] | None = None
        self.penalty: Penalty | None = None
        self.to_the_end = False
        self.doubt: Callable[[float], float] | None = None
        self.held_step = 0

    def begin(self) -> None:
        """Resume from the newest whole checkpoint, or fit the head and take the first score."""
        if self.folder is not None:
            found = checkpoint.restore(
                self.folder, learner=self.learner, optimizer=self.optimizer, settings=self.settings,
                say=lambda text: self.emit("warning", text=text),
            )  # fmt: skip
            if found is not None:
                self.progress, self.best = found.progress, found.best
                self.before, self.held_step = found.progress.seconds, found.progress.step
                self.learner.resumed(found.progress.facts)
                self.emit("resumed", step=found.progress.step, checkpoint=found.path.name)
                return
        begun = self.learner.begin(self.rows, train=self.section, weights=self.by_row)
        for name, facts in begun.items():
            self.progress.facts[name] = facts
            self.emit(name, **facts)
        forget(self.learner)
        torch.manual_seed(derive_seed(self.section.seed, "training"))
        self._evaluate()

    def loop(self) -> None:
        """Run the steps that are left; scores, checkpoints and signals come between two of them."""
        if "head" in self.progress.facts and use.is_all(self.learner, self.section.method):
            self.plan = replace(self.plan, steps=0)
        wanted = min(self.section.evaluations, self.plan.steps)
        due = {round(self.plan.steps * (i + 1) / wanted) for i in range(wanted)}
        if self.progress.step in due:  # a run that was stopped while it was measured here
            self._evaluate()
        if self._stops_early():
            return
        steps = careful(self.learner, self.rows, self.plan, self.optimizer, self.progress.care, section=self.section,
                        start=self.progress.step, names=self.names, draws=self.draws, penalty=self.penalty)  # fmt: skip
        with self.stopper.deferred():
            for event in steps:
                if isinstance(event, Smaller | Lowered):
                    self._bear(event)
                    continue
                self._note(event)
                if event.step in due:
                    self._measure()
                    if self._stops_early():
                        break
                if self.stopper.pending or time.monotonic() - self.saved >= self.section.checkpoint_s:
                    self._save()
                self.stopper.check()
            if self.progress.step > self.held_step:
                self._save()  # what comes after training may be stopped as well
            self.stopper.check()

    def _bear(self, event: Smaller | Lowered) -> None:
        """Tell what was borne, and go back to the best weights where the rate was lowered."""
        if isinstance(event, Smaller):
            said = (f"memory   {event.tokens} tokens at a time are too many (step {event.step}); from now on "
                    f"train.micro_tokens is {event.micro_tokens}")  # fmt: skip
            self.emit("memory", step=event.step, tokens=event.tokens, micro_tokens=event.micro_tokens, said=said)
            return
        assert self.best is not None
        load_trained_state(self.learner, self.best)
        self.optimizer.state.clear()
        said = (f"lowered  {event.what} at step {event.step} ({event.rows}); back to the weights of step "
                f"{self.progress.best_step}, at {event.factor:g} of the rate")  # fmt: skip
        self.emit("lowered", step=event.step, what=event.what, rows=event.rows, factor=event.factor, said=said)

    def _measure(self) -> None:
        """Take a score; a signal stops it, and the state before it is kept."""
        try:
            self._evaluate()
        except Interrupted:
            self._save()
            raise

    def _note(self, report: StepReport | Skipped) -> None:
        self.progress.step = report.step
        if isinstance(report, Skipped):
            said = f"skipped  step {report.step}: {report.what} ({report.rows})"
            self.emit("skipped", step=report.step, what=report.what, rows=report.rows, said=said)
            return
        self.progress.losses.append({"step": report.step, "loss": round(report.loss, 6), "rate": report.rate})
        self.emit(
            "step", step=report.step, steps=self.plan.steps, epoch=round(report.epoch, 3), loss=round(report.loss, 5),
            rate=report.rate, grad_norm=round(report.grad_norm, 4), rows=report.rows, tokens=report.tokens,
            padded_tokens=report.padded_tokens, seconds=round(report.seconds, 4),
        )  # fmt: skip

    def _evaluate(self) -> None:
        progress = self.progress
        if self.score is None or (progress.evaluations and progress.evaluations[-1]["step"] == progress.step):
            return
        # A signal stops the measuring at once; what it found is noted as a whole or not at all.
        with self.stopper.at_once():
            if progress.step:
                self.learner.refit(self.rows, weights=self.by_row)
            self.learner.eval()
            found = self.score()
        figures = dict(found) if isinstance(found, Mapping) else {"score": found}
        value = float(figures["score"])
        if not math.isfinite(value):
            self._without_score(figures)
            return
        progress.evaluations.append({"step": progress.step, **figures})
        better = self.to_the_end or self._exceeds(progress.best_score, value, by=-self._luck())
        if better:
            progress.best_score, progress.best_step = value, progress.step
            self.best = copy_state(self.learner)
        # Small gains are delivered but buy no more patience; they add up, since what they are held against stays.
        if self._exceeds(progress.held, value, by=self.section.min_delta):
            progress.held, progress.stale = value, 0
        else:
            progress.stale += 1
        told = {name: round(v, 6) for name, v in figures.items() if name.endswith("_loss") and isinstance(v, float)}
        self.emit("evaluation", step=progress.step, score=round(value, 6), best=better, **told)

    def _without_score(self, figures: dict[str, Any]) -> None:
        """Note an evaluation whose score is not a number: it is no better than any other, and costs patience."""
        progress = self.progress
        progress.evaluations.append({"step": progress.step, **figures, "score": None})
        progress.stale += 1
        if self.best is None or self.to_the_end:
            self.best, progress.best_step = copy_state(self.learner), progress.step
        self.emit("warning", text=f"the validation score at step {progress.step} is not a number ({figures['score']})")

    def _luck(self) -> float:
        """Return by how much an earlier score may be above that of the last step without being better."""
        best, step = self.progress.best_score, self.progress.step
        return self.doubt(best) if self.doubt and best is not None and 0 < step == self.plan.steps else 0.0

    def _exceeds(self, before: float | None, value: float, *, by: float = 0.0) -> bool:
        return before is None or self.sign * (value - before) > by

    def _stops_early(self) -> bool:
        return self.progress.stale >= self.section.patience and not self.to_the_end

    def _save(self) -> None:
        self.saved = time.monotonic()
        if self.folder is None:
            return
        self.progress.seconds = self.before + time.monotonic() - self.began
        path = checkpoint.save(
            self.folder, learner=self.learner, optimizer=self.optimizer, progress=self.progress, best=self.best,
            settings=self.settings,
        )  # fmt: skip
        self.held_step = self.progress.step
        self.emit("checkpoint", step=self.progress.step, path=str(path))

    def finish(self, parameters: Counted) -> Outcome:
        """Put the best weights back and say how it went."""
        if self.best is not None and self.progress.best_step != self.progress.step:
            load_trained_state(self.learner, self.best)
        elif self.score is None and self.progress.step:
            self.learner.refit(self.rows, weights=self.by_row)
        self.learner.eval()
        progress = self.progress
        return Outcome(
            steps=progress.step, planned_steps=self.plan.steps, best_step=progress.best_step, best_score=progress.best_score,
            stopped_early=progress.step < self.plan.steps, evaluations=progress.evaluations, losses=progress.losses,
            seconds=self.before + time.monotonic() - self.began, parameters=parameters, facts=progress.facts | progress.care.facts(),
        )  # fmt: skip

"""A base model opened, and the objective's learner made of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch

from luthier.base.errors import Fault, TaskError, did_you_mean
from luthier.data.prepare import Prepared
from luthier.lifecycle.round import Round
from luthier.models import catalogue
from luthier.models.load import Base, device, open_base
from luthier.objectives import OBJECTIVES, Learner
from luthier.objectives.classify import Classifier
from luthier.objectives.rank import Ranker
from luthier.spec.load import TaskFile
from luthier.spec.model import ModelSection


@dataclass(frozen=True)
class Model:
    """An opened base model with the learner made of it."""

    base: Base
    learner: Learner


def open_model(round_: Round, data: Prepared) -> Model:
    """Open the base model and make the objective's learner of it."""
    task = round_.file.task
    if task.train.threads:
        torch.set_num_threads(task.train.threads)
    torch.manual_seed(task.train.seed)
    found = catalogue.find(task.base, folder=round_.file.folder, revision=task.model.revision)
    base = open_base(found, max_tokens=task.model.max_tokens)
    learner = make_learner(round_.file, data, base)
    round_.emit(
        "model", base=found.name, architecture=base.config.model_type, max_tokens=base.max_tokens, device=str(device())
    )
    return Model(base, learner)


def make_learner(file: TaskFile, data: Prepared, base: Base) -> Learner:
    """Return the objective's learner of an opened base model, on the device that networks run on here."""
    learner = learner_of(file.task.task.objective, data, base, file.task.model, scale=file.task.data.scale)
    _describe(file, data, learner)
    if isinstance(learner, Ranker):  # asked before it is tuned, it answers as it will: with lists as long
        learner.settings = file.task.train.rank
    return learner.to(device())


def learner_of(objective: str, data: Prepared, base: Base, model: ModelSection, *, scale: Any) -> Learner:
    """Return the learner of an objective on an opened base, which knows the labels and what the train rows show of scores and items.

    Args:
        scale: what the task says of the scale of scores (``data.scale``); nothing where it says nothing.
    """
    kind = OBJECTIVES[objective]
    told = {"told_scale": scale} if scale else {}
    return kind.create(base, labels=data.labels, model=model, known={**kind.look(data.train), **told, **data.known})


def _describe(file: TaskFile, data: Prepared, learner: Learner) -> None:
    """Hand the labels' descriptions to the learner."""
    given = file.task.data.descriptions
    if not given:
        return
    where = f"{file.path}: data.descriptions"
    if not isinstance(learner, Classifier):
        raise TaskError(f"`{learner.objective}` has no labels to describe", where=where, mend="Leave it out.")
    faults = [
        Fault(f'no train row has the label "{label}"', where, did_you_mean(label, data.labels) or "Leave it out.")
        for label in given
        if label not in data.labels
    ]
    if faults:
        raise TaskError.of(faults)
    learner.describe(given)

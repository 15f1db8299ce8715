"""The whole task file as one frozen object."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from luthier.spec.common import Section
from luthier.spec.data import DataSection
from luthier.spec.evaluate import EvaluateSection
from luthier.spec.model import ModelSection
from luthier.spec.serve import ServeSection
from luthier.spec.train import TrainSection

ObjectiveName = Literal["classify", "multilabel", "grade", "extract", "rank", "generate", "prefer", "text"]


class TaskSection(Section):
    """What is wanted and why."""

    name: str = Field(
        "task", pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", description="Short name: letters, digits, - and _."
    )
    objective: ObjectiveName = Field(description="What is predicted.")
    goal: str = Field("", description="Who uses it and for what: shown in the report and the model card.")


class Task(Section):
    """A task file, typed and checked."""

    task: TaskSection = Field(description="What is wanted.")
    data: DataSection = Field(description="The rows.")
    model: ModelSection = Field(default_factory=ModelSection, description="The base model.")
    train: TrainSection = Field(default_factory=TrainSection, description="How it learns.")
    evaluate: EvaluateSection = Field(default_factory=EvaluateSection, description="How it is measured.")
    accept: dict[str, str] = Field(
        default_factory=dict, description="The definition of done: a bar for each metric named."
    )
    serve: ServeSection = Field(default_factory=ServeSection, description="How it is served.")

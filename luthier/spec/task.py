"""The whole task file as one frozen object."""

from __future__ import annotations

from typing import Any

from pydantic import Field, model_validator

from luthier.spec.answer import Answer
from luthier.spec.common import Section
from luthier.spec.data import DataSection
from luthier.spec.evaluate import EvaluateSection
from luthier.spec.model import EMBEDDED, GENERATOR, ModelSection
from luthier.spec.objective import WRITING, ObjectiveName
from luthier.spec.serve import ServeSection
from luthier.spec.stages import Keep, Stage, with_defaults
from luthier.spec.track import TrackSection
from luthier.spec.train import TrainSection


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
    stages: list[Stage] = Field(
        default_factory=list, description="Tasks learnt one after the other by one body; without it there is one."
    )
    keep: Keep = Field(default_factory=Keep, description="What is done against forgetting, between stages.")
    answer: Answer = Field(default_factory=Answer, description="Which answers go to a person.")
    evaluate: EvaluateSection = Field(default_factory=EvaluateSection, description="How it is measured.")
    accept: dict[str, str] = Field(
        default_factory=dict, description="The definition of done: a bar for each metric named."
    )
    serve: ServeSection = Field(default_factory=ServeSection, description="How it is served.")
    track: TrackSection = Field(
        default_factory=TrackSection, description="Which experiment trackers are told; `events.jsonl` is always written."
    )

    @property
    def base(self) -> str:
        """The base model's name, with `embedded` said plainly where it is the one that writes."""
        return GENERATOR if self.model.base == EMBEDDED and self.task.objective in WRITING else self.model.base

    @model_validator(mode="before")
    @classmethod
    def _fill_stages(cls, values: Any) -> Any:
        return with_defaults(values)

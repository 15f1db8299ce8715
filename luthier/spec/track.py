"""``track:`` which experiment trackers a run is told to, and what may leave the machine."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from luthier.base.errors import Fault
from luthier.spec.common import Section, Switch

# One entry per tracker; luthier/track/__init__.py has the function of each, docs/guides/tracking.md what it needs.
SinkName = Literal["tensorboard", "mlflow", "wandb", "trackio"]


def whole(value: Any) -> Any:
    """Return the section where only trackers are named: one name, a list of them, or one name under ``to``."""
    if isinstance(value, str | list):
        value = {"to": value}
    if isinstance(value, dict) and isinstance(value.get("to"), str):
        value = {**value, "to": [value["to"]]}
    return value


class TrackSection(Section):
    """Experiment trackers beside `events.jsonl`; a list of names is enough, as in `track: [tensorboard, mlflow]`."""

    to: list[SinkName] = Field(
        default_factory=list, description="Trackers that the run is told to; nothing leaves the machine by their names alone."
    )
    project: str | None = Field(
        None,
        pattern=r"^[A-Za-z0-9][A-Za-z0-9._ -]{0,99}$",
        description="W&B and Trackio project, MLflow experiment; default: `task.name`.",
    )
    run: str | None = Field(
        None,
        pattern=r"^[A-Za-z0-9][A-Za-z0-9._ -]{0,99}$",
        description="What the run is called there; default: the name of its folder.",
    )
    folder: str | None = Field(
        None, description="Where local trackers write; default: `tracked` beside the run's folder, shared by the runs there."
    )
    every: Annotated[int, Field(ge=1)] | Literal["auto"] = Field(
        "auto",
        description="Steps that become one point (mean loss and norm, tokens over seconds); `auto` makes about 1,000 of a run.",
    )
    online: bool = Field(
        False, description="W&B sends to its server, with the key of the environment; without it, it writes files to sync later."
    )
    server: str | None = Field(
        None, pattern=r"^https?://\S+$", description="MLflow's tracking server; without it, a SQLite file under `folder`."
    )
    report: Switch = Field(
        "auto",
        description="Attach `report.html`, which shows rows of the data; `auto`: to trackers on this machine, not to servers.",
    )

    @model_validator(mode="before")
    @classmethod
    def _from_names(cls, value: Any) -> Any:
        return whole(value)

    def idle(self) -> list[Fault]:
        """Return a fault for every key that would do nothing, and for a tracker named twice."""
        found = [
            Fault(f"`{key}` is for {sink}, which this run is not told to", f"track.{key}", f"Add {sink} to track.to, or leave it out.")
            for key, sink in (("online", "wandb"), ("server", "mlflow"))
            if getattr(self, key) and sink not in self.to
        ]
        twice = sorted({name for name in self.to if self.to.count(name) > 1})
        return found + [Fault(f"{name} is named twice", "track.to", "Name it once.") for name in twice]

    def leaves(self, sink: SinkName) -> bool:
        """Whether what this tracker is told leaves the machine."""
        return (sink == "wandb" and self.online) or (sink == "mlflow" and self.server is not None)

    def attaches(self, sink: SinkName) -> bool:
        """Whether the report goes along."""
        return self.report == "on" or (self.report == "auto" and not self.leaves(sink))

"""Experiment trackers: what a run does, told to TensorBoard, MLflow, Weights & Biases or Trackio as well."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable

from luthier.base.errors import Fault
from luthier.spec.track import SinkName, TrackSection
from luthier.track import to_mlflow, to_tensorboard, to_trackio, to_wandb
from luthier.track.sink import Place, Sink

SINKS: dict[SinkName, Callable[[Place], Sink]] = {
    "tensorboard": to_tensorboard.open_sink,
    "mlflow": to_mlflow.open_sink,
    "wandb": to_wandb.open_sink,
    "trackio": to_trackio.open_sink,
}


def faults(section: TrackSection) -> list[Fault]:
    """Return what stops a run before it begins: keys that do nothing, trackers that are not installed."""
    found = section.idle()
    for name in dict.fromkeys(section.to):
        # MLflow's small package leaves out what a store on this machine needs.
        needs = ("mlflow", "sqlalchemy", "alembic") if name == "mlflow" and section.server is None else (name,)
        lacking = [module for module in needs if importlib.util.find_spec(module) is None]
        if lacking:
            more = "" if lacking == [name] else f" ({', '.join(lacking)} is missing)"
            mend = f'pip install "luthier[{name}]", or "luthier[track]" for all of them.'
            found.append(Fault(f"{name} is not installed{more}", "track.to", mend))
    return found

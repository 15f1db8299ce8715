"""MLflow: a SQLite store on this machine, or the tracking server that the task file names. The only door to mlflow."""

from __future__ import annotations

import logging
import os
import re
import time
from collections.abc import Mapping, Sequence
from typing import Any

from luthier.track.sink import End, Place, Point, hushed

_STATES = {"finished": "FINISHED", "stopped": "KILLED", "failed": "FAILED"}
# Limits of the tracking server's log-batch.
_METRICS, _PARAMS, _KEY, _VALUE = 1000, 100, 250, 6000
_QUIET = {
    # Usage is told to nobody.
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "DO_NOT_TRACK": "true",
}
# A server that is away must not hold up a run: by default MLflow asks seven times, two minutes each.
_PATIENCE = {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1", "MLFLOW_HTTP_REQUEST_TIMEOUT": "10"}


class _MLflow:
    def __init__(self, place: Place) -> None:
        os.environ.update(_QUIET)
        for name, value in _PATIENCE.items():
            os.environ.setdefault(name, value)
        from mlflow import MlflowClient

        for name in ("mlflow", "alembic"):  # the making of tables is no news
            logging.getLogger(name).setLevel(logging.WARNING)
        place.folder.mkdir(parents=True, exist_ok=True)
        artifacts = None if place.server else (place.folder / "artifacts").absolute().as_uri()
        store = place.server or f"sqlite:///{(place.folder / 'mlflow.db').absolute()}"
        with hushed():
            self._client = MlflowClient(tracking_uri=store, registry_uri=store)
            found = self._client.get_experiment_by_name(place.project)
            number = found.experiment_id if found else self._client.create_experiment(place.project, artifacts)
            if place.id:
                self._client.update_run(place.id, status="RUNNING")
            self.id = place.id or self._client.create_run(number, run_name=place.run).info.run_id
        self.settings(place.settings)

    def settings(self, settings: Mapping[str, Any]) -> None:
        from mlflow.entities import Param

        # What stands cannot be written over, and a run that goes on says it again.
        there = self._client.get_run(self.id).data.params
        new = [Param(_name(k), str(v)[:_VALUE]) for k, v in settings.items() if _name(k) not in there]
        for start in range(0, len(new), _PARAMS):
            self._client.log_batch(self.id, params=new[start : start + _PARAMS])

    def rewind(self, step: int) -> None:
        return  # both values of a step are kept

    def points(self, points: Sequence[Point]) -> None:
        from mlflow.entities import Metric

        made = [Metric(_name(k), v, round(p.at * 1000), p.step) for p in points for k, v in p.numbers.items()]
        for start in range(0, len(made), _METRICS):
            self._client.log_batch(self.id, metrics=made[start : start + _METRICS])

    def end(self, end: End) -> None:
        self.points([Point(end.step, end.numbers or {}, time.time())])
        for name, words in (end.words or {}).items():
            self._client.set_tag(self.id, name, words)
        with hushed():
            for path in end.files:
                self._client.log_artifact(self.id, str(path))
            self._client.set_terminated(self.id, _STATES[end.state])


def _name(name: str) -> str:
    """Return a name that MLflow takes: it refuses brackets, @ and whatever looks like another path."""
    plain = re.sub(r"[^\w\-. :/]", "_", name.replace("@", "_at_").replace("[", "/").replace("]", ""))
    parts = [part if part.strip(". ") else "_" for part in plain.split("/") if part]
    return "/".join(parts)[:_KEY]


open_sink = _MLflow

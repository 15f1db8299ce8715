"""Trackio: a SQLite file a project on this machine. The only door to trackio."""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from typing import Any

from luthier.track.sink import End, Place, Point, environment, hushed

# Any of these would send the run to a server or a Space that the task file does not name.
_ELSEWHERE = ("TRACKIO_SPACE_ID", "TRACKIO_SERVER_URL", "TRACKIO_BUCKET_ID", "TRACKIO_DATASET_ID", "TRACKIO_WEBHOOK_URL")


class _Trackio:
    def __init__(self, place: Place) -> None:
        folder = place.folder.absolute()
        # Trackio knows a run by its name: a new run of an old name would be taken for the old one going on.
        self.id = place.id or f"{place.run}-{secrets.token_hex(3)}"
        with hushed(), environment(*_ELSEWHERE, TRACKIO_DIR=str(folder)):
            import trackio
            from trackio.utils import TRACKIO_DIR

            if folder != TRACKIO_DIR:
                raise RuntimeError(f"Trackio keeps to one folder in one process, and this one has {TRACKIO_DIR}")
            self._trackio = trackio
            self._run = trackio.init(
                project=place.project, name=self.id, resume="allow", config=dict(place.settings), embed=False,
                auto_log_gpu=False, auto_log_cpu=False,
            )  # fmt: skip
            # At the process's end it would finish the run again, and say so on standard output.
            trackio.context_vars.current_run.set(None)

    def settings(self, settings: Mapping[str, Any]) -> None:
        self._run.config.update(settings)

    def rewind(self, step: int) -> None:
        return  # both values of a step are kept

    def points(self, points: Sequence[Point]) -> None:
        for point in points:
            self._run.log(dict(point.numbers), step=point.step)

    def end(self, end: End) -> None:
        with hushed():
            self._run.log({**(end.numbers or {}), **(end.words or {}), "state": end.state}, step=end.step)
            if end.files:
                report = self._trackio.Artifact(f"report-{self.id}", type="report")
                for path in end.files:
                    report.add_file(str(path))
                self._run.log_artifact(report)
            self._run.finish()


open_sink = _Trackio

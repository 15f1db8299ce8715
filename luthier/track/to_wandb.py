"""Weights & Biases: files to be synced by hand, or its server where the task file says ``online``. The only door to wandb."""

from __future__ import annotations

import os
import secrets
from collections.abc import Mapping, Sequence
from typing import Any

from luthier.track.sink import End, Place, Point, environment, hushed


class _Wandb:
    def __init__(self, place: Place) -> None:
        place.folder.mkdir(parents=True, exist_ok=True)
        here = {f"WANDB_{what}_DIR": str(place.folder.absolute() / what.lower()) for what in ("DATA", "CACHE", "CONFIG")}
        # Artifacts are staged until the end, so these stay; errors of wandb itself are told to nobody.
        os.environ.update(here | {"WANDB_ERROR_REPORTING": "false"})
        with hushed(), environment("WANDB_MODE", "WANDB_RESUME", "WANDB_RUN_ID", "WANDB_DISABLED"):
            import wandb

            self._wandb = wandb
            self.id = place.id or secrets.token_hex(6)
            if place.online and not wandb.login(prompt=False):
                raise PermissionError("W&B knows no key here: set WANDB_API_KEY, or track.online: false")
            # Of the machine and the code it is told nothing but what stands in the settings.
            quiet = wandb.Settings(
                mode="online" if place.online else "offline", silent=True, console="off", disable_git=True, disable_code=True,
                save_code=False, x_save_requirements=False, x_disable_meta=True, x_disable_stats=True,
                x_disable_machine_info=True, init_timeout=30, finish_timeout=60,
            )  # fmt: skip
            self._run = wandb.init(
                project=place.project, name=place.run, id=self.id, resume="allow", dir=str(place.folder.absolute()),
                config=dict(place.settings), settings=quiet, reinit="create_new",
            )  # fmt: skip
        self._axes: set[str] = set()

    def settings(self, settings: Mapping[str, Any]) -> None:
        self._run.config.update(dict(settings), allow_val_change=True)

    def rewind(self, step: int) -> None:
        return  # both values of a step are kept

    def points(self, points: Sequence[Point]) -> None:
        for point in points:
            if point.axis not in self._axes:
                self._axes.add(point.axis)
                # W&B's own count never goes back, ours does where a run goes on.
                self._run.define_metric(f"{point.axis.removesuffix('step')}*", step_metric=point.axis)
            self._run.log({point.axis: point.step, **point.numbers})

    def end(self, end: End) -> None:
        self._run.summary.update({**(end.numbers or {}), **(end.words or {}), "state": end.state})
        with hushed():
            if end.files:
                report = self._wandb.Artifact(f"report-{self.id}", "report")
                for path in end.files:
                    report.add_file(str(path))
                self._run.log_artifact(report)
            self._run.finish(exit_code=0 if end.state == "finished" else 1)


open_sink = _Wandb

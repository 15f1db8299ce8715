"""The nouns of a round: what goes along with every step, and what comes out."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from luthier.base.events import Emit
from luthier.base.interrupt import Stopper
from luthier.spec.load import TaskFile

Watcher = Callable[[dict[str, Any]], None]


@dataclass(frozen=True, slots=True)
class Run:
    """A finished run: the ``verdict``, where things are, and ``record``, all that report.json holds."""

    verdict: str
    folder: Path
    bundle: Path
    report: Path | None
    record: Mapping[str, Any]

    @property
    def accepted(self) -> bool:
        return self.verdict == "accepted"

    @property
    def metrics(self) -> Mapping[str, Any]:
        return self.record.get("metrics", {})

    def as_dict(self) -> dict[str, Any]:
        """Return what `luthier run --json` prints."""
        keys = (
            "data",
            "model",
            "metrics",
            "baselines",
            "against",
            "without_twins",
            "notes",
            "diagnosis",
            "stages",
            "sequence",
            "probe",
            "plan",
            "seconds",
            "peak_memory_mb",
        )
        kept = {key: self.record[key] for key in keys if key in self.record}
        data = self.record["data"]
        kept["data"] = {
            **data["splits"],
            "dropped": sum(data["dropped"].values()),
            # Rows that are on two sides for certain; near duplicates are told in the report and by `check`.
            "leaks": sum(data["leaks"].get(kind) or 0 for kind in ("exact", "group")),
            "fingerprint": data["fingerprint"],
        }
        return {
            "verdict": self.verdict,
            "reasons": list(self.record.get("reasons", [])),
            "run": str(self.folder),
            "bundle": str(self.bundle),
            "report": str(self.report) if self.report else None,
            **kept,
        }


@dataclass(frozen=True, slots=True)
class Round:
    """One go through the circle: the task as read, its folder, where events go, and how it is stopped."""

    file: TaskFile
    folder: Path
    emit: Emit
    stopper: Stopper
    seconds: dict[str, float]

    def timed(self, name: str, began: float) -> None:
        self.seconds[name] = round(self.seconds.get(name, 0.0) + time.monotonic() - began, 3)

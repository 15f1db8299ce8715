"""A run's events, told to its trackers: thinned, now and then, and never at the cost of the run."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from pathlib import Path
from statistics import fmean
from typing import Any

from luthier.base.files import read_json, write_json
from luthier.data.sources.sql import is_address, shown_url
from luthier.spec.load import TaskFile
from luthier.spec.track import SinkName
from luthier.track import SINKS
from luthier.track.sink import End, Place, Point, Sink, flat

IDS = "tracked.json"
_POINTS = 1000
# A tracker may take a hundredth of the time, and is not asked more often than this (seconds).
_SHARE, _LEAST_S = 0.01, 2.0

Say = Callable[[str], None]


class Tracker:
    """Watches the events of one run. Trackers open when the settings are decided, so a fault of the data is no run there.

    Whatever a tracker raises ends that tracker, with one warning; ``events.jsonl`` has it all the same.

    Args:
        folder: the run's; it keeps what the trackers called the run, so that a stopped run goes on as the same one.
        say: is told a warning.
    """

    def __init__(self, file: TaskFile, folder: Path, say: Say) -> None:
        self._file, self._folder, self._say = file, folder, say
        self._section = file.task.track
        self._sinks: dict[SinkName, Sink] = {}
        self._opened: set[str] = set()
        self._metrics: dict[str, str] = {}
        self._words: dict[str, str] = {}
        self._held: list[Mapping[str, Any]] = []
        self._waiting: list[Point] = []
        self._step, self._due = 0, 0.0

    def __call__(self, event: Mapping[str, Any]) -> None:
        """Take one event; kinds that no tracker has a place for are passed over."""
        taken = getattr(self, f"_on_{event['kind']}", None)
        if taken is not None:
            taken(event)

    def _on_resolved(self, event: Mapping[str, Any]) -> None:
        """Open the trackers on the settings in force; a later stage adds its own."""
        stage = event.get("stage", "")
        self._metrics[stage] = event["settings"]["train"]["metric"]
        settings = {name: _shown(value) for name, value in flat(event["settings"]).items()}
        for name in self._section.to:
            if name not in self._opened:
                self._opened.add(name)
                self._guarded(name, self._open, name, settings)
            elif name in self._sinks:
                told = {f"{stage}.{key}": value for key, value in settings.items()}
                self._guarded(name, self._sinks[name].settings, told)

    def _open(self, name: SinkName, settings: Mapping[str, Any]) -> None:
        ids = self._ids()
        asked, task = self._section, self._file.task.task
        folder = self._file.resolve(asked.folder) if asked.folder else self._folder.parent / "tracked"
        place = Place(
            project=asked.project or task.name, run=asked.run or self._folder.resolve().name, id=ids.get(name),
            folder=folder / name, server=asked.server if name == "mlflow" else None, online=asked.leaves(name),
            settings=settings,
        )  # fmt: skip
        self._sinks[name] = sink = SINKS[name](place)
        write_json(self._folder / IDS, {**ids, name: sink.id})

    def _ids(self) -> dict[str, str]:
        path = self._folder / IDS
        return dict(read_json(path)) if path.is_file() else {}

    def _on_resumed(self, event: Mapping[str, Any]) -> None:
        self._each(lambda sink: sink.rewind(int(event["step"])))

    def _on_step(self, event: Mapping[str, Any]) -> None:
        self._held.append(event)
        every = max(1, event["steps"] // _POINTS) if self._section.every == "auto" else self._section.every
        if event["step"] % every == 0 or event["step"] == event["steps"]:
            self._thin()

    def _thin(self) -> None:
        """Make one point of the steps since the last."""
        held, self._held = self._held, []
        if not held:
            return
        last = held[-1]
        self._point(last, {
            "train/loss": fmean(e["loss"] for e in held),
            "train/rate": last["rate"],
            "train/grad_norm": fmean(e["grad_norm"] for e in held),
            "train/tokens_per_s": sum(e["tokens"] for e in held) / max(sum(e["seconds"] for e in held), 1e-9),
        })  # fmt: skip

    def _on_evaluation(self, event: Mapping[str, Any]) -> None:
        self._thin()
        names = {"valid_loss": "valid/loss", "train_loss": "train/watched_loss"}
        numbers = {f"valid/{self._metrics.get(event.get('stage', ''), 'score')}": event["score"]}
        self._point(event, numbers | {told: event[name] for name, told in names.items() if name in event})

    def _point(self, event: Mapping[str, Any], numbers: Mapping[str, float]) -> None:
        before = f"{event['stage']}/" if "stage" in event else ""
        self._step = int(event["step"])
        told = {f"{before}{name}": float(value) for name, value in numbers.items()}
        self._waiting.append(Point(self._step, told, event["at"], f"{before}step"))
        if time.monotonic() >= self._due:
            self._tell()

    def _tell(self) -> None:
        """Hand over what waits; the next time comes after a hundred times as long as that took."""
        began, waiting = time.monotonic(), self._waiting
        self._waiting = []
        if waiting:
            self._each(lambda sink: sink.points(waiting))
        self._due = time.monotonic() + max(_LEAST_S, (time.monotonic() - began) / _SHARE)

    def _on_bundle(self, event: Mapping[str, Any]) -> None:
        self._words[f"bundle of {event['stage']}" if "stage" in event else "bundle"] = str(event["id"])

    def _on_diagnosis(self, event: Mapping[str, Any]) -> None:
        self._words["fit"] = str(event["verdict"])

    def _on_done(self, event: Mapping[str, Any]) -> None:
        """Tell the result, as report.json has it, and close."""
        record = read_json(self._folder / "report.json")
        self._words |= {
            "verdict": record["verdict"], "reasons": "; ".join(record.get("reasons", [])), "data": record["fingerprint"],
            "luthier": record["luthier"], "base": record["base"]["name"], "method": record["method"],
        }  # fmt: skip
        page = [Path(event["report"])] if event.get("report") else []
        self._end("finished", _results(record), page)

    def _on_stopped(self, event: Mapping[str, Any]) -> None:
        self._words["reason"] = str(event["reason"])
        self._end("stopped" if event.get("interrupted") else "failed", {}, [])

    def _end(self, state: str, numbers: Mapping[str, float], files: list[Path]) -> None:
        self._thin()
        self._tell()
        words = {name: text for name, text in self._words.items() if text}
        for name in list(self._sinks):
            attached = files if self._section.attaches(name) else ()
            end = End(state, self._step, numbers, words, attached)
            self._guarded(name, self._sinks[name].end, end)
        self._sinks.clear()

    def _each(self, act: Callable[[Sink], None]) -> None:
        for name in list(self._sinks):
            self._guarded(name, act, self._sinks[name])

    def _guarded(self, name: SinkName, act: Callable[..., None], *given: Any) -> None:
        """Do what a tracker's library does; whatever it raises costs the tracker and not the run."""
        try:
            act(*given)
        except Exception as error:  # a library's own tree of errors, a socket's, a disk's
            self._sinks.pop(name, None)
            why = (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
            self._say(f"{name} is told no more of this run: {why}")


def _results(record: Mapping[str, Any]) -> dict[str, float]:
    """Return the metrics of the test rows with the ends of their 95 % intervals."""
    found: dict[str, float] = {}
    for name, metric in record.get("metrics", {}).get("test", {}).items():
        for key, value in ((f"test/{name}", metric["value"]), *((f"test/{name}/{end}", metric[end]) for end in ("low", "high"))):
            if value is not None:
                found[key] = float(value)
    return found


def _shown(value: Any) -> Any:
    """Return a setting as it may be shown: an address without its password."""
    return shown_url(value) if isinstance(value, str) and is_address(value) else value

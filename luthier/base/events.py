"""``events.jsonl``: everything a run did, one JSON object a line, appended as it happens."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from luthier.base.files import storage

Emit = Callable[..., None]


class EventLog:
    """Append events to a file and hand each to watchers (the terminal's progress, trackers)."""

    def __init__(self, path: Path, watcher: Callable[[dict[str, Any]], None] | None = None) -> None:
        self._path = path
        self._watchers = [watcher] if watcher else []
        with storage(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            self._handle = path.open("a", encoding="utf-8")
            if _is_cut(path):
                self._handle.write("\n")  # a killed or full-disked run left half a line: it must not spoil the next

    def __call__(self, kind: str, /, **facts: Any) -> None:
        event = {"at": round(time.time(), 3), "kind": kind, **facts}
        with storage(self._path):
            self._handle.write(json.dumps(event, ensure_ascii=False, default=str) + "\n")
            self._handle.flush()
        for watcher in self._watchers:
            watcher(event)

    def also(self, watcher: Callable[[dict[str, Any]], None]) -> None:
        """Hand each event to one more watcher, after those before it."""
        self._watchers.append(watcher)

    def close(self) -> None:
        with suppress(OSError):  # what a full disk did not take is told by then
            self._handle.close()


def _is_cut(path: Path) -> bool:
    with path.open("rb") as handle:
        if not handle.seek(0, 2):
            return False
        handle.seek(-1, 2)
        return handle.read(1) != b"\n"


def silent(kind: str, /, **facts: Any) -> None:
    """An :data:`Emit` that keeps nothing, for library use."""

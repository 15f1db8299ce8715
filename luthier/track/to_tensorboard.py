"""TensorBoard's event files: scalars, and the settings and the verdict as text. The only door to tensorboard."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

from luthier.track.sink import End, Place, Point


class _TensorBoard:
    """Appends to ``folder/<id>``; a run that goes on adds a file there, as TensorBoard expects."""

    def __init__(self, place: Place) -> None:
        from tensorboard.summary.writer.event_file_writer import EventFileWriter

        self.id = place.id or _unused(place)
        self._writer = EventFileWriter(str(place.folder / self.id), flush_secs=30)
        self.settings(place.settings)

    def settings(self, settings: Mapping[str, Any]) -> None:
        rows = "\n".join(f"| {_cell(name)} | {_cell(value)} |" for name, value in settings.items())
        self._text("settings", f"| setting | value |\n| --- | --- |\n{rows}")

    def rewind(self, step: int) -> None:
        from tensorboard.compat.proto import event_pb2

        # TensorBoard then drops what was told of later steps.
        log = event_pb2.SessionLog(status=event_pb2.SessionLog.START)
        self._writer.add_event(event_pb2.Event(wall_time=time.time(), step=step + 1, session_log=log))

    def points(self, points: Sequence[Point]) -> None:
        from tensorboard.compat.proto import event_pb2, summary_pb2

        for point in points:
            # A stage's own count of steps needs no axis here: its names are its own.
            values = [summary_pb2.Summary.Value(tag=name, simple_value=value) for name, value in point.numbers.items()]
            summary = summary_pb2.Summary(value=values)
            self._writer.add_event(event_pb2.Event(wall_time=point.at, step=point.step, summary=summary))

    def end(self, end: End) -> None:
        self.points([Point(end.step, end.numbers or {}, time.time())])
        words = {"state": end.state, **(end.words or {}), **{p.name: str(p) for p in end.files}}
        rows = "\n".join(f"| {_cell(name)} | {_cell(value)} |" for name, value in words.items())
        self._text("result", f"| | |\n| --- | --- |\n{rows}", step=end.step)
        self._writer.close()

    def _text(self, tag: str, markdown: str, *, step: int = 0) -> None:
        from tensorboard.compat.proto import event_pb2, summary_pb2, tensor_pb2, tensor_shape_pb2, types_pb2
        from tensorboard.plugins.text import metadata

        shape = tensor_shape_pb2.TensorShapeProto(dim=[tensor_shape_pb2.TensorShapeProto.Dim(size=1)])
        tensor = tensor_pb2.TensorProto(
            dtype=types_pb2.DT_STRING, string_val=[markdown.encode("utf-8")], tensor_shape=shape
        )
        about = metadata.create_summary_metadata(display_name=None, description=None)
        value = summary_pb2.Summary.Value(tag=tag, metadata=about, tensor=tensor)
        summary = summary_pb2.Summary(value=[value])
        self._writer.add_event(event_pb2.Event(wall_time=time.time(), step=step, summary=summary))


def _unused(place: Place) -> str:
    """Return a folder's name that no earlier run has taken."""
    number, name = 1, place.run
    while (place.folder / name).exists():
        number += 1
        name = f"{place.run}-{number}"
    return name


def _cell(value: Any) -> str:
    return str(value).replace("|", "\\|").replace("\n", " ")


open_sink = _TensorBoard

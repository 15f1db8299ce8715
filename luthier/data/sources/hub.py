"""Rows of a data set on the hub, streamed. The only door to the ``datasets`` library; it runs no code of a data set."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from luthier.base.errors import DataError, Fault, LuthierError
from luthier.base.records import Row, Source
from luthier.base.seeds import stable_hash
from luthier.data.sources.arrow import named
from luthier.data.sources.origins import Origin
from luthier.data.sources.reading import Reading

_PREFIX = "hub:"
_PART = r"[A-Za-z0-9_][A-Za-z0-9_.-]*"
_NAME = re.compile(rf"(?P<name>{_PART}(?:/{_PART})?)(?:/(?P<config>{_PART}))?(?::(?P<split>{_PART}))?")


@dataclass(frozen=True, slots=True)
class HubName:
    """A data set as it is named: ``owner/name``, and of it a configuration and a split."""

    name: str
    config: str | None
    split: str | None

    def __str__(self) -> str:
        config = f"/{self.config}" if self.config else ""
        return f"{_PREFIX}{self.name}{config}{f':{self.split}' if self.split else ''}"


def hub_name(source: str) -> HubName | None:
    """Read ``hub:owner/name/config:split``, or ``owner/name`` without the prefix; None where it is no such name."""
    told = source.startswith(_PREFIX)
    match = _NAME.fullmatch(source.removeprefix(_PREFIX))
    if match is None or (not told and "/" not in match["name"]):
        return None
    return HubName(match["name"], match["config"], match["split"])


def hub_origin(name: HubName, *, max_chars: int) -> Origin:
    """Return the origin of a hub data set; nothing is fetched before its rows or its hash are asked for."""
    wanted = _Wanted(name, max_chars)
    return Origin(str(name), "hub", None, wanted.rows, wanted.digest)


class _Wanted:
    """One split of one data set; its builder, which knows the revision, is opened once."""

    def __init__(self, name: HubName, max_chars: int) -> None:
        self._name, self._max_chars = name, max_chars
        self._builder: Any = None
        self._failed: Exception | None = None

    def digest(self) -> str:
        faults: list[Fault] = []
        try:
            builder = self._open()
        except LuthierError:
            raise
        except Exception as error:  # the library passes on what its network and file layers raise
            faults.append(self._fault(error))
            raise DataError.of(faults) from None
        revision = builder.hash or builder.info.version
        return stable_hash([str(self._name), str(revision)], size=32)

    def rows(self, faults: list[Fault], notes: list[Fault]) -> Iterator[Row]:
        reading = Reading(None, str(self._name), "utf-8", self._max_chars, faults, notes)  # type: ignore[arg-type]
        number = 0
        steps = self._steps()
        while True:
            try:
                values = next(steps)
            except StopIteration:
                break
            except LuthierError as error:
                if not isinstance(error, DataError):
                    raise
                faults.extend(error.faults)
                return
            except Exception as error:  # as in digest
                faults.append(self._fault(error, number))
                return
            number += 1
            long = [k for k, v in values.items() if isinstance(v, str) and len(v) > self._max_chars]
            if not long:
                yield Row(values, Source(reading.shown, number))
                continue
            reading.too_long(number, f'field "{long[0]}"')
            if reading.full:
                return
        if number == 0:
            reading.fault(0, "the data set has no rows")

    def _open(self) -> Any:
        if self._failed:  # the library tries for half a minute; once is enough
            raise self._failed
        if self._builder is None:
            try:
                import datasets

                datasets.disable_progress_bars()
                self._builder = datasets.load_dataset_builder(self._name.name, self._name.config)
            except LuthierError:
                raise
            except Exception as error:
                self._failed = error
                raise
        return self._builder

    def _steps(self) -> Iterator[dict[str, Any]]:
        stream = self._stream(self._open())
        labels = {
            column: list(feature.names)
            for column, feature in (stream.features or {}).items()
            if type(feature).__name__ == "ClassLabel"
        }
        for values in stream:
            for column, names in labels.items():
                values[column] = named(values.get(column), names)
            yield values

    def _stream(self, builder: Any) -> Any:
        streams = builder.as_streaming_dataset()
        there = list(streams)
        split = self._name.split or (there[0] if len(there) == 1 else None)
        if split in streams:
            return streams[split]
        shown, first = str(self._name), "train" if "train" in there else there[0]
        bare = HubName(self._name.name, self._name.config, first)
        what = f"several splits: {', '.join(there)}." if split is None else f'no split "{split}": {", ".join(there)}.'
        raise DataError(what, where=shown, mend=f'Name one, as in "{bare}".')

    def _fault(self, error: Exception, number: int = 0) -> Fault:
        shown = f"{self._name}:{number}" if number else str(self._name)
        said = (str(error).strip() or type(error).__name__).splitlines()[0][:200]
        if isinstance(error, ImportError):
            mend = 'pip install "luthier[hub]"'
            return Fault("reading from the hub needs the library datasets.", shown, mend)
        kind = type(error).__name__
        if "Offline" in kind + said:
            return Fault(
                "the hub is not asked: HF_HUB_OFFLINE is set.", shown, "Unset it; no file of this name is here."
            )
        if isinstance(error, ConnectionError) or "Connect" in kind or "Timeout" in kind:
            return Fault(
                f"the hub cannot be reached ({said}).", shown, "Check the network; no file of this name is here."
            )
        if kind == "DatasetNotFoundError":
            return Fault(
                "no such data set on the hub, and no such file here.", shown, "Is it private? Then log in first."
            )
        return Fault(f"the data set cannot be read ({said})", shown, "Check its name, configuration and split.")

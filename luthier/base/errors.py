"""Errors as a tree: each says what is wrong, where, and how to mend it.

Only these are caught by the command line; anything else is a bug and keeps its traceback.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

MAX_FAULTS_SHOWN = 20


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing wrong: ``what`` it is, ``where`` (file:line or key), and how to ``mend`` it."""

    what: str
    where: str = ""
    mend: str = ""

    def __str__(self) -> str:
        place = f"{self.where}: " if self.where else ""
        if not self.mend:
            return f"{place}{self.what}"
        stop = "" if self.what.endswith((".", "!", "?", ":")) else "."
        return f"{place}{self.what}{stop} {self.mend}"

    def as_dict(self) -> dict[str, str]:
        return {"what": self.what, "where": self.where, "mend": self.mend}


class Told(BaseException):
    """What ends a command with words for its user: its ``faults``, and the ``exit_code`` of the command line."""

    exit_code = 2

    def __init__(self, what: str, *, where: str = "", mend: str = "", faults: Sequence[Fault] | None = None) -> None:
        self.faults: tuple[Fault, ...] = tuple(faults) if faults else (Fault(what, where, mend),)
        super().__init__(what)

    def __str__(self) -> str:
        shown = [str(fault) for fault in self.faults[:MAX_FAULTS_SHOWN]]
        if len(self.faults) > MAX_FAULTS_SHOWN:
            shown.append(f"... and {len(self.faults) - MAX_FAULTS_SHOWN} more")
        return "\n".join(shown)


class LuthierError(Told, Exception):
    """Base of all errors a user can cause and mend."""

    @classmethod
    def of(cls, faults: Iterable[Fault]) -> LuthierError:
        """Make one error of several faults, so that a user sees them all at once."""
        faults = tuple(faults)
        return cls(faults[0].what, faults=faults)


class TaskError(LuthierError):
    """The task file or the command line is wrong."""


class DataError(LuthierError):
    """The data is wrong: a file, a column, a row, or a leak that stops the run."""


class ModelError(LuthierError):
    """The base model cannot be found, checked, or used for this objective."""


class TrainError(LuthierError):
    """Training cannot go on: a NaN, nothing to learn, a damaged checkpoint."""


class BundleError(LuthierError):
    """A bundle is missing, damaged, or of another kind."""


class LedgerError(LuthierError):
    """The ledger cannot be opened or written."""


class StorageError(LuthierError):
    """The disk is full or a folder cannot be written."""


class Interrupted(Told):
    """The user or the system asked to stop; state was saved. 130 for ^C, 143 for SIGTERM.

    No ``Exception``, as KeyboardInterrupt is none: what goes on whatever an estimate, a tracker or a template raises must stop for a signal.
    """

    def __init__(self, what: str, *, exit_code: int, where: str = "", mend: str = "") -> None:
        super().__init__(what, where=where, mend=mend)
        self.exit_code = exit_code


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Return ``Did you mean "x"?`` for the closest known word, or an empty string."""
    close = difflib.get_close_matches(str(word), [str(k) for k in known], n=1, cutoff=0.6)
    return f'Did you mean "{close[0]}"?' if close else ""

"""Where a bundle is; no torch here."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from luthier.base.errors import BundleError, did_you_mean
from luthier.base.files import read_json


def bundle_folder(folder: str | Path, *, stage: str | None = None) -> Path:
    """Return the bundle that a path names: itself, ``bundle`` inside a run folder, or that of one of the run's stages.

    Raises:
        BundleError: none of them is one.
    """
    path = Path(folder).expanduser()
    if stage is not None:
        return _of_stage(path, stage)
    for candidate in (path, path / "bundle"):
        if (candidate / "bundle.json").is_file():
            return candidate
    raise BundleError("no bundle here", where=str(path), mend="Name the folder that `luthier run` or `train` printed.")


def objective_of(folder: str | Path) -> str:
    """Return what the bundle that a path names was made to do, without opening its network.

    Raises:
        BundleError: there is none, or its facts cannot be read.
    """
    bundle = bundle_folder(folder)
    try:
        return str(dict(read_json(bundle / "bundle.json")).get("objective"))
    except (OSError, ValueError, TypeError) as error:
        raise BundleError(f"bundle.json cannot be read ({error})", where=str(bundle), mend="Copy the bundle again.") from error


def check_comparable(folder: str | Path, objective: str) -> None:
    """Refuse a bundle that cannot answer the rows of an objective.

    Raises:
        BundleError: it was made for another one, or there is none.
    """
    if (found := objective_of(folder)) != objective:
        raise BundleError(f"it was made to {found} and not to {objective}, so the two cannot be compared", where=str(folder))


def _of_stage(run: Path, stage: str) -> Path:
    known = sorted(path.parent.parent.name for path in run.glob("stages/*/bundle/bundle.json"))
    if stage in known:
        return run / "stages" / stage / "bundle"
    if not known:
        mend = "Name the folder of a run whose task has stages."
        raise BundleError("there are no stages here", where=str(run), mend=mend)
    mend = did_you_mean(stage, known) or f"Stages: {', '.join(known)}."
    raise BundleError(f'this run has no stage "{stage}"', where=str(run), mend=mend)


def link_folder(source: Path, target: Path) -> None:
    """Fill ``target`` with the files of ``source``, as hard links where the disk can: weights are then held once."""
    for path in sorted(source.rglob("*")):
        there = target / path.relative_to(source)
        if path.is_dir():
            there.mkdir(parents=True, exist_ok=True)
            continue
        try:
            os.link(path, there)
        except OSError:
            shutil.copy2(path, there)

"""Where a bundle is; no torch here."""

from __future__ import annotations

from pathlib import Path

from luthier.base.errors import BundleError


def bundle_folder(folder: str | Path) -> Path:
    """Return the bundle that a path names: itself, or ``bundle`` inside a run folder.

    Raises:
        BundleError: neither is one.
    """
    path = Path(folder).expanduser()
    for candidate in (path, path / "bundle"):
        if (candidate / "bundle.json").is_file():
            return candidate
    raise BundleError("no bundle here", where=str(path), mend="Name the folder that `luthier run` or `train` printed.")

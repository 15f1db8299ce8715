"""Files that are either whole or absent: atomic writes, atomic folders, hashes and manifests."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from luthier.base.errors import BundleError, StorageError

MANIFEST = "manifest.json"
_BLOCK = 1 << 20


def sha256_file(path: Path) -> str:
    """Return the hex sha256 of a file, read in blocks."""
    digest = hashlib.sha256()
    with path.open("rb") as handle:
        while block := handle.read(_BLOCK):
            digest.update(block)
    return digest.hexdigest()


@contextmanager
def storage(path: Path) -> Iterator[None]:
    """Turn a full disk or a forbidden folder into a :class:`StorageError` that says what to do."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise _disk_full(path) from error
        if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
            raise StorageError(
                "this place cannot be written", where=str(path), mend="Choose another folder with --out."
            ) from error
        if error.errno in (errno.ENOTDIR, errno.EEXIST):
            raise StorageError(
                "a file stands where a folder is needed", where=str(path), mend="Choose another folder with --out."
            ) from error
        raise
    except StorageError:
        raise
    except Exception as error:
        # Libraries that write from native code (safetensors) tell of a full disk in words only.
        if "No space left on device" in str(error) or "os error 28" in str(error):
            raise _disk_full(path) from error
        raise


def _disk_full(path: Path) -> StorageError:
    return StorageError(
        f"the disk is full ({_free_mb(path):.0f} MB free)",
        where=str(path),
        mend="Free some space or choose another folder with --out; what was saved before is kept.",
    )


def _free_mb(path: Path) -> float:
    for folder in (path, *path.parents):
        if folder.exists():
            return shutil.disk_usage(folder).free / 1e6
    return 0.0


def write_text(path: Path, text: str) -> Path:
    """Write ``text`` so that a reader sees the old file or the new one, never half of it."""
    with storage(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
        try:
            with os.fdopen(handle, "w", encoding="utf-8") as file:
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
            os.chmod(name, 0o644)
            os.replace(name, path)
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise
    return path


def write_json(path: Path, value: Any) -> Path:
    """Write ``value`` as indented JSON, atomically. NaN is refused: it is not JSON."""
    return write_text(path, json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False, default=str) + "\n")


def write_jsonl(path: Path, values: Iterable[Mapping[str, Any]]) -> Path:
    """Write one JSON object a line, atomically."""
    return write_text(path, "".join(json.dumps(v, ensure_ascii=False, default=str) + "\n" for v in values))


def read_json(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


def read_jsonl(path: Path) -> Iterator[dict[str, Any]]:
    with path.open(encoding="utf-8") as handle:
        for line in handle:
            if line.strip():
                yield json.loads(line)


@contextmanager
def new_folder(path: Path) -> Iterator[Path]:
    """Yield a folder beside ``path`` that takes its place when the block ends well, and vanishes when it does not.

    An older folder of that name is replaced only after the new one is whole and on disk.
    """
    with storage(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        building = Path(tempfile.mkdtemp(prefix=f".{path.name}.", dir=path.parent))
        os.chmod(building, 0o755)
        try:
            yield building
            sync_folder(building)
            if path.exists():
                old = Path(tempfile.mkdtemp(prefix=f".{path.name}.old.", dir=path.parent))
                os.replace(path, old / path.name)
                os.replace(building, path)
                shutil.rmtree(old, ignore_errors=True)
            else:
                os.replace(building, path)
            _sync(path.parent)
        except BaseException:
            shutil.rmtree(building, ignore_errors=True)
            raise


def sync_folder(folder: Path) -> None:
    """Flush every file of a folder, and the folder itself, to disk."""
    for path in sorted(folder.rglob("*")):
        _sync(path)
    _sync(folder)


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def hash_folder(folder: Path) -> dict[str, str]:
    """Return ``{relative name: sha256}`` for every file of a folder but its manifest."""
    return {
        path.relative_to(folder).as_posix(): sha256_file(path)
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != MANIFEST
    }


def write_manifest(folder: Path, **facts: Any) -> Path:
    """Write ``manifest.json``: the hashes of all files in the folder and the given facts."""
    return write_json(folder / MANIFEST, {**facts, "files": hash_folder(folder)})


def verify_manifest(folder: Path) -> dict[str, Any]:
    """Return the manifest after checking each file's hash.

    Raises:
        BundleError: the manifest is missing, or a file is missing or differs from what was written.
    """
    path = folder / MANIFEST
    if not path.is_file():
        raise BundleError(
            "this folder has no manifest.json", where=str(folder), mend="Is it a folder that Luthier wrote?"
        )
    try:
        manifest = read_json(path)
        files = dict(manifest["files"])
    except (ValueError, KeyError, TypeError) as error:
        raise BundleError(
            "the manifest cannot be read", where=str(path), mend="Restore the folder from a copy."
        ) from error
    for name, digest in files.items():
        file = folder / name
        if not file.is_file():
            raise BundleError(f"the file {name} is missing", where=str(folder), mend="Restore the folder from a copy.")
        if sha256_file(file) != digest:
            raise BundleError(
                f"the file {name} is not the one that was written (its hash differs)",
                where=str(folder),
                mend="Restore the folder from a copy, or run the training again.",
            )
    return manifest


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold a folder for this process, so that two never write the same run; the lock goes with the process.

    Raises:
        StorageError: another process holds it.
    """
    import fcntl

    with storage(folder):
        folder.mkdir(parents=True, exist_ok=True)
        handle = (folder / ".lock").open("w")
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        handle.close()
        raise StorageError(
            "another process is working on this run",
            where=str(folder),
            mend="Wait for it, or choose another folder with --out.",
        ) from None
    try:
        yield
    finally:
        handle.close()

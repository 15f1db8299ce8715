"""Files that are either whole or absent: atomic writes, atomic folders, hashes and manifests."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
import socket
import tempfile
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from luthier.base.errors import BundleError, StorageError

MANIFEST = "manifest.json"
_BLOCK = 1 << 20
# What is being written wears one of these until it is whole; what a killed process left is known by them.
_PART, _OLD = ".part", ".old.part"
_LOCK = ".lock"


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
    return StorageError(f"the disk is full ({_bytes(free_bytes(path))} free)", where=str(path), mend=_FULL)


_FULL = "Free some space or choose another folder with --out; what was saved before is kept, and the same command goes on."


def need_room(path: Path, needed: int, what: str, *, spare: int = 0) -> None:
    """Refuse to begin writing ``what`` at ``path`` where ``needed`` bytes do not fit: half a file helps nobody.

    Args:
        spare: bytes that can be made free.
    Raises:
        StorageError: with the bytes needed and those that are free.
    """
    free = free_bytes(path) + spare
    if free < needed:
        said = f"{what} needs {_bytes(needed)} and {_bytes(free)} are free"
        raise StorageError(f"the disk is full: {said}", where=str(path), mend=_FULL)


def free_bytes(path: Path) -> int:
    """Return what the disk under ``path`` has left for this user; the path itself need not be there yet."""
    for folder in (path, *path.absolute().parents):
        if folder.exists():
            return shutil.disk_usage(folder).free
    return 0


def _bytes(count: int) -> str:
    short = f"{count / 1e9:.1f} GB" if count >= 1e9 else f"{count / 1e6:.1f} MB"
    return f"{short} ({count:,} bytes)"


def write_text(path: Path, text: str) -> Path:
    """Write ``text`` so that a reader sees the old file or the new one, never half of it."""
    with storage(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=_PART, dir=path.parent)
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
        building = Path(tempfile.mkdtemp(prefix=f".{path.name}.", suffix=_PART, dir=path.parent))
        os.chmod(building, 0o755)
        try:
            yield building
            sync_folder(building)
            if path.exists():
                old = Path(tempfile.mkdtemp(prefix=f".{path.name}.", suffix=_OLD, dir=path.parent))
                os.replace(path, old / path.name)
                os.replace(building, path)
                shutil.rmtree(old, ignore_errors=True)
            else:
                os.replace(building, path)
            _sync(path.parent)
        except BaseException:
            shutil.rmtree(building, ignore_errors=True)
            raise


def sweep(folder: Path) -> None:
    """Remove what killed writers left unfinished below ``folder``; nobody else may be writing there.

    A folder that was about to be replaced when its writer was killed takes its old place again.
    """
    for left in sorted(folder.rglob(f".*{_PART}")):
        if left.name.endswith(_OLD):
            for kept in left.iterdir():
                if not (left.parent / kept.name).exists():
                    os.replace(kept, left.parent / kept.name)
        if left.is_dir():
            shutil.rmtree(left, ignore_errors=True)
        else:
            left.unlink(missing_ok=True)


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


def hash_folder(folder: Path, *, without: Collection[str] = ()) -> dict[str, str]:
    """Return ``{relative name: sha256}`` for every file of a folder but its manifest and lock.

    Args:
        without: names of entries of the folder itself that do not belong to it for good.
    """
    return {
        path.relative_to(folder).as_posix(): sha256_file(path)
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name not in (MANIFEST, _LOCK) and path.relative_to(folder).parts[0] not in without
    }


def write_manifest(folder: Path, *, without: Collection[str] = (), **facts: Any) -> Path:
    """Write ``manifest.json``: the hashes of all files in the folder and the given facts."""
    return write_json(folder / MANIFEST, {**facts, "files": hash_folder(folder, without=without)})


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

    The file says who holds it, for the message only: what decides is the system's lock, so a stale file blocks nobody.

    Raises:
        StorageError: another process holds it; its id and machine are named.
    """
    import fcntl

    with storage(folder):
        folder.mkdir(parents=True, exist_ok=True)
        handle = (folder / _LOCK).open("a+", encoding="utf-8")
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        handle.seek(0)
        holder = handle.read().strip()
        handle.close()
        raise StorageError(
            f"another process is working on this run{f' ({holder})' if holder else ''}",
            where=str(folder),
            mend="Wait for it, or choose another folder with --out.",
        ) from None
    try:
        with suppress(OSError):  # a full disk must not keep anyone from a finished run
            os.ftruncate(handle.fileno(), 0)
            os.write(handle.fileno(), f"process {os.getpid()} on {socket.gethostname()}".encode())
        yield
    finally:
        handle.close()

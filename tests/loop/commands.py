"""Run the real command in a process of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

ENVIRONMENT = {**os.environ, "HF_HUB_OFFLINE": "1", "OMP_WAIT_POLICY": "passive"}
COMMAND = [sys.executable, "-m", "luthier.cli"]


def luthier(
    *args: object, cwd: Path, text: str | None = None, timeout: float = 300
) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*COMMAND, *map(str, args)], cwd=cwd, input=text, capture_output=True, text=True, timeout=timeout,
                          env=ENVIRONMENT)  # fmt: skip


def start(*args: object, cwd: Path) -> subprocess.Popen[str]:
    return subprocess.Popen([*COMMAND, *map(str, args)], cwd=cwd, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                            env=ENVIRONMENT)  # fmt: skip


def only_object(done: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    """Return the one JSON object that standard output must hold."""
    assert done.stdout.count("\n") == 1, done.stdout + done.stderr
    return json.loads(done.stdout)


def refused(done: subprocess.CompletedProcess[str], *words: str) -> str:
    """Assert a user's fault: exit code 2, words that help, no traceback."""
    assert done.returncode == 2, f"{done.returncode}\n{done.stdout}\n{done.stderr}"
    assert "Traceback" not in done.stderr + done.stdout
    for word in words:
        assert word in done.stderr, f"{word!r} is not in: {done.stderr}"
    return done.stderr
